// Command pushplatform is a company-wide push platform on streams: anybody
// publishes to a channel and is told the message's id, and every subscriber has a
// name and can be looked at: how far it has come, how far it is behind, and what it
// holds. One subscriber is a listener that writes each message to files as JSON
// and acknowledges it only then.
//
//	pushplatform publish CHANNEL TEXT     prints the id
//	pushplatform listen CHANNEL NAME      prints what comes, as the subscriber NAME
//	pushplatform archive CHANNEL DIR      writes what comes to files
//	pushplatform inspect                  shows every channel and subscriber
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/archive"
	"github.com/beckmq/beck/examples/internal/place"
)

func main() {
	at := flag.String("at", "redis://127.0.0.1:6379", "redis://HOST:PORT, disk:DIR or http://HOST:PORT")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	bus, err := place.Open(ctx, *at)
	if err != nil {
		log.Fatal(err)
	}
	err = run(ctx, bus, os.Stdout, flag.Args())
	if err := errors.Join(err, bus.Close(context.WithoutCancel(ctx))); err != nil {
		log.Fatal(err)
	}
}

var errUsage = errors.New("usage: pushplatform publish CHANNEL TEXT | listen CHANNEL NAME | archive CHANNEL DIR | inspect")

func run(ctx context.Context, bus *beck.Bus, out io.Writer, args []string) error {
	args = append(args, "", "", "")
	verb, channel, what := args[0], args[1], args[2]
	switch {
	case verb == "publish" && what != "":
		ids, err := bus.Publish(ctx, channel, beck.Message{Body: []byte(what)})
		if err == nil {
			fmt.Fprintln(out, ids[0])
		}
		return err
	case verb == "listen" && what != "":
		return listen(ctx, bus, out, channel, what)
	case verb == "archive" && what != "":
		return archive.Run(ctx, bus, channel, "archive", what, &archive.Options{MaxSize: 64 << 20, MaxAge: time.Hour})
	case verb == "inspect":
		return inspect(ctx, bus, out)
	}
	return errUsage
}

// listen is one subscriber. Its name may be in use: then they share the messages,
// so it says so.
func listen(ctx context.Context, bus *beck.Bus, out io.Writer, channel, name string) error {
	existed, err := bus.Join(ctx, channel, name, &beck.JoinOptions{From: beck.FromNew, Expires: 30 * 24 * time.Hour})
	if err != nil {
		return err
	}
	if existed {
		log.Printf("%s is a subscriber of %s already; it goes on where it was, and whoever else uses that name shares its messages", name, channel)
	}
	return bus.Subscribe(ctx, channel, name, func(_ context.Context, m *beck.Message) error {
		_, err := fmt.Fprintf(out, "%s %s\n", m.ID, m.Body)
		return err
	}, nil)
}

// inspect shows what there is: nobody subscribes unseen.
func inspect(ctx context.Context, bus *beck.Bus, out io.Writer) error {
	topics, err := bus.Topics(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHANNEL\tMESSAGES\tSUBSCRIBER\tLAST DELIVERED\tBEHIND\tHELD\tWAITING\tDEAD\tUNREAD FOR\tCONSUMERS")
	for _, t := range topics {
		info, err := bus.Topic(ctx, t.Name)
		if errors.Is(err, beck.ErrTopicNotFound) {
			continue // it went meanwhile
		}
		if err != nil {
			return err
		}
		if len(info.Subscriptions) == 0 {
			fmt.Fprintf(w, "%s\t%d\t(nobody)\n", t.Name, info.Length)
		}
		for _, s := range info.Subscriptions {
			var consumers []string
			for _, c := range s.Consumers {
				consumers = append(consumers, fmt.Sprintf("%s (%d)", c.Name, c.Pending))
			}
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\t%d\t%d\t%d\t%v\t%s\n", t.Name, info.Length, s.Name, orNone(s.LastDelivered),
				s.Lag, s.Pending, s.Waiting, s.Dead, s.Unread.Round(time.Second), orNone(strings.Join(consumers, ", ")))
		}
	}
	return w.Flush()
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
