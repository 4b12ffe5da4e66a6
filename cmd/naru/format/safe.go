package format

import (
	"unicode/utf8"
)

// AppendSafe appends text with what could steer a terminal, or deceive its reader,
// made visible: control characters (those of ISO 8859-1 above 127 too, which some
// terminals obey), bytes that are not UTF-8, and marks that turn the direction of
// writing around. lines says that line ends and tabulators may stay.
func AppendSafe(b, text []byte, lines bool) []byte {
	const digits = "0123456789abcdef"
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case lines && (r == '\n' || r == '\t'):
			b = append(b, byte(r))
		case r == utf8.RuneError && n == 1, r < 0x20, r == 0x7f:
			b = append(b, '\\', 'x', digits[text[0]>>4], digits[text[0]&15])
		case steers(r):
			b = append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
		default:
			b = append(b, text[:n]...)
		}
		text = text[n:]
	}
	return b
}

// steers says whether a character above ASCII does something to what is around it.
func steers(r rune) bool {
	switch {
	case r >= 0x80 && r < 0xa0: // C1
		return true
	case r == 0x61c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // directions
		return true
	case r == 0x2028, r == 0x2029: // line and paragraph
		return true
	}
	return false
}
