package client

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseTarget(t *testing.T) {
	for _, test := range []struct {
		url     string
		want    Target
		address string
	}{
		{"mqtt://h", Target{Scheme: "mqtt", Host: "h", Port: "1883"}, "h:1883"},
		{"mqtt://h/", Target{Scheme: "mqtt", Host: "h", Port: "1883"}, "h:1883"},
		{"MQTT://h:1/a/b", Target{Scheme: "mqtt", Host: "h", Port: "1", Topics: []string{"a/b"}}, "h:1"},
		{"mqtts://h//a/", Target{Scheme: "mqtts", Host: "h", Port: "8883", Topics: []string{"/a/"}}, "h:8883"},
		{"mqtt://h/a/+/#", Target{Scheme: "mqtt", Host: "h", Port: "1883", Topics: []string{"a/+/#"}}, "h:1883"},
		{"mqtt://h/%23%3F%25", Target{Scheme: "mqtt", Host: "h", Port: "1883", Topics: []string{"#?%"}}, "h:1883"},
		{"mqtt://u:p%40%3a:@h", Target{Scheme: "mqtt", Host: "h", Port: "1883", User: "u", Password: "p@::", HasPassword: true}, "h:1883"},
		{"mqtt://u%2f@h", Target{Scheme: "mqtt", Host: "h", Port: "1883", User: "u/"}, "h:1883"},
		{"mqtt://u:@h", Target{Scheme: "mqtt", Host: "h", Port: "1883", User: "u", HasPassword: true}, "h:1883"},
		{"mqtt://[::1]", Target{Scheme: "mqtt", Host: "::1", Port: "1883"}, "[::1]:1883"},
		{"mqtt://u@[::1]:7/t", Target{Scheme: "mqtt", Host: "::1", Port: "7", User: "u", Topics: []string{"t"}}, "[::1]:7"},
		{"tcp://h", Target{Scheme: "mqtt", Host: "h", Port: "1883"}, "h:1883"},
		{"ssl://h", Target{Scheme: "mqtts", Host: "h", Port: "8883"}, "h:8883"},
		{"ws://h", Target{Scheme: "ws", Host: "h", Port: "80"}, "h:80"},
		{"wss://h/p/%20q?topic=a/%2B&topic=c+d", Target{Scheme: "wss", Host: "h", Port: "443", Path: "/p/%20q", Topics: []string{"a/+", "c+d"}}, "h:443"},
		{"unix:///run/s?topic=t", Target{Scheme: "unix", Path: "/run/s", Topics: []string{"t"}}, "/run/s"},
		{"mqtt://h/t?qos=2&retain&id=me", Target{Scheme: "mqtt", Host: "h", Port: "1883", Topics: []string{"t"}, QoS: 2, HasQoS: true, Retain: true, ClientID: "me"}, "h:1883"},
		{"amqp://h", Target{Scheme: "amqp", Host: "h", Port: "5672", VHost: "/"}, "h:5672"},
		{"amqp://h/", Target{Scheme: "amqp", Host: "h", Port: "5672", VHost: "/"}, "h:5672"},
		{"amqp://h/%2f", Target{Scheme: "amqp", Host: "h", Port: "5672", VHost: "/"}, "h:5672"},
		{"amqps://u:xyz@h/my%20host?topic=a.%23", Target{
			Scheme: "amqps", Host: "h", Port: "5671", VHost: "my host", User: "u", Password: "xyz", HasPassword: true, Topics: []string{"a.#"},
		}, "h:5671"},
		{"amqp://h:1?heartbeat=10&connection_timeout=20&certfile=c&keyfile=k&cacertfile=a", Target{
			Scheme: "amqp", Host: "h", Port: "1", VHost: "/", Heartbeat: 10 * time.Second, Patience: 20 * time.Millisecond,
			Security: Security{CAFile: "a", CertFile: "c", KeyFile: "k"},
		}, "h:1"},
		{"mqtt://h?qos=0&&retain=false", Target{Scheme: "mqtt", Host: "h", Port: "1883", HasQoS: true}, "h:1883"},
	} {
		have, err := ParseTarget(test.url)
		if err != nil || !reflect.DeepEqual(have, test.want) {
			t.Errorf("%s:\n%+v, %v, want\n%+v", test.url, have, err, test.want)
			continue
		}
		if have.Address() != test.address {
			t.Errorf("%s: address %q, want %q", test.url, have.Address(), test.address)
		}
		if text := have.String(); have.HasPassword && have.Password != "" && strings.Contains(text, have.Password) {
			t.Errorf("%s is printed as %s", test.url, text)
		}
	}
}

func TestParseTargetErrors(t *testing.T) {
	for url, says := range map[string]string{
		"localhost":               "not a URL",
		"http://h":                "scheme",
		"mqtt://":                 "host",
		"mqtt:///t":               "host",
		"mqtt://a b":              "host",
		"mqtt://h:0":              "port",
		"mqtt://h:65536":          "port",
		"mqtt://h:":               "port",
		"mqtt://::1":              "brackets",
		"mqtt://h/%zz":            "escape",
		"mqtt://u%:secret@h":      "hexadecimal",
		"mqtt://u:secret@h:port":  "port",
		"mqtt://u:s@cret@h?x=1":   "parameter",
		"mqtt://h?qos=3":          "qos",
		"mqtt://h?qos":            "qos",
		"mqtt://h?retain=perhaps": "retain",
		"unix://":                 "path",
		"unix://h/p":              "host",
		"mqtt://h?heartbeat=1":    "parameter",
		"amqp://h?heartbeat=soon": "number",
		"amqp://h?frame_max=1":    "parameter",
	} {
		_, err := ParseTarget(url)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", url, err, says)
			continue
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "cret@") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
}

func TestTopics(t *testing.T) {
	long := strings.Repeat("a", 65535)
	for topic, ok := range map[string]bool{
		"a": true, "/": true, "a b/ü": true, long: true, "$x/y": true,
		"": false, "a/+": false, "#": false, "a\x00": false, "\xff": false, long + "a": false,
	} {
		if err := CheckTopic(topic); (err == nil) != ok {
			t.Errorf("topic %.20q: %v", topic, err)
		}
	}
	for filter, ok := range map[string]bool{
		"#": true, "+": true, "a/#": true, "+/a/+": true, "/#": true, "$share/g/a/#": true,
		"": false, "a#": false, "#/a": false, "a/+b": false, "a/##": false, "++": false, "\xff": false,
	} {
		if err := CheckFilter(filter); (err == nil) != ok {
			t.Errorf("filter %q: %v", filter, err)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a", "a/b", false}, {"a/b", "a", false},
		{"#", "a/b", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false},
		{"+", "a", true}, {"+", "a/b", false}, {"+/b", "a/b", true}, {"a/+", "a/", true}, {"a/+", "a", false},
		{"+/+", "/a", true}, {"+/#", "a", true}, {"a/+/c", "a/b/c", true}, {"a/+/c", "a/b/d", false},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true}, {"/a", "a", false},
	} {
		if have := Matches(test.filter, test.topic); have != test.want {
			t.Errorf("%s matches %s: %v", test.filter, test.topic, have)
		}
	}
}
