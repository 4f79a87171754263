package beck

import (
	"slices"
	"sync/atomic"

	"github.com/beckmq/beck/internal/driver"
)

// Stats counts what a bus has done since it was opened.
type Stats struct {
	Published    uint64 // messages stored by Publish
	Read         uint64 // messages read from the engine to be followed
	Followed     uint64 // messages given to followers
	Delivered    uint64 // deliveries taken from subscriptions
	Acknowledged uint64
	Retried      uint64
	DeadLettered uint64
	Gaps         uint64 // gaps that followers and subscriptions were told of
	Lost         uint64 // messages that subscriptions were found to have lost
	Heard        uint64 // broadcasts given to listeners
	Missed       uint64 // broadcasts that listeners were too slow for
	Requests     uint64 // asked
	Replies      uint64 // answered

	Followers int64 // running now
	Consumers int64 // running now
	Handling  int64 // handlers running now
}

type counters struct {
	published, read, followed, delivered, acknowledged, retried, deadLettered, gaps atomic.Uint64
	lost, heard, missed, requests, replies                                          atomic.Uint64
	followers, consumers, handling                                                  atomic.Int64
}

// Stats returns the counts at this moment.
func (b *Bus) Stats() Stats {
	c := &b.stats
	return Stats{
		Published: c.published.Load(), Read: c.read.Load(), Followed: c.followed.Load(),
		Delivered: c.delivered.Load(), Acknowledged: c.acknowledged.Load(),
		Retried: c.retried.Load(), DeadLettered: c.deadLettered.Load(), Gaps: c.gaps.Load(),
		Lost: c.lost.Load(), Heard: c.heard.Load(), Missed: c.missed.Load(),
		Requests: c.requests.Load(), Replies: c.replies.Load(),
		Followers: c.followers.Load(), Consumers: c.consumers.Load(), Handling: c.handling.Load(),
	}
}

// count adds settlements, but for those that were not held.
func (c *counters) count(settlements []driver.Settlement, notHeld []string) {
	var acknowledged, retried, dead uint64
	for i := range settlements {
		if len(notHeld) > 0 && slices.Contains(notHeld, settlements[i].ID) {
			continue
		}
		switch settlements[i].Do {
		case driver.Acknowledge:
			acknowledged++
		case driver.Retry:
			retried++
		case driver.DeadLetter:
			dead++
		}
	}
	c.acknowledged.Add(acknowledged)
	c.retried.Add(retried)
	c.deadLettered.Add(dead)
}
