package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
)

type workFlags struct {
	weights     []string
	exec        string
	concurrency int
	maxAttempts int
	lease       time.Duration
	count       int64
	noWait      bool
	json        bool
}

const maxConcurrency = 10_000

func (p *program) workCommand() *cobra.Command {
	f := &workFlags{}
	c := &cobra.Command{
		Use:   "work QUEUE...",
		Short: "Take tasks from queues",
		Long: `Takes tasks from one or more queues; each task goes to one worker, wherever it
runs. Without --exec it prints the tasks, bodies only, one a line, or with --json
an object a line, and acknowledges a task once it is written.

With --exec it runs a shell command for each task, with the body on standard input
and BECK_ID, BECK_QUEUE, BECK_ATTEMPT and BECK_KEY in the environment. A command
that ends with 0 has done the task. One that fails has it tried again: after a
second, and twice as long with each attempt up to 5 minutes; after --max-attempts
it becomes a dead letter, with the end of the command's standard error as the
reason. On ctrl-C, running commands have 10 seconds to finish; what is cut short
is given back, and does not count as an attempt.

From several queues that have tasks it takes them in proportion to their weights,
1 unless --weight says otherwise.`,
		Example: `  beck work emails                                   # print tasks; run several to share the work
  beck work emails --exec 'sendmail -t' --concurrency 8 --max-attempts 5
  beck work urgent bulk --weight urgent=10 --exec ./handle
  beck work emails --no-wait --json                  # what is there, then end`,
		Args: func(c *cobra.Command, args []string) error {
			p.verb = verbOf(c)
			if len(args) == 0 {
				return usagef("work needs a QUEUE")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			weights, err := f.check(c, args)
			if err != nil {
				return err
			}
			return p.work(c.Context(), args, weights, f)
		},
		ValidArgsFunction: p.completeTopics,
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.weights, "weight", nil, "how often a queue's turn comes, as `QUEUE=N`; may be repeated")
	flags.StringVar(&f.exec, "exec", "", "run this shell `COMMAND` for each task, instead of printing it")
	flags.IntVar(&f.concurrency, "concurrency", 1, "with --exec: run up to `N` commands at a time")
	flags.IntVar(&f.maxAttempts, "max-attempts", 0, "with --exec: after `N` attempts a task becomes a dead letter (default: never)")
	flags.DurationVar(&f.lease, "lease", 0, "how long a task may stay with a worker that died, a `DURATION` (default 30s)")
	flags.Int64Var(&f.count, "count", 0, "stop after `N` tasks (default: don't)")
	flags.BoolVar(&f.noWait, "no-wait", false, "stop where no task is ready, instead of waiting")
	flags.BoolVar(&f.json, "json", false, "print an object a line, with id, topic, key, headers, time, attempt and body")
	return c
}

// check checks the flags and returns the queues' weights.
func (f *workFlags) check(c *cobra.Command, names []string) (weights map[string]int, err error) {
	flags := c.Flags()
	running := f.exec != ""
	switch {
	case given(flags, "exec") && !running:
		return nil, usagef("--exec takes a shell command")
	case running && f.json:
		return nil, usagef("--json is about printing; with --exec nothing is printed")
	case !running && (given(flags, "concurrency") || given(flags, "max-attempts")):
		return nil, usagef("--concurrency and --max-attempts go with --exec")
	case f.concurrency < 1 || f.concurrency > maxConcurrency:
		return nil, usagef("--concurrency takes a number from 1 to %d", maxConcurrency)
	case given(flags, "max-attempts") && f.maxAttempts < 1:
		return nil, usagef("--max-attempts takes a number from 1 on")
	case given(flags, "count") && f.count < 1:
		return nil, usagef("--count takes a number from 1 on")
	case given(flags, "lease") && (f.lease < beck.MinLease || f.lease > beck.MaxLease):
		return nil, usagef("--lease takes a duration from %v to %v", beck.MinLease, beck.MaxLease)
	}
	for i, name := range names {
		if err := beck.CheckName(name); err != nil {
			return nil, fmt.Errorf("work: %w", err)
		}
		if slices.Contains(names[:i], name) {
			return nil, usagef("queue %s is given twice", name)
		}
	}
	return parseWeights(f.weights, names)
}

// maxWeight is that of the library.
const maxWeight = 1000

func parseWeights(list, names []string) (map[string]int, error) {
	weights := map[string]int{}
	for _, text := range list {
		name, number, ok := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		switch _, twice := weights[name]; {
		case !ok || err != nil || n < 1 || n > maxWeight:
			return nil, usagef("--weight %.40q: it takes QUEUE=N, with N from 1 to %d", text, maxWeight)
		case twice:
			return nil, usagef("--weight is given twice for %s", name)
		case !slices.Contains(names, name):
			return nil, usagef("--weight %.40q: that queue is not among those to work on", text)
		}
		weights[name] = n
	}
	return weights, nil
}

func (p *program) work(ctx context.Context, names []string, weights map[string]int, f *workFlags) error {
	err := p.withBus(ctx, false, func(bus *beck.Bus) (err error) {
		to := &printer{out: p.out, json: f.json, left: f.count, limited: f.count > 0}
		var consumers []*consumer
		defer func() {
			for _, c := range consumers {
				err = firstError(err, c.leave(ctx))
			}
		}()
		for _, name := range names {
			existed, err := bus.Join(ctx, name, beck.QueueSubscription, &beck.JoinOptions{Queue: true, Lease: f.lease})
			if err != nil {
				return err
			}
			if !existed {
				p.note("queue %s is new", name)
			}
			c := p.newConsumer(bus, to, name, beck.QueueSubscription, f.noWait)
			consumers = append(consumers, c)
		}
		if f.exec == "" && len(consumers) == 1 {
			return consumers[0].run(ctx)
		}
		return p.workOn(ctx, consumers, weights, to, f)
	})
	// Without an end of its own, ctrl-C is how the command is meant to end.
	if f.count == 0 && !f.noWait && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// workOn takes tasks from all queues.
func (p *program) workOn(ctx context.Context, consumers []*consumer, weights map[string]int, to *printer, f *workFlags) error {
	if f.exec != "" {
		for _, c := range consumers {
			c.held = newHeld()
		}
	}
	from, err := watchQueues(consumers, weights)
	if err != nil {
		return err
	}
	defer from.stop()
	if f.exec == "" {
		return printTasks(ctx, from, to, f.noWait)
	}
	w := &worker{
		from: from, line: f.exec, maxAttempts: f.maxAttempts, noWait: f.noWait,
		left: f.count, limited: f.count > 0, slots: make(chan struct{}, f.concurrency),
		out: &together{ctx, p.out}, err: &together{ctx, &output{w: p.Err}}, note: p.note,
	}
	return w.run(ctx)
}

// printTasks prints tasks of several queues.
func printTasks(ctx context.Context, from *queues, to *printer, noWait bool) error {
	for !to.enough() {
		one, got, err := from.next(ctx, to.want(fetchFirst), !noWait)
		if err != nil || one == nil {
			return err
		}
		if err := one.printNow(ctx, got); err != nil {
			return err
		}
	}
	return nil
}

// printNow is printAndAcknowledge without a fetch ahead.
func (c *consumer) printNow(ctx context.Context, got leased) error {
	stop := c.keepLeased(ctx, got)
	err := c.to.print(ctx, nil, got.Messages)
	stop()
	if err != nil {
		ending, cancel := outlive(ctx, settleGrace)
		defer cancel()
		c.release(ending, got.Messages)
		return err
	}
	return c.acknowledge(ctx, got.Messages)
}
