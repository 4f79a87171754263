package model

import (
	"errors"
	"fmt"

	"github.com/beckmq/beck/internal/driver"
)

// durable says which durability of messages isn't reached in time, if they are
// stored, or else why they are refused.
func (e *Engine) durable(messages ...driver.Message) (missed, refused error) {
	for _, m := range messages {
		if m.Durability == nil || e.Durable == nil {
			continue
		}
		switch err := e.Durable(*m.Durability); {
		case errors.Is(err, driver.ErrDurability):
			missed = fmt.Errorf("model: %w", err)
		case err != nil:
			return nil, fmt.Errorf("model: %w", err)
		}
	}
	return missed, nil
}
