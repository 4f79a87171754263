package onredis

import "strings"

// keys names everything that Redis holds for beck.
type keys struct{ prefix string }

// stream is the key of a topic.
func (k keys) stream(topic string) string { return k.prefix + topic }

// topicOf is the topic that a key belongs to, be it its stream or another key of
// it; ok is false for a key that isn't beck's.
func (k keys) topicOf(key string) (topic string, ok bool) {
	if strings.HasPrefix(key, "{") {
		end := strings.IndexByte(key, '}')
		if end < 0 {
			return "", false
		}
		key = key[1:end]
	}
	return strings.CutPrefix(key, k.prefix)
}

// subs is the hash from a topic's subscriptions to what they are made with.
func subsKey(stream string) string { return "{" + stream + "}:subs" }

// lost is the hash from a topic's subscriptions to how many messages they lost.
func lostKey(stream string) string { return "{" + stream + "}:lost" }

// subscriptionKeys are the keys of one subscription.
type subscriptionKeys struct {
	stream, subs, lost     string
	waiting, leased, retry string
	dead, buried           string
}

func (k keys) subscription(topic, name string) subscriptionKeys {
	stream := k.stream(topic)
	base := "{" + stream + "}:"
	return subscriptionKeys{
		stream: stream, subs: subsKey(stream), lost: lostKey(stream),
		waiting: base + "waiting:" + name, leased: base + "leased:" + name,
		retry: base + "retry:" + name, dead: base + "dead:" + name,
		buried: base + "buried:" + name,
	}
}
