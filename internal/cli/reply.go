package cli

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

type replyFlags struct {
	exec        string
	echo        bool
	concurrency int
	count       int64
}

// mostReplies is how many requests one replier handles at a time.
const mostReplies = 256

func (p *program) replyCommand() *cobra.Command {
	f := &replyFlags{}
	c := &cobra.Command{
		Use:   "reply SERVICE",
		Short: "Answer the requests to a service",
		Long: `Answers the requests to a service ("beck request") until ctrl-C. With --exec it runs
a shell command for each one, with the body on standard input and BECK_SERVICE and
BECK_KEY in the environment: what the command prints is the answer, and if it
fails, the end of its standard error is told to the one who asked. A command is
ended when nobody waits for its answer any more. With --echo the answer is the
request's body.

Run several, anywhere, to share the requests.`,
		Example: `  beck reply price --exec ./price
  beck reply upper --exec 'tr a-z A-Z'
  beck reply ping --echo`,
		Args: p.arguments(1, 1, "SERVICE"),
		RunE: func(c *cobra.Command, args []string) error {
			flags := c.Flags()
			switch {
			case f.echo == (f.exec != ""):
				return usagef("reply needs --exec COMMAND or --echo, one of them")
			case f.echo && given(flags, "concurrency"):
				return usagef("--concurrency goes with --exec")
			case f.concurrency < 1 || f.concurrency > mostReplies:
				return usagef("--concurrency takes a number from 1 to %d", mostReplies)
			case given(flags, "count") && f.count < 1:
				return usagef("--count takes a number from 1 on")
			}
			return p.reply(c.Context(), args[0], f)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := c.Flags()
	flags.StringVar(&f.exec, "exec", "", "run this shell `COMMAND` for each request; its output is the answer")
	flags.BoolVar(&f.echo, "echo", false, "answer with the request's body")
	flags.IntVar(&f.concurrency, "concurrency", 16, "with --exec: run up to `N` commands at a time")
	flags.Int64Var(&f.count, "count", 0, "stop after about `N` requests: those that have come meanwhile are answered, too (default: don't)")
	return c
}

func (p *program) reply(ctx context.Context, service string, f *replyFlags) error {
	var answered atomic.Int64
	err := p.withBus(ctx, false, func(bus *beck.Bus) error {
		if p.place.kind == placeDisk {
			p.note("only one process can open %s, so no request can come; to have both, run: %s serve", p.place.shown, p.called)
		}
		replying, enough := context.WithCancel(ctx)
		defer enough()
		answer := func(_ context.Context, m *beck.Message) ([]byte, error) { return m.Body, nil }
		if f.exec != "" {
			answer = p.runForAnswer(ctx, service, f, bus.MaxBody())
		}
		return bus.Reply(replying, service, func(ctx context.Context, m *beck.Message) ([]byte, error) {
			// It is still to be answered: ending means to take no more.
			if n := answered.Add(1); f.count > 0 && n >= f.count {
				enough()
			}
			return answer(ctx, m)
		})
	})
	switch {
	case f.count == 0 && ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil
	case err == nil && f.count > answered.Load():
		return context.Cause(ctx)
	}
	return err
}

// runForAnswer answers with what a command prints, until all ends.
func (p *program) runForAnswer(all context.Context, service string, f *replyFlags, maxOut int) func(context.Context, *beck.Message) ([]byte, error) {
	slots := make(chan struct{}, f.concurrency)
	said := &together{all, &output{w: p.Err}}
	return func(ctx context.Context, m *beck.Message) ([]byte, error) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return nil, errors.New("the replier has too much to do")
		}
		stderr := said.one()
		defer stderr.flush()
		c := &command{line: f.exec, body: m.Body, maxOut: maxOut, err: stderr, env: []string{
			"BECK_SERVICE=" + service, environ("BECK_KEY", m.Key),
		}}
		out, err := c.run(ctx)
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("it took too long: %w", err)
		}
		return out, err
	}
}
