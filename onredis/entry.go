package onredis

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// The fields of an entry that is a message of beck's.
const (
	bodyField    = "body" // the first, and the only one that must be there
	keyField     = "key"
	headerPrefix = "header:"
)

// add is the command that publishes a message. The body is not copied.
func add(b rueidis.Builder, stream string, m *driver.Message) rueidis.Completed {
	fields := b.Xadd().Key(stream).Id("*").FieldValue().FieldValue(bodyField, rueidis.BinaryString(m.Body))
	if m.Key != "" {
		fields = fields.FieldValue(keyField, m.Key)
	}
	for name, value := range m.Headers {
		fields = fields.FieldValue(headerPrefix+name, value)
	}
	return fields.Build()
}

// readEntries turns a list of entries into messages. Entries that were removed
// while pending, which have no fields, are left out.
func readEntries(list []rueidis.RedisMessage) ([]driver.Message, error) {
	if len(list) == 0 {
		return nil, nil
	}
	messages := make([]driver.Message, 0, len(list))
	for i := range list {
		pair, err := list[i].ToArray()
		if err != nil || len(pair) < 2 {
			return nil, fmt.Errorf("%w: an entry that is no pair of id and fields: %v", driver.ErrCorrupt, err)
		}
		if pair[1].IsNil() {
			continue
		}
		m, err := readEntry(&pair[0], &pair[1])
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, nil
}

func readEntry(id, fields *rueidis.RedisMessage) (driver.Message, error) {
	text, err := id.ToString()
	if err != nil {
		return driver.Message{}, fmt.Errorf("%w: an entry without an id: %v", driver.ErrCorrupt, err)
	}
	parsed, err := streamid.Parse(text)
	if err != nil {
		return driver.Message{}, fmt.Errorf("%w: entry %q: %v", driver.ErrCorrupt, text, err)
	}
	list, err := fields.ToArray()
	if err != nil || len(list)%2 != 0 {
		return driver.Message{}, fmt.Errorf("%w: entry %q has no list of fields: %v", driver.ErrCorrupt, text, err)
	}
	return readMessage(parsed, list)
}

// readMessage reads the fields of a message, of beck's or not.
func readMessage(id streamid.ID, fields []rueidis.RedisMessage) (m driver.Message, err error) {
	m = driver.Message{ID: id.String(), Time: id.Time()}
	if !readFields(&m, fields) {
		m.Key, m.Headers = "", nil
		m.Body, err = foreignBody(fields)
	}
	return m, err
}

// readFields fills in a message of beck's, and returns false if the fields are
// not those of one. What could not have been published through beck, such as a
// header with a line break or two keys, is not taken over as if it had been.
func readFields(m *driver.Message, list []rueidis.RedisMessage) bool {
	for i := 0; i < len(list); i += 2 {
		name, err := list[i].ToString()
		if err != nil || (i == 0) != (name == bodyField) {
			return false
		}
		if i == 0 {
			if m.Body, err = list[1].AsBytes(); err != nil {
				return false
			}
			if m.Body == nil {
				m.Body = []byte{}
			}
			continue
		}
		value, err := list[i+1].ToString()
		if err != nil || !utf8.ValidString(value) {
			return false
		}
		if name == keyField {
			if m.Key != "" || value == "" || len(value) > beck.MaxKey {
				return false
			}
			m.Key = value
			continue
		}
		header, ok := strings.CutPrefix(name, headerPrefix)
		if !ok || !isHeader(header, value) {
			return false
		}
		if m.Headers == nil {
			m.Headers = make(map[string]string, (len(list)-i)/2)
		}
		header = strings.ToLower(header)
		if _, twice := m.Headers[header]; twice {
			return false
		}
		m.Headers[header] = value
	}
	return len(list) > 0
}

func isHeader(name, value string) bool {
	return name != "" && strings.IndexFunc(name, notInHeaderName) < 0 && strings.IndexFunc(value, isControl) < 0
}

func notInHeaderName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
