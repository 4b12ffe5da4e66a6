package e2e

import (
	"fmt"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

// A Statement is one normative statement of the MQTT standard. The text is
// ours: what it asks, not how the standard puts it.
type Statement struct {
	ID   string // MQTT-3.1.0-1
	Who  string // whom it binds: server, client, both or bridge
	Text string
}

// OnServer reports whether a broker can keep or break the statement, so that a
// script must show it. "bridge" binds a server that also connects to others by
// MQTT, which Naru does not.
func (s Statement) OnServer() bool { return s.Who == "server" || s.Who == "both" }

// LoadStatements reads a file of lines "id, tab, who, tab, text".
func LoadStatements(path string) ([]Statement, error) {
	return suite.Statements(path, func(id, who, text string) (Statement, error) {
		switch who {
		case "server", "client", "both", "bridge":
			return Statement{id, who, text}, nil
		}
		return Statement{}, fmt.Errorf("%q is nobody", who)
	})
}
