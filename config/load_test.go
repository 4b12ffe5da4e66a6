package config

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// value is the report's entry for path.
func value(t *testing.T, r *Report, path string) Value {
	t.Helper()
	for _, v := range r.Values {
		if v.Path == path {
			return v
		}
	}
	t.Fatalf("the report has no %s", path)
	return Value{}
}

func TestPrecedence(t *testing.T) {
	const file = `
data_dir: from-file
log: {level: debug}
mqtt:
  max_inflight: 1
  small: 1
`
	tr := newTree()
	r, err := loadText(tr, file, Sources{
		Env: []string{"NARU_MQTT__MAX_INFLIGHT=2", "naru_mqtt__small=2", "PATH=/bin", "NARUTO=1"},
		Set: []string{"mqtt.small=3", "mqtt.small=4"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Value{
		{"log.format", "text", "default", false},
		{"data_dir", "from-file", "naru.yaml:2", false},
		{"log.level", "debug", "naru.yaml:3", false},
		{"mqtt.max_inflight", "2", "environment NARU_MQTT__MAX_INFLIGHT", false},
		{"mqtt.small", "4", "--set", false},
	} {
		if got := value(t, r, want.Path); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if tr.MQTT.Small != 4 || tr.MQTT.MaxInflight != 2 || tr.DataDir != "from-file" || tr.Log.Level != "debug" {
		t.Errorf("loaded %+v", tr)
	}
}

func TestTypes(t *testing.T) {
	const file = `
mqtt:
  max_packet_size: 1.5GiB
  keep_alive: never
  expiry: 1d12h
  buffer: 256MB
  small: -0x10
  ratio: 1e-3
  anonymous: True
  versions: [3.1, "5"]
  timeouts: [0, 1h30m, 250ms]
  nice: "7"
  motto: null
  source: 192.0.2.1
  password: 12345
  keys: &keys [a, 'b: c']
  listeners: []
  limits: {}
  chunk: 2147483647
  huge: 18446744073709551615
labels: {Yes: no, "a b": ~a}
matrix: [[], [a], *keys]
groups: {a: *keys}
`
	tr := newTree()
	if _, err := loadText(tr, file, Sources{}); err != nil {
		t.Fatal(err)
	}
	m := &tr.MQTT
	for _, c := range []struct{ got, want any }{
		{m.MaxPacketSize, int64(3) << 29},
		{m.KeepAlive, never},
		{m.Expiry, Duration(36 * time.Hour)},
		{m.Buffer, Size(256e6)},
		{m.Small, int8(-16)},
		{m.Ratio, 1e-3},
		{m.Anonymous, true},
		{m.Versions, []string{"3.1", "5"}},
		{m.Timeouts, []Duration{0, Duration(90 * time.Minute), Duration(250 * time.Millisecond)}},
		{*m.Nice, 7},
		{m.Motto, (*string)(nil)},
		{m.Source.String(), "192.0.2.1"},
		{m.Password, "12345"},
		{m.Keys, []Secret{"a", "b: c"}},
		{len(m.Listeners), 0},
		{*m.Limits, limits{Rate: 10, Burst: 20}},
		{tr.Labels, map[string]string{"Yes": "no", "a b": "~a"}},
		{tr.Matrix, [][]string{{}, {"a"}, {"a", "b: c"}}},
		{tr.Groups, map[string][]string{"a": {"a", "b: c"}}},
		{len(tr.Users), 1},
		{m.Chunk, int32(math.MaxInt32)},
		{m.Huge, uint64(math.MaxUint64)},
		{m.hidden, 0},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("got %#v, want %#v", c.got, c.want)
		}
	}
}

func TestEmptyFiles(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "{}", "mqtt:\nlog: ~\n", "\ufeff"} {
		tr := newTree()
		if _, err := loadText(tr, text, Sources{}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if d := Diff(newTree(), tr); d != nil {
			t.Errorf("%q changes %v", text, d)
		}
	}
}

// TestElements is about one element of a list or map set from outside.
func TestElements(t *testing.T) {
	tr := newTree()
	shared := tr.MQTT.Listeners
	guest := tr.Users
	r, err := loadText(tr, "mqtt: {ports: [1, 2]}\nusers: {Alice: {tags: [a]}}\n", Sources{
		Env: []string{
			"NARU_MQTT__TIMEOUTS__10=10s", // ordered by number, not by text
			"NARU_MQTT__TIMEOUTS__9=9s", "NARU_MQTT__TIMEOUTS__8=8s", "NARU_MQTT__TIMEOUTS__7=7s",
			"NARU_MQTT__TIMEOUTS__6=6s", "NARU_MQTT__TIMEOUTS__5=5s", "NARU_MQTT__TIMEOUTS__4=4s",
			"NARU_MQTT__TIMEOUTS__3=3s", "NARU_MQTT__TIMEOUTS__2=2s", "NARU_MQTT__TIMEOUTS__1=1s",
			"NARU_MQTT__TIMEOUTS=[0]", // the list before its elements
			"NARU_USERS__ALICE__PASSWORD= p@ss: #1'", "NARU_USERS__BOB__TAGS=[x]",
			"NARU_MQTT__LISTENERS__0__ADDRESS=:1", "NARU_MQTT__LISTENERS__1={address: ':2', tls: {cert: c}}",
		},
		Set: []string{
			`users."a.b".password="quoted"=`, "mqtt.ports.1=3", "mqtt.listeners.1.tls=null",
			"mqtt.limits.burst=99", "mqtt.motto=null", "labels={x: y}", "labels.z=[literal]", "vhosts./.policy.max_length=5",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Value{
		{"mqtt.timeouts", "[0s, 1s, 2s, 3s, 4s, 5s, 6s, 7s, 8s, 9s, 10s]", "environment NARU_MQTT__TIMEOUTS__10", false},
		{"mqtt.ports", "[1, 3]", "--set", false},
		{"mqtt.listeners.0.address", `":1"`, "environment NARU_MQTT__LISTENERS__0__ADDRESS", false},
		{"mqtt.listeners.0.max_conns", "1000", "default", false},
		{"mqtt.listeners.1.address", `":2"`, "environment NARU_MQTT__LISTENERS__1", false},
		{"mqtt.listeners.1.backlog", "128", "default", false},
		{"mqtt.listeners.1.mode", "tcp", "default", false},
		{"mqtt.listeners.1.tls", "null", "--set", false},
		{"mqtt.limits.rate", "10", "default", false},
		{"mqtt.limits.burst", "99", "--set", false},
		{"users.Alice.tags", "[a]", "naru.yaml:2", false},
		{"users.Alice.password", `"***"`, "environment NARU_USERS__ALICE__PASSWORD", true},
		{"users.bob.tags", "[x]", "environment NARU_USERS__BOB__TAGS", false},
		{`users."a.b".password`, `"***"`, "--set", true},
		{"labels.x", `"y"`, "--set", false},
		{"labels.z", `"[literal]"`, "--set", false},
		{"vhosts./.policy.max_length", "5", "--set", false},
	} {
		if got := value(t, r, want.Path); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if p := tr.Users["Alice"].Password; p != " p@ss: #1'" {
		t.Errorf("the password became %q", string(p))
	}
	if p := tr.Users["a.b"].Password; p != `"quoted"=` {
		t.Errorf("the password became %q", string(p))
	}
	if shared[0].Address != "127.0.0.1:1883" || len(guest) != 1 {
		t.Error("loading wrote through a default")
	}
}

// TestForgottenOrigins replaces a list whose elements came from the file.
func TestForgottenOrigins(t *testing.T) {
	const file = "mqtt:\n  listeners:\n    - {address: a, backlog: 5}\n  limits: {rate: 3}\n"
	r, err := loadText(newTree(), file, Sources{Set: []string{
		"mqtt.listeners=[{address: b}]", "mqtt.limits=null", "mqtt.limits.burst=30",
		"log={level: warn}",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for path, origin := range map[string]string{
		"mqtt.listeners.0.address": "--set", "mqtt.listeners.0.backlog": "default",
		"mqtt.limits.rate": "default", "mqtt.limits.burst": "--set",
		"log.level": "--set", "log.format": "default",
	} {
		if got := value(t, r, path); got.Origin != origin {
			t.Errorf("%s: origin %q, want %q", path, got.Origin, origin)
		}
	}
}

func TestKubernetesVariables(t *testing.T) {
	env := []string{
		"NARU_CONFIG=/etc/naru.yaml", "NARU_USER=alice", "NARU_PASSWORD=secret",
		"NARU_SERVICE_HOST=10.0.0.1", "NARU_SERVICE_PORT=1883", "NARU_SERVICE_PORT_MQTT_TLS=8883",
		"NARU_PORT=tcp://10.0.0.1:1883", "NARU_PORT_1883_TCP=tcp://10.0.0.1:1883",
		"NARU_PORT_1883_TCP_ADDR=10.0.0.1", "NARU_PORT_1883_TCP_PORT=1883", "NARU_PORT_1883_TCP_PROTO=tcp",
		"NARU_MANAGEMENT_SERVICE_HOST=10.0.0.2", "NARU_MANAGEMENT_PORT=tcp://10.0.0.2:15672",
	}
	if _, err := Load(newTree(), Sources{Env: env}); err != nil {
		t.Error(err)
	}
	for _, v := range []string{"NARU_PORT=1883", "NARU_CONFIGS=x", "NARU_MQTT__SERVICE_PORT=1", "NARU_MQTT__X_PORT=tcp://a"} {
		if _, err := Load(newTree(), Sources{Env: []string{v}}); err == nil {
			t.Errorf("%s is ignored", v)
		}
	}
}

// TestNotUTF8 keeps what could not be printed and read again out of the tree.
func TestNotUTF8(t *testing.T) {
	_, err := Load(newTree(), Sources{
		Env: []string{"NARU_DATA_DIR=\xff", "NARU_LABELS__\xff=x"},
		Set: []string{"data_dir=\xff", `labels."\xff"=x`},
	})
	if got := fmt.Sprint(err); strings.Count(got, "not valid UTF-8") != 4 || !utf8.ValidString(got) {
		t.Error(got)
	}
}

func TestFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string, mode fs.FileMode) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("naru.yaml", "log: {level: debug}\n", 0o644)
	write("open.yaml", "users:\n  a: {password: x}\ntokens: {b: y, c: z, d: \"\"}\nmqtt: {keys: [k]}\n", 0o644)
	write("shut.yaml", "users:\n  a: {password: x}\n", 0o600)
	write("none.yaml", "users:\n  a: {password: \"\"}\n", 0o644)

	r, err := Load(newTree(), Sources{File: "naru.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if v := value(t, r, "log.level"); v.Origin != "naru.yaml:1" {
		t.Errorf("origin %q", v.Origin)
	}
	if _, err = Load(newTree(), Sources{File: "missing.yaml"}); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("a missing file: %v", err)
	}
	if _, err = Load(newTree(), Sources{File: "."}); err == nil {
		t.Error("a directory is a file")
	}
	if runtime.GOOS == "windows" {
		return
	}
	for name, want := range map[string][]string{
		"naru.yaml": nil, "shut.yaml": nil, "none.yaml": nil,
		"open.yaml": {"open.yaml holds secrets (users.a.password, tokens.b, tokens.c and 1 more) and its mode 0644 lets others read it: chmod 600 open.yaml"},
	} {
		r, err := Load(newTree(), Sources{File: name, Set: []string{"mqtt.password=x"}})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(r.Warnings, want) {
			t.Errorf("%s: warnings %q, want %q", name, r.Warnings, want)
		}
	}
}

func TestBounds(t *testing.T) {
	bomb := "groups:\n  a: &a [" + strings.Repeat("x,", 100) + "]\nmatrix: &b [" + strings.Repeat("*a,", 3000) + "]\n"
	self := "matrix: &a [*a, *a, *a, *a, *a]\n"
	nulls := "groups:\n  a: &a [" + strings.Repeat("~,", 50_000) + "]\nmatrix: &b [" + strings.Repeat("*a,", 50_000) + "]\n"
	keys := "labels: {" + strings.Repeat("x", maxName+1) + ": y}"
	for _, c := range []struct{ name, text, want string }{
		{"size", strings.Repeat("#", maxFile+1), "naru.yaml: larger than 4MiB"},
		{"depth", strings.Repeat("[", 100_000), "exceeded max depth"},
		{"aliases", bomb, "more than 200000 values"},
		{"nulls", nulls, " more problems"},
		{"values", "matrix: [[" + strings.Repeat("a,", 1<<20) + "]]", "more values than"},
		{"self", self, "expected text, found a list"},
		{"key", keys, "a key of 201 bytes; at most 200 are allowed"},
		{"encoding", "data_dir: \xff\n", "naru.yaml:1:11: "},
		{"control", "log: {}\ndata_dir: ü\x00\n", "naru.yaml:2:12: "},
	} {
		_, err := loadText(newTree(), c.text, Sources{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %.200v", c.name, err)
		}
	}
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "%s%d: x\n", strings.Repeat("y", 300), i)
	}
	_, err := loadText(newTree(), many.String(), Sources{})
	lines := strings.Split(err.Error(), "\n")
	if last := lines[len(lines)-1]; len(lines) != maxProblems+1 || last != "and 9950 more problems" {
		t.Errorf("%d lines, the last %.100q", len(lines), last)
	}
	file := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(file, make([]byte, maxFile+10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(newTree(), Sources{File: file}); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
}

// TestBadTrees is about structs that the loader refuses, whatever the sources.
func TestBadTrees(t *testing.T) {
	type loop struct {
		Next []struct {
			Back *loop `yaml:"back"`
		} `yaml:"next"`
	}
	type inner struct {
		X int `yaml:"x"`
	}
	for _, c := range []struct {
		dst  any
		want string
	}{
		{tree{}, "needs a pointer"},
		{(*tree)(nil), "needs a pointer"},
		{new(int), "is not a struct"},
		{&struct{ X int }{}, "X has no yaml tag"},
		{&struct {
			X int `yaml:"x-y"`
		}{}, `bad key "x-y"`},
		{&struct {
			X int `yaml:"x__y"`
		}{}, `bad key "x__y"`},
		{&struct {
			X int `yaml:"x"`
			Y int `yaml:"x"`
		}{}, "two fields have the key"},
		{&struct {
			X any `yaml:"x"`
		}{}, "no notation for type interface"},
		{&struct {
			X map[int]string `yaml:"x"`
		}{}, "no notation for type map[int]"},
		{&struct {
			X []*inner `yaml:"x"`
		}{}, "elements cannot be pointers"},
		{&struct {
			X **int `yaml:"x"`
		}{}, "no notation for type *int"},
		{&struct {
			X int `yaml:"x" reload:"yes"`
		}{}, `can only be "true"`},
		{&struct {
			inner `yaml:",inline"`
		}{}, "exported struct"},
		{&struct {
			X int `yaml:"x,omitempty"`
		}{}, "the only option is inline"},
		{&loop{}, "contains itself"},
	} {
		_, err := Load(c.dst, Sources{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%T: %v, want %q", c.dst, err, c.want)
		}
	}
}
