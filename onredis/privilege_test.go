package onredis

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// userOf returns the user whom docs/redis-acl.md proposes, by name, as Redis takes
// one behind ACL SETUSER.
func userOf(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/redis-acl.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile(`(?s)\nACL SETUSER (` + name + ` .*?)` + "```").FindSubmatch(text)
	if rule == nil {
		t.Fatalf("docs/redis-acl.md proposes no user %s", name)
	}
	return strings.Join(strings.Fields(string(rule[1])), " ")
}

// secured are options of a server that speaks TLS, asks clients for a certificate,
// and lets in nobody but the user whom docs/redis-acl.md proposes.
func secured(t testing.TB, args ...string) redistest.Options {
	t.Helper()
	return redistest.Options{
		TLS: redistest.NewTLS(t).WithClientAuth(), NoDefault: true,
		Users: []string{userOf(t, "beck")}, Args: args,
	}
}

// TestLeastPrivilege works as the user whom docs/redis-acl.md proposes, and needs
// each of that user's rights.
func TestLeastPrivilege(t *testing.T) {
	s := redistest.StartWith(t, secured(t))
	e, err := openEngine(t.Context(), s.URLAs("beck", "secret"), &Options{})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, e)
	useEverything(t, e, func(string) *redistest.Server { return s })
	asksMore(t, e, driver.Durability{Replicas: 1, Within: time.Millisecond}, driver.ErrDurability)
	asksMore(t, e, driver.Durability{Synced: true}, beck.ErrOption)
	// The others are for other deployments, for a peek at a bad moment and for the
	// end of a connection.
	elsewhere := map[string]bool{}
	for _, name := range strings.Fields("role cluster|slots asking rename dump restore " +
		"zcount select hello punsubscribe sunsubscribe unsubscribe") {
		elsewhere[name] = true
	}
	used := calls(s)
	for _, right := range strings.Fields(userOf(t, "beck")) {
		name, allowed := strings.CutPrefix(right, "+")
		if allowed && !elsewhere[name] && used[name] == 0 && !usedBelow(used, name) {
			t.Errorf("the user has a right that nothing needed: %s", right)
		}
	}
}

// asksMore publishes a message that asks for more than to be written.
func asksMore(t *testing.T, e driver.Engine, d driver.Durability, want error) {
	t.Helper()
	_, err := e.Append(t.Context(), "durable", []driver.Message{{Body: []byte("x"), Durability: &d}})
	if !errors.Is(err, want) {
		t.Errorf("Append with %+v: %v, want %v", d, err, want)
	}
}

// useEverything makes all calls that need rights of their own. owner is the server
// that has a key.
func useEverything(t *testing.T, e *engine, owner func(key string) *redistest.Server) {
	t.Helper()
	hints, stop := e.Watch("orders")
	defer stop()
	join(t, e, "orders", "billing", 100*time.Millisecond)
	ids := publish(t, e, "orders", "a", "b", "c", "d")
	fetch(t, e, "orders", "billing", "gone", 1)
	time.Sleep(150 * time.Millisecond)
	fetch(t, e, "orders", "billing", "c", 4)
	if n := settle(t, e, "orders", "billing", "c", driver.Renew, ids[0]); len(n) != 0 {
		t.Errorf("not held: %v", n)
	}
	settle(t, e, "orders", "billing", "c", driver.Retry, ids[0])
	settle(t, e, "orders", "billing", "c", driver.DeadLetter, ids[1])
	settle(t, e, "orders", "billing", "c", driver.Acknowledge, ids[2:]...)
	fetch(t, e, "orders", "billing", "c", 4)
	hinted(t, hints, time.Second, "tracking as a user of few rights")
	join(t, e, "orders", "billing", time.Minute)
	ctx := t.Context()
	_, recovering := e.Fetch(ctx, "orders", "billing", driver.FetchRequest{Consumer: "c", Max: 4, Recover: true})
	_, topics := e.Topics(ctx)
	_, topic := e.Topic(ctx, "orders")
	_, trim := e.Trim(ctx, "orders", driver.Position{Kind: driver.End})
	owner("beck:orders").Do("XGROUP", "DESTROY", "beck:orders", "billing")
	_, heal := e.Fetch(ctx, "orders", "billing", driver.FetchRequest{Consumer: "c", Max: 4})
	err := errors.Join(recovering, topics, topic, trim, heal, e.Leave(ctx, "orders", "billing", "c"), e.Ping(ctx),
		steerAll(ctx, e, ids), e.DeleteSubscription(ctx, "orders", "billing"), e.DeleteTopic(ctx, "orders"))
	if err != nil {
		t.Error(err)
	}
	e.useAll(t)
	one, some := listen(t, e, "a.b"), listen(t, e, "a.*")
	broadcast(t, e, "a.b", "x")
	one.hears(t, "a.b x")
	some.hears(t, "a.b x")
	stop = serve(t, e, "price", "re ")
	if got, err := request(e, "price", "x", time.Second); got != "re x" || err != nil {
		t.Errorf("Request: %q, %v", got, err)
	}
	stop()
	if _, err := request(e, "price", "x", time.Second); !errors.Is(err, driver.ErrNoReplier) {
		t.Errorf("Request to nobody: %v", err)
	}
}

// usedBelow reports whether a command was used that is part of a container, such as
// XGROUP CREATE of XGROUP.
func usedBelow(used map[string]int, container string) bool {
	for name := range used {
		if strings.HasPrefix(name, container+"|") {
			return true
		}
	}
	return false
}

// useAll publishes and takes in all the ways that need commands of their own.
func (e *engine) useAll(t *testing.T) {
	ctx := t.Context()
	makeQueue(t, e, "emails", 100*time.Millisecond)
	configure(t, e, "emails", func(c *driver.TopicConfig) { c.MaxMessages, c.MaxBytes, c.DropOldest = 3, 1<<20, true })
	list := batchOf(8)
	for i := range list {
		list[i].DedupeID = string(rune('a' + i))
	}
	list[7].Delay = 20 * time.Millisecond
	_, add := e.Append(ctx, "emails", list)
	fetch(t, e, "emails", workers, "w", 3)
	_, drop := e.Append(ctx, "emails", batchOf(2))
	time.Sleep(30 * time.Millisecond)
	got := fetchWithin(t, e, time.Second, "emails", workers, "w")
	settle(t, e, "emails", workers, "w", driver.Acknowledge, idsOf(got)...)
	later := delay(t, e, "emails", time.Hour)
	_, cancel := e.Cancel(ctx, "emails", later)
	put := e.PutSchedule(ctx, driver.Schedule{Name: "nightly", Topic: "emails", Version: "1", Config: []byte("{}")})
	list2, schedules := e.Schedules(ctx)
	_, done, tick := e.Tick(ctx, driver.Schedule{Name: "nightly", Topic: "emails", Version: "1"}, time.Now(), driver.Message{Body: []byte("x")})
	if len(list2) != 1 || !done {
		t.Errorf("%d schedules, tick done: %v", len(list2), done)
	}
	err := errors.Join(add, drop, cancel, put, schedules, tick, e.cleanTopic(ctx, "emails"),
		e.PutSchedule(ctx, driver.Schedule{Name: "nightly", Topic: "other", Version: "2"}), e.DeleteSchedule(ctx, "nightly"))
	if err != nil {
		t.Error(err)
	}
}

// steerAll makes all calls that steer, and returns their errors.
func steerAll(ctx context.Context, e *engine, ids []string) error {
	var errs []error
	for _, state := range []driver.State{driver.Ready, driver.Held, driver.Waiting, driver.Buried} {
		_, err := e.Peek(ctx, "orders", "billing", driver.PeekRequest{State: state, Max: 10, After: ids[0]})
		errs = append(errs, err)
	}
	_, delayed := e.Peek(ctx, "orders", "", driver.PeekRequest{State: driver.Delayed, Max: 10})
	_, outstanding := e.Outstanding(ctx, "orders", "billing", ids)
	_, requeue := e.Requeue(ctx, "orders", "billing", ids)
	_, drop := e.Drop(ctx, "orders", "billing", ids)
	seek := e.Seek(ctx, "orders", "billing", driver.Position{Kind: driver.Start})
	pause := errors.Join(e.Pause(ctx, "orders", "billing", true), e.Pause(ctx, "orders", "billing", false))
	_, purge := e.Purge(ctx, "orders")
	return errors.Join(append(errs, delayed, outstanding, requeue, drop, seek, pause, purge)...)
}
