package frame

import (
	"encoding/binary"

	"github.com/narumq/naru/core/props"
)

// StartOK is a decoded connection.start-ok.
type StartOK struct {
	ClientProperties props.Table
	Mechanism        []byte
	Response         []byte // any bytes, see DecodePlain and DecodeAMQPlain
	Locale           []byte
}

// Decode decodes the arguments.
func (m *StartOK) Decode(b []byte) error {
	a := args{b: b}
	m.ClientProperties = a.table()
	m.Mechanism = a.short()
	m.Response = a.long()
	m.Locale = a.short()
	return a.end()
}

// SecureOK is a decoded connection.secure-ok.
type SecureOK struct {
	Response []byte
}

// Decode decodes the arguments.
func (m *SecureOK) Decode(b []byte) error {
	a := args{b: b}
	m.Response = a.long()
	return a.end()
}

// TuneOK is a decoded connection.tune-ok.
type TuneOK struct {
	ChannelMax uint16
	FrameMax   uint32
	Heartbeat  uint16 // seconds
}

// Decode decodes the arguments.
func (m *TuneOK) Decode(b []byte) error {
	a := args{b: b}
	m.ChannelMax = a.uint16()
	m.FrameMax = a.uint32()
	m.Heartbeat = a.uint16()
	return a.end()
}

// ConnectionOpen is a decoded connection.open. Two reserved arguments are
// ignored.
type ConnectionOpen struct {
	VirtualHost []byte
}

// Decode decodes the arguments.
func (m *ConnectionOpen) Decode(b []byte) error {
	a := args{b: b}
	m.VirtualHost = a.short()
	a.short()
	a.uint8()
	return a.end()
}

// Close is a decoded connection.close or channel.close.
type Close struct {
	ReplyCode Code
	ReplyText []byte
	Method    Method // that failed; 0 for none
}

// Decode decodes the arguments.
func (m *Close) Decode(b []byte) error {
	a := args{b: b}
	m.ReplyCode = Code(a.uint16())
	m.ReplyText = a.short()
	m.Method = Method(a.uint32())
	return a.end()
}

// UpdateSecret is a decoded connection.update-secret.
type UpdateSecret struct {
	NewSecret []byte
	Reason    []byte
}

// Decode decodes the arguments.
func (m *UpdateSecret) Decode(b []byte) error {
	a := args{b: b}
	m.NewSecret = a.long()
	m.Reason = a.short()
	return a.end()
}

// AppendConnectionStart appends a connection.start of version 0-9. mechanisms
// and locales are lists with spaces between.
func AppendConnectionStart[M, L props.Text](b []byte, serverProperties props.Table, mechanisms M, locales L) []byte {
	start := len(b)
	b = append(begin(b, 0, MethodConnectionStart), 0, 9)
	b = props.AppendLong(b, serverProperties)
	b = props.AppendLong(b, mechanisms)
	b = props.AppendLong(b, locales)
	return end(b, start)
}

// AppendConnectionSecure appends a connection.secure.
func AppendConnectionSecure[C props.Text](b []byte, challenge C) []byte {
	start := len(b)
	b = props.AppendLong(begin(b, 0, MethodConnectionSecure), challenge)
	return end(b, start)
}

// AppendConnectionTune appends a connection.tune. heartbeat is in seconds.
func AppendConnectionTune(b []byte, channelMax uint16, frameMax uint32, heartbeat uint16) []byte {
	start := len(b)
	b = begin(b, 0, MethodConnectionTune)
	b = binary.BigEndian.AppendUint16(b, channelMax)
	b = binary.BigEndian.AppendUint32(b, frameMax)
	b = binary.BigEndian.AppendUint16(b, heartbeat)
	return end(b, start)
}

// AppendConnectionOpenOK appends a connection.open-ok.
func AppendConnectionOpenOK(b []byte) []byte {
	start := len(b)
	return end(append(begin(b, 0, MethodConnectionOpenOK), 0), start)
}

// AppendConnectionClose appends a connection.close. text is cut at 255 bytes.
// failed is 0 where no method is to blame.
func AppendConnectionClose[T props.Text](b []byte, code Code, text T, failed Method) []byte {
	return appendClose(b, 0, MethodConnectionClose, code, text, failed)
}

func appendClose[T props.Text](b []byte, channel uint16, m Method, code Code, text T, failed Method) []byte {
	start := len(b)
	b = begin(b, channel, m)
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	b = props.AppendShort(b, text)
	b = binary.BigEndian.AppendUint32(b, uint32(failed))
	return end(b, start)
}

// AppendConnectionCloseOK appends a connection.close-ok.
func AppendConnectionCloseOK(b []byte) []byte {
	return appendEmpty(b, 0, MethodConnectionCloseOK)
}

// AppendConnectionBlocked appends a connection.blocked.
func AppendConnectionBlocked[R props.Text](b []byte, reason R) []byte {
	start := len(b)
	return end(props.AppendShort(begin(b, 0, MethodConnectionBlocked), reason), start)
}

// AppendConnectionUnblocked appends a connection.unblocked.
func AppendConnectionUnblocked(b []byte) []byte {
	return appendEmpty(b, 0, MethodConnectionUnblocked)
}

// AppendConnectionUpdateSecretOK appends a connection.update-secret-ok.
func AppendConnectionUpdateSecretOK(b []byte) []byte {
	return appendEmpty(b, 0, MethodConnectionUpdateSecretOK)
}
