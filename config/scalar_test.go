package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

func TestSize(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  int64
		canon string
	}{
		{"0", 0, "0"},
		{"1", 1, "1"},
		{"1000", 1000, "1KB"},
		{"1023", 1023, "1023"},
		{"1024", 1024, "1KiB"},
		{"64KiB", 65536, "64KiB"},
		{"64 kib", 65536, "64KiB"},
		{"256MB", 256e6, "256MB"},
		{"1024000", 1024000, "1000KiB"},
		{"1.5GiB", 3 << 29, "1536MiB"},
		{"0.5KB", 500, "500"},
		{"3TB", 3e12, "3TB"},
		{"8191TiB", 8191 << 40, "8191TiB"},
		{"9223372036854775807", math.MaxInt64, "9223372036854775807"},
		{"12B", 12, "12"},
	} {
		var s Size
		if err := s.UnmarshalText([]byte(c.text)); err != nil || int64(s) != c.want || s.String() != c.canon {
			t.Errorf("%q: %d, %v, prints %s", c.text, int64(s), err, s)
		}
	}
	for _, text := range []string{"", "-1", "+1", "KiB", "1K", "1 2", "1.KiB", ".5KiB", "1.2.3", "0.1KiB", "1e3",
		"1/2", "0x10", "9223372036854775808", "8388608TiB", "99999999TiB", "1_000", "1PiB", strings.Repeat("9", 1000)} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %d", text, int64(s))
		}
	}
}

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  time.Duration
		canon string
	}{
		{"0", 0, "0s"},
		{"0s", 0, "0s"},
		{"never", math.MaxInt64, "never"},
		{"10s", 10 * time.Second, "10s"},
		{"90s", 90 * time.Second, "1m30s"},
		{"30m", 30 * time.Minute, "30m"},
		{"1h0m5s", time.Hour + 5*time.Second, "1h0m5s"},
		{"12h", 12 * time.Hour, "12h"},
		{"7d", 7 * day, "7d"},
		{"36h", 36 * time.Hour, "1d12h"},
		{"1d0.5h", day + 30*time.Minute, "1d30m"},
		{"1.5s", 1500 * time.Millisecond, "1.5s"},
		{"106751d", 106751 * day, "106751d"},
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(c.text)); err != nil || time.Duration(d) != c.want || d.String() != c.canon {
			t.Errorf("%q: %d, %v, prints %s", c.text, int64(d), err, d)
		}
	}
	for _, text := range []string{"", "10", "-1s", "+1s", "1d-1h", "1d+1h", "d", "1.5d", "1w", "Never", "106752d",
		"106751d24h", "300000h1000000h10000000h", "1e3", "99999999999999999999d", "1 d", "inf"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %d", text, int64(d))
		}
	}
}

// TestSecretIsHidden tries every way in which a value usually reaches a log.
func TestSecretIsHidden(t *testing.T) {
	type holder struct {
		S Secret
		P *Secret
		M map[string]Secret
	}
	s := Secret("hunter2")
	h := holder{s, &s, map[string]Secret{"k": s}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %t"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", []Secret{s})
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s, "h", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "s", s, "h", h)
	if err := json.NewEncoder(&out).Encode(h); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Dump(h)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	out.WriteString(s.String() + s.GoString())
	if got := out.String(); strings.Contains(got, "hunter2") || strings.Contains(got, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("leaked:\n%s", got)
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"info": "info", "./naru-data": "./naru-data", "/var/lib": "/var/lib", "../x": "../x",
		"": `""`, "null": `"null"`, "No": `"No"`, "~": `"~"`, "1": `"1"`, ".5": `".5"`, ".inf": `".inf"`,
		"a b": `"a b"`, "a:b": `"a:b"`, "a#b": `"a#b"`, "a\n": `"a\n"`, "-": `"-"`, "*a": `"*a"`, "***": `"***"`, "Zürich": `"Zürich"`,
	} {
		if got := quote(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestSuggestions(t *testing.T) {
	names := []string{"data_dir", "log", "max_packet_size", "listeners"}
	for word, want := range map[string]string{
		"datadir": "data_dir", "data-dir": "data_dir", "lgo": "log", "max_packet_siez": "max_packet_size",
		"maxpacketsize": "max_packet_size", "listener": "listeners", "DATA_DIR": "data_dir",
		"x": "", "lo": "", "tls": "", "": "", strings.Repeat("l", 1000): "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("%.20s: got %q, want %q", word, got, want)
		}
	}
}

func TestSplitSet(t *testing.T) {
	for arg, want := range map[string]string{
		"a=b": `["a"] "b"`, "a.b=c=d": `["a" "b"] "c=d"`, `a."b.c=d".e=f`: `["a" "b.c=d" "e"] "f"`, `"\"".x=`: `["\"" "x"] ""`,
		"a": "no", "a.b": "no", `"a`: "no", `"a"b=c`: "no", "": "no",
	} {
		segments, value, ok := splitSet(arg)
		got := "no"
		if ok {
			got = fmt.Sprintf("%q %q", segments, value)
			if again, _, _ := splitSet(joinAll("", segments) + "="); fmt.Sprint(again) != fmt.Sprint(segments) {
				t.Errorf("%s: the path reads back as %q", arg, again)
			}
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", arg, got, want)
		}
	}
}
