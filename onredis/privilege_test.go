package onredis

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// TestLeastPrivilege works as the user whom docs/redis-layout.md proposes.
func TestLeastPrivilege(t *testing.T) {
	text, err := os.ReadFile("../docs/redis-layout.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile(`(?s)ACL SETUSER beck (.*?)` + "```").FindSubmatch(text)
	if rule == nil {
		t.Fatal("docs/redis-layout.md proposes no user")
	}
	s := redistest.Start(t)
	s.Do(append([]string{"ACL", "SETUSER", "beck"}, strings.Fields(string(rule[1]))...)...)
	e, err := openEngine(t.Context(), "redis://beck:secret@"+s.Addr(), &Options{})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, e)
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
	s.Do("XGROUP", "DESTROY", "beck:orders", "billing")
	_, heal := e.Fetch(ctx, "orders", "billing", driver.FetchRequest{Consumer: "c", Max: 4})
	err = errors.Join(recovering, topics, topic, trim, heal, e.Leave(ctx, "orders", "billing", "c"), e.Ping(ctx),
		e.DeleteSubscription(ctx, "orders", "billing"), e.DeleteTopic(ctx, "orders"))
	if err != nil {
		t.Error(err)
	}
}
