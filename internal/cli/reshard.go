package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/redisaddr"
	"github.com/beckmq/beck/onredis"
)

type reshardFlags struct {
	to   string
	wait time.Duration
	json bool
}

func (p *program) reshardCommand() *cobra.Command {
	f := &reshardFlags{}
	c := &cobra.Command{
		Use:   "reshard --to URL",
		Short: "Spread topics over another set of Redis instances",
		Long: `Moves topics from the set of instances that --at names to the set that --to names,
to add instances or to take some away. Just the topics whose place changes are moved,
with their subscriptions, retries, delayed and dead messages. User, password and
options of the address are those of --at.

Programs that run go on meanwhile, and find the new set by themselves; what is
published to a topic just on its way waits for a moment. They must be able to reach the
new instances. Give the new set to whatever starts later.

It can be interrupted, even killed, at any time: run it again, with the same addresses,
and it goes on. An instance that was taken away may be switched off when it is done.`,
		Example: `  beck reshard --at redis+shards://a:6379,b:6379 --to redis+shards://a:6379,b:6379,c:6379`,
		Args:    p.arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := redisaddr.Parse(p.place.where)
			switch {
			case p.place.kind != placeRedis || err != nil || a.Kind != redisaddr.Shards:
				return &hinted{usagef("reshard needs --at redis+shards://…, the set of instances that there is"), "give both sets, such as --at redis+shards://a,b --to redis+shards://a,b,c"}
			case f.to == "":
				return usagef("reshard needs --to redis+shards://…, the set of instances that is to be")
			case f.wait <= 0:
				return usagef("--wait takes a time above 0, such as 1m")
			}
			return p.reshard(c.Context(), f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.to, "to", "", "`URL` of the set of instances that is to be")
	flags.DurationVar(&f.wait, "wait", time.Minute, "how long running programs have to learn of the new set")
	flags.BoolVar(&f.json, "json", false, "print a JSON object")
	return c
}

// resharded is what was done, as --json prints it.
type resharded struct {
	Topics int   `json:"topics"`
	Bytes  int64 `json:"bytes"`
}

func (p *program) reshard(ctx context.Context, f *reshardFlags) error {
	shown := &reshardProgress{w: p.Err, terminal: isTerminal(p.Err)}
	var last onredis.ReshardProgress
	err := onredis.Reshard(ctx, p.place.where, f.to, &onredis.ReshardOptions{
		Options: onredis.Options{
			Options: beck.Options{Logger: p.notes()}, Prefix: p.prefix.text, NoPrefix: p.prefix.none(),
		},
		Wait: f.wait,
		Progress: func(now onredis.ReshardProgress) {
			last = now
			shown.tell(now)
		},
	})
	shown.end()
	if err != nil {
		if ctx.Err() != nil {
			return &hinted{context.Cause(ctx), "run it again, with the same addresses, to go on"}
		}
		return err
	}
	if f.json {
		return p.printJSON(ctx, resharded{last.Moved, last.Bytes})
	}
	return p.out.write(ctx, fmt.Appendf(nil, "moved %s, %s bytes\n", counted(int64(last.Moved), "topic"), grouped(last.Bytes)))
}

// reshardProgress shows how far it is: on a terminal as one line that changes, else as
// a line now and then.
type reshardProgress struct {
	w        io.Writer
	terminal bool
	said     string
	last     time.Time
	shown    bool
}

// progressLines is the least time between two lines that say the same.
const progressLines = 5 * time.Second

func (g *reshardProgress) tell(now onredis.ReshardProgress) {
	if now.Doing == "done" || now.Doing == g.said && time.Since(g.last) < progressLines && !g.terminal {
		return
	}
	if g.terminal && time.Since(g.last) < progressPause && now.Doing == g.said {
		return
	}
	g.said, g.last = now.Doing, time.Now()
	line := fmt.Sprintf("beck: %s: %s moved, %s left, %s bytes", now.Doing, grouped(int64(now.Moved)), grouped(int64(now.Left)), grouped(now.Bytes))
	if g.terminal {
		g.shown = true
		fmt.Fprint(g.w, "\r\x1b[K"+line)
		return
	}
	fmt.Fprintln(g.w, line)
}

// end leaves the terminal's line clean.
func (g *reshardProgress) end() {
	if g.shown {
		fmt.Fprint(g.w, "\r\x1b[K")
	}
}
