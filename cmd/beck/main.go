// Command beck is a server and a command line for messages that are kept, on
// disk or on Redis.
package main

import (
	"os"

	"github.com/beckmq/beck/internal/cli"
)

func main() {
	os.Exit(cli.Main())
}
