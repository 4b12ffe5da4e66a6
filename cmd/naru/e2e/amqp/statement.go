package amqp

import (
	"fmt"
	"os"
	"strings"
)

// A Statement is a thing that RabbitMQ does, which a script or a test must
// show, or from which Naru differs for a reason.
type Statement struct {
	ID      string // 9.5: number 5 of INTEROP section 9; e404: a reply code
	Text    string
	Differs string // why Naru does otherwise
	Test    string // a test that shows it, where no script can
}

// LoadStatements reads lines "id, tab, text, tab, remark".
func LoadStatements(path string) ([]Statement, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []Statement
	for i, l := range strings.Split(strings.TrimRight(string(data), "\n"), "\n") {
		if strings.HasPrefix(l, "#") {
			continue
		}
		f := strings.Split(l, "\t")
		if len(f) != 3 {
			return nil, fmt.Errorf("%s:%d: %d columns, want 3", path, i+1, len(f))
		}
		s := Statement{ID: f[0], Text: f[1]}
		var differs, test bool
		s.Differs, differs = strings.CutPrefix(f[2], "differs: ")
		s.Test, test = strings.CutPrefix(f[2], "test: ")
		if !differs {
			s.Differs = ""
		}
		if !test {
			s.Test = ""
		}
		if f[2] != "" && !differs && !test {
			return nil, fmt.Errorf("%s:%d: what is %q?", path, i+1, f[2])
		}
		out = append(out, s)
	}
	return out, nil
}
