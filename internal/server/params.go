package server

import (
	"fmt"
	"strconv"

	"github.com/beckmq/beck"
)

const (
	defaultLimit = 100
	maxLimit     = beck.MaxFetch
)

// limitOf reads the parameter limit.
func limitOf(given map[string]string) (int, error) {
	text, ok := given["limit"]
	if !ok {
		return defaultLimit, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, fmt.Errorf("%w: limit %.20q; it takes 1 to %d", beck.ErrOption, text, maxLimit)
	}
	return limit, nil
}

// fromOf reads the parameter from, which the bus checks.
func fromOf(given map[string]string, otherwise beck.Position) beck.Position {
	if from, ok := given["from"]; ok {
		return beck.Position(from)
	}
	return otherwise
}
