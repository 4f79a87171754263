package beck_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
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

func ExampleBus_Work() {
	ctx, stop := context.WithCancel(context.Background())
	bus, done := tempBus()
	defer done()

	if _, err := bus.Push(ctx, "emails",
		beck.Message{Body: []byte("to anna")},
		beck.Message{Body: []byte("to ben"), Delay: 50 * time.Millisecond},
	); err != nil {
		log.Fatal(err)
	}
	err := bus.Work(ctx, "emails", func(_ context.Context, m *beck.Message) error {
		fmt.Println("sent", string(m.Body))
		if string(m.Body) == "to ben" {
			stop()
		}
		return nil // the task is done, and gone
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// sent to anna
	// sent to ben
}

func ExampleBus_WorkAll() {
	ctx, stop := context.WithCancel(context.Background())
	bus, done := tempBus()
	defer done()

	for _, queue := range []string{"urgent", "usual"} {
		if _, err := bus.Push(ctx, queue, beck.Message{Body: []byte("a task")}); err != nil {
			log.Fatal(err)
		}
	}
	left := 2
	// While both have tasks, nine of ten are urgent.
	err := bus.WorkAll(ctx, map[string]int{"urgent": 9, "usual": 1}, func(_ context.Context, m *beck.Message) error {
		if left--; left == 0 {
			stop()
		}
		return nil
	}, nil)
	fmt.Println(left, err)
	// Output: 0 <nil>
}

func ExampleBus_Request() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	bus, done := tempBus()
	defer done()

	_, err := bus.Request(ctx, "double", beck.Message{Body: []byte("21")})
	fmt.Println(errors.Is(err, beck.ErrNoReplier)) // known at once

	go bus.Reply(ctx, "double", func(_ context.Context, m *beck.Message) ([]byte, error) {
		n, err := strconv.Atoi(string(m.Body))
		return fmt.Append(nil, 2*n), err
	})
	for errors.Is(err, beck.ErrNoReplier) {
		var answer []byte
		if answer, err = bus.Request(ctx, "double", beck.Message{Body: []byte("21")}); err == nil {
			fmt.Println(string(answer))
		}
	}
	_, err = bus.Request(ctx, "double", beck.Message{Body: []byte("one")})
	fmt.Println(err)
	// Output:
	// true
	// 42
	// beck: request double: answered by double: strconv.Atoi: parsing "one": invalid syntax
}

func ExampleBus_Confirm() {
	ctx := context.Background()
	bus, done := tempBus()
	defer done()
	if _, err := bus.Join(ctx, "orders", "billing", nil); err != nil {
		log.Fatal(err)
	}
	ids, err := bus.Publish(ctx, "orders", beck.Message{Body: []byte("order 1")})
	if err != nil {
		log.Fatal(err)
	}

	waiting, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	fmt.Println(bus.Confirm(waiting, "orders", ids, "billing"))
	// Output:
	// beck: confirm orders: not acknowledged: 1 ready with billing: context deadline exceeded
}

func ExampleBus_Listen() {
	ctx := context.Background()
	bus, done := tempBus()
	defer done()

	messages := bus.Listen(ctx, "typing.*") // listens from here on
	n, err := bus.Broadcast(ctx, "typing.room1", []byte("anna"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "listens")
	for m, err := range messages {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Topic, string(m.Body))
		break
	}
	// Output:
	// 1 listens
	// typing.room1 anna
}

func ExampleBus_Requeue() {
	ctx := context.Background()
	bus, done := tempBus()
	defer done()
	if _, err := bus.Publish(ctx, "orders", beck.Message{Body: []byte("order 1")}); err != nil {
		log.Fatal(err)
	}
	handling, stop := context.WithCancel(ctx)
	err := bus.Subscribe(handling, "orders", "billing", func(context.Context, *beck.Message) error {
		stop()
		return beck.Dead(errors.New("no such customer"))
	}, nil)
	if err != nil {
		log.Fatal(err)
	}

	letters, _, err := bus.Peek(ctx, "orders", "billing", beck.StateDead, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range letters {
		fmt.Println(string(l.Message.Body), "died:", l.Reason)
		if _, err := bus.Requeue(ctx, "orders", "billing", l.Message.ID); err != nil {
			log.Fatal(err)
		}
	}
	again, err := bus.Fetch(ctx, "orders", "billing", &beck.FetchOptions{Consumer: "c"})
	fmt.Println(len(again.Messages), err)
	// Output:
	// order 1 died: no such customer
	// 1 <nil>
}
