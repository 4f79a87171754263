package acceptance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// Delayed messages come at their time, through a crash of everything half way:
// none early, none lost, none twice.
func TestDelayedMessagesSurvive(t *testing.T) {
	onEach(t, func(t *testing.T, d deployment) {
		bus := open(t, d)
		n, most := sized(500, 10_000), sized(3*time.Second, 30*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), most+time.Minute)
		defer cancel()
		var mu sync.Mutex
		late, dueAt := map[int]time.Duration{}, map[int]time.Time{}
		var all sync.WaitGroup
		reading, stop := context.WithCancel(ctx)
		all.Go(func() {
			for m, err := range bus.Follow(reading, "later", beck.FromStart) {
				if err != nil {
					if reading.Err() == nil {
						t.Error(err)
					}
					return
				}
				number, due, _ := strings.Cut(string(m.Body), " ")
				i, _ := strconv.Atoi(number)
				ns, _ := strconv.ParseInt(due, 10, 64)
				mu.Lock()
				if _, twice := late[i]; twice {
					t.Errorf("message %d came twice", i)
				}
				late[i], dueAt[i] = time.Since(time.Unix(0, ns)), time.Unix(0, ns)
				mu.Unlock()
			}
		})
		begin := time.Now()
		for i := 0; i < n; {
			batch := make([]beck.Message, min(100, n-i))
			for j := range batch {
				// What is due is written down before it is published, so the message
				// may come later than that, but never earlier.
				delay := rand.N(most)
				batch[j] = beck.Message{Delay: delay, Body: fmt.Appendf(nil, "%d %d", i+j, time.Now().Add(delay).UnixNano())}
			}
			if _, err := bus.Publish(ctx, "later", batch...); err != nil {
				t.Fatal(err)
			}
			i += len(batch)
		}
		time.Sleep(time.Until(begin.Add(most / 2)))
		outage := time.Now()
		d.restart()
		down := time.Since(outage)
		await(t, "all have come", most+30*time.Second, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(late) == n
		})
		stop()
		all.Wait()
		var steady, meanwhile []time.Duration
		for i, by := range late {
			if by < -2*time.Millisecond { // the engine's clock ticks in milliseconds
				t.Errorf("message %d came early, by %v", i, -by)
			}
			if dueAt[i].Before(outage.Add(-100*time.Millisecond)) || dueAt[i].After(outage.Add(down+recovery)) {
				steady = append(steady, by)
			} else {
				meanwhile = append(meanwhile, by)
			}
		}
		slices.Sort(steady)
		slices.Sort(meanwhile)
		// Half, since this machine may be busy with other things.
		if p50 := steady[len(steady)/2]; p50 > 50*time.Millisecond {
			t.Errorf("half of them were late by more than %v", p50)
		}
		t.Logf("%d messages with delays up to %v: none early, %d lost; late by p50 %v, p99 %v, at most %v; everything killed for %v half way, those due then and until %v after late by at most %v",
			n, most, n-len(late), steady[len(steady)/2].Round(time.Microsecond), steady[len(steady)*99/100].Round(time.Microsecond),
			steady[len(steady)-1].Round(time.Microsecond), down.Round(time.Millisecond), recovery, meanwhile[len(meanwhile)-1].Round(time.Microsecond))
	})
}

// recovery is how long it may take until all goes on after an outage.
const recovery = 3 * time.Second
