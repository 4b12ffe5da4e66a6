package format

import (
	"encoding/json"
	"strings"
	"testing"
)

// posted is a message that came by AMQP, with one header of every kind.
func posted() *Message {
	m := sample()
	m.Retain, m.Topic = false, "a.b"
	m.AMQP = &AMQP{
		Exchange: "amq.topic", Redelivered: true,
		Properties: []Field{{"content_type", "text/plain"}, {"correlation_id", "c1"}, {"reply_to", "r1"}, {"priority", int64(4)}},
		Headers: []Field{
			{"a", "x\x1b"}, {"b", true}, {"c", int64(-5)}, {"d", 1.5}, {"e", nil}, {"f", []any{int64(1), "two"}}, {"g", []Field{{"h", "i"}}},
		},
	}
	return m
}

func TestFormatAMQP(t *testing.T) {
	const headers = `"headers":{"a":"x\u001b","b":true,"c":-5,"d":1.5,"e":null,"f":[1,"two"],"g":{"h":"i"}}`
	for _, test := range []struct{ format, want string }{
		{"%e|%t|%d|%q|%r", "amq.topic|a.b|1|1|0"},
		{"%C|%D|%R|%A%E%F%S|", "text/plain|c1|r1||"},
		{"[%12e][%-12.3e]", "[   amq.topic][amq         ]"},
		{"%P", "a:x\\x1b b:true c:-5 d:1.5 e:null f:[1,\"two\"] g:{\"h\":\"i\"}"},
		{"%j", `{"tst":"2027-01-03T09:08:07.006054Z+0100","topic":"a.b","exchange":"amq.topic","redelivered":1,"qos":1,"retain":0,"payloadlen":6,` +
			`"properties":{"content_type":"text/plain","correlation_id":"c1","reply_to":"r1","priority":4},` + headers + `,"payload":"hëllo"}`},
	} {
		f, err := Parse(test.format)
		if err != nil {
			t.Fatal(err)
		}
		f.Safe = true
		have, err := f.Append(nil, posted())
		if err != nil || string(have) != test.want {
			t.Errorf("%q gives\n%s, %v, want\n%s", test.format, have, err, test.want)
		}
		if test.format == "%j" && !json.Valid(have) {
			t.Errorf("%s is not JSON", have)
		}
	}
	f, err := Parse("%d[%e%C%P]")
	if err != nil {
		t.Fatal(err)
	}
	if have, _ := f.Append(nil, sample()); string(have) != "0[]" {
		t.Errorf("of a message by MQTT: %q", have)
	}
	have := string((&Pretty{Safe: true}).Append(nil, posted()))
	want := "amq.topic a.b  09:08:07.006 persistent redelivered content_type=\"text/plain\" correlation_id=\"c1\" reply_to=\"r1\" priority=4 a=\"x"
	if !strings.HasPrefix(have, want) || strings.Contains(have, "\x1b") || strings.Contains(have, "QoS") {
		t.Errorf("pretty: %q", have)
	}
}
