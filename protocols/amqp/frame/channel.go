package frame

import "github.com/narumq/naru/core/props"

// ChannelOpen is a decoded channel.open. Its only argument is reserved.
type ChannelOpen struct{}

// Decode decodes the arguments.
func (*ChannelOpen) Decode(b []byte) error {
	a := args{b: b}
	a.short()
	return a.end()
}

// ChannelFlow is a decoded channel.flow or channel.flow-ok.
type ChannelFlow struct {
	Active bool
}

// Decode decodes the arguments.
func (m *ChannelFlow) Decode(b []byte) error {
	a := args{b: b}
	m.Active = a.uint8()&1 != 0
	return a.end()
}

// AccessRequest is a decoded access.request, of a realm and five bits. They
// have no meaning any more.
type AccessRequest struct{}

// Decode decodes the arguments.
func (*AccessRequest) Decode(b []byte) error {
	a := args{b: b}
	a.short()
	a.uint8()
	return a.end()
}

// AppendChannelOpenOK appends a channel.open-ok.
func AppendChannelOpenOK(b []byte, channel uint16) []byte {
	start := len(b)
	return end(append(begin(b, channel, MethodChannelOpenOK), 0, 0, 0, 0), start)
}

// AppendChannelFlowOK appends a channel.flow-ok.
func AppendChannelFlowOK(b []byte, channel uint16, active bool) []byte {
	start := len(b)
	return end(append(begin(b, channel, MethodChannelFlowOK), bit(active, 0)), start)
}

// AppendChannelClose appends a channel.close. text is cut at 255 bytes.
func AppendChannelClose[T props.Text](b []byte, channel uint16, code Code, text T, failed Method) []byte {
	return appendClose(b, channel, MethodChannelClose, code, text, failed)
}

// AppendChannelCloseOK appends a channel.close-ok.
func AppendChannelCloseOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodChannelCloseOK)
}

// AppendAccessRequestOK appends an access.request-ok. The ticket is 1.
func AppendAccessRequestOK(b []byte, channel uint16) []byte {
	start := len(b)
	return end(append(begin(b, channel, MethodAccessRequestOK), 0, 1), start)
}
