package e2e

import (
	"fmt"
	"slices"
	"strings"
)

// Report is the generated part of docs/protocols/mqtt.md: which scripts show
// which statement, and where the reference peer differs.
func Report(statements []Statement, scripts []*Script) string {
	var b strings.Builder
	b.WriteString("## Statements of MQTT 3.1.1\n\n")
	b.WriteString("| statement | binds | what it asks | shown by |\n|---|---|---|---|\n")
	for _, s := range statements {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.ID, s.Who, escape(s.Text), shownBy(s, scripts))
	}
	b.WriteString("\n## Beyond the statements\n\n")
	for _, name := range names(scripts, func(s *Script) bool { return len(s.Covers) == 0 }) {
		fmt.Fprintf(&b, "- %s\n", name)
	}
	b.WriteString("\n## Differences from mosquitto " + mosquittoTried + "\n\n")
	b.WriteString("| script | what mosquitto does |\n|---|---|\n")
	for _, d := range differences(scripts) {
		fmt.Fprintf(&b, "| %s | %s |\n", d.script, escape(d.reason))
	}
	return b.String()
}

func shownBy(st Statement, scripts []*Script) string {
	list := names(scripts, func(s *Script) bool { return slices.Contains(s.Covers, st.ID) })
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}

// names lists the names of the scripts that match, each once for all cases.
func names(scripts []*Script, match func(*Script) bool) []string {
	var out []string
	for _, s := range scripts {
		if name := "`" + s.Name + "`"; match(s) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

type difference struct{ script, reason string }

// differences lists the scripts that differ, with the cases where only some of
// them do.
func differences(scripts []*Script) []difference {
	var out []difference
	for i, s := range scripts {
		if i > 0 && scripts[i-1].Name == s.Name {
			continue
		}
		var cases []string
		all, reason := true, ""
		for _, c := range scripts[i:] {
			if c.Name != s.Name {
				break
			}
			if c.Differs == "" {
				all = false
				continue
			}
			cases, reason = append(cases, c.Case), c.Differs
		}
		if reason == "" {
			continue
		}
		name := "`" + s.Name + "`"
		if !all {
			name += " (" + strings.Join(cases, ", ") + ")"
		}
		out = append(out, difference{name, reason})
	}
	return out
}

// escape keeps text inside its table cell.
func escape(text string) string { return strings.ReplaceAll(text, "|", "\\|") }
