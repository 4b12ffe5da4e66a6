// Package peers decides what becomes of a test whose peers, the brokers and
// clients that others have written, are not installed.
package peers

import (
	"os"
	"os/exec"
	"testing"
)

const require = "TEST_REQUIRE_PEERS"

// Required reports whether a missing peer is a failure.
func Required() bool { return os.Getenv(require) == "1" }

// Need skips a test that lacks a peer, or fails it where that is not allowed.
func Need(t *testing.T, missing error) {
	t.Helper()
	switch {
	case missing == nil:
	case Required():
		t.Fatalf("%v (.ci/peers installs it)", missing)
	default:
		t.Skipf("%v (.ci/peers installs it); with %s=1 this is a failure", missing, require)
	}
}

// NeedProgram is Need for a program, by its name or path.
func NeedProgram(t *testing.T, program string) {
	t.Helper()
	_, err := exec.LookPath(program)
	Need(t, err)
}
