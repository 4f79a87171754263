package onredis

import (
	"context"
	"errors"
	"fmt"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/redisaddr"
)

// openSeveral opens the shards engine for an address of several instances.
func openSeveral(ctx context.Context, a *redisaddr.Address, o *Options) (driver.Engine, error) {
	names, err := o.keys()
	if err != nil {
		return nil, err
	}
	s, err := openShards(ctx, a.Hosts, names, o.logger(), opener(a, names, o))
	if err != nil {
		return nil, err
	}
	return s, nil
}

// opener opens instances as the user and with the options of an address.
func opener(a *redisaddr.Address, names keys, o *Options) func(context.Context, string) (*engine, error) {
	return func(ctx context.Context, name string) (*engine, error) {
		one, err := a.With(name)
		if err != nil {
			return nil, err
		}
		return startEngine(ctx, one, names, o.logger())
	}
}

// refuseShard refuses to go on with one Redis that is an instance of a set: a program
// that does not know of the others would look for topics in the wrong place. Who may
// not ask is not refused.
func (e *engine) refuseShard(ctx context.Context) error {
	set, err := e.readSet(ctx)
	if errors.Is(err, driver.ErrDenied) || err == nil && set == nil {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: redis %s is one of several among which topics are spread: give the address redis+shards://%s",
		beck.ErrOption, e.addr, named(set.all()))
}
