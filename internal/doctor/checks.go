package doctor

import (
	"fmt"
	"time"

	"github.com/beckmq/beck/internal/redisaddr"
)

// checks are the looks at one server, in the order of the report.
var checks = []func(*visit, *server) []Finding{
	checkVersion, checkMode, checkAnswers, checkAppendOnly, checkSync, checkSnapshots, checkEviction, checkMemory,
	checkReplicas, checkMinReplicas, checkBuffers, checkTracking, checkRoundTrip,
}

func one(f Finding) []Finding { return []Finding{f} }

func checkVersion(_ *visit, s *server) []Finding {
	const check = "version"
	name := map[string]string{"redis": "Redis", "valkey": "Valkey"}[s.name]
	if name == "" {
		name = s.name
	}
	if !s.newer(7, 0, 0) {
		return one(danger(check, "upgrade to Redis 7.0 or Valkey 7.2, or newer", "%s %s: beck refuses it", name, s.version))
	}
	return one(ok(check, "%s %s", name, s.version))
}

// checkMode looks whether the scheme of the address is the right one.
func checkMode(v *visit, s *server) []Finding {
	const check = "address"
	switch {
	case s.mode == "sentinel":
		return one(danger(check, "redis+sentinel://"+s.addr+"/NAME", "this is a sentinel, it keeps no messages"))
	case s.mode == "cluster" && v.addr.Kind != redisaddr.Cluster:
		return one(danger(check, "redis+cluster://"+s.addr, "this is a node of a cluster: topics of other nodes can't be reached"))
	case s.mode != "cluster" && v.addr.Kind == redisaddr.Cluster:
		return one(danger(check, "redis://"+s.addr, "this is no node of a cluster"))
	case s.role == "replica" && (v.addr.Kind == redisaddr.Single || v.addr.Kind == redisaddr.Shards):
		return one(danger(check, "give the address of its primary, or redis+sentinel://", "this is a replica: it takes no messages"))
	}
	return nil
}

// checkAnswers says what can't be told because the user may not ask.
func checkAnswers(_ *visit, s *server) []Finding {
	const check = "asking"
	var all []Finding
	for _, q := range []struct {
		err           error
		command, knew string
	}{
		{s.infoErr, "INFO", "the append-only file, eviction, memory and replicas"},
		{s.confErr, "CONFIG GET", "the append-only file's sync, min-replicas-to-write, output buffers and the tracking table"},
	} {
		right := map[string]string{"INFO": "+info", "CONFIG GET": "+config|get"}[q.command]
		switch {
		case q.err == nil:
		case denied(q.err):
			all = append(all, unknown(check, s.grant(right), "%s may not run %s, which tells of %s", s.user(), q.command, q.knew))
		default:
			all = append(all, unknown(check, "see the console of whoever runs this Redis", "%s fails (%v), which tells of %s", q.command, q.err, q.knew))
		}
	}
	return all
}

func checkAppendOnly(_ *visit, s *server) []Finding {
	const check = "append-only file"
	on := s.setting("appendonly", "aof_enabled")
	switch {
	case on == "":
		return nil // checkAnswers tells
	case on == "yes" || on == "1":
		if s.info["aof_last_write_status"] == "err" {
			return one(danger(check, "see the log of Redis; make room on its disk", "on, but the last write to it failed: Redis refuses messages"))
		}
		if s.info["aof_last_bgrewrite_status"] == "err" {
			return one(warn(check, "see the log of Redis; make room on its disk", "on, but the last rewrite of it failed: it grows"))
		}
		return one(ok(check, "on"))
	}
	lost := "all messages are lost when Redis ends"
	if save, known := s.config["save"]; !known || save != "" {
		lost = "what was published since the last snapshot is lost when Redis ends"
	}
	return one(danger(check, set("appendonly", "yes"), "off: %s", lost))
}

func checkSync(_ *visit, s *server) []Finding {
	const check = "sync"
	if on := s.config["appendonly"]; on != "yes" {
		return nil // the file is off, or it can't be told
	}
	if s.config["no-appendfsync-on-rewrite"] == "yes" {
		return one(danger(check, set("no-appendfsync-on-rewrite", "no"), "none while the append-only file is rewritten: a crash of the machine then loses it all"))
	}
	switch how := s.config["appendfsync"]; how {
	case "always":
		return one(ok(check, "always: what was published is on disk"))
	case "everysec":
		return one(warn(check, set("appendfsync", "always"), "everysec: a crash of the machine loses the last second, or two"))
	default:
		return one(danger(check, set("appendfsync", "always"), "%s: a crash of the machine loses up to half a minute", how))
	}
}

// checkSnapshots tells only of those that fail, since they are no substitute for
// the append-only file.
func checkSnapshots(_ *visit, s *server) []Finding {
	if s.info["rdb_last_bgsave_status"] != "err" {
		return nil
	}
	return one(danger("snapshots", "see the log of Redis; make room on its disk, and memory for a fork (vm.overcommit_memory=1)",
		"the last one failed: Redis may refuse messages (MISCONF), and replicas can't join"))
}

func checkEviction(_ *visit, s *server) []Finding {
	const check = "eviction"
	policy, limit := s.setting("maxmemory-policy", "maxmemory_policy"), s.setting("maxmemory", "maxmemory")
	mend := set("maxmemory-policy", "noeviction")
	switch {
	case policy == "":
		return nil
	case policy == "noeviction":
		return one(ok(check, "noeviction: a full memory refuses messages and removes none"))
	case number(s.info, "evicted_keys") > 0:
		return one(danger(check, mend, "%s, and %s keys have been removed since Redis started", policy, s.info["evicted_keys"]))
	case limit == "0":
		return one(warn(check, mend, "%s: as soon as maxmemory is set, topics are removed when it is reached", policy))
	}
	return one(danger(check, mend, "%s: topics and subscriptions are removed when memory is full", policy))
}

func checkMemory(_ *visit, s *server) []Finding {
	const check = "memory"
	limit, used, machine := number(s.info, "maxmemory"), number(s.info, "used_memory"), number(s.info, "total_system_memory")
	switch {
	case limit < 0 || used < 0:
		return nil
	case limit == 0:
		half := "4gb"
		if machine > 0 {
			half = fmt.Sprintf("%dmb", machine/2>>20)
		}
		return one(warn(check, set("maxmemory", half),
			"no limit: when the machine has none left the system kills Redis; with one, a publisher gets an error"))
	case machine > 0 && limit > machine/10*8:
		return one(warn(check, set("maxmemory", fmt.Sprintf("%dmb", machine/2>>20)),
			"the limit is %s of the %s that the machine has: a rewrite of the append-only file may not fit", size(limit), size(machine)))
	case used > limit/10*9:
		return one(danger(check, "raise maxmemory, or remove old messages: beck delete TOPIC --before -24h",
			"%s of %s are used: soon messages are refused", size(used), size(limit)))
	case used > limit/4*3:
		return one(warn(check, "raise maxmemory, or remove old messages: beck delete TOPIC --before -24h",
			"%s of %s are used", size(used), size(limit)))
	}
	return one(ok(check, "less than three quarters of maxmemory, %s, are used", size(limit)))
}

func size(n int64) string {
	for _, u := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "KB"}} {
		if n >= u.bytes {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func checkRoundTrip(_ *visit, s *server) []Finding {
	const check = "round trip"
	switch {
	case !s.trips:
		return one(unknown(check, s.grant("+ping"), "%s may not run PING, which beck needs too", s.user()))
	case s.roundTrip > 20*time.Millisecond:
		return one(warn(check, "run beck nearer to Redis, or publish in batches", "%s: a publish takes at least that long", s.roundTrip.Round(time.Millisecond)))
	}
	// In steps, so that servers that are alike share a line.
	for _, step := range []int{1, 2, 5, 10} {
		if s.roundTrip < time.Duration(step)*time.Millisecond {
			return one(ok(check, "less than %dms", step))
		}
	}
	return one(ok(check, "less than 20ms"))
}
