package onhttp

import (
	"fmt"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// position writes a position as the API reads it.
func position(p driver.Position) (beck.Position, error) {
	switch p.Kind {
	case driver.Start:
		return beck.FromStart, nil
	case driver.End:
		return beck.FromNew, nil
	case driver.AtTime:
		return beck.FromTime(p.Time), nil
	}
	// An id that the server would read as something else is none.
	at := beck.FromID(p.ID)
	_, notTime := time.Parse(time.RFC3339, p.ID)
	if p.ID == "" || p.ID[0] == '-' || p.ID[0] == '@' || at == beck.FromStart || at == beck.FromNew || notTime == nil {
		return "", fmt.Errorf("%w: %.40q is not a message id", driver.ErrPosition, p.ID)
	}
	return at, nil
}
