package drivertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// traffic is a history of many at once. What happens is recorded with numbers of
// one clock, taken before and after each call, and checked at the end.
type traffic struct {
	*T
	clock atomic.Int64

	mu         sync.Mutex
	published  map[string]string // id → body
	deliveries map[string][]delivery
	ended      map[string]int64 // subscription and id → when its end had been answered
	released   map[string]int   // subscription, id and attempt → how often given back
	followed   [][]string
}

// delivery is one of those of a message to a subscription.
type delivery struct {
	consumer string
	attempt  int
	begin    int64     // of the Fetch that brought it
	got      time.Time // when the Fetch had returned
	until    time.Time // the lease ran at least until then, if it wasn't ended
}

const trafficLease = 300 * time.Millisecond

func concurrentHistory(t *T) {
	const publishers, perPublisher, followers, consumers = 3, 100, 3, 4
	tr := &traffic{
		T: t, published: map[string]string{}, deliveries: map[string][]delivery{},
		ended: map[string]int64{}, released: map[string]int{}, followed: make([][]string, followers),
	}
	subscriptions := []string{billing, "audit"}
	for _, s := range subscriptions {
		t.joinStart(orders, s, trafficLease)
	}
	var publishing, following, consuming sync.WaitGroup
	done := make(chan struct{})
	for p := range publishers {
		publishing.Go(func() { tr.publish(p, perPublisher) })
	}
	for f := range followers {
		following.Go(func() { tr.follow(f, publishers*perPublisher) })
	}
	for _, s := range subscriptions {
		for c := range consumers {
			consuming.Go(func() { tr.consume(s, fmt.Sprint("c", c), done) })
		}
	}
	publishing.Wait()
	following.Wait()
	drained := tr.drained(subscriptions)
	close(done)
	consuming.Wait()
	if !drained {
		t.Errorf("after %v not everything was settled, though consumers were running: something is stuck", t.patience)
	}
	tr.check(subscriptions)
}

func (tr *traffic) publish(p, count int) {
	random := rand.New(rand.NewPCG(uint64(p), 1))
	for i := 0; i < count; {
		n := min(1+random.IntN(4), count-i)
		var bodies []string
		for range n {
			bodies = append(bodies, fmt.Sprintf("%d %d", p, i))
			i++
		}
		ids := tr.tryAppend(orders, bodies...)
		tr.mu.Lock()
		for j, id := range ids {
			tr.published[id] = bodies[j]
		}
		tr.mu.Unlock()
		time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
	}
}

// follow reads as the continuity rule says, and keeps the ids it saw.
func (tr *traffic) follow(f, total int) {
	hints, stop := tr.engine.Watch(orders)
	defer stop()
	from := start
	for len(tr.followed[f]) < total {
		ctx, cancel := tr.ctx()
		page, err := tr.engine.Read(ctx, orders, from, 7)
		cancel()
		if err != nil {
			tr.Errorf("follower: %v", err)
			return
		}
		for i, m := range page.Messages {
			if from.Kind == driver.AtID && i == 0 {
				if m.ID != from.ID {
					tr.Errorf("a follower at %s finds %s: a gap, though nothing was removed", from.ID, m.ID)
				}
				continue
			}
			tr.followed[f] = append(tr.followed[f], m.ID)
		}
		if n := len(page.Messages); n > 0 {
			from = at(page.Messages[n-1].ID)
		}
		if page.More {
			continue
		}
		select {
		case <-hints:
		case <-time.After(tr.promptly()):
			if len(tr.followed[f]) < total {
				tr.Errorf("a follower has %d of %d messages and got no hint within %v", len(tr.followed[f]), total, tr.promptly())
			}
			return
		}
	}
}

// consume handles messages in every way there is, until done.
func (tr *traffic) consume(s, who string, done <-chan struct{}) {
	random := rand.New(rand.NewPCG(uint64(len(s)), uint64(who[1])))
	for life := 0; ; {
		select {
		case <-done:
			return
		default:
		}
		consumer := fmt.Sprintf("%s-%d", who, life)
		d := delivery{consumer: consumer, begin: tr.clock.Add(1)}
		asked := time.Now()
		ctx, cancel := tr.ctx()
		f, err := tr.engine.Fetch(ctx, orders, s, driver.FetchRequest{Consumer: consumer, Max: 1 + random.IntN(6)})
		cancel()
		if err != nil {
			tr.Errorf("%s: Fetch: %v", consumer, err)
			return
		}
		d.got, d.until = time.Now(), asked.Add(f.Lease)
		tr.mu.Lock()
		for _, m := range f.Messages {
			d.attempt = m.Attempt
			tr.deliveries[s+" "+m.ID] = append(tr.deliveries[s+" "+m.ID], d)
			if body, ok := tr.published[m.ID]; ok && body != string(m.Body) {
				tr.Errorf("message %s is %q, want %q", m.ID, m.Body, body)
			}
		}
		tr.mu.Unlock()
		switch {
		case len(f.Messages) == 0:
			time.Sleep(3 * time.Millisecond)
		case random.IntN(25) == 0:
			life++ // it crashes, with all it holds, and starts under another name
		case random.IntN(25) == 0:
			time.Sleep(trafficLease + 50*time.Millisecond) // it is slow, and settles too late
			fallthrough
		default:
			tr.settleSome(s, consumer, f.Messages, random)
		}
	}
}

func (tr *traffic) settleSome(s, consumer string, messages []driver.Message, random *rand.Rand) {
	var list []driver.Settlement
	attempts := map[string]int{}
	for _, m := range messages {
		c := driver.Settlement{ID: m.ID, Do: driver.Acknowledge}
		switch n := random.IntN(100); {
		case n < 12:
			c.Do, c.After = driver.Retry, time.Duration(random.IntN(40))*time.Millisecond
		case n < 20:
			c.Do = driver.Release
		case n < 23:
			c.Do = driver.DeadLetter
		}
		list = append(list, c)
		attempts[m.ID] = m.Attempt
		if c.Do == driver.Release {
			// Counted before the call: once it is done, anyone may get it.
			tr.mu.Lock()
			tr.released[fmt.Sprint(s, " ", m.ID, " ", m.Attempt)]++
			tr.mu.Unlock()
		}
		if c.Do == driver.Retry {
			// A retry ends the lease early, and that is a cause.
			tr.endLeases(s, m.ID, m.Attempt)
		}
	}
	ctx, cancel := tr.ctx()
	defer cancel()
	notHeld, err := tr.engine.Settle(ctx, orders, s, consumer, list)
	if err != nil {
		tr.Errorf("%s: Settle: %v", consumer, err)
		return
	}
	answered := tr.clock.Add(1)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	refused := map[string]bool{}
	for _, id := range notHeld {
		refused[id] = true
	}
	for _, c := range list {
		_, before := tr.ended[s+" "+c.ID]
		if (c.Do == driver.Acknowledge || c.Do == driver.DeadLetter) && !refused[c.ID] && !before {
			tr.ended[s+" "+c.ID] = answered
		}
	}
}

// endLeases notes that a delivery may be followed by another from now on.
func (tr *traffic) endLeases(s, id string, attempt int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	list := tr.deliveries[s+" "+id]
	for i := range list {
		if list[i].attempt == attempt {
			list[i].until = time.Time{}
		}
	}
}

// drained waits until every message has been ended by every subscription.
func (tr *traffic) drained(subscriptions []string) bool {
	for deadline := time.Now().Add(tr.patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		tr.mu.Lock()
		all := len(tr.ended) >= len(tr.published)*len(subscriptions)
		tr.mu.Unlock()
		if all || tr.Failed() {
			return all
		}
	}
	return false
}

func (tr *traffic) check(subscriptions []string) {
	stored := tr.readAll(orders, start)
	if len(stored) != len(tr.published) {
		tr.Errorf("the topic has %d messages, want the %d whose ids were returned", len(stored), len(tr.published))
	}
	for _, m := range stored {
		if body, ok := tr.published[m.ID]; !ok || body != string(m.Body) {
			tr.Errorf("the topic has %s %q, want %q: it was published otherwise, or not at all", m.ID, m.Body, body)
		}
	}
	order := idsOf(stored)
	for _, ids := range tr.followed {
		for i, id := range ids {
			if i >= len(order) || order[i] != id {
				tr.Errorf("a follower saw %s as message %d, which is not the topic's order", id, i+1)
				break
			}
		}
	}
	for _, s := range subscriptions {
		for _, id := range order {
			tr.checkDeliveries(s, id)
		}
		if info := tr.subscription(orders, s); info.Pending != 0 || info.Waiting != 0 || info.Lag > 0 {
			tr.Errorf("%s has %d pending, %d waiting, %d never delivered, though all is settled", s, info.Pending, info.Waiting, info.Lag)
		}
	}
}

// checkDeliveries looks for a cause of each delivery of a message but the first.
func (tr *traffic) checkDeliveries(s, id string) {
	byAttempt := map[int][]delivery{}
	for _, d := range tr.deliveries[s+" "+id] {
		byAttempt[d.attempt] = append(byAttempt[d.attempt], d)
		if end, ok := tr.ended[s+" "+id]; ok && d.begin > end {
			tr.Errorf("%s of %s was delivered again (attempt %d, to %s) after its end had been answered", id, s, d.attempt, d.consumer)
		}
	}
	if len(byAttempt[1]) == 0 {
		tr.Errorf("%s was never delivered to %s with attempt 1: lost, or its attempt number was", id, s)
	}
	for attempt, list := range byAttempt {
		if given := tr.released[fmt.Sprint(s, " ", id, " ", attempt)]; len(list) > 1+given {
			tr.Errorf("%s was delivered to %s %d times with attempt %d, and released %d times", id, s, len(list), attempt, given)
		}
		if attempt == 1 {
			continue
		}
		earlier := byAttempt[attempt-1]
		if len(earlier) == 0 {
			tr.Errorf("%s was delivered to %s with attempt %d, never with %d", id, s, attempt, attempt-1)
		}
		for _, d := range list {
			if !slices.ContainsFunc(earlier, func(e delivery) bool { return !d.got.Before(e.until.Add(-slack)) }) {
				tr.Errorf("%s was delivered to %s again (attempt %d) while the lease of attempt %d ran", id, s, attempt, attempt-1)
			}
		}
	}
}
