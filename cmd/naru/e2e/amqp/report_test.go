package amqp

import (
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

// TestReport: the generated part of the documentation is what the scripts say.
func TestReport(t *testing.T) {
	suite.CheckReport(t, "./cmd/naru/e2e/amqp", "../../../../docs/protocols/amqp.md", Report(loadStatements(t), loadScripts(t)))
}
