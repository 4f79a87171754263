// Package cron publishes recurring messages.
//
//	err := cron.Add(ctx, bus, beck.Schedule{
//		Name: "nightly", Topic: "reports", Spec: "30 2 * * *", Zone: "Europe/Berlin",
//		Message: beck.Message{Body: []byte("all")},
//	})
//	…
//	err = cron.Run(ctx, bus, nil)
//
// Schedules are stored in the engine: [Add] may be called anywhere, at every start
// of a program, and every [Run] on the same engine knows within two seconds. Any
// number of processes may run it, and it is wise to have more than one do so: the
// engine publishes a tick together with the note that it is published, so each
// tick is published once, also if the process that was about to do so dies.
//
// # When
//
// A Spec is one of
//
//	*/5 * * * *         minute, hour, day of the month, month, day of the week
//	*/10 * * * * *      the same with seconds in front
//	@hourly @daily @midnight @weekly @monthly @yearly @annually
//	@every 90s          whole seconds, counted from when the schedule was put
//
// A field takes *, numbers, ranges (9-17, also 22-2), lists (1,15) and steps
// (*/5, 10-40/10), and names such as jan or mon; the day of the week is 0 to 7,
// where both 0 and 7 are Sunday. If both days are restricted, one of them is
// enough, as in every cron.
//
// A Zone is a name such as Europe/Berlin; empty means UTC. When clocks there are
// put forward, ticks in the time left out come at its end, together; when they are
// put back, ticks in the time that comes twice come the first time only. That
// holds for a Spec that names hours; with * as its hour it goes on evenly.
//
// # Late and missed
//
// A tick is published at its time or some milliseconds later, and never early by
// the clock of the process that does it. If nobody could publish it (no process
// ran, the engine was away, the topic was full), it is published as soon as
// somebody can, as long as it is less than [Late] late. What is later than that
// was missed, and Missed of the schedule decides:
//
//   - "once", or empty: if nothing newer is due, the newest missed tick is
//     published, and all before it are left out.
//   - "skip": none is published.
//   - "all": all are published, in order, but no more than the newest [MaxMissed].
//
// # Clocks
//
// Processes should agree on the time, as by NTP. The one whose clock is the
// fastest publishes, so a tick is as early as that clock is; those behind find it
// published, and never publish it again. A process whose clock is far ahead
// publishes ticks of the future, and nothing more is published until that time has
// come, unless the schedule is deleted and added anew; Run logs a warning when it
// sees that.
//
// # Messages
//
// A message is what the schedule has, with two more headers: "beck-schedule" is the
// schedule's name, and "beck-tick" the time of the tick, as in RFC 3339.
package cron
