package onredis

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"github.com/redis/rueidis"
)

// foreignBody is the body of an entry that is not beck's: its fields as a JSON
// object, in their order. A field that comes more than once has a list of its
// values. A value that isn't text goes under the field's name with _base64
// behind it.
func foreignBody(fields []rueidis.RedisMessage) ([]byte, error) {
	var names []string
	values := map[string][]string{}
	for i := 0; i+1 < len(fields); i += 2 {
		name, err := fields[i].ToString()
		if err != nil {
			return nil, err
		}
		value, err := fields[i+1].ToString()
		if err != nil {
			return nil, err
		}
		if !utf8.ValidString(value) {
			name, value = name+"_base64", base64.StdEncoding.EncodeToString([]byte(value))
		}
		if values[name] == nil {
			names = append(names, name)
		}
		values[name] = append(values[name], value)
	}
	return encodeObject(names, values)
}

// encodeObject writes a JSON object whose members keep their order.
func encodeObject(names []string, values map[string][]string) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	write := func(v any, behind byte) error {
		if err := encoder.Encode(v); err != nil {
			return err
		}
		b.Bytes()[b.Len()-1] = behind // instead of the encoder's line break
		return nil
	}
	b.WriteByte('{')
	for i, name := range names {
		if err := write(name, ':'); err != nil {
			return nil, err
		}
		var value any = values[name]
		if len(values[name]) == 1 {
			value = values[name][0]
		}
		behind := byte(',')
		if i == len(names)-1 {
			behind = '}'
		}
		if err := write(value, behind); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		b.WriteByte('}')
	}
	return b.Bytes(), nil
}
