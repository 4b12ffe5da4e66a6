package transport

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// A recordWriter writes records of TLS 1.3 by hand, because crypto/tls has no way
// to update keys when it likes. It takes the place of a client that has not
// written anything since its handshake.
type recordWriter struct {
	t      testing.TB
	c      io.Writer
	chacha bool
	secret []byte
	seq    uint64
}

// newRecordWriter finds the secret in a key log.
func newRecordWriter(t testing.TB, c io.Writer, suite uint16, keyLog string) *recordWriter {
	t.Helper()
	w := &recordWriter{t: t, c: c, chacha: suite == tls.TLS_CHACHA20_POLY1305_SHA256}
	if suite == tls.TLS_AES_256_GCM_SHA384 {
		t.Fatal("a suite with another hash")
	}
	for _, line := range strings.Split(keyLog, "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			var err error
			if w.secret, err = hex.DecodeString(f[2]); err != nil {
				t.Fatal(err)
			}
			return w
		}
	}
	t.Fatal("no secret in the key log")
	return nil
}

// expand is HKDF-Expand-Label of RFC 8446.
func (w *recordWriter) expand(label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{byte(n >> 8), byte(n), byte(len(label))}, label...)
	b, err := hkdf.Expand(sha256.New, w.secret, string(append(info, 0)), n)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// record encrypts one record.
func (w *recordWriter) record(kind byte, content []byte) []byte {
	var aead cipher.AEAD
	var err error
	if w.chacha {
		aead, err = chacha20poly1305.New(w.expand("key", 32))
	} else {
		var block cipher.Block
		if block, err = aes.NewCipher(w.expand("key", 16)); err == nil {
			aead, err = cipher.NewGCM(block)
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	nonce := w.expand("iv", 12)
	for i := range 8 {
		nonce[11-i] ^= byte(w.seq >> (8 * i))
	}
	w.seq++
	n := len(content) + 1 + aead.Overhead()
	head := []byte{23, 3, 3, byte(n >> 8), byte(n)}
	return aead.Seal(head, nonce, append(bytes.Clone(content), kind), head)
}

// update is a KeyUpdate that asks for one in return.
func (w *recordWriter) update() []byte {
	b := w.record(22, []byte{24, 0, 0, 1, 1})
	w.secret, w.seq = w.expand("traffic upd", 32), 0
	return b
}

func (w *recordWriter) data(b []byte) []byte { return w.record(23, b) }

// updater makes a client that writes records by hand.
func (b *tlsBox) updater() (*tlsClient, *recordWriter, *probe) {
	var keyLog bytes.Buffer
	c, h := b.dialTLS(func(c *tls.Config) { c.MinVersion, c.KeyLogWriter = tls.VersionTLS13, &keyLog })
	return c, newRecordWriter(b.t, c.NetConn(), c.ConnectionState().CipherSuite, keyLog.String()), h
}

// TestTLSKeyUpdate: keys may be updated now and then.
func TestTLSKeyUpdate(t *testing.T) {
	b := newTLSBox(t, nil)
	c, w, _ := b.updater()
	for range 100 {
		out := append(w.update(), w.data(frame('e', "with new keys"))...)
		if _, err := w.c.Write(out); err != nil {
			t.Fatal(err)
		}
		c.want("with new keys")
	}
}

// TestTLSKeyUpdateFlood: a client that does nothing else is ended. [SECURITY 29]
func TestTLSKeyUpdateFlood(t *testing.T) {
	b := newTLSBox(t, nil)
	_, w, h := b.updater()
	var flood []byte
	for range 1000 {
		flood = append(flood, w.update()...)
	}
	_, _ = w.c.Write(flood) // may be closed already
	if err := <-h.closed; err == nil || !strings.Contains(err.Error(), "non-advancing") {
		t.Errorf("it ended with %v", err)
	}
}

// TestTLSKeyUpdateUnread: a client that has keys updated between its packets, and
// does not read what comes in return, is ended when too much of that waits.
func TestTLSKeyUpdateUnread(t *testing.T) {
	b := newTLSBox(t, nil, func(o *boxOptions) { o.AuthTimeout = time.Hour })
	_, w, h := b.updater()
	wire := h.conn.wire()
	// Otherwise the kernel takes megabytes. The buffer on the other side is left as
	// it is: a window that shrinks can stop a connection in both directions.
	if err := wire.Conn.(*net.TCPConn).SetWriteBuffer(4096); err != nil {
		t.Fatal(err)
	}
	// As if it had gone on for a long time: a million bytes of answers take a
	// slow machine a minute. The client reads neither them nor these.
	wire.mu.Lock()
	wire.mu.rest = append(wire.mu.rest, make([]byte, maxRest-bigBuffer)...)
	wire.mu.Unlock()
	quiet := frame('s', "")
	most := 0
	for end := false; !end; {
		var flood []byte
		for range 200 {
			flood = append(append(flood, w.update()...), w.data(quiet)...)
		}
		_, err := w.c.Write(flood)
		wire.mu.Lock()
		most = max(most, len(wire.mu.rest))
		wire.mu.Unlock()
		end = err != nil || len(h.closed) > 0
	}
	if most > maxRest {
		t.Errorf("%d bytes waited", most)
	}
	h.ended(errUnread)
}
