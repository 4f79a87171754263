package onredis

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// lockWait is how long it is waited for one who has a lock, in leases.
const lockWait = 2

// lockAll takes a lock at all instances, in their order, and keeps it until unlock. The
// context ends if it is lost. It is for good manners: nothing breaks if two processes
// have it.
func lockAll(ctx context.Context, engines map[string]*engine, key string, lease time.Duration) (working context.Context, unlock func(), err error) {
	token := rand.Text()
	var names []string
	for name := range engines {
		names = append(names, name)
	}
	slices.Sort(names)
	var mine []string
	free := func() {
		freeing, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatTimeout)
		defer cancel()
		for _, name := range mine {
			_, _, _ = engines[name].swap(freeing, key, token, "", 0) // if this fails, it ends by itself
		}
	}
	for began := time.Now(); len(mine) < len(names); {
		done, _, err := engines[names[len(mine)]].swap(ctx, key, "", token, lease)
		switch {
		case err != nil:
			free()
			return nil, nil, err
		case done:
			mine = append(mine, names[len(mine)])
			continue
		case time.Since(began) > lockWait*lease:
			free()
			return nil, nil, fmt.Errorf("%w: another reshard is running", driver.ErrInUse)
		}
		for _, name := range mine { // as long as it is waited for the others
			_, _, _ = engines[name].swap(ctx, key, token, token, lease)
		}
		select {
		case <-time.After(membersLook):
		case <-ctx.Done():
			free()
			return nil, nil, context.Cause(ctx)
		}
	}
	working, cancel := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for {
			select {
			case <-working.Done():
				return
			case <-time.After(lease / 4):
			}
			if other := renew(working, engines, key, token, lease); other != "" && working.Err() == nil {
				cancel(fmt.Errorf("%w: another reshard has begun at %s, since this one was silent for too long", driver.ErrInUse, other))
			}
		}
	})
	return working, func() {
		cancel(nil)
		renewing.Wait()
		free()
	}, nil
}

// renew keeps the lock, and takes it again where it has ended. It returns where somebody
// else has it.
func renew(ctx context.Context, engines map[string]*engine, key, token string, lease time.Duration) (other string) {
	for name, e := range engines {
		limited, cancel := context.WithTimeout(ctx, max(lease/4, beatTimeout))
		done, now, err := e.swap(limited, key, token, token, lease)
		if err == nil && !done && now == "" {
			done, now, err = e.swap(limited, key, "", token, lease)
		}
		cancel()
		if err == nil && !done && now != token {
			other = name
		}
	}
	return other
}
