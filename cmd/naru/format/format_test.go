package format

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// moment has one digit in day and hour, and an ISO year that is not the year.
var moment = time.Date(2027, time.January, 3, 9, 8, 7, 6_054_321, time.FixedZone("CET", 3600))

func sample() *Message {
	return &Message{Topic: "a/b", Payload: []byte("hëllo"), QoS: 1, Retain: true, ID: 7, Time: moment}
}

func TestFormat(t *testing.T) {
	for _, test := range []struct{ format, want string }{
		{"", ""},
		{"plain", "plain"},
		{"%t", "a/b"},
		{"%p", "hëllo"},
		{"%t %p", "a/b hëllo"},
		{"%q%r%m%l", "1176"},
		{"%%t @@Y", "%t @Y"},
		{"[%10t]", "[       a/b]"},
		{"[%-10t]", "[a/b       ]"},
		{"[%010t]", "[       a/b]"},
		{"[%10.2t]", "[        a/]"},
		{"[%-4.2t]", "[a/  ]"},
		{"[%.0t]", "[]"},
		{"[%2t]", "[a/b]"},
		{"[%10p]", "[    hëllo]"},
		{"[%010p]", "[0000hëllo]"},
		{"[%-010p]", "[hëllo    ]"},
		{"[%.2p]", "[hëllo]"},
		{"[%5l]", "[    6]"},
		{"[%05l]", "[00006]"},
		{"[%-05l]", "[6    ]"},
		{"[%05m]", "[00007]"},
		{"%x", "68c3ab6c6c6f"},
		{"%X", "68C3AB6C6C6F"},
		{"[%14x][%014X]", "[  68c3ab6c6c6f][0068C3AB6C6C6F]"},
		{"[%A%C%D%E%F%P%R%S]", "[]"},
		{"[%5C][%-3A]", "[     ][   ]"},
		{"%I", "2027-01-03T09:08:07+0100"},
		{"[%.10I]", "[2027-01-03]"},
		{"%U", "1798963687.006054321"},
		{"@N @s", "006054321 1798963687"},
		{"@Y-@m-@d @H:@M:@S", "2027-01-03 09:08:07"},
		{"@a @A @b @B @h", "Sun Sunday Jan January Jan"},
		{"@C @D @e @F @g @G @V", "20 01/03/27  3 2027-01-03 26 2026 53"},
		{"@I @j @k @l @p @P", "09 003  9  9 AM am"},
		{"@r|@R|@T|@c", "09:08:07 AM|09:08|09:08:07|Sun Jan  3 09:08:07 2027"},
		{"@u @w @U @W @x @X @y @z @Z", "7 0 01 00 01/03/27 09:08:07 27 +0100 CET"},
		{"@n@t", "\n\t"},
		{`\\ \0 \a \e \n \r \t \v`, "\\ \x00 \a \x1b \n \r \t \v"},
		{"%j", `{"tst":"2027-01-03T09:08:07.006054Z+0100","topic":"a/b","qos":1,"retain":1,"payloadlen":6,"mid":7,"payload":"hëllo"}`},
	} {
		f, err := Parse(test.format)
		if err != nil {
			t.Errorf("%q: %v", test.format, err)
			continue
		}
		have, err := f.Append([]byte(">"), sample())
		if err != nil || string(have) != ">"+test.want {
			t.Errorf("%q gives %q, %v, want %q", test.format, have, err, test.want)
		}
	}
}

func TestFormatErrors(t *testing.T) {
	for _, test := range []struct{ format, says string }{
		{"abc%", "incomplete"},
		{"abc%-5", "incomplete"},
		{"abc%5.", "incomplete"},
		{"abc@", "incomplete"},
		{`abc\`, "incomplete"},
		{"%z", "not known"},
		{"@?", "not known"},
		{`\q`, "not known"},
		{"%5q", "no width"},
		{"%5%", "no width"},
		{"%-j", "no width"},
		{"%99999999999999999999t", "at most"},
	} {
		if _, err := Parse(test.format); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: %v, want %q", test.format, err, test.says)
		}
	}
}

func TestFormatJSON(t *testing.T) {
	for _, test := range []struct{ verb, payload, want string }{
		{"%j", "", `"payload":""`},
		{"%j", "a\"b\\<&>\n\x00\x1b", `"payload":"a\"b\\<&>\n\u0000\u001b"`},
		{"%j", "\x7f\u009b2J\u202e", `"payload":"\u007f\u009b2J\u202e"`},
		{"%j", "\xff\x00", `"payload_base64":"/wA="`},
		{"%J", " {\"a\" : [1,\r\n 2.50] }", `"payload":{"a":[1,2.50]}`},
		{"%J", "\"\u009b\"", `"payload":"\u009b"`},
		{"%J", "12", `"payload":12`},
	} {
		f, err := Parse(test.verb)
		if err != nil {
			t.Fatal(err)
		}
		m := sample()
		m.Payload = []byte(test.payload)
		have, err := f.Append(nil, m)
		if err != nil || !strings.HasSuffix(string(have), ","+test.want+"}") {
			t.Errorf("%s of %q: %s, %v, want %s", test.verb, test.payload, have, err, test.want)
		}
		if !json.Valid(have) {
			t.Errorf("%s of %q: %s is not JSON", test.verb, test.payload, have)
		}
	}
	f, err := Parse("%J")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "hello", "{", "1 2", "\"\xff\""} {
		m := sample()
		m.Payload = []byte(bad)
		if _, err := f.Append(nil, m); !errors.Is(err, ErrNotJSON) {
			t.Errorf("%%J of %q: %v", bad, err)
		}
	}
}

// TestSafe: what a message brings along cannot steer the terminal, what the user
// wrote into the format can.
func TestSafe(t *testing.T) {
	f, err := Parse(`\e[1m%t\e[0m %p`)
	if err != nil {
		t.Fatal(err)
	}
	f.Safe = true
	m := &Message{Topic: "a\nb\x1b[2J", Payload: []byte("é\ttab\nline\r\x1b]0;title\a\x7f\xff\u009b2J\u202e\u2028ok 😀"), Time: moment}
	have, err := f.Append(nil, m)
	want := "\x1b[1ma\\x0ab\\x1b[2J\x1b[0m é\ttab\nline\\x0d\\x1b]0;title\\x07\\x7f\\xff\\u009b2J\\u202e\\u2028ok 😀"
	if err != nil || string(have) != want {
		t.Errorf("%q, %v, want %q", have, err, want)
	}
	f.Safe = false
	if have, _ = f.Append(nil, m); string(have) != "\x1b[1m"+m.Topic+"\x1b[0m "+string(m.Payload) {
		t.Errorf("without Safe: %q", have)
	}
}

func TestPretty(t *testing.T) {
	for _, test := range []struct {
		name, payload, want string
		pretty              Pretty
	}{
		{"text", "one\ntwo\x1b", "a/b  09:08:07.006 QoS 1 retained\n  one\n  two\\x1b", Pretty{Safe: true}},
		{"raw", "\x1b", "a/b  09:08:07.006 QoS 1 retained\n  \x1b", Pretty{}},
		{"JSON payload", `{"a":[1,true]}`, "a/b  09:08:07.006 QoS 1 retained\n  {\n    \"a\": [\n      1,\n      true\n    ]\n  }", Pretty{}},
		{"color", `{"a":"\"b","n":-1.5e3,"z":null}`, "\x1b[1m\x1b[36ma/b\x1b[0m\x1b[2m  09:08:07.006 QoS 1 retained\x1b[0m\n  {\n" +
			"    \x1b[36m\"a\"\x1b[0m: \x1b[32m\"\\\"b\"\x1b[0m,\n    \x1b[36m\"n\"\x1b[0m: \x1b[33m-1.5e3\x1b[0m,\n" +
			"    \x1b[36m\"z\"\x1b[0m: \x1b[35mnull\x1b[0m\n  }", Pretty{Color: true}},
		{"object", "x", "{\n  \"tst\": \"2027-01-03T09:08:07.006054Z+0100\",\n  \"topic\": \"a/b\",\n  \"qos\": 1,\n" +
			"  \"retain\": 1,\n  \"payloadlen\": 1,\n  \"mid\": 7,\n  \"payload\": \"x\"\n}", Pretty{JSON: true}},
	} {
		m := sample()
		m.Payload = []byte(test.payload)
		if have := string(test.pretty.Append(nil, m)); have != test.want {
			t.Errorf("%s:\n%q, want\n%q", test.name, have, test.want)
		}
	}
}

// FuzzFormat: no format string and no message crashes it, JSON is JSON, and what
// is safe has no control character.
func FuzzFormat(f *testing.F) {
	f.Add("%-10.3t %j @Y", "a/b", []byte("payload"))
	f.Add("%J%x%010p", "\x1b", []byte(`{"a":"\u009b"}`))
	f.Fuzz(func(t *testing.T, format, topic string, payload []byte) {
		m := &Message{Topic: topic, Payload: payload, Time: moment}
		if parsed, err := Parse(format); err == nil {
			_, _ = parsed.Append(nil, m) // ErrNotJSON is fine
		}
		for _, verb := range []string{"%j", "%J", "%p%t"} {
			parsed, err := Parse(verb)
			if err != nil {
				t.Fatal(err)
			}
			parsed.Safe = true
			out, err := parsed.Append(nil, m)
			if err == nil && verb != "%p%t" && !json.Valid(out) {
				t.Fatalf("%s gives %q", verb, out)
			}
			for _, r := range string(out) {
				if err == nil && (r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || r == 0x202e) {
					t.Fatalf("%s lets %U through: %q", verb, r, out)
				}
			}
		}
		for _, p := range []Pretty{{Safe: true}, {JSON: true, Safe: true, Color: true}} {
			p.Append(nil, m)
		}
	})
}
