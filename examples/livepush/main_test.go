package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beckmq/beck/examples/internal/place"
	"github.com/beckmq/beck/internal/redistest"
)

func TestTwoNodesPushToAll(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	redis := redistest.Start(t).URL()
	var nodes []string
	for range 2 {
		bus, err := place.Open(ctx, redis)
		if err != nil {
			t.Fatal(err)
		}
		defer bus.Close(context.WithoutCancel(ctx))
		serving, stop := context.WithCancel(ctx)
		web := httptest.NewServer(node(serving, bus))
		defer web.Close()
		defer stop()
		nodes = append(nodes, web.URL)
	}

	// Fifty browsers on each node, and one that is cut off after a few messages and
	// goes on at the other node.
	const browsers, said = 50, 40
	var all sync.WaitGroup
	for i := range 2 * browsers {
		all.Go(func() {
			if got, _ := read(ctx, t, nodes[i%2], "", said); got != wanted(0, said) {
				t.Errorf("browser %d saw %q", i, got)
			}
		})
	}
	all.Go(func() {
		first, last := read(ctx, t, nodes[0], "", 10)
		rest, _ := read(ctx, t, nodes[1], last, said-10)
		if first+rest != wanted(0, said) {
			t.Errorf("the browser that moved saw %q and then %q", first, rest)
		}
	})
	for i := range said {
		answer, err := http.Post(nodes[i%2]+"/say", "text/plain", strings.NewReader(fmt.Sprint("message ", i)))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatal(answer.Status)
		}
	}
	all.Wait()

	page, err := http.Get(nodes[1])
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	if text, _ := io.ReadAll(page.Body); !strings.Contains(string(text), "EventSource") {
		t.Error("the page is not there")
	}
}

func wanted(from, to int) (s string) {
	for i := from; i < to; i++ {
		s += fmt.Sprintf("\"message %d\"\n", i)
	}
	return s
}

// read returns what a browser is shown until it has seen n messages, and the last
// one's id.
func read(ctx context.Context, t *testing.T, url, last string, n int) (seen, id string) {
	r, err := http.NewRequestWithContext(ctx, "GET", url+"/events", nil)
	if err != nil {
		t.Error(err)
		return
	}
	r.Header.Set("Last-Event-ID", last)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); n > 0 && lines.Scan(); {
		line := lines.Text()
		if after, ok := strings.CutPrefix(line, "id: "); ok {
			id = after
		}
		if after, ok := strings.CutPrefix(line, "data: "); ok {
			seen += after + "\n"
			n--
		}
	}
	return seen, id
}
