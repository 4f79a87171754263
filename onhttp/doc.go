// Package onhttp opens a beck bus on a beck server, over its HTTP API: the same
// Bus as on an engine of one's own, with the same promises.
//
//	bus, err := onhttp.Open("http://localhost:8080", nil)
//
// # What may be lost on the way
//
// A request that could not be sent is ErrUnavailable: nothing was done. One that
// was sent, and whose answer did not come, is ErrUncertain if it may have changed
// something; so is one to a server that has been silent for half a minute (a request
// to a service is waited for as long as its context says). No request that may have
// changed something is ever sent twice. Every other error is the server's own:
// errors.Is finds in it what it found there.
//
// # Waiting
//
// For each topic that somebody waits on there is one connection on which the
// server tells that the topic may have changed. If it breaks it is made again,
// with growing pauses, and everything waiting looks again.
//
// Whoever listens, and whoever replies, has a connection of his own. If one breaks
// it is made again, too; listeners are told that they may have missed something,
// and repliers get no requests meanwhile, but may still answer those they have.
package onhttp
