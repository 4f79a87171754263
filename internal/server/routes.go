package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/beckmq/beck/internal/wire"
)

// A route is one call of the API.
type route struct {
	method, path string
	serve        func(w http.ResponseWriter, r *http.Request) error
	params       []string // the parameters it takes
	// message says that it takes a message, whose headers it checks itself.
	message bool
	// bare says that it takes no body: who sends one wants something else.
	bare bool
}

const (
	topicPath        = "/v1/topics/{topic}"
	subscriptionPath = topicPath + "/subscriptions/{name}"
	servicePath      = "/v1/services/{service}"
	schedulePath     = "/v1/schedules/{name}"
)

func (s *Server) routes() []route {
	return []route{
		{method: "GET", path: "/v1/topics", serve: s.topics},
		{method: "GET", path: topicPath, serve: s.topic},
		{method: "PUT", path: topicPath, serve: s.configure},
		{method: "DELETE", path: topicPath, serve: s.deleteTopic, bare: true},
		{method: "POST", path: topicPath + "/purge", serve: s.purge, bare: true},
		{method: "POST", path: topicPath + "/confirm", serve: s.confirm},

		{method: "POST", path: topicPath + "/messages", serve: s.publish, message: true},
		{method: "GET", path: topicPath + "/messages", serve: s.page, params: []string{"from", "limit"}},
		{method: "DELETE", path: topicPath + "/messages", serve: s.trim, params: []string{"before"}, bare: true},
		{method: "GET", path: topicPath + "/events", serve: s.events, params: []string{"from"}},
		{method: "GET", path: topicPath + "/wake", serve: s.wake},
		{method: "GET", path: topicPath + "/delayed", serve: s.delayed, params: []string{"after", "limit"}},
		{method: "POST", path: topicPath + "/delayed/cancel", serve: s.cancel},
		{method: "POST", path: "/v1/queues/{queue}/messages", serve: s.push, message: true},

		{method: "PUT", path: subscriptionPath, serve: s.join},
		{method: "GET", path: subscriptionPath, serve: s.subscription},
		{method: "DELETE", path: subscriptionPath, serve: s.deleteSubscription, bare: true},
		{method: "POST", path: subscriptionPath + "/fetch", serve: s.fetch},
		{method: "POST", path: subscriptionPath + "/settle", serve: s.settle},
		{method: "POST", path: subscriptionPath + "/leave", serve: s.leave},
		{method: "GET", path: subscriptionPath + "/messages", serve: s.peek, params: []string{"state", "after", "limit"}},
		{method: "POST", path: subscriptionPath + "/outstanding", serve: s.outstanding},
		{method: "POST", path: subscriptionPath + "/dead/requeue", serve: s.requeue},
		{method: "POST", path: subscriptionPath + "/dead/drop", serve: s.drop},
		{method: "POST", path: subscriptionPath + "/seek", serve: s.seek},
		{method: "POST", path: subscriptionPath + "/pause", serve: s.pause, bare: true},
		{method: "POST", path: subscriptionPath + "/resume", serve: s.resume, bare: true},

		{method: "POST", path: "/v1/broadcast/{subject}", serve: s.broadcast},
		{method: "GET", path: "/v1/listen/{pattern}", serve: s.listen},
		{method: "POST", path: servicePath, serve: s.ask, message: true},
		{method: "GET", path: servicePath + "/requests", serve: s.requests},
		{method: "DELETE", path: servicePath + "/requests/{id}", serve: s.endRequests, bare: true},
		{method: "POST", path: servicePath + "/answers/{id}", serve: s.reply, params: []string{"failure"}},

		{method: "GET", path: "/v1/schedules", serve: s.schedules},
		{method: "PUT", path: schedulePath, serve: s.putSchedule},
		{method: "DELETE", path: schedulePath, serve: s.deleteSchedule, bare: true},
		{method: "POST", path: schedulePath + "/tick", serve: s.tick},

		{method: "GET", path: "/healthz", serve: s.healthz},
		{method: "GET", path: "/readyz", serve: s.readyz},
		{method: "GET", path: "/metrics", serve: s.metrics.serve},
		{method: "GET", path: "/openapi.json", serve: s.openapi},
		{method: "GET", path: "/{$}", serve: s.landing},
	}
}

// newMux adds to each path what answers other methods, and what answers other
// paths, so that these are problems as well.
func (s *Server) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, route := range s.routes() {
		mux.Handle(route.method+" "+route.path, s.handler(s.checked(route)))
		methods[route.path] = append(methods[route.path], route.method)
		if route.method == "GET" {
			methods[route.path] = append(methods[route.path], "HEAD")
		}
	}
	for path, allowed := range methods {
		slices.Sort(allowed)
		allow := strings.Join(allowed, ", ")
		mux.Handle(path, s.handler(func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Allow", allow)
			return wire.NewProblem(wire.CodeMethodNotAllowed, "%.20s is not offered here; it takes %s", r.Method, allow)
		}))
	}
	mux.Handle("/", s.handler(func(w http.ResponseWriter, r *http.Request) error {
		return wire.NewProblem(wire.CodeNotFound, "there is nothing at %.200q; /openapi.json lists what there is", r.URL.Path)
	}))
	return mux
}

// checked returns what serves a request, if the route knows all that it says:
// nothing is ignored, so that nobody relies on it.
func (s *Server) checked(t route) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := checkParams(r, t.params)
		if err == nil && !t.message {
			err = checkNoHeaders(r.Header)
		}
		if err == nil && t.bare {
			err = s.request(r, &struct{}{}, true)
		}
		if err != nil {
			return err
		}
		return t.serve(w, r)
	}
}

func (s *Server) handler(serve func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}
