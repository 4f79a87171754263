package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/beckmq/beck"
)

func busFollowCases() []Case {
	return []Case{
		{Name: "replay then live", Promise: "following replays what is stored and goes on live, in order, each message once, while publishers run", run: followLive},
		{Name: "many", Promise: "many followers in one process, from many positions, all see everything in order", run: followMany},
		{Name: "slow", Promise: "a slow follower delays nobody, and still gets everything in order", run: followSlow},
		{Name: "positions", Promise: "following begins at the start, at what is new, behind an id, at a time, or a duration ago", run: followPositions},
		{Name: "gap", Promise: "a follower from a position that was trimmed away gets a gap before the first message, and goes on; one that misses nothing gets none", run: followGap},
		{Name: "deleted topic", Promise: "a follower of a topic that was deleted and made again gets a gap with the next message", run: followDeleted},
		{Name: "bad position", Promise: "a position that is malformed or lies ahead of the topic ends following with ErrPosition", run: followBadPosition},
		{Name: "ends", Promise: "following ends when its context ends, when its loop is left, and when the bus is closed", run: followEnds},
		{Name: "pages", Promise: "the first page of FollowPages has no messages but the position where following begins", run: followPages},
	}
}

// collect follows until it has n messages. A gap or an error fails the test.
func (t *T) collect(bus *beck.Bus, topic string, from beck.Position, n int) (got []*beck.Message) {
	ctx, cancel := t.ctx()
	defer cancel()
	for m, err := range bus.Follow(ctx, topic, from) {
		if err != nil {
			t.Errorf("Follow of %s from %s, after %d of %d messages: %v", topic, from, len(got), n, err)
			return got
		}
		if got = append(got, m); len(got) == n {
			break
		}
	}
	return got
}

// wantFollowed checks that messages are those of the topic behind a number of
// them.
func (t *T) wantFollowed(what string, got []*beck.Message, ids []string) {
	t.Helper()
	var seen []string
	for _, m := range got {
		seen = append(seen, m.ID)
	}
	if !slices.Equal(seen, ids) {
		for i := range min(len(seen), len(ids)) {
			if seen[i] != ids[i] {
				t.Errorf("%s: message %d is %s, want %s", what, i+1, seen[i], ids[i])
				return
			}
		}
		t.Errorf("%s: %d messages, want %d", what, len(seen), len(ids))
	}
}

// publishers publish from several goroutines; wait returns the ids in the order
// of the topic.
func (t *T) publishers(bus *beck.Bus, count, each int) (wait func() []string) {
	var mu sync.Mutex
	var ids []string
	var wg sync.WaitGroup
	for p := range count {
		wg.Go(func() {
			for i := range each {
				got := t.publish(bus, orders, fmt.Sprint(p, " ", i))
				mu.Lock()
				ids = append(ids, got...)
				mu.Unlock()
				if i%10 == p {
					time.Sleep(2 * time.Millisecond)
				}
			}
		})
	}
	return func() []string {
		wg.Wait()
		slices.Sort(ids)
		return ids
	}
}

func followLive(t *T) {
	bus := t.bus()
	before := t.publish(bus, orders, numbers(0, 150)...)
	wait := t.publishers(bus, 3, 80)
	got := t.collect(bus, orders, beck.FromStart, 150+240)
	t.wantFollowed("followed", got, append(before, wait()...))
	for _, m := range got[:min(1, len(got))] {
		if m.Topic != orders || m.Attempt != 0 {
			t.Errorf("a followed message has the topic %q and attempt %d, want %s and 0", m.Topic, m.Attempt, orders)
		}
	}
}

func followMany(t *T) {
	const followers = 40
	bus := t.bus()
	before := t.publish(bus, orders, numbers(0, 100)...)
	var got [followers][]*beck.Message
	var wg sync.WaitGroup
	from := func(f int) (beck.Position, int) {
		if f%4 == 0 {
			return beck.FromStart, 0
		}
		return beck.FromID(before[f]), f + 1
	}
	for f := range followers {
		wg.Go(func() {
			position, skipped := from(f)
			got[f] = t.collect(bus, orders, position, 100-skipped+180)
		})
	}
	all := slices.Concat(before, t.publishers(bus, 3, 60)())
	wg.Wait()
	for f := range followers {
		_, skipped := from(f)
		t.wantFollowed(fmt.Sprint("follower ", f), got[f], all[skipped:])
	}
}

func followSlow(t *T) {
	const total = 3000
	bus := t.bus()
	goOn := make(chan struct{})
	var slow []*beck.Message
	var wg sync.WaitGroup
	first := t.publish(bus, orders, "first")
	wg.Go(func() {
		ctx, cancel := t.ctx()
		defer cancel()
		for m, err := range bus.Follow(ctx, orders, beck.FromStart) {
			if err != nil {
				t.Errorf("the slow follower, after %d messages: %v", len(slow), err)
				return
			}
			if slow = append(slow, m); len(slow) == 1 {
				<-goOn // it does nothing while all the others are served
			}
			if len(slow) == total+1 {
				return
			}
		}
	})
	var quick []*beck.Message
	var others sync.WaitGroup
	others.Go(func() { quick = t.collect(bus, orders, beck.FromStart, total+1) })
	ids := first
	for range total / 50 {
		ids = append(ids, t.publish(bus, orders, numbers(0, 50)...)...)
	}
	others.Wait()
	t.wantFollowed("a quick follower beside a slow one", quick, ids)
	close(goOn)
	wg.Wait()
	t.wantFollowed("the slow follower", slow, ids)
}

func followPositions(t *T) {
	bus := t.bus()
	ids := t.publish(bus, orders, "a", "b")
	time.Sleep(20 * time.Millisecond)
	ids = append(ids, t.publish(bus, orders, "c")...)
	stored := t.collect(bus, orders, beck.FromStart, 3)
	if t.Failed() {
		return
	}
	for _, c := range []struct {
		from beck.Position
		want []string
	}{
		{beck.FromID(ids[0]), ids[1:]},
		{beck.FromTime(stored[2].Time), ids[2:]},
		{beck.FromTime(stored[0].Time), ids},
		{beck.FromAgo(time.Hour), ids},
	} {
		t.wantFollowed("from "+string(c.from), t.collect(bus, orders, c.from, len(c.want)), c.want)
	}
	// What is new is what comes once following has begun.
	ctx, cancel := t.ctx()
	defer cancel()
	for page, err := range bus.FollowPages(ctx, orders, beck.FromNew) {
		if err != nil {
			t.Fatalf("FollowPages from new: %v", err)
		}
		if len(page.Messages) == 0 {
			t.publish(bus, orders, "d")
			continue
		}
		if got := fmt.Sprint(bodiesOf(page.Messages)); got != "[d]" {
			t.Errorf("from new: %s, want [d]", got)
		}
		break
	}
}

// untilMessage follows until the first message and tells of the gaps before it.
func (t *T) untilMessage(bus *beck.Bus, from beck.Position) (gaps int, body string) {
	t.Helper()
	ctx, cancel := t.ctx()
	defer cancel()
	for m, err := range bus.Follow(ctx, orders, from) {
		var gap *beck.Gap
		switch {
		case errors.As(err, &gap):
			gaps++
			if gap.Topic != orders || gap.After == "" || gap.Resume == "" {
				t.Errorf("the gap %+v does not say of which topic, after what, and from where", gap)
			}
		case err != nil:
			t.Fatalf("Follow from %s: %v", from, err)
		default:
			return gaps, string(m.Body)
		}
	}
	return gaps, ""
}

func followGap(t *T) {
	bus := t.bus()
	ids := t.publish(bus, orders, numbers(0, 8)...)
	ctx, cancel := t.ctx()
	defer cancel()
	if _, err := bus.Trim(ctx, orders, beck.FromID(ids[5])); err != nil {
		t.Fatalf("Trim: %v", err)
	}
	for _, c := range []struct {
		from beck.Position
		gaps int
		body string
	}{
		{beck.FromStart, 0, "5"}, {beck.FromID(ids[5]), 0, "6"}, {beck.FromID(ids[6]), 0, "7"}, {beck.FromAgo(time.Hour), 0, "5"},
		{beck.FromID(ids[4]), 1, "5"}, {beck.FromID(ids[0]), 1, "5"},
	} {
		if gaps, body := t.untilMessage(bus, c.from); gaps != c.gaps || body != c.body {
			t.Errorf("from %s: %d gaps before message %q, want %d before %q", c.from, gaps, body, c.gaps, c.body)
		}
	}
	// Trimmed empty: behind the newest id nothing is missing.
	if _, err := bus.Trim(ctx, orders, beck.FromNew); err != nil {
		t.Fatalf("Trim: %v", err)
	}
	t.publish(bus, orders, "8")
	// The newest id of then is gone, so that a follower behind it may be told
	// of a gap; one from the start must not.
	if gaps, body := t.untilMessage(bus, beck.FromStart); gaps != 0 || body != "8" {
		t.Errorf("from the start of a topic trimmed empty: %d gaps before message %q, want none before 8", gaps, body)
	}
}

func followDeleted(t *T) {
	bus := t.bus()
	t.publish(bus, orders, "old")
	ctx, cancel := t.ctx()
	defer cancel()
	gaps := 0
	for m, err := range bus.Follow(ctx, orders, beck.FromStart) {
		var gap *beck.Gap
		switch {
		case errors.As(err, &gap):
			gaps++
		case err != nil:
			t.Fatalf("Follow: %v", err)
		case string(m.Body) == "old":
			if err := bus.DeleteTopic(ctx, orders); err != nil {
				t.Fatalf("DeleteTopic: %v", err)
			}
			t.publish(bus, orders, "new")
		default:
			if string(m.Body) != "new" || gaps == 0 {
				t.Errorf("after the topic was deleted: %q after %d gaps, want new after a gap", m.Body, gaps)
			}
			return
		}
	}
}

func followBadPosition(t *T) {
	bus := t.bus()
	t.publish(bus, orders, "a")
	time.Sleep(5 * time.Millisecond)
	future := t.publish(bus, "other", "b")
	for _, from := range []beck.Position{"", "nonsense", "-5", "-10x", "new ", "\x00", beck.FromTime(time.Now().Add(time.Hour)), beck.FromID(future[0])} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		var err error
		for _, err = range bus.Follow(ctx, orders, from) {
			break
		}
		cancel()
		var gap *beck.Gap
		ahead := from == beck.FromID(future[0])
		if !errors.Is(err, beck.ErrPosition) && !(ahead && errors.As(err, &gap)) {
			t.Errorf("Follow from %q: %v, want ErrPosition", from, err)
		}
	}
}

func followEnds(t *T) {
	bus := t.bus()
	t.publish(bus, orders, "a")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var last error
	for m, err := range bus.Follow(ctx, orders, beck.FromStart) {
		if m != nil {
			time.AfterFunc(20*time.Millisecond, cancel)
		}
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("following whose context was cancelled ends with %v, want context.Canceled", last)
	}
	for range bus.Follow(context.Background(), orders, beck.FromStart) {
		break
	}
	ended := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		var last error
		for m, err := range bus.Follow(context.Background(), orders, beck.FromStart) {
			if m != nil {
				close(began)
			}
			last = err
		}
		ended <- last
	}()
	<-began
	if n := bus.Stats().Followers; n != 1 {
		t.Errorf("%d followers are counted, want the one that runs", n)
	}
	closing, cancel2 := t.ctx()
	defer cancel2()
	if err := bus.Close(closing); err != nil {
		t.Errorf("Close: %v", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, beck.ErrClosed) {
			t.Errorf("following ends with %v when the bus is closed, want ErrClosed", err)
		}
	case <-time.After(t.patience):
		t.Errorf("following does not end when the bus is closed")
	}
}

func followPages(t *T) {
	bus := t.bus()
	ids := t.publish(bus, orders, numbers(0, 5)...)
	ctx, cancel := t.ctx()
	defer cancel()
	for from, want := range map[beck.Position]beck.Position{
		beck.FromID(ids[1]): beck.FromID(ids[1]), beck.FromNew: beck.FromID(ids[4]), beck.FromStart: beck.FromStart,
	} {
		for page, err := range bus.FollowPages(ctx, orders, from) {
			if err != nil || len(page.Messages) != 0 || page.Gap != nil || page.Next != want {
				t.Errorf("the first page from %s: %+v, %v, want no messages, and Next %s", from, page, err, want)
			}
			break
		}
	}
}
