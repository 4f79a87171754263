package cli

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// program is one run of the command line.
type program struct {
	System
	out *output

	// called is what a user types to run this program again.
	called string
	// verb is the command that runs, for hints.
	verb string

	// The flags of every command.
	at        string
	atFromEnv bool
	maxBody   size
	prefix    prefix

	// place is what at means.
	place place
}

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "beck",
		Short: "Messages that are kept: topics, subscriptions and replay, on disk or on Redis",
		Long: `beck publishes messages to topics and receives them: live, from the past, or
through durable subscriptions that lose nothing. It stores them in a directory
of this machine, or in the Redis you already run.

A password need not stand on a command line, where others can see it: put the
URL into BECK_AT, or the password alone into BECK_REDIS_PASSWORD, or have the URL
name a file or a variable: redis://ann@host?password_file=/run/secrets/redis.`,
		Example: `  beck serve                                # a server here, data in ./beck-data
  beck pub orders '{"id":42}'               # publish; prints the message's id
  beck sub orders --from start              # everything so far, then live
  beck sub orders --as billing              # a durable subscription, shared by all "billing"
  tail -f app.log | beck pub logs --lines   # one message a line, as the lines come
  beck topics; beck info orders             # what there is, who reads it, how far they are
  beck push emails '{"to":"ann"}'           # a task, for one of the workers
  beck work emails --exec ./send            # a worker

  beck sub orders --at redis://localhost:6379   # without a server, right on Redis
  beck sub orders --at disk:beck-data           # or on the data itself
  export BECK_AT='rediss://ann@redis.example:6380?password_file=/run/secrets/redis'`,
		Args:              p.noSuchCommand,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: p.before,
		SilenceErrors:     true,
		SilenceUsage:      true,
	}
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.SetIn(p.In)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		p.verb = verbOf(c)
		return usagef("%s", strings.Replace(err.Error(), "pflag: help requested", "", 1))
	})

	flags := root.PersistentFlags()
	flags.StringVar(&p.at, "at", "", "`URL` where the messages are: http://…, redis://…, redis+sentinel://…, redis+cluster://…, redis+shards://… or disk:DIR; also BECK_AT (default "+defaultAt+")")
	flags.Var(&p.maxBody, "max-body", "largest body of a message")
	flags.Var(&p.prefix, "prefix", `what the keys in Redis begin with; "" for nothing (default beck:)`)

	p.addCommands(root)
	root.InitDefaultHelpCmd()
	inOrder(root)
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Args = p.helpTopic
		}
	}
	return root
}

// inOrder has the flags of a command, and of those below it, listed as they were
// added, and commands suggested for those that are misspelt by a letter or two.
func inOrder(c *cobra.Command) {
	c.Flags().SortFlags = false
	c.SuggestionsMinimumDistance = 2
	for _, below := range c.Commands() {
		inOrder(below)
	}
}

// addCommands adds all commands, in the groups in which help lists them.
func (p *program) addCommands(root *cobra.Command) {
	for _, group := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"messages", "Messages:", []*cobra.Command{
			p.pubCommand(), p.subCommand(), p.confirmCommand(), p.cronCommand(), p.archiveCommand(),
		}},
		{"queues", "Queues and requests:", []*cobra.Command{
			p.pushCommand(), p.workCommand(), p.requestCommand(), p.replyCommand(),
		}},
		{"live", "Live:", []*cobra.Command{
			p.broadcastCommand(), p.listenCommand(),
		}},
		{"look", "Look:", []*cobra.Command{
			p.topicsCommand(), p.infoCommand(), p.peekCommand(), p.deadCommand(), p.delayedCommand(),
		}},
		{"steer", "Steer:", []*cobra.Command{
			p.configureCommand(), p.seekCommand(), p.pauseCommand(), p.resumeCommand(), p.purgeCommand(), p.deleteCommand(),
		}},
		{"run", "Run:", []*cobra.Command{
			p.serveCommand(), p.doctorCommand(), p.reshardCommand(), p.benchCommand(), p.versionCommand(),
		}},
	} {
		root.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		for _, c := range group.commands {
			c.GroupID = group.id
		}
		root.AddCommand(group.commands...)
	}
	root.SetHelpCommandGroupID("run")
	root.SetCompletionCommandGroupID("run")
}

// before runs ahead of every command: it finds out where the messages are.
func (p *program) before(c *cobra.Command, _ []string) error {
	p.verb = verbOf(c)
	if p.verb == "help" || strings.HasPrefix(p.verb, "completion") || strings.HasPrefix(p.verb, "__complete") {
		return nil
	}
	if p.at == "" {
		p.at, p.atFromEnv = p.Getenv("BECK_AT"), true
	}
	p.at = cmp.Or(p.at, defaultAt)
	var err error
	if p.place, err = parsePlace(p.at, p.Getenv("BECK_REDIS_PASSWORD")); err != nil {
		return err
	}
	if p.prefix.given && p.place.kind != placeRedis && p.verb != "serve" {
		return usagef("--prefix is about keys in Redis; %s is none", p.place.shown)
	}
	return nil
}

func verbOf(c *cobra.Command) string {
	_, verb, _ := strings.Cut(c.CommandPath(), " ")
	return verb
}

// noSuchCommand checks what follows a bare "beck".
func (p *program) noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usagef("there is no command %.40q", args[0])
	if like := c.SuggestionsFor(args[0]); len(like) > 0 {
		return &hinted{err, "did you mean: " + p.called + " " + like[0]}
	}
	return err
}

// helpTopic checks what follows "beck help": a command.
func (p *program) helpTopic(c *cobra.Command, args []string) error {
	root := c.Root()
	if about, _, err := root.Find(args); err == nil && about != root {
		return nil
	}
	return p.noSuchCommand(root, args)
}

// arguments checks the number of arguments of a verb and says which is missing.
func (p *program) arguments(least, most int, names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		p.verb = verbOf(c)
		switch {
		case len(args) < least:
			return usagef("%s needs a %s", p.verb, names[len(args)])
		case len(args) > most && most == 0:
			return usagef("%s takes no argument, but got %.40q", p.verb, args[0])
		case len(args) > most:
			return usagef("%s takes no more than %s, but got %.40q as well; quote what has spaces", p.verb, strings.Join(names, " and "), args[most])
		}
		return nil
	}
}

// given reports whether a flag stands on the command line.
func given(flags *pflag.FlagSet, name string) bool { return flags.Changed(name) }

// notes logs what happens beside a command, such as a lost connection, as lines
// on standard error.
func (p *program) notes() *slog.Logger {
	return slog.New(&noteHandler{w: p.Err})
}

func (p *program) note(format string, args ...any) {
	fmt.Fprintf(p.Err, "beck: "+format+"\n", args...)
}

// builtByGoRun matches the path of a program that "go run" has just built, or
// taken from the build cache.
var builtByGoRun = regexp.MustCompile(`/go-build\d*/|/[0-9a-f]{2}/[0-9a-f]{64}-d/`)

// calledAs is what a user types to run the program that was called by name.
func calledAs(name string) string {
	if executable, err := os.Executable(); err == nil && builtByGoRun.MatchString(filepath.ToSlash(executable)) && !strings.HasSuffix(executable, ".test") {
		if _, err := os.Stat("cmd/beck"); err == nil {
			return "go run ./cmd/beck"
		}
		return "go run github.com/beckmq/beck/cmd/beck@latest"
	}
	return shellQuote(name)
}
