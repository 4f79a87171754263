package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

type pubFlags struct {
	key     string
	headers []string
	lines   bool
	json    bool
	quiet   bool
	retry   time.Duration
	delay   time.Duration
	due     string
	dedupe  string
	durable durability
}

func (p *program) pubCommand() *cobra.Command {
	f := &pubFlags{}
	c := &cobra.Command{
		Use:   "pub TOPIC [BODY]",
		Short: "Publish messages to a topic",
		Long: `Publishes one message: BODY, or standard input as it is, byte for byte. With
--lines, every line of standard input is a message, published as the lines come,
many at a time when they come fast.

It prints the id of each message, and only once the message is stored: on disk,
synced; in Redis, written, or as durably as --durability says. If publishing fails,
it says exactly which lines are stored, which may be, and where to go on. What is
stored but not as durably as asked has its id printed, and ends with exit code 21.

With --delay or --due the messages enter the topic later; the ids printed begin
with "d" then, and "beck delayed" lists and cancels them.

With --retry, every message has a deduplication id of its own, so that one that is
sent again because its outcome was unknown is stored once; --dedupe gives the id,
or what the ids of lines begin with.

The topic is made if it isn't there. With --json, each line of standard input is
a message object as "beck sub --json" prints it, of which key, headers and body
are published, so that one topic can be copied to another.`,
		Example: `  beck pub orders '{"id":42}'
  beck pub orders --key customer-7 --header type=invoice < invoice.xml
  beck pub reminders 'call back' --delay 90m
  beck pub payments --dedupe invoice-4711 < invoice.json
  beck pub logs --lines < app.log
  tail -f app.log | beck pub logs --lines --quiet --retry 5m
  beck sub orders --json --no-wait | beck pub orders-copy --json`,
		Args: p.arguments(1, 2, "TOPIC", "BODY"),
		RunE: func(c *cobra.Command, args []string) error {
			return p.pub(c.Context(), verbPub, args, f)
		},
		ValidArgsFunction: p.completeTopic,
	}
	p.addPubFlags(c, f)
	return c
}

// addPubFlags adds what pub and push have in common.
func (p *program) addPubFlags(c *cobra.Command, f *pubFlags) {
	flags := c.Flags()
	flags.StringVar(&f.key, "key", "", "`KEY` of the messages: those with the same key are handled in order")
	flags.StringArrayVar(&f.headers, "header", nil, "a header, as `NAME=VALUE`; may be repeated")
	flags.DurationVar(&f.delay, "delay", 0, "have the messages delivered only after this `DURATION`, up to ten years")
	flags.StringVar(&f.due, "due", "", "have the messages delivered only at this `TIME`, such as 2026-11-21T08:00:00Z")
	flags.StringVar(&f.dedupe, "dedupe", "", "deduplication `ID`: within the topic's window, a message with the same one is stored once; with --lines or --json, what the ids of the lines begin with")
	flags.Var(&f.durable, "durability", "what must hold before an id is printed, such as `LEVEL` replicas=1,synced,within=2s, or written (default: what the place of the messages asks for)")
	flags.BoolVar(&f.lines, "lines", false, "publish each line of standard input as a message")
	flags.BoolVar(&f.json, "json", false, `publish each line of standard input as a message object, as "beck sub --json" prints it`)
	flags.BoolVar(&f.quiet, "quiet", false, "print no ids, and no progress")
	flags.DurationVar(&f.retry, "retry", 0, "when the connection fails, keep trying for this `DURATION` (default: don't)")
	c.PreRunE = func(c *cobra.Command, args []string) error { return f.check(c, args) }
}

// The two verbs that publish.
const (
	verbPub  = "pub"
	verbPush = "push"
)

// longestDedupe leaves room for the number of a line behind a deduplication id.
const longestDedupe = 180

func (f *pubFlags) check(c *cobra.Command, args []string) error {
	flags := c.Flags()
	many := f.lines || f.json
	switch {
	case many && len(args) == 2:
		return usagef("--lines and --json read standard input; leave out BODY")
	case f.json && (f.key != "" || len(f.headers) > 0):
		return usagef("with --json, key and headers stand in the message objects; leave out --key and --header")
	case f.retry < 0:
		return usagef("--retry takes a duration such as 30s or 10m")
	case given(flags, "delay") && given(flags, "due"):
		return usagef("--delay and --due both say when; give one of them")
	case f.delay < 0 || f.delay > beck.MaxDelay:
		return usagef("--delay takes a duration from 0 to ten years, such as 90s, 10m or 24h")
	case given(flags, "dedupe") && f.dedupe == "":
		return usagef("--dedupe takes an id of visible ASCII")
	case many && len(f.dedupe) > longestDedupe:
		return usagef("--dedupe takes no more than %d characters here, since the number of each line is put behind it", longestDedupe)
	}
	if given(flags, "due") {
		if _, err := parseTime(f.due); err != nil {
			return usagef("--due %.40q: %v", f.due, err)
		}
	}
	_, err := parseHeaders(f.headers)
	return err
}

// parseTime reads a moment as beck writes it.
func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("it takes a time such as 2026-11-21T08:00:00Z")
	}
	return t, nil
}

// pattern is what all messages have in common.
func (f *pubFlags) pattern() (m beck.Message, err error) {
	m = beck.Message{Key: f.key, Delay: f.delay, DedupeID: f.dedupe, Durability: f.durable.asked}
	if f.due != "" {
		if m.At, err = parseTime(f.due); err != nil {
			return m, usagef("--due %.40q: %v", f.due, err)
		}
	}
	// A message that is sent again because the outcome was unknown must be known
	// again.
	if m.DedupeID == "" && f.retry > 0 {
		m.DedupeID = "run-" + rand.Text()
	}
	m.Headers, err = parseHeaders(f.headers)
	return m, err
}

func parseHeaders(list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	headers := make(map[string]string, len(list))
	for _, h := range list {
		name, value, ok := strings.Cut(h, "=")
		name = strings.ToLower(name)
		if !ok || name == "" {
			return nil, usagef("--header %.40q: it takes NAME=VALUE", h)
		}
		if _, twice := headers[name]; twice {
			return nil, usagef("--header %s is given twice", name)
		}
		headers[name] = value
	}
	return headers, nil
}

// pub publishes for the commands pub and push.
func (p *program) pub(ctx context.Context, verb string, args []string, f *pubFlags) error {
	topic := args[0]
	if err := beck.CheckName(topic); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	pattern, err := f.pattern()
	if err != nil {
		return err
	}
	to := &publisher{verb: verb, topic: topic, dedupe: pattern.DedupeID, retry: &retry{within: f.retry, note: p.note}}
	if !f.quiet {
		to.ids = p.out
	}
	if to.bus, err = p.openAgain(ctx, to.retry); err != nil {
		return err
	}
	return firstError(p.pubInput(ctx, to, pattern, args[1:], f), closeBus(ctx, to.bus))
}

// openAgain opens the bus, again and again if need be and wanted.
func (p *program) openAgain(ctx context.Context, r *retry) (*beck.Bus, error) {
	for attempt := r.begin(); ; {
		bus, err := p.open(ctx, true)
		if err == nil || !attempt.again(ctx, err, nil, true) {
			return bus, interruptedBy(ctx, err)
		}
	}
}

func (p *program) pubInput(ctx context.Context, to *publisher, pattern beck.Message, body []string, f *pubFlags) (err error) {
	switch {
	case f.lines || f.json:
		return p.pubLines(ctx, to, pattern, f)
	case len(body) > 0:
		pattern.Body = []byte(body[0])
	default:
		if pattern.Body, err = p.readBody(ctx); err != nil {
			return err
		}
	}
	return to.publish(ctx, &batch{messages: []beck.Message{pattern}})
}

func firstError(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// readBody reads all of standard input, which is refused if it is larger than a
// body may be.
func (p *program) readBody(ctx context.Context) ([]byte, error) {
	if isTerminal(p.In) {
		fmt.Fprintln(p.Err, "Type the message; ctrl-D ends it.")
	}
	type result struct {
		body []byte
		err  error
	}
	read := make(chan result, 1)
	// A read of standard input can't be called back: after ctrl-C it is left
	// alone, and ends with the process.
	go func() {
		body, err := io.ReadAll(io.LimitReader(p.In, int64(p.maxBody)+1))
		read <- result{body, err}
	}()
	select {
	case r := <-read:
		if r.err == nil && len(r.body) == 0 {
			return nil, &hinted{
				fmt.Errorf("%s: %w: standard input was empty", p.verb, beck.ErrMessage),
				`to send an empty message, give it as BODY: ""`,
			}
		}
		if r.err == nil && len(r.body) > int(p.maxBody) {
			hint := "the limit is set by --max-body, here and at the server"
			if p.verb == verbPub || p.verb == verbPush {
				hint = "to publish each line as a message, use --lines; " + hint
			}
			return nil, &hinted{
				fmt.Errorf("%s: %w: standard input has more than the %s that a body may have", p.verb, beck.ErrTooLarge, &p.maxBody), hint,
			}
		}
		return r.body, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
