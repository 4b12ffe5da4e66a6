package props

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestCut has characters of each width lie across the border.
func TestCut(t *testing.T) {
	for _, c := range []string{"é", "€", "😀", "\u0301"} {
		for n := 250; n <= 256; n++ {
			s := strings.Repeat("x", n) + strings.Repeat(c, 3)
			got := cut(s)
			if got > 255 || got < 252 || !utf8.ValidString(s[:got]) || got != cut([]byte(s)) {
				t.Errorf("%d and %q: cut at %d", n, c, got)
			}
			// It is the longest: one character more would not fit.
			if _, w := utf8.DecodeRuneInString(s[got:]); got+w <= 255 {
				t.Errorf("%d and %q: cut at %d, %d more would fit", n, c, got, w)
			}
		}
	}
	if got := cut(strings.Repeat("\x80", 300)); got != 255 {
		t.Errorf("what is not text is cut at %d", got)
	}
}
