package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMarkdown(t *testing.T) {
	var out bytes.Buffer
	if err := WriteMarkdown(&out, newTree()); err != nil {
		t.Fatal(err)
	}
	golden(t, "reference.md", out.String())
}

func TestKeys(t *testing.T) {
	byPath := map[string]Key{}
	var order []string
	for _, k := range Keys(*newTree()) { // by value: a pointer is not needed to look
		byPath[k.Path] = k
		order = append(order, k.Path)
	}
	for _, want := range []Key{
		{Path: "log", Type: "section", Doc: "Logging."},
		{Path: "log.level", Type: "string", Default: "info", Doc: "Least severe level that is written.", Enum: []string{"debug", "info", "warn", "error"}, Reload: true},
		{Path: "mqtt.max_packet_size", Type: "size", Default: "1MiB", Doc: "Largest packet.", Unit: "bytes"},
		{Path: "mqtt.listeners[].backlog", Type: "integer", Default: "128", Doc: "Backlog."},
		{Path: "mqtt.listeners[].tls.key", Type: "string", Default: `""`, Doc: "Private key.", Secret: true},
		{Path: "mqtt.keys", Type: "list of strings", Default: "[]", Doc: "Secret list.", Secret: true},
		{Path: "mqtt.limits", Type: "section or null", Default: "null", Doc: "Limits, if any."},
		{Path: "mqtt.limits.burst", Type: "integer", Default: "20", Doc: "Burst."},
		{Path: "users", Type: "map of sections", Default: `{guest: {password: "***", tags: []}}`, Doc: "Users by name.", Reload: true},
		{Path: "users.<name>.password", Type: "string", Default: `""`, Doc: "Password.", Reload: true, Secret: true},
		{Path: "grid[][].x", Type: "integer", Default: "0", Doc: "X."},
	} {
		if got := byPath[want.Path]; !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if got := strings.Join(order[:5], " "); got != "data_dir log log.level log.format mqtt" {
		t.Errorf("order: %s", got)
	}
}

func TestCheckDocs(t *testing.T) {
	if err := CheckDocs(newTree()); err != nil {
		t.Error(err)
	}
	type bad struct {
		A int64         `yaml:"a" unit:"bytes" doc:"Negative."`
		B time.Duration `yaml:"b" doc:"Negative."`
		C string        `yaml:"c" enum:"x,y" doc:"Outside."`
		D []struct {
			E int    `yaml:"e"`
			F string `yaml:"f" enum:"x,y" doc:"Must be given."`
		} `yaml:"d" doc:"List."`
		G struct{} `yaml:"g"`
	}
	err := CheckDocs(&bad{A: -1, B: -1})
	want := []string{"a: default", "b: default", "c: default", "d[].e: no doc", "g: no doc"}
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %v", err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("got %q, want %q", line, want[i])
		}
	}
}

func TestDiff(t *testing.T) {
	a, b := newTree(), newTree()
	if d := Diff(a, b); d != nil {
		t.Errorf("equal trees differ: %v", d)
	}
	b.Log.Level = "debug"
	b.Log.Format = "json"
	b.MQTT.Password = "hunter2"
	b.MQTT.KeepAlive = never
	b.MQTT.Limits = &limits{Rate: 1, Burst: 2}
	b.MQTT.Listeners[0].Address = ":1"
	b.MQTT.Listeners = append(b.MQTT.Listeners, listener{Mode: "tls", TLS: &tls{Key: "hunter2"}})
	b.Users = map[string]user{"guest": {Password: "hunter2"}, "a.b": {}}
	b.Matrix = [][]string{{"x"}}
	want := []Change{
		{"log.level", "info", "debug", true},
		{"log.format", "text", "json", false},
		{"mqtt.keep_alive", "1m", "never", true},
		{"mqtt.password", `""`, `"***"`, false},
		{"mqtt.listeners.0.address", `"127.0.0.1:1883"`, `":1"`, false},
		{"mqtt.listeners.1", "", `{address: "", backlog: 0, mode: tls, max_conns: 0, tls: {cert: "", key: "***"}}`, false},
		{"mqtt.limits", "null", "{rate: 1, burst: 2}", false},
		{`users."a.b"`, "", `{password: "", tags: []}`, true},
		{"users.guest.password", `"***"`, `"***"`, true},
		{"matrix", "[]", "[[x]]", false},
	}
	if got := Diff(a, b); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	for _, c := range Diff(b, a) {
		if c.Path == "mqtt.listeners.1" && c.New != "" {
			t.Errorf("a removed element: %+v", c)
		}
	}
}
