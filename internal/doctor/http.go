package doctor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

// httpTimeout is how long a server may take to answer.
const httpTimeout = 5 * time.Second

// HTTP asks a beck server whether it is well. What it stores messages on is looked
// at by giving that one's own address.
func HTTP(ctx context.Context, address string) (*Report, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%w: the address is not a valid URL", beck.ErrOption)
	}
	r := &Report{At: u.Redacted(), Kind: "http"}
	status, text, err := get(ctx, u.JoinPath("readyz").String())
	if err != nil {
		if cause, isURL := err.(*url.Error); isURL {
			err = cause.Err // without the address, which may hold a password
		}
		return nil, fmt.Errorf("%w: %s: %v", beck.ErrUnavailable, u.Redacted(), err)
	}
	switch {
	case status == http.StatusOK:
		r.add("", ok("ready", "the server is, and reaches what it stores messages on"))
	case status == http.StatusNotFound:
		return nil, fmt.Errorf("%w: %s is no beck server: it has no /readyz", beck.ErrOption, u.Redacted())
	default:
		r.add("", danger("ready", "see the log of the server", "the server is not: %s", text))
	}
	r.add("", unknown("storage", "run doctor again with the address that the server was given: --at redis://… or --at disk:DIR",
		"what the server stores messages on can be looked at only by its own address"))
	r.count()
	return r, nil
}

func get(ctx context.Context, address string) (status int, text string, err error) {
	ctx, cancel := context.WithTimeout(ctx, httpTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, "", err
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(io.LimitReader(reply.Body, 300))
	if err != nil {
		return 0, "", err
	}
	return reply.StatusCode, strings.Join(strings.Fields(string(body)), " "), nil
}
