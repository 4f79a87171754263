package ondisk

import (
	"errors"
	"testing"

	"github.com/beckmq/beck/internal/driver"
)

// A bounded queue that is full most of the time, with an old task held, needs no
// more memory as tasks pass through.
func TestFrontStaysSmall(t *testing.T) {
	for _, drops := range []bool{false, true} {
		e := open(t, "db", inMemory())
		if err := e.Configure(t.Context(), "q", driver.TopicConfig{MaxMessages: 20, DropOldest: drops}); err != nil {
			t.Fatal(err)
		}
		makeQueue(t, e, "q")
		publish(t, e, "q", bodies(0, 1)...)
		fetch(t, e, "q", workers, "slow", 1)
		for i := range 1500 {
			_, err := e.Append(t.Context(), "q", bodies(i*10, 10))
			if err != nil && (drops || !errors.Is(err, driver.ErrTopicFull)) {
				t.Fatal(err)
			}
			f := fetch(t, e, "q", workers, "c", 5)
			settle(t, e, "q", workers, "c", each(driver.Acknowledge, idsOf(f.Messages)...)...)
		}
		audit(t, e)
		if n := len(e.find("q").front); n > frontSize+frontPage {
			t.Errorf("dropping %v: the front has %d places", drops, n)
		}
		if n := topicInfo(t, e, "q").Length; n > 20 {
			t.Errorf("dropping %v: %d messages", drops, n)
		}
		if err := e.DeleteTopic(t.Context(), "q"); err != nil {
			t.Fatal(err)
		}
	}
}

// A bound far below what is stored is reached in steps.
func TestBoundFarBelow(t *testing.T) {
	e := open(t, "db", inMemory())
	for range 3 {
		publish(t, e, "a", bodies(0, 5000)...)
	}
	if err := e.Configure(t.Context(), "a", driver.TopicConfig{MaxMessages: 10}); err != nil {
		t.Fatal(err)
	}
	publish(t, e, "a", bodies(0, 25)...)
	if got := text(readAll(t, e, "a")); got != "15 16 17 18 19 20 21 22 23 24 " {
		t.Errorf("left %q", got)
	}
	audit(t, e)
}
