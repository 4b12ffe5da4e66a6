package config

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

const full = `
data_dir: "C:\\naru\tdata # x"
log: {level: debug}
mqtt:
  max_packet_size: 64KiB
  keep_alive: never
  nice: 3
  motto: "null"
  source: ::1
  password: hunter2
  pin: 1234
  keys: [hunter3, hunter4]
  listeners:
    - address: ":1883"
    - {address: ":8883", mode: tls, tls: {cert: c.pem, key: hunter5}}
  limits: {rate: 5}
vhosts: {/: {policy: {max_length: 5}}, "": {}, "a: b": {}}
users:
  alice: {password: hunter6, tags: [admin, "x, y", "- z", "", null and void]}
  "a.b": {}
labels: {"yes": "no", "multi\nline": "x\ny", "über": "\u2028\ufeff\x00\U0001F600"}
tokens: {ci: hunter7, empty: ""}
matrix: [[], [a, "b]"], ["***"]]
grid: [[{x: 1}, {y: 2}], [{x: 3}], []]
groups: {a: [b, c], d: []}
`

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile("testdata/"+name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestPrint(t *testing.T) {
	first := newTree()
	r, err := loadText(first, full, Sources{Env: []string{"NARU_LOG__FORMAT=json"}, Set: []string{"mqtt.small=5"}})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "print.yaml", out.String())
	if strings.Contains(out.String(), "hunter") || strings.Contains(out.String(), "1234") {
		t.Error("a secret is printed")
	}
	secrets := []string{"password", "pin", "escrow", "keys", "key", "ci", "empty"}
	for _, v := range r.Values {
		if strings.Contains(v.Value, "hunter") || v.Secret != slices.Contains(secrets, v.Path[strings.LastIndexByte(v.Path, '.')+1:]) {
			t.Errorf("value %+v", v)
		}
	}

	// What was printed gives the same again, except for secrets, of which none
	// becomes "***".
	second := newTree()
	r, err = loadText(second, out.String(), Sources{})
	if err != nil {
		t.Fatal(err)
	}
	secret := map[string]bool{}
	for _, v := range r.Values {
		secret[v.Path] = v.Secret
	}
	for _, c := range Diff(first, second) {
		if !secret[c.Path] {
			t.Errorf("%s was %s and became %s", c.Path, c.Old, c.New)
		}
	}
	if len(r.Warnings) != 6 || !strings.Contains(r.Warnings[0], `mqtt.password is "***", which stands for a secret`) {
		t.Errorf("warnings %q", r.Warnings)
	}
	if second.MQTT.Password != "" || second.Users["alice"].Password != "" || second.Tokens["ci"] != "" || second.MQTT.Keys != nil {
		t.Error("the mask became a secret")
	}
}

// FuzzLoad loads any text, and what is printed of it once more.
func FuzzLoad(f *testing.F) {
	for _, s := range []string{
		full, "", "mqtt: &a {limits: *a}", "matrix: &a [*a]", "users:\n  ? a\n  : {password: '***'}\n",
		"labels: {a: |\n  x\n, b: >-\n  y}", "groups: {\"\\x85\": ['\u00a0']}", "--- {}\n...\n", "%YAML 1.2\n---\nlog: {level: warn}",
		"mqtt:\n  timeouts: [0, 1ns, 106751d]\n  ratio: 1e300\n  max_packet_size: 9223372036854775807\n",
	} {
		f.Add([]byte(s))
	}
	cases, err := os.ReadFile("testdata/errors.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, c := range strings.Split(string(cases), "===") {
		f.Add([]byte(c))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		first, second := newTree(), newTree()
		r, err := loadText(first, string(text), Sources{})
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := r.Print(&out); err != nil {
			t.Fatal(err)
		}
		again, err := loadText(second, out.String(), Sources{})
		if err != nil {
			t.Fatalf("printed\n%s\nwhich does not load: %v", out.String(), err)
		}
		secret := map[string]bool{}
		for _, v := range again.Values {
			secret[v.Path] = v.Secret
		}
		for _, c := range Diff(first, second) {
			if !secret[c.Path] {
				t.Errorf("%s was %s and became %s in\n%s", c.Path, c.Old, c.New, out.String())
			}
		}
	})
}
