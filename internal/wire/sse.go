package wire

import "github.com/beckmq/beck"

// EventStream is the media type of server-sent events.
const EventStream = "text/event-stream"

// The blocks of server-sent events that are always the same.
const (
	// Heartbeat is a comment, which clients leave out.
	Heartbeat = ":\n\n"
	// Wake tells a remote engine that a topic may have changed.
	Wake = "event: wake\ndata: {}\n\n"
)

// The names of events, by which a client knows them.
const (
	EventWake    = "wake"
	EventReady   = "ready"
	EventGap     = "gap"
	EventProblem = "problem"
)

// AppendStart adds the block that only sets the id, to the position where
// following begins: a client that is cut off before its first message resumes
// there.
func AppendStart(b []byte, at beck.Position) []byte {
	b = append(b, "id: "...)
	b = append(b, at...)
	return append(b, "\n\n"...)
}

// AppendEvents adds a page as server-sent events to b: first its gap, if it has
// one, then a block for each message. JSON has no line breaks of its own, so
// that each data is one line.
func AppendEvents(b []byte, p *beck.Page) []byte {
	if p.Gap != nil {
		b = append(b, "event: gap\nid: "...)
		b = append(b, p.Gap.Resume...)
		b = append(b, "\ndata: "...)
		b = appendGap(b, p.Gap)
		b = append(b, "\n\n"...)
	}
	for _, m := range p.Messages {
		b = append(b, "id: "...)
		b = append(b, m.ID...)
		b = append(b, "\ndata: "...)
		b = AppendMessage(b, m)
		b = append(b, "\n\n"...)
	}
	return b
}

// AppendProblemEvent adds a problem that ends a stream to b. Its name is not
// "error", which in browsers is that of a lost connection.
func AppendProblemEvent(b []byte, p *Problem) []byte {
	b = append(b, "event: problem\ndata: "...)
	b = p.Append(b)
	return append(b, "\n\n"...)
}
