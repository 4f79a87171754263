package cli

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/beckmq/beck/internal/redistest"
)

func TestReshard(t *testing.T) {
	t.Parallel()
	params := scripts(func(env *testscript.Env) error {
		for _, name := range []string{"A", "B", "C"} {
			env.Setenv(name, redistest.Start(t).Addr())
		}
		return nil
	})
	params.Dir = "testdata/redis"
	testscript.Run(t, params)
}
