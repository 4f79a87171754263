// Package driver is the seam between beck and the engines that store messages.
//
// # Goals
//
//   - Small: an engine is six short interfaces about messages, never about
//     keys and values, so that each engine does each step in its own best way.
//   - Nothing of an engine crosses it: plain structs and sentinel errors only.
//   - Everything that is not storage lives above it, once: handlers,
//     concurrency, key order, lease renewal, backoff, batching, fan-out,
//     request/reply, metrics.
//
// # Non-goals
//
// It is not an API for users (they import package beck), and it is not meant to
// be stable for engines outside this module.
//
// # Arrows
//
//	beck ──► driver ◄── onredis, ondisk, onhttp
//
// The package imports the standard library only. The suite that says whether an
// engine keeps this contract is internal/drivertest.
//
// # Rules for every method
//
// Topic, subscription and consumer names have been checked before they get
// here. A method may be called by many goroutines at a time. A method that takes
// a context returns soon after the context ends, with the context's error
// wrapped. Message bodies, headers and strings that a method is given or returns
// are never changed afterwards by either side.
package driver
