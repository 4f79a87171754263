package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/beckmq/beck"
)

const (
	// fetchWait is how long one fetch waits for the first message.
	fetchWait = 20 * time.Second
	// grace is how long what was begun may take after the end of the context.
	grace = 10 * time.Second
	// firstPause and lastPause are between attempts at what failed.
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// reader takes batches from a subscription to the files.
type reader struct {
	bus                 *beck.Bus
	topic, subscription string
	options             Options
	files               *files
	log                 *slog.Logger

	// recover says that the consumer may hold messages that it has not got: after
	// a start, and after a fetch that failed.
	recover bool
	// failing is the number of attempts that failed in a row.
	failing int
}

func (r *reader) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := r.files.completeOld(); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		got, err := r.fetch(ctx)
		if err != nil {
			return err
		}
		if got == nil {
			continue
		}
		if got.Lost > 0 {
			r.log.Warn("archive: messages were lost before they could be written: the topic's bounds dropped them, or somebody removed them", "lost", got.Lost)
		}
		if len(got.Messages) == 0 {
			if r.options.UntilEnd && !got.More && !r.recover {
				return nil
			}
			r.recover = false
			continue
		}
		// What is held from before may be more than one batch.
		r.recover = r.recover && (got.More || len(got.Messages) == r.options.batch)
		if err := r.store(ctx, got.Messages); err != nil {
			return err
		}
	}
	return nil
}

// fetch leases a batch. It returns nil if it should be tried again.
func (r *reader) fetch(ctx context.Context) (*beck.Fetched, error) {
	o := &beck.FetchOptions{Consumer: r.options.Consumer, Max: r.options.batch, Recover: r.recover}
	if !r.options.UntilEnd {
		o.Wait = fetchWait
		if rest, open := r.files.timeLeft(); open {
			o.Wait = max(time.Millisecond, min(fetchWait, rest))
		}
	}
	got, err := r.bus.Fetch(ctx, r.topic, r.subscription, o)
	switch {
	case err == nil:
		r.works()
		return got, nil
	case !transient(err):
		return nil, err
	}
	r.recover = true
	return nil, r.pause(ctx, err)
}

// store writes a batch, and acknowledges it once it is on disk. It finishes that
// though ctx ends meanwhile.
func (r *reader) store(ctx context.Context, messages []*beck.Message) error {
	err := r.files.write(messages)
	if err != nil {
		r.settle(ctx, messages, beck.Release)
		return fmt.Errorf("archive: %w (nothing of this batch is acknowledged, it will be delivered again)", err)
	}
	settlements := decide(messages, beck.Ack)
	finishing, cancel := outlive(ctx)
	defer cancel()
	for {
		err := r.bus.Settle(finishing, r.topic, r.subscription, r.options.Consumer, settlements...)
		switch {
		case err == nil || errors.Is(err, beck.ErrNotHeld) && !transient(err):
			// The lease may have ended, and another archiver have it; or an attempt
			// before this one was made and its answer lost.
			r.works()
			return nil
		case !transient(err) || r.pause(finishing, err) != nil:
			if ended(finishing, err) == nil {
				err = beck.ErrUncertain
			}
			return fmt.Errorf("archive: what was written last is not acknowledged, and will be delivered again: %w", err)
		}
	}
}

// settle does what it can.
func (r *reader) settle(ctx context.Context, messages []*beck.Message, do func(id string) beck.Settlement) {
	finishing, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := r.bus.Settle(finishing, r.topic, r.subscription, r.options.Consumer, decide(messages, do)...)
	if err != nil {
		r.log.Warn("archive: giving a batch back failed; it will be delivered again when its lease ends", "error", err)
	}
}

func decide(messages []*beck.Message, do func(id string) beck.Settlement) []beck.Settlement {
	list := make([]beck.Settlement, len(messages))
	for i, m := range messages {
		list[i] = do(m.ID)
	}
	return list
}

// outlive is a context that ends some time after another.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func() { stop(); cancel() }
}

// transient reports whether trying again may help.
func transient(err error) bool {
	return errors.Is(err, beck.ErrUnavailable) || errors.Is(err, beck.ErrUncertain) || errors.Is(err, beck.ErrFull)
}

// pause waits before the next attempt.
func (r *reader) pause(ctx context.Context, err error) error {
	if r.failing == 0 {
		r.log.Warn("archive: trying again until it works", "error", err)
	}
	timer := time.NewTimer(min(firstPause<<min(r.failing, 10), lastPause))
	defer timer.Stop()
	r.failing++
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *reader) works() {
	if r.failing > 0 {
		r.log.Info("archive: works again", "attempts", r.failing)
		r.failing = 0
	}
}
