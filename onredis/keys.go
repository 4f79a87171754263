package onredis

import (
	"strings"

	"github.com/beckmq/beck/internal/driver"
)

// keys names everything that Redis holds for beck.
type keys struct{ prefix string }

// stream is the key of a topic.
func (k keys) stream(topic string) string { return k.prefix + topic }

// schedules is the hash from recurring messages to their topics. No topic's name
// begins as it does.
func (k keys) schedules() string { return k.prefix + "~schedules" }

// repliers is the sorted set of the processes that serve a service: inbox → until
// when.
func (k keys) repliers(service string) string { return k.prefix + "~repliers:" + service }

// inboxPart comes before the random name of the inbox of a process. It is a channel,
// not a key, and no subject begins so.
const inboxPart = "~inbox:"

// The parts of keys that tell what a change of one means.
const (
	configPart = "topic"
	duePart    = "due"
	seenPart   = "seen"
	subsPart   = "subs"
)

// topicOf is the topic that a key belongs to, be it its stream or another key of
// it, and then which; ok is false for a key that isn't beck's.
func (k keys) topicOf(key string) (topic, part string, ok bool) {
	if strings.HasPrefix(key, "{") {
		end := strings.Index(key, "}:")
		if end < 0 {
			return "", "", false
		}
		key, part = key[1:end], key[end+2:]
	}
	topic, ok = strings.CutPrefix(key, k.prefix)
	return topic, part, ok
}

// topicKeys are the keys of a topic beside those of its subscriptions.
type topicKeys struct {
	stream     string
	subs, lost string // hashes from subscriptions to what they are made with, and to what they lost
	seen       string // hash from subscriptions to when somebody last fetched
	config     string // what the topic keeps
	counts     string // hash of numbers
	delayed    string // sorted set of delayed messages, by when they are due
	fields     string // hash of what these consist of
	due        string // when the first of them is due
	once, ends string // hash from DedupeIDs to messages, and sorted set of when they end
	schedules  string // hash of recurring messages
}

func (k keys) topic(name string) topicKeys {
	stream := k.stream(name)
	base := "{" + stream + "}:"
	return topicKeys{
		stream: stream, subs: base + "subs", lost: base + "lost", seen: base + seenPart,
		config: base + configPart, counts: base + "counts",
		delayed: base + "delayed", fields: base + "delayed:fields", due: base + duePart,
		once: base + "once", ends: base + "once:ends", schedules: base + "schedules",
	}
}

// publishing are the keys of scripts that publish, in the order in which room.lua
// has them.
func (k keys) publishing(topic string) []string {
	t, q := k.topic(topic), k.subscription(topic, driver.QueueSubscription)
	return []string{
		t.stream, t.subs, t.lost, t.config, t.counts, t.delayed, t.fields, t.due, t.once, t.ends, t.schedules,
		q.waiting, q.leased,
	}
}

// subscriptionKeys are the keys of one subscription, and those of its topic that
// it needs.
type subscriptionKeys struct {
	stream, subs, lost, seen, due string
	waiting, leased, retry        string
	dead, buried                  string
}

func (k keys) subscription(topic, name string) subscriptionKeys {
	stream := k.stream(topic)
	base := "{" + stream + "}:"
	return subscriptionKeys{
		stream: stream, subs: base + "subs", lost: base + "lost", seen: base + seenPart, due: base + duePart,
		waiting: base + "waiting:" + name, leased: base + "leased:" + name,
		retry: base + "retry:" + name, dead: base + "dead:" + name,
		buried: base + "buried:" + name,
	}
}
