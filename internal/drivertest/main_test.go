package drivertest

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets many tests run side by side: nearly all that they do is wait, for
// what a planted fault keeps from coming.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		_ = flag.Set("test.parallel", "16")
	}
	os.Exit(m.Run())
}
