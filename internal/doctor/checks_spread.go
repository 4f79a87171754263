package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/beckmq/beck/internal/redisaddr"
)

// replica is one as its primary describes it in INFO.
type replica struct {
	addr   string
	online bool
	lag    int64 // seconds
}

// replicas reads slave0:ip=127.0.0.1,port=6380,state=online,offset=1,lag=0 and on.
func (s *server) replicas() []replica {
	var all []replica
	for i := 0; ; i++ {
		line, ok := s.info["slave"+strconv.Itoa(i)]
		if !ok {
			return all
		}
		f := map[string]string{}
		for part := range strings.SplitSeq(line, ",") {
			k, v, _ := strings.Cut(part, "=")
			f[k] = v
		}
		all = append(all, replica{f["ip"] + ":" + f["port"], f["state"] == "online", number(f, "lag")})
	}
}

// maxLag is how many seconds a replica may be behind: a healthy one reports each
// second.
const maxLag = 10

func checkReplicas(v *visit, s *server) []Finding {
	const check = "replicas"
	if s.info == nil {
		return nil
	}
	if s.role == "replica" {
		if s.info["master_link_status"] != "up" {
			return one(danger(check, "see the log of this replica", "cut off from its primary: it falls behind"))
		}
		return nil
	}
	all := s.replicas()
	if len(all) == 0 {
		switch v.addr.Kind {
		case redisaddr.Sentinel, redisaddr.Cluster:
			return one(danger(check, "start one, by replicaof or CLUSTER REPLICATE", "none: nobody can take over from this primary"))
		}
		return one(warn(check, "a replica and three sentinels (redis+sentinel://), or a cluster, keep messages going",
			"none: while this server is down nothing goes, and with its disk all messages are gone"))
	}
	for _, r := range all {
		if !r.online {
			return one(danger(check, "see the log of the replica; it may need a larger repl-backlog-size", "%s is not in sync", r.addr))
		}
		if r.lag > maxLag {
			return one(warn(check, "see the network and the load of the replica", "%s was last heard of %d seconds ago", r.addr, r.lag))
		}
	}
	if len(all) == 1 {
		return one(ok(check, "one, in sync"))
	}
	return one(ok(check, "%d, in sync", len(all)))
}

// checkMinReplicas looks on replicas too: any of them may be the next primary.
func checkMinReplicas(v *visit, s *server) []Finding {
	const check = "min-replicas"
	spread := v.addr.Kind == redisaddr.Sentinel || v.addr.Kind == redisaddr.Cluster || len(s.replicas()) > 0
	least, lag := number(s.config, "min-replicas-to-write"), number(s.config, "min-replicas-max-lag")
	switch {
	case least < 0 || !spread && least == 0:
		return nil
	case least == 0:
		return one(warn(check, set("min-replicas-to-write", "1"),
			"min-replicas-to-write 0: a primary that is cut off goes on taking messages, which the failover then loses"))
	case lag == 0:
		return one(warn(check, set("min-replicas-max-lag", "10"), "min-replicas-max-lag 0 turns min-replicas-to-write off"))
	case s.role == "primary" && s.info != nil && number(s.info, "min_slaves_good_slaves") < least:
		return one(danger(check, "bring replicas back, or lower min-replicas-to-write",
			"%d are demanded and fewer are in sync: messages are refused now", least))
	case lag > 30:
		return one(warn(check, set("min-replicas-max-lag", "10"), "a primary that is cut off takes messages for %d seconds more, which the failover then loses", lag))
	}
	return one(ok(check, "a primary without %s in sync refuses messages after %d seconds", count(least, "replica"), lag))
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// bufferLimit is what client-output-buffer-limit says of a class of clients, in
// bytes and seconds.
type bufferLimit struct{ hard, soft, seconds int64 }

func (s *server) bufferLimits() map[string]bufferLimit {
	limits := map[string]bufferLimit{}
	f := strings.Fields(s.config["client-output-buffer-limit"])
	for ; len(f) >= 4; f = f[4:] {
		var n [3]int64
		for i := range n {
			n[i], _ = strconv.ParseInt(f[i+1], 10, 64)
		}
		class := strings.Replace(f[0], "slave", "replica", 1)
		limits[class] = bufferLimit{n[0], n[1], n[2]}
	}
	return limits
}

func checkBuffers(_ *visit, s *server) []Finding {
	const check = "output buffers"
	const setting = "client-output-buffer-limit"
	limits := s.bufferLimits()
	if len(limits) == 0 {
		return nil
	}
	var all []Finding
	normal, pubsub, replica := limits["normal"], limits["pubsub"], limits["replica"]
	if bounded := s.config["maxmemory-clients"]; normal.hard == 0 && normal.soft == 0 && (bounded == "" || bounded == "0") {
		all = append(all, warn(check, set("maxmemory-clients", "10%"), "without limit for clients: one that hangs can take all memory"))
	}
	switch {
	case pubsub.hard == 0 && pubsub.soft == 0:
		all = append(all, warn(check, set(setting, "pubsub 32mb 8mb 60"), "without limit for listeners: one that hangs can take all memory"))
	case pubsub.hard > 0 && pubsub.hard < 1<<20:
		all = append(all, warn(check, set(setting, "pubsub 32mb 8mb 60"), "%s for listeners: short bursts of broadcasts and requests cut them off", size(pubsub.hard)))
	}
	switch {
	case replica.hard > 0 && replica.hard < 64<<20:
		all = append(all, warn(check, set(setting, "replica 256mb 64mb 60"), "%s for replicas: one is cut off under load, and begins anew", size(replica.hard)))
	case replica.hard == 0 && replica.soft == 0:
		all = append(all, warn(check, set(setting, "replica 256mb 64mb 60"), "without limit for replicas: one that hangs can take all memory"))
	}
	if len(all) == 0 {
		return one(ok(check, "limited, for clients, listeners and replicas"))
	}
	return all
}

func checkTracking(_ *visit, s *server) []Finding {
	const check = "tracking table"
	const setting = "tracking-table-max-keys"
	most, used := number(s.config, setting), number(s.info, "tracking_total_keys")
	switch {
	case most < 0:
		return nil
	case most > 0 && most < 10_000:
		return one(warn(check, set(setting, "1000000"), "%d keys: with more topics, readers are woken for nothing", most))
	case most > 0 && used > most/10*9:
		return one(warn(check, set(setting, strconv.FormatInt(4*most, 10)), "%d of %d keys are used: readers are woken for nothing", used, most))
	case most == 0:
		return one(ok(check, "room for any number of keys"))
	}
	return one(ok(check, "room for %d keys", most))
}
