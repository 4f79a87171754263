package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/examples/internal/place"
	"github.com/beckmq/beck/internal/redistest"
)

func TestOrdersAreShipped(t *testing.T) {
	t.Run("disk", func(t *testing.T) { testShop(t, "disk:"+t.TempDir()) })
	t.Run("redis", func(t *testing.T) { testShop(t, redistest.Start(t).URL()) })
}

func testShop(t *testing.T, at string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	bus, err := place.Open(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(context.WithoutCancel(ctx))
	web := httptest.NewServer(shop(ctx, bus))
	defer web.Close()

	// Orders are taken while nobody works on them, and one of them twice.
	const n = 20
	for i := range n {
		item := "tea"
		if i%5 == 0 {
			item = "eggs" // fails at first
		}
		order(t, web.URL, fmt.Sprintf(`{"item":%q,"count":%d}`, item, i+1), fmt.Sprint("key", i), http.StatusAccepted)
	}
	order(t, web.URL, `{"item":"tea","count":2}`, "key1", http.StatusAccepted)
	order(t, web.URL, `{"item":"tea"}`, "", http.StatusBadRequest)
	order(t, web.URL, `eggs`, "", http.StatusBadRequest)
	order(t, web.URL, `{"item":"tea\n\ndata: gold","count":1}`, "", http.StatusBadRequest)

	page, err := http.Get(web.URL + "/shipped")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	working, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- work(working, bus, 4) }()
	seen := map[string]int{}
	lines := bufio.NewScanner(page.Body)
	for len(seen) < n && lines.Scan() {
		if what, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			seen[what]++
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for what, times := range seen {
		if times != 1 {
			t.Errorf("%s was shipped %d times", what, times)
		}
	}
	if len(seen) != n || seen["2 × tea"] != 1 || seen["1 × eggs"] != 1 {
		t.Errorf("%d different orders were shipped, not %d: %v", len(seen), n, seen)
	}
	info, err := bus.Topic(ctx, orders)
	if err != nil || info.Length != 0 || !info.Queue || info.Subscriptions[0].Name != beck.QueueSubscription {
		t.Errorf("the queue at the end: %+v, %v", info, err)
	}
}

func order(t *testing.T, url, body, key string, want int) {
	t.Helper()
	r, err := http.NewRequest("POST", url+"/orders", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != want {
		t.Errorf("%s: %s: %s", body, answer.Status, text)
	}
}
