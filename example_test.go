package beck_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/ondisk"
)

// tempBus opens a bus on a directory that is removed at the end.
func tempBus() (bus *beck.Bus, done func()) {
	dir, err := os.MkdirTemp("", "beck")
	if err != nil {
		log.Fatal(err)
	}
	bus, err = ondisk.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	return bus, func() {
		bus.Close(context.Background())
		os.RemoveAll(dir)
	}
}

func Example() {
	ctx := context.Background()
	bus, done := tempBus()
	defer done()

	// One message or many: in order, one round trip.
	if _, err := bus.Publish(ctx, "orders",
		beck.Message{Key: "42", Body: []byte(`{"id":42}`)},
		beck.Message{Key: "43", Body: []byte(`{"id":43}`)},
	); err != nil {
		log.Fatal(err)
	}

	// Replay from anywhere, then live.
	for m, err := range bus.Follow(ctx, "orders", beck.FromStart) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Key, string(m.Body))
		if m.Key == "43" {
			break
		}
	}
	// Output:
	// 42 {"id":42}
	// 43 {"id":43}
}

func ExampleBus_Subscribe() {
	ctx, stop := context.WithCancel(context.Background())
	bus, done := tempBus()
	defer done()

	bus.Publish(ctx, "orders", beck.Message{Body: []byte("paid")}, beck.Message{Body: []byte("declined")})

	// nil acknowledges; an error has the message retried, here at once.
	err := bus.Subscribe(ctx, "orders", "billing", func(ctx context.Context, m *beck.Message) error {
		if string(m.Body) == "declined" && m.Attempt == 1 {
			fmt.Println("declined: trying again")
			return beck.RetryAfter(0)
		}
		fmt.Printf("%s, attempt %d\n", m.Body, m.Attempt)
		if string(m.Body) == "declined" {
			stop()
		}
		return nil
	}, nil)
	fmt.Println(err)
	// Output:
	// paid, attempt 1
	// declined: trying again
	// declined, attempt 2
	// <nil>
}

func ExampleBus_Follow_gap() {
	ctx := context.Background()
	bus, done := tempBus()
	defer done()

	ids, _ := bus.Publish(ctx, "prices",
		beck.Message{Body: []byte("1.07")}, beck.Message{Body: []byte("1.08")}, beck.Message{Body: []byte("1.09")})
	bus.Trim(ctx, "prices", beck.FromID(ids[2]))

	// The reader has seen the first message only; the second is gone.
	for m, err := range bus.Follow(ctx, "prices", beck.FromID(ids[0])) {
		var gap *beck.Gap
		if errors.As(err, &gap) {
			fmt.Println("something is missing")
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(m.Body))
		break
	}
	// Output:
	// something is missing
	// 1.09
}

func ExampleBus_Fetch() {
	ctx := context.Background()
	bus, done := tempBus()
	defer done()

	bus.Join(ctx, "mail", "sender", &beck.JoinOptions{Lease: time.Minute})
	bus.Publish(ctx, "mail", beck.Message{Body: []byte("hello")})

	got, err := bus.Fetch(ctx, "mail", "sender", &beck.FetchOptions{Consumer: "c1", Wait: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range got.Messages {
		fmt.Println(string(m.Body))
		if err := bus.Settle(ctx, "mail", "sender", "c1", beck.Ack(m.ID)); err != nil {
			log.Fatal(err)
		}
	}
	info, _ := bus.Topic(ctx, "mail")
	fmt.Println("pending:", info.Subscriptions[0].Pending)
	// Output:
	// hello
	// pending: 0
}

func ExampleBus_Topic() {
	ctx := context.Background()
	bus, done := tempBus()
	defer done()

	bus.Publish(ctx, "orders", beck.Message{Body: []byte("a")}, beck.Message{Body: []byte("b")})
	bus.Join(ctx, "orders", "billing", nil)
	bus.Join(ctx, "orders", "audit", &beck.JoinOptions{From: beck.FromNew})

	info, err := bus.Topic(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range info.Subscriptions {
		fmt.Printf("%s is %d behind\n", s.Name, s.Lag)
	}
	// Output:
	// audit is 0 behind
	// billing is 2 behind
}
