package drivertest

import (
	"testing"
	"time"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/drivertest/model"
)

// modelHarness runs the suite on the reference model.
func modelHarness() Harness {
	restart := func(_ testing.TB, e driver.Engine) driver.Engine { return e.(*model.Engine).Restart() }
	return Harness{
		Open:   func(testing.TB) driver.Engine { return model.New(time.Now) },
		Reopen: restart,
		Crash:  restart,
	}
}

func TestModelConforms(t *testing.T) { Run(t, modelHarness()) }
