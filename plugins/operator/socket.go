package operator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// SocketName is the name of the socket in data_dir.
const SocketName = "naru.sock"

// maxPath is the longest path that the system takes for a socket.
const maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// short calls f with a path to the same file that is short enough for a socket.
// Where the path is too long, Linux has a shorter one by way of an open
// directory.
func short(path string, f func(string) error) error {
	if len(path) <= maxPath {
		return f(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	by := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	if _, err := os.Stat(filepath.Dir(by)); err != nil || len(by) > maxPath {
		return fmt.Errorf("socket %s: the path is longer than %d bytes: set operator.socket to a shorter one", path, maxPath)
	}
	return f(by)
}

// dial connects to a socket.
func dial(ctx context.Context, path string) (c net.Conn, err error) {
	err = short(path, func(path string) error {
		c, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
		return err
	})
	return c, err
}

// InUse says whether a node listens on a socket.
func InUse(path string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := dial(ctx, path)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// listen opens the socket, in the place of one that a former process has left
// behind. The socket appears under its name when its mode is right: it is made
// in a directory that nobody else can look into.
func listen(path string) (*net.UnixListener, error) {
	switch st, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case st.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("socket %s: there is something else of this name", path)
	case InUse(path):
		return nil, fmt.Errorf("socket %s: another process listens on it", path)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".naru-") // of mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	private := filepath.Join(dir, "s")
	var ln *net.UnixListener
	err = short(private, func(path string) error {
		ln, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // under the name that it was made by
	if err = os.Chmod(private, 0o600); err == nil {
		err = os.Rename(private, path)
	}
	if err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}
