package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) versionCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long:  `Prints the version of beck, the commit it was built from where that is known, and the version of Go.`,
		Example: `  beck version
  beck version --json`,
		Args: p.arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			v := readVersion()
			if asJSON {
				return p.printJSON(c.Context(), v)
			}
			return p.out.write(c.Context(), []byte(v.String()+"\n"))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return c
}

// version is what is known about this program, as --json prints it.
type version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readVersion() version {
	v := version{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if build.Main.Version != "" {
		v.Version = build.Main.Version
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (v version) String() string {
	parts := []string{"beck " + v.Version}
	if v.Commit != "" {
		commit := v.Commit[:min(12, len(v.Commit))]
		if v.Modified {
			commit += " with changes"
		}
		parts = append(parts, "commit "+commit)
	}
	parts = append(parts, fmt.Sprintf("%s %s", v.Go, v.Platform))
	return strings.Join(parts, ", ")
}
