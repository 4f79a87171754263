package onredis

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/redis/rueidis"
)

//go:embed *.lua
var scriptFiles embed.FS

// script is one .lua file, behind those it begins with. Redis keeps scripts by
// their sums, until it is restarted or told to forget them.
type script struct{ text, sum string }

type scripts struct {
	take, reclaim, recover, heal, join, settle, leave, owners script
	trim, deleteTopic, deleteSubscription                     script
	pause, seek, purge, letters, index, outstanding           script
	peekStream, peekSorted, peekHeld                          script
	serve, unserve, repliers                                  script
	ack, publish, due, cancel, configure, tick                script
	unschedule, forget                                        script
}

// beginnings are the files that some scripts begin with.
var beginnings = map[string][]string{
	"trim": {"ids"}, "reclaim": {"ids"}, "ack": {"ids"}, "join": {"ids"}, "heal": {"ids"},
	"publish": {"ids", "room"}, "due": {"ids", "room"}, "cancel": {"ids", "room"},
	"configure": {"ids", "room"}, "tick": {"ids", "room"},
	"seek": {"ids"}, "letters": {"ids"}, "outstanding": {"ids"}, "peek_stream": {"ids"}, "peek_held": {"ids"},
}

func loadScripts() (scripts, error) {
	var s scripts
	for name, to := range map[string]*script{
		"take": &s.take, "reclaim": &s.reclaim, "recover": &s.recover, "heal": &s.heal, "join": &s.join, "settle": &s.settle,
		"leave": &s.leave, "owners": &s.owners, "trim": &s.trim,
		"pause": &s.pause, "seek": &s.seek, "purge": &s.purge,
		"peek_stream": &s.peekStream, "peek_sorted": &s.peekSorted, "peek_held": &s.peekHeld,
		"serve": &s.serve, "unserve": &s.unserve, "repliers": &s.repliers,
		"letters": &s.letters, "index": &s.index, "outstanding": &s.outstanding,
		"delete_topic": &s.deleteTopic, "delete_subscription": &s.deleteSubscription,
		"ack": &s.ack, "publish": &s.publish, "due": &s.due, "cancel": &s.cancel, "configure": &s.configure, "tick": &s.tick,
		"unschedule": &s.unschedule, "forget": &s.forget,
	} {
		var text []byte
		for _, file := range append(slices.Clone(beginnings[name]), name) {
			part, err := scriptFiles.ReadFile(file + ".lua")
			if err != nil {
				return s, fmt.Errorf("script %s: %w", name, err)
			}
			text = append(text, part...)
		}
		sum := sha1.Sum(text)
		*to = script{text: string(text), sum: hex.EncodeToString(sum[:])}
	}
	return s, nil
}

// call is the command that runs a script that Redis knows.
func (s script) call(b rueidis.Builder, keys, args []string) rueidis.Completed {
	return b.Evalsha().Sha1(s.sum).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

// hand is the command that runs a script and hands it to Redis.
func (s script) hand(b rueidis.Builder, keys, args []string) rueidis.Completed {
	return b.Eval().Script(s.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}
