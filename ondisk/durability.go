package ondisk

import (
	"fmt"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// checkDurability refuses messages that ask for what a directory can't give. That
// they be synced always holds.
func checkDurability(messages ...driver.Message) error {
	for i := range messages {
		if d := messages[i].Durability; d != nil && d.Replicas > 0 {
			return fmt.Errorf("%w: a durability of %d replicas: the disk engine has no replicas", beck.ErrOption, d.Replicas)
		}
	}
	return nil
}
