// Package onredis runs beck on Redis 7.0 or newer, or Valkey 7.2 or newer.
//
// A topic is one Redis stream, and the stream is the only truth: publishing is
// one XADD, so that any client in any language can publish, and reading is one
// XRANGE. A subscription is a consumer group on that stream, with a little
// state of its own beside it for retries. docs/redis-layout.md tells every key.
//
// # Waiting
//
// Nothing blocks in Redis. Of the two clients of an engine, one serves all
// reads of topics that are being watched: Redis remembers which keys that
// connection has read, and tells it once when one of them changes (client
// tracking). Such a message is only a hint to read again, and reading arms it
// anew, in the same command. When the connection is lost everyone who watches is
// hinted; a read that then fails is tried again by its reader, and the first to
// succeed has armed the new connection. A sweep hints at everything now and
// then, for whatever else may have been missed.
//
// # Nodes
//
// A key leads to the node that has it: the one Redis there is, the primary that
// sentinels name, or the owner of its slot in a cluster, by a map that the engine keeps
// and mends (docs/adr/0013). Several instances that know nothing of each other are an
// engine each, behind one that spreads topics over them (docs/shards.md).
//
// A server that took the place of another one may lack what that had confirmed. Pages
// and fetches name the era they are of, which is another one from then on (docs/adr/0014).
//
// # Publishing
//
// To a topic without bounds, publishing is XADDs in one pipeline. A process that
// publishes reads once what the topic keeps, and is told of changes as those who
// wait are. Bounds, delays and deduplication are held to by one script. Where a message
// asks for durability, WAIT or WAITAOF goes behind it on a connection of its own.
//
// # Delay
//
// A delayed message is kept beside the stream. Every process that watches the
// topic waits for the first one that is due, whose time has a key of its own; so
// others, however many, cost nothing. The first process to come moves what is due
// into the stream. So does a Fetch.
//
// # Leases
//
// A delivery's lease is the time since it was delivered, as Redis counts it in
// the pending list of the group. Nothing wakes when a lease ends, so each Fetch
// looks for ended leases when a quarter of a lease has passed since the last
// look of this process. All clocks are Redis's.
//
// # Live messages
//
// Broadcasts, requests and answers are Redis's publish and subscribe. All that a
// process hears comes on one connection, made when it is first needed; each channel
// is subscribed to once, and what comes is handed to all who want it without
// waiting for any of them. A service's repliers are a list of inboxes in Redis; that
// one of them is gone is known from the number of receivers that SPUBLISH returns.
//
// # Scripts
//
// What must be atomic is a script, one .lua file each. Every script declares
// all keys that it touches, all of one topic and so of one cluster slot.
package onredis
