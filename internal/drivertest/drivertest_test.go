package drivertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// modelHarness runs the suite on the reference model.
func modelHarness() Harness {
	restart := func(_ testing.TB, e driver.Engine) driver.Engine { return e.(*model.Engine).Restart() }
	return Harness{
		Open:       func(testing.TB) driver.Engine { return durableModel() },
		Reopen:     restart,
		Crash:      restart,
		Durability: modelDurabilities,
	}
}

// modelDurabilities are those of a model with two replicas.
var modelDurabilities = Durabilities{
	Gives:  []driver.Durability{{Synced: true}, {Replicas: 2, Within: time.Second}, {Replicas: 1, Synced: true}},
	Misses: &driver.Durability{Replicas: 3, Within: time.Millisecond},
	Never:  &driver.Durability{Replicas: 100},
}

func durableModel() *model.Engine {
	e := model.New(time.Now)
	e.Durable = func(d driver.Durability) error {
		switch {
		case d.Replicas >= 100:
			return fmt.Errorf("%w: too many replicas", beck.ErrOption)
		case d.Replicas > 2:
			return fmt.Errorf("%w: 2 of %d replicas within %v", driver.ErrDurability, d.Replicas, d.Within)
		}
		return nil
	}
	return e
}

func TestModelConforms(t *testing.T) { Run(t, modelHarness()) }
