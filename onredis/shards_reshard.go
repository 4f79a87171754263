package onredis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redisaddr"
)

const (
	// moveLease is how long a mover may be silent before its topic goes on at its old
	// place, and before another mover may begin.
	moveLease = 10 * time.Second
	// membersWait is how long all processes have to learn of a set.
	membersWait = time.Minute
	// membersLook is how often it is looked whether they have.
	membersLook = 100 * time.Millisecond
	// markLife is for how long marks of topics that have moved stay once all processes
	// know where to look.
	markLife = 24 * time.Hour
)

// ReshardOptions are what Reshard takes beside the addresses. The zero value works.
type ReshardOptions struct {
	Options

	// Wait is how long all processes that use the instances have to learn of the
	// new set, and to reach it. Defaults to a minute.
	Wait time.Duration

	// Progress is told what has been done, now and then, and at the end. Defaults to
	// nobody.
	Progress func(ReshardProgress)
}

// ReshardProgress is how far a Reshard is.
type ReshardProgress struct {
	// Doing says what is being done, for people.
	Doing string
	// Moved is the number of topics that were moved, Left how many are known that
	// have to be, and Bytes how much was copied.
	Moved, Left int
	Bytes       int64
}

// Reshard spreads topics over another set of instances: at and to are addresses such as
// redis+shards://a,b and redis+shards://a,b,c. Just the topics whose place changes are
// moved, with all that belongs to them. Programs that run go on meanwhile, and find out
// by themselves. User, password and options of the instances are those of at.
//
// It may be ended at any time, and run again with the same addresses; it then goes on.
// Nothing is lost or doubled by that. Only one may run at a time.
func Reshard(ctx context.Context, at, to string, o *ReshardOptions) error {
	if o == nil {
		o = &ReshardOptions{}
	}
	err := func() error {
		a, err := shardsAddress(at)
		if err != nil {
			return err
		}
		b, err := shardsAddress(to)
		if err != nil {
			return err
		}
		names, err := o.keys()
		if err != nil {
			return err
		}
		r := newResharder(a.Hosts, b.Hosts, names, o.logger(), opener(a, names, &o.Options))
		if o.Wait > 0 {
			r.wait = o.Wait
		}
		if o.Progress != nil {
			r.progress = o.Progress
		}
		return r.run(ctx)
	}()
	if err != nil {
		return &beck.Error{Op: "reshard", Err: err}
	}
	return nil
}

func shardsAddress(text string) (*redisaddr.Address, error) {
	a, err := redisaddr.Parse(text)
	if err == nil && a.Kind != redisaddr.Shards {
		err = fmt.Errorf("%w: reshard takes two addresses such as redis+shards://a:6379,b:6379", beck.ErrOption)
	}
	return a, err
}

// resharder is one Reshard.
type resharder struct {
	from, to []string // sorted
	names    keys
	log      *slog.Logger
	open     func(context.Context, string) (*engine, error)
	lease    time.Duration
	wait     time.Duration
	progress func(ReshardProgress)
	step     func(step, topic string)

	engines map[string]*engine
	set     *shardSet
	done    ReshardProgress
	told    time.Time
}

func newResharder(from, to []string, names keys, log *slog.Logger, open func(context.Context, string) (*engine, error)) *resharder {
	return &resharder{
		from: sorted(from), to: sorted(to), names: names, log: log, open: open,
		lease: moveLease, wait: membersWait, engines: map[string]*engine{},
		progress: func(ReshardProgress) {}, step: func(string, string) {},
	}
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// all are the instances of both sets.
func (r *resharder) all() []string {
	return slices.Compact(sorted(slices.Concat(r.from, r.to)))
}

func (r *resharder) run(ctx context.Context) (err error) {
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatTimeout)
		defer cancel()
		for _, e := range r.engines {
			err = errors.Join(err, e.Close(closing))
		}
	}()
	if err := r.openAll(ctx); err != nil {
		return err
	}
	if err := r.readSet(ctx); err != nil {
		return err
	}
	r.tell("beginning", false)
	working, unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.reshard(working); err != nil {
		if ctx.Err() == nil && working.Err() != nil {
			return errors.Join(context.Cause(working), err)
		}
		return err
	}
	r.tell("done", true)
	return nil
}

func (r *resharder) reshard(ctx context.Context) error {
	if err := r.readSet(ctx); err != nil { // another one may have ended meanwhile
		return err
	}
	if !slices.Equal(r.set.Instances, r.to) || r.set.moving() {
		if err := r.announce(ctx); err != nil {
			return err
		}
		if err := r.await(ctx); err != nil {
			return err
		}
		if err := r.moveAll(ctx, r.set.Next); err != nil {
			return err
		}
		if err := r.record(ctx, &shardSet{Version: setVersion, ID: r.set.ID, Generation: r.set.Generation + 1, Instances: r.to}); err != nil {
			return err
		}
	} else if err := r.record(ctx, r.set); err != nil { // of an earlier run that was ended here
		return err
	}
	if err := r.await(ctx); err != nil {
		return err
	}
	// Whatever a process that was stopped all the while has made in the wrong place.
	if err := r.moveAll(ctx, r.set.Instances); err != nil {
		return err
	}
	return r.endMarks(ctx)
}

// openAll opens all instances; each must be there.
func (r *resharder) openAll(ctx context.Context) error {
	var mu sync.Mutex
	var errs []error
	var opening sync.WaitGroup
	for _, name := range r.all() {
		opening.Go(func() {
			e, err := r.open(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			r.engines[name] = e
		})
	}
	opening.Wait()
	return errors.Join(errs...)
}

// readSet finds out the newest record, and whether what is asked for fits it.
func (r *resharder) readSet(ctx context.Context) error {
	r.set = nil
	for _, name := range r.all() {
		found, err := r.engines[name].readSet(ctx)
		switch {
		case err != nil:
			return err
		case found == nil:
		case r.set != nil && found.ID != r.set.ID:
			return differ(r.set, found)
		case r.set == nil || found.Generation > r.set.Generation:
			r.set = found
		}
	}
	switch {
	case r.set == nil:
		return fmt.Errorf("%w: nothing has been opened at redis+shards://%s yet, so there is nothing to move", beck.ErrOption, named(r.from))
	case r.set.moving() && slices.Equal(r.set.Instances, r.from) && slices.Equal(r.set.Next, r.to):
	case r.set.moving():
		return fmt.Errorf("%w: topics are on their way from %s to %s; first end that, by beck reshard --at redis+shards://%s --to redis+shards://%s",
			beck.ErrOption, named(r.set.Instances), named(r.set.Next), named(r.set.Instances), named(r.set.Next))
	case slices.Equal(r.set.Instances, r.from) || slices.Equal(r.set.Instances, r.to):
	default:
		return fmt.Errorf("%w: topics are spread over %s, which is neither %s nor %s", beck.ErrOption, named(r.set.Instances), named(r.from), named(r.to))
	}
	return nil
}

// announce has all instances know that topics will be on their way.
func (r *resharder) announce(ctx context.Context) error {
	next := r.set
	if !next.moving() {
		if err := r.checkAdded(ctx); err != nil {
			return err
		}
		next = &shardSet{Version: setVersion, ID: r.set.ID, Generation: r.set.Generation + 1, Instances: r.set.Instances, Next: r.to}
	}
	return r.record(ctx, next)
}

// checkAdded refuses an instance that has topics already.
func (r *resharder) checkAdded(ctx context.Context) error {
	for _, name := range r.to {
		if slices.Contains(r.set.Instances, name) {
			continue
		}
		topics, err := r.engines[name].topicNames(ctx)
		if err != nil {
			return err
		}
		if len(topics) > 0 {
			return fmt.Errorf("%w: %s has topics of its own, such as %s; add an instance without, or use another prefix", beck.ErrOption, name, topics[0])
		}
	}
	return nil
}

// record writes a record to all instances that have an older one, the old ones first.
func (r *resharder) record(ctx context.Context, set *shardSet) error {
	for _, name := range append(slices.Clone(r.from), r.to...) {
		e := r.engines[name]
		for {
			before, err := e.readSet(ctx)
			if err != nil {
				return err
			}
			old := ""
			if before != nil {
				if old = before.text(); old == set.text() {
					break
				}
				if before.Generation >= set.Generation {
					return errOvertaken
				}
			}
			now, err := e.swapRecord(ctx, old, set.text())
			if err != nil {
				return err
			}
			if now == set.text() {
				break
			}
		}
	}
	r.set = set
	return nil
}

// await waits until all processes know of the set.
func (r *resharder) await(ctx context.Context) error {
	for began := time.Now(); ; {
		late, err := r.late(ctx)
		if err != nil || len(late) == 0 {
			return err
		}
		r.tell(fmt.Sprintf("waiting for %d processes to learn of the set, such as %s", len(late), late[0]), false)
		if time.Since(began) > r.wait {
			return fmt.Errorf("%w: after %v the process %s (host:pid) does not know of the set %s, or can't reach all of it; run reshard again then", driver.ErrUnavailable, r.wait, late[0], named(r.set.all()))
		}
		select {
		case <-time.After(membersLook):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// late lists the processes that don't know of the set.
func (r *resharder) late(ctx context.Context) ([]string, error) {
	newest := map[string]int64{}
	for _, e := range r.engines {
		_, members, err := e.beat(ctx, "", "", 0)
		if err != nil {
			return nil, err
		}
		for _, text := range members {
			name, number, _ := strings.Cut(text, " ")
			generation, err := strconv.ParseInt(number, 10, 64)
			if err == nil {
				newest[name] = max(newest[name], generation)
			}
		}
	}
	var late []string
	for name, generation := range newest {
		if generation < r.set.Generation {
			late = append(late, name[:max(0, strings.LastIndexByte(name, ':'))])
		}
	}
	slices.Sort(late)
	return late, nil
}

// lock sees to it that nobody else moves topics. What it returns ends when it is lost.
func (r *resharder) lock(ctx context.Context) (context.Context, func(), error) {
	return lockAll(ctx, r.engines, r.names.reshardLock(), r.lease)
}

// tell tells of progress, not too often unless it is important.
func (r *resharder) tell(doing string, important bool) {
	if !important && doing == r.done.Doing && time.Since(r.told) < 100*time.Millisecond {
		return
	}
	r.done.Doing, r.told = doing, time.Now()
	r.progress(r.done)
}
