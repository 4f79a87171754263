//go:build !linux

package bench

import "time"

// cpu is not known here.
func (*servers) cpu() time.Duration { return 0 }
