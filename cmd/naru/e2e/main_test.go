package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is the binary of this tree, which the tests share.
var built struct {
	sync.Mutex
	dir string
}

// naruBinary builds the broker when a test first asks for it.
func naruBinary(t *testing.T) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	path := filepath.Join(built.dir, "naru")
	if built.dir != "" {
		return path
	}
	dir, err := os.MkdirTemp("", "naru-e2e")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "naru")
	out, err := exec.Command("go", "build", "-o", path, "github.com/narumq/naru/cmd/naru").CombinedOutput()
	if err != nil {
		os.RemoveAll(dir)
		t.Fatalf("build naru: %v\n%s", err, out)
	}
	built.dir = dir
	return path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}
