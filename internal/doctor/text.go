package doctor

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// width is how many columns a report has at most.
const width = 100

var levelWords = [...]string{"ok", "can't tell", "warn", "DANGER"}

// Text is the report for people.
func (r *Report) Text() string {
	var b strings.Builder
	b.WriteString(r.title() + "\n\n")
	nameWidth := 0
	for _, f := range r.Findings {
		nameWidth = max(nameWidth, utf8.RuneCountInString(f.Check))
	}
	for _, f := range r.Findings {
		level := fmt.Sprintf("%-10s", levelWords[f.Level])
		head := fmt.Sprintf("%s  %-*s  ", level, nameWidth, f.Check)
		indent := strings.Repeat(" ", utf8.RuneCountInString(head))
		room := width - len(indent)
		says := f.Says
		if where := r.where(f.Servers); where != "" {
			says = where + ": " + says
		}
		for i, line := range wrap(says, room) {
			if i > 0 {
				head = indent
			}
			b.WriteString(strings.TrimRight(head+line, " ") + "\n")
		}
		if f.Mend != "" {
			for i, line := range wrap(f.Mend, room-2) {
				mark := "→ "
				if i > 0 {
					mark = "  "
				}
				b.WriteString(indent + mark + line + "\n")
			}
		}
	}
	b.WriteString("\n" + r.Summary() + "\n")
	return b.String()
}

// where names the servers of a finding, "" where it is all of a kind.
func (r *Report) where(addrs []string) string {
	if len(addrs) == 0 || len(r.Servers) == 1 {
		return ""
	}
	of := map[string][]string{}
	for _, s := range r.Servers {
		role := s.Role
		if role != "sentinel" {
			of["data"] = append(of["data"], s.Addr)
		}
		of[role] = append(of[role], s.Addr)
	}
	for _, kind := range []struct{ role, one, all string }{
		{"data", "", ""}, {"sentinel", "", ""},
		{"primary", "the primary", "all primaries"}, {"replica", "the replica", "all replicas"},
	} {
		group := of[kind.role]
		slices.Sort(group)
		switch {
		case !slices.Equal(group, addrs):
		case len(group) == 1:
			return kind.one
		default:
			return kind.all
		}
	}
	others := slices.DeleteFunc(of["data"], func(a string) bool { return slices.Contains(addrs, a) })
	if len(others) == 1 && len(addrs) > 1 {
		return "all but " + others[0]
	}
	return strings.Join(addrs, ", ")
}

// title says what was looked at.
func (r *Report) title() string {
	title := r.At
	counts := map[string]int{}
	for _, s := range r.Servers {
		counts[s.Role]++
	}
	var parts []string
	for _, role := range []string{"primary", "replica", "sentinel", ""} {
		n := counts[role]
		if n == 0 {
			continue
		}
		name := map[string]string{"primary": "primaries", "replica": "replicas", "sentinel": "sentinels", "": "without an answer"}[role]
		if n == 1 && role != "" {
			name = role
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, name))
	}
	if len(r.Servers) > 1 {
		title += "\n" + strings.Join(parts, ", ")
	}
	return title
}

// Summary counts what was found, in a line.
func (r *Report) Summary() string {
	plural := func(n int, one, many string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %s", n, many)
	}
	parts := []string{}
	if r.Dangers > 0 {
		parts = append(parts, plural(r.Dangers, "thing endangers", "things endanger")+" messages")
	} else {
		parts = append(parts, "nothing endangers messages")
	}
	if r.Warnings > 0 {
		parts = append(parts, plural(r.Warnings, "warning", "warnings"))
	}
	if r.Unknown > 0 {
		parts = append(parts, plural(r.Unknown, "thing", "things")+" can't be told")
	}
	parts = append(parts, fmt.Sprintf("%d ok", r.OK))
	return strings.Join(parts, ", ")
}

// wrap breaks a text into lines at spaces; a word that is too long stays whole.
func wrap(text string, room int) []string {
	var all []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= room:
			line += " " + word
		default:
			all = append(all, line)
			line = word
		}
	}
	return append(all, line)
}
