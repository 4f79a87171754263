package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/beckmq/beck/internal/wire"
)

// The description holds exactly the routes there are, and the codes there are.
func TestOpenAPI(t *testing.T) {
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Enum []string }
			}
		}
	}
	if err := json.Unmarshal(description, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	var described, served []string
	for path, item := range doc.Paths {
		for method := range item {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	for _, route := range (&Server{metrics: &metrics{}}).routes() {
		served = append(served, route.method+" "+strings.TrimSuffix(route.path, "{$}"))
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described: %q\nserved:    %q", described, served)
	}

	codes := doc.Components.Schemas["Problem"].Properties["code"].Enum
	var known []string
	for _, k := range wire.Kinds() {
		known = append(known, string(k.Code))
	}
	slices.Sort(codes)
	slices.Sort(known)
	if !slices.Equal(codes, known) {
		t.Errorf("described: %q\nknown:     %q", codes, known)
	}
}

// Every reference within the description leads somewhere.
func TestOpenAPIReferences(t *testing.T) {
	var doc any
	if err := json.Unmarshal(description, &doc); err != nil {
		t.Fatal(err)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if to, ok := v["$ref"].(string); ok && !leads(doc, to) {
				t.Errorf("%s leads nowhere", to)
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(doc)
}

func leads(doc any, to string) bool {
	for _, step := range strings.Split(strings.TrimPrefix(to, "#/"), "/") {
		object, ok := doc.(map[string]any)
		if !ok || object[step] == nil {
			return false
		}
		doc = object[step]
	}
	return fmt.Sprint(doc) != ""
}
