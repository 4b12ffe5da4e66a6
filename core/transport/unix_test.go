package transport

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// unixBox listens on a Unix socket.
func (b *box) listenUnix(path, mode string) (net.Addr, error) {
	return b.srv.Listen(ListenConfig{Address: "unix:" + path, Mode: mode}, b.handler)
}

// TestUnix serves clients of this machine, and removes the socket at the end.
func TestUnix(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		path := filepath.Join(t.TempDir(), "s")
		addr, err := b.listenUnix(path, "")
		if err != nil {
			t.Fatal(err)
		}
		if addr.Network() != "unix" || addr.String() != path {
			t.Errorf("it listens on %v %v", addr.Network(), addr)
		}
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		h := b.next()
		large := string(pattern(200_000))
		for _, out := range [][]byte{frame('l', number(0)), frame('e', large), frame('q', "bye")} {
			go func() { _, _ = nc.Write(out) }() // an error is one of the read below
			want := string(out[frameHead:])
			if got := readN(t, nc, len(want)); got != want {
				t.Fatalf("got %s", short([]byte(got)))
			}
		}
		if got := readN(t, nc, 1); got != "" {
			t.Errorf("then %q", got)
		}
		h.ended(nil)
		if !h.conn.Peer().Addr().IsLoopback() {
			t.Errorf("the peer is %v", h.conn.Peer())
		}
		nc.Close()
		b.close()
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is there still: %v", err)
		}
	})
}

// readN reads n bytes, or to the end.
func readN(t *testing.T, nc net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	for i := 0; i < n; {
		k, err := nc.Read(b[i:])
		if i += k; err != nil {
			return string(b[:i])
		}
	}
	return string(b)
}

// TestUnixMode: who may connect is what the file says.
func TestUnixMode(t *testing.T) {
	b := newBox(t)
	dir := t.TempDir()
	for mode, want := range map[string]fs.FileMode{"": 0o660, "0600": 0o600, "777": 0o777, "0666": 0o666} {
		path := filepath.Join(dir, "s"+mode)
		if _, err := b.listenUnix(path, mode); err != nil {
			t.Fatal(err)
		}
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != want {
			t.Errorf("mode %q: %v, want %v", mode, st.Mode().Perm(), want)
		}
	}
	for _, mode := range []string{"rw", "0888", "01777", "-1"} {
		if _, err := b.listenUnix(filepath.Join(dir, "bad"), mode); err == nil {
			t.Errorf("mode %q is taken", mode)
		}
	}
}

// TestUnixStale: what a crash has left is replaced, and nothing else is.
func TestUnixStale(t *testing.T) {
	b := newBox(t)
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	ln, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	if _, err := b.listenUnix(stale, ""); err != nil {
		t.Errorf("in place of a stale socket: %v", err)
	}
	if _, err := b.listenUnix(stale, ""); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("in place of one in use: %v", err)
	}
	b.next() // the attempt to find that out
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.listenUnix(file, ""); err == nil {
		t.Error("a file was replaced")
	}
	if got, err := os.ReadFile(file); string(got) != "precious" {
		t.Errorf("the file has %q, %v", got, err)
	}
	if _, err := b.listenUnix(filepath.Join(dir, "no", "such", "directory"), ""); err == nil {
		t.Error("it listens in a directory that is not there")
	}
}

// TestUnixProxy: behind a proxy that is reached by a Unix socket the real peer
// counts as well.
func TestUnixProxy(t *testing.T) {
	b := newBox(t)
	path := filepath.Join(t.TempDir(), "s")
	if _, err := b.srv.Listen(ListenConfig{Address: "unix:" + path, ProxyProtocol: true}, b.handler); err != nil {
		t.Fatal(err)
	}
	for _, s := range proxied {
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write([]byte(s.header)); err != nil {
			t.Fatal(err)
		}
		if got := b.next().conn.Peer().String(); got != s.peer {
			t.Errorf("%s: the peer is %s", s.name, got)
		}
		nc.Close()
	}
}
