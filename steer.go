package beck

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// TopicConfig is what a topic keeps, and for how long. Its zero value is what a
// topic has that was never configured.
type TopicConfig struct {
	// MaxAge is how old a message may become. What is older is removed within
	// about a minute, unless a subscription still needs it. Defaults to 7 days;
	// Forever keeps messages of any age.
	MaxAge time.Duration

	// MaxMessages bounds how many messages are stored, and MaxBytes about how
	// much room they may take. To publish into a topic that is full, the oldest
	// messages that no subscription needs are removed; if that is not enough, it
	// fails with ErrTopicFull. Both default to 0: there is no bound.
	MaxMessages int64
	MaxBytes    int64

	// DropOldest has messages removed from a full topic although subscriptions
	// need them, instead of refusing new ones. What is lost so is counted, logged,
	// and told by Fetched.Lost. Defaults to false.
	DropOldest bool

	// DedupeWindow is for how long a DedupeID is remembered, from a second to 7
	// days. Defaults to 10 minutes.
	DedupeWindow time.Duration
}

// Forever is the MaxAge of messages that are kept at any age.
const Forever time.Duration = -1

// QueueSubscription is the name of a queue's one subscription.
const QueueSubscription = driver.QueueSubscription

const (
	minWindow = time.Second
	maxWindow = 7 * 24 * time.Hour
)

// filled checks a configuration and puts in the defaults.
func (c TopicConfig) filled() (driver.TopicConfig, error) {
	d := driver.TopicConfig(c)
	switch {
	case c.MaxAge < 0 && c.MaxAge != Forever:
		return d, fmt.Errorf("%w: MaxAge is %v", ErrOption, c.MaxAge)
	case c.MaxMessages < 0:
		return d, fmt.Errorf("%w: MaxMessages is %d", ErrOption, c.MaxMessages)
	case c.MaxBytes < 0:
		return d, fmt.Errorf("%w: MaxBytes is %d", ErrOption, c.MaxBytes)
	case c.DropOldest && c.MaxMessages == 0 && c.MaxBytes == 0:
		return d, fmt.Errorf("%w: DropOldest needs MaxMessages or MaxBytes", ErrOption)
	case c.DedupeWindow != 0 && (c.DedupeWindow < minWindow || c.DedupeWindow > maxWindow):
		return d, fmt.Errorf("%w: DedupeWindow is %v; it takes %v to %v", ErrOption, c.DedupeWindow, minWindow, maxWindow)
	}
	if c.MaxAge == 0 {
		d.MaxAge = driver.DefaultTopicConfig.MaxAge
	}
	if c.MaxAge == Forever {
		d.MaxAge = 0
	}
	if c.DedupeWindow == 0 {
		d.DedupeWindow = driver.DefaultTopicConfig.DedupeWindow
	}
	return d, nil
}

// topicConfig is filled, back.
func topicConfig(d driver.TopicConfig) TopicConfig {
	c := TopicConfig(d)
	if c.MaxAge == 0 {
		c.MaxAge = Forever
	}
	return c
}

// Configure sets what a topic keeps, and makes the topic if it does not exist. It
// replaces what was set before.
func (b *Bus) Configure(ctx context.Context, topic string, config TopicConfig) error {
	return b.do("configure", at{topic}, func() error {
		c, err := config.filled()
		if err == nil {
			err = b.engine.Configure(ctx, topic, c)
		}
		return err
	})
}

// Seek has a subscription go on from a position; what it holds, or has waiting
// for a retry, it forgets. Its dead letters stay.
func (b *Bus) Seek(ctx context.Context, topic, subscription string, to Position) error {
	return b.do("seek", at{topic, subscription}, func() error {
		p, err := to.resolve(time.Now())
		if err == nil && !to.resumes() {
			err = fmt.Errorf("%w %s: a subscription goes on behind a message; leave out the @", ErrPosition, to)
		}
		if err == nil {
			err = b.engine.Seek(ctx, topic, subscription, p)
		}
		return err
	})
}

// Pause has a subscription deliver nothing until Resume. What consumers hold they
// may finish. The subscription of a queue is QueueSubscription.
func (b *Bus) Pause(ctx context.Context, topic, subscription string) error {
	return b.do("pause", at{topic, subscription}, func() error {
		return b.engine.Pause(ctx, topic, subscription, true)
	})
}

// Resume ends a Pause.
func (b *Bus) Resume(ctx context.Context, topic, subscription string) error {
	return b.do("resume", at{topic, subscription}, func() error {
		return b.engine.Pause(ctx, topic, subscription, false)
	})
}

// Purge removes all messages of a topic or queue, stored and delayed, needed or
// not, and returns how many. Dead letters stay. Followers get a [Gap].
func (b *Bus) Purge(ctx context.Context, topic string) (removed int64, err error) {
	err = b.do("purge", at{topic}, func() error {
		removed, err = b.engine.Purge(ctx, topic)
		b.forgetPages(topic)
		return err
	})
	return removed, err
}

// Requeue gives dead letters back to their subscription, and to it alone: they
// are delivered again at once, and their attempts counted anew. It returns how
// many, an id that is given twice counting once; ids that are not among the dead
// letters are named by an error that is ErrMessageNotFound, and all others requeued
// nevertheless.
func (b *Bus) Requeue(ctx context.Context, topic, subscription string, ids ...string) (done int, err error) {
	err = b.do("requeue", at{topic, subscription}, func() error {
		done, err = b.each(ids, func(some []string) ([]string, error) {
			return b.engine.Requeue(ctx, topic, subscription, some)
		})
		return err
	})
	return done, err
}

// Drop removes dead letters, and returns how many; ids that are not there are as
// in Requeue.
func (b *Bus) Drop(ctx context.Context, topic, subscription string, ids ...string) (done int, err error) {
	err = b.do("drop", at{topic, subscription}, func() error {
		done, err = b.each(ids, func(some []string) ([]string, error) {
			return b.engine.Drop(ctx, topic, subscription, some)
		})
		return err
	})
	return done, err
}

// Cancel removes delayed messages whose time has not come, by what Publish
// returned for them, and returns how many; ids that are not there (any more) are
// as in Requeue.
func (b *Bus) Cancel(ctx context.Context, topic string, ids ...string) (done int, err error) {
	err = b.do("cancel", at{topic}, func() error {
		done, err = b.each(ids, func(some []string) ([]string, error) {
			return b.engine.Cancel(ctx, topic, some)
		})
		return err
	})
	return done, err
}

// each calls do with ids, and says which were missing.
func (b *Bus) each(ids []string, do func([]string) (missing []string, err error)) (done int, err error) {
	if err := checkIDs(ids); err != nil || len(ids) == 0 {
		return 0, err
	}
	ids = once(ids)
	missing, err := do(ids)
	switch {
	case err != nil:
		return 0, err
	case len(missing) > 0:
		return len(ids) - len(missing), &missingError{missing}
	}
	return len(ids), nil
}

// once leaves out ids that are given again, which would not be there a second time.
func once(ids []string) []string {
	seen := make(map[string]bool, len(ids))
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		again := seen[id]
		seen[id] = true
		return again
	})
}

// checkIDs checks ids that are given to a call.
func checkIDs(ids []string) error {
	if len(ids) > MaxFetch {
		return fmt.Errorf("%w: %d ids, more than the %d allowed at once", ErrTooLarge, len(ids), MaxFetch)
	}
	for _, id := range ids {
		if id == "" || len(id) > maxPosition || strings.IndexFunc(id, notVisible) >= 0 {
			return fmt.Errorf("%w: %.40q is not an id", ErrPosition, id)
		}
	}
	return nil
}
