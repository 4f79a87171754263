package server

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

// Options say how a server treats its clients. The zero value works.
type Options struct {
	// Logger gets the access log, at debug level, and what went wrong. Defaults
	// to slog.Default().
	Logger *slog.Logger

	// Insecure lets anybody who can reach the server use it: Listen takes any
	// address, and requests may be addressed to any IP address and, unless there
	// are Hosts, to any host. Defaults to false.
	Insecure bool

	// Hosts are names, beside the loopback ones, to which requests may be
	// addressed, such as that of a proxy in front. Defaults to none.
	Hosts []string

	// MaxRequest is the largest request in bytes. The body of one message is
	// bounded by beck.Options.MaxBody. All requests together may take the memory
	// of four such ones; beyond that, large ones are refused until there is room.
	// Defaults to 64 MiB, or eight of the largest bodies, if that is more.
	MaxRequest int64

	// ReadTimeout is how long a client may take to send a request. Defaults to
	// 1 minute.
	ReadTimeout time.Duration

	// WriteTimeout is how long a client may take for a portion of 64 KiB of an
	// answer, before it is cut off. Defaults to 1 minute.
	WriteTimeout time.Duration

	// Heartbeat is how often a stream with nothing to tell sends a comment.
	// Defaults to 15 seconds.
	Heartbeat time.Duration
}

// readHeaderTimeout is how long a client may take to send the head of a request;
// idleTimeout is how long a connection is kept between requests, longer than the
// HTTP engine keeps its own, so that it doesn't send into a closing one.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 3 * time.Minute
	maxHeaderBytes    = 64 << 10

	// requestsAtOnce is how many of the largest requests are read at a time.
	requestsAtOnce = 4
)

func (o *Options) withDefaults(bus *beck.Bus) (Options, error) {
	var full Options
	if o != nil {
		full = *o
	}
	if full.MaxRequest < 0 || full.ReadTimeout < 0 || full.WriteTimeout < 0 || full.Heartbeat < 0 {
		return full, fmt.Errorf("server: %w: a limit or time-out is negative", beck.ErrOption)
	}
	for i, host := range full.Hosts {
		if host == "" || strings.ContainsAny(host, "/ ") {
			return full, fmt.Errorf("server: %w: host %d is %q; give a name such as beck.example.com", beck.ErrOption, i+1, host)
		}
	}
	if full.Logger == nil {
		full.Logger = slog.Default()
	}
	if full.MaxRequest == 0 {
		full.MaxRequest = max(64<<20, 8*int64(bus.MaxBody()))
	}
	if full.ReadTimeout == 0 {
		full.ReadTimeout = time.Minute
	}
	if full.WriteTimeout == 0 {
		full.WriteTimeout = time.Minute
	}
	if full.Heartbeat == 0 {
		full.Heartbeat = 15 * time.Second
	}
	return full, nil
}
