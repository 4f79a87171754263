package wire

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/beckmq/beck"
)

func TestParseDurability(t *testing.T) {
	for text, want := range map[string]beck.Durability{
		"written":                        {},
		" written ":                      {},
		"synced":                         {Synced: true},
		"replicas=1":                     {Replicas: 1},
		"replicas=2,synced,within=250ms": {Replicas: 2, Synced: true, Within: 250 * time.Millisecond},
		"within=2s ,\tsynced":            {Synced: true, Within: 2 * time.Second},
		"replicas=32767":                 {Replicas: 32767}, // how many make sense the bus says
	} {
		if got, err := ParseDurability(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, why := range map[string]string{
		"":                        "empty",
		",":                       "empty",
		"synced,":                 "empty",
		"written, synced":         "stands alone",
		"synced, written":         "stands alone",
		"synced, synced":          "twice",
		"replicas=1, replicas=1":  "twice",
		"replicas":                "not known",
		"replicas=":               "from 1 on",
		"replicas=0":              "from 1 on",
		"replicas=-1":             "from 1 on",
		"replicas=+1":             "from 1 on",
		"replicas=1.5":            "from 1 on",
		"replicas=99999999999999": "from 1 on",
		"within=2s":               "for what",
		"synced, within=0":        "greater than 0",
		"synced, within=-1s":      "greater than 0",
		"synced, within=2":        "greater than 0",
		"synced=yes":              "not known",
		"Synced":                  "not known",
		"synced; replicas=1":      "not known",
	} {
		got, err := ParseDurability(text)
		if !errors.Is(err, beck.ErrOption) || got != (beck.Durability{}) {
			t.Errorf("%q is %+v, %v; want ErrOption", text, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v; want it to say %q", text, err, why)
		}
	}
}

func FuzzParseDurability(f *testing.F) {
	for _, text := range []string{"written", "replicas=1, synced, within=2s", "synced,within=1h", "replicas=0", "within=1s", ",", "replicas=1,replicas=2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDurability(text)
		if err != nil {
			if !errors.Is(err, beck.ErrOption) || d != (beck.Durability{}) {
				t.Fatalf("%q: %+v, %v", text, d, err)
			}
			return
		}
		again, err := ParseDurability(FormatDurability(d))
		if err != nil || again != d {
			t.Fatalf("%q is %+v, written as %q, which is %+v, %v", text, d, FormatDurability(d), again, err)
		}
	})
}
