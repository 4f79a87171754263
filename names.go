package beck

import (
	"fmt"
	"strings"
)

// MaxName is the largest number of characters in a topic's, a subscription's or
// a consumer's name.
const MaxName = 200

// CheckName says whether s can name a topic, a subscription or a consumer: 1 to
// 200 of A-Z a-z 0-9 . _ : -, starting with a letter or digit. The error is
// ErrName.
func CheckName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(s) > MaxName:
		return fmt.Errorf("%w: %.20q… has %d characters, more than the %d allowed", ErrName, s, len(s), MaxName)
	case !isAlphanumeric(rune(s[0])):
		return fmt.Errorf("%w: %q must start with a letter or digit", ErrName, s)
	}
	if i := strings.IndexFunc(s, notInName); i >= 0 {
		return fmt.Errorf("%w: %q holds %q; only A-Z a-z 0-9 . _ : - are allowed", ErrName, s, []rune(s[i:])[0])
	}
	return nil
}

func notInName(r rune) bool {
	return !(isAlphanumeric(r) || r == '.' || r == '_' || r == ':' || r == '-')
}
