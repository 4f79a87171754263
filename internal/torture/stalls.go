package torture

import (
	"slices"
	"time"
)

// stalls finds the longest time in which something did not happen, from times that
// come in no order. It keeps hundredths of seconds.
type stalls struct{ ticks map[int64]struct{} }

const tick = int64(10 * time.Millisecond / time.Microsecond)

func (s *stalls) add(at int64) {
	if s.ticks == nil {
		s.ticks = map[int64]struct{}{}
	}
	s.ticks[at/tick] = struct{}{}
}

func (s *stalls) longest() time.Duration {
	all := make([]int64, 0, len(s.ticks))
	for t := range s.ticks {
		all = append(all, t)
	}
	slices.Sort(all)
	var most int64
	for i := 1; i < len(all); i++ {
		most = max(most, all[i]-all[i-1])
	}
	return time.Duration(most*tick) * time.Microsecond
}
