package amqp

import (
	"fmt"
	"slices"
	"strings"
)

// Report is the generated part of docs/protocols/amqp.md: what shows each
// statement, and where RabbitMQ differs from what the scripts ask of Naru.
func Report(statements []Statement, scripts []*Script) string {
	var b strings.Builder
	b.WriteString("## What is shown\n\n| | what RabbitMQ does | shown by |\n|---|---|---|\n")
	for _, s := range statements {
		list := names(scripts, func(sc *Script) bool { return slices.Contains(sc.Covers, s.ID) })
		if s.Test != "" {
			list = append(list, "`"+s.Test+"`")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.TrimPrefix(s.ID, "e"), escape(s.Text), escape(shown(list)))
	}
	b.WriteString("\n## Where Naru does otherwise on purpose\n\n| | |\n|---|---|\n")
	for _, s := range statements {
		if s.Differs != "" {
			fmt.Fprintf(&b, "| %s | %s: %s |\n", strings.TrimPrefix(s.ID, "e"), escape(s.Text), escape(s.Differs))
		}
	}
	b.WriteString("\n## Scripts beyond these\n\n")
	b.WriteString(strings.Join(names(scripts, func(sc *Script) bool { return len(sc.Covers) == 0 }), ", ") + "\n")
	b.WriteString("\n## Where RabbitMQ " + rabbitTried + " differs\n\n")
	b.WriteString("| script | what it does |\n|---|---|\n")
	for _, s := range differing(scripts) {
		fmt.Fprintf(&b, "| %s | %s |\n", s[0], escape(s[1]))
	}
	return b.String()
}

// shown joins the names of scripts; of many the first few will do.
func shown(list []string) string {
	const few = 6
	switch {
	case len(list) == 0:
		return "-"
	case len(list) > few:
		return strings.Join(list[:few], ", ") + fmt.Sprintf(" and %d more", len(list)-few)
	}
	return strings.Join(list, ", ")
}

// names lists the scripts that match, each once for all cases.
func names(scripts []*Script, match func(*Script) bool) []string {
	var out []string
	for _, s := range scripts {
		if name := "`" + s.Name + "`"; match(s) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// differing lists the scripts that RabbitMQ does not pass, with the cases where
// only some of them differ, and the reasons.
func differing(scripts []*Script) [][2]string {
	var out [][2]string
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
		out = append(out, [2]string{name, reason})
	}
	return out
}

// escape keeps text inside its table cell.
func escape(text string) string { return strings.ReplaceAll(text, "|", "\\|") }
