package transport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A keyring holds what the files of a listener say, and reads them again when
// they have changed. Nothing runs for it: it looks when a client comes.
type keyring struct {
	address string // of the listener, as configured
	cfg     TLS
	log     *slog.Logger
	base    *tls.Config // asks for the one in force
	now     atomic.Pointer[tls.Config]

	mu struct {
		sync.Mutex
		looked time.Time
		seen   []os.FileInfo // of the last attempt, nil for a file that was not there
	}
}

// lookInterval is how often files are looked at, at most.
const lookInterval = time.Second

func newKeyring(address string, cfg TLS, log *slog.Logger) (*keyring, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	k := &keyring{address: address, cfg: cfg.withDefaults(), log: log.With("listener", address)}
	k.base = &tls.Config{MinVersion: minVersions[k.cfg.MinVersion], GetConfigForClient: k.forClient}
	k.mu.looked, k.mu.seen = time.Now(), k.stat()
	c, doubts, err := k.cfg.load()
	if err != nil {
		return nil, err
	}
	k.now.Store(c)
	k.warn(doubts)
	return k, nil
}

func (k *keyring) forClient(*tls.ClientHelloInfo) (*tls.Config, error) {
	k.look()
	return k.now.Load(), nil
}

// look reads the files again if they have changed. What is wrong with them is
// told once, and not to every client.
func (k *keyring) look() {
	if !k.mu.TryLock() {
		return // somebody else looks
	}
	defer k.mu.Unlock()
	if time.Since(k.mu.looked) < lookInterval {
		return
	}
	k.mu.looked = time.Now()
	if seen := k.stat(); !same(seen, k.mu.seen) {
		k.mu.seen = seen
		if err := k.replaceLocked(true); err != nil {
			k.log.Error("certificates not reloaded, the old ones stay in force", "err", err)
		}
	}
}

// reload reads the files again, changed or not. Its error is the caller's to tell:
// clients find nothing new in the same files.
func (k *keyring) reload() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen := k.stat()
	changed := !same(seen, k.mu.seen)
	k.mu.looked, k.mu.seen = time.Now(), seen
	if err := k.replaceLocked(changed); err != nil {
		return fmt.Errorf("listener %s: %w", k.address, err)
	}
	return nil
}

// replaceLocked reads the files, and keeps what it has if they are no good.
// changed says whether it is news that they are.
func (k *keyring) replaceLocked(changed bool) error {
	c, doubts, err := k.cfg.load()
	if err != nil {
		return err
	}
	k.now.Store(c)
	if changed {
		k.log.Info("certificates reloaded", "valid_until", c.Certificates[0].Leaf.NotAfter)
		k.warn(doubts)
	}
	return nil
}

func (k *keyring) warn(doubts []string) {
	for _, d := range doubts {
		k.log.Warn("a certificate is not valid now", "which", d)
	}
}

func (k *keyring) files() []string {
	var all []string
	for _, p := range k.cfg.pairs() {
		all = append(all, p.Cert, p.Key)
	}
	if k.cfg.ClientCA != "" {
		all = append(all, k.cfg.ClientCA)
	}
	return all
}

func (k *keyring) stat() []os.FileInfo {
	var all []os.FileInfo
	for _, name := range k.files() {
		st, _ := os.Stat(name) // one that is not there is told of by load
		all = append(all, st)
	}
	return all
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) {
			return false
		}
		if a[i] != nil && (!os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime())) {
			return false
		}
	}
	return true
}

// CheckFiles reads the files as a listener does when it is opened. The error is
// what it would not be opened for, in all of them; doubts are what it would be
// opened with all the same, and of no use: certificates that are not valid now.
func (t TLS) CheckFiles() (doubts []string, err error) {
	_, doubts, err = t.withDefaults().load()
	return doubts, err
}

// load makes a configuration of what the files say now. See CheckFiles for doubts.
func (t TLS) load() (c *tls.Config, doubts []string, err error) {
	c = &tls.Config{
		MinVersion: minVersions[t.MinVersion],
		ClientAuth: clientAuths[t.ClientAuth],
		// Each client shows its certificate each time: whether a resumed session
		// is held against a client_ca that has changed since is then no question.
		SessionTicketsDisabled: t.ClientAuth != "none",
		// Small records first serve browsers that draw while a page arrives;
		// here the packet is of use when it is whole.
		DynamicRecordSizingDisabled: true,
	}
	var errs []error
	for _, p := range t.pairs() {
		pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("certificate %s with key %s: %w", p.Cert, p.Key, err))
			continue
		}
		c.Certificates = append(c.Certificates, pair)
		for i, der := range pair.Certificate {
			cert, err := x509.ParseCertificate(der)
			if err == nil {
				err = inTime(cert)
			}
			if err != nil {
				doubts = append(doubts, fmt.Sprintf("certificate %s, number %d in it: %v", p.Cert, i+1, err))
			}
		}
	}
	if t.ClientCA != "" {
		all, err := loadAuthorities(t.ClientCA)
		if err != nil {
			errs = append(errs, fmt.Errorf("client_ca %s: %w", t.ClientCA, err))
		}
		c.ClientCAs = x509.NewCertPool()
		for i, cert := range all {
			c.ClientCAs.AddCert(cert)
			if err := inTime(cert); err != nil {
				doubts = append(doubts, fmt.Sprintf("client_ca %s, number %d in it: %v", t.ClientCA, i+1, err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, doubts, err
	}
	return c, doubts, nil
}

// inTime says why a certificate is not valid now, as far as time goes.
func inTime(c *x509.Certificate) error {
	switch now := time.Now(); {
	case now.After(c.NotAfter):
		return fmt.Errorf("%s has expired at %s", c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("%s is not valid before %s", c.Subject, c.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// loadAuthorities reads a file of certificates, and takes all of them or none:
// x509.CertPool would pass over what it cannot read.
func loadAuthorities(name string) (certs []*x509.Certificate, err error) {
	all, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	n, rest := 0, all
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		n++
		if b.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is a %s, not a certificate", n, b.Type)
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", n, err)
		}
		if !cert.IsCA {
			return nil, fmt.Errorf("certificate %d (%s) is not one of an authority", n, cert.Subject)
		}
		certs = append(certs, cert)
	}
	switch {
	case n == 0:
		return nil, errors.New("there is no certificate in it")
	case n != bytes.Count(all, []byte("-----BEGIN")): // pem passes over it as well
		return nil, errors.New("a part of it is no PEM")
	}
	return certs, nil
}
