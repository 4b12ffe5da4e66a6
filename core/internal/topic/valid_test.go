package topic

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestValid(t *testing.T) {
	long := strings.Repeat("x", maxMQTT)
	tests := []struct {
		s             string
		filter, topic bool
	}{
		{"", false, false},
		{"a", true, true},
		{"/", true, true},
		{"//a/", true, true},
		{" ", true, true},
		{"a b/Ünïcode/日本/🙂", true, true},
		{"\ufeffa", true, true},
		{"\uffff\u0001\u007f", true, true}, // advised against, not forbidden
		{"$SYS/a", true, true},
		{long, true, true},
		{long + "x", false, false},
		{"a\x00b", false, false},
		{"\x00", false, false},
		{"a\xff", false, false},
		{"a\xc3", false, false},                 // cut off
		{"\xc0\x80", false, false},              // overlong U+0000
		{"\xed\xa0\x80", false, false},          // surrogate D800
		{"\xed\xbf\xbf/a", false, false},        // surrogate DFFF
		{"\xf4\x90\x80\x80", false, false},      // beyond U+10FFFF
		{"aaaaaaaaaaaaaaa\x80", false, false},   // beyond the first machine word
		{"aaaaaaaaaaaaaaaa\x00a", false, false}, // likewise
		{"#", true, false},
		{"+", true, false},
		{"/#", true, false},
		{"a/#", true, false},
		{"+/+/#", true, false},
		{"+/a/+", true, false},
		{"/+/", true, false},
		{"a#", false, false},
		{"#a", false, false},
		{"##", false, false},
		{"#/a", false, false},
		{"a/#/", false, false},
		{"a+", false, false},
		{"+a", false, false},
		{"++", false, false},
		{"a/+b/c", false, false},
		{"a/b+/c", false, false},
		{"+#", false, false},
		{"a/*/b.c", true, true},
	}
	for _, test := range tests {
		if got := ValidMQTTFilter([]byte(test.s)); got != test.filter {
			t.Errorf("ValidMQTTFilter(%.40q) = %v", test.s, got)
		}
		if got := ValidMQTTTopic([]byte(test.s)); got != test.topic {
			t.Errorf("ValidMQTTTopic(%.40q) = %v", test.s, got)
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, s := range []string{"", "a/+/b", "a/#", "#a", "é\x00", "\xed\xa0\x80", "日/本", "aaaaaaaaaaaaaaaaaaaaaaaaa\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := string(b)
		text := utf8.ValidString(s) && !strings.Contains(s, "\x00")
		if ValidUTF8(b) != text {
			t.Errorf("ValidUTF8(%q) = %v", s, !text)
		}
		size := s != "" && len(s) <= 65535
		if want := text && size && !strings.ContainsAny(s, "+#"); ValidMQTTTopic(b) != want {
			t.Errorf("ValidMQTTTopic(%q) = %v", s, !want)
		}
		filter := text && size
		levels := strings.Split(s, "/")
		for i, l := range levels {
			if strings.ContainsAny(l, "+#") && l != "+" && (l != "#" || i != len(levels)-1) {
				filter = false
			}
		}
		if ValidMQTTFilter(b) != filter {
			t.Errorf("ValidMQTTFilter(%q) = %v", s, !filter)
		}
		// In a valid filter, every wildcard character is a wildcard.
		if filter && MQTT.Wild(s) != strings.ContainsAny(s, "+#") {
			t.Errorf("Wild(%q) = %v", s, MQTT.Wild(s))
		}
	})
}
