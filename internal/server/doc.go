// Package server is beck's HTTP API over a bus.
//
// New makes the handler; Serve runs it on a listener, with time-outs and limits
// for whatever a client may do, until Shutdown. What the API is, docs/http-api.md
// tells people and openapi.json tells programs; routes.go is the list of all
// routes, and a test holds the two together.
//
// # Many followers
//
// A topic is read once and each page is encoded once, however many clients
// follow it: a stream of events is the bus's FollowPages, written out. Each
// client has one goroutine, which blocks alone when its client stops reading;
// the bus then lets it fall back and reads for it again later. A write that
// makes no progress for the write time-out ends the stream, and the client
// resumes with Last-Event-ID.
//
// # Live messages
//
// What is broadcast, and the requests for a replier, go to a client's outbox, which
// never blocks the bus: it has bounds, beyond which a listener is told of a gap, and
// whoever asks is told that the replier has too much to do. A replier is there for
// as long as its stream lasts. Its answers come as requests of their own, under ids
// that can't be guessed.
//
// # Who may ask
//
// There is no authentication yet. So the server listens on loopback addresses
// only, unless it is told to be insecure, and answers only requests that are
// addressed to such a host (a web page can't reach it by rebinding its name) and
// that no other site's page has a browser send.
package server
