package onredis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck/internal/driver"
)

// All that the shards engine itself asks of an instance goes through here.

// shards is the key of the record of the set of instances.
func (k keys) shards() string { return k.prefix + "~shards" }

// members is the sorted set of the processes that use the set.
func (k keys) members() string { return k.prefix + "~shards:members" }

// reshardLock is held by the one process that moves topics.
func (k keys) reshardLock() string { return k.prefix + "~shards:lock" }

// loadScript reads a script that no engine of one Redis needs.
func loadScript(name string) (script, error) {
	text, err := scriptFiles.ReadFile(name + ".lua")
	if err != nil {
		return script{}, fmt.Errorf("script %s: %w", name, err)
	}
	sum := sha1.Sum(text)
	return script{text: string(text), sum: hex.EncodeToString(sum[:])}, nil
}

// do runs a command about a key.
func (e *engine) do(ctx context.Context, key string, words ...string) (rueidis.RedisMessage, error) {
	reply, err := e.work.at(key).do(ctx, e.b.Arbitrary(words[0]).Args(words[1:]...).Build())
	if rueidis.IsRedisNil(err) {
		err = nil
	}
	return reply, err
}

// runShard runs a script of the shards engine.
func (e *engine) runShard(ctx context.Context, name string, keys []string, args ...string) (rueidis.RedisMessage, error) {
	sc, err := loadScript(name)
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	reply, err := e.work.at(keys[0]).run(ctx, sc, keys, args...)
	return reply, e.explain(ctx, err, keys[0], writing)
}

func (e *engine) runShardText(ctx context.Context, name string, keys []string, args ...string) (string, error) {
	reply, err := e.runShard(ctx, name, keys, args...)
	if err != nil {
		return "", err
	}
	return reply.ToString()
}

func (e *engine) runShardBool(ctx context.Context, name string, keys []string, args ...string) (bool, error) {
	reply, err := e.runShard(ctx, name, keys, args...)
	if err != nil {
		return false, err
	}
	n, err := reply.ToInt64()
	return n == 1, err
}

// swap replaces the text of a key if it is old, empty for not there, and returns what
// it is now.
func (e *engine) swap(ctx context.Context, key, old, text string, ends time.Duration) (done bool, now string, err error) {
	reply, err := e.runShard(ctx, "shards_record", []string{key}, old, text, millis(ends))
	if err != nil {
		return false, "", err
	}
	parts, err := reply.ToArray()
	if err != nil || len(parts) != 2 {
		return false, "", fmt.Errorf("%w: the script shards_record returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	n, err := parts[0].ToInt64()
	if err == nil {
		now, err = parts[1].ToString()
	}
	return n == 1, now, err
}

// beat tells an instance that a process is there, by a text of its own, and returns
// the record there and the texts of all processes.
func (e *engine) beat(ctx context.Context, member, before string, good time.Duration) (*shardSet, []string, error) {
	sc, err := loadScript("shards_beat")
	if err != nil {
		return nil, nil, err
	}
	// On the watcher's one connection: what Close says comes behind it.
	key := e.names.shards()
	reply, err := e.watcher.at(key).run(ctx, sc, []string{key, e.names.members()}, member, before, millis(good))
	if err != nil {
		return nil, nil, e.explain(ctx, err, key, writing)
	}
	parts, err := reply.ToArray()
	if err != nil || len(parts) != 2 {
		return nil, nil, fmt.Errorf("%w: the script shards_beat returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
	}
	text, err := parts[0].ToString()
	if err != nil {
		return nil, nil, err
	}
	members, err := parts[1].AsStrSlice()
	if err != nil {
		return nil, nil, err
	}
	set, err := readShardSet(text, e.addr.String())
	return set, members, err
}

// forgetMember takes a process off the list of those that are there.
func (e *engine) forgetMember(ctx context.Context, told string) {
	limited, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	key := e.names.members()
	_, _ = e.watcher.at(key).do(limited, e.b.Zrem().Key(key).Member(told).Build()) // if this fails, it ends by itself
}
