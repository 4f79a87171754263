package beck_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/beckmq/beck"

// arrows says which packages of this module and which others each package may
// import by itself, the standard library aside. See docs/architecture.md.
var arrows = map[string][]string{
	"":                          {"internal/driver"},
	"internal/driver":           {},
	"internal/streamid":         {},
	"internal/redisaddr":        {""},
	"internal/wire":             {""},
	"internal/console":          {},
	"internal/server":           {"", "cron", "internal/wire", "internal/console", "github.com/prometheus/client_golang"},
	"onredis":                   {"", "internal/driver", "internal/redisaddr", "internal/streamid", "github.com/redis/rueidis"},
	"ondisk":                    {"", "internal/driver", "internal/streamid", "github.com/cockroachdb/pebble/v2"},
	"onhttp":                    {"", "internal/driver", "internal/wire"},
	"middleware":                {"", "golang.org/x/time/rate"},
	"tracing":                   {"", "go.opentelemetry.io/otel"},
	"cron":                      {"", "github.com/netresearch/go-cron"},
	"archive":                   {"", "internal/wire"},
	"internal/drivertest":       {"", "internal/driver", "internal/drivertest/model", "go.uber.org/goleak"},
	"internal/drivertest/model": {"internal/driver"},
	"internal/redistest":        {},
	"internal/acceptance":       {},
	"internal/doctor":           {"", "internal/redisaddr", "github.com/cockroachdb/pebble/v2/vfs"},
	"internal/torture":          {""},
	"internal/bench":            {"", "internal/redisaddr", "ondisk", "onredis", "onhttp", "github.com/redis/rueidis", "github.com/cockroachdb/pebble/v2"},
	"internal/cli":              {"", "internal/redisaddr", "archive", "cron", "ondisk", "onredis", "onhttp", "internal/server", "internal/wire", "internal/bench", "internal/doctor", "github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/prometheus/client_golang", "golang.org/x/term"},
	"cmd/beck":                  {"internal/cli", "github.com/spf13/cobra", "github.com/prometheus/client_golang"},
}

// unlinked says what must not get into a program that imports a package, by any
// way at all.
var unlinked = map[string][]string{
	"":                          {"*"}, // the standard library only
	"internal/driver":           {"*"},
	"internal/streamid":         {"*"},
	"internal/drivertest/model": {"*"},
	"onredis":                   {"github.com/cockroachdb/", "github.com/prometheus/", "github.com/spf13/", "go.opentelemetry.io/"},
	"ondisk":                    {"github.com/redis/", "github.com/spf13/", "go.opentelemetry.io/"},
	"onhttp":                    {"github.com/cockroachdb/", "github.com/redis/", "github.com/prometheus/", "github.com/spf13/", "go.opentelemetry.io/"},
	"internal/wire":             {"github.com/cockroachdb/", "github.com/redis/", "github.com/prometheus/", "github.com/spf13/", "go.opentelemetry.io/"},
	"internal/server":           {"github.com/cockroachdb/", "github.com/redis/", "github.com/spf13/", "go.opentelemetry.io/"},
	"middleware":                {"github.com/cockroachdb/", "github.com/redis/", "github.com/prometheus/", "github.com/spf13/", "go.opentelemetry.io/"},
	"cron":                      {"github.com/cockroachdb/", "github.com/redis/", "github.com/prometheus/", "github.com/spf13/", "go.opentelemetry.io/"},
	"archive":                   {"github.com/cockroachdb/", "github.com/redis/", "github.com/prometheus/", "github.com/spf13/", "go.opentelemetry.io/"},
	"tracing":                   {"github.com/cockroachdb/", "github.com/redis/", "github.com/prometheus/", "github.com/spf13/", "go.opentelemetry.io/otel/sdk"},
	"internal/cli":              {"go.opentelemetry.io/"},
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Doc        string
	Imports    []string
	Deps       []string
}

// inside returns the path of a package within the module.
func (p pkg) inside() (string, bool) {
	if p.ImportPath == module {
		return "", true
	}
	return strings.CutPrefix(p.ImportPath, module+"/")
}

func list(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Doc,Imports,Deps", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	all := map[string]pkg{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

func TestArrows(t *testing.T) {
	all := list(t)
	for _, p := range all {
		name, ours := p.inside()
		if !ours || strings.HasPrefix(name, "examples/") {
			continue
		}
		allowed, known := arrows[name]
		if !known {
			t.Errorf("the package %s has no arrows; give it some in deps_test.go", name)
			continue
		}
		for _, to := range p.Imports {
			if !all[to].Standard && !slices.ContainsFunc(allowed, func(a string) bool { return reaches(a, to) }) {
				t.Errorf("%s imports %s; it may import only the standard library and %q", p.ImportPath, to, allowed)
			}
		}
	}
	for name := range arrows {
		if _, ok := all[path.Join(module, name)]; !ok && hasGoFiles(t, name) {
			t.Errorf("go list does not know the package %s, though its folder has Go files", name)
		}
	}
}

// reaches reports whether an arrow's end is an import: a package of the module
// exactly, or another module with its packages.
func reaches(arrow, to string) bool {
	if first, _, _ := strings.Cut(arrow, "/"); strings.Contains(first, ".") {
		return to == arrow || strings.HasPrefix(to, arrow+"/")
	}
	return to == path.Join(module, arrow)
}

func TestWhatIsLinked(t *testing.T) {
	all := list(t)
	for name, never := range unlinked {
		p, ok := all[path.Join(module, name)]
		if !ok {
			continue // it isn't there yet
		}
		for _, dep := range p.Deps {
			for _, prefix := range never {
				foreign := prefix == "*" && !all[dep].Standard && !strings.HasPrefix(dep, module+"/")
				if foreign || strings.HasPrefix(dep, prefix) {
					t.Errorf("importing %s links %s", p.ImportPath, dep)
				}
			}
		}
	}
}

func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range list(t) {
		name, ours := p.inside()
		if ours && p.Doc == "" {
			t.Errorf("the package %q has no comment that says what it is for; it belongs in doc.go", name)
		}
	}
}

const maxLines = 500

func TestFilesAreShort(t *testing.T) {
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(file) != ".go" {
			return nil
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		lines := 0
		for s := bufio.NewScanner(bytes.NewReader(content)); s.Scan(); {
			lines++
		}
		if lines > maxLines {
			t.Errorf("%s has %d lines, more than %d", file, lines, maxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// See docs/adr/0007-exported-names.md.
const maxExported = 87

func TestFewNamesAreExported(t *testing.T) {
	names := exported(t)
	if len(names) > maxExported {
		t.Errorf("package beck exports %d names, more than %d: %s", len(names), maxExported, strings.Join(names, " "))
	}
}

// exported lists the package-level names of package beck.
func exported(t *testing.T) (names []string) {
	t.Helper()
	files := token.NewFileSet()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, p := range paths {
		if strings.HasSuffix(p, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(files, p, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	d, err := doc.NewFromFiles(files, parsed, module)
	if err != nil {
		t.Fatal(err)
	}
	values := slices.Concat(d.Consts, d.Vars)
	funcs := d.Funcs
	for _, typ := range d.Types {
		names = append(names, typ.Name)
		values = slices.Concat(values, typ.Consts, typ.Vars)
		funcs = append(funcs, typ.Funcs...)
	}
	for _, v := range values {
		names = append(names, v.Names...)
	}
	for _, f := range funcs {
		names = append(names, f.Name)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !token.IsExported(n) })
	slices.Sort(names)
	return names
}

func hasGoFiles(t *testing.T, dir string) bool {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found) > 0
}
