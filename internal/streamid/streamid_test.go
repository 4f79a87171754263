package streamid

import (
	"math"
	"strings"
	"testing"
	"testing/quick"
	"time"
)

func TestTexts(t *testing.T) {
	for _, c := range []struct {
		id         ID
		sorting, r string
	}{
		{ID{1732176000000, 0}, "1732176000000-0000", "1732176000000-0"},
		{ID{1732176000000, 42}, "1732176000000-0042", "1732176000000-42"},
		{ID{1732176000000, 12345}, "1732176000000-a12345", "1732176000000-12345"},
		{ID{1, 1}, "0000000000001-0001", "1-1"},
		{ID{17321760000001, 7}, "a17321760000001-0007", "17321760000001-7"},
		{Max, "g18446744073709551615-p18446744073709551615", "18446744073709551615-18446744073709551615"},
	} {
		if got := c.id.String(); got != c.sorting {
			t.Errorf("String of %v = %q, want %q", c.id, got, c.sorting)
		}
		if got := string(c.id.AppendTo([]byte("before "))); got != "before "+c.sorting {
			t.Errorf("AppendTo of %v = %q", c.id, got)
		}
		if got := c.id.Redis(); got != c.r {
			t.Errorf("Redis of %v = %q, want %q", c.id, got, c.r)
		}
		for _, s := range []string{c.sorting, c.r} {
			if got, err := Parse(s); err != nil || got != c.id {
				t.Errorf("Parse(%q) = %v, %v, want %v", s, got, err, c.id)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		"", "-", "1", "1-", "-1", "a-b", "1-2-3", "1 -2", "1732176000000-a42",
		"99999999999999999999-0", "0x10-0", "+1-1", "1-+1", "1-a", "A1-1", "1-\n1", "a+17321760000001-1",
	} {
		if id, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", s, id)
		}
	}
}

func TestOrderIsTheSameInEveryForm(t *testing.T) {
	same := func(a, b ID) bool {
		text := strings.Compare(a.String(), b.String())
		bytes := strings.Compare(string(a.Append(nil)), string(b.Append(nil)))
		return text == a.Compare(b) && bytes == a.Compare(b) && FromBytes(a.Append(nil)) == a
	}
	shifted := func(m1, s1, m2, s2 uint64, a, b, c, d uint8) bool {
		return same(ID{m1 >> (a % 64), s1 >> (b % 64)}, ID{m2 >> (c % 64), s2 >> (d % 64)})
	}
	if err := quick.Check(shifted, &quick.Config{MaxCount: 20000}); err != nil {
		t.Error(err)
	}
}

func TestNextAndTime(t *testing.T) {
	if got := (ID{5, math.MaxUint64}).Next(); got != (ID{6, 0}) {
		t.Errorf("Next = %v", got)
	}
	now := time.Now().Truncate(time.Millisecond)
	if got := At(now).Time(); !got.Equal(now) {
		t.Errorf("Time = %v, want %v", got, now)
	}
	if got := At(time.Unix(-5, 0)); !got.IsZero() {
		t.Errorf("At before 1970 = %v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1732176000000-0042")
	f.Add("a17321760000001-a12345")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(id.String()); err != nil || again != id {
			t.Errorf("%q parses as %v, whose text parses as %v, %v", s, id, again, err)
		}
	})
}
