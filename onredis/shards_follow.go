package onredis

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// follow looks now and then which set of instances is recorded, opens those that
// could not be reached, and closes those that are not needed any more, until Close.
func (s *shards) follow() {
	tick := time.NewTicker(beatInterval)
	defer tick.Stop()
	for {
		s.live.reconcile(s) // first, since those who send go by what is told then
		s.beatAll()
		s.reopen()
		s.retire()
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		}
	}
}

// beatAll beats at all instances side by side, and returns whether it learned of
// another set.
func (s *shards) beatAll() (learned bool) {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.instances))
	s.mu.Unlock()
	found := make([]*shardSet, len(all))
	// What is told is what this process goes by in full: it has opened all instances.
	member := fmt.Sprintf("%s %d", s.member, s.reached())
	var beats sync.WaitGroup
	for n, i := range all {
		beats.Go(func() { found[n] = s.beat(i, member) })
	}
	beats.Wait()
	for _, set := range found {
		learned = s.learn(set) || learned
	}
	return learned
}

// reached is the generation whose instances this process has opened; the one before
// if it has not opened all.
func (s *shards) reached() int64 {
	set := s.set.Load()
	up := s.up()
	for _, name := range set.all() {
		if up[name] == nil {
			return set.Generation - 1
		}
	}
	return set.Generation
}

// beat tells an instance that this process is there, and logs when it begins or ends
// to answer.
func (s *shards) beat(i *instance, member string) *shardSet {
	i.mu.Lock()
	e, told := i.engine, i.told
	if e != nil {
		i.told = member // Close takes it back, whatever becomes of this
	}
	i.mu.Unlock()
	if e == nil {
		return nil
	}
	// Not cut off by Close, which is to come behind it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), beatTimeout)
	defer cancel()
	set, _, err := e.beat(ctx, member, told, beatGood)
	if s.ctx.Err() != nil {
		return nil
	}
	i.mu.Lock()
	lost := i.lost
	i.lost = err != nil
	leaves := !i.goes.IsZero()
	i.mu.Unlock()
	switch {
	case leaves: // it may be switched off
	case err != nil && !lost:
		s.log.Warn("an instance can't be reached; its topics have to wait", "redis", i.name, "error", err)
	case err == nil && lost:
		s.log.Info("an instance can be reached again", "redis", i.name)
	}
	if err == nil && set == nil && !leaves {
		// It has lost all that it had. Whoever starts now must find the set all the same.
		_, _ = e.swapRecord(ctx, "", s.set.Load().text())
	}
	return set
}

// reopen tries again to open what could not be reached.
func (s *shards) reopen() {
	for _, name := range s.set.Load().all() {
		s.tryOpen(name)
	}
}

// retire closes instances that have had no topics for a while.
func (s *shards) retire() {
	var gone []*engine
	s.mu.Lock()
	for name, i := range s.instances {
		i.mu.Lock()
		if !i.goes.IsZero() && time.Now().After(i.goes) && i.opening == nil {
			if i.engine != nil {
				gone = append(gone, i.engine)
			}
			delete(s.instances, name)
		}
		i.mu.Unlock()
	}
	s.mu.Unlock()
	for _, e := range gone {
		s.live.leaveEngine(e)
		ctx, cancel := context.WithTimeout(s.ctx, beatTimeout)
		_ = e.Close(ctx)
		cancel()
	}
}
