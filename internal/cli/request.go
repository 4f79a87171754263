package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

type requestFlags struct {
	key     string
	headers []string
	timeout time.Duration
}

// requestTimeout is how long a request waits by default.
const requestTimeout = 5 * time.Second

func (p *program) requestCommand() *cobra.Command {
	f := &requestFlags{}
	c := &cobra.Command{
		Use:   "request SERVICE [BODY]",
		Short: "Ask a service, and print its answer",
		Long: `Asks a service with BODY, or standard input as it is, and prints the answer of one
of its repliers ("beck reply"), byte for byte. Nothing is stored.

If nobody replies for the service, that is an error at once. An error of the
replier is printed as one, with an exit code of its own.`,
		Example: `  beck request price '{"item":42}'
  beck request resize < photo.jpg > small.jpg --timeout 30s`,
		Args: p.arguments(1, 2, "SERVICE", "BODY"),
		RunE: func(c *cobra.Command, args []string) error {
			if f.timeout <= 0 {
				return usagef("--timeout takes a duration such as 5s or 1m")
			}
			headers, err := parseHeaders(f.headers)
			if err != nil {
				return err
			}
			return p.request(c.Context(), args, beck.Message{Key: f.key, Headers: headers}, f.timeout)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := c.Flags()
	flags.DurationVar(&f.timeout, "timeout", requestTimeout, "how long to wait for the answer, a `DURATION`")
	flags.StringVar(&f.key, "key", "", "`KEY` of the request, for the replier")
	flags.StringArrayVar(&f.headers, "header", nil, "a header, as `NAME=VALUE`; may be repeated")
	return c
}

func (p *program) request(ctx context.Context, args []string, m beck.Message, timeout time.Duration) (err error) {
	service := args[0]
	if err := beck.CheckName(service); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if m.Body, err = p.bodyOf(ctx, args[1:]); err != nil {
		return err
	}
	return p.withBus(ctx, false, func(bus *beck.Bus) error {
		waiting, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		answer, err := bus.Request(waiting, service, m)
		switch {
		case err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			return &hinted{&overTime{fmt.Sprintf("request %s: no answer within %v", service, timeout)}, "it may be handled all the same; wait longer with --timeout"}
		case err != nil:
			return err
		}
		if isTerminal(p.Out) && !bytes.HasSuffix(answer, []byte("\n")) {
			answer = append(bytes.Clone(answer), '\n')
		}
		return p.out.write(ctx, answer)
	})
}

// overTime says in plain words that a deadline has passed.
type overTime struct{ what string }

func (e *overTime) Error() string { return e.what }

// Is makes it the end of a context by time.
func (e *overTime) Is(target error) bool { return target == context.DeadlineExceeded }

// bodyOf is the body on the command line, or standard input.
func (p *program) bodyOf(ctx context.Context, args []string) ([]byte, error) {
	if len(args) > 0 {
		return []byte(args[0]), nil
	}
	return p.readBody(ctx)
}
