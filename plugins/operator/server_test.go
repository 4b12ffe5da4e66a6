package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/store/memstore"
)

// start runs a server on a bus in memory, and returns a client of it.
func start(t *testing.T, change ...func(*Options)) (*Server, *Client, *core.Bus) {
	t.Helper()
	store := memstore.New()
	bus, err := core.Open(core.Options{
		Config: core.DefaultConfig(), Shards: []core.Shard{store}, VHosts: []string{"other"},
		Fail: func(err error) { t.Errorf("the bus failed: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Bus: bus, Socket: filepath.Join(t.TempDir(), "s"), Version: "v", Log: slog.New(slog.DiscardHandler),
		Connections: func() int64 { return 0 }, Plugins: func() []Plugin { return []Plugin{{Name: "p", Listens: []string{}}} },
	}
	for _, f := range change {
		f(&o)
	}
	s := New(o)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := NewClient(o.Socket)
	t.Cleanup(func() {
		c.Close()
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		bus.Close()
		store.Close()
	})
	return s, c, bus
}

func declare(t *testing.T, bus *core.Bus, vhost, name string) {
	t.Helper()
	turn := bus.NewTurn()
	defer turn.End()
	if _, err := bus.VHost(vhost).DeclareQueue(turn, name, core.QueueOptions{Durable: true}); err != nil {
		t.Fatal(err)
	}
}

// names runs a list to its end.
func names(c *Client, kind string, q Query) (all []string, err error) {
	for raw, err := range c.List(context.Background(), kind, q) {
		var row struct{ Name string }
		if err != nil || json.Unmarshal(raw, &row) != nil {
			return all, errors.Join(err, errors.New("no row"))
		}
		all = append(all, row.Name)
	}
	return all, nil
}

func TestListNarrowed(t *testing.T) {
	_, c, bus := start(t)
	for _, name := range []string{"apple", "apricot", "été", "a*b"} {
		declare(t, bus, "/", name)
	}
	declare(t, bus, "other", "apple")
	for _, q := range []struct {
		Query
		want string
	}{
		{Query{}, "[a*b apple apricot été apple]"},
		{Query{VHost: "other"}, "[apple]"},
		{Query{VHost: "/", Match: "ap*"}, "[apple apricot]"},
		{Query{Match: "?t?"}, "[été]"},
		{Query{Match: "x*"}, "[]"},
	} {
		if got, err := names(c, "queues", q.Query); err != nil || fmt.Sprint(got) != q.want {
			t.Errorf("%+v: %v, %v; want %s", q.Query, got, err, q.want)
		}
	}
	for _, bad := range []struct {
		kind string
		Query
		want string
	}{
		{"queues", Query{VHost: "nowhere"}, "vhost \"nowhere\": not found"},
		{"retained", Query{Filter: "a/#/b"}, "malformed address"},
		{"cats", Query{}, "404"},
	} {
		if _, err := names(c, bad.kind, bad.Query); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s %+v: %v, want %q", bad.kind, bad.Query, err, bad.want)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a/b", true}, {"a*", "ba", false}, {"*a", "aba", true},
		{"a*b*c", "a1b2b3c", true}, {"a*b*c", "a1b2b3", false}, {"?", "", false}, {"?", "é", true}, {"**", "x", true},
		{"*a*a*a*a*b", strings.Repeat("a", 200), false}, {"ab", "abc", false},
	} {
		if got := Match(c.pattern, c.name); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

// TestChangesAreStrict: what is not understood, or is not there, changes nothing
// and is told with a status that says whose fault it is.
func TestChangesAreStrict(t *testing.T) {
	_, c, bus := start(t)
	declare(t, bus, "/", "q")
	for _, r := range []struct {
		path, body string
		status     int
	}{
		{"/v1/purge", `{"name":"q","vhots":"/"}`, http.StatusBadRequest},
		{"/v1/purge", `{"name":`, http.StatusBadRequest},
		{"/v1/purge", `{"vhost":"/"}`, http.StatusBadRequest},
		{"/v1/purge", `{"name":"` + strings.Repeat("x", maxRequest) + `"}`, http.StatusBadRequest},
		{"/v1/purge", `{"name":"nothing"}`, http.StatusNotFound},
		{"/v1/purge", `{"name":"q","session":true}`, http.StatusNotFound},
		{"/v1/purge", `{"name":"q","vhost":"nowhere"}`, http.StatusNotFound},
		{"/v1/kick", `{"name":"q"}`, http.StatusNotFound},
		{"/v1/delete/session", `{"name":"q"}`, http.StatusNotFound},
		{"/v1/delete/retained", `{"name":"q"}`, http.StatusNotFound},
		{"/v1/delete/retained", `{"name":"a#"}`, http.StatusBadRequest},
		{"/v1/delete/everything", `{"name":"q"}`, http.StatusBadRequest},
		{"/v1/backup", `{"dir":"/tmp/x"}`, http.StatusBadRequest}, // nothing is on disk
		{"/v1/purge", `{"name":"q"}`, http.StatusOK},
	} {
		resp, err := c.http.Post("http://node"+r.path, "application/json", strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != r.status {
			t.Errorf("%s %.40s: status %d, want %d", r.path, r.body, resp.StatusCode, r.status)
		}
	}
	if resp, err := c.http.Get("http://node/v1/purge"); err != nil || resp.StatusCode == http.StatusOK {
		t.Errorf("a change by GET: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	if bus.VHost("/").Queue("q") == nil {
		t.Error("the queue is gone")
	}
}

// TestBackupFails: nothing is left of a backup that could not be made, or that
// nobody waited for, and only one is made at a time.
func TestBackupFails(t *testing.T) {
	began, end, over := make(chan string), make(chan error), make(chan struct{})
	s, c, _ := start(t, func(o *Options) {
		o.StoreBytes = func() int64 { return 100 }
		o.Backup = func(dir string) error {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, "part"), []byte("12345"), 0o600); err != nil {
				return err
			}
			select {
			case began <- dir:
				return <-end
			case <-over:
				return errors.New("nobody has asked for it")
			}
		}
	})
	t.Cleanup(func() { close(over); close(end) })
	dir := filepath.Join(t.TempDir(), "b")
	run := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			m, err := c.Backup(ctx, dir, func(Progress) {})
			if err == nil && m.Bytes() != 5 {
				err = fmt.Errorf("manifest %+v", m)
			}
			done <- err
		}()
		return done
	}
	failing := run(t.Context())
	<-began
	if _, err := c.Backup(t.Context(), dir+"2", func(Progress) {}); err == nil || !strings.Contains(err.Error(), "another one is under way") {
		t.Errorf("a second backup: %v", err)
	}
	end <- errors.New("disk on fire")
	if err := <-failing; err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("a backup that fails: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a backup that has failed is there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() { // without a network between, so that it is known when the node knows
		defer close(left)
		body := strings.NewReader(fmt.Sprintf("{%q: %q}", "dir", dir))
		s.handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, pathBackup, body))
	}()
	<-began
	cancel()
	end <- nil
	<-left
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a backup that nobody waited for is there: %v", err)
	}

	good := run(t.Context())
	to := <-began
	end <- nil
	if err := <-good; err != nil {
		t.Fatal(err)
	}
	if m, err := ReadManifest(dir); err != nil || to != filepath.Join(dir, StoreDir) || m.Files["store/part"] != 5 {
		t.Errorf("manifest %+v, %v", m, err)
	}
	for _, bad := range []string{"relative", filepath.Join(dir, "no", "parent"), dir} {
		if _, err := c.Backup(t.Context(), bad, func(Progress) {}); err == nil {
			t.Errorf("backup to %s has begun", bad)
		}
	}
}

// TestSocketPlace: the socket replaces one that nobody listens on, and nothing
// else; its path may be longer than the system takes.
func TestSocketPlace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen(path); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("in the place of one that is in use: %v", err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	ln, err := listen(path)
	if err != nil {
		t.Fatalf("in the place of a stale one: %v", err)
	}
	defer ln.Close()
	if st, err := os.Lstat(path); err != nil || st.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if !InUse(path) {
		t.Error("nobody listens")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(file); err == nil {
		t.Error("a file has been replaced")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if _, err := listen(filepath.Join(dir, "no", "dir")); err == nil {
		t.Error("a socket in a directory that is not there")
	}
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		return
	}
	deep := filepath.Join(dir, strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	_, c, _ := start(t, func(o *Options) { o.Socket = filepath.Join(deep, "naru.sock") })
	if s, err := c.Status(t.Context()); err != nil || s.Version != "v" {
		t.Errorf("by a long path: %+v, %v", s, err)
	}
}

// TestStopInTheMiddle: a stop ends a list that nobody reads, and does not take
// away what is there by the name of the socket by then.
func TestStopInTheMiddle(t *testing.T) {
	s, c, bus := start(t)
	for i := range 5000 {
		declare(t, bus, "/", fmt.Sprint("queue ", i, strings.Repeat(" ", 200)))
	}
	n := 0
	var broke error
	for _, err := range c.List(t.Context(), "queues", Query{}) {
		if n++; n == 1 {
			if err := os.Remove(s.opt.Socket); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.opt.Socket, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := s.Stop(t.Context()); err != nil { // the list is not read meanwhile
				t.Error(err)
			}
		}
		broke = err
	}
	if broke == nil || n > 5000 {
		t.Errorf("a list that was cut off seems whole, with %d of 5000", n)
	}
	if _, err := os.Lstat(s.opt.Socket); err != nil {
		t.Errorf("what is there by the name of the socket is gone: %v", err)
	}
	s.backups.Unlock() // for the Stop of the cleaning up
}
