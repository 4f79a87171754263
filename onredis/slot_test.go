package onredis

import (
	"fmt"
	"testing"

	"github.com/beckmq/beck/internal/redistest"
)

// TestSlotOf compares with what Redis itself says.
func TestSlotOf(t *testing.T) {
	s := redistest.Start(t, "--cluster-enabled", "yes")
	for _, key := range []string{"", "beck:orders", "{beck:orders}:subs", "a{}b", "a{", "{a", "x{y}z{w}", "{}x", "foo{{bar}}zap", "€{ü}"} {
		if got, want := fmt.Sprint(slotOf(key)), s.Do("CLUSTER", "KEYSLOT", key); got != want {
			t.Errorf("slotOf(%q) is %s, Redis says %s", key, got, want)
		}
	}
}
