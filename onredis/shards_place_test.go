package onredis

import (
	"fmt"
	"testing"
)

// TestPlaces holds the promise of docs/shards.md: where a topic is never changes while
// the set does not.
func TestPlaces(t *testing.T) {
	three := []string{"redis-a:6379", "redis-b:6379", "redis-c:6379"}
	for topic, want := range map[string]string{
		"orders": "redis-b:6379", "emails": "redis-b:6379", "a": "redis-a:6379", "b": "redis-c:6379",
		"orders.eu": "redis-a:6379", "user:42": "redis-c:6379", "": "redis-b:6379",
	} {
		if got := placeOf(three, topic); got != want {
			t.Errorf("%q is at %s, not at %s", topic, got, want)
		}
	}
	if got := fnv1a("orders"); got != 0x125d9250be8b4c {
		t.Errorf("the hash of orders is %#x", got)
	}
	if got := scatter(fnv1a("orders") ^ scatter(fnv1a("redis-a:6379"))); got != 0x4f57df0e4b762588 {
		t.Errorf("the weight of redis-a:6379 for orders is %#x", got)
	}
}

func TestPlacesAreSpread(t *testing.T) {
	two := []string{"10.0.0.1:6379", "10.0.0.2:6379"}
	three := append([]string{"10.0.0.3:6379"}, two...)
	counts := map[string]int{}
	moved := 0
	const topics = 30_000
	for i := range topics {
		topic := fmt.Sprintf("topic-%d", i)
		at := placeOf(three, topic)
		counts[at]++
		if before := placeOf(two, topic); before != at {
			moved++
			if at != "10.0.0.3:6379" {
				t.Fatalf("%s goes from %s to %s, though that was there before", topic, before, at)
			}
		}
	}
	for _, name := range three {
		if n := counts[name]; n < topics*30/100 || n > topics*37/100 {
			t.Errorf("%s has %d of %d", name, n, topics)
		}
	}
	if moved != counts["10.0.0.3:6379"] {
		t.Errorf("%d moved, and the new instance has %d", moved, counts["10.0.0.3:6379"])
	}
}
