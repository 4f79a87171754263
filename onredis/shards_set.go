package onredis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// setVersion is the version of the record of the set.
const setVersion = 1

// shardSet is the record of the set of instances, which each of them has. The one of
// the highest generation counts.
type shardSet struct {
	Version int `json:"version"`
	// ID is made with the first set, and stays whatever becomes of it.
	ID string `json:"id"`
	// Generation grows with each change of the record.
	Generation int64 `json:"generation"`
	// Instances have the topics; sorted.
	Instances []string `json:"instances"`
	// Next are those that will have them when topics are on their way.
	Next []string `json:"next,omitempty"`
}

// moving says that topics are on their way from one set to the next one.
func (s *shardSet) moving() bool { return len(s.Next) > 0 }

// all are the instances that have topics or will have them.
func (s *shardSet) all() []string {
	list := slices.Concat(s.Instances, s.Next)
	slices.Sort(list)
	return slices.Compact(list)
}

// places are where a topic is, and where it will be.
func (s *shardSet) places(topic string) (now, next string) {
	now = placeOf(s.Instances, topic)
	if !s.moving() {
		return now, now
	}
	return now, placeOf(s.Next, topic)
}

func (s *shardSet) text() string {
	text, _ := json.Marshal(s) // nothing in it can fail
	return string(text)
}

// readShardSet reads a record; nil if there is none.
func readShardSet(text, host string) (*shardSet, error) {
	if text == "" {
		return nil, nil
	}
	s := &shardSet{}
	if err := json.Unmarshal([]byte(text), s); err != nil || len(s.Instances) == 0 {
		return nil, fmt.Errorf("%w: redis %s: the record of the set of instances can't be read", driver.ErrCorrupt, host)
	}
	if s.Version != setVersion {
		return nil, fmt.Errorf("%w: redis %s: the record of the set of instances is of version %d; this program knows %d", driver.ErrVersion, host, s.Version, setVersion)
	}
	return s, nil
}

// named is a list of instances for people.
func named(instances []string) string { return strings.Join(instances, ",") }

// admits says whether a process may start with some instances, sorted, where s is
// recorded.
func (s *shardSet) admits(instances []string) error {
	if slices.Equal(instances, s.Instances) || slices.Equal(instances, s.Next) {
		return nil
	}
	if s.moving() {
		return fmt.Errorf("%w: the address names %s, but topics are on their way from %s to %s: give one of these",
			beck.ErrOption, named(instances), named(s.Instances), named(s.Next))
	}
	return fmt.Errorf("%w: the address names %s, but topics are spread over %s: give these, or have topics moved by beck reshard --at redis+shards://%s --to redis+shards://%s",
		beck.ErrOption, named(instances), named(s.Instances), named(s.Instances), named(instances))
}

// enter finds out the set that is recorded, among instances that can be reached, and
// records one where there is none. All instances are names in the address, sorted;
// up are the engines of those that could be reached.
func enter(ctx context.Context, instances []string, up map[string]*engine, id string) (*shardSet, error) {
	var newest *shardSet
	var without []string
	for _, name := range instances {
		e := up[name]
		if e == nil {
			continue
		}
		found, err := e.readSet(ctx)
		if err != nil {
			return nil, err
		}
		if found == nil {
			without = append(without, name)
			continue
		}
		if newest != nil && newest.ID != found.ID {
			return nil, differ(newest, found)
		}
		if newest == nil || found.Generation > newest.Generation {
			newest = found
		}
	}
	if newest != nil {
		if err := newest.admits(instances); err != nil {
			return nil, err
		}
		// One that has lost all it had, or is new to a set that is just being made, by
		// somebody who may be refused.
		for _, name := range without {
			text, err := up[name].swapRecord(ctx, "", newest.text())
			if err != nil {
				return nil, err
			}
			now, err := readShardSet(text, name)
			if err != nil {
				return nil, err
			}
			if now.ID != newest.ID {
				return nil, differ(newest, now)
			}
		}
		return newest, nil
	}
	if len(up) < len(instances) {
		return nil, fmt.Errorf("%w: no instance of %s that can be reached knows the set; for the first start all must be there", driver.ErrUnavailable, named(instances))
	}
	return found(ctx, &shardSet{Version: setVersion, ID: id, Generation: 1, Instances: instances}, up)
}

func differ(a, b *shardSet) error {
	return fmt.Errorf("%w: the instances of the address belong to different sets: %s and %s", beck.ErrOption, named(a.Instances), named(b.Instances))
}

// found records a set for the first time. All who do so take the instances in the same
// order, so that of two different sets with an instance in common one is refused.
func found(ctx context.Context, s *shardSet, up map[string]*engine) (*shardSet, error) {
	var mine []string
	for _, name := range s.Instances {
		text, err := up[name].swapRecord(ctx, "", s.text())
		other, bad := readShardSet(text, name)
		switch {
		case err == nil && text == s.text():
			mine = append(mine, name)
			continue
		case err == nil:
			err = bad
		}
		if err == nil {
			if err = other.admits(s.Instances); err == nil {
				s = other // somebody else was first, with the same set
				continue
			}
		}
		for _, undo := range mine {
			_, failed := up[undo].swapRecord(ctx, s.text(), "")
			err = errors.Join(err, failed)
		}
		return nil, err
	}
	return s, nil
}

// readSet reads the record that an instance has, nil if it has none.
func (e *engine) readSet(ctx context.Context) (*shardSet, error) {
	key := e.names.shards()
	reply, err := e.do(ctx, key, "GET", key)
	if err != nil {
		return nil, e.explain(ctx, err, key, reading)
	}
	text, _ := reply.ToString() // empty for nil
	return readShardSet(text, e.addr.String())
}

// swapRecord replaces the record if it is old, and returns what it is now.
func (e *engine) swapRecord(ctx context.Context, old, text string) (string, error) {
	_, now, err := e.swap(ctx, e.names.shards(), old, text, 0)
	return now, err
}
