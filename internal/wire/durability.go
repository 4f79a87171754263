package wire

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/beckmq/beck"
)

// written is the durability of which nothing more is asked.
const written = "written"

// ParseDurability reads a durability as headers, message objects and flags have it:
//
//	durability = "written" | part { "," part }
//	part       = "replicas=" NUMBER | "synced" | "within=" DURATION
//
// with spaces around parts, each part once, and NUMBER and DURATION (such as 2s or
// 250ms) greater than 0; within goes with another part. It asks for replicas,
// syncing or both, and says how long to wait for them. The error is beck.ErrOption.
func ParseDurability(text string) (beck.Durability, error) {
	var d beck.Durability
	wrong := func(why string) (beck.Durability, error) {
		return beck.Durability{}, fmt.Errorf("%w: durability %.60q: %s; it takes written, or replicas=N and synced, with within=DURATION, such as replicas=1, synced, within=2s", beck.ErrOption, text, why)
	}
	if strings.Trim(text, " \t") == written {
		return d, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.Trim(part, " \t")
		name, value, valued := strings.Cut(part, "=")
		switch {
		case name == "replicas" && valued && d.Replicas == 0:
			n, err := strconv.ParseUint(value, 10, 15)
			if err != nil || n == 0 {
				return wrong("replicas takes a number from 1 on")
			}
			d.Replicas = int(n)
		case name == "within" && valued && d.Within == 0:
			within, err := time.ParseDuration(value)
			if err != nil || within <= 0 {
				return wrong("within takes a duration greater than 0")
			}
			d.Within = within
		case part == "synced" && !d.Synced:
			d.Synced = true
		case name == "replicas" && valued, name == "within" && valued, part == "synced":
			return wrong(name + " is given twice")
		case part == "":
			return wrong("a part of it is empty")
		case part == written:
			return wrong(written + " stands alone")
		default:
			return wrong("a part of it is not known")
		}
	}
	if d.Replicas == 0 && !d.Synced {
		return wrong("within says how long to wait, but not for what")
	}
	return d, nil
}

// FormatDurability writes a durability as ParseDurability reads it.
func FormatDurability(d beck.Durability) string {
	var parts []string
	if d.Replicas > 0 {
		parts = append(parts, "replicas="+strconv.Itoa(d.Replicas))
	}
	if d.Synced {
		parts = append(parts, "synced")
	}
	if parts == nil {
		return written
	}
	if d.Within > 0 {
		parts = append(parts, "within="+d.Within.String())
	}
	return strings.Join(parts, ", ")
}
