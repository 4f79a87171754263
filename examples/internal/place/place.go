// Package place opens the bus that an example's flag -at names, so that each
// example runs on disk, on Redis and over a server alike.
package place

import (
	"context"
	"fmt"
	"strings"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/ondisk"
	"github.com/beckmq/beck/onhttp"
	"github.com/beckmq/beck/onredis"
)

// Open opens disk:DIR, redis://HOST:PORT or http://HOST:PORT.
func Open(ctx context.Context, at string) (*beck.Bus, error) {
	dir, onDisk := strings.CutPrefix(at, "disk:")
	switch {
	case onDisk:
		return ondisk.Open(dir, nil)
	case strings.HasPrefix(at, "redis"): // and redis+cluster://…, rediss://…
		return onredis.Open(ctx, at, nil)
	case strings.HasPrefix(at, "http://"), strings.HasPrefix(at, "https://"):
		return onhttp.Open(at, nil)
	}
	return nil, fmt.Errorf("-at %q: it takes disk:DIR, redis://HOST:PORT or http://HOST:PORT", at)
}
