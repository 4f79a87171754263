package console

import (
	_ "embed"
	"html"
	"strings"
)

//go:embed index.html
var index string

// example is the address that stands in the page.
const example = "localhost:8080"

// Policy is the Content-Security-Policy of the page: it loads nothing, runs
// nothing, and can't be framed.
const Policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Page returns the page, as HTML, with examples for the address by which the
// server was reached.
func Page(host string) []byte {
	if host == "" {
		host = example
	}
	return []byte(strings.ReplaceAll(index, example, html.EscapeString(host)))
}
