package format

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// appendJSON appends the object of %j, or of %J, where the payload is JSON itself.
// A payload that is no text is in payload_base64 instead. All of it is harmless on
// a terminal, where it stands on one line.
func appendJSON(b []byte, m *Message, raw bool) ([]byte, error) {
	b = append(b, `{"tst":"`...)
	// The Z before the offset is wrong, and what Mosquitto's readers know.
	b = m.Time.AppendFormat(b, "2006-01-02T15:04:05.000000Z-0700")
	b = append(b, `","topic":`...)
	b = appendString(b, m.Topic)
	if m.AMQP != nil {
		b = append(b, `,"exchange":`...)
		b = appendString(b, m.AMQP.Exchange)
		b = append(b, `,"redelivered":`...)
		b = append(b, bit(m.AMQP.Redelivered))
	}
	b = append(b, `,"qos":`...)
	b = strconv.AppendInt(b, int64(m.QoS), 10)
	b = append(b, `,"retain":`...)
	b = append(b, bit(m.Retain))
	b = append(b, `,"payloadlen":`...)
	b = strconv.AppendInt(b, int64(len(m.Payload)), 10)
	if m.QoS > 0 && m.AMQP == nil {
		b = append(b, `,"mid":`...)
		b = strconv.AppendInt(b, int64(m.ID), 10)
	}
	if m.AMQP != nil && len(m.AMQP.Properties) > 0 {
		b = appendValue(append(b, `,"properties":`...), m.AMQP.Properties)
	}
	if m.AMQP != nil && len(m.AMQP.Headers) > 0 {
		b = appendValue(append(b, `,"headers":`...), m.AMQP.Headers)
	}
	switch {
	case raw:
		var compact bytes.Buffer
		if !utf8.Valid(m.Payload) || json.Compact(&compact, m.Payload) != nil {
			return b, ErrNotJSON
		}
		b = append(b, `,"payload":`...)
		b = appendEscaped(b, compact.Bytes())
	case utf8.Valid(m.Payload):
		b = append(b, `,"payload":`...)
		b = appendString(b, string(m.Payload))
	default:
		b = append(b, `,"payload_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, m.Payload)
		b = append(b, '"')
	}
	return append(b, '}'), nil
}

// appendValue appends the value of a Field.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return appendString(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		text, _ := json.Marshal(v) // it is finite
		return append(b, text...)
	case []Field:
		b = append(b, '{')
		for i, f := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(append(appendString(b, f.Name), ':'), f.Value)
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, e)
		}
		return append(b, ']')
	}
	return append(b, "null"...)
}

// appendString appends a JSON string, in which < and > stay as they are.
func appendString(b []byte, s string) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // of a string it cannot fail
	return appendEscaped(b, bytes.TrimRight(out.Bytes(), "\n"))
}

// appendEscaped writes what steers a terminal, and JSON allows inside strings, as
// an escape of JSON.
func appendEscaped(b, text []byte) []byte {
	const digits = "0123456789abcdef"
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == 0x7f || steers(r) {
			b = append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
		} else {
			b = append(b, text[:n]...)
		}
		text = text[n:]
	}
	return b
}
