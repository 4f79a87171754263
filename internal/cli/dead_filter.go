package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/beckmq/beck"
)

// manyIDs is for commands that take any number of ids.
const manyIDs = math.MaxInt

// idsOf are the ids behind a topic and a subscription, each once.
func idsOf(args []string) []string {
	if len(args) < 3 {
		return nil
	}
	ids := slices.Clone(args[2:])
	slices.Sort(ids)
	return slices.Compact(ids)
}

// deadFilter says which dead letters are meant: some ids, those for which all
// that is given holds, or all.
type deadFilter struct {
	ids           []string
	all           bool
	reason, key   string
	keyGiven      bool
	since, before string

	from, to time.Time // what since and before mean
}

func (f *deadFilter) addTo(c *cobra.Command, all bool) {
	flags := c.Flags()
	if all {
		flags.BoolVar(&f.all, "all", false, "all of them")
	}
	flags.StringVar(&f.reason, "reason", "", "only those whose reason contains `TEXT`")
	flags.StringVar(&f.key, "key", "", "only those with this `KEY`")
	flags.StringVar(&f.since, "since", "", "only those that died at this `TIME` or later: 2026-11-21T08:00:00Z, or -10m")
	flags.StringVar(&f.before, "before", "", "only those that died before this `TIME`")
}

// check checks what was given. Where something is done, nothing must not mean
// all.
func (f *deadFilter) check(flags *pflag.FlagSet, needed bool) error {
	f.keyGiven = given(flags, "key")
	filtered := f.keyGiven || f.reason != "" || f.since != "" || f.before != ""
	var err error
	switch {
	case f.all && (filtered || len(f.ids) > 0), filtered && len(f.ids) > 0:
		return usagef("ids, filters and --all are three ways to say which; give one of them")
	case given(flags, "reason") && f.reason == "":
		return usagef("--reason takes a part of the reason")
	case needed && !f.all && !filtered && len(f.ids) == 0:
		return &hinted{usagef("which dead letters?"), "give their ids, a filter such as --reason TEXT, or --all"}
	}
	for _, id := range f.ids {
		if err := checkID(id); err != nil {
			return err
		}
	}
	if f.from, err = momentOf(flags, "since", f.since); err != nil {
		return err
	}
	f.to, err = momentOf(flags, "before", f.before)
	return err
}

// checkID refuses what can't be an id.
func checkID(id string) error {
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return fmt.Errorf("%w: %.40q is not an id", beck.ErrPosition, id)
	}
	return nil
}

// momentOf reads a flag that is a time, or an age such as -10m.
func momentOf(flags *pflag.FlagSet, name, text string) (time.Time, error) {
	if !given(flags, name) {
		return time.Time{}, nil
	}
	if age, ok := strings.CutPrefix(text, "-"); ok {
		if d, err := time.ParseDuration(age); err == nil && d >= 0 {
			return time.Now().Add(-d), nil
		}
	} else if t, err := parseTime(text); err == nil {
		return t, nil
	}
	return time.Time{}, usagef("--%s %.40q: it takes a time such as 2026-11-21T08:00:00Z, or an age such as -10m", name, text)
}

func (f *deadFilter) wants(e *beck.Entry) bool {
	died := e.Since
	if died.IsZero() {
		died = e.Message.Time
	}
	switch {
	case len(f.ids) > 0:
		_, found := slices.BinarySearch(f.ids, e.Message.ID)
		return found
	case f.keyGiven && e.Message.Key != f.key:
		return false
	case !strings.Contains(e.Reason, f.reason):
		return false
	case !f.from.IsZero() && died.Before(f.from):
		return false
	}
	return f.to.IsZero() || died.Before(f.to)
}

// scan calls see with the dead letters that are meant, as far as there were any
// when it began: what dies anew meanwhile, because it was requeued, is not among
// them. Ids that are not there are an error.
func (f *deadFilter) scan(ctx context.Context, bus *beck.Bus, topic, subscription string, see func([]*beck.Entry) (bool, error)) error {
	left, err := countDead(ctx, bus, topic, subscription)
	if err != nil {
		return err
	}
	missing := slices.Clone(f.ids)
	err = scan(ctx, bus, topic, subscription, beck.StateDead, func(entries []*beck.Entry) (bool, error) {
		entries = entries[:min(int64(len(entries)), left)]
		left -= int64(len(entries))
		var wanted []*beck.Entry
		for _, e := range entries {
			if !f.wants(e) {
				continue
			}
			wanted = append(wanted, e)
			missing = slices.DeleteFunc(missing, func(id string) bool { return id == e.Message.ID })
		}
		goOn, err := see(wanted)
		if !goOn {
			missing = nil // they were not looked for
		}
		return goOn && left > 0 && (len(f.ids) == 0 || len(missing) > 0), err
	})
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%s as %s: %w: %s", topic, subscription, beck.ErrMessageNotFound, fewOf(missing))
	}
	return err
}

// fewOf names the first few of some ids.
func fewOf(ids []string) string {
	if len(ids) > 3 {
		return strings.Join(ids[:3], ", ") + fmt.Sprintf(" and %d more", len(ids)-3)
	}
	return strings.Join(ids, ", ")
}

// countDead counts the dead letters of a subscription.
func countDead(ctx context.Context, bus *beck.Bus, topic, subscription string) (int64, error) {
	if err := beck.CheckName(subscription); err != nil {
		return 0, err
	}
	info, err := bus.Topic(ctx, topic)
	if err != nil {
		return 0, err
	}
	for _, s := range info.Subscriptions {
		if s.Name == subscription {
			return s.Dead, nil
		}
	}
	return 0, &beck.Error{Op: "inspect", Topic: topic, Subscription: subscription, Err: beck.ErrSubscriptionNotFound}
}

// do does something to the dead letters that are meant, and returns to how many.
// Of ids, those that are not there are named by the error, and it is done to all
// others.
func (f *deadFilter) do(ctx context.Context, bus *beck.Bus, topic, subscription string, do deadDo) (n int, err error) {
	if len(f.ids) > 0 {
		var missing error
		for some := range slices.Chunk(f.ids, beck.MaxFetch) {
			done, err := do(bus, ctx, topic, subscription, some...)
			n += done
			if err != nil && !errors.Is(err, beck.ErrMessageNotFound) {
				return n, err
			}
			missing = firstError(missing, err)
		}
		return n, missing
	}
	err = f.scan(ctx, bus, topic, subscription, func(entries []*beck.Entry) (bool, error) {
		ids := make([]string, len(entries))
		for i, e := range entries {
			ids[i] = e.Message.ID
		}
		if len(ids) == 0 {
			return true, nil
		}
		done, err := do(bus, ctx, topic, subscription, ids...)
		n += done
		if errors.Is(err, beck.ErrMessageNotFound) {
			err = nil // somebody else was faster
		}
		return true, err
	})
	return n, err
}
