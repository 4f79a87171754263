package server

import (
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

const (
	// maxSmall bounds requests other than those that publish.
	maxSmall = 1 << 20
	// decodedSize is how many times the size of its text a list may take.
	decodedSize = 32
)

// body reads the whole body of a request, which belongs to the caller, into
// memory of the share.
func (s *Server) body(r *http.Request, limit int64, of *share) ([]byte, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, wire.NewProblem(wire.CodeUnsupported, "content encoding %.40q is not supported; send the body as it is", encoding)
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	text, err := readAll(r.Body, r.ContentLength, limit, of)
	switch {
	case err == nil:
		return text, nil
	case errors.Is(err, errTooLong):
		return nil, tooLarge(limit)
	case isBusy(err):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, wire.NewProblem(wire.CodeRequestTimeout, "the request was not sent within %v", s.o.ReadTimeout)
	}
	return nil, wire.NewProblem(wire.CodeMalformed, "the request ended too early: %v", err)
}

func tooLarge(limit int64) error {
	return wire.NewProblem(wire.CodeTooLarge, "%v: the request's body has more than the %d bytes allowed", beck.ErrTooLarge, limit)
}

var errTooLong = errors.New("longer than allowed")

const (
	// firstRead is the most that is taken for a body of which nothing came yet.
	firstRead = 32 << 10
	// largeBody is the size beyond which a body's memory grows by a quarter
	// instead of doubling.
	largeBody = 8 << 20
)

// readAll takes memory only as data comes, whatever length was announced.
func readAll(r io.Reader, announced, limit int64, of *share) ([]byte, error) {
	var text []byte
	for {
		if len(text) == cap(text) {
			room := roomFor(cap(text), announced)
			if err := of.take(room - cap(text)); err != nil {
				return nil, err
			}
			text = append(make([]byte, 0, room), text...)
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

// roomFor is how much memory a body is given next that has filled what it has.
func roomFor(has int, announced int64) int {
	room := max(firstRead, 2*has)
	if has >= largeBody {
		room = has + has/4
	}
	if all := int(announced) + 1; all > has { // one more, to see the end
		room = min(room, all)
	}
	return room
}

// request reads a small JSON body into v; none at all is refused, unless it is
// optional.
func (s *Server) request(r *http.Request, v any, optional bool) error {
	of := s.memory.share()
	defer of.giveBack()
	text, err := s.body(r, maxSmall, of)
	if err != nil || optional && len(text) == 0 {
		return err
	}
	if len(text) > small {
		// A list of empty objects takes that much more than its text.
		if err := of.take(int(min(decodedSize*int64(len(text)), s.memory.limit/8))); err != nil {
			return err
		}
	}
	return wire.Decode(text, v)
}
