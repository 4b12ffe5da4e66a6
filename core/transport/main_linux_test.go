package transport

import (
	"os"
	"testing"
)

// Some tests need a process of their own: the test binary is run again, with
// the role in its environment.
const roleVariable = "NARU_TRANSPORT_TEST"

var roles = map[string]func() error{"load": load, "idle": idleTLS}

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := roles[role](); err != nil {
		os.Stderr.WriteString(role + ": " + err.Error() + "\n")
		os.Exit(1)
	}
}
