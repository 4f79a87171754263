package archive

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAFileTornAnywhere cuts a file at each byte, and lets writing go on.
func TestAFileTornAnywhere(t *testing.T) {
	lines := []string{"{\"id\":\"a\",\"body\":\"x\"}\n", "{\"id\":\"b\",\"body\":\"\\n\"}\n", "{\"id\":\"c\",\"body\":\"\"}\n"}
	for _, packed := range []bool{false, true} {
		var whole []byte
		ends := []int{0}
		for _, line := range lines {
			whole = append(whole, pack(t, packed, line)...)
			ends = append(ends, len(whole))
		}
		for _, empty := range []int{0, 40} { // bytes that were never written
			for cut := range len(whole) + 1 {
				dir := t.TempDir()
				n := name{topic: "t", number: 7, id: "a", gzip: packed, part: true}
				write(t, filepath.Join(dir, n.String()), slices.Concat(whole[:cut], make([]byte, empty)))
				f := reopenDir(t, dir, packed)
				kept := 0
				for i, end := range ends {
					// What is missing may be zero bytes that are there.
					if end <= cut || end <= cut+empty && len(bytes.Trim(whole[cut:end], "\x00")) == 0 {
						kept = i
					}
				}
				if f.number != 7 {
					t.Fatalf("cut at %d: the newest file is %d", cut, f.number)
				}
				if open := f.open != nil; open != (kept > 0) {
					t.Fatalf("cut at %d: open %v", cut, open)
				}
				if err := f.close(true); err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(readAll(t, dir), ""); got != strings.Join(lines[:kept], "") {
					t.Fatalf("cut at %d of %v, %d empty bytes: %q is left", cut, ends, empty, got)
				}
				if list := names(t, dir); len(list) != min(kept, 1) {
					t.Fatalf("cut at %d: %q", cut, list)
				}
			}
		}
	}
}

func TestDamageIsKept(t *testing.T) {
	for _, packed := range []bool{false, true} {
		good, bad := pack(t, packed, "{\"id\":\"a\"}\n"), pack(t, packed, "{\"id\":\"b\"}\n")
		bad[len(bad)/2] ^= 0xff
		bad[0] ^= 0xff
		behind := slices.Concat(bad, pack(t, packed, "{\"id\":\"c\"}\n"))
		dir := t.TempDir()
		n := name{topic: "t", number: 1, id: "a", gzip: packed, part: true}
		write(t, filepath.Join(dir, n.String()), slices.Concat(good, behind))
		f := reopenDir(t, dir, packed)
		if err := f.close(true); err != nil {
			t.Fatal(err)
		}
		n.part = false
		for file, want := range map[string][]byte{n.String(): good, n.String() + ".damaged": behind} {
			if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s has %q, %v; want %q", file, got, err, want)
			}
		}
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("t", 200)
	for _, n := range []name{
		{topic: "orders", number: 1, id: "1732176000000-0042"},
		{topic: "a.b", number: 9_999_999_999, id: "x", gzip: true},
		{topic: "a", number: 10_000_000_000, id: "x", part: true},
		{topic: long, number: 3, id: "1732176000000-0042", gzip: true, part: true},
	} {
		got, ok := parseName(n.topic, n.String())
		if !ok || got != n {
			t.Errorf("%s is read as %+v, %v", n, got, ok)
		}
	}
	odd := name{topic: long, number: 3, id: strings.Repeat("../~", 50), gzip: true, part: true}
	if s := odd.String(); len(s) > maxName || strings.ContainsAny(s, "/~") {
		t.Errorf("%s is no name for a file", s)
	}
	for _, s := range []string{
		"", "a", "a.jsonl", "a.0000000001.jsonl", "a.1.x.jsonl", "a.0000000001.x.json", "a.000000000x.x.jsonl",
		"a.0000000001.0000000002.x.jsonl", "b.0000000001.x.jsonl", "a.-000000001.x.jsonl", "a.0000000001.x.jsonl.damaged",
	} {
		if n, ok := parseName("a", s); ok {
			t.Errorf("%s is read as %+v", s, n)
		}
	}
}

func pack(t testing.TB, packed bool, line string) []byte {
	t.Helper()
	if !packed {
		return []byte(line)
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(line))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func reopenDir(t testing.TB, dir string, packed bool) *files {
	t.Helper()
	o, err := (&Options{Gzip: packed}).filled(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := *o.disk // syncing hundreds of times would take long
	d.sync, d.syncDir = func(*os.File) error { return nil }, func(string) error { return nil }
	o.disk = &d
	f, err := openDir(dir, "t", o, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
