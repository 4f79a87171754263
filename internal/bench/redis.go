package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redisaddr"
)

// Redis is the bare minimum for the Redis engine: rueidis, with pipelines.
type Redis struct {
	client  rueidis.Client
	prefix  string
	cluster bool
	keys    []string
	groups  int
}

// NewRedis connects to a Redis on which beck's keys have a prefix. Shards have no
// bare minimum.
func NewRedis(url, prefix string) (*Redis, error) {
	a, err := redisaddr.Parse(url)
	if err != nil {
		return nil, err
	}
	if a.Kind == redisaddr.Shards {
		return nil, fmt.Errorf("%w: no Redis client spreads keys over shards", beck.ErrOption)
	}
	client, err := rueidis.NewClient(bareClient(a))
	if err != nil {
		return nil, err
	}
	return &Redis{client: client, prefix: prefix, cluster: a.Kind == redisaddr.Cluster}, nil
}

// bareClient are the options of a client for one Redis, a cluster, or a primary by
// way of its sentinels.
func bareClient(a *redisaddr.Address) rueidis.ClientOption {
	o := rueidis.ClientOption{
		InitAddress: a.Hosts, ForceSingleClient: a.Kind == redisaddr.Single,
		Username: a.User, Password: a.Password, SelectDB: a.DB, TLSConfig: a.TLS,
		DialCtxFn: func(ctx context.Context, to string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
			if secure != nil {
				return (&tls.Dialer{NetDialer: d, Config: secure}).DialContext(ctx, a.Network, to)
			}
			return d.DialContext(ctx, a.Network, to)
		},
		DisableCache: true, ClientSetInfo: rueidis.DisableClientSetInfo,
	}
	if a.Kind == redisaddr.Sentinel {
		o.Sentinel = rueidis.SentinelOption{MasterSet: a.Master, Username: a.SentinelUser, Password: a.SentinelPassword, TLSConfig: a.TLS}
	}
	return o
}

func (r *Redis) key(what string) string {
	key := r.prefix + "bench-bare-" + what
	r.keys = append(r.keys, key)
	return key
}

func (r *Redis) xadd(key string, body []byte) rueidis.Completed {
	return r.client.B().Xadd().Key(key).Id("*").FieldValue().FieldValue("body", rueidis.BinaryString(body)).Build()
}

// Publish implements Bare.
func (r *Redis) Publish(stop context.Context, publishers, batch int, body []byte) (int, error) {
	ctx, key := context.WithoutCancel(stop), r.key("publish")
	return each(stop, publishers, func() (int, error) {
		if batch == 1 {
			return 1, r.client.Do(ctx, r.xadd(key, body)).Error()
		}
		commands := make(rueidis.Commands, batch)
		for i := range commands {
			commands[i] = r.xadd(key, body)
		}
		for _, answer := range r.client.DoMulti(ctx, commands...) {
			if _, err := answer.ToString(); err != nil {
				return 0, err
			}
		}
		return batch, nil
	})
}

// Prepare implements Bare: what beck published is read.
func (r *Redis) Prepare(context.Context, string, int, []byte) error { return nil }

// Follow implements Bare.
func (r *Redis) Follow(ctx context.Context, topic string) (int, error) {
	n, from := 0, "-"
	for {
		entries, err := r.client.Do(ctx, r.client.B().Xrange().Key(r.prefix+topic).Start(from).End("+").Count(readBatch).Build()).AsXRange()
		if err != nil || len(entries) == 0 {
			return n, err
		}
		n += len(entries)
		from = "(" + entries[len(entries)-1].ID
	}
}

// Subscribe implements Bare.
func (r *Redis) Subscribe(ctx context.Context, topic string) (int, error) {
	return r.consume(ctx, r.prefix+topic, false)
}

// Queue implements Bare.
func (r *Redis) Queue(ctx context.Context, n int, body []byte) (int, error) {
	key := r.key("queue")
	err := inBatches(ctx, n, func(size int) error {
		commands := make(rueidis.Commands, size)
		for i := range commands {
			commands[i] = r.xadd(key, body)
		}
		for _, answer := range r.client.DoMulti(ctx, commands...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return r.consume(ctx, key, true)
}

// consume reads through a group: each pipeline acknowledges what the last one
// read, and removes it if that is wanted.
func (r *Redis) consume(ctx context.Context, key string, remove bool) (int, error) {
	group := fmt.Sprint("bare", r.groups)
	r.groups++
	if err := r.client.Do(ctx, r.client.B().XgroupCreate().Key(key).Group(group).Id("0").Build()).Error(); err != nil {
		return 0, err
	}
	n := 0
	var ids []string
	for {
		var commands rueidis.Commands
		if len(ids) > 0 {
			commands = append(commands, r.client.B().Xack().Key(key).Group(group).Id(ids...).Build())
			if remove {
				commands = append(commands, r.client.B().Xdel().Key(key).Id(ids...).Build())
			}
		}
		commands = append(commands, r.client.B().Xreadgroup().Group(group, "c").Count(readBatch).Streams().Key(key).Id(">").Build())
		answers := r.client.DoMulti(ctx, commands...)
		got, err := answers[len(answers)-1].AsXRead()
		if err != nil && !rueidis.IsRedisNil(err) {
			return n, err
		}
		if len(ids) > 0 && answers[0].Error() != nil {
			return n, answers[0].Error()
		}
		n += len(got[key])
		if ids = ids[:0]; len(got[key]) == 0 {
			return n, r.client.Do(ctx, r.client.B().XgroupDestroy().Key(key).Group(group).Build()).Error()
		}
		for _, e := range got[key] {
			ids = append(ids, e.ID)
		}
	}
}

// Delays implements Bare: XADD, and a blocking XREAD on a connection of its own.
func (r *Redis) Delays(stop context.Context, tick time.Duration, body []byte) ([]time.Duration, error) {
	ctx, key := context.WithoutCancel(stop), r.key("delay")
	var delays []time.Duration
	reading, endReading := context.WithCancel(ctx)
	defer endReading()
	ended := make(chan error, 1)
	go func() {
		last := "0"
		for {
			got, err := r.client.Do(reading, r.client.B().Xread().Count(readBatch).Block(500).Streams().Key(key).Id(last).Build()).AsXRead()
			if rueidis.IsRedisNil(err) && stop.Err() != nil {
				ended <- nil
				return
			}
			if err != nil && !rueidis.IsRedisNil(err) {
				ended <- err
				return
			}
			for _, e := range got[key] {
				delays = append(delays, sinceStamp([]byte(e.FieldValues["body"])))
				last = e.ID
			}
		}
	}()
	_, err := ticking(stop, tick, func() error { return r.client.Do(ctx, r.xadd(key, stamped(body))).Error() })
	if err != nil {
		endReading()
	}
	err = errors.Join(err, <-ended)
	return delays, err
}

// Commands implements Bare.
func (r *Redis) Commands(ctx context.Context) int64 {
	if !r.cluster {
		return commands(ctx, r.client)
	}
	total := int64(0)
	for _, node := range r.client.Nodes() {
		total += commands(ctx, node)
	}
	return total
}

func commands(ctx context.Context, client rueidis.Client) int64 {
	stats, err := client.Do(ctx, client.B().Info().Section("stats").Build()).ToString()
	if err != nil {
		return 0
	}
	for line := range strings.Lines(stats) {
		if count, ok := strings.CutPrefix(line, "total_commands_processed:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(count), 10, 64)
			return n
		}
	}
	return 0
}

// Close implements Bare.
func (r *Redis) Close() error {
	defer r.client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, key := range r.keys { // each may be on another node
		if err := r.client.Do(ctx, r.client.B().Unlink().Key(key).Build()).Error(); err != nil {
			return err
		}
	}
	return nil
}
