package doctor

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/redisaddr"
)

// TestChecks looks at what no test wants to bring a real server to.
func TestChecks(t *testing.T) {
	t.Parallel()
	type values = map[string]string
	replica := func(state, lag string) values {
		return values{"slave0": "ip=10.0.0.2,port=6379,state=" + state + ",offset=1,lag=" + lag, "min_slaves_good_slaves": "1"}
	}
	single, cluster := redisaddr.Single, redisaddr.Cluster
	for _, c := range []struct {
		name         string
		check        func(*visit, *server) []Finding
		kind         redisaddr.Kind
		info, config values
		level        Level
		says         string
	}{
		{"AOF not written", checkAppendOnly, single, values{"aof_enabled": "1", "aof_last_write_status": "err"}, nil, Danger, "refuses messages"},
		{"AOF not rewritten", checkAppendOnly, single, values{"aof_enabled": "1", "aof_last_bgrewrite_status": "err"}, nil, Warn, "it grows"},
		{"neither AOF nor snapshots", checkAppendOnly, single, nil, values{"appendonly": "no", "save": ""}, Danger, "all messages"},
		{"snapshot failed", checkSnapshots, single, values{"rdb_last_bgsave_status": "err"}, nil, Danger, "MISCONF"},
		{"never synced", checkSync, single, nil, values{"appendonly": "yes", "appendfsync": "no"}, Danger, "half a minute"},
		{"eviction to come", checkEviction, single, values{"evicted_keys": "0"}, values{"maxmemory-policy": "volatile-lru", "maxmemory": "0"}, Warn, "as soon as"},
		{"memory full", checkMemory, single, values{"maxmemory": "1000", "used_memory": "950", "total_system_memory": "9000"}, nil, Danger, "950 bytes of 1000 bytes"},
		{"memory filling", checkMemory, single, values{"maxmemory": "1000", "used_memory": "800", "total_system_memory": "9000"}, nil, Warn, "are used"},
		{"limit near the machine's", checkMemory, single, values{"maxmemory": "9000", "used_memory": "1", "total_system_memory": "10000"}, nil, Warn, "may not fit"},
		{"replica behind", checkReplicas, single, replica("online", "25"), nil, Warn, "25 seconds ago"},
		{"replica joining", checkReplicas, single, replica("wait_bgsave", "0"), nil, Danger, "10.0.0.2:6379 is not in sync"},
		{"replica well", checkReplicas, single, replica("online", "0"), nil, OK, "one, in sync"},
		{"nobody to take over", checkReplicas, cluster, values{}, nil, Danger, "nobody can take over"},
		{"writes go on alone", checkMinReplicas, single, replica("online", "0"), values{"min-replicas-to-write": "0", "min-replicas-max-lag": "10"}, Warn, "cut off"},
		{"lag off", checkMinReplicas, single, replica("online", "0"), values{"min-replicas-to-write": "1", "min-replicas-max-lag": "0"}, Warn, "turns"},
		{"too few", checkMinReplicas, single, replica("online", "0"), values{"min-replicas-to-write": "2", "min-replicas-max-lag": "10"}, Danger, "refused now"},
		{"long lag", checkMinReplicas, single, replica("online", "0"), values{"min-replicas-to-write": "1", "min-replicas-max-lag": "60"}, Warn, "60 seconds"},
		{"tracking full", checkTracking, single, values{"tracking_total_keys": "95000"}, values{"tracking-table-max-keys": "100000"}, Warn, "woken for nothing"},
		{"tracking unbounded", checkTracking, single, nil, values{"tracking-table-max-keys": "0"}, OK, "any number"},
		{"buffers", checkBuffers, single, nil, values{"client-output-buffer-limit": "normal 0 0 0 slave 0 0 0 pubsub 0 0 0", "maxmemory-clients": "10%"}, Warn, "for listeners"},
	} {
		v := &visit{addr: &redisaddr.Address{Kind: c.kind}}
		s := &server{role: "primary", version: "7.0.15", info: c.info, config: c.config, at: &redisaddr.Address{}}
		got := c.check(v, s)
		if len(got) == 0 || got[0].Level != c.level || !strings.Contains(got[0].Says, c.says) || (got[0].Mend == "") != (c.level == OK) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	if got := checkVersion(nil, &server{name: "redis", version: "6.2.14"}); got[0].Level != Danger {
		t.Errorf("an old version: %+v", got)
	}
	for _, trip := range []time.Duration{0, 3 * time.Millisecond, 19 * time.Millisecond, time.Second} {
		got := checkRoundTrip(nil, &server{trips: true, roundTrip: trip})
		if (got[0].Level == Warn) != (trip == time.Second) {
			t.Errorf("a round trip of %v: %+v", trip, got)
		}
	}
}

func TestClocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ahead []time.Duration
		level Level
	}{
		{[]time.Duration{0, 20 * time.Millisecond}, OK},
		{[]time.Duration{10 * time.Second}, Warn},
		{[]time.Duration{-10 * time.Second}, Warn},
		{[]time.Duration{0, -3 * time.Second}, Warn},
		{[]time.Duration{-40 * time.Second, 40 * time.Second}, Danger},
	} {
		v := &visit{report: &Report{}}
		for i, ahead := range c.ahead {
			v.servers = append(v.servers, &server{addr: fmt.Sprint(i), clockTold: true, ahead: ahead})
		}
		v.clocks()
		if got := v.report.Findings; len(got) != 1 || got[0].Level != c.level {
			t.Errorf("%v: %+v", c.ahead, got)
		}
	}
}

// FuzzReply holds that no reply takes more than its share of memory, or panics.
func FuzzReply(f *testing.F) {
	for _, reply := range []string{
		"+OK\r\n", "-NOPERM no\r\n", ":1\r\n", "$-1\r\n", "$2\r\nab\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
		"$99999999999\r\n", "*99999999\r\n", strings.Repeat("*1\r\n", 99), "\r\n", "HTTP/1.1 400 Bad Request\r\n",
	} {
		f.Add([]byte(reply))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		left := int64(maxReply)
		reply, err := readReply(bufio.NewReader(bytes.NewReader(b)), 0, &left)
		if err == nil && len(b) == 0 {
			t.Errorf("%v of nothing", reply)
		}
		_, _, _ = pairs(reply), strs(reply), lines(fmt.Sprint(reply))
	})
}
