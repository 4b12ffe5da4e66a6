package e2e

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

// Report is the generated part of docs/protocols/mqtt.md: which scripts show
// which statement, and where the reference peer differs.
func Report(statements []Statement, scripts []*Script) string {
	var b strings.Builder
	b.WriteString("## Statements of MQTT 3.1.1\n\n")
	b.WriteString("| statement | binds | what it asks | shown by |\n|---|---|---|---|\n")
	for _, s := range statements {
		shown := cmp.Or(strings.Join(suite.Covering(scripts, s.ID), ", "), "-")
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.ID, s.Who, suite.Cell(s.Text), shown)
	}
	b.WriteString("\n## Beyond the statements\n\n")
	for _, name := range suite.Beyond(scripts) {
		fmt.Fprintf(&b, "- %s\n", name)
	}
	b.WriteString("\n## Differences from mosquitto " + mosquittoTried + "\n\n")
	b.WriteString("| script | what mosquitto does |\n|---|---|\n")
	b.WriteString(suite.Differences(scripts))
	return b.String()
}
