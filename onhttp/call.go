package onhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/wire"
)

// A call is one request.
type call struct {
	method, path string
	query        url.Values
	kind         string // of the body, if there is one
	body         []byte
	headers      map[string]string
	// looks says that it changes nothing, though it isn't a GET.
	looks bool
	// waits is how long the server may be silent because it waits itself.
	waits time.Duration
}

// changes reports whether doing the call twice, or not knowing whether it was
// done, matters.
func (c call) changes() bool { return c.method != http.MethodGet && !c.looks }

const (
	kindJSON   = "application/json"
	kindNDJSON = "application/x-ndjson"
	kindBytes  = "application/octet-stream"
	kindText   = "text/plain; charset=utf-8"
)

// call sends a request and returns the body of its answer.
func (e *engine) call(ctx context.Context, c call) ([]byte, error) {
	ctx, silence := newSilence(ctx, e.patience+c.waits)
	defer silence.end()
	answer, err := e.send(ctx, c, silence)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := readBody(listened{answer.Body, silence}, answer.ContentLength, maxAnswer)
	if errors.Is(err, errTooLong) {
		return nil, e.tooLong(c)
	}
	if err != nil {
		return nil, e.lost(ctx, c, err, true)
	}
	if answer.StatusCode >= 300 {
		return nil, e.refused(c, answer, body)
	}
	return body, nil
}

// send sends a request and returns its answer, whose body must be closed. What is
// taken of the request's body breaks the silence.
func (e *engine) send(ctx context.Context, c call, silence *silence) (*http.Response, error) {
	target := e.base + c.path
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	// Once there is a connection, something may have been sent. If nothing was,
	// net/http tries again by itself with another one.
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { sent.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	req, err := http.NewRequestWithContext(traced, c.method, target, bytes.NewReader(c.body))
	if err != nil {
		return nil, fmt.Errorf("%w: a request that can't be made: %v", driver.ErrPosition, err)
	}
	if len(c.body) > 0 {
		req.GetBody = func() (io.ReadCloser, error) { return listened{bytes.NewReader(c.body), silence}, nil }
		req.Body, _ = req.GetBody() // it never fails
	}
	if c.kind != "" {
		req.Header.Set("Content-Type", c.kind)
	}
	for name, value := range c.headers {
		req.Header.Set(name, value)
	}
	if e.signed {
		req.SetBasicAuth(e.user, e.password)
	}
	answer, err := e.client.Do(req)
	if err != nil {
		return nil, e.lost(ctx, c, err, sent.Load())
	}
	return answer, nil
}

// lost tells what it means that no whole answer came.
func (e *engine) lost(ctx context.Context, c call, err error, sent bool) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		err = cause
	} else if ctx.Err() != nil {
		return fmt.Errorf("http %s: %w", e.name, cause)
	}
	// Its outer error repeats method and URL.
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	if sent && c.changes() {
		return fmt.Errorf("%w: http %s: the connection was lost before the answer: %v", driver.ErrUncertain, e.name, err)
	}
	return fmt.Errorf("%w: http %s: %v", driver.ErrUnavailable, e.name, err)
}

// refused makes an error of an answer that is none.
func (e *engine) refused(c call, answer *http.Response, body []byte) error {
	if p, ok := problemIn(answer, body); ok {
		if p.Code == wire.CodeClosed {
			p.Code = wire.CodeUnavailable // the server's bus, not this one
		}
		return p
	}
	// This is no beck server, or something stands between.
	status := answer.StatusCode
	switch {
	case status >= 500 && c.changes():
		return fmt.Errorf("%w: http %s: something before the server answered %s", driver.ErrUncertain, e.name, answer.Status)
	case status >= 500:
		return fmt.Errorf("%w: http %s: something before the server answered %s", driver.ErrUnavailable, e.name, answer.Status)
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired:
		return fmt.Errorf("%w: http %s answered %s", driver.ErrDenied, e.name, answer.Status)
	case status == http.StatusRequestEntityTooLarge || status == http.StatusRequestHeaderFieldsTooLarge:
		return fmt.Errorf("%w: http %s answered %s", driver.ErrTooLarge, e.name, answer.Status)
	case status < 400:
		return fmt.Errorf("%w: http %s answered %s; give the address that it leads to", driver.ErrVersion, e.name, answer.Status)
	}
	return fmt.Errorf("%w: http %s answered %s, which is not how a beck server answers; check the address", driver.ErrVersion, e.name, answer.Status)
}

// problemIn returns the problem that a beck server has answered with. One with a
// code that this program doesn't know, and that is the server's own fault, may be
// of anything in between.
func problemIn(answer *http.Response, body []byte) (*wire.Problem, bool) {
	if kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind != wire.ProblemType {
		return nil, false
	}
	p, ok := wire.DecodeProblem(body)
	if ok && answer.StatusCode >= 500 && wire.KindOf(p).Code != p.Code {
		return nil, false
	}
	return p, ok
}

// maxAnswer bounds answers: a page, or what is fetched, has a few MiB, or a few
// messages of the largest bodies.
const maxAnswer = 256 << 20

var errTooLong = errors.New("an answer that is too long")

// readBody reads an answer to its end. It takes memory only as data comes,
// whatever length was announced.
func readBody(from io.Reader, announced, limit int64) ([]byte, error) {
	if announced > limit {
		return nil, errTooLong
	}
	var body bytes.Buffer
	if announced > 0 {
		body.Grow(int(min(announced, 1<<20)) + bytes.MinRead)
	}
	n, err := body.ReadFrom(io.LimitReader(from, limit+1))
	if n > limit {
		return nil, errTooLong
	}
	return body.Bytes(), err
}

// tooLong is for an answer that is not read to its end.
func (e *engine) tooLong(c call) error {
	kind := driver.ErrTooLarge
	if c.changes() {
		kind = driver.ErrUncertain
	}
	return fmt.Errorf("%w: http %s: the answer is larger than the %d MiB that are read; ask for fewer messages at a time", kind, e.name, maxAnswer>>20)
}

// jsonCall is a call with a JSON body, and a JSON answer that is read into
// result unless it is nil.
func (e *engine) jsonCall(ctx context.Context, method, path string, request, result any) error {
	return e.json(ctx, call{method: method, path: path}, request, result)
}

func (e *engine) json(ctx context.Context, c call, request, result any) error {
	if request != nil {
		body, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("encoding a request: %w", err)
		}
		c.kind, c.body = kindJSON, body
	}
	body, err := e.call(ctx, c)
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(body, result); err != nil {
		return e.unreadable(c, err)
	}
	return nil
}

// unreadable is for answers that are not what the API says.
func (e *engine) unreadable(c call, err error) error {
	if c.changes() {
		return fmt.Errorf("%w: http %s: %w: %v", driver.ErrUncertain, e.name, driver.ErrVersion, err)
	}
	return fmt.Errorf("%w: http %s: %v", driver.ErrVersion, e.name, err)
}
