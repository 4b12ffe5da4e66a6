package e2e

import (
	"fmt"
	"os"
	"strings"
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
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []Statement
	seen := map[string]bool{}
	for i, l := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if strings.HasPrefix(l, "#") {
			continue
		}
		f := strings.Split(l, "\t")
		if len(f) != 3 {
			return nil, fmt.Errorf("%s:%d: %d columns, want 3", path, i+1, len(f))
		}
		switch f[1] {
		case "server", "client", "both", "bridge":
		default:
			return nil, fmt.Errorf("%s:%d: %q is nobody", path, i+1, f[1])
		}
		if seen[f[0]] {
			return nil, fmt.Errorf("%s:%d: %s is listed twice", path, i+1, f[0])
		}
		seen[f[0]] = true
		out = append(out, Statement{f[0], f[1], f[2]})
	}
	return out, nil
}
