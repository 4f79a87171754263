package archive

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	suffix     = ".jsonl"
	gzipSuffix = ".jsonl.gz"
	partSuffix = ".part"
	lockName   = ".beck-archive.lock"
	digits     = 10
	// maxName is what file systems allow.
	maxName = 255
)

// name is what the name of a file says.
type name struct {
	topic  string
	number int64
	id     string // of the first message, as far as it fits
	gzip   bool
	part   bool
}

func (n name) String() string {
	end := suffix
	if n.gzip {
		end = gzipSuffix
	}
	s := fmt.Sprintf("%s.%0*d.", n.topic, digits, n.number)
	id := plainID(n.id)
	if room := maxName - len(s) - len(gzipSuffix) - len(partSuffix); len(id) > room {
		id = id[:max(0, room)]
	}
	s += id + end
	if n.part {
		s += partSuffix
	}
	return s
}

// plainID has no character that is special in a file name, or stands between the
// parts of one.
func plainID(id string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, id)
}

// parseName reads the name of a file of a topic.
func parseName(topic, s string) (n name, ok bool) {
	n.topic = topic
	rest, ok := strings.CutPrefix(s, topic+".")
	if !ok {
		return n, false
	}
	rest, n.part = strings.CutSuffix(rest, partSuffix)
	if rest, ok = strings.CutSuffix(rest, gzipSuffix); ok {
		n.gzip = true
	} else if rest, ok = strings.CutSuffix(rest, suffix); !ok {
		return n, false
	}
	number, id, ok := strings.Cut(rest, ".")
	if !ok || len(number) < digits || strings.Contains(id, ".") {
		return n, false
	}
	var err error
	n.number, err = strconv.ParseInt(number, 10, 64)
	n.id = id
	return n, err == nil && n.number > 0
}
