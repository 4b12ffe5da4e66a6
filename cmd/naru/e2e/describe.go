package e2e

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// shown is how many bytes of a packet a message prints.
const shown = 48

var packetNames = [16]string{
	"reserved 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "reserved 15",
}

// describe renders bytes for a person: in hex and, as far as they are MQTT
// packets, by what they mean. It is for failures only and never decides one.
func describe(data []byte) string {
	if len(data) == 0 {
		return "nothing"
	}
	var means []string
	for rest := data; len(rest) > 0; {
		n, header := packetSize(rest)
		if n == 0 || n > len(rest) {
			means = append(means, packetNames[rest[0]>>4]+" (cut)")
			break
		}
		means = append(means, describePacket(rest[0], rest[header:n]))
		rest = rest[n:]
	}
	text := hex.EncodeToString(data[:min(len(data), shown)])
	if len(data) > shown {
		text += fmt.Sprintf("... (%d bytes)", len(data))
	}
	return text + "   " + strings.Join(means, ", ")
}

// packetSize is the size of the MQTT packet that data begins with and the size
// of its fixed header; 0 if data is too short to tell or the length is not
// legal.
func packetSize(data []byte) (size, header int) {
	value := 0
	for i := 1; i < len(data) && i <= 4; i++ {
		value |= int(data[i]&0x7f) << (7 * (i - 1))
		if data[i] < 0x80 {
			return i + 1 + value, i + 1
		}
	}
	return 0, 0
}

func describePacket(first byte, body []byte) string {
	name := packetNames[first>>4]
	switch first >> 4 {
	case 2:
		if len(body) == 2 {
			return fmt.Sprintf("%s present=%d code=%d", name, body[0], body[1])
		}
	case 3:
		return describePublish(first, body)
	case 4, 5, 6, 7, 11:
		if len(body) == 2 {
			return fmt.Sprintf("%s id=%x", name, body)
		}
	case 9:
		if len(body) > 2 {
			return fmt.Sprintf("%s id=%x codes=%x", name, body[:2], body[2:])
		}
	}
	if len(body) == 0 {
		return name
	}
	return fmt.Sprintf("%s of %d bytes", name, len(body))
}

func describePublish(first byte, body []byte) string {
	text := fmt.Sprintf("PUBLISH qos=%d", first>>1&3)
	if first&8 != 0 {
		text += " dup"
	}
	if first&1 != 0 {
		text += " retain"
	}
	if len(body) < 2 {
		return text + " (no topic)"
	}
	n := int(body[0])<<8 | int(body[1])
	body = body[2:]
	if n > len(body) {
		return text + " (bad topic)"
	}
	text += fmt.Sprintf(" topic=%.40q", body[:n])
	body = body[n:]
	if first&6 != 0 && len(body) >= 2 {
		text += fmt.Sprintf(" id=%x", body[:2])
		body = body[2:]
	}
	return text + fmt.Sprintf(" payload=%.40q", body)
}

// describePattern renders what was expected: the literal bytes described like
// received ones, what is open marked in the hex.
func describePattern(p Pattern, vars map[string][]byte) string {
	var open strings.Builder
	var filled []byte
	for _, e := range p {
		v := e.literal
		if e.kind == capture {
			v = vars[e.name]
		}
		switch {
		case v != nil:
			filled = append(filled, v...)
			open.WriteString(hex.EncodeToString(v))
		case e.kind == capture:
			filled = append(filled, make([]byte, e.size)...)
			open.WriteString("$" + e.name)
		default:
			filled = append(filled, 0)
			open.WriteString("??")
		}
	}
	text := describe(filled)
	if p.open(vars) {
		_, means, _ := strings.Cut(text, "   ")
		return open.String() + "   " + means
	}
	return text
}

// open reports whether some bytes of the pattern are still free.
func (p Pattern) open(vars map[string][]byte) bool {
	for _, e := range p {
		if e.kind == anyByte || e.kind == capture && vars[e.name] == nil {
			return true
		}
	}
	return false
}
