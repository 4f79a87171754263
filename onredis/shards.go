package onredis

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

var _ driver.Engine = (*shards)(nil)

const (
	// beatInterval is how often a process looks which set of instances is recorded,
	// and says that it is there; beatGood is for how long that is good.
	beatInterval = 2 * time.Second
	beatGood     = 10 * time.Second
	// beatTimeout bounds what is asked of one instance then.
	beatTimeout = 2 * time.Second
	// retired is for how long an instance that has no topics any more is kept open,
	// for calls under way and broadcasts of those who don't know yet.
	retired = 30 * time.Second
)

// shards spreads topics over several instances, each an engine of its own that knows
// nothing of the others. See docs/shards.md.
type shards struct {
	names  keys
	log    *slog.Logger
	member string // names this process among those that use the set
	// open opens the engine of an instance by its name, as the same user and with the
	// same options as the others.
	open func(ctx context.Context, name string) (*engine, error)

	set atomic.Pointer[shardSet]

	ctx     context.Context // until Close
	stop    context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // look at the record now

	mu        sync.Mutex
	instances map[string]*instance
	moved     map[string]bool // topics known to be at their next place
	known     map[string]bool // topics known to have been made where they are

	watches watches
	eras    eras
	live    shardsLive
}

// maxKnownTopics bounds what a process remembers of topics.
const maxKnownTopics = 100_000

// instance is one Redis of the set.
type instance struct {
	name string

	mu      sync.Mutex
	engine  *engine // nil while it could not be reached yet
	err     error   // why
	opening chan struct{}
	told    string // what was told of this process there
	goes    time.Time
	lost    bool // it did not answer the last time
}

// openShards opens the engines of several instances. Those that can't be reached are
// opened later, if the others confirm the set.
func openShards(ctx context.Context, hosts []string, names keys, log *slog.Logger, open func(context.Context, string) (*engine, error)) (*shards, error) {
	host, _ := os.Hostname()
	s := &shards{
		names: names, log: log, open: open, wake: make(chan struct{}, 1), instances: map[string]*instance{},
		member: fmt.Sprintf("%s:%d:%s", cmp.Or(host, "unknown"), os.Getpid(), rand.Text()[:8]),
		moved:  map[string]bool{}, known: map[string]bool{},
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.watches.of = map[string]map[*topicWatch]struct{}{}
	s.live.all = map[*hearing]struct{}{}
	hosts = slices.Clone(hosts)
	slices.Sort(hosts)
	for _, name := range hosts {
		s.instances[name] = &instance{name: name}
	}
	set, err := s.begin(ctx, hosts)
	if err != nil {
		return nil, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	s.use(set)
	s.running.Go(s.follow)
	return s, nil
}

// begin opens all instances side by side and finds out their set.
func (s *shards) begin(ctx context.Context, hosts []string) (*shardSet, error) {
	errs := make([]error, len(hosts))
	var opened sync.WaitGroup
	for i, name := range hosts {
		opened.Go(func() { _, errs[i] = s.engineOf(ctx, name) })
	}
	opened.Wait()
	up := map[string]*engine{}
	for i, name := range hosts {
		switch err := errs[i]; {
		case err == nil:
			up[name] = s.instances[name].engine
		case !errors.Is(err, driver.ErrUnavailable):
			return nil, err
		}
	}
	if len(up) == 0 {
		return nil, errors.Join(errs...)
	}
	set, err := enter(ctx, hosts, up, rand.Text())
	if err != nil {
		return nil, errors.Join(append([]error{err}, errs...)...)
	}
	for i, name := range hosts {
		if errs[i] != nil {
			s.log.Warn("an instance can't be reached; its topics have to wait", "redis", name, "error", errs[i])
			s.instances[name].lost = true
		}
	}
	return set, nil
}

// engineOf is the engine of an instance, which is opened if that was not done yet.
func (s *shards) engineOf(ctx context.Context, name string) (*engine, error) {
	s.mu.Lock()
	i := s.instances[name]
	if i == nil {
		i = &instance{name: name}
		s.instances[name] = i
	}
	s.mu.Unlock()
	for {
		i.mu.Lock()
		if i.engine != nil {
			defer i.mu.Unlock()
			return i.engine, nil
		}
		if s.ctx.Err() != nil {
			defer i.mu.Unlock()
			return nil, fmt.Errorf("%w: redis %s", driver.ErrClosed, name)
		}
		if i.err != nil && i.opening == nil { // it is tried again beside the calls
			defer i.mu.Unlock()
			return nil, i.err
		}
		if i.opening == nil {
			i.opening = make(chan struct{})
			go s.openInstance(i) // Close waits for it
		}
		opening := i.opening
		i.mu.Unlock()
		select {
		case <-opening:
		case <-ctx.Done():
			return nil, fmt.Errorf("redis %s: %w", name, ctx.Err())
		}
	}
}

// tryOpen has an instance opened, unless it is open or that is being tried.
func (s *shards) tryOpen(name string) {
	s.mu.Lock()
	i := s.instances[name]
	s.mu.Unlock()
	if i == nil || s.ctx.Err() != nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.engine == nil && i.opening == nil {
		i.opening = make(chan struct{})
		go s.openInstance(i) // Close waits for it
	}
}

// openInstance opens an instance. Nobody else does so meanwhile.
func (s *shards) openInstance(i *instance) {
	e, err := s.open(s.ctx, i.name)
	if err == nil {
		if err = s.checkInstance(e, i.name); err != nil {
			_ = e.Close(context.Background())
		}
	}
	i.mu.Lock()
	if i.err = err; err == nil {
		i.engine = e // if all is being closed, so is this
	} else {
		i.lost = i.lost || s.set.Load() != nil
	}
	close(i.opening)
	i.opening = nil
	i.mu.Unlock()
	if err == nil && s.set.Load() != nil {
		s.rehome()
		s.lookNow()
	}
}

// checkInstance sees to it that an instance that is opened late belongs to the set.
func (s *shards) checkInstance(e *engine, name string) error {
	set := s.set.Load()
	if set == nil {
		return nil // begin does that
	}
	ctx, cancel := context.WithTimeout(s.ctx, beatTimeout)
	defer cancel()
	other, err := e.readSet(ctx)
	switch {
	case err != nil:
		return err
	case other == nil:
		_, err = e.swapRecord(ctx, "", set.text())
		return err
	case other.ID != set.ID:
		return fmt.Errorf("%w: redis %s belongs to another set: %s", driver.ErrUnavailable, name, named(other.Instances))
	}
	s.learn(other)
	return nil
}

// learn takes over a record if it is newer than the one that is known, and reports
// whether it was.
func (s *shards) learn(set *shardSet) bool {
	if set == nil {
		return false
	}
	for {
		old := s.set.Load()
		if old == nil || set.ID != old.ID || set.Generation <= old.Generation {
			return false
		}
		if s.set.CompareAndSwap(old, set) {
			s.log.Info("the set of instances has changed", "instances", named(set.Instances), "next", named(set.Next))
			s.use(set)
			return true
		}
	}
}

// use takes over a record.
func (s *shards) use(set *shardSet) {
	s.set.CompareAndSwap(nil, set)
	s.mu.Lock()
	set = s.set.Load() // another one may have come, and been taken over, meanwhile
	clear(s.moved)
	clear(s.known)
	in := set.all()
	for _, name := range in {
		if s.instances[name] == nil {
			s.instances[name] = &instance{name: name}
		}
	}
	for name, i := range s.instances {
		i.mu.Lock()
		switch {
		case slices.Contains(in, name):
			i.goes = time.Time{}
		case i.goes.IsZero():
			i.goes = time.Now().Add(retired)
		}
		i.mu.Unlock()
	}
	s.mu.Unlock()
	for _, name := range in {
		s.tryOpen(name)
	}
	s.rehome()
	s.lookNow() // tell others soon that it is known here
}

// lookNow has follow go on at once.
func (s *shards) lookNow() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// up are the engines that are open, by name.
func (s *shards) up() map[string]*engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := map[string]*engine{}
	for name, i := range s.instances {
		i.mu.Lock()
		if i.engine != nil {
			list[name] = i.engine
		}
		i.mu.Unlock()
	}
	return list
}

// String implements driver.Engine.
func (s *shards) String() string {
	set := s.set.Load()
	if set == nil {
		return "redis shards"
	}
	return "redis shards " + named(set.Instances)
}

// Ping reports whether at least one instance can be used, since one that is down
// harms only its own topics. Which one is down is logged when that is found out.
func (s *shards) Ping(ctx context.Context) error {
	set := s.set.Load()
	answers := make(chan error, len(set.Instances))
	for _, name := range set.Instances {
		go func() {
			e, err := s.engineOf(ctx, name)
			if err == nil {
				err = e.Ping(ctx)
			}
			answers <- err
		}()
	}
	var errs []error
	for range set.Instances {
		select {
		case err := <-answers:
			if err == nil {
				return nil
			}
			errs = append(errs, err)
		case <-ctx.Done():
			return fmt.Errorf("%v: %w", s, ctx.Err())
		}
	}
	return errors.Join(errs...)
}

// Close implements driver.Engine.
func (s *shards) Close(ctx context.Context) error {
	s.stop()
	s.running.Wait()
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.instances))
	s.mu.Unlock()
	errs := make([]error, len(all))
	var closing sync.WaitGroup
	for n, i := range all {
		closing.Go(func() {
			i.mu.Lock()
			opening := i.opening
			i.mu.Unlock()
			if opening != nil {
				<-opening // its context has ended
			}
			i.mu.Lock()
			e, told := i.engine, i.told
			i.mu.Unlock()
			if e == nil {
				return
			}
			if told != "" {
				e.forgetMember(ctx, told)
			}
			errs[n] = e.Close(ctx)
		})
	}
	closing.Wait()
	return errors.Join(errs...)
}
