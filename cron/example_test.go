package cron_test

import (
	"fmt"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/cron"
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
