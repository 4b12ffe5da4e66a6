package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

var naru struct {
	sync.Once
	dir string
	err error
}

// Naru is the path of the binary of this tree, built when a test first asks.
func Naru() (string, error) {
	naru.Do(func() {
		if naru.dir, naru.err = os.MkdirTemp("", "naru-e2e"); naru.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", naru.dir, "github.com/narumq/naru/cmd/naru")
		if out, err := build.CombinedOutput(); err != nil {
			naru.err = fmt.Errorf("build naru: %w\n%s", err, out)
		}
	})
	return filepath.Join(naru.dir, "naru"), naru.err
}

// RemoveNaru removes the binary when the tests are over.
func RemoveNaru() error { return os.RemoveAll(naru.dir) }
