package acceptance

import (
	"context"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/cron"
)

func runCron(ctx context.Context, bus *beck.Bus, _ role) error { return cron.Run(ctx, bus, nil) }

// Three processes run the same schedule, one of them is killed: each tick is
// published once.
func TestEachTickOnce(t *testing.T) {
	onEach(t, func(t *testing.T, d deployment) {
		bus := open(t, d)
		n := sized(5, 60)
		err := cron.Add(t.Context(), bus, beck.Schedule{
			Name: "each-second", Topic: "ticks", Spec: "* * * * * *", Missed: "all", Message: beck.Message{Body: []byte("tick")},
		})
		if err != nil {
			t.Fatal(err)
		}
		var runners []*process
		for range 3 {
			runners = append(runners, start(t, role{Name: "cron", At: d.at}))
		}
		var ticks []time.Time
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Second+30*time.Second)
		defer cancel()
		for m, err := range bus.Follow(ctx, "ticks", beck.FromStart) {
			if err != nil {
				t.Fatalf("after %d ticks: %v", len(ticks), err)
			}
			if ticks = append(ticks, m.Time); len(ticks) == n/2 {
				runners[0].kill()
			}
			if len(ticks) == n {
				break
			}
		}
		for _, r := range runners {
			r.end()
		}
		// Each came in a second of its own, one after the other.
		worst := time.Duration(0)
		for i, at := range ticks {
			second := ticks[0].Truncate(time.Second).Add(time.Duration(i) * time.Second)
			by := at.Sub(second)
			worst = max(worst, by)
			if by < 0 || by >= time.Second {
				t.Errorf("tick %d came at %v, not in the second from %v on", i, at, second)
			}
		}
		t.Logf("%d ticks by three processes, one of them killed: each once, late by at most %v", len(ticks), worst)
	})
}
