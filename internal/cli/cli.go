package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// System is what a run of the command line has around it.
type System struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
}

// Main runs the command line of this process and returns its exit code.
func Main() int {
	cobra.EnableCommandSorting = false // the order of help is ours
	ctx, stop := interruptible()
	defer stop()
	return Run(ctx, os.Args, System{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv})
}

// Run runs one command, args beginning with the program's name, and returns its
// exit code. The command ends early when ctx ends.
func Run(ctx context.Context, args []string, system System) int {
	name := "beck"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	p := &program{
		System:  system,
		called:  calledAs(name),
		out:     &output{w: system.Out},
		maxBody: defaultMaxBody,
	}
	root := p.rootCommand()
	root.SetArgs(positionsLast(args))
	return p.exit(ctx, root.ExecuteContext(ctx))
}

// interrupted is why the context of a command ended: a signal.
type interrupted struct{ signal syscall.Signal }

func (e *interrupted) Error() string { return "interrupted: " + e.signal.String() }

// Is makes an interruption the end of a context like any other.
func (e *interrupted) Is(target error) bool { return target == context.Canceled }

// interruptible returns a context that ends with the first SIGINT or SIGTERM.
// The second one ends the process, as if nobody had caught the first.
func interruptible() (ctx context.Context, stop func()) {
	// Writing to a closed pipe is then an error like any other, instead of the
	// end of the process.
	signal.Ignore(syscall.SIGPIPE)

	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			number, ok := s.(syscall.Signal)
			if !ok {
				number = syscall.SIGINT
			}
			// From here on the next signal ends the process.
			signal.Stop(signals)
			cancel(&interrupted{number})
		case <-ctx.Done():
			signal.Stop(signals)
		}
	}()
	return ctx, func() { cancel(nil) }
}

// outlive returns a context that ends some time after ctx does, for what must
// not be cut off in the middle.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(grace, func() { cancel(context.Cause(ctx)) })
	})
	return longer, func() { stop(); cancel(nil) }
}

// exit prints what a command ended with, if it has to be told, and returns the
// exit code.
func (p *program) exit(ctx context.Context, err error) int {
	if err == nil || errors.Is(err, errOutputClosed) {
		return 0
	}
	if cut, ok := errors.AsType[*interrupted](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
		if partly, ok := errors.AsType[interface {
			error
			progress() string
		}](err); ok {
			fmt.Fprintln(p.Err, "beck: interrupted: "+partly.progress())
		}
		return 128 + int(cut.signal)
	}
	fmt.Fprintln(p.Err, "beck: "+oneLine(err))
	if hint := p.hint(err); hint != "" {
		fmt.Fprintln(p.Err, "hint: "+hint)
	}
	return exitCode(err)
}
