package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/narumq/naru/protocols/mqtt/packet"
)

// The packets that only a client sends, and those that only it reads. The codec
// of the broker has the others.

// A Refused is the broker's answer that it will not have us.
type Refused struct{ Code packet.ConnectCode }

func (r *Refused) Error() string {
	why := "the broker gives an unknown reason"
	switch r.Code {
	case packet.BadProtocolVersion:
		why = "the broker does not speak MQTT 3.1.1"
	case packet.IdentifierRejected:
		why = "client id not accepted"
	case packet.ServerUnavailable:
		why = "the broker is not available now"
	case packet.BadCredentials:
		why = "bad user name or password"
	case packet.NotAuthorized:
		why = "not authorized"
	}
	return fmt.Sprintf("connection refused: %s (CONNACK %d)", why, r.Code)
}

// Final says that to ask again is of no use.
func (r *Refused) Final() bool { return r.Code != packet.ServerUnavailable }

func appendText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

func appendConnect(b []byte, o *Options) []byte {
	body := appendText(nil, "MQTT")
	flags := byte(0)
	if !o.Persistent {
		flags |= 0x02
	}
	if o.Will != nil {
		flags |= 0x04 | o.Will.QoS<<3
		if o.Will.Retain {
			flags |= 0x20
		}
	}
	if o.HasPassword {
		flags |= 0x40
	}
	if o.User != "" {
		flags |= 0x80
	}
	body = append(body, 4, flags)
	body = binary.BigEndian.AppendUint16(body, uint16(o.KeepAlive.Seconds()))
	body = appendText(body, o.ClientID)
	if o.Will != nil {
		body = appendText(body, o.Will.Topic)
		body = appendText(body, string(o.Will.Payload))
	}
	if o.User != "" {
		body = appendText(body, o.User)
	}
	if o.HasPassword {
		body = appendText(body, o.Password)
	}
	b = packet.AppendHeader(b, packet.CONNECT, 0, len(body))
	return append(b, body...)
}

func appendSubscribe(b []byte, id uint16, filters []string, qos byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	for _, f := range filters {
		body = append(appendText(body, f), qos)
	}
	b = packet.AppendHeader(b, packet.SUBSCRIBE, 2, len(body))
	return append(b, body...)
}

// decodeConnack returns whether the broker has a session of ours.
func decodeConnack(body []byte) (present bool, err error) {
	if len(body) != 2 || body[0] > 1 {
		return false, errors.New("malformed CONNACK")
	}
	if code := packet.ConnectCode(body[1]); code != packet.Accepted {
		return false, &Refused{Code: code}
	}
	return body[0] == 1, nil
}

// limits of MQTT, checked before anything is sent.
var (
	errTopicEmpty = errors.New("a topic must not be empty")
	errTopicLong  = errors.New("a topic has at most 65,535 bytes")
	errTopicText  = errors.New("a topic must be valid UTF-8 without U+0000")
	errWildcard   = errors.New("a topic to publish to must not have the wildcards + and #")
	errFilter     = errors.New("+ must fill a level, and # must fill the last")
)

// CheckTopic says whether a message can be published there.
func CheckTopic(topic string) error {
	if err := checkText(topic); err != nil {
		return err
	}
	if strings.ContainsAny(topic, "+#") {
		return errWildcard
	}
	return nil
}

// CheckFilter says whether one can subscribe to it.
func CheckFilter(filter string) error {
	if err := checkText(filter); err != nil {
		return err
	}
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		if strings.ContainsAny(l, "+#") && (len(l) > 1 || l == "#" && i < len(levels)-1) {
			return errFilter
		}
	}
	return nil
}

func checkText(s string) error {
	switch {
	case s == "":
		return errTopicEmpty
	case len(s) > 65535:
		return errTopicLong
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return errTopicText
	}
	return nil
}

// MaxPayload is the largest payload for a topic.
func MaxPayload(topic string) int { return packet.MaxLength - 4 - len(topic) }

// Matches says whether a topic belongs to a filter. Both are valid.
func Matches(filter, topic string) bool {
	if topic[0] == '$' && filter[0] != '$' { // [MQTT-4.7.2-1]
		return false
	}
	for {
		f, restFilter, moreFilter := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, restTopic, moreTopic := strings.Cut(topic, "/")
		switch {
		case f != "+" && f != t:
			return false
		case !moreTopic:
			return !moreFilter || restFilter == "#"
		case !moreFilter:
			return false
		}
		filter, topic = restFilter, restTopic
	}
}
