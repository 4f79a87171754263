package ondisk

import (
	"errors"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

func TestPublishAndRead(t *testing.T) {
	e := open(t, t.TempDir(), settings{})
	ids := publish(t, e, "a", bodies(1, 5)...)
	if got := text(read(t, e, "a", driver.Position{}, 3).Messages); got != "1 2 3 " {
		t.Errorf("first page: %q", got)
	}
	p := read(t, e, "a", driver.Position{Kind: driver.AtID, ID: ids[2]}, 10)
	if got := text(p.Messages); got != "3 4 5 " || p.More || p.Last != "" {
		t.Errorf("from the third: %q %+v", got, p)
	}
	p = read(t, e, "a", driver.Position{Kind: driver.End}, 10)
	if len(p.Messages) != 0 || p.Last != ids[4] {
		t.Errorf("at the end: %+v", p)
	}
	if p := read(t, e, "unknown", driver.Position{}, 10); len(p.Messages) != 0 || p.Last != "" {
		t.Errorf("unknown topic: %+v", p)
	}
}

func TestSubscription(t *testing.T) {
	clock := newClock()
	set := settings{now: clock.now}
	dir := t.TempDir()
	e := mustOpen(t, dir, set)
	publish(t, e, "a", bodies(1, 4)...)
	join(t, e, "a", "s", driver.JoinConfig{Lease: time.Minute})
	f := fetch(t, e, "a", "s", "c1", 3)
	if text(f.Messages) != "1/1 2/1 3/1 " || !f.More || f.Next != time.Minute {
		t.Fatalf("fetched %q %+v", text(f.Messages), f)
	}
	notHeld := settle(t, e, "a", "s", "c2",
		driver.Settlement{ID: f.Messages[0].ID, Do: driver.Acknowledge},
		driver.Settlement{ID: f.Messages[1].ID, Do: driver.Renew})
	if len(notHeld) != 1 || notHeld[0] != f.Messages[1].ID {
		t.Errorf("not held: %v", notHeld)
	}
	settle(t, e, "a", "s", "c1",
		driver.Settlement{ID: f.Messages[1].ID, Do: driver.Retry, After: time.Second},
		driver.Settlement{ID: f.Messages[2].ID, Do: driver.DeadLetter, Reason: "bad"})
	shut(t, e)

	e = open(t, dir, set)
	info, err := e.Topic(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	s := info.Subscriptions[0]
	if info.Length != 4 || s.Lag != 1 || s.Pending != 0 || s.Waiting != 1 || s.Dead != 1 {
		t.Errorf("info: %+v", info)
	}
	if f := fetch(t, e, "a", "s", "c2", 10); text(f.Messages) != "4/1 " || f.Next != time.Second {
		t.Errorf("fetched %q %+v", text(f.Messages), f)
	}
	clock.at = clock.at.Add(time.Second)
	if f := fetch(t, e, "a", "s", "c2", 10); text(f.Messages) != "2/2 " || f.More {
		t.Errorf("fetched %q %+v", text(f.Messages), f)
	}
	clock.at = clock.at.Add(time.Hour)
	if f := fetch(t, e, "a", "s", "c3", 10); text(f.Messages) != "4/2 2/3 " {
		t.Errorf("fetched %q %+v", text(f.Messages), f)
	}
}

func TestTrimKeepsWhatIsNeeded(t *testing.T) {
	e := open(t, "db", inMemory())
	ids := publish(t, e, "a", bodies(1, 10)...)
	join(t, e, "a", "s", driver.JoinConfig{From: driver.Position{Kind: driver.AtID, ID: ids[3]}})
	removed, err := e.Trim(t.Context(), "a", driver.Position{Kind: driver.End})
	if err != nil || removed != 4 {
		t.Errorf("trimmed %d, %v", removed, err)
	}
	if got := text(read(t, e, "a", driver.Position{}, 2).Messages); got != "5 6 " {
		t.Errorf("left: %q", got)
	}
	if err := e.DeleteTopic(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Topic(t.Context(), "a"); !errors.Is(err, driver.ErrTopicNotFound) {
		t.Errorf("deleted topic: %v", err)
	}
	if again := publish(t, e, "a", bodies(1, 1)...); again[0] <= ids[9] {
		t.Errorf("id %s is not above %s", again[0], ids[9])
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, settings{})
	if _, err := openEngine(dir, quiet(settings{})); !errors.Is(err, driver.ErrInUse) {
		t.Errorf("second open: %v", err)
	}
}
