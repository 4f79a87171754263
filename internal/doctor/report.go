package doctor

import (
	"fmt"
	"slices"
)

// Level is how bad something is.
type Level int

const (
	// OK is as it should be.
	OK Level = iota
	// Unknown could not be found out.
	Unknown
	// Warn endangers no message by itself, but does together with another fault.
	Warn
	// Danger loses messages, or stops them.
	Danger
)

var levelNames = [...]string{"ok", "unknown", "warn", "danger"}

func (l Level) String() string { return levelNames[l] }

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Finding is one line of a report.
type Finding struct {
	Level Level `json:"level"`
	// Check is what was looked at, such as "eviction".
	Check string `json:"check"`
	// Servers are those that it is about; none if it is about the whole.
	Servers []string `json:"servers,omitempty"`
	Says    string   `json:"says"`
	// Mend is the setting that mends it, or what else to do.
	Mend string `json:"mend,omitempty"`
}

// Server is one that was looked at.
type Server struct {
	Addr    string `json:"addr"`
	Role    string `json:"role"` // primary, replica, sentinel; "" if it didn't answer
	Version string `json:"version,omitempty"`
}

// Report is what was found. Its JSON is a documented contract: docs/doctor.md.
type Report struct {
	At       string    `json:"at"`
	Kind     string    `json:"kind"`
	Servers  []Server  `json:"servers,omitempty"`
	Findings []Finding `json:"findings"`
	// Of each level, how many findings there are.
	Dangers  int `json:"dangers"`
	Warnings int `json:"warnings"`
	Unknown  int `json:"unknown"`
	OK       int `json:"ok"`
}

// add adds a finding about a server, "" for the whole; like ones become one.
func (r *Report) add(addr string, f Finding) {
	i := slices.IndexFunc(r.Findings, func(g Finding) bool {
		return g.Level == f.Level && g.Check == f.Check && g.Says == f.Says && g.Mend == f.Mend
	})
	if i < 0 {
		r.Findings = append(r.Findings, f)
		i = len(r.Findings) - 1
	}
	if addr != "" && !slices.Contains(r.Findings[i].Servers, addr) {
		r.Findings[i].Servers = append(r.Findings[i].Servers, addr)
	}
}

func (r *Report) count() {
	r.Dangers, r.Warnings, r.Unknown, r.OK = 0, 0, 0, 0
	for _, f := range r.Findings {
		*[]*int{&r.OK, &r.Unknown, &r.Warnings, &r.Dangers}[f.Level]++
	}
}

func ok(check, says string, args ...any) Finding {
	return Finding{Level: OK, Check: check, Says: fmt.Sprintf(says, args...)}
}

func unknown(check, mend, says string, args ...any) Finding {
	return Finding{Level: Unknown, Check: check, Mend: mend, Says: fmt.Sprintf(says, args...)}
}

func warn(check, mend, says string, args ...any) Finding {
	return Finding{Level: Warn, Check: check, Mend: mend, Says: fmt.Sprintf(says, args...)}
}

func danger(check, mend, says string, args ...any) Finding {
	return Finding{Level: Danger, Check: check, Mend: mend, Says: fmt.Sprintf(says, args...)}
}
