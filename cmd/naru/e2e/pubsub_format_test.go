package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
)

// TestSubFormatsAsMosquitto: both subscribers print the same message in the same
// way. Left out is what changes from moment to moment, but for its form, and the
// cases in which Mosquitto 2.0 is wrong (%20x).
func TestSubFormatsAsMosquitto(t *testing.T) {
	peers.NeedProgram(t, "mosquitto_sub")
	toolBrokers(t, func(t *testing.T, port string) {
		own := ownTools(naruBinary(t))
		for topic, payload := range map[string]string{"f/text": "hëllo\twörld", "f/json": `{"a":[1,2],"b":"c"}`} {
			runTool(t, 0, command(own.pub, "-p", port, "-t", topic, "-m", payload, "-r", "-q", "1")...)
		}
		digits := regexp.MustCompile(`[0-9]`)
		for _, test := range []struct {
			topic, format string
			varies        bool
		}{
			{"f/text", "%t|%10t|%-10t|%10.2t|%.2t|%2t|%010t|%-12.4t|", false},
			{"f/text", "%p|%20p|%-20p|%020p|%.2p|%x|%X|", false},
			{"f/text", "%l|%5l|%05l|%-5l|%q|%r|%%|@@|%A|%5C|%D|%E|%S|%P|%R|", false},
			{"f/text", `a\tb\\c\n\a\e[0m\v\r|`, false},
			{"f/text", "%I %U @Y-@m-@dT@H:@M:@S.@N @y @j @D @F @T @R @s", true},
			{"f/text", "@a @A @b @B @h @C @G @V @u @w @U @W @p @Z @z @c", true},
			{"f/text", "%j", true},
			{"f/json", "%J", true},
		} {
			mask := func(s string) string {
				if test.varies {
					return digits.ReplaceAllString(s, "#")
				}
				return s
			}
			options := []string{"-p", port, "-t", test.topic, "-C", "1", "-F", test.format}
			have, _ := runTool(t, 0, command(own.sub, options...)...)
			want, _ := runTool(t, 0, command([]string{"mosquitto_sub"}, options...)...)
			if mask(have) != mask(want) {
				t.Errorf("%s: %q, mosquitto_sub has %q", test.format, have, want)
			}
		}
	})
}

// TestSubJSON: each message is an object on a line of its own, whatever is in it.
func TestSubJSON(t *testing.T) {
	b, err := startNaru(t, naruBinary(t), "default")
	must(t, err)
	box, port := ownTools(naruBinary(t)), portOf(b)
	s := startReady(t, box, port, "-t", "j", "--json", "-C", "4", "-q", "1")
	for _, payload := range []string{"text\nof two lines\x1b", "\xff\xfe", ""} {
		startTool(t, strings.NewReader(payload), nil, command(box.pub, "-p", port, "-t", "j", "-s", "-q", "1")...).end(0)
	}
	lines := strings.Split(strings.TrimSuffix(s.end(0), "\n"), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines for four messages: %q", len(lines), lines)
	}
	for i, want := range []map[string]any{
		{"payload": "ready", "qos": 1., "retain": 1., "payloadlen": 5.},
		{"payload": "text\nof two lines\x1b", "qos": 1., "retain": 0., "payloadlen": 18.},
		{"payload_base64": "//4=", "topic": "j", "payloadlen": 2.},
		{"payload": "", "payloadlen": 0.},
	} {
		var have map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &have); err != nil {
			t.Errorf("%s: %v", lines[i], err)
		}
		for k, v := range want {
			if have[k] != v {
				t.Errorf("%s: %s is %v, want %v", lines[i], k, have[k], v)
			}
		}
	}
}
