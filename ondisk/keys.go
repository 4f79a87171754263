package ondisk

import (
	"slices"

	"github.com/beckmq/beck/internal/streamid"
)

// A key is the tag of its table, then names, each behind a byte with its length,
// then perhaps an id. So all that a topic has in a table is one range, and
// messages lie in topic order.
const (
	tagGlobal  = 'g' // one key: globalRecord
	tagTopic   = 't' // topic: topicRecord
	tagMessage = 'm' // topic, id: message
	tagSub     = 's' // topic, subscription: subscriptionRecord
	tagGroup   = 'l' // topic, subscription, id of the first message: groupRecord
	tagPending = 'p' // topic, subscription, id: pendingRecord
	tagDead    = 'd' // topic, subscription, id: deadRecord

	tagBurial = 'b' // topic, subscription, place among the dead letters, id: nothing
	tagCopy   = 'k' // topic, subscription, id: message of a pending one that was requeued

	tagConfig   = 'c' // topic: configRecord
	tagDelayed  = 'w' // topic, id made of when it is due and a number: delayedRecord
	tagDedupe   = 'u' // topic, deduplication id: dedupeRecord
	tagForget   = 'x' // topic, ms when it ends in 8 bytes, deduplication id: nothing but the format
	tagSchedule = 'r' // name: scheduleRecord
)

// The tables of what a subscription was delivered, and of its dead letters.
var (
	deliveredTags = []byte{tagGroup, tagPending, tagCopy}
	deadTags      = []byte{tagDead, tagBurial}
)

func tableKey(tag byte, names ...string) []byte {
	size := 1 + streamid.Size // there may come an id
	for _, n := range names {
		size += 1 + len(n)
	}
	k := append(make([]byte, 0, size), tag)
	for _, n := range names {
		k = append(k, byte(len(n)))
		k = append(k, n...)
	}
	return k
}

func idKey(id streamid.ID, tag byte, names ...string) []byte {
	return id.Append(tableKey(tag, names...))
}

// rangeEnd is the first key behind all that begin with prefix. A prefix ends in
// a name or a tag, so that its last byte is never the highest.
func rangeEnd(prefix []byte) []byte {
	end := slices.Clone(prefix)
	end[len(end)-1]++
	return end
}

// splitNames reads the names of a key, of which it must have count, and returns
// what comes behind them.
func splitNames(key []byte, count int) (names []string, rest []byte, ok bool) {
	rest = key[min(1, len(key)):]
	for range count {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return nil, nil, false
		}
		n := int(rest[0])
		names = append(names, string(rest[1:1+n]))
		rest = rest[1+n:]
	}
	return names, rest, true
}
