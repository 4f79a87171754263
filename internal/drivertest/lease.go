package drivertest

import (
	"slices"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func leaseCases() []Case {
	return []Case{
		{Name: "ends", Promise: "a message whose lease has ended goes to another consumer, with the next attempt number, and not before", run: leaseEnds},
		{Name: "ends for several", Promise: "of many messages left behind by a consumer, all go to others, each to one", run: leaseEndsForSeveral},
		{Name: "next", Promise: "Next tells when the next lease ends: waiting that long is enough, without a hint", run: leaseNext},
		{Name: "renew", Promise: "renewing begins the lease anew", run: leaseRenew},
		{Name: "recover renews", Promise: "a recovered delivery has a new lease", run: leaseRecover},
		{Name: "same consumer", Promise: "a consumer may get its own message again when its lease has ended, with the next attempt number", run: leaseSameConsumer},
		{Name: "changed", Promise: "a lease changed by joining holds for deliveries after it", run: leaseChanged},
		{Name: "retry delay", Promise: "a retried message comes again after its delay, not earlier, to any consumer, with the next attempt number", run: retryDelay},
		{Name: "retries overtake", Promise: "messages behind one that waits for its retry are delivered meanwhile", run: retryOvertaken},
	}
}

const short = 250 * time.Millisecond

// notBefore checks a lower bound of time.
func (t *T) notBefore(what string, since time.Time, d time.Duration) {
	t.Helper()
	if passed := time.Since(since); passed < d-slack {
		t.Errorf("%s after %v, want not before %v", what, passed, d)
	}
}

func leaseEnds(t *T) {
	t.joinStart(orders, billing, short)
	id := t.append(orders, "a")[0]
	for attempt, consumer := range []string{"a", "b", "a", "c"} {
		fetched := time.Now()
		m := t.take(orders, billing, consumer, 1)[0]
		if m.ID != id || m.Attempt != attempt+1 {
			t.Fatalf("delivery %d: message %s with attempt %d, want %s with %d", attempt+1, m.ID, m.Attempt, id, attempt+1)
		}
		if consumer == "c" {
			break
		}
		// Others ask all the time, and must not get it before it is due.
		f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "early", Max: 1})
		if len(f.Messages) > 0 {
			t.notBefore("a leased message went to another consumer", fetched, short)
			t.settle(orders, billing, "early", driver.Release, id)
		}
	}
	t.settle(orders, billing, "c", driver.Acknowledge, id)
	t.none(orders, billing, "a")
}

func leaseEndsForSeveral(t *T) {
	const n = 150
	t.joinStart(orders, billing, short)
	ids := t.appendN(orders, n)
	fetched := time.Now()
	t.abandon(orders, billing, "crashed", n)
	t.join(orders, billing, driver.JoinConfig{Lease: long})
	got := t.take(orders, billing, "b", n/2)
	t.notBefore("leased messages went to another consumer", fetched, short)
	got = append(got, t.take(orders, billing, "c", n-n/2)...)
	all := idsOf(got)
	slices.Sort(all)
	if !slices.Equal(all, ids) {
		t.Fatalf("two others got %s, want each of %s once", few(all), few(ids))
	}
	for _, m := range got {
		if m.Attempt < 2 {
			t.Fatalf("message %s has attempt %d after its lease had ended, want 2", m.ID, m.Attempt)
		}
	}
}

func leaseNext(t *T) {
	t.joinStart(orders, billing, short)
	t.append(orders, "a")
	t.take(orders, billing, "a", 1)
	began := time.Now()
	for {
		f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "b", Max: 1})
		if len(f.Messages) > 0 {
			return
		}
		if f.Next <= 0 || f.Next > short+slack {
			t.Fatalf("Next is %v while another consumer's lease of %v runs, want what is left of it", f.Next, short)
		}
		if time.Since(began) > t.patience {
			t.Fatalf("the lease of %v did not end within %v", short, t.patience)
		}
		time.Sleep(f.Next)
	}
}

func leaseRenew(t *T) {
	t.joinStart(orders, billing, short)
	id := t.append(orders, "a")[0]
	t.take(orders, billing, "a", 1)
	var renewed time.Time
	for range 5 {
		time.Sleep(short / 5)
		renewed = time.Now()
		t.settle(orders, billing, "a", driver.Renew, id)
	}
	m := t.take(orders, billing, "b", 1)[0]
	t.notBefore("a renewed message went to another consumer", renewed, short)
	if m.Attempt != 2 {
		t.Errorf("attempt %d after one delivery, renewed five times, want 2", m.Attempt)
	}
}

func leaseRecover(t *T) {
	t.joinStart(orders, billing, short)
	t.append(orders, "a")
	t.take(orders, billing, "a", 1)
	time.Sleep(short / 2)
	recovered := time.Now()
	f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "a", Max: 1, Recover: true})
	if len(f.Messages) != 1 || f.Messages[0].Attempt != 2 {
		t.Fatalf("Recover returned %d messages, want the one held, with attempt 2", len(f.Messages))
	}
	m := t.take(orders, billing, "b", 1)[0]
	t.notBefore("a recovered message went to another consumer", recovered, short)
	if m.Attempt != 3 {
		t.Errorf("attempt %d, want 3: delivered, recovered, and its lease ended", m.Attempt)
	}
}

func leaseSameConsumer(t *T) {
	t.joinStart(orders, billing, short)
	id := t.append(orders, "a")[0]
	for attempt := 1; attempt <= 3; attempt++ {
		m := t.take(orders, billing, "a", 1)[0]
		if m.ID != id || m.Attempt != attempt {
			t.Fatalf("message %s with attempt %d, want %s with %d", m.ID, m.Attempt, id, attempt)
		}
	}
	t.settle(orders, billing, "a", driver.Acknowledge, id)
}

func leaseChanged(t *T) {
	t.joinStart(orders, billing, long)
	t.append(orders, "a", "b")
	t.wantBodies("under the long lease", t.take(orders, billing, "a", 1), "a")
	t.join(orders, billing, driver.JoinConfig{Lease: short})
	fetched := time.Now()
	t.wantBodies("under the short lease", t.take(orders, billing, "a", 1), "b")
	// What was delivered under the long lease may keep it or not; what was
	// delivered under the short one must come.
	t.eventually("the message under the short lease goes to another consumer", func() bool {
		f := t.fetch(orders, billing, driver.FetchRequest{Consumer: "b", Max: 10})
		return slices.ContainsFunc(f.Messages, func(m driver.Message) bool { return string(m.Body) == "b" })
	})
	t.notBefore("the message under the short lease went to another consumer", fetched, short)
}

func retryDelay(t *T) {
	t.joinStart(orders, billing, long)
	id := t.append(orders, "a")[0]
	t.take(orders, billing, "a", 1)
	for attempt := 2; attempt <= 4; attempt++ {
		holder, next := "a", "b"
		if attempt%2 == 1 {
			holder, next = next, holder
		}
		retried := time.Now()
		delay := time.Duration(attempt-2) * 150 * time.Millisecond // 0 at first
		if notHeld := t.trySettle(orders, billing, holder, driver.Settlement{ID: id, Do: driver.Retry, After: delay, Reason: "no luck"}); len(notHeld) > 0 {
			t.Fatalf("Retry by the consumer that holds the message: not held")
		}
		m := t.take(orders, billing, next, 1)[0]
		t.notBefore("a retried message came again", retried, delay)
		if m.ID != id || m.Attempt != attempt {
			t.Fatalf("message %s with attempt %d, want %s with %d", m.ID, m.Attempt, id, attempt)
		}
		t.wantContent("a retried message", m, driver.Message{Body: []byte("a")})
	}
}

func retryOvertaken(t *T) {
	t.joinStart(orders, billing, long)
	ids := t.append(orders, "a", "b", "c")
	t.take(orders, billing, "c", 1)
	t.trySettle(orders, billing, "c", driver.Settlement{ID: ids[0], Do: driver.Retry, After: time.Hour})
	t.wantBodies("behind the waiting message", t.take(orders, billing, "c", 2), "b", "c")
	f := t.none(orders, billing, "c")
	if f.Next <= 0 || f.Next > time.Hour+time.Second {
		t.Errorf("Next is %v while a retry waits for an hour, want what is left", f.Next)
	}
	if s := t.subscription(orders, billing); s.Waiting != 1 || s.Pending != 2 {
		t.Errorf("%d wait and %d are pending, want 1 and 2", s.Waiting, s.Pending)
	}
}
