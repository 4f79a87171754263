package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/onredis"
)

// Deployments is what was measured on servers that were started for it.
type Deployments struct {
	// Spread has one instance, three of their own, a cluster of three, and three
	// shards, with the same load.
	Spread *Comparison `json:"spread,omitempty"`
	// Sentinel has a primary and its replica, by the address of the primary and by
	// way of the sentinels.
	Sentinel *Comparison `json:"sentinel,omitempty"`
	// Failover is how long it took to deliver again.
	Failover *Failover `json:"failover,omitempty"`
}

// DeploymentNames are the names that Options.Only may have for RunDeployments.
func DeploymentNames() []string { return append(Comparisons(), "failover") }

// instances is how many servers those with several have.
const instances = 3

// RunDeployments starts servers on this machine and compares them; failovers is how
// often a primary is killed. What was measured is returned with an error, too.
func RunDeployments(ctx context.Context, o Options, failovers int) (*Deployments, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	wanted := func(names ...string) bool {
		return len(o.Only) == 0 || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(o.Only, name) })
	}
	result := &Deployments{}
	var err error
	if wanted(Comparisons()...) {
		if result.Spread, err = spread(ctx, o); err == nil {
			result.Sentinel, err = sentinel(ctx, o)
		}
	}
	if err == nil && wanted("failover") && failovers > 0 {
		result.Failover, err = failover(ctx, o, failovers)
	}
	return result, err
}

// opened are buses that are closed together.
type opened []*beck.Bus

// open opens one more bus. What it logs belongs to no measurement.
func (all *opened) open(ctx context.Context, url string) (*beck.Bus, error) {
	quiet := beck.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	bus, err := onredis.Open(ctx, url, &onredis.Options{Options: quiet})
	if err == nil {
		*all = append(*all, bus)
	}
	return bus, err
}

func (all *opened) close(ctx context.Context) {
	for _, bus := range *all {
		_ = bus.Close(context.WithoutCancel(ctx))
	}
}

func spread(ctx context.Context, o Options) (*Comparison, error) {
	o.Progress("starting Redis servers")
	s, err := newServers()
	if err != nil {
		return nil, err
	}
	defer s.close()
	var urls, shards []string
	for n := range 1 + 2*instances { // one, those of their own, and those of shards
		addr, err := s.start(ctx)
		switch {
		case err != nil:
			return nil, err
		case n <= instances:
			urls = append(urls, "redis://"+addr)
		default:
			shards = append(shards, addr)
		}
	}
	nodes, err := s.cluster(ctx, instances)
	if err != nil {
		return nil, err
	}
	var buses opened
	defer buses.close(ctx)
	urls = append(urls,
		"redis+cluster://"+strings.Join(nodes, ","),
		"redis+shards://"+strings.Join(shards, ","))
	for _, url := range urls {
		if _, err := buses.open(ctx, url); err != nil {
			return nil, err
		}
	}
	return Compare(ctx, []Deployment{
		{Name: "one instance", Beside: 0, CPU: s.cpu, Buses: buses[:1]},
		{Name: fmt.Sprintf("%d instances", instances), Beside: 0, CPU: s.cpu, Buses: buses[1 : 1+instances]},
		{Name: fmt.Sprintf("cluster of %d", instances), Beside: 1, CPU: s.cpu, Buses: buses[1+instances : 2+instances]},
		{Name: fmt.Sprintf("shards of %d", instances), Beside: 1, CPU: s.cpu, Buses: buses[2+instances:]},
	}, o)
}

func sentinel(ctx context.Context, o Options) (*Comparison, error) {
	o.Progress("starting sentinels")
	s, err := newServers()
	if err != nil {
		return nil, err
	}
	defer s.close()
	g, err := s.group(ctx)
	if err != nil {
		return nil, err
	}
	var buses opened
	defer buses.close(ctx)
	_, err1 := buses.open(ctx, "redis://"+g.primary)
	_, err2 := buses.open(ctx, g.url())
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return Compare(ctx, []Deployment{
		{Name: "primary and replica", Beside: 0, CPU: s.cpu, Buses: buses[:1]},
		{Name: "the same by Sentinel", Beside: 0, CPU: s.cpu, Buses: buses[1:]},
	}, o)
}
