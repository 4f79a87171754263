package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 5e6, time.UTC)

func TestEntriesComeBack(t *testing.T) {
	sent := []*beck.Entry{
		{Message: &beck.Message{ID: "1", Topic: "t", Key: "k", Headers: map[string]string{"a": "b"}, Body: []byte("x"), Time: noon, Attempt: 3},
			State: beck.StateDead, Consumer: "c", Since: noon, Reason: "no \"way\"\n"},
		{Message: &beck.Message{ID: "d2", Body: []byte("\xff"), Time: noon}, State: beck.StateDelayed, Due: noon.Add(time.Hour)},
		{Message: &beck.Message{ID: "3", Body: []byte{}}, State: beck.StateReady},
	}
	text := AppendEntries(nil, sent, true)
	if !json.Valid(text) {
		t.Fatalf("no JSON: %s", text)
	}
	got, more, err := DecodeEntries(bytes.Clone(text))
	if err != nil || !more || len(got) != len(sent) {
		t.Fatalf("got %+v, %v, %v", got, more, err)
	}
	for i := range sent {
		if !reflect.DeepEqual(&got[i], sent[i]) {
			t.Errorf("sent %+v\ngot  %+v", sent[i].Message, got[i].Message)
		}
	}
	if got, more, err := DecodeEntries(AppendEntries(nil, nil, false)); err != nil || more || len(got) != 0 {
		t.Errorf("nothing comes back as %+v, %v, %v", got, more, err)
	}
	if _, _, err := DecodeEntries([]byte(`{"entries":[{"state":5}]}`)); err == nil {
		t.Error("a state that is a number is read")
	}
}

func TestLinesSayWhen(t *testing.T) {
	at := time.Date(2027, 1, 1, 0, 0, 0, 123456789, time.FixedZone("", 3600))
	var text []byte
	sent := []beck.Message{
		{Body: []byte("a"), Delay: 1500 * time.Millisecond, DedupeID: `a"b`},
		{Body: []byte("b"), At: at},
	}
	for i := range sent {
		text = AppendLine(text, &sent[i])
	}
	got, err := DecodeLines(text, 10)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	if got[0].Delay != sent[0].Delay || got[0].DedupeID != sent[0].DedupeID || !got[0].At.IsZero() {
		t.Errorf("got %+v", got[0])
	}
	if !got[1].At.Equal(at) || got[1].Delay != 0 || got[1].DedupeID != "" {
		t.Errorf("got %+v", got[1])
	}
	for line, says := range map[string]string{
		`{"body":"","delay":5}`:                 `"delay": expected a string`,
		`{"body":"","delay":"5"}`:               `"delay" is not a duration`,
		`{"body":"","at":"tomorrow"}`:           `"at" is not a time`,
		`{"body":"","dedupe":"a","dedupe":"b"}`: `"dedupe" is given twice`,
	} {
		if _, err := DecodeLines([]byte(line), 1); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s gives %v", line, err)
		}
	}
	refuse := errors.New("no memory")
	_, err = DecodeLinesWithin([]byte(`{"body":"","dedupe":"`+strings.Repeat("x", 1000)+`"}`), 1, func(n int) error {
		if n >= 1000 {
			return refuse
		}
		return nil
	})
	if err != refuse {
		t.Errorf("memory for a long id: %v", err)
	}
	// Of a message that is received, they are unknown fields.
	page, err := DecodePage([]byte(`{"messages":[{"id":"1","delay":5,"at":{},"dedupe":[],"body":"x"}]}`))
	if err != nil || string(page.Messages[0].Body) != "x" {
		t.Errorf("got %+v, %v", page, err)
	}
}

func TestTopicConfig(t *testing.T) {
	for _, c := range []beck.TopicConfig{
		{}, {MaxAge: beck.Forever}, {MaxAge: time.Hour, MaxMessages: 5, MaxBytes: 7, DropOldest: true, DedupeWindow: time.Minute},
	} {
		text, err := json.Marshal(TopicConfigOf(c))
		if err != nil {
			t.Fatal(err)
		}
		var got TopicConfig
		if err := Decode(text, &got); err != nil || got.Beck() != c {
			t.Errorf("%s comes back as %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{`{"max_age":"never"}`, `{"max_age":"-1ns"}`, `{"max_age":5}`, `{"max_messages":"5"}`, `{"maxage":"5h"}`} {
		if err := Decode([]byte(bad), new(TopicConfig)); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

func TestLiveEvents(t *testing.T) {
	data := func(block []byte) []byte {
		text, ok := bytes.CutPrefix(block, []byte("data: "))
		if !ok || bytes.Count(text, []byte{'\n'}) != 2 || !bytes.HasSuffix(text, []byte("\n\n")) {
			t.Fatalf("block %q", block)
		}
		return bytes.TrimSpace(text)
	}
	for _, body := range []string{"", "a\r\nb", "\xff\x00"} {
		subject, got, err := DecodeBroadcast(data(AppendBroadcast(nil, "a.b", []byte(body), noon)))
		if err != nil || subject != "a.b" || string(got) != body || got == nil {
			t.Errorf("%q comes back as %q, %q, %v", body, subject, got, err)
		}
		m := beck.Message{Topic: "price", Key: "k", Headers: map[string]string{"a": "b"}, Body: []byte(body), Time: noon}
		q, err := DecodeRequest(data(AppendRequest(nil, "id", &m, 1500*time.Millisecond)))
		if err != nil {
			t.Fatal(err)
		}
		m.ID, m.Topic = "id", ""
		if q.Timeout != 1500*time.Millisecond || !same(q.Message, m) || !q.Message.Time.Equal(noon) {
			t.Errorf("%+v comes back as %+v", m, q)
		}
	}
	if _, err := DecodeRequest([]byte(`{"timeout":5}`)); err == nil {
		t.Error("a number is a duration")
	}
}

func TestSchedulesComeBack(t *testing.T) {
	for _, body := range []string{"", "x", "\xff"} {
		sent := beck.Schedule{
			Name: "n", Topic: "t", Spec: "* * * * *", Zone: "Europe/Berlin", Missed: "all", Last: noon, Version: "v",
			Message: beck.Message{Key: "k", Headers: map[string]string{"a": "b"}, Body: []byte(body)},
		}
		text, err := json.Marshal(SchedulesOf([]*beck.Schedule{&sent}))
		if err != nil {
			t.Fatal(err)
		}
		var list Schedules
		if err := Decode(text, &list); err != nil {
			t.Fatal(err)
		}
		if got, err := list.Schedules[0].Beck(); err != nil || !reflect.DeepEqual(got, sent) {
			t.Errorf("%+v comes back as %+v, %v", sent, got, err)
		}
	}
	for _, bad := range []string{`{"message":{}}`, `{"message":{"body":"","body_base64":""}}`} {
		var s Schedule
		if err := Decode([]byte(bad), &s); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Beck(); !errors.Is(err, beck.ErrMessage) {
			t.Errorf("%s gives %v", bad, err)
		}
	}
}

// Whatever is read, nothing panics, and what is taken for whole is written the
// same way again.
func FuzzDecodeEntries(f *testing.F) {
	f.Add(string(AppendEntries(nil, []*beck.Entry{{Message: &beck.Message{ID: "1", Body: []byte("\xff"), Time: noon}, State: beck.StateHeld, Due: noon}}, true)))
	f.Add(`{"entries":[{"id":"1","body":"x","state":"dead","since":"2026-11-21T08:00:00Z"}],"more":false}`)
	f.Add(`{"entries":[{"timeout":"5s","subject":"x"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = DecodeRequest([]byte(text))
		_, _, _ = DecodeBroadcast([]byte(text))
		entries, more, err := DecodeEntries([]byte(text))
		if err != nil {
			return
		}
		all := make([]*beck.Entry, len(entries))
		for i := range entries {
			all[i] = &entries[i]
		}
		written := AppendEntries(nil, all, more)
		again, _, err := DecodeEntries(bytes.Clone(written))
		if err != nil || len(again) != len(entries) {
			t.Fatalf("%s is written as %s, which is read as %v, %v", text, written, again, err)
		}
	})
}
