package e2e

import (
	"fmt"
	"strings"
	"testing"
)

func parse(text string) ([]*Script, error) {
	return (&parser{seen: map[string]string{}}).file("test.txt", text)
}

// TestBytes: what an expression stands for.
func TestBytes(t *testing.T) {
	vars := map[string][]byte{"id": {0xab, 0xcd}}
	for expr, want := range map[string]string{
		"10 0c0004":                   "100c0004",
		"'MQTT' 04":                   "4d51545404",
		`'it\'s' '\\' 'a # b'`:        "69742773" + "5c" + "612023" + "2062",
		"'ab'*3":                      "616261626162",
		"00*4 'x'":                    "0000000078",
		"(01 'a')*2":                  "01610161",
		"@str('abc')":                 "0003616263",
		"@str()":                      "0000",
		"30 @len(@str('t') $id:2 78)": "3006000174abcd78",
		"@len('x'*127)":               "7f" + strings.Repeat("78", 127),
		"@len('x'*128)":               "8001" + strings.Repeat("78", 128),
		"@len(00*16384)":              "808001" + strings.Repeat("00", 16384),
	} {
		p, err := parseBytes(expr, map[string]int{})
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		got, err := p.Bytes(vars)
		if err != nil || fmt.Sprintf("%x", got) != want {
			t.Errorf("%s = %x, %v; want %s", expr, got, err, want)
		}
		if p.Size() != len(got) {
			t.Errorf("%s: size %d, but %d bytes", expr, p.Size(), len(got))
		}
	}
}

// TestBytesErrors: what is not an expression is refused, not guessed at.
func TestBytesErrors(t *testing.T) {
	for _, expr := range []string{
		"1", "100", "xyz", "'open", "(01", "01)", "$", "$id", "$id:0", "$a:2 $a:3", "@len(01", "@str('x'*65536)", "01*x", "? ",
	} {
		if p, err := parseBytes(expr, map[string]int{}); err == nil {
			t.Errorf("%q parses as %v", expr, p)
		}
	}
}

// TestMatch: bytes are compared as they come, and captures bind once.
func TestMatch(t *testing.T) {
	p, err := parseBytes("32 ?? $id:2 'x' $id", map[string]int{})
	if err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string][2]bool{
		"":                              {true, false},
		"\x32":                          {true, false},
		"\x32\xff\x00":                  {true, false},
		"\x32\xff\x00\x07x\x00\x07":     {true, true},
		"\x32\xff\x00\x07x\x00\x07more": {true, true},
		"\x32\xff\x00\x07x\x00\x08":     {false, false},
		"\x32\xff\x00\x07y":             {false, false},
		"\x33":                          {false, false},
	} {
		agrees, complete := p.Match([]byte(data), map[string][]byte{})
		if agrees != want[0] || complete != want[1] {
			t.Errorf("%x: agrees %v, complete %v; want %v", data, agrees, complete, want)
		}
	}
}

// TestParse: headers, cases, marks and prefixes.
func TestParse(t *testing.T) {
	scripts, err := parse(`
== plain
covers: MQTT-3.1.0-1 MQTT-3.1.0-2
c1 open
c1 > '@@@@' 'a # in quotes' # a comment
== cases
covers: -
config: users
case one: 01
case two: 02
mosquitto: differs [two] it does not care
c1 open
c1 > $case '@@@@'
! c1 < close
? c1 silent 100ms
== down
covers: -
c1 connect '@@@@a' clean
kill9
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range scripts {
		peer := 0
		if s.Peer != nil {
			peer = len(s.Peer.Steps)
		}
		got = append(got, fmt.Sprintf("%s %v %s own=%v differs=%q steps=%d peer=%d",
			s.ID(), s.Covers, s.Profile, s.Own, s.Differs, len(s.Steps), peer))
	}
	want := []string{
		`plain [MQTT-3.1.0-1 MQTT-3.1.0-2] default own=false differs="" steps=2 peer=0`,
		`cases/one [] users own=false differs="" steps=3 peer=0`,
		`cases/two [] users own=false differs="it does not care" steps=3 peer=3`,
		`down [] default own=true differs="" steps=4 peer=0`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	sent := func(s *Script) string { b, _ := s.Steps[1].Pattern.Bytes(nil); return string(b) }
	prefixes := map[string]bool{}
	for _, s := range []*Script{scripts[1], scripts[2], scripts[2].Peer} {
		prefixes[sent(s)[1:]] = true
	}
	if len(prefixes) != 3 {
		t.Errorf("the prefixes of scripts and cases are %v, want three different ones", prefixes)
	}
	if !strings.HasSuffix(sent(scripts[0]), "a # in quotes") {
		t.Errorf("a # in quotes was cut off: %q", sent(scripts[0]))
	}
}

// TestParseErrors: a slip in a script is an error, never a step left out.
func TestParseErrors(t *testing.T) {
	const head = "== s\ncovers: -\nc1 open\n"
	for name, text := range map[string]string{
		"no name":                  "c1 open\n",
		"no steps":                 "== s\ncovers: -\n",
		"a name twice":             head + head,
		"an unknown step":          head + "c1 opne\n",
		"an unknown header":        "== s\ncover: -\nc1 open\n",
		"a sleep without reason":   head + "sleep 1s\n",
		"nothing to expect":        head + "c1 <\n",
		"a bad duration":           head + "c1 silent 1\n",
		"a bad range":              head + "c1 < close 1s\n",
		"a set without end":        head + "c1 < unordered {\n01\n",
		"a mark without reason":    head + "! c1 < close\n",
		"a reason without mark":    "== s\ncovers: -\nmosquitto: differs why\nc1 open\n",
		"nothing about statements": "== s\nc1 open\n",
		"a case twice":             "== s\ncovers: -\ncase a: 01\ncase a: 02\nc1 open\n",
		"an unknown case":          "== s\ncovers: -\ncase a: 01\nmosquitto: differs [b] why\n! c1 open\n",
		"too few arguments":        head + "c1 publish 'a' 1\n",
		"an unknown QoS":           head + "c1 publish 'a' 3 'x'\n",
		"one value to differ":      head + "differ 01\n",
		"one connection of either": head + "either c1 < 01\n",
	} {
		if _, err := parse(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestExchange: a shorthand is the bytes that a script could have written.
func TestExchange(t *testing.T) {
	scripts, err := parse(`== s
covers: -
c1 connect 'me' new 'u' 'p'
c1 subscribe 'f/#' 1
c1 publish 't' 2 'x'
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, st := range scripts[0].Steps[1:] {
		b, _ := st.Pattern.Bytes(nil)
		got = append(got, fmt.Sprintf("%d %x", st.Op, b))
	}
	want := []string{
		"1 101400044d51545404c0003c00026d650001750001" + "70", "3 20020000",
		"1 82087f01" + "0003662f2301", "3 90037f0101",
		"1 340600" + "01747f0278", "3 50027f02", "1 62027f02", "3 70027f02",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestDescribe: failures speak of packets.
func TestDescribe(t *testing.T) {
	for data, want := range map[string]string{
		"\x20\x02\x01\x00":                     "CONNACK present=1 code=0",
		"\x3b\x08\x00\x03a/b\x00\x07x\xd0\x00": `PUBLISH qos=1 dup retain topic="a/b" id=0007 payload="x", PINGRESP`,
		"\x90\x04\x00\x01\x00\x80":             "SUBACK id=0001 codes=0080",
		"\x62\x02\x12\x34":                     "PUBREL id=1234",
		"\x30\x7f\x00":                         "PUBLISH (cut)",
		"":                                     "nothing",
	} {
		if got := describe([]byte(data)); !strings.HasSuffix(got, want) {
			t.Errorf("%x is described as %q, want %q at the end", data, got, want)
		}
	}
}
