package onredis

import (
	"context"
	"crypto/rand"
	"errors"
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
		for good := time.Now(); ; {
			select {
			case <-working.Done():
				return
			case <-time.After(lease / 4):
			}
			if err := renew(working, engines, key, token, lease); err == nil {
				good = time.Now()
			} else if time.Since(good) > lease && working.Err() == nil {
				cancel(fmt.Errorf("%w: reshard has lost its lock: %v", driver.ErrUnavailable, err))
			}
		}
	})
	return working, func() {
		cancel(nil)
		renewing.Wait()
		free()
	}, nil
}

func renew(ctx context.Context, engines map[string]*engine, key, token string, lease time.Duration) error {
	var errs []error
	for name, e := range engines {
		limited, cancel := context.WithTimeout(ctx, lease/4)
		done, _, err := e.swap(limited, key, token, token, lease)
		cancel()
		if err == nil && !done {
			err = fmt.Errorf("somebody else has it at %s", name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
