package beck

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestWhenAMessageIsDelivered(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		m    Message
		want error
	}{
		"no delay":               {Message{}, nil},
		"a delay":                {Message{Delay: time.Millisecond}, nil},
		"the longest delay":      {Message{Delay: MaxDelay}, nil},
		"a moment":               {Message{At: now.Add(time.Second)}, nil},
		"a negative delay":       {Message{Delay: -1}, ErrMessage},
		"a moment that is over":  {Message{At: now.Add(-time.Second)}, ErrMessage},
		"too long a delay":       {Message{Delay: MaxDelay + 1}, ErrMessage},
		"too far a moment":       {Message{At: now.Add(MaxDelay + time.Hour)}, ErrMessage},
		"both":                   {Message{Delay: 1, At: now.Add(time.Second)}, ErrMessage},
		"a deduplication id":     {Message{DedupeID: "order-42/1"}, nil},
		"a long one":             {Message{DedupeID: strings.Repeat("x", 201)}, ErrTooLarge},
		"one with a space":       {Message{DedupeID: "a b"}, ErrMessage},
		"one that is not ASCII":  {Message{DedupeID: "ä"}, ErrMessage},
		"one with a line in it":  {Message{DedupeID: "a\nb"}, ErrMessage},
		"what was received once": {Message{ID: "1-0000", Attempt: 3, Time: now}, nil},
	} {
		c.m.Body = []byte{}
		if _, err := c.m.check(DefaultMaxBody); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestTopicConfigIsChecked(t *testing.T) {
	for _, c := range []TopicConfig{
		{MaxAge: -2}, {MaxMessages: -1}, {MaxBytes: -1}, {DropOldest: true},
		{DedupeWindow: time.Millisecond}, {DedupeWindow: 8 * 24 * time.Hour},
	} {
		if _, err := c.filled(); !errors.Is(err, ErrOption) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range []TopicConfig{
		{MaxAge: time.Hour, DedupeWindow: time.Minute},
		{MaxAge: Forever, MaxMessages: 10, DropOldest: true, DedupeWindow: time.Second},
	} {
		d, err := c.filled()
		if err != nil || topicConfig(d) != c {
			t.Errorf("%+v became %+v: %v", c, topicConfig(d), err)
		}
	}
	d, err := TopicConfig{}.filled()
	if err != nil || d.MaxAge != 7*24*time.Hour || d.DedupeWindow != 10*time.Minute {
		t.Errorf("the defaults: %+v, %v", d, err)
	}
}

func TestPatterns(t *testing.T) {
	for _, good := range []string{"*", "typing", "typing.*", "a.b.*", "a-1:x.*"} {
		if err := CheckPattern(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".*", "typing*", "*.typing", "a.*.b", "a?", "a.**", "a b", "[a]", "**"} {
		if err := CheckPattern(bad); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
