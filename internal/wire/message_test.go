package wire

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/beckmq/beck"
)

// object is a message as encoding/json has it, to compare with.
type object struct {
	ID      string            `json:"id"`
	Topic   string            `json:"topic"`
	Key     string            `json:"key"`
	Headers map[string]string `json:"headers"`
	Time    string            `json:"time"`
	Attempt int               `json:"attempt"`
	Body    *string           `json:"body"`
	Base64  *string           `json:"body_base64"`
}

func TestMessageText(t *testing.T) {
	at := time.Date(2026, 11, 21, 9, 0, 0, 123_456_789, time.FixedZone("", 3600))
	for _, c := range []struct {
		m    beck.Message
		want string
	}{
		{beck.Message{ID: "1-0001", Body: []byte{}}, `{"id":"1-0001","body":""}`},
		{
			beck.Message{ID: "1-0001", Topic: "orders", Key: "k\"1", Time: at, Attempt: 2, Headers: map[string]string{"b": "2", "a": "ä"}, Body: []byte("a\n\t\\\x01é\u2028")},
			`{"id":"1-0001","topic":"orders","key":"k\"1","headers":{"a":"ä","b":"2"},"time":"2026-11-21T08:00:00.123Z","attempt":2,"body":"a\n\t\\\u0001é` + "\u2028" + `"}`,
		},
		{beck.Message{ID: "1-0001", Body: []byte{0xff, 0x00}}, `{"id":"1-0001","body_base64":"/wA="}`},
		{beck.Message{ID: "1-0001", Key: "a\xffb", Body: []byte{}}, `{"id":"1-0001","key":"a` + "\ufffd" + `b","body":""}`},
	} {
		if got := string(AppendMessage(nil, &c.m)); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestDecodeLines(t *testing.T) {
	text := `{"body":"one"}
{"id":"1-0001","topic":"t","time":"2026-11-21T08:00:00Z","attempt":3,"key":"k","headers":{"A":"1","b":"\u00e4\ud83d\ude00"},"body":"a\"b\\\/\b\f\n\r\t"}` + "\r\n\n" +
		`  { "body_base64" : "/wA=" , "key" : null }  ` + "\n" + `{"body":"","headers":{}}`
	got, err := DecodeLines([]byte(text), 10)
	if err != nil {
		t.Fatal(err)
	}
	want := []beck.Message{
		{Body: []byte("one")},
		{Key: "k", Headers: map[string]string{"A": "1", "b": "ä😀"}, Body: []byte("a\"b\\/\b\f\n\r\t")},
		{Body: []byte{0xff, 0}},
		{Body: []byte{}},
	}
	if len(got) != len(want) {
		t.Fatalf("got %d messages, want %d", len(got), len(want))
	}
	for i := range want {
		if !same(got[i], want[i]) {
			t.Errorf("message %d is %+v, want %+v", i, got[i], want[i])
		}
		if got[i].Body == nil {
			t.Errorf("message %d has a nil body", i)
		}
	}
}

func same(a, b beck.Message) bool {
	return a.ID == b.ID && a.Topic == b.Topic && a.Key == b.Key && maps.Equal(a.Headers, b.Headers) &&
		string(a.Body) == string(b.Body) && a.Time.Equal(b.Time) && a.Attempt == b.Attempt
}

func TestDecodeLinesRefuses(t *testing.T) {
	for _, c := range []struct {
		text string
		code Code
		says string
	}{
		{"{\"body\":\"x\"}\n{\"body\":\"x\",\"dely\":\"5s\"}", CodeMalformed, `line 2, at byte 19: unknown field "dely"`},
		{`{"key":"x"}`, CodeInvalidMessage, `line 1 has neither "body" nor "body_base64"`},
		{`{"body":null}`, CodeInvalidMessage, "line 1"},
		{`{"body":"a","body_base64":"YQ=="}`, CodeMalformed, `"body_base64" is given twice`},
		{`{"body":"a","body":"b"}`, CodeMalformed, `"body" is given twice`},
		{`{"body":"a","dedupe":""}`, CodeMalformed, `"dedupe" is empty`},
		{`{"body":"a","at":"0001-01-01T00:00:00Z"}`, CodeMalformed, `"at" lies in the past`},
		{`{"body":5}`, CodeMalformed, `"body": expected a string, found '5'`},
		{`{"body_base64":"?"}`, CodeMalformed, "not base64"},
		{`{"body":"a","headers":{"x":1}}`, CodeMalformed, `header "x": expected a string`},
		{`{"body":"a","headers":{"x":"1","x":"2"}}`, CodeMalformed, `header "x" is given twice`},
		{`{"body":"a","headers":[]}`, CodeMalformed, `expected '{'`},
		{"{\"body\":\"\xff\"}", CodeMalformed, "not UTF-8"},
		{`{"body":"\ud800"}`, CodeMalformed, "surrogate"},
		{`{"body":"\ud800\u0041"}`, CodeMalformed, "surrogate"},
		{`{"body":"\x"}`, CodeMalformed, "unknown escape"},
		{`{"body":"\u12"}`, CodeMalformed, "hexadecimal"},
		{`{"body":"a` + "\x01" + `"}`, CodeMalformed, "control character, 0x01"},
		{`{"body":"a`, CodeMalformed, "without an end"},
		{`{"body":"a\`, CodeMalformed, "without an end"},
		{`{"body":"a"`, CodeMalformed, "found the end"},
		{`{"body":"a",}`, CodeMalformed, "expected a string, found '}'"},
		{`{"body":"a"} x`, CodeMalformed, "unexpected 'x' behind the value"},
		{`{"body":"a"}{"body":"b"}`, CodeMalformed, "unexpected '{'"},
		{`["body"]`, CodeMalformed, "expected '{', found '['"},
		{`{"body":"a","id":` + strings.Repeat("[", 1000) + "}", CodeMalformed, "nested deeper"},
		{"{\"body\":\"1\"}\n{\"body\":\"2\"}\n{\"body\":\"3\"}\n{\"body\":\"4\"}", CodeTooLarge, "line 4: more than the 3"},
	} {
		_, err := DecodeLines([]byte(c.text), 3)
		p, ok := errors.AsType[*Problem](err)
		if !ok || p.Code != c.code || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%s\n gives %v\n want  %s … %s", c.text, err, c.code, c.says)
		}
	}
}

// Headers stop being read at their limits, and memory is asked for before it is
// taken.
func TestDecodeLinesTakesLittle(t *testing.T) {
	headers := func(n int) string {
		b := []byte(`{"body":"","headers":{`)
		for i := range n {
			b = fmt.Appendf(b, `%q:"",`, strconv.FormatInt(int64(i), 36))
		}
		return string(b[:len(b)-1]) + "}}"
	}
	if got, err := DecodeLines([]byte(headers(MaxHeaders)), 1); err != nil || len(got[0].Headers) != MaxHeaders {
		t.Errorf("the most headers give %v", err)
	}
	for what, text := range map[string]string{
		"many headers":  headers(1_000_000),
		"large headers": `{"body":"","headers":{"a":"` + strings.Repeat("x", beck.MaxHeaderBytes) + `"}}`,
	} {
		line := []byte(text)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := DecodeLines(line, 1)
		runtime.ReadMemStats(&after)
		if p, ok := errors.AsType[*Problem](err); !ok || p.Code != CodeTooLarge || !errors.Is(err, beck.ErrTooLarge) {
			t.Errorf("%s give %v", what, err)
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 1<<20 {
			t.Errorf("%s take %d bytes", what, taken)
		}
	}
	binary := `{"body_base64":"` + strings.Repeat("AAAA", 1<<20) + `"}`
	taken := 0
	if _, err := DecodeLinesWithin([]byte(binary), 1, func(n int) error { taken += n; return nil }); err != nil || taken < 3<<20 {
		t.Errorf("3 MiB as base64 ask for %d bytes, %v", taken, err)
	}
	refusal, asked := errors.New("no more"), 0
	_, err := DecodeLinesWithin([]byte(strings.Repeat(headers(500)+"\n", 100)), 100, func(n int) error {
		if asked += n; asked > 1<<20 {
			return refusal
		}
		return nil
	})
	if err != refusal {
		t.Errorf("memory that is refused gives %v", err)
	}
}

// What is appended means the same to encoding/json, and is read back as it was.
func FuzzMessage(f *testing.F) {
	f.Add("1-0001", "key", "name", "value", []byte("body"), int64(1732176000123))
	f.Add("1", "\"\\", "x", "\x00\u2028", []byte{0xff, 0xfe}, int64(0))
	f.Fuzz(func(t *testing.T, id, key, name, value string, body []byte, millis int64) {
		m := beck.Message{
			ID: id, Topic: "t", Key: key, Headers: map[string]string{name: value, "other": key},
			Body: body, Time: time.UnixMilli(millis % 4e12).UTC(), Attempt: 3,
		}
		text := AppendMessage(nil, &m)
		var o object
		if err := json.Unmarshal(text, &o); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if o.ID != valid(id) || o.Key != valid(key) || o.Headers[valid(name)] != valid(m.Headers[name]) && valid(name) == name || o.Attempt != 3 {
			t.Errorf("%s\nis not %+v", text, m)
		}
		if utf8.Valid(body) != (o.Body != nil) || o.Body != nil && *o.Body != string(body) {
			t.Errorf("%s\nhas not the body %q", text, body)
		}
		if !utf8.Valid(body) {
			if b, err := base64.StdEncoding.DecodeString(*o.Base64); err != nil || string(b) != string(body) {
				t.Errorf("%s\nhas not the body %q", text, body)
			}
		}
		if !utf8.ValidString(id + key + name + value) {
			return
		}
		page, err := DecodePage(AppendPage(nil, &beck.Page{Messages: []*beck.Message{&m}, Next: "start"}))
		if err != nil || len(page.Messages) != 1 || !same(page.Messages[0], m) {
			t.Errorf("%s\nis read as %+v, %v", text, page, err)
		}
		again, err := DecodeLines(append(text, AppendLine([]byte("\n"), &m)...), 2)
		m = beck.Message{Key: m.Key, Headers: m.Headers, Body: m.Body}
		if err != nil || len(again) != 2 || !same(again[0], m) || !same(again[1], m) {
			t.Errorf("%s\nis published as %+v, %v", text, again, err)
		}
	})
}

func valid(s string) string { return string([]rune(s)) }

// What DecodeLines takes, encoding/json takes as well, and with the same result.
func FuzzDecodeLine(f *testing.F) {
	for _, s := range []string{
		`{"body":"a\u00e4\n"}`, `{"key":"k","headers":{"a":"b"},"body_base64":"/wA="}`,
		`{"id":"1","time":null,"attempt":-1.5e+3,"topic":"x","body":""}`, `{"body":"\ud83d\ude00"}`, `{"id":[{"a":[true,false,null]}],"body":"x"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		line := string(text)
		got, err := DecodeLines(text, 1)
		if err != nil || len(got) == 0 {
			return
		}
		var o struct {
			Key     string            `json:"key"`
			Headers map[string]string `json:"headers"`
			Body    *string           `json:"body"`
			Base64  []byte            `json:"body_base64"`
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q is taken, but %v", line, err)
		}
		body := string(o.Base64)
		if o.Body != nil {
			body = *o.Body
		}
		if m := got[0]; m.Key != o.Key || !maps.Equal(m.Headers, o.Headers) || string(m.Body) != body {
			t.Errorf("%q is read as %+v, and by encoding/json as %+v", line, m, o)
		}
	})
}

func BenchmarkAppendMessage(b *testing.B) {
	m := beck.Message{ID: "1732176000000-0042", Topic: "orders", Time: time.Now(), Body: []byte(strings.Repeat("0123456789", 10))}
	var buffer []byte
	for b.Loop() {
		buffer = AppendMessage(buffer[:0], &m)
	}
}

func BenchmarkDecodeLines(b *testing.B) {
	var text []byte
	for range 100 {
		text = AppendLine(text, &beck.Message{Body: []byte(strings.Repeat("0123456789", 10))})
	}
	for b.Loop() {
		if _, err := DecodeLines(text, 100); err != nil {
			b.Fatal(err)
		}
	}
}
