// Package beck is messaging for teams: durable topics, subscriptions that lose
// nothing, and live following, on the Redis that runs already or on local disk.
//
// A [Bus] is opened by one of three packages, and is the same from then on:
//
//	bus, err := ondisk.Open("beck-data", nil)                         // a directory
//	bus, err := onredis.Open(ctx, "redis://localhost:6379", nil)      // a Redis
//	bus, err := onhttp.Open("http://localhost:8080", nil)             // a beck server
//
// # Topics
//
// A topic is a named, ordered, stored sequence of messages. [Bus.Publish] adds
// to its end; the first message makes it. There are two ways to read one:
//
//   - [Bus.Follow] replays from a position and goes on live. The reader keeps its
//     position, the id of the last message it saw.
//   - [Bus.Subscribe] consumes a durable subscription: beck keeps the position.
//     Each subscription gets every message; all who subscribe under one name
//     share its messages. The handler's result decides: nil acknowledges, an
//     error has the message retried. [Bus.Fetch] and [Bus.Settle] do the same by
//     hand.
//
// A message may be delayed ([Message].Delay), and stored once however often it is
// published ([Message].DedupeID). [Bus.Confirm] waits until named subscriptions
// have acknowledged it. What a topic keeps is up to [Bus.Configure]: seven days by
// default, and longer what a subscription needs.
//
// # Queues
//
// A queue is a topic with one subscription, whose messages go once they are
// acknowledged. [Bus.Push] adds tasks, [Bus.Work] handles them, each by one worker;
// [Bus.WorkAll] works on several queues by weight.
//
// # When handling fails
//
// A handler that returns an error, or panics, has the message retried after a
// backoff that doubles, without holding up others. [RetryAfter] and [Dead] say
// otherwise. After SubscribeOptions.MaxAttempts the message becomes a dead letter
// of its subscription, with the reason; [Bus.Peek] shows dead letters, [Bus.Requeue]
// gives them back, [Bus.Drop] removes them. [Bus.Seek], [Bus.Pause], [Bus.Resume]
// and [Bus.Purge] steer.
//
// # Live
//
// [Bus.Request] asks a service and waits for the answer of one of its repliers,
// see [Bus.Reply]. [Bus.Broadcast] reaches whoever listens at that moment, see
// [Bus.Listen]. Nothing of these is stored.
//
// # More packages
//
// Package middleware wraps handlers with a time-out, a rate limit, a log; package
// cron publishes recurring messages; package archive writes a subscription to
// files; package tracing carries OpenTelemetry's context along.
//
// # What is promised
//
// Published means kept. When Publish returns without an error, the engine holds
// the message: on disk, synced; on Redis, written, and as safe as that Redis's
// append-only file and replicas make it, or by [Durability] on so many replicas, and
// synced. An error tells whether the message may have been stored: [ErrUncertain] says
// that it may be, [ErrDurability] that it is, and any other error of this package that
// it isn't.
//
// Every subscription is delivered every message at least once, from where the
// subscription began, through crashes of consumers, servers and engine. A message
// is delivered again only after its handler failed, or its consumer was lost and
// the lease ended, or an acknowledgement could not be stored; its Attempt is
// higher then.
//
// A follower is given the messages of a topic in order, each once. Within a
// consumer, messages with the same key are handled one after the other, in order;
// with Concurrency 1, all are. A message that waits for its retry holds up no
// other.
//
// Nothing goes silently. A follower that resumes from a message that isn't there
// any more is told by a [Gap], and so is everybody who follows when Redis fails over
// and may have lost what it had confirmed; subscriptions are told by
// [SubscribeOptions].OnGap and [Fetched].Gap. Behind such a gap a follower goes on from
// the newest message it saw that is still there, so ids may be lower. Messages that a subscription still
// needs are not trimmed, unless TopicConfig.DropOldest says so; then they are
// counted, logged and shown. A topic that is full refuses with [ErrTopicFull].
//
// A slow reader hurts nobody. Followers of a topic in one process share its
// reading; one that can't keep up has its messages read again later, at its own
// pace, while the others and the publishers go on. Memory stays bounded: a
// follower holds a page of messages, a consumer its window.
//
// # Errors
//
// Errors are to be tested with [errors.Is] against the sentinels of this package
// and with [errors.As] for [*Error], [*Gap], [*NotHeldError], [*AnswerError] and
// [*UnconfirmedError]. Followers and consumers mend lost connections by themselves
// and log that they do; Publish and the other calls report them.
//
// # What it is not
//
// Subscribing again under the same name is not an error, it is how work is
// shared. Exactly-once handling is not promised, by nobody who is honest: make
// handlers idempotent, by the message's id. There is no order between topics, and
// none between messages without a common key in one subscription with several
// consumers.
package beck
