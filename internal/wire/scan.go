package wire

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// SyntaxError says where in a text its JSON is wrong, and how.
type SyntaxError struct {
	Offset int // bytes before the error
	What   string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("at byte %d: %s", e.Offset, e.What)
}

// maxDepth bounds how deep values that are skipped may nest.
const maxDepth = 64

// scanner reads JSON strictly. It unescapes strings in place: what it returns
// points into the text, which belongs to the reader from then on.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) wrong(at int, format string, args ...any) error {
	return &SyntaxError{Offset: at, What: fmt.Sprintf(format, args...)}
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek returns the next byte that is not space, or 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// expect takes one byte.
func (s *scanner) expect(c byte) error {
	if s.peek() != c {
		return s.wrong(s.i, "expected %q, found %s", c, s.found())
	}
	s.i++
	return nil
}

func (s *scanner) found() string {
	if s.i >= len(s.b) {
		return "the end"
	}
	r, _ := utf8.DecodeRune(s.b[s.i:])
	return strconv.QuoteRune(r)
}

// end makes sure that nothing follows.
func (s *scanner) end() error {
	if s.peek() != 0 || s.i < len(s.b) {
		return s.wrong(s.i, "unexpected %s behind the value", s.found())
	}
	return nil
}

// object reads an object; field must read the value of each name.
func (s *scanner) object(field func(name []byte) error) error {
	return s.list('{', '}', func() error {
		s.space()
		name, err := s.text()
		if err == nil {
			err = s.expect(':')
		}
		if err != nil {
			return err
		}
		return field(name)
	})
}

// array reads an array; element must read each of its values.
func (s *scanner) array(element func() error) error {
	return s.list('[', ']', element)
}

func (s *scanner) list(open, shut byte, item func() error) error {
	if err := s.expect(open); err != nil {
		return err
	}
	if s.peek() == shut {
		s.i++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.i++
		case shut:
			s.i++
			return nil
		default:
			return s.wrong(s.i, "expected ',' or %q, found %s", shut, s.found())
		}
	}
}

// null takes a null, if there is one.
func (s *scanner) null() bool {
	s.space()
	if !bytes.HasPrefix(s.b[s.i:], []byte("null")) {
		return false
	}
	s.i += len("null")
	return true
}

func (s *scanner) bool() (bool, error) {
	s.space()
	switch rest := s.b[s.i:]; {
	case bytes.HasPrefix(rest, []byte("true")):
		s.i += len("true")
		return true, nil
	case bytes.HasPrefix(rest, []byte("false")):
		s.i += len("false")
		return false, nil
	}
	return false, s.wrong(s.i, "expected true or false, found %s", s.found())
}

// number takes a number and returns its text.
func (s *scanner) number() ([]byte, error) {
	s.space()
	start := s.i
	s.take('-')
	switch {
	case s.take('0'):
	case !s.digits():
		return nil, s.wrong(start, "expected a number, found %s", s.found())
	}
	if s.take('.') && !s.digits() {
		return nil, s.wrong(start, "a number without digits behind its point")
	}
	if s.take('e') || s.take('E') {
		_ = s.take('+') || s.take('-')
		if !s.digits() {
			return nil, s.wrong(start, "a number without digits in its exponent")
		}
	}
	return s.b[start:s.i], nil
}

func (s *scanner) take(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

// skip takes any value.
func (s *scanner) skip() error { return s.skipNested(0) }

func (s *scanner) skipNested(depth int) error {
	if depth > maxDepth {
		return s.wrong(s.i, "nested deeper than %d", maxDepth)
	}
	inner := func() error { return s.skipNested(depth + 1) }
	var err error
	switch c := s.peek(); c {
	case '{':
		err = s.object(func([]byte) error { return inner() })
	case '[':
		err = s.array(inner)
	case '"':
		_, err = s.text()
	case 't', 'f':
		_, err = s.bool()
	default:
		if !s.null() {
			_, err = s.number()
		}
	}
	return err
}

// text takes a string and returns what it means.
func (s *scanner) text() ([]byte, error) {
	s.space()
	start := s.i
	if !s.take('"') {
		return nil, s.wrong(start, "expected a string, found %s", s.found())
	}
	from := s.i
	to := from // what is unescaped already ends here
	for s.i < len(s.b) {
		run := plain(s.b[s.i:])
		if to != s.i {
			copy(s.b[to:], s.b[s.i:s.i+run])
		}
		to += run
		s.i += run
		if s.i == len(s.b) {
			break
		}
		switch c := s.b[s.i]; c {
		case '"':
			s.i++
			if !utf8.Valid(s.b[from:to]) {
				return nil, s.wrong(start, "a string that is not UTF-8")
			}
			return s.b[from:to:to], nil
		case '\\':
			r, err := s.escape()
			if err != nil {
				return nil, err
			}
			// An escape is never shorter than what it stands for.
			to += utf8.EncodeRune(s.b[to:s.i], r)
		default:
			return nil, s.wrong(s.i, "a control character, 0x%02x, in a string; it must be escaped", c)
		}
	}
	return nil, s.wrong(start, "a string without an end")
}

// plain returns how many bytes at the front stand for themselves in a string.
func plain(b []byte) int {
	for i, c := range b {
		if c < ' ' || c == '"' || c == '\\' {
			return i
		}
	}
	return len(b)
}

// escape takes a backslash and what it escapes.
func (s *scanner) escape() (rune, error) {
	start := s.i
	s.i++
	if s.take('u') {
		r, err := s.hex(start)
		if err != nil || !utf16.IsSurrogate(r) {
			return r, err
		}
		if s.take('\\') && s.take('u') {
			low, err := s.hex(start)
			if err != nil {
				return 0, err
			}
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, nil
			}
		}
		return 0, s.wrong(start, "half of a surrogate pair")
	}
	if s.i == len(s.b) {
		return 0, s.wrong(start, "a string without an end")
	}
	c := s.b[s.i]
	s.i++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	}
	return 0, s.wrong(start, "an unknown escape")
}

func (s *scanner) hex(start int) (rune, error) {
	if s.i+4 <= len(s.b) {
		n, err := strconv.ParseUint(string(s.b[s.i:s.i+4]), 16, 16)
		if err == nil {
			s.i += 4
			return rune(n), nil
		}
	}
	return 0, s.wrong(start, `\u without four hexadecimal digits`)
}
