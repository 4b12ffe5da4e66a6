package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/process"
)

// naruBinary is the broker of this tree.
func naruBinary(t *testing.T) string {
	t.Helper()
	path, err := process.Naru()
	must(t, err)
	return path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := process.RemoveNaru(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
