package frame

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/narumq/naru/core/coretest/octets"
	"github.com/narumq/naru/core/props"
)

// spec has the arguments of every method, from the XML of AMQP 0-9-1 and
// RabbitMQ's extensions, to compare the code with:
//
//	o octet  h short  w long  q longlong  b bits in an octet
//	s short string  S long string  t table
//	T H R U  a reserved short, short string, octet, long string
var spec = map[Method]string{
	MethodConnectionStart: "ootSS", MethodConnectionStartOK: "tsSs", MethodConnectionSecure: "S", MethodConnectionSecureOK: "S",
	MethodConnectionTune: "hwh", MethodConnectionTuneOK: "hwh", MethodConnectionOpen: "sHR", MethodConnectionOpenOK: "H",
	MethodConnectionClose: "hsw", MethodConnectionCloseOK: "", MethodConnectionBlocked: "s", MethodConnectionUnblocked: "",
	MethodConnectionUpdateSecret: "Ss", MethodConnectionUpdateSecretOK: "",
	MethodChannelOpen: "H", MethodChannelOpenOK: "U", MethodChannelFlow: "b", MethodChannelFlowOK: "b",
	MethodChannelClose: "hsw", MethodChannelCloseOK: "", MethodAccessRequest: "HR", MethodAccessRequestOK: "h",
	MethodExchangeDeclare: "Tssbt", MethodExchangeDeclareOK: "", MethodExchangeDelete: "Tsb", MethodExchangeDeleteOK: "",
	MethodExchangeBind: "Tsssbt", MethodExchangeBindOK: "", MethodExchangeUnbind: "Tsssbt", MethodExchangeUnbindOK: "",
	MethodQueueDeclare: "Tsbt", MethodQueueDeclareOK: "sww", MethodQueueBind: "Tsssbt", MethodQueueBindOK: "",
	MethodQueuePurge: "Tsb", MethodQueuePurgeOK: "w", MethodQueueDelete: "Tsb", MethodQueueDeleteOK: "w",
	MethodQueueUnbind: "Tssst", MethodQueueUnbindOK: "",
	MethodBasicQos: "whb", MethodBasicQosOK: "", MethodBasicConsume: "Tssbt", MethodBasicConsumeOK: "s",
	MethodBasicCancel: "sb", MethodBasicCancelOK: "s", MethodBasicPublish: "Tssb", MethodBasicReturn: "hsss",
	MethodBasicDeliver: "sqbss", MethodBasicGet: "Tsb", MethodBasicGetOK: "qbssw", MethodBasicGetEmpty: "H",
	MethodBasicAck: "qb", MethodBasicReject: "qb", MethodBasicRecoverAsync: "b", MethodBasicRecover: "b",
	MethodBasicRecoverOK: "", MethodBasicNack: "qb",
	MethodConfirmSelect: "b", MethodConfirmSelectOK: "",
	MethodTxSelect: "", MethodTxSelectOK: "", MethodTxCommit: "", MethodTxCommitOK: "", MethodTxRollback: "", MethodTxRollbackOK: "",
}

// parse reads arguments by the spec, slowly and on its own. The values are in
// words, the reserved ones left out. rest is what follows; fault is what is
// wrong with the values.
func parse(layout string, b []byte) (values []string, rest []byte, fault error, ok bool) {
	fixed := map[rune]int{'o': 1, 'h': 2, 'w': 4, 'q': 8, 'b': 1, 'T': 2, 'R': 1}
	for _, c := range layout {
		n, head := fixed[c], 0
		switch c {
		case 's', 'H':
			if len(b) < 1 {
				return nil, nil, nil, false
			}
			n, head = int(b[0]), 1
		case 'S', 't', 'U':
			if len(b) < 4 {
				return nil, nil, nil, false
			}
			n, head = int(min(binary.BigEndian.Uint32(b), math.MaxInt32)), 4
		}
		if len(b)-head < n {
			return nil, nil, nil, false
		}
		v := b[head : head+n]
		b = b[head+n:]
		if (c == 's' || c == 'H') && !utf8.Valid(v) && fault == nil {
			fault = ErrString
		}
		if c == 't' && fault == nil {
			fault = parseTable(v, false, 1, new(int))
		}
		switch c {
		case 's', 'S', 't':
			values = append(values, fmt.Sprintf("%q", v))
		case 'o', 'h', 'w', 'q', 'b':
			values = append(values, fmt.Sprintf("%x", v))
		}
	}
	return values, b, fault, true
}

// parseTable says what is wrong with a table or an array, slowly, recursively
// and on its own.
func parseTable(b []byte, array bool, depth int, count *int) error {
	if depth > props.MaxDepth {
		return props.ErrDepth
	}
	fixed := map[byte]int{'I': 4, 'D': 5, 'T': 8, 'b': 1, 'B': 1, 's': 2, 'u': 2, 'i': 4, 'l': 8, 'L': 8, 'd': 8, 'f': 4, 't': 1, 'V': 0}
	r := bytes.NewReader(b)
	take := func(n int) ([]byte, bool) {
		if n > r.Len() {
			return nil, false
		}
		p := make([]byte, n)
		r.Read(p)
		return p, true
	}
	for r.Len() > 0 {
		if *count++; *count > props.MaxElements {
			return props.ErrElements
		}
		if !array {
			l, _ := r.ReadByte()
			if _, ok := take(int(l)); !ok {
				return props.ErrTable
			}
		}
		kind, err := r.ReadByte()
		if err != nil {
			return props.ErrTable
		}
		size, known := fixed[kind]
		if !known && !strings.ContainsRune("SxFA", rune(kind)) {
			return props.ErrFieldType
		}
		if !known {
			l, enough := take(4)
			if !enough {
				return props.ErrTable
			}
			size = int(min(binary.BigEndian.Uint32(l), math.MaxInt32))
		}
		data, ok := take(size)
		if !ok {
			return props.ErrTable
		}
		if kind == 'F' || kind == 'A' {
			if err := parseTable(data, kind == 'A', depth+1, count); err != nil {
				return err
			}
		}
	}
	return nil
}

// goProperties is what amqp091-go 1.14.0 sent of a message that has all
// properties but the cluster id.
const goProperties = "fff8 0a'text/plain' 01'e' 00000052 01'hS'00000001'v' 01'nF'0000000b 01'kl'0000000000000001 " +
	"03'arrA'0000001c 'I'00000001 't'01 'V' 'd'3ff8000000000000 'f'40000000 'x'00000001'x' 01'dD'0200000003 01'tT'000000006553f100 " +
	"02 04 01'c' 01'r' 03'100' 01'm' 000000006553f101 02'ty' 05'guest' 01'a'"

// clientMethods makes what decodes each method that a client sends.
var clientMethods = map[Method]func() decoder{
	MethodConnectionStartOK:      func() decoder { return new(StartOK) },
	MethodConnectionSecureOK:     func() decoder { return new(SecureOK) },
	MethodConnectionTuneOK:       func() decoder { return new(TuneOK) },
	MethodConnectionOpen:         func() decoder { return new(ConnectionOpen) },
	MethodConnectionClose:        func() decoder { return new(Close) },
	MethodConnectionCloseOK:      func() decoder { return new(empty) },
	MethodConnectionUpdateSecret: func() decoder { return new(UpdateSecret) },
	MethodChannelOpen:            func() decoder { return new(ChannelOpen) },
	MethodChannelFlow:            func() decoder { return new(ChannelFlow) },
	MethodChannelFlowOK:          func() decoder { return new(ChannelFlow) },
	MethodChannelClose:           func() decoder { return new(Close) },
	MethodChannelCloseOK:         func() decoder { return new(empty) },
	MethodAccessRequest:          func() decoder { return new(AccessRequest) },
	MethodExchangeDeclare:        func() decoder { return new(ExchangeDeclare) },
	MethodExchangeDelete:         func() decoder { return new(ExchangeDelete) },
	MethodExchangeBind:           func() decoder { return new(ExchangeBind) },
	MethodExchangeUnbind:         func() decoder { return new(ExchangeBind) },
	MethodQueueDeclare:           func() decoder { return new(QueueDeclare) },
	MethodQueueBind:              func() decoder { return new(QueueBind) },
	MethodQueueUnbind:            func() decoder { return new(QueueUnbind) },
	MethodQueuePurge:             func() decoder { return new(QueuePurge) },
	MethodQueueDelete:            func() decoder { return new(QueueDelete) },
	MethodBasicQos:               func() decoder { return new(Qos) },
	MethodBasicConsume:           func() decoder { return new(Consume) },
	MethodBasicCancel:            func() decoder { return new(Cancel) },
	MethodBasicCancelOK:          func() decoder { return new(CancelOK) },
	MethodBasicPublish:           func() decoder { return new(Publish) },
	MethodBasicGet:               func() decoder { return new(Get) },
	MethodBasicAck:               func() decoder { return new(Ack) },
	MethodBasicReject:            func() decoder { return new(Reject) },
	MethodBasicRecoverAsync:      func() decoder { return new(Recover) },
	MethodBasicRecover:           func() decoder { return new(Recover) },
	MethodBasicNack:              func() decoder { return new(Nack) },
	MethodConfirmSelect:          func() decoder { return new(ConfirmSelect) },
	MethodTxSelect:               func() decoder { return new(empty) },
	MethodTxCommit:               func() decoder { return new(empty) },
	MethodTxRollback:             func() decoder { return new(empty) },
}

type decoder interface{ Decode([]byte) error }

type empty struct{}

func (*empty) Decode(b []byte) error { return DecodeEmpty(b) }

// words has the fields of a decoded method in the order of the spec.
func words(d decoder) string {
	v := reflect.ValueOf(d).Elem()
	var out []string
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Slice:
			out = append(out, fmt.Sprintf("%s=%q", v.Type().Field(i).Name, f.Bytes()))
		default:
			out = append(out, fmt.Sprintf("%s=%v", v.Type().Field(i).Name, f.Interface()))
		}
	}
	return strings.Join(out, " ")
}

// encode makes the frame that a client would send of a decoded method.
func encode(channel uint16, m Method, d decoder) []byte {
	v := reflect.ValueOf(d).Elem()
	next := 0
	field := func() reflect.Value { next++; return v.Field(next - 1) }
	b := begin(nil, channel, m)
	for _, c := range spec[m] {
		switch c {
		case 'h':
			b = binary.BigEndian.AppendUint16(b, uint16(field().Uint()))
		case 'w':
			b = binary.BigEndian.AppendUint32(b, uint32(field().Uint()))
		case 'q':
			b = binary.BigEndian.AppendUint64(b, field().Uint())
		case 's':
			b = props.AppendShort(b, field().Bytes())
		case 'S', 't':
			b = props.AppendLong(b, field().Bytes())
		case 'b':
			var bits byte
			for n := uint(0); next < v.NumField() && v.Field(next).Kind() == reflect.Bool; n++ {
				bits |= bit(field().Bool(), n)
			}
			b = append(b, bits)
		case 'T':
			b = append(b, 0, 0)
		case 'H', 'R':
			b = append(b, 0)
		}
	}
	return end(b, 0)
}

// raw makes bytes of hex and of 'text'.
var raw = octets.Of

// open takes the only frame of b apart as a server would.
func open(b []byte) (h Header, payload []byte, err error) {
	h, more, err := ReadHeader(b)
	if err == nil && more {
		err = ErrShort
	}
	if err == nil {
		err = h.Check(1 << 20)
	}
	if err == nil {
		payload, err = h.Payload(b)
	}
	if err == nil && len(b) != h.Total() {
		err = ErrLong
	}
	return h, payload, err
}

// TestSpec compares the names with those of the spec.
func TestSpec(t *testing.T) {
	if len(spec) != len(methodNames) {
		t.Errorf("the spec has %d methods, the code %d", len(spec), len(methodNames))
	}
	classes := map[uint16]string{10: "connection.", 20: "channel.", 30: "access.", 40: "exchange.", 50: "queue.", 60: "basic.", 85: "confirm.", 90: "tx."}
	for m := range spec {
		if !m.Known() || !strings.HasPrefix(m.String(), classes[m.Class()]) || m != Method(m.Class())<<16|Method(m.ID()) {
			t.Errorf("%d.%d is %s", m.Class(), m.ID(), m)
		}
		// An answer has the id after what it answers, but for one.
		if ask := m - 1; strings.HasSuffix(m.String(), "-ok") && m != MethodExchangeUnbindOK && ask.String()+"-ok" != m.String() {
			t.Errorf("%s has id %d", m, m.ID())
		}
	}
	for _, m := range []Method{0, 10, 60<<16 | 41, 61<<16 | 40, 40<<16 | 41, 1<<31 | 40, 0xffffffff} {
		if m.Known() {
			t.Errorf("%x is %s", uint32(m), m)
		}
	}
	if got := Method(60<<16 | 41).String(); got != "method 60.41" {
		t.Error(got)
	}
	if MethodExchangeUnbindOK.ID() != 51 || MethodExchangeUnbind.ID() != 40 {
		t.Error("exchange.unbind is 40, its answer 51")
	}
}
