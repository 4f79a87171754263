package beck

import (
	"errors"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "0", "orders", "a.b_c:d-e", strings.Repeat("x", 200)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".a", "-a", ":a", "_a", "a b", "a/b", "a{b}", "ä", "a\n", "a\x00", "a*", strings.Repeat("x", 201)} {
		err := CheckName(name)
		if !errors.Is(err, ErrName) {
			t.Errorf("%q: %v, want ErrName", name, err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("the error for %q repeats it raw", name)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	f.Add("orders")
	f.Add("a:b.c")
	f.Fuzz(func(t *testing.T, s string) {
		err := CheckName(s)
		if err == nil && (s == "" || len(s) > MaxName || strings.ContainsAny(s, " \t\r\n/{}*?\\\"'%\x00")) {
			t.Errorf("%q passes", s)
		}
	})
}

func TestMessages(t *testing.T) {
	body := []byte("b")
	for name, c := range map[string]struct {
		m    Message
		want error
	}{
		"plain":             {Message{Body: body}, nil},
		"empty body":        {Message{Body: []byte{}}, nil},
		"key and headers":   {Message{Body: body, Key: "k ä", Headers: map[string]string{"A-b.c_1": "ä"}}, nil},
		"no body":           {Message{}, ErrMessage},
		"large body":        {Message{Body: make([]byte, 101)}, ErrTooLarge},
		"large key":         {Message{Body: body, Key: strings.Repeat("k", MaxKey+1)}, ErrTooLarge},
		"key not UTF-8":     {Message{Body: body, Key: "\xff"}, ErrMessage},
		"header twice":      {Message{Body: body, Headers: map[string]string{"a": "", "A": ""}}, ErrMessage},
		"header name":       {Message{Body: body, Headers: map[string]string{"a b": ""}}, ErrMessage},
		"no header name":    {Message{Body: body, Headers: map[string]string{"": ""}}, ErrMessage},
		"header not UTF-8":  {Message{Body: body, Headers: map[string]string{"a": "\xff"}}, ErrMessage},
		"header with break": {Message{Body: body, Headers: map[string]string{"a": "b\nc"}}, ErrMessage},
		"large headers":     {Message{Body: body, Headers: map[string]string{"a": strings.Repeat("v", MaxHeaderBytes)}}, ErrTooLarge},
	} {
		got, err := c.m.check(100)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		for header := range got.Headers {
			if header != strings.ToLower(header) {
				t.Errorf("%s: header %q is not in lower case", name, header)
			}
		}
	}
}

func TestErrorsTellWhatAndWhere(t *testing.T) {
	err := wrap("publish", at{"orders", "billing"}, ErrFull)
	if !errors.Is(err, ErrFull) || err.Error() != "beck: publish orders as billing: engine full" {
		t.Error(err)
	}
	if err := wrap("publish", at{"bad\nname"}, CheckName("bad\nname")); strings.Contains(err.Error(), "\n") {
		t.Errorf("a bad name is repeated: %v", err)
	}
	var e *Error
	if !errors.As(err, &e) || e.Op != "publish" || e.Topic != "orders" || e.Subscription != "billing" {
		t.Errorf("%+v", e)
	}
	held := &NotHeldError{Consumer: "c", IDs: []string{"1", "2", "3", "4", "5"}}
	if !errors.Is(held, ErrNotHeld) || held.Error() != "delivery not held by consumer c: 1, 2, 3 and 2 more" {
		t.Error(held)
	}
	if d := Dead(errors.New("why")); !isDead(d) || d.Error() != "why" || !isDead(Dead(nil)) {
		t.Error(d)
	}
}
