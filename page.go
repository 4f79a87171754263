package beck

import "sync"

// Page is a run of messages, in topic order. It is shared by all who follow the
// topic in this process, so it must not be changed.
type Page struct {
	// Messages may be empty only for a page with a Gap, for the first page of
	// FollowPages, and for a page of Read.
	Messages []*Message
	// Gap is set when messages may be missing before this page.
	Gap *Gap
	// Next is the position behind this page.
	Next Position
	// More says that reading on at once pays: there was no room for all.
	More bool
	// Era is another one than that of the page before if the engine may have lost
	// messages that were stored, as at a failover of Redis to a replica that was
	// behind; those who follow are told by a Gap. Empty if the engine can't tell, or
	// loses none. Those of two buses, or of two servers, can't be compared.
	Era string

	turn    int // of the reader's, see reader.note
	bytes   int
	encoded sync.Map // format → func() []byte
}

// Encoded returns the page in a format, encoding it with encode only for the
// first caller who asks for that format: what many clients are sent is encoded
// once. The result must not be changed.
func (p *Page) Encoded(format string, encode func(*Page) []byte) []byte {
	once, ok := p.encoded.Load(format)
	if !ok {
		once, _ = p.encoded.LoadOrStore(format, sync.OnceValue(func() []byte { return encode(p) }))
	}
	return once.(func() []byte)()
}
