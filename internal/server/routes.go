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
}

const (
	topicPath        = "/v1/topics/{topic}"
	subscriptionPath = topicPath + "/subscriptions/{name}"
)

func (s *Server) routes() []route {
	return []route{
		{"GET", "/v1/topics", s.topics},
		{"GET", topicPath, s.topic},
		{"DELETE", topicPath, s.deleteTopic},

		{"POST", topicPath + "/messages", s.publish},
		{"GET", topicPath + "/messages", s.page},
		{"DELETE", topicPath + "/messages", s.trim},
		{"GET", topicPath + "/events", s.events},
		{"GET", topicPath + "/wake", s.wake},

		{"PUT", subscriptionPath, s.join},
		{"GET", subscriptionPath, s.subscription},
		{"DELETE", subscriptionPath, s.deleteSubscription},
		{"POST", subscriptionPath + "/fetch", s.fetch},
		{"POST", subscriptionPath + "/settle", s.settle},
		{"POST", subscriptionPath + "/leave", s.leave},

		{"GET", "/healthz", s.healthz},
		{"GET", "/readyz", s.readyz},
		{"GET", "/metrics", s.metrics.serve},
		{"GET", "/openapi.json", s.openapi},
		{"GET", "/{$}", s.landing},
	}
}

// newMux adds to each path what answers other methods, and what answers other
// paths, so that these are problems as well.
func (s *Server) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, route := range s.routes() {
		mux.Handle(route.method+" "+route.path, s.handler(route.serve))
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

func (s *Server) handler(serve func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}
