// Package octets lets tests of codecs write bytes as a reader of the protocol's
// text sees them: hexadecimal digits, and text in single quotes, as in
// "10 0c 0004 'MQTT'".
package octets

import (
	"encoding/hex"
	"strings"
	"testing"
)

// Of returns the bytes that s stands for, and fails the test if s stands for none.
func Of(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			t.Fatalf("bytes %q: %v", s, err)
		}
		out = append(out, b...)
	}
	return out
}
