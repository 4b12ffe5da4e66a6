package authfile

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/narumq/naru/core"
)

// stopwatch is a hash that takes a known time and counts who is at it.
type stopwatch struct {
	takes               time.Duration
	right               string
	running, most, runs atomic.Int64
}

func (s *stopwatch) verify(password []byte) bool {
	s.runs.Add(1)
	n := s.running.Add(1)
	for {
		most := s.most.Load()
		if n <= most || s.most.CompareAndSwap(most, n) {
			break
		}
	}
	time.Sleep(s.takes) // of the bubble's clock: the work of a hash
	s.running.Add(-1)
	return string(password) == s.right
}

// timed gives the users hashes that take the times.
func timed(t testing.TB, right string, takes map[string]time.Duration) (*Auth, map[string]*stopwatch) {
	t.Helper()
	c := Config{Users: map[string]User{}}
	for name := range takes {
		c.Users[name] = User{Password: guestHash}
	}
	a := mustNew(t, c)
	watches := map[string]*stopwatch{}
	for name, d := range takes {
		watches[name] = &stopwatch{takes: d, right: right}
		a.policy.Load().users[name].hash = watches[name]
	}
	return a, watches
}

var (
	local  = netip.MustParseAddrPort("127.0.0.1:50000")
	remote = netip.MustParseAddrPort("192.0.2.1:50000")
)

func login(user, password string, peer netip.AddrPort) *core.Credentials {
	return &core.Credentials{
		Identity: core.Identity{User: user, VHost: "/", ClientID: "c1", Protocol: "mqtt", Peer: peer},
		HasUser:  true, HasPassword: true, Password: []byte(password),
	}
}

func anonymous(peer netip.AddrPort) *core.Credentials {
	return &core.Credentials{Identity: core.Identity{VHost: "/", ClientID: "c1", Peer: peer}}
}

func (a *Auth) login(c *core.Credentials) (core.Identity, error) {
	return a.Authenticate(context.Background(), c)
}

func TestLogin(t *testing.T) {
	hash, err := HashPassword([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	a := mustNew(t, Config{Users: map[string]User{"alice": {Password: hash, VHosts: list("/", "prod")}}})

	c := login("alice", "correct horse", remote)
	c.Anonymous = true // as claimed; not to be believed
	id, err := a.login(c)
	want := c.Identity
	want.Anonymous = false
	if err != nil || id != want {
		t.Errorf("%+v, %v", id, err)
	}
	noVHost := login("alice", "correct horse", remote)
	noVHost.VHost = ""
	if _, err := a.login(noVHost); err != nil {
		t.Errorf("without a vhost: %v", err)
	}

	elsewhere := login("alice", "correct horse", remote)
	elsewhere.VHost = "play"
	noUser := login("", "correct horse", remote)
	noPassword := login("alice", "", remote)
	noPassword.HasPassword = false
	for name, w := range map[string]struct {
		c    *core.Credentials
		want error
	}{
		"wrong password":     {login("alice", "correct horsE", remote), core.ErrBadCredentials},
		"password with NUL":  {login("alice", "correct horse\x00", remote), core.ErrBadCredentials},
		"unknown user":       {login("bob", "correct horse", remote), core.ErrBadCredentials},
		"name in capitals":   {login("Alice", "correct horse", remote), core.ErrBadCredentials},
		"the hash itself":    {login("alice", hash, remote), core.ErrBadCredentials},
		"empty password":     {login("alice", "", remote), core.ErrBadCredentials},
		"no password":        {noPassword, core.ErrBadCredentials},
		"empty user name":    {noUser, core.ErrBadCredentials},
		"wrong vhost":        {elsewhere, core.ErrNotAuthorized},
		"anonymous":          {anonymous(local), core.ErrBadCredentials},
		"guest is not there": {login("guest", "guest", local), core.ErrBadCredentials},
	} {
		if id, err := a.login(w.c); !errors.Is(err, w.want) || id != (core.Identity{}) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	// An unknown user is told the same as a known one.
	_, one := a.login(login("alice", "x", remote))
	_, two := a.login(login("bob", "x", remote))
	if one.Error() != two.Error() {
		t.Errorf("%v and %v", one, two)
	}
}

func TestLoopback(t *testing.T) {
	a := mustNew(t, DefaultConfig())
	own, err := HashPassword([]byte("guest")) // the default password, hashed by somebody
	if err != nil {
		t.Fatal(err)
	}
	b := mustNew(t, Config{Users: map[string]User{"guest": {Password: own}}, Anonymous: Anonymous{Enabled: true}})
	for peer, here := range map[string]bool{
		"127.0.0.1": true, "127.255.0.9": true, "::1": true, "::ffff:127.0.0.1": true, "::ffff:127.1.2.3": true,
		"192.0.2.1": false, "10.0.0.1": false, "0.0.0.0": false, "128.0.0.1": false, "126.255.255.255": false,
		"::": false, "::2": false, "2001:db8::1": false, "fe80::1%eth0": false, "fd00::1": false,
		"::ffff:10.0.0.1": false, "::ffff:0.0.0.0": false, "::127.0.0.1": false, "64:ff9b::7f00:1": false, "::1:1": false,
		"": false, // unknown, or hidden by a proxy
	} {
		var from netip.AddrPort
		if peer != "" {
			from = netip.AddrPortFrom(netip.MustParseAddr(peer), 50000)
		}
		if _, err := a.login(anonymous(from)); (err == nil) != here || err != nil && !errors.Is(err, core.ErrBadCredentials) {
			t.Errorf("anonymous from %q: %v", peer, err)
		}
		for _, auth := range []*Auth{a, b} {
			if _, err := auth.login(login("guest", "guest", from)); (err == nil) != here || err != nil && !errors.Is(err, core.ErrNotAuthorized) {
				t.Errorf("guest from %q: %v", peer, err)
			}
		}
		if _, err := b.login(anonymous(from)); err != nil {
			t.Errorf("anonymous from %q, by name: %v", peer, err)
		}
	}
	// After a login from here, the remembered verdict lets nobody in from there.
	if _, err := a.login(login("guest", "guest", remote)); !errors.Is(err, core.ErrNotAuthorized) {
		t.Errorf("guest from afar: %v", err)
	}
	// A guest with a password of their own may come from anywhere.
	own, err = HashPassword([]byte("better"))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(Config{Users: map[string]User{"guest": {Password: own}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.login(login("guest", "better", remote)); err != nil {
		t.Error(err)
	}
}

func TestAnonymousIdentity(t *testing.T) {
	a := mustNew(t, Config{Anonymous: Anonymous{Enabled: true, VHosts: list("/")}})
	c := anonymous(remote)
	c.User = "alice"                                    // not given: HasUser is false
	c.HasPassword, c.Password = true, []byte("of whom") // MQTT 5 allows it
	id, err := a.login(c)
	if err != nil || !id.Anonymous || id.User != "" || id.ClientID != "c1" {
		t.Errorf("%+v, %v", id, err)
	}
	c.VHost = "prod"
	if _, err := a.login(c); !errors.Is(err, core.ErrNotAuthorized) {
		t.Errorf("into another vhost: %v", err)
	}
}

// Quick answers exactly what needs no hash.
func TestAuthenticateQuick(t *testing.T) {
	a, w := timed(t, "right", map[string]time.Duration{"alice": 0})
	quick := func(c *core.Credentials) (bool, error) {
		t.Helper()
		before := w["alice"].runs.Load()
		_, err, answered := a.AuthenticateQuick(c)
		if w["alice"].runs.Load() != before {
			t.Error("a hash ran")
		}
		return answered, err
	}
	for _, c := range []*core.Credentials{anonymous(local), login("alice", "", local), login("guest", "guest", remote)} {
		if answered, err := quick(c); !answered || err == nil {
			t.Errorf("%+v: answered %v, %v", c.Identity, answered, err)
		}
	}
	for _, c := range []*core.Credentials{login("alice", "right", local), login("alice", "wrong", local), login("bob", "right", local)} {
		if answered, err := quick(c); answered || err != nil {
			t.Errorf("%+v: answered %v, %v", c.Identity, answered, err)
		}
		a.login(c)
	}
	if answered, err := quick(login("alice", "right", remote)); !answered || err != nil {
		t.Errorf("a remembered password: answered %v, %v", answered, err)
	}
	// Neither a wrong password, even after a right one, nor an unknown user with
	// the password of the user they stand in for, is answered from memory.
	for _, c := range []*core.Credentials{login("alice", "wrong", local), login("bob", "right", local)} {
		if answered, _ := quick(c); answered {
			t.Errorf("%+v is answered", c.Identity)
		}
		if _, err := a.login(c); !errors.Is(err, core.ErrBadCredentials) {
			t.Errorf("%+v: %v", c.Identity, err)
		}
	}
	if err := a.Reload(Config{Users: map[string]User{"alice": {Password: guestHash}}}); err != nil {
		t.Fatal(err)
	}
	if answered, _ := quick(login("alice", "right", local)); answered {
		t.Error("a verdict outlived a reload")
	}
	if _, err := a.login(login("alice", "right", local)); !errors.Is(err, core.ErrBadCredentials) {
		t.Errorf("the old password after a reload: %v", err)
	}
}

// An unknown user costs one hash of somebody, a wrong password one of theirs;
// the time of an unknown user is that of one of the users, always the same one.
func TestUnknownUserTakesAsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := timed(t, "right", map[string]time.Duration{"quick": time.Millisecond, "slow": time.Second})
		takes := func(user string) time.Duration {
			t.Helper()
			start := time.Now()
			if _, err := a.login(login(user, "right?", local)); !errors.Is(err, core.ErrBadCredentials) {
				t.Errorf("%s: %v", user, err)
			}
			return time.Since(start)
		}
		seen := map[time.Duration]int{}
		for i := range 64 {
			name := fmt.Sprint("nobody", i)
			d := takes(name)
			seen[d]++
			if again := takes(name); again != d {
				t.Errorf("%s took %v, then %v", name, d, again)
			}
		}
		if len(seen) != 2 || seen[takes("quick")] == 0 || seen[takes("slow")] == 0 {
			t.Errorf("unknown users take %v", seen)
		}
	})
	// Nobody is configured: a hash is still there to be checked.
	a := mustNew(t, Config{})
	w := &stopwatch{right: "x"}
	a.policy.Load().decoys[0].hash = w
	if _, err := a.login(login("x", "x", local)); !errors.Is(err, core.ErrBadCredentials) || w.runs.Load() != 1 {
		t.Errorf("%v, %d hashes", err, w.runs.Load())
	}
	if newDecoy().verify([]byte("guest")) {
		t.Error("the decoy has a password")
	}
}

func TestThousandLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const logins, takes = 1000, 20 * time.Millisecond
		cores := runtime.NumCPU()
		a, w := timed(t, "right", map[string]time.Duration{"alice": takes})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range logins {
			wg.Go(func() {
				if _, err := a.login(login("alice", fmt.Sprint("guess ", i), remote)); !errors.Is(err, core.ErrBadCredentials) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		watch := w["alice"]
		if most := watch.most.Load(); most > int64(cores) || most != int64(cap(a.slots)) {
			t.Errorf("%d hashes at once on %d cores", most, cores)
		}
		if n := watch.runs.Load(); n != logins {
			t.Errorf("%d hashes for %d wrong passwords", n, logins)
		}
		if d, want := time.Since(start), takes*time.Duration((logins+cap(a.slots)-1)/cap(a.slots)); d != want {
			t.Errorf("took %v, want %v", d, want)
		}

		// The same number with the right password: one hash for each place,
		// whoever waited behind finds the verdict.
		watch.runs.Store(0)
		for range logins {
			wg.Go(func() {
				if _, err := a.login(login("alice", "right", remote)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := watch.runs.Load(); n > int64(cap(a.slots)) {
			t.Errorf("%d hashes for one password", n)
		}
	})
}

func TestWaitingLoginGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, w := timed(t, "right", map[string]time.Duration{"alice": time.Hour})
		var wg sync.WaitGroup
		for range cap(a.slots) {
			wg.Go(func() { a.login(login("alice", "wrong", remote)) })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := a.Authenticate(ctx, login("alice", "right", remote))
		if !errors.Is(err, core.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		wg.Wait()
		// Given up before it began: no hash although there is a place.
		before := w["alice"].runs.Load()
		if _, err := a.Authenticate(ctx, login("alice", "right", remote)); !errors.Is(err, core.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		if w["alice"].runs.Load() != before || len(a.slots) != 0 {
			t.Error("a hash ran, or a place was kept")
		}
	})
}

// What counts is the configuration in force when the hash is done.
func TestReloadDuringLogin(t *testing.T) {
	other, err := HashPassword([]byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		next Config
		want error
	}{
		"user gone":        {Config{}, core.ErrBadCredentials},
		"password changed": {Config{Users: map[string]User{"alice": {Password: other}}}, core.ErrBadCredentials},
		"vhost closed":     {Config{Users: map[string]User{"alice": {Password: guestHash, VHosts: list()}}}, core.ErrNotAuthorized},
		"nothing changed":  {Config{Users: map[string]User{"alice": {Password: guestHash}}}, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			a, _ := timed(t, "right", map[string]time.Duration{"alice": time.Second})
			done := make(chan error)
			go func() {
				_, err := a.login(login("alice", "right", remote))
				done <- err
			}()
			synctest.Wait()
			if err := a.Reload(c.next); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// Questions, logins and reloads at once, for the race detector: an answer is
// that of one policy or the other, never of a mixture.
func TestConcurrentUse(t *testing.T) {
	odd := with(list("write odd/#"))
	even := with(list("write even/#"))
	a := mustNew(t, odd)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a.AuthenticateQuick(login("alice", "wrong", remote))
				a.may(me, sub, "odd/#")
				if a.may(me, pub, "both/x") || a.may(me, recv, "odd/x") {
					t.Error("a right of neither")
				}
			}
		})
	}
	for i := range 500 {
		next := []Config{odd, even}[i%2]
		if err := a.Reload(next); err != nil {
			t.Error(err)
		}
		if a.may(me, pub, "odd/x") == a.may(me, pub, "even/x") {
			t.Error("rights of both, or none")
		}
	}
	close(stop)
	wg.Wait()
}

func BenchmarkLogin(b *testing.B) {
	a := mustNew(b, DefaultConfig())
	c := login("guest", "guest", local)
	if _, err := a.login(c); err != nil {
		b.Fatal(err)
	}
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err, answered := a.AuthenticateQuick(c); err != nil || !answered {
				b.Fatal(err, answered)
			}
		}
	})
	b.Run("anonymous", func(b *testing.B) {
		c := anonymous(local)
		b.ReportAllocs()
		for b.Loop() {
			a.AuthenticateQuick(c)
		}
	})
}
