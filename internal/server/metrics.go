package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/beckmq/beck"
)

// metrics are what /metrics shows. Requests are counted by their route, never by
// topic, so that their number stays bounded.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	streams  prometheus.Gauge
	missed   prometheus.Counter
	handler  http.Handler
}

func newMetrics(bus *beck.Bus) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "beck_http_requests_total", Help: "Requests answered, by route and status; 499 is a client that went away.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "beck_http_request_seconds", Help: "Time that requests took, streams and waiting included, by route.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"route"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "beck_http_streams", Help: "Streams of server-sent events open now.",
		}),
		missed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "beck_http_broadcasts_missed_total", Help: "Broadcasts that clients were too slow for; they were told of a gap.",
		}),
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		m.requests, m.seconds, m.streams, m.missed, newBusCollector(bus),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m, nil
}

func (m *metrics) serve(w http.ResponseWriter, r *http.Request) error {
	m.handler.ServeHTTP(w, r)
	return nil
}

// noRoute stands for requests that were refused before their route was known.
const noRoute = "none"

func (m *metrics) observe(route string, status int, took time.Duration) {
	if route == "" {
		route = noRoute
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// busCollector shows a bus's Stats.
type busCollector struct {
	bus      *beck.Bus
	counters []busMetric
}

// A busMetric is one number of beck.Stats.
type busMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(beck.Stats) float64
}

func newBusCollector(bus *beck.Bus) *busCollector {
	c := &busCollector{bus: bus}
	add := func(kind prometheus.ValueType, name, help string, value func(beck.Stats) float64) {
		c.counters = append(c.counters, busMetric{prometheus.NewDesc("beck_"+name, help, nil, nil), kind, value})
	}
	counter, gauge := prometheus.CounterValue, prometheus.GaugeValue
	add(counter, "messages_published_total", "Messages stored.", func(s beck.Stats) float64 { return float64(s.Published) })
	add(counter, "messages_read_total", "Messages read from the engine to be followed.", func(s beck.Stats) float64 { return float64(s.Read) })
	add(counter, "messages_followed_total", "Messages given to followers.", func(s beck.Stats) float64 { return float64(s.Followed) })
	add(counter, "deliveries_total", "Deliveries taken from subscriptions.", func(s beck.Stats) float64 { return float64(s.Delivered) })
	add(counter, "deliveries_acknowledged_total", "Deliveries acknowledged.", func(s beck.Stats) float64 { return float64(s.Acknowledged) })
	add(counter, "deliveries_retried_total", "Deliveries given back to be retried.", func(s beck.Stats) float64 { return float64(s.Retried) })
	add(counter, "deliveries_dead_lettered_total", "Deliveries that became dead letters.", func(s beck.Stats) float64 { return float64(s.DeadLettered) })
	add(counter, "gaps_total", "Gaps that followers and subscriptions were told of: messages may be lost.", func(s beck.Stats) float64 { return float64(s.Gaps) })
	add(counter, "messages_lost_total", "Messages that subscriptions were found to have lost.", func(s beck.Stats) float64 { return float64(s.Lost) })
	add(counter, "broadcasts_heard_total", "Broadcasts given to listeners.", func(s beck.Stats) float64 { return float64(s.Heard) })
	add(counter, "broadcasts_missed_total", "Broadcasts that listeners were too slow for.", func(s beck.Stats) float64 { return float64(s.Missed) })
	add(counter, "requests_total", "Requests asked.", func(s beck.Stats) float64 { return float64(s.Requests) })
	add(counter, "replies_total", "Requests answered.", func(s beck.Stats) float64 { return float64(s.Replies) })
	add(gauge, "handlers", "Handlers running now in this process.", func(s beck.Stats) float64 { return float64(s.Handling) })
	add(gauge, "followers", "Followers running now.", func(s beck.Stats) float64 { return float64(s.Followers) })
	add(gauge, "consumers", "Consumers running now in this process.", func(s beck.Stats) float64 { return float64(s.Consumers) })
	return c
}

// Describe implements prometheus.Collector.
func (c *busCollector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range c.counters {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *busCollector) Collect(out chan<- prometheus.Metric) {
	stats := c.bus.Stats()
	for _, m := range c.counters {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stats))
	}
}
