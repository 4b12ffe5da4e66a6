package amqp

import (
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// signatures are the arguments of every method: s a short string, l a long one, t
// a table, o an octet, 2, 4 and 8 numbers of so many bytes, b an octet of flags.
// What servers send is here too, because clients may send it.
var signatures = []struct {
	m    frame.Method
	args string
}{
	{frame.MethodConnectionStart, "ootll"}, {frame.MethodConnectionStartOK, "tsls"},
	{frame.MethodConnectionSecure, "l"}, {frame.MethodConnectionSecureOK, "l"},
	{frame.MethodConnectionTune, "242"}, {frame.MethodConnectionTuneOK, "242"},
	{frame.MethodConnectionOpen, "ssb"}, {frame.MethodConnectionOpenOK, "s"},
	{frame.MethodConnectionClose, "2s22"}, {frame.MethodConnectionCloseOK, ""},
	{frame.MethodConnectionBlocked, "s"}, {frame.MethodConnectionUnblocked, ""},
	{frame.MethodConnectionUpdateSecret, "ls"}, {frame.MethodConnectionUpdateSecretOK, ""},
	{frame.MethodChannelOpen, "s"}, {frame.MethodChannelOpenOK, "l"},
	{frame.MethodChannelFlow, "b"}, {frame.MethodChannelFlowOK, "b"},
	{frame.MethodChannelClose, "2s22"}, {frame.MethodChannelCloseOK, ""},
	{frame.MethodAccessRequest, "sb"}, {frame.MethodAccessRequestOK, "2"},
	{frame.MethodExchangeDeclare, "2ssbt"}, {frame.MethodExchangeDeclareOK, ""},
	{frame.MethodExchangeDelete, "2sb"}, {frame.MethodExchangeDeleteOK, ""},
	{frame.MethodExchangeBind, "2sssbt"}, {frame.MethodExchangeBindOK, ""},
	{frame.MethodExchangeUnbind, "2sssbt"}, {frame.MethodExchangeUnbindOK, ""},
	{frame.MethodQueueDeclare, "2sbt"}, {frame.MethodQueueDeclareOK, "s44"},
	{frame.MethodQueueBind, "2sssbt"}, {frame.MethodQueueBindOK, ""},
	{frame.MethodQueueUnbind, "2ssst"}, {frame.MethodQueueUnbindOK, ""},
	{frame.MethodQueuePurge, "2sb"}, {frame.MethodQueuePurgeOK, "4"},
	{frame.MethodQueueDelete, "2sb"}, {frame.MethodQueueDeleteOK, "4"},
	{frame.MethodBasicQos, "42b"}, {frame.MethodBasicQosOK, ""},
	{frame.MethodBasicConsume, "2ssbt"}, {frame.MethodBasicConsumeOK, "s"},
	{frame.MethodBasicCancel, "sb"}, {frame.MethodBasicCancelOK, "s"},
	{frame.MethodBasicPublish, "2ssb"}, {frame.MethodBasicReturn, "2sss"},
	{frame.MethodBasicDeliver, "s8bss"},
	{frame.MethodBasicGet, "2sb"}, {frame.MethodBasicGetOK, "8bss4"}, {frame.MethodBasicGetEmpty, "s"},
	{frame.MethodBasicAck, "8b"}, {frame.MethodBasicReject, "8b"}, {frame.MethodBasicNack, "8b"},
	{frame.MethodBasicRecoverAsync, "b"}, {frame.MethodBasicRecover, "b"}, {frame.MethodBasicRecoverOK, ""},
	{frame.MethodConfirmSelect, "b"}, {frame.MethodConfirmSelectOK, ""},
	{frame.MethodTxSelect, ""}, {frame.MethodTxSelectOK, ""},
	{frame.MethodTxCommit, ""}, {frame.MethodTxCommitOK, ""},
	{frame.MethodTxRollback, ""}, {frame.MethodTxRollbackOK, ""},
}

// arguments makes arguments by a signature; next chooses them.
func argumentsOf(signature string, next func() byte) (args []any) {
	for _, kind := range signature {
		n := next()
		switch kind {
		case 's':
			args = append(args, fuzzNames[int(n)%len(fuzzNames)])
		case 'l':
			args = append(args, long(fuzzNames[int(n)%len(fuzzNames)]))
		case 't':
			args = append(args, fuzzTables[int(n)%len(fuzzTables)])
		case 'o', 'b':
			args = append(args, bits(n))
		case '2':
			args = append(args, uint16(n%4))
		case '4':
			args = append(args, uint32(n)<<(n%3*8))
		case '8':
			args = append(args, uint64(n%8))
		}
	}
	return args
}

var fuzzNames = []string{
	"", "q1", "q2", "x1", "x2", "topic", "fanout", "headers", "x-consistent-hash", "a.b", "#", "3", "amq.topic", "amq.headers",
	"c1", "direct", "amq.rabbitmq.reply-to", "amq.x", "$share/g/a", "PLAIN", "\x00g\x00p", "/", string(make([]byte, 255)),
}

var fuzzTables = func() []props.Table {
	tables := []props.Table{nil, []byte("\x01a"), []byte("\x01aF\x00\x00\x00\x02\x01b")} // two of them broken
	for _, a := range []struct {
		name   string
		values []any
	}{
		{"x-max-length", []any{int64(0), int64(1), "1"}}, {"x-message-ttl", []any{int64(0), int64(50), int64(-1)}}, {"x-max-priority", []any{int64(3), int64(255)}},
		{"x-overflow", []any{"reject-publish", "reject-publish-dlx"}}, {"x-dead-letter-exchange", []any{"", "x1", "amq.fanout"}},
		{"x-single-active-consumer", []any{true}}, {"x-expires", []any{int64(1)}}, {"x-queue-type", []any{"quorum", "stream", "classic"}},
		{"alternate-exchange", []any{"x2", "x1"}}, {"x-match", []any{"any", "all-with-x", "?"}}, {"hash-header", []any{"a"}}, {"x-priority", []any{int64(-3), "?"}},
	} {
		for _, v := range a.values {
			switch v := v.(type) {
			case int64:
				tables = append(tables, props.AddInt64(nil, a.name, v))
			case string:
				tables = append(tables, props.AddStr(nil, a.name, v))
			case bool:
				tables = append(tables, props.AddBool(nil, a.name, v))
			}
		}
	}
	dlx := props.AddStr(props.AddStr(nil, "x-dead-letter-exchange", ""), "x-dead-letter-routing-key", "q1")
	return append(tables, props.AddStr(props.AddInt64(dlx, "x-max-length", 1), "x-overflow", "reject-publish-dlx"))
}()
