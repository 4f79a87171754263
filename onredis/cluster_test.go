package onredis

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redistest"
)

// TestOneSlot works on a node of a Redis Cluster that has all slots: it refuses a
// command or a script whose keys are not all in one slot.
func TestOneSlot(t *testing.T) {
	s := redistest.Start(t, "--cluster-enabled", "yes")
	s.Do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	for limit := time.Now().Add(10 * time.Second); !strings.Contains(s.Do("CLUSTER", "INFO"), "cluster_state:ok"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the cluster is not ready after 10s")
		}
	}
	e, err := openEngine(t.Context(), "redis+cluster://"+s.Addr(), &Options{})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, e)
	hints, stop := e.Watch("orders")
	defer stop()
	join(t, e, "orders", "billing", 100*time.Millisecond)
	fetch(t, e, "orders", "billing", "c", 1)
	drain(hints)
	ids := publish(t, e, "orders", "a", "b", "c", "d", "e")
	hinted(t, hints, time.Second, "a message in a cluster")
	fetch(t, e, "orders", "billing", "c", 5)
	settle(t, e, "orders", "billing", "c", driver.Retry, ids[0])
	settle(t, e, "orders", "billing", "c", driver.DeadLetter, ids[1:3]...)
	settle(t, e, "orders", "billing", "c", driver.Acknowledge, ids[3])
	time.Sleep(150 * time.Millisecond)
	fetch(t, e, "orders", "billing", "d", 5)
	_, err = e.Fetch(t.Context(), "orders", "billing", driver.FetchRequest{Consumer: "d", Max: 5, Recover: true})
	if err != nil {
		t.Errorf("Fetch with Recover: %v", err)
	}
	if err := steerAll(t.Context(), e, ids); err != nil {
		t.Error(err)
	}
	e.useAll(t)
	ctx := t.Context()
	_, topics := e.Topics(ctx)
	_, topic := e.Topic(ctx, "orders")
	_, trim := e.Trim(ctx, "orders", driver.Position{Kind: driver.End})
	err = errors.Join(topics, topic, trim, e.Leave(ctx, "orders", "billing", "c"),
		e.DeleteSubscription(ctx, "orders", "billing"), e.DeleteTopic(ctx, "orders"), e.DeleteTopic(ctx, "emails"))
	if err != nil {
		t.Error(err)
	}
	stop = serve(t, e, "price", "re ")
	defer stop()
	if got, err := request(e, "price", "x", time.Second); got != "re x" || err != nil {
		t.Errorf("Request: %q, %v", got, err)
	}
}
