package onredis

import (
	"context"
	"fmt"
	"strconv"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

const (
	// lettersAtOnce is how many dead letters one script requeues or drops.
	lettersAtOnce = 250
	// indexAtOnce is how many one script looks at to tell where they are.
	indexAtOnce = 1000
)

// Requeue implements driver.Steerer.
func (e *engine) Requeue(ctx context.Context, topic, name string, ids []string) (missing []string, err error) {
	defer e.subscription(topic, name).setSettled() // they are due at once
	return e.letters(ctx, topic, name, "requeue", ids)
}

// Drop implements driver.Steerer.
func (e *engine) Drop(ctx context.Context, topic, name string, ids []string) (missing []string, err error) {
	return e.letters(ctx, topic, name, "drop", ids)
}

// letters takes dead letters away. Ids that are not found are looked for once more
// if there are letters which nobody has looked at since they were found by scanning
// only.
func (e *engine) letters(ctx context.Context, topic, name, do string, ids []string) ([]string, error) {
	s := e.subscription(topic, name)
	missing, untold, err := e.takeLetters(ctx, s, do, ids)
	if err != nil || len(missing) == 0 || !untold {
		return missing, err
	}
	if err := e.indexLetters(ctx, s); err != nil {
		return nil, err
	}
	missing, _, err = e.takeLetters(ctx, s, do, missing)
	return missing, err
}

func (e *engine) takeLetters(ctx context.Context, s *subscription, do string, ids []string) (missing []string, untold bool, err error) {
	k := &s.keys
	for portion := range portions(ids, lettersAtOnce) {
		args := []string{s.id.name, do}
		asked := make([]string, 0, len(portion))
		for _, text := range portion {
			id, err := streamid.Parse(text)
			if err != nil {
				missing = append(missing, text)
				continue
			}
			asked = append(asked, text)
			args = append(args, id.Redis(), id.String())
		}
		reply, err := e.steer(ctx, s, e.scripts.letters, writing, []string{k.stream, k.waiting, k.retry, k.dead, k.buried}, args...)
		if err != nil {
			return nil, false, err
		}
		parts, err := reply.ToArray()
		if err != nil || len(parts) != 2 {
			return nil, false, fmt.Errorf("%w: the script letters returned %d parts: %v", driver.ErrCorrupt, len(parts), err)
		}
		n, err := parts[0].ToInt64()
		if err != nil {
			return nil, false, err
		}
		untold = n == 1
		numbers, err := parts[1].AsIntSlice()
		if err != nil {
			return nil, false, err
		}
		for _, n := range numbers {
			if n >= 1 && int(n) <= len(asked) {
				missing = append(missing, asked[n-1])
			}
		}
	}
	return missing, untold, nil
}

// indexLetters makes the dead letters known that were written by a version of beck
// which kept no hash of them.
func (e *engine) indexLetters(ctx context.Context, s *subscription) error {
	for from := "-"; from != ""; {
		reply, err := e.work.at(s.keys.dead).run(ctx, e.scripts.index, []string{s.keys.dead, s.keys.buried}, from, strconv.Itoa(indexAtOnce))
		if err == nil {
			from, err = reply.ToString()
		}
		if err != nil {
			return e.explain(ctx, err, s.keys.dead, writing)
		}
	}
	return nil
}
