package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/beckmq/beck"
)

const defaultMaxBody = size(beck.DefaultMaxBody)

// size is a number of bytes as a flag: 1MiB, 64KiB, 500kB or 4096.
type size int

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30},
	{"b", 1},
}

// parseBytes reads a size.
func parseBytes(text string) (float64, error) {
	number, unit := strings.ToLower(strings.TrimSpace(text)), 1.0
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(n), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err == nil && math.IsNaN(n) {
		err = strconv.ErrSyntax
	}
	return n * unit, err
}

// Set implements pflag.Value.
func (s *size) Set(text string) error {
	if bytes, err := parseBytes(text); err == nil && bytes >= 1 && bytes <= math.MaxInt32 {
		*s = size(bytes)
		return nil
	}
	return fmt.Errorf("it takes a size from 1 byte to 2 GiB, such as 1MiB, 64KiB or 4096")
}

// Type implements pflag.Value.
func (s *size) Type() string { return "SIZE" }

func (s *size) String() string { return shownBytes(int64(*s)) }

// shownBytes is a size for people, in the largest unit in which it is whole.
func shownBytes(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%dGiB", n>>30)
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", n>>10)
	}
	return strconv.FormatInt(n, 10)
}
