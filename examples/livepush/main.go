// Command livepush is a chat room for very many browsers on several nodes: each
// node is this program, all over one Redis. A message that is posted to any of
// them reaches every browser on all of them. A node reads each message once,
// however many browsers it serves, and a browser that was cut off goes on where it
// was, on whichever node.
//
//	GET  /            the page
//	GET  /events      server-sent events: what was said, then what is said
//	POST /say         says something
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/examples/internal/place"
)

func main() {
	at := flag.String("at", "redis://127.0.0.1:6379", "redis://HOST:PORT, or disk:DIR for a single node")
	listen := flag.String("listen", "127.0.0.1:8091", "where this node serves browsers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bus, err := place.Open(ctx, *at)
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(context.WithoutCancel(ctx))
	// The room keeps what was said for a day.
	if err := bus.Configure(ctx, room, beck.TopicConfig{MaxAge: 24 * time.Hour}); err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: *listen, Handler: node(ctx, bus), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	log.Printf("http://%s/", *listen)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

const room = "room"

//go:embed page.html
var page []byte

// node serves browsers until ctx ends.
func node(ctx context.Context, bus *beck.Bus) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	mux.HandleFunc("POST /say", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<10))
		if err != nil || len(text) == 0 {
			http.Error(w, "say something, of at most 4 KiB", http.StatusBadRequest)
			return
		}
		ids, err := bus.Publish(r.Context(), room, beck.Message{Body: text})
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, ids[0])
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		following, stop := context.WithCancel(r.Context())
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		events(following, w, r, bus)
	})
	return mux
}

// events sends a page of messages at a time. Browsers at the same place of the
// room are given the same pages, so that encoding is done once for all of them.
func events(ctx context.Context, w http.ResponseWriter, r *http.Request, bus *beck.Bus) {
	from := beck.FromAgo(time.Hour)
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		from = beck.FromID(last) // a browser that was cut off says where it was
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	for page, err := range bus.FollowPages(ctx, room, from) {
		if errors.Is(err, beck.ErrPosition) {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err != nil {
			return
		}
		out.SetWriteDeadline(time.Now().Add(30 * time.Second)) // a stuck browser is let go
		if _, err := w.Write(page.Encoded(room, encode)); err != nil || out.Flush() != nil {
			return
		}
	}
}

// encode writes a page as server-sent events.
func encode(p *beck.Page) []byte {
	var b []byte
	if p.Gap != nil {
		b = append(b, "event: gap\ndata: some messages are gone\n\n"...)
	}
	for _, m := range p.Messages {
		text, _ := json.Marshal(string(m.Body))
		b = fmt.Appendf(b, "id: %s\ndata: %s\n\n", m.ID, text)
	}
	if b == nil {
		b = []byte(": here we go\n\n")
	}
	return b
}
