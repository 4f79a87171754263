// Package wire is what beck's HTTP API looks like on the wire: the JSON of
// messages, pages and inspection, the blocks of server-sent events, and the one
// table that says which error has which code, HTTP status and exit code. The
// server, the HTTP engine and the command line share it, so that what one
// writes the others read.
//
// What is written or read for each message is done by hand, without reflection:
// Append… functions add JSON to a buffer, and Decode… functions read it strictly
// and say where it is wrong. Everything else goes through encoding/json.
package wire
