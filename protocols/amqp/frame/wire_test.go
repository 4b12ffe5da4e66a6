package frame

import (
	"bytes"
	"errors"
	"testing"

	"github.com/narumq/naru/core/props"
)

// TestClientMethods decodes frames whose bytes are known, and makes the same
// bytes of what was decoded.
func TestClientMethods(t *testing.T) {
	seen := map[Method]bool{}
	for _, test := range clientFrames {
		wire := raw(t, test.wire)
		h, payload, err := open(wire)
		if err != nil {
			t.Errorf("%s: %v", test.wire, err)
			continue
		}
		m, args, err := ReadMethod(payload)
		if err != nil || h.Type != FrameMethod || h.Channel != test.channel || m != test.method {
			t.Errorf("%s: %+v %s %v", test.wire, h, m, err)
			continue
		}
		seen[m] = true
		d := clientMethods[m]()
		if err := d.Decode(args); err != nil || words(d) != test.want {
			t.Errorf("%s:\n%s, %v\nwant %s", m, words(d), err, test.want)
		}
		if again := encode(h.Channel, m, d); !bytes.Equal(again, wire) {
			t.Errorf("%s:\n% x is made of\n% x", m, again, wire)
		}
		// Every part of the arguments is too short, and a byte more too long.
		for n := range len(args) {
			if err := clientMethods[m]().Decode(args[:n]); !errors.Is(err, ErrShort) {
				t.Errorf("%s: %d of %d bytes: %v", m, n, len(args), err)
			}
		}
		if err := clientMethods[m]().Decode(append(bytes.Clone(args), 0)); !errors.Is(err, ErrLong) {
			t.Errorf("%s with a byte more: %v", m, err)
		}
	}
	for m := range clientMethods {
		if !seen[m] {
			t.Errorf("no bytes of %s", m)
		}
	}
}

type clientFrame struct {
	wire    string
	channel uint16
	method  Method
	want    string
}

// clientFrames has frames of every method that a client sends. Most of them
// are what amqp091-go 1.14.0 sent; what it never sends is by the spec.
var clientFrames = []clientFrame{
	{"01 0000 0000008e 000a 000b 0000006a 01'aS' 00000001'b' 0c'capabilitiesF' 00000050 12'connection.blockedt'01 16'consumer_cancel_notifyt'01" +
		"0a'basic.nackt'01 12'publisher_confirmst'01 05'PLAIN' 0000000c 00'guest'00'guest' 05'en_US' ce", 0, MethodConnectionStartOK,
		`ClientProperties="\x01aS\x00\x00\x00\x01b\fcapabilitiesF\x00\x00\x00P\x12connection.blockedt\x01\x16consumer_cancel_notifyt\x01` +
			`\nbasic.nackt\x01\x12publisher_confirmst\x01" Mechanism="PLAIN" Response="\x00guest\x00guest" Locale="en_US"`},
	{"01 0000 0000000a 000a 0015 00000002'ab' ce", 0, MethodConnectionSecureOK, `Response="ab"`},
	{"01 0000 0000000c 000a 001f 07ff 00020000 000a ce", 0, MethodConnectionTuneOK, `ChannelMax=2047 FrameMax=131072 Heartbeat=10`},
	{"01 0000 00000008 000a 0028 01'v' 00 00 ce", 0, MethodConnectionOpen, `VirtualHost="v"`},
	{"01 0000 00000012 000a 0032 00c8 07'kthxbai' 0000 0000 ce", 0, MethodConnectionClose, `ReplyCode=REPLY_SUCCESS ReplyText="kthxbai" Method=method 0.0`},
	{"01 0000 00000004 000a 0033 ce", 0, MethodConnectionCloseOK, ""},
	{"01 0000 0000000f 000a 0046 00000003'new' 03'why' ce", 0, MethodConnectionUpdateSecret, `NewSecret="new" Reason="why"`},
	{"01 0001 00000005 0014 000a 00 ce", 1, MethodChannelOpen, ""},
	{"01 ffff 00000005 0014 0014 01 ce", 0xffff, MethodChannelFlow, "Active=true"},
	{"01 0001 00000005 0014 0015 00 ce", 1, MethodChannelFlowOK, "Active=false"},
	{"01 0001 0000000b 0014 0028 0194 00 003c 0028 ce", 1, MethodChannelClose, `ReplyCode=NOT_FOUND ReplyText="" Method=basic.publish`},
	{"01 0001 00000004 0014 0029 ce", 1, MethodChannelCloseOK, ""},
	{"01 0001 00000006 001e 000a 00 00 ce", 1, MethodAccessRequest, ""},
	{"01 0001 00000013 0028 000a 0000 01'x' 05'topic' 0a 00000000 ce", 1, MethodExchangeDeclare,
		`Exchange="x" Type="topic" Passive=false Durable=true AutoDelete=false Internal=true NoWait=false Arguments=""`},
	{"01 0001 00000013 0028 000a 0000 01'x' 05'topic' 15 00000000 ce", 1, MethodExchangeDeclare,
		`Exchange="x" Type="topic" Passive=true Durable=false AutoDelete=true Internal=false NoWait=true Arguments=""`},
	{"01 0001 00000009 0028 0014 0000 01'x' 01 ce", 1, MethodExchangeDelete, `Exchange="x" IfUnused=true NoWait=false`},
	{"01 0001 00000009 0028 0014 0000 01'x' 02 ce", 1, MethodExchangeDelete, `Exchange="x" IfUnused=false NoWait=true`},
	{"01 0001 00000011 0028 001e 0000 01'd' 01's' 01'k' 00 00000000 ce", 1, MethodExchangeBind,
		`Destination="d" Source="s" RoutingKey="k" NoWait=false Arguments=""`},
	{"01 0001 00000014 0028 0028 0000 01'd' 01's' 01'k' 01 00000003 01'kV' ce", 1, MethodExchangeUnbind,
		`Destination="d" Source="s" RoutingKey="k" NoWait=true Arguments="\x01kV"`},
	{"01 0001 0000001f 0032 000a 0000 01'q' 0e 00000012 0c'x-max-lengthI' 00000005 ce", 1, MethodQueueDeclare,
		`Queue="q" Passive=false Durable=true Exclusive=true AutoDelete=true NoWait=false Arguments="\fx-max-lengthI\x00\x00\x00\x05"`},
	{"01 0001 0000000d 0032 000a 0000 01'q' 11 00000000 ce", 1, MethodQueueDeclare,
		`Queue="q" Passive=true Durable=false Exclusive=false AutoDelete=false NoWait=true Arguments=""`},
	{"01 0001 0000000d 0032 000a 0000 01'q' 04 00000000 ce", 1, MethodQueueDeclare,
		`Queue="q" Passive=false Durable=false Exclusive=true AutoDelete=false NoWait=false Arguments=""`},
	{"01 0001 00000011 0032 0014 0000 01'q' 01'x' 01'k' 00 00000000 ce", 1, MethodQueueBind,
		`Queue="q" Exchange="x" RoutingKey="k" NoWait=false Arguments=""`},
	{"01 0001 00000010 0032 0032 0000 01'q' 01'x' 01'k' 00000000 ce", 1, MethodQueueUnbind,
		`Queue="q" Exchange="x" RoutingKey="k" Arguments=""`},
	{"01 0001 00000009 0032 001e 0000 01'q' 01 ce", 1, MethodQueuePurge, `Queue="q" NoWait=true`},
	{"01 0001 00000009 0032 0028 0000 01'q' 01 ce", 1, MethodQueueDelete, `Queue="q" IfUnused=true IfEmpty=false NoWait=false`},
	{"01 0001 00000009 0032 0028 0000 01'q' 02 ce", 1, MethodQueueDelete, `Queue="q" IfUnused=false IfEmpty=true NoWait=false`},
	{"01 0001 00000009 0032 0028 0000 01'q' 04 ce", 1, MethodQueueDelete, `Queue="q" IfUnused=false IfEmpty=false NoWait=true`},
	{"01 0001 0000000b 003c 000a 00000102 000a 01 ce", 1, MethodBasicQos, `PrefetchSize=258 PrefetchCount=10 Global=true`},
	{"01 0001 0000001f 003c 0014 0000 01'q' 04'ctag' 04 0000000d 0a'x-priorityb'03 ce", 1, MethodBasicConsume,
		`Queue="q" Tag="ctag" NoLocal=false NoAck=false Exclusive=true NoWait=false Arguments="\nx-priorityb\x03"`},
	{"01 0001 0000000d 003c 0014 0000 00 00 0b 00000000 ce", 1, MethodBasicConsume,
		`Queue="" Tag="" NoLocal=true NoAck=true Exclusive=false NoWait=true Arguments=""`},
	{"01 0001 0000000a 003c 001e 04'ctag' 00 ce", 1, MethodBasicCancel, `Tag="ctag" NoWait=false`},
	{"01 0001 00000009 003c 001f 04'ctag' ce", 1, MethodBasicCancelOK, `Tag="ctag"`},
	{"01 0001 0000000e 003c 0028 0000 02'ex' 03'key' 01 ce", 1, MethodBasicPublish, `Exchange="ex" RoutingKey="key" Mandatory=true Immediate=false`},
	{"01 0001 00000009 003c 0028 0000 00 00 02 ce", 1, MethodBasicPublish, `Exchange="" RoutingKey="" Mandatory=false Immediate=true`},
	{"01 0001 00000009 003c 0046 0000 01'q' 01 ce", 1, MethodBasicGet, `Queue="q" NoAck=true`},
	{"01 0001 0000000d 003c 0050 0000000000000001 01 ce", 1, MethodBasicAck, `Tag=1 Multiple=true`},
	{"01 0001 0000000d 003c 005a 0102030405060708 01 ce", 1, MethodBasicReject, `Tag=72623859790382856 Requeue=true`},
	{"01 0001 00000005 003c 0064 01 ce", 1, MethodBasicRecoverAsync, `Requeue=true`},
	{"01 0001 00000005 003c 006e 01 ce", 1, MethodBasicRecover, `Requeue=true`},
	{"01 0001 0000000d 003c 0078 0000000000000001 01 ce", 1, MethodBasicNack, `Tag=1 Multiple=true Requeue=false`},
	{"01 0001 0000000d 003c 0078 0000000000000001 02 ce", 1, MethodBasicNack, `Tag=1 Multiple=false Requeue=true`},
	{"01 0001 00000005 0055 000a 01 ce", 1, MethodConfirmSelect, "NoWait=true"},
	{"01 0001 00000004 005a 000a ce", 1, MethodTxSelect, ""},
	{"01 0001 00000004 005a 0014 ce", 1, MethodTxCommit, ""},
	{"01 0001 00000004 005a 001e ce", 1, MethodTxRollback, ""},
}

// TestServerMethods compares what a server sends with bytes that are known.
func TestServerMethods(t *testing.T) {
	seen := map[Method]bool{}
	for _, test := range serverFrames() {
		// What is in b before stays, whatever room it has.
		want := raw(t, test.wire)
		if !bytes.Equal(test.got, append([]byte("before"), want...)) {
			t.Errorf("%s:\n% x, want\n% x", test.method, test.got[6:], want)
		}
		h, payload, err := open(want)
		m, args, err2 := ReadMethod(payload)
		if err != nil || err2 != nil || m != test.method {
			t.Errorf("%s: %+v %s %v %v", test.method, h, m, err, err2)
			continue
		}
		if _, rest, fault, ok := parse(spec[m], args); !ok || len(rest) != 0 || fault != nil {
			t.Errorf("%s: not by the spec", m)
		}
		seen[m] = true
	}
	for m := range spec {
		if clientMethods[m] == nil && !seen[m] {
			t.Errorf("no bytes of %s", m)
		}
	}
}

type serverFrame struct {
	method Method
	got    []byte
	wire   string
}

func serverFrames() []serverFrame {
	b := func() []byte { return append(make([]byte, 0, 20), "before"...) }
	key := []byte("k")
	return []serverFrame{
		{MethodConnectionStart, AppendConnectionStart(b(), props.AddBool(nil, "a", true), "PLAIN AMQPLAIN", "en_US"),
			"01 0000 00000029 000a 000a 00 09 00000004 01'at'01 0000000e'PLAIN AMQPLAIN' 00000005'en_US' ce"},
		{MethodConnectionSecure, AppendConnectionSecure(b(), "c?"), "01 0000 0000000a 000a 0014 00000002'c?' ce"},
		{MethodConnectionTune, AppendConnectionTune(b(), 2047, 131072, 60), "01 0000 0000000c 000a 001e 07ff 00020000 003c ce"},
		{MethodConnectionOpenOK, AppendConnectionOpenOK(b()), "01 0000 00000005 000a 0029 00 ce"},
		{MethodConnectionClose, AppendConnectionClose(b(), NotAllowed, "no", MethodConnectionOpen), "01 0000 0000000d 000a 0032 0212 02'no' 000a 0028 ce"},
		{MethodConnectionCloseOK, AppendConnectionCloseOK(b()), "01 0000 00000004 000a 0033 ce"},
		{MethodConnectionBlocked, AppendConnectionBlocked(b(), "low on disk"), "01 0000 00000010 000a 003c 0b'low on disk' ce"},
		{MethodConnectionUnblocked, AppendConnectionUnblocked(b()), "01 0000 00000004 000a 003d ce"},
		{MethodConnectionUpdateSecretOK, AppendConnectionUpdateSecretOK(b()), "01 0000 00000004 000a 0047 ce"},
		{MethodChannelOpenOK, AppendChannelOpenOK(b(), 0x0102), "01 0102 00000008 0014 000b 00000000 ce"},
		{MethodChannelFlowOK, AppendChannelFlowOK(b(), 1, true), "01 0001 00000005 0014 0015 01 ce"},
		{MethodChannelClose, AppendChannelClose(b(), 1, NotFound, []byte("gone"), MethodQueueBind), "01 0001 0000000f 0014 0028 0194 04'gone' 0032 0014 ce"},
		{MethodChannelCloseOK, AppendChannelCloseOK(b(), 1), "01 0001 00000004 0014 0029 ce"},
		{MethodAccessRequestOK, AppendAccessRequestOK(b(), 1), "01 0001 00000006 001e 000b 0001 ce"},
		{MethodExchangeDeclareOK, AppendExchangeDeclareOK(b(), 1), "01 0001 00000004 0028 000b ce"},
		{MethodExchangeDeleteOK, AppendExchangeDeleteOK(b(), 1), "01 0001 00000004 0028 0015 ce"},
		{MethodExchangeBindOK, AppendExchangeBindOK(b(), 1), "01 0001 00000004 0028 001f ce"},
		{MethodExchangeUnbindOK, AppendExchangeUnbindOK(b(), 1), "01 0001 00000004 0028 0033 ce"},
		{MethodQueueDeclareOK, AppendQueueDeclareOK(b(), 1, "q", 3, 4), "01 0001 0000000e 0032 000b 01'q' 00000003 00000004 ce"},
		{MethodQueueBindOK, AppendQueueBindOK(b(), 1), "01 0001 00000004 0032 0015 ce"},
		{MethodQueueUnbindOK, AppendQueueUnbindOK(b(), 1), "01 0001 00000004 0032 0033 ce"},
		{MethodQueuePurgeOK, AppendQueuePurgeOK(b(), 1, 9), "01 0001 00000008 0032 001f 00000009 ce"},
		{MethodQueueDeleteOK, AppendQueueDeleteOK(b(), 1, 8), "01 0001 00000008 0032 0029 00000008 ce"},
		{MethodBasicQosOK, AppendBasicQosOK(b(), 1), "01 0001 00000004 003c 000b ce"},
		{MethodBasicConsumeOK, AppendBasicConsumeOK(b(), 1, "tag"), "01 0001 00000008 003c 0015 03'tag' ce"},
		{MethodBasicCancel, AppendBasicCancel(b(), 1, "tag"), "01 0001 00000009 003c 001e 03'tag' 01 ce"},
		{MethodBasicCancelOK, AppendBasicCancelOK(b(), 1, "tag"), "01 0001 00000008 003c 001f 03'tag' ce"},
		{MethodBasicReturn, AppendBasicReturn(b(), 1, NoRoute, "NO_ROUTE", "x", key), "01 0001 00000013 003c 0032 0138 08'NO_ROUTE' 01'x' 01'k' ce"},
		{MethodBasicDeliver, AppendBasicDeliver(b(), 1, "tag", 0x0102030405060708, true, "x", key),
			"01 0001 00000015 003c 003c 03'tag' 0102030405060708 01 01'x' 01'k' ce"},
		{MethodBasicDeliver, AppendBasicDeliver(b(), 1, "", 1, false, []byte(nil), ""), "01 0001 00000010 003c 003c 00 0000000000000001 00 00 00 ce"},
		{MethodBasicGetOK, AppendBasicGetOK(b(), 1, 5, true, "x", "k", 77), "01 0001 00000015 003c 0047 0000000000000005 01 01'x' 01'k' 0000004d ce"},
		{MethodBasicGetEmpty, AppendBasicGetEmpty(b(), 1), "01 0001 00000005 003c 0048 00 ce"},
		{MethodBasicAck, AppendBasicAck(b(), 1, 6, true), "01 0001 0000000d 003c 0050 0000000000000006 01 ce"},
		{MethodBasicNack, AppendBasicNack(b(), 1, 6, false), "01 0001 0000000d 003c 0078 0000000000000006 00 ce"},
		{MethodBasicRecoverOK, AppendBasicRecoverOK(b(), 1), "01 0001 00000004 003c 006f ce"},
		{MethodConfirmSelectOK, AppendConfirmSelectOK(b(), 1), "01 0001 00000004 0055 000b ce"},
		{MethodTxSelectOK, AppendTxSelectOK(b(), 1), "01 0001 00000004 005a 000b ce"},
		{MethodTxCommitOK, AppendTxCommitOK(b(), 1), "01 0001 00000004 005a 0015 ce"},
		{MethodTxRollbackOK, AppendTxRollbackOK(b(), 1), "01 0001 00000004 005a 001f ce"},
	}
}
