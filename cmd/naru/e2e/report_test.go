package e2e

import (
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

// TestReport: the generated part of the documentation is what the scripts say.
func TestReport(t *testing.T) {
	suite.CheckReport(t, "./cmd/naru/e2e", "../../../docs/protocols/mqtt.md", Report(loadStatements(t), loadMQTT(t)))
}
