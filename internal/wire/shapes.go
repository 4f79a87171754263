package wire

import (
	"fmt"
	"time"

	"github.com/beckmq/beck"
)

// Duration is written as Go writes it: "20s", "1m30s", "250ms".
type Duration time.Duration

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf(`%.40q is not a duration such as "20s" or "250ms"`, text)
	}
	*d = Duration(parsed)
	return nil
}

// JoinRequest makes a subscription, or joins one.
type JoinRequest struct {
	From    beck.Position `json:"from,omitempty"`
	Lease   Duration      `json:"lease,omitempty"`
	Expires Duration      `json:"expires,omitempty"`
	Queue   bool          `json:"queue,omitempty"`
}

// JoinAnswer tells whether the subscription existed.
type JoinAnswer struct {
	Existed bool `json:"existed"`
}

// FetchRequest leases messages to a consumer.
type FetchRequest struct {
	Consumer string   `json:"consumer"`
	Max      int      `json:"max,omitempty"`
	Wait     Duration `json:"wait,omitempty"`
	Recover  bool     `json:"recover,omitempty"`
	Era      string   `json:"era,omitempty"`
}

// SettleRequest settles deliveries of a consumer.
type SettleRequest struct {
	Consumer    string       `json:"consumer"`
	Settlements []Settlement `json:"settlements"`
}

// Settlement is one decision.
type Settlement struct {
	ID     string   `json:"id"`
	Do     string   `json:"do"`
	After  Duration `json:"after,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

// What a Settlement may do.
const (
	DoAck     = "ack"
	DoRetry   = "retry"
	DoRelease = "release"
	DoDead    = "dead"
	DoRenew   = "renew"
)

// Beck returns the settlement as the library has it.
func (s Settlement) Beck() (beck.Settlement, error) {
	switch {
	case s.ID == "":
		return beck.Settlement{}, fmt.Errorf("%w: a settlement without an id", beck.ErrOption)
	case s.After != 0 && s.Do != DoRetry:
		return beck.Settlement{}, fmt.Errorf(`%w: settlement of %.130q: "after" goes with "retry" only`, beck.ErrOption, s.ID)
	case s.After < 0:
		return beck.Settlement{}, fmt.Errorf(`%w: settlement of %.130q: "after" is negative`, beck.ErrOption, s.ID)
	case s.Reason != "" && s.Do != DoRetry && s.Do != DoDead:
		return beck.Settlement{}, fmt.Errorf(`%w: settlement of %.130q: "reason" goes with "retry" and "dead" only`, beck.ErrOption, s.ID)
	}
	switch s.Do {
	case DoAck:
		return beck.Ack(s.ID), nil
	case DoRetry:
		return beck.Retry(s.ID, time.Duration(s.After), s.Reason), nil
	case DoRelease:
		return beck.Release(s.ID), nil
	case DoDead:
		return beck.Bury(s.ID, s.Reason), nil
	case DoRenew:
		return beck.Renew(s.ID), nil
	}
	return beck.Settlement{}, fmt.Errorf(`%w: settlement of %.130q: "do" is %.20q; it takes ack, retry, release, dead or renew`, beck.ErrOption, s.ID, s.Do)
}

// SettleAnswer says how many were settled.
type SettleAnswer struct {
	Settled int `json:"settled"`
}

// LeaveRequest forgets a consumer.
type LeaveRequest struct {
	Consumer string `json:"consumer"`
}

// TrimAnswer says how many messages a trim or purge has removed.
type TrimAnswer struct {
	Removed int64 `json:"removed"`
}
