package drivertest

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const document = "../../docs/conformance.md"

const preface = `# What an engine promises

This is the conformance suite of ` + "`internal/drivertest`" + `: each line is a promise and a
test of it, which runs over the disk engine, over Redis, and over HTTP through a
real server. The groups whose names begin with *bus* speak to a ` + "`beck.Bus`" + ` on the
engine, the others to the engine alone.

The suite itself is tested: it runs over a reference model in memory, and over
that model with one fault planted after the other, each of which it must find.

This page is written by the suite. After a change of its cases:

    BECK_UPDATE=1 go test ./internal/drivertest -run Document
`

// TestDocument holds docs/conformance.md to the cases that there are.
func TestDocument(t *testing.T) {
	var page strings.Builder
	page.WriteString(preface)
	group := ""
	for _, c := range Cases() {
		if c.Group != group {
			group = c.Group
			fmt.Fprintf(&page, "\n## %s\n\n| case | promise |\n|---|---|\n", group)
		}
		fmt.Fprintf(&page, "| %s | %s |\n", c.Name, c.Promise)
	}
	if os.Getenv("BECK_UPDATE") != "" {
		if err := os.WriteFile(document, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	written, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != page.String() {
		t.Errorf("docs/conformance.md is stale; write it anew: BECK_UPDATE=1 go test ./internal/drivertest -run Document")
	}
}

// TestCasesAreDistinct keeps names from hiding each other, and promises from
// being left out.
func TestCasesAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Cases() {
		full := c.Group + "/" + c.Name
		if seen[full] {
			t.Errorf("two cases are named %s", full)
		}
		seen[full] = true
		if c.Promise == "" || strings.ContainsAny(c.Promise, "|\n") {
			t.Errorf("%s: its promise must be one line, without a bar, for the table", full)
		}
	}
}
