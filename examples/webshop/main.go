// Command webshop takes orders over HTTP and has workers deal with them later: the
// web endpoint answers as soon as the order is safely in a queue. Its twin is a
// broadcast: everyone who has the shop's page open hears of each order that was
// shipped, and who comes later has missed it.
//
//	POST /orders      queues an order, answers 202 with its id
//	GET  /shipped     server-sent events, live
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/examples/internal/place"
)

func main() {
	at := flag.String("at", "disk:webshop-data", "disk:DIR, redis://HOST:PORT or http://HOST:PORT")
	listen := flag.String("listen", "127.0.0.1:8090", "where to take orders; empty for a process that only works")
	workers := flag.Int("workers", 4, "orders dealt with at a time; 0 for a process that only takes them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bus, err := place.Open(ctx, *at)
	if err != nil {
		log.Fatal(err)
	}
	if *listen != "" {
		server := &http.Server{Addr: *listen, Handler: shop(ctx, bus), ReadHeaderTimeout: 5 * time.Second}
		context.AfterFunc(ctx, func() { server.Close() })
		go func() {
			if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
				log.Fatal(err)
			}
		}()
		log.Printf("curl -d '{\"item\":\"tea\",\"count\":2}' http://%s/orders", *listen)
		log.Printf("curl -N http://%s/shipped", *listen)
	}
	if *workers > 0 {
		err = work(ctx, bus, *workers)
	} else {
		<-ctx.Done()
	}
	if err := errors.Join(err, bus.Close(context.WithoutCancel(ctx))); err != nil {
		log.Fatal(err)
	}
}

const (
	orders  = "orders"       // the queue
	shipped = "shop.shipped" // what is broadcast
)

// Order is what customers send.
type Order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

// check says what is wrong with an order.
func (o Order) check() error {
	if o.Item == "" || o.Count < 1 {
		return errors.New(`an order has an "item" and a "count" of at least 1`)
	}
	if strings.ContainsAny(o.Item, "\r\n") {
		return errors.New("an item has one line") // browsers are shown it as one
	}
	return nil
}

// shop is the web side. It needs no worker in the same process, nor any at all.
func shop(ctx context.Context, bus *beck.Bus) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) { takeOrder(w, r, bus) })
	mux.HandleFunc("GET /shipped", func(w http.ResponseWriter, r *http.Request) { showShipped(ctx, w, r, bus) })
	return mux
}

func takeOrder(w http.ResponseWriter, r *http.Request, bus *beck.Bus) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	var order Order
	if err == nil {
		err = json.Unmarshal(body, &order)
	}
	if err == nil {
		err = order.check()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// A customer who sends the order again, under the same key, has one order.
	ids, err := bus.Push(r.Context(), orders, beck.Message{Body: body, DedupeID: r.Header.Get("Idempotency-Key")})
	switch {
	case errors.Is(err, beck.ErrMessage), errors.Is(err, beck.ErrTooLarge):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err != nil:
		http.Error(w, "the order was not taken, please try again: "+err.Error(), http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintln(w, ids[0])
	}
}

// showShipped tells a browser of every order that is shipped from now on.
func showShipped(ctx context.Context, w http.ResponseWriter, r *http.Request, bus *beck.Bus) {
	watching, stop := context.WithCancel(r.Context())
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	messages := bus.Listen(watching, shipped) // listens from here on
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	if flush() != nil {
		return
	}
	for m, err := range messages {
		var gap *beck.Gap
		if errors.As(err, &gap) {
			continue // it was too slow for some; that is what live means
		}
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", m.Body); err != nil || flush() != nil {
			return
		}
	}
}

// work ships orders until ctx ends. An order that can't be shipped is tried again
// later, five times at the most; then it is a dead letter, for people to look at:
//
//	beck dead list orders workers
func work(ctx context.Context, bus *beck.Bus, workers int) error {
	return bus.Work(ctx, orders, func(ctx context.Context, m *beck.Message) error {
		var order Order
		if err := json.Unmarshal(m.Body, &order); err != nil {
			return beck.Dead(err)
		}
		if err := ship(order, m.Attempt); err != nil {
			return err
		}
		_, err := bus.Broadcast(ctx, shipped, fmt.Appendf(nil, "%d × %s", order.Count, order.Item))
		if err != nil {
			log.Print(err) // the order is shipped all the same
		}
		return nil
	}, &beck.SubscribeOptions{Concurrency: workers, MaxAttempts: 5, Backoff: func(attempt int) time.Duration {
		return time.Duration(attempt) * 100 * time.Millisecond
	}})
}

// ship is where the shop's own work would be. Every order of eggs breaks once.
func ship(o Order, attempt int) error {
	if o.Item == "eggs" && attempt == 1 {
		return errors.New("broken on the way")
	}
	return nil
}
