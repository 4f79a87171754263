package cron_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/cron"
	"github.com/beckmq/beck/ondisk"
)

func ExampleNext() {
	s := &beck.Schedule{Name: "nightly", Topic: "reports", Spec: "30 2 * * *", Zone: "Europe/Berlin"}
	tick := time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)
	for range 3 {
		tick = cron.Next(s, tick)
		fmt.Println(tick)
	}
	// On the 29th, clocks are put forward from 2:00 to 3:00.

	// Output:
	// 2026-03-28 02:30:00 +0100 CET
	// 2026-03-29 03:00:00 +0200 CEST
	// 2026-03-30 02:30:00 +0200 CEST
}

func ExampleRun() {
	ctx, stop := context.WithCancel(context.Background())
	dir, err := os.MkdirTemp("", "beck")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	bus, err := ondisk.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(context.Background())

	err = cron.Add(ctx, bus, beck.Schedule{
		Name: "heartbeat", Topic: "beats", Spec: "* * * * * *",
		Message: beck.Message{Body: []byte("still here")},
	})
	if err != nil {
		log.Fatal(err)
	}
	running := make(chan error)
	go func() { running <- cron.Run(ctx, bus, nil) }()

	err = bus.Subscribe(ctx, "beats", "monitor", func(ctx context.Context, m *beck.Message) error {
		fmt.Printf("%s: %s\n", m.Headers[cron.ScheduleHeader], m.Body)
		stop()
		return nil
	}, nil)
	fmt.Println(err, <-running)
	// Output:
	// heartbeat: still here
	// <nil> <nil>
}
