package torture

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/redistest"
)

// longer than every time-out of the Redis engine: it waits for an answer for ten
// seconds, and pings each second.
const beyondRedis = 13 * time.Second

// oneRedis is a single server that syncs each write, with proxies before it.
func oneRedis(t *testing.T, long bool) deployment {
	return redisWith(t, long, "--appendonly", "yes", "--appendfsync", "always")
}

func redisWith(t *testing.T, long bool, args ...string) deployment {
	s := redistest.Start(t, args...)
	d := deployment{name: "redis", direct: s.URL(), heal: func() {}}
	var proxies []*Proxy
	for range 2 {
		p := newProxy(t, s.Addr())
		proxies = append(proxies, p)
		d.at = append(d.at, "redis://"+p.Addr())
	}
	owner := func(string) *redistest.Server { return s }
	d.faults = slices.Concat(linkFaults(proxies...), dataFaults(owner, s), []fault{
		{name: "kill redis", place: engine, harm: Cuts, hold: 500 * time.Millisecond, do: func(*run) (string, func()) {
			s.Kill()
			return "", s.Restart
		}},
		{name: "stop redis", place: engine, harm: Cuts, hold: 2500 * time.Millisecond, do: func(*run) (string, func()) {
			s.Pause()
			return "", s.Continue
		}},
	})
	if long {
		d.faults = append(d.faults, fault{name: "stop redis long", place: engine, harm: Cuts, hold: beyondRedis, do: func(*run) (string, func()) {
			s.Pause()
			return "", s.Continue
		}})
	}
	return d
}

func newProxy(t *testing.T, target string) *Proxy {
	p, err := NewProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

const prefix = "beck:"

// dataFaults are done to the data by commands. The owner of a key is the server that
// has it; the others are all that have data.
func dataFaults(owner func(key string) *redistest.Server, all ...*redistest.Server) []fault {
	anySub := func(r *run) (topic, sub string) {
		if i := r.chance.IntN(len(topics) + len(queues)); i < len(queues) {
			return queues[i], queueSubscription
		}
		return topics[r.chance.IntN(len(topics))], []string{"billing", "audit-log"}[r.chance.IntN(2)]
	}
	return []fault{
		{name: "destroy a group", place: engine, harm: Forgets, live: true, do: func(r *run) (string, func()) {
			topic, sub := anySub(r)
			owner(prefix+topic).Do("XGROUP", "DESTROY", prefix+topic, sub)
			return topic + " " + sub, nil
		}},
		{name: "leases jump", place: engine, harm: Jumps, live: true, do: func(r *run) (string, func()) {
			topic, sub := anySub(r)
			n := owner(prefix+topic).Do("EVAL", jumpScript, "2", prefix+topic, "{"+prefix+topic+"}:leased:"+sub, sub)
			return fmt.Sprintf("%s %s: %s", topic, sub, n), nil
		}},
		{name: "full memory", place: engine, harm: Cuts, live: true, hold: time.Second, do: func(*run) (string, func()) {
			for _, s := range all {
				if s.Running() {
					s.Do("CONFIG", "SET", "maxmemory", "1mb")
				}
			}
			return "", func() {
				for _, s := range all {
					if s.Running() {
						s.Do("CONFIG", "SET", "maxmemory", "0")
					}
				}
			}
		}},
		{name: "flush all", place: engine, harm: Destroys, live: true, do: func(*run) (string, func()) {
			s := owner(prefix + topics[0])
			s.FlushAll()
			return "", nil
		}},
		{name: "delete a topic's keys", place: engine, harm: Destroys, live: true, do: func(r *run) (string, func()) {
			topic := topics[r.chance.IntN(len(topics))]
			owner(prefix+topic).Do("DEL", prefix+topic)
			return topic, nil
		}},
	}
}

// jumpScript has all leases of a subscription end at once, as a jump of the clock
// does. KEYS: the stream, the leased retries. ARGV: the group.
const jumpScript = `
local n = 0
for _, p in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000)) do
  redis.call('XCLAIM', KEYS[1], ARGV[1], p[2], 0, p[1], 'IDLE', 3600000, 'JUSTID')
  n = n + 1
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  redis.call('ZADD', KEYS[2], 'XX', 1, id)
  n = n + 1
end
return n`
