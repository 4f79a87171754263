package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// Decode reads a small JSON request into v. Unknown fields, and anything behind
// the value, are errors; the problem says where it is wrong.
func Decode(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			return NewProblem(CodeMalformed, "%s: unexpected text behind the JSON value", place(text, d.InputOffset()))
		}
		return nil
	}
	at := d.InputOffset()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = syntax.Offset
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		what := "the value"
		if wrong.Field != "" {
			what = strconv.Quote(wrong.Field)
		}
		return NewProblem(CodeMalformed, "%s: %s must be %s, not %s", place(text, wrong.Offset), what, wanted(wrong.Type), jsonKind(wrong.Value))
	}
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return NewProblem(CodeMalformed, "%s: the JSON ends too early", place(text, int64(len(text))))
	}
	return NewProblem(CodeMalformed, "%s: %s", place(text, at), strings.TrimPrefix(err.Error(), "json: "))
}

// wanted says what JSON a type of Go's takes.
func wanted(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return `a duration such as "20s"`
	case reflect.TypeFor[Age]():
		return `a duration such as "168h", or "forever"`
	}
	return jsonKind(t.Kind().String())
}

// jsonKind says what JSON has for a kind of Go's or of encoding/json's.
func jsonKind(kind string) string {
	switch {
	case strings.HasPrefix(kind, "int"):
		return "a whole number"
	case kind == "slice" || kind == "array":
		return "an array"
	case kind == "struct" || kind == "object":
		return "an object"
	}
	return "a " + kind
}

// place names the line and column of a byte, both from 1.
func place(text []byte, offset int64) string {
	before := text[:min(max(offset, 0), int64(len(text)))]
	line := bytes.Count(before, []byte{'\n'}) + 1
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d", line, column)
}
