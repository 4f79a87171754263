package beck_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

// seen is what a follower has seen: bodies, and "gap" where it was told of one.
type seen struct {
	mu   sync.Mutex
	list []string
}

func (s *seen) add(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, what)
}

func (s *seen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.list, " ")
}

// await waits until all that is seen is so, and a moment more for what must not come.
func await(t *testing.T, what string, want string, followers ...*seen) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for _, s := range followers {
		for s.String() != want && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if got := s.String(); got != want {
			t.Fatalf("%s: followed %q, want %q", what, got, want)
		}
	}
}

// follow follows in the background, from when it returns.
func follow(t *testing.T, bus *beck.Bus, ctx context.Context, from beck.Position) *seen {
	t.Helper()
	s := &seen{}
	begun := make(chan struct{})
	var once sync.Once
	var done sync.WaitGroup
	t.Cleanup(done.Wait)
	done.Go(func() {
		defer once.Do(func() { close(begun) })
		for page, err := range bus.FollowPages(ctx, "t", from) {
			once.Do(func() { close(begun) })
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			if page.Gap != nil {
				s.add("gap")
			}
			for _, m := range page.Messages {
				s.add(string(m.Body))
			}
		}
	})
	<-begun
	return s
}

func TestFollowersAreToldOfAnotherEra(t *testing.T) {
	bus, engine := openChanging(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ids := publish(t, bus, "t", 0, 2)
	const n = 20
	var followers []*seen
	for range n {
		followers = append(followers, follow(t, bus, ctx, beck.FromStart))
	}
	await(t, "before", "0 1", followers...)

	// They wait, and nothing is published: they are told at once.
	engine.change("e1")
	await(t, "at rest", "0 1 gap", followers...)
	publish(t, bus, "t", 2, 2)
	await(t, "after it", "0 1 gap 2 3", followers...)

	// Who comes later has missed nothing, wherever it begins.
	late, again := follow(t, bus, ctx, beck.FromNew), follow(t, bus, ctx, beck.FromID(ids[1]))
	publish(t, bus, "t", 4, 1)
	await(t, "late", "4", late)
	await(t, "from before", "2 3 4", again)

	// The era changes, and the newest message is lost with it: one gap, not two.
	lost := publish(t, bus, "t", 5, 1)
	await(t, "before the loss", "0 1 gap 2 3 4 5", followers...)
	engine.change("e2", lost...)
	await(t, "the tail lost", "0 1 gap 2 3 4 5 gap", followers...)
	await(t, "the tail lost, late", "4 5 gap", late)
	publish(t, bus, "t", 6, 1)
	await(t, "after the loss", "0 1 gap 2 3 4 5 gap 6", followers...)

	// Nothing that the engine can't tell is a change.
	engine.change("")
	publish(t, bus, "t", 7, 1)
	engine.change("e2")
	publish(t, bus, "t", 8, 1)
	await(t, "an era that isn't known", "0 1 gap 2 3 4 5 gap 6 7 8", followers...)
	if got := bus.Stats().Gaps; got != 2*n+2 {
		t.Errorf("%d gaps are counted, want %d", got, 2*n+2)
	}
}

// A follower that lags gets one gap for a change, where it is when it hears of it, and
// then each message once, though the others have read on.
func TestASlowFollowerIsToldOnce(t *testing.T) {
	bus, engine := openChanging(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	publish(t, bus, "t", 0, 100) // some pages
	fast := follow(t, bus, ctx, beck.FromNew)
	next, gaps := 0, 0
	for page, err := range bus.FollowPages(ctx, "t", beck.FromStart) {
		if err != nil {
			t.Fatal(err)
		}
		if page.Gap != nil {
			gaps++
			if page.Gap.After != page.Gap.Resume || next == 0 {
				t.Errorf("the gap is %+v behind %d messages", page.Gap, next)
			}
		}
		for _, m := range page.Messages {
			if string(m.Body) != strconv.Itoa(next) {
				t.Fatalf("followed %s, want %d", m.Body, next)
			}
			next++
		}
		if next > 0 && gaps == 0 && engine.of() == "e0" {
			engine.change("e1")
			publish(t, bus, "t", 100, 1)
			await(t, "the fast one", "gap 100", fast)
			// Another one comes, and has the pages read that the slow one is to get.
			rest := make([]string, 0, 101)
			for i := next; i <= 100; i++ {
				rest = append(rest, strconv.Itoa(i))
			}
			await(t, "the late one", strings.Join(rest, " "), follow(t, bus, ctx, page.Next))
		}
		if next == 101 {
			break
		}
	}
	if gaps != 1 {
		t.Errorf("told of %d gaps, want 1", gaps)
	}
}

// What was read before a change, and comes in after others have seen it, brings nobody
// back into the era before.
func TestAnAnswerOfTheEraBefore(t *testing.T) {
	bus, engine := openChanging(t)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	ids := publish(t, bus, "t", 0, 2)
	waiting := follow(t, bus, ctx, beck.FromNew)
	pages := make(chan *beck.Page)
	var done sync.WaitGroup
	defer done.Wait()
	defer cancel()
	done.Go(func() {
		for page, err := range bus.FollowPages(ctx, "t", beck.FromID(ids[0])) {
			if err != nil {
				return
			}
			select {
			case pages <- page:
			case <-ctx.Done():
				return
			}
		}
	})
	held := make(chan struct{})
	time.Sleep(20 * time.Millisecond) // until both have read what there is to begin with
	engine.hold.Store(&held)
	<-pages // the beginning; now its first page is read
	<-held
	engine.change("e1")
	await(t, "who waited", "gap", waiting)
	held <- struct{}{}
	if page := <-pages; page.Gap == nil || len(page.Messages) != 1 || !strings.HasSuffix(page.Era, ".e1") {
		t.Errorf("the page read meanwhile: %+v; want one message of e1 behind a gap", page)
	}
	publish(t, bus, "t", 2, 1)
	if page := <-pages; page.Gap != nil || len(page.Messages) != 1 {
		t.Errorf("the page behind it: %+v; want one message and no gap", page)
	}
	await(t, "who waited", "gap 2", waiting)
}

// A change that one follower finds is told to all, without a hint.
func TestAnEraThatOneFollowerFinds(t *testing.T) {
	bus, engine := openChanging(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	publish(t, bus, "t", 0, 1)
	waiting := follow(t, bus, ctx, beck.FromNew)
	time.Sleep(20 * time.Millisecond) // until it waits; if it doesn't, it reads the change itself
	engine.changeQuietly("e1")
	late := follow(t, bus, ctx, beck.FromStart)
	await(t, "who waited", "gap", waiting)
	await(t, "who came", "0", late)
}

// Who comes back to the end of a topic after the others were told is told at once, and
// not with the next hint.
func TestAnEraAtTheEnd(t *testing.T) {
	bus, engine := openChanging(t)
	ctx := within(t)
	publish(t, bus, "t", 0, 1)
	following, stop := context.WithCancel(ctx)
	defer stop()
	waiting := follow(t, bus, following, beck.FromStart)
	await(t, "before", "0", waiting)
	for page, err := range bus.FollowPages(ctx, "t", beck.FromStart) {
		if err != nil {
			t.Fatal(err)
		}
		if page.Gap != nil {
			break
		}
		if len(page.Messages) > 0 {
			engine.change("e1")
			await(t, "who waited", "0 gap", waiting)
			time.Sleep(20 * time.Millisecond) // until it waits again
		}
	}
}

// A follower goes on where a gap says, after any interruption, with each message once.
func TestGoingOnBehindAnEra(t *testing.T) {
	bus, engine := openChanging(t)
	ctx := within(t)
	publish(t, bus, "t", 0, 3)
	var got []string
	next := beck.FromStart
	for len(got) < 7 {
		for page, err := range bus.FollowPages(ctx, "t", next) {
			if err != nil {
				t.Fatal(err)
			}
			next = page.Next
			if page.Gap != nil { // and cut off there
				got = append(got, "gap")
				next = page.Gap.Resume
				publish(t, bus, "t", 3, 3)
				break
			}
			for _, m := range page.Messages {
				got = append(got, string(m.Body))
			}
			if len(got) == 3 {
				engine.change("e1")
			}
			if len(got) == 7 {
				break
			}
		}
	}
	if s := strings.Join(got, " "); s != "0 1 2 gap 3 4 5" {
		t.Errorf("followed %s", s)
	}
}

// Whatever is under way while the era changes, each follower hears of each change once,
// and gets each message once, in order.
func TestErasAmidTraffic(t *testing.T) {
	bus, engine := openChanging(t)
	engine.slow.Store(int64(200 * time.Microsecond))
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	const followers, eras, batch = 8, 6, 20
	var told [followers]atomic.Int64
	var ready, done sync.WaitGroup
	ready.Add(followers)
	for i := range followers {
		done.Go(func() {
			next, begun := 0, false
			for page, err := range bus.FollowPages(ctx, "t", beck.FromNew) {
				if err != nil {
					t.Errorf("follower %d: %v", i, err)
					return
				}
				if !begun {
					begun = true
					ready.Done()
				}
				if page.Gap != nil {
					told[i].Add(1)
				}
				for _, m := range page.Messages {
					if string(m.Body) != strconv.Itoa(next) {
						t.Errorf("follower %d: got %s, want %d", i, m.Body, next)
						return
					}
					next++
				}
				if i%3 == 0 {
					time.Sleep(time.Duration(i) * time.Millisecond)
				}
				if next == 2*eras*batch && told[i].Load() == eras {
					return
				}
			}
		})
	}
	ready.Wait()
	for n := range eras {
		publish(t, bus, "t", 2*n*batch, batch)
		engine.change("e" + strconv.Itoa(n+1))
		publish(t, bus, "t", (2*n+1)*batch, batch)
		// Two changes that nobody has seen between are one.
		for i := range followers {
			for told[i].Load() <= int64(n) && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
		}
	}
	done.Wait()
	for i := range followers {
		if got := told[i].Load(); got != eras {
			t.Errorf("follower %d was told of %d gaps, want %d", i, got, eras)
		}
	}
}

// Two servers count eras each by itself. One that is not known counts as a change, once;
// from then on each is compared with itself.
func TestErasOfSeveralServers(t *testing.T) {
	bus, engine := openChanging(t)
	engine.changeQuietly("a.1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	publish(t, bus, "t", 0, 1)
	s := follow(t, bus, ctx, beck.FromStart)
	await(t, "at one", "0", s)
	engine.change("b.1")
	await(t, "at another", "0 gap", s)
	for n, era := range []string{"a.1", "b.1", "a.1"} {
		engine.change(era)
		publish(t, bus, "t", n+1, 1)
	}
	await(t, "at both", "0 gap 1 2 3", s)
	engine.change("a.2")
	await(t, "changed", "0 gap 1 2 3 gap", s)
	late := follow(t, bus, ctx, beck.FromID("m000000000004"))
	publish(t, bus, "t", 4, 1)
	await(t, "behind it", "0 gap 1 2 3 gap 4", s)
	await(t, "late", "4", late)
}

// A server that was replaced comes back for a moment, with messages of its own, above
// those of its successor: who followed it goes back to what both have, and passes over
// nothing that the successor has.
func TestGoingBackBehindAnEra(t *testing.T) {
	bus, engine := openChanging(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	publish(t, bus, "t", 0, 3)
	followers := []*seen{follow(t, bus, ctx, beck.FromStart), follow(t, bus, ctx, beck.FromStart)}
	await(t, "before", "0 1 2", followers...)
	engine.mu.Lock()
	for n := 4; n <= 5; n++ {
		engine.lost[fmt.Sprintf("m%012d", n)] = true // what the successor will be found to have
	}
	engine.mu.Unlock()
	theirs := publish(t, bus, "t", 3, 2)
	if !engine.lost[theirs[0]] || !engine.lost[theirs[1]] {
		t.Fatalf("the ids %q are not those expected", theirs)
	}
	own := publish(t, bus, "t", 8, 2)
	await(t, "of the one that came back", "0 1 2 8 9", followers...)
	engine.mu.Lock()
	clear(engine.lost)
	engine.mu.Unlock()
	engine.change("e1", own...)
	await(t, "of the successor", "0 1 2 8 9 gap 3 4", followers...)
	publish(t, bus, "t", 5, 1)
	await(t, "after it", "0 1 2 8 9 gap 3 4 5", followers...)
}

// Going back fails for a while: it is tried again after a pause, as any reading is.
func TestGoingBackIsTriedAgain(t *testing.T) {
	bus, engine := openChanging(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ids := publish(t, bus, "t", 0, 3)
	follower := follow(t, bus, ctx, beck.FromStart)
	await(t, "before", "0 1 2", follower)
	engine.refuse.Store(true)
	engine.change("e1", ids[2])
	for engine.refused.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	if n := engine.refused.Load(); n > 20 {
		t.Errorf("it was tried %d times in 200 ms", n)
	}
	engine.refuse.Store(false)
	await(t, "after", "0 1 2 gap", follower)
}
