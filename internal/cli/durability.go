package cli

import (
	"errors"
	"strings"
	"time"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/wire"
)

// durability is a flag. Whether it was given matters: "written" is not the default.
type durability struct{ asked *beck.Durability }

func (d *durability) Type() string { return "LEVEL" }

func (d *durability) String() string {
	if d.asked == nil {
		return ""
	}
	return wire.FormatDurability(*d.asked)
}

// Set implements pflag.Value.
func (d *durability) Set(text string) error {
	asked, err := wire.ParseDurability(text)
	if err != nil {
		return errors.New(reasonOf(err)) // behind the flag's name and the text
	}
	d.asked = &asked
	return nil
}

// reasonOf leaves away what the flag's own error says.
func reasonOf(err error) string {
	_, reason, _ := strings.Cut(err.Error(), "\": ")
	return reason
}

// serverWait is the longest that a server may have publishers wait who don't say how
// long they do: clients give up on a silent server after half a minute.
const serverWait = 20 * time.Second

// serverDurability is what a server asks for where its clients don't: by flag, or by
// the variable BECK_DURABILITY.
func (p *program) serverDurability(f *serveFlags) (beck.Durability, error) {
	if text := p.Getenv("BECK_DURABILITY"); f.durable.asked == nil && text != "" {
		if err := f.durable.Set(text); err != nil {
			return beck.Durability{}, usagef("BECK_DURABILITY is %.60q: %v", text, err)
		}
	}
	if f.durable.asked == nil {
		return beck.Durability{}, nil
	}
	if f.durable.asked.Within > serverWait {
		return beck.Durability{}, usagef("--durability: within takes up to %v for a server; clients may ask for more", serverWait)
	}
	return *f.durable.asked, nil
}
