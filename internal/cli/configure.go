package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

type configureFlags struct {
	maxAge       age
	maxMessages  int64
	maxBytes     bound
	dropOldest   bool
	dedupeWindow time.Duration
	json         bool
}

func (p *program) configureCommand() *cobra.Command {
	f := &configureFlags{}
	c := &cobra.Command{
		Use:   "configure TOPIC",
		Short: "Set how long, and how much, a topic keeps",
		Long: `Sets what a topic or queue keeps, and shows the result. What is not given stays as
it is. The topic is made if it isn't there.

Messages older than --max-age are removed. A topic that holds --max-messages or
--max-bytes makes room by removing the oldest messages that no subscription needs;
if that is not enough, publishing fails, or with --drop-oldest what is needed is
removed, too, and counted as lost. 0 means no bound.`,
		Example: `  beck configure orders --max-age 30d
  beck configure logs --max-bytes 10GiB --drop-oldest
  beck configure orders --max-messages 1000000 --dedupe-window 1h
  beck configure audit --max-age forever`,
		Args: p.arguments(1, 1, "TOPIC"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(c.Flags()); err != nil {
				return err
			}
			ctx := c.Context()
			return p.withBus(ctx, true, func(bus *beck.Bus) error { return p.configure(ctx, bus, args[0], c.Flags(), f) })
		},
		ValidArgsFunction: p.completeTopic,
	}
	flags := c.Flags()
	flags.Var(&f.maxAge, "max-age", `how old a message may become, such as 12h or 30d, or "forever" (default 7d)`)
	flags.Int64Var(&f.maxMessages, "max-messages", 0, "how many messages may be stored, `N`; 0 for no bound")
	flags.Var(&f.maxBytes, "max-bytes", "how much room they may take, about, such as 512MiB; 0 for no bound")
	flags.BoolVar(&f.dropOldest, "drop-oldest", false, "drop the oldest messages of a full topic, needed or not, instead of refusing new ones")
	flags.DurationVar(&f.dedupeWindow, "dedupe-window", 0, "for how long deduplication ids are remembered, a `DURATION` from 1s to 168h (default 10m)")
	flags.BoolVar(&f.json, "json", false, "print a JSON object")
	return c
}

func (f *configureFlags) check(flags *pflag.FlagSet) error {
	some := false
	for _, name := range []string{"max-age", "max-messages", "max-bytes", "drop-oldest", "dedupe-window"} {
		some = some || given(flags, name)
	}
	switch {
	case !some:
		return &hinted{usagef("there is nothing to set"), "give --max-age, --max-messages, --max-bytes, --drop-oldest or --dedupe-window; beck info shows what is set"}
	case f.maxMessages < 0:
		return usagef("--max-messages takes a number from 0 on")
	case given(flags, "dedupe-window") && (f.dedupeWindow < time.Second || f.dedupeWindow > 7*24*time.Hour):
		return usagef("--dedupe-window takes a duration from 1s to 168h")
	}
	return nil
}

func (p *program) configure(ctx context.Context, bus *beck.Bus, topic string, flags *pflag.FlagSet, f *configureFlags) error {
	var config beck.TopicConfig
	info, err := bus.Topic(ctx, topic)
	switch {
	case err == nil:
		config = info.Config
	case !errors.Is(err, beck.ErrTopicNotFound):
		return err
	}
	if given(flags, "max-age") {
		config.MaxAge = time.Duration(f.maxAge)
	}
	if given(flags, "max-messages") {
		config.MaxMessages = f.maxMessages
	}
	if given(flags, "max-bytes") {
		config.MaxBytes = int64(f.maxBytes)
	}
	if given(flags, "drop-oldest") {
		config.DropOldest = f.dropOldest
	}
	if given(flags, "dedupe-window") {
		config.DedupeWindow = f.dedupeWindow
	}
	if config.DropOldest && config.MaxMessages == 0 && config.MaxBytes == 0 {
		if given(flags, "drop-oldest") {
			return &hinted{usagef("--drop-oldest needs a bound"), "give --max-messages or --max-bytes as well"}
		}
		config.DropOldest = false // the last bound was taken away
	}
	if err := bus.Configure(ctx, topic, config); err != nil {
		return err
	}
	if info, err = bus.Topic(ctx, topic); err != nil {
		return err
	}
	if f.json {
		return p.printJSON(ctx, wire.TopicConfigOf(info.Config))
	}
	return p.printText(ctx, func(text *strings.Builder) {
		t := table(text)
		fmt.Fprintf(t, "topic\t%s\n", topic)
		writeConfig(t, info.Config)
		t.Flush()
	})
}

// writeConfig writes what a topic keeps.
func writeConfig(t *tabwriter.Writer, c beck.TopicConfig) {
	kept := age(c.MaxAge)
	fmt.Fprintf(t, "max age\t%s\n", &kept)
	full := "refuses new ones"
	if c.DropOldest {
		full = "drops the oldest"
	}
	if c.MaxMessages > 0 {
		fmt.Fprintf(t, "max messages\t%d\n", c.MaxMessages)
	}
	if c.MaxBytes > 0 {
		most := bound(c.MaxBytes)
		fmt.Fprintf(t, "max bytes\t%s\n", &most)
	}
	if c.MaxMessages > 0 || c.MaxBytes > 0 {
		fmt.Fprintf(t, "when full\t%s\n", full)
	}
	fmt.Fprintf(t, "dedupe window\t%s\n", plain(c.DedupeWindow))
}

// age is a duration as a flag, in days, too, or "forever".
type age time.Duration

const (
	forever = "forever"
	day     = 24 * time.Hour
)

// Set implements pflag.Value.
func (a *age) Set(text string) error {
	if text == forever {
		*a = age(beck.Forever)
		return nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n float64
		n, err = strconv.ParseFloat(days, 64)
		if err == nil && !(n < float64(math.MaxInt64/day)) {
			err = strconv.ErrRange
		}
		d = time.Duration(n * float64(day))
	}
	if err != nil || d <= 0 {
		return errors.New("it takes a duration such as 12h or 30d, or forever")
	}
	*a = age(d)
	return nil
}

// Type implements pflag.Value.
func (a *age) Type() string { return "AGE" }

func (a *age) String() string {
	switch d := time.Duration(*a); {
	case d == beck.Forever:
		return forever
	case d == 0:
		return ""
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	default:
		return plain(d)
	}
}

// plain is a duration without units that are zero: 1h rather than 1h0m0s.
func plain(d time.Duration) string {
	text := d.String()
	if rest, ok := strings.CutSuffix(text, "m0s"); ok {
		text = rest + "m"
	}
	if rest, ok := strings.CutSuffix(text, "h0m"); ok {
		text = rest + "h"
	}
	return text
}

// bound is a number of bytes as a flag, 0 for no bound.
type bound int64

// Set implements pflag.Value.
func (b *bound) Set(text string) error {
	n, err := parseBytes(text)
	if err != nil || n < 0 || n >= math.MaxInt64 {
		return errors.New("it takes a size such as 512MiB or 10GiB, or 0 for no bound")
	}
	*b = bound(n)
	return nil
}

// Type implements pflag.Value.
func (b *bound) Type() string { return "SIZE" }

func (b *bound) String() string {
	if *b == 0 {
		return ""
	}
	return shownBytes(int64(*b))
}
