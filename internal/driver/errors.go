package driver

import "errors"

// The errors that cross the seam, always wrapped with what happened. Package
// beck exports the same values.
var (
	// ErrTopicNotFound: the topic does not exist.
	ErrTopicNotFound = errors.New("topic not found")
	// ErrSubscriptionNotFound: the subscription does not exist, or was deleted.
	ErrSubscriptionNotFound = errors.New("subscription not found")
	// ErrMessageNotFound: no dead letter, or delayed message, with this id.
	ErrMessageNotFound = errors.New("message not found")
	// ErrScheduleNotFound: there is no schedule with this name.
	ErrScheduleNotFound = errors.New("schedule not found")
	// ErrNoReplier: nobody answers requests to this service.
	ErrNoReplier = errors.New("no replier")
	// ErrTopicFull: the topic has all that its bounds allow, and subscriptions
	// still need it; nothing was done.
	ErrTopicFull = errors.New("topic full")
	// ErrPosition: a position that is malformed, or lies ahead of the topic.
	ErrPosition = errors.New("invalid position")
	// ErrTooLarge: more bytes or messages than are allowed.
	ErrTooLarge = errors.New("too large")
	// ErrUnavailable: the engine could not be reached; nothing was done.
	ErrUnavailable = errors.New("engine unavailable")
	// ErrUncertain: the connection broke before the answer; it may be done.
	ErrUncertain = errors.New("outcome unknown: it may have been done")
	// ErrDurability: it is stored, but not known to be as durable as asked for.
	ErrDurability = errors.New("stored, but not as durably as asked")
	// ErrFull: no room on disk or in memory; nothing was done.
	ErrFull = errors.New("engine full")
	// ErrDenied: wrong user or password, or one that may not do this.
	ErrDenied = errors.New("access denied")
	// ErrWrongType: something that is not beck's stands where a topic should.
	ErrWrongType = errors.New("not a topic")
	// ErrVersion: a server too old, or data of a format this program can't read.
	ErrVersion = errors.New("unsupported version")
	// ErrInUse: another process has the data open.
	ErrInUse = errors.New("data in use by another process")
	// ErrCorrupt: stored data that can't be right.
	ErrCorrupt = errors.New("corrupt data")
	// ErrClosed: the bus was closed.
	ErrClosed = errors.New("closed")
)
