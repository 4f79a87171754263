package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// maxSmall bounds requests other than those that publish.
const maxSmall = 1 << 20

// body reads the whole body of a request, which belongs to the caller.
func (s *Server) body(r *http.Request, limit int64) ([]byte, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, wire.NewProblem(wire.CodeUnsupported, "content encoding %.40q is not supported; send the body as it is", encoding)
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	text, err := readAll(r.Body, r.ContentLength, limit)
	switch {
	case err == nil:
		return text, nil
	case errors.Is(err, errTooLong):
		return nil, tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, wire.NewProblem(wire.CodeRequestTimeout, "the request was not sent within %v", s.o.ReadTimeout)
	}
	return nil, wire.NewProblem(wire.CodeMalformed, "the request ended too early: %v", err)
}

func tooLarge(limit int64) error {
	return wire.NewProblem(wire.CodeTooLarge, "%v: the request's body has more than the %d bytes allowed", beck.ErrTooLarge, limit)
}

var errTooLong = errors.New("longer than allowed")

// readAll takes memory only as data comes, whatever length was announced.
func readAll(r io.Reader, announced, limit int64) ([]byte, error) {
	text := make([]byte, 0, min(max(announced, 511), 1<<20)+1)
	for {
		if len(text) == cap(text) {
			text = slices.Grow(text, len(text))
		}
		n, err := r.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		switch {
		case int64(len(text)) > limit:
			return nil, errTooLong
		case err == io.EOF:
			return text, nil
		case err != nil:
			return nil, err
		}
	}
}

// request reads a small JSON body into v; none at all is refused, unless it is
// optional.
func (s *Server) request(r *http.Request, v any, optional bool) error {
	text, err := s.body(r, maxSmall)
	if err != nil || optional && len(text) == 0 {
		return err
	}
	return wire.Decode(text, v)
}

// query reads the parameters of a request, each of which may be given once; those
// that the call doesn't know are refused.
func query(r *http.Request, known ...string) (map[string]string, error) {
	all, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w: the parameters behind the question mark: %v", beck.ErrOption, err)
	}
	given := map[string]string{}
	for name, values := range all {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%w: unknown parameter %.40q; it takes %q", beck.ErrOption, name, known)
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("%w: parameter %q is given %d times", beck.ErrOption, name, len(values))
		}
		given[name] = values[0]
	}
	return given, nil
}
