// Command services is two services that talk by messages instead of HTTP calls:
//
//   - stock knows how many of each article there are. It answers questions, and
//     listens to what was ordered.
//   - sales takes orders. It asks stock for what it must know now, and tells it the
//     rest by a message: it sends and goes on, and an error tells it when that did
//     not go.
//
// Run both in one process, or each by itself, as often as you like; the order in
// which they start, and whether the other one runs at this moment, matters only for
// the question.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/examples/internal/place"
)

func main() {
	at := flag.String("at", "disk:services-data", "disk:DIR, redis://HOST:PORT or http://HOST:PORT")
	role := flag.String("run", "both", "stock, sales or both")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bus, err := place.Open(ctx, *at)
	if err != nil {
		log.Fatal(err)
	}
	switch *role {
	case "stock":
		err = newStock().run(ctx, bus)
	case "sales":
		err = sales(ctx, bus, os.Stdin, os.Stdout)
	case "both":
		err = both(ctx, bus, os.Stdin, os.Stdout)
	default:
		err = fmt.Errorf("-run %q: it takes stock, sales or both", *role)
	}
	if err := errors.Join(err, bus.Close(context.WithoutCancel(ctx))); err != nil {
		log.Fatal(err)
	}
}

const (
	inStock = "stock.count" // a service: how many there are of an article
	ordered = "sales.orders"
)

// Order is what sales tells.
type Order struct {
	Article string `json:"article"`
	Count   int    `json:"count"`
}

// stock counts articles.
type stock struct {
	mu    sync.Mutex
	count map[string]int
}

func newStock() *stock { return &stock{count: map[string]int{"tea": 10, "eggs": 3}} }

// run answers, and takes note of orders, until ctx ends.
func (s *stock) run(ctx context.Context, bus *beck.Bus) error {
	var answering sync.WaitGroup
	defer answering.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	answering.Go(func() {
		failed <- bus.Reply(ctx, inStock, s.answer)
		stop()
	})
	err := bus.Subscribe(ctx, ordered, "stock", s.note, nil)
	stop()
	return errors.Join(err, <-failed)
}

func (s *stock) answer(_ context.Context, m *beck.Message) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, known := s.count[string(m.Body)]
	if !known {
		return nil, fmt.Errorf("there is no article %q", m.Body)
	}
	return json.Marshal(n)
}

// note takes what was ordered off the stock.
func (s *stock) note(_ context.Context, m *beck.Message) error {
	var o Order
	if err := json.Unmarshal(m.Body, &o); err != nil {
		return beck.Dead(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[o.Article] -= o.Count
	return nil
}

// both runs stock for as long as sales has orders.
func both(ctx context.Context, bus *beck.Bus, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- newStock().run(ctx, bus)
		stop()
	}()
	// Orders that are there already would come before stock does.
	for ctx.Err() == nil {
		if _, err := bus.Request(ctx, inStock, beck.Message{Body: []byte("tea")}); !errors.Is(err, beck.ErrNoReplier) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	err := sales(ctx, bus, in, out)
	stop()
	return errors.Join(err, <-ended)
}

// sales reads an article and a number in each line, and orders them, until there
// is no other line, or ctx ends.
func sales(ctx context.Context, bus *beck.Bus, in io.Reader, out io.Writer) error {
	lines, failed := make(chan string), make(chan error, 1)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(in)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				failed <- nil
				return
			}
		}
		failed <- scanner.Err()
	}()
	for {
		select {
		case line, more := <-lines:
			if !more {
				return <-failed
			}
			sell(ctx, bus, line, out)
		case <-ctx.Done():
			return nil
		}
	}
}

// sell orders what a line says.
func sell(ctx context.Context, bus *beck.Bus, line string, out io.Writer) {
	var o Order
	if n, _ := fmt.Sscan(strings.TrimSpace(line), &o.Article, &o.Count); n != 2 || o.Count < 1 {
		fmt.Fprintf(out, "%s: an article and a number are wanted\n", line)
		return
	}
	if err := order(ctx, bus, o); err != nil {
		fmt.Fprintf(out, "%s: %s\n", o.Article, explain(err))
		return
	}
	fmt.Fprintf(out, "%s: %d ordered\n", o.Article, o.Count)
}

var errTooFew = errors.New("there are not enough")

// order asks stock, which must be there, and then tells it, which it need not.
func order(ctx context.Context, bus *beck.Bus, o Order) error {
	asking, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	answer, err := bus.Request(asking, inStock, beck.Message{Body: []byte(o.Article)})
	if err != nil {
		return err
	}
	var there int
	if err := json.Unmarshal(answer, &there); err != nil {
		return err
	}
	if there < o.Count {
		return errTooFew
	}
	body, err := json.Marshal(o)
	if err == nil {
		_, err = bus.Publish(ctx, ordered, beck.Message{Key: o.Article, Body: body})
	}
	return err
}

// explain says what an error means to the one who orders.
func explain(err error) string {
	var failed *beck.AnswerError
	switch {
	case errors.Is(err, beck.ErrNoReplier):
		return "nobody knows what is in stock at the moment"
	case errors.Is(err, context.DeadlineExceeded):
		return "stock did not answer in time"
	case errors.As(err, &failed):
		return failed.Text // what the other service's function returned
	case errors.Is(err, beck.ErrUncertain):
		return "the order may have gone out or not: " + err.Error()
	}
	return err.Error()
}
