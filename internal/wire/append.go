package wire

import (
	"encoding/base64"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/beckmq/beck"
)

// timeFormat is RFC 3339 with the milliseconds that beck keeps.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// AppendMessage adds a received message to b: an object with id, topic, key,
// headers, time, attempt, and body or, where it is not UTF-8, body_base64. What
// is empty is left away, but never the body.
func AppendMessage(b []byte, m *beck.Message) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, m.ID)
	if m.Topic != "" {
		b = append(b, `,"topic":`...)
		b = appendString(b, m.Topic)
	}
	if m.Key != "" {
		b = append(b, `,"key":`...)
		b = appendString(b, m.Key)
	}
	if len(m.Headers) > 0 {
		b = append(b, `,"headers":`...)
		b = appendHeaders(b, m.Headers)
	}
	if !m.Time.IsZero() {
		b = append(b, `,"time":"`...)
		b = m.Time.UTC().AppendFormat(b, timeFormat)
		b = append(b, '"')
	}
	if m.Attempt != 0 {
		b = append(b, `,"attempt":`...)
		b = strconv.AppendInt(b, int64(m.Attempt), 10)
	}
	b = append(b, ',')
	b = appendBody(b, m.Body)
	return append(b, '}')
}

// AppendLine adds a message to publish to b, as a line of NDJSON.
func AppendLine(b []byte, m *beck.Message) []byte {
	b = append(b, '{')
	if m.Key != "" {
		b = append(b, `"key":`...)
		b = appendString(b, m.Key)
		b = append(b, ',')
	}
	if len(m.Headers) > 0 {
		b = append(b, `"headers":`...)
		b = appendHeaders(b, m.Headers)
		b = append(b, ',')
	}
	if m.Delay != 0 {
		b = append(b, `"delay":"`...)
		b = append(b, m.Delay.String()...)
		b = append(b, '"', ',')
	}
	if !m.At.IsZero() {
		b = append(b, `"at":"`...)
		b = m.At.UTC().AppendFormat(b, time.RFC3339Nano) // whole, or it would be early
		b = append(b, '"', ',')
	}
	if m.DedupeID != "" {
		b = append(b, `"dedupe":`...)
		b = appendString(b, m.DedupeID)
		b = append(b, ',')
	}
	if m.Durability != nil {
		b = append(b, `"durability":"`...)
		b = append(b, FormatDurability(*m.Durability)...)
		b = append(b, '"', ',')
	}
	b = appendBody(b, m.Body)
	return append(b, '}', '\n')
}

func appendHeaders(b []byte, headers map[string]string) []byte {
	var few [8]string
	names := few[:0]
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		b = append(b, separator(i))
		b = appendString(b, name)
		b = append(b, ':')
		b = appendString(b, headers[name])
	}
	return append(b, '}')
}

func separator(i int) byte {
	if i == 0 {
		return '{'
	}
	return ','
}

func appendBody(b, body []byte) []byte {
	if utf8.Valid(body) {
		b = append(b, `"body":"`...)
		b = appendEscaped(b, body)
		return append(b, '"')
	}
	b = append(b, `"body_base64":"`...)
	b = base64.StdEncoding.AppendEncode(b, body)
	return append(b, '"')
}

// appendString adds a JSON string. What is not UTF-8 in it becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	if utf8.ValidString(s) {
		b = appendEscaped(b, s)
	} else {
		b = appendEscaped(b, []byte(string([]rune(s))))
	}
	return append(b, '"')
}

const hexDigits = "0123456789abcdef"

// appendEscaped adds valid UTF-8 as the inside of a JSON string.
func appendEscaped[text []byte | string](b []byte, s text) []byte {
	done := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[done:i]...)
		done = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(b, s[done:]...)
}

// AppendIDs adds the answer to a publish to b.
func AppendIDs(b []byte, ids []string) []byte {
	b = append(b, `{"ids":[`...)
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, id)
	}
	return append(b, "]}\n"...)
}

// AppendPage adds a page to b.
func AppendPage(b []byte, p *beck.Page) []byte {
	b = appendMessages(b, p.Messages)
	b = append(b, `,"next":`...)
	b = appendString(b, string(p.Next))
	b = append(b, `,"more":`...)
	b = strconv.AppendBool(b, p.More)
	if p.Gap != nil {
		b = append(b, `,"gap":`...)
		b = appendGap(b, p.Gap)
	}
	b = appendEra(b, p.Era)
	return append(b, "}\n"...)
}

// appendMessages begins an object whose first field is messages.
func appendMessages(b []byte, messages []*beck.Message) []byte {
	b = append(b, `{"messages":[`...)
	for i, m := range messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendMessage(b, m)
	}
	return append(b, ']')
}

func appendGap(b []byte, g *beck.Gap) []byte {
	b = append(b, `{"after":`...)
	b = appendString(b, string(g.After))
	b = append(b, `,"resume":`...)
	b = appendString(b, string(g.Resume))
	return append(b, '}')
}

// AppendFetched adds the answer to a fetch to b.
func AppendFetched(b []byte, f *beck.Fetched) []byte {
	b = appendMessages(b, f.Messages)
	b = append(b, `,"lease":"`...)
	b = append(b, f.Lease.String()...)
	b = append(b, `","more":`...)
	b = strconv.AppendBool(b, f.More)
	if f.Next > 0 {
		b = append(b, `,"next":"`...)
		b = append(b, f.Next.String()...)
		b = append(b, '"')
	}
	if f.Lost > 0 {
		b = append(b, `,"lost":`...)
		b = strconv.AppendInt(b, f.Lost, 10)
	}
	if f.Gap {
		b = append(b, `,"gap":true`...)
	}
	b = appendEra(b, f.Era)
	return append(b, "}\n"...)
}

func appendEra(b []byte, era string) []byte {
	if era == "" {
		return b
	}
	b = append(b, `,"era":`...)
	return appendString(b, era)
}
