package amqp

import (
	"fmt"
	"strings"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
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
	return suite.Statements(path, func(id, text, remark string) (Statement, error) {
		s := Statement{ID: id, Text: text}
		if kind, rest, ok := strings.Cut(remark, ": "); ok && kind == "differs" {
			s.Differs = rest
		} else if ok && kind == "test" {
			s.Test = rest
		} else if remark != "" {
			return s, fmt.Errorf("what is %q?", remark)
		}
		return s, nil
	})
}
