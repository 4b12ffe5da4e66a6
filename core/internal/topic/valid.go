package topic

import (
	"bytes"
	"unicode/utf8"
)

// maxMQTT is what the two-byte length of an MQTT string can say.
const maxMQTT = 65535

// ValidUTF8 reports whether the bytes may stand in an MQTT string: well-formed
// UTF-8, hence no surrogates [MQTT-1.5.4-1], and no U+0000 [MQTT-1.5.4-2].
// Other control characters and non-characters may stand in it; the standard
// only advises against them.
func ValidUTF8(b []byte) bool {
	return bytes.IndexByte(b, 0) < 0 && utf8.Valid(b)
}

// ValidMQTTTopic reports whether a message may be published to the name. The
// tags of clauses here are those of MQTT 5; 3.1.1 says the same.
func ValidMQTTTopic(name []byte) bool {
	return len(name) > 0 && len(name) <= maxMQTT && // [MQTT-4.7.3-1] [MQTT-4.7.3-3]
		ValidUTF8(name) &&
		bytes.IndexByte(name, MQTT.One) < 0 && // [MQTT-4.7.0-1]
		bytes.IndexByte(name, MQTT.Many) < 0
}

// ValidMQTTFilter reports whether the filter may be subscribed to. It knows
// nothing of $share, which is not part of the filter.
func ValidMQTTFilter(filter []byte) bool {
	if len(filter) == 0 || len(filter) > maxMQTT || !ValidUTF8(filter) {
		return false
	}
	for i, c := range filter {
		if c != MQTT.One && c != MQTT.Many {
			continue
		}
		if i > 0 && filter[i-1] != MQTT.Separator {
			return false
		}
		switch last := i == len(filter)-1; {
		case last:
		case c == MQTT.Many: // [MQTT-4.7.1-1]
			return false
		case filter[i+1] != MQTT.Separator: // [MQTT-4.7.1-2]
			return false
		}
	}
	return true
}
