package amqp

import (
	"fmt"
	"strings"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

// Report is the generated part of docs/protocols/amqp.md: what shows each
// statement, and where RabbitMQ differs from what the scripts ask of Naru.
func Report(statements []Statement, scripts []*Script) string {
	var b strings.Builder
	b.WriteString("## What is shown\n\n| | what RabbitMQ does | shown by |\n|---|---|---|\n")
	for _, s := range statements {
		list := suite.Covering(scripts, s.ID)
		if s.Test != "" {
			list = append(list, "`"+s.Test+"`")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.TrimPrefix(s.ID, "e"), suite.Cell(s.Text), suite.Cell(shown(list)))
	}
	b.WriteString("\n## Where Naru does otherwise on purpose\n\n| | |\n|---|---|\n")
	for _, s := range statements {
		if s.Differs != "" {
			fmt.Fprintf(&b, "| %s | %s: %s |\n", strings.TrimPrefix(s.ID, "e"), suite.Cell(s.Text), suite.Cell(s.Differs))
		}
	}
	b.WriteString("\n## Scripts beyond these\n\n")
	b.WriteString(strings.Join(suite.Beyond(scripts), ", ") + "\n")
	b.WriteString("\n## Where RabbitMQ " + rabbitTried + " differs\n\n")
	b.WriteString("| script | what it does |\n|---|---|\n")
	b.WriteString(suite.Differences(scripts))
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
