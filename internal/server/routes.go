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
}

const (
	topicPath        = "/v1/topics/{topic}"
	subscriptionPath = topicPath + "/subscriptions/{name}"
)

func (s *Server) routes() []route {
	return []route{
		{"GET", "/v1/topics", s.topics, nil},
		{"GET", topicPath, s.topic, nil},
		{"DELETE", topicPath, s.deleteTopic, nil},

		{"POST", topicPath + "/messages", s.publish, nil},
		{"GET", topicPath + "/messages", s.page, []string{"from", "limit"}},
		{"DELETE", topicPath + "/messages", s.trim, []string{"before"}},
		{"GET", topicPath + "/events", s.events, []string{"from"}},
		{"GET", topicPath + "/wake", s.wake, nil},

		{"PUT", subscriptionPath, s.join, nil},
		{"GET", subscriptionPath, s.subscription, nil},
		{"DELETE", subscriptionPath, s.deleteSubscription, nil},
		{"POST", subscriptionPath + "/fetch", s.fetch, nil},
		{"POST", subscriptionPath + "/settle", s.settle, nil},
		{"POST", subscriptionPath + "/leave", s.leave, nil},

		{"GET", "/healthz", s.healthz, nil},
		{"GET", "/readyz", s.readyz, nil},
		{"GET", "/metrics", s.metrics.serve, nil},
		{"GET", "/openapi.json", s.openapi, nil},
		{"GET", "/{$}", s.landing, nil},
	}
}

// newMux adds to each path what answers other methods, and what answers other
// paths, so that these are problems as well.
func (s *Server) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, route := range s.routes() {
		mux.Handle(route.method+" "+route.path, s.handler(route.checked()))
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
func (t route) checked() func(w http.ResponseWriter, r *http.Request) error {
	publishes := t.method == http.MethodPost && t.path == topicPath+"/messages"
	return func(w http.ResponseWriter, r *http.Request) error {
		err := checkParams(r, t.params)
		if err == nil && !publishes { // which has a check of its own
			err = checkNoHeaders(r.Header)
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
