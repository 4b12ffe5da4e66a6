package frame

import (
	"encoding/binary"
	"strconv"
)

// Method is the class id and the method id of a method: class<<16 | method.
type Method uint32

// The classes.
const (
	ClassConnection = 10
	ClassChannel    = 20
	ClassAccess     = 30
	ClassExchange   = 40
	ClassQueue      = 50
	ClassBasic      = 60
	ClassConfirm    = 85
	ClassTx         = 90
)

// The methods. Ids leave gaps, and exchange.unbind-ok has 51.
const (
	MethodConnectionStart          Method = 10<<16 | 10
	MethodConnectionStartOK        Method = 10<<16 | 11
	MethodConnectionSecure         Method = 10<<16 | 20
	MethodConnectionSecureOK       Method = 10<<16 | 21
	MethodConnectionTune           Method = 10<<16 | 30
	MethodConnectionTuneOK         Method = 10<<16 | 31
	MethodConnectionOpen           Method = 10<<16 | 40
	MethodConnectionOpenOK         Method = 10<<16 | 41
	MethodConnectionClose          Method = 10<<16 | 50
	MethodConnectionCloseOK        Method = 10<<16 | 51
	MethodConnectionBlocked        Method = 10<<16 | 60
	MethodConnectionUnblocked      Method = 10<<16 | 61
	MethodConnectionUpdateSecret   Method = 10<<16 | 70
	MethodConnectionUpdateSecretOK Method = 10<<16 | 71

	MethodChannelOpen    Method = 20<<16 | 10
	MethodChannelOpenOK  Method = 20<<16 | 11
	MethodChannelFlow    Method = 20<<16 | 20
	MethodChannelFlowOK  Method = 20<<16 | 21
	MethodChannelClose   Method = 20<<16 | 40
	MethodChannelCloseOK Method = 20<<16 | 41

	MethodAccessRequest   Method = 30<<16 | 10
	MethodAccessRequestOK Method = 30<<16 | 11

	MethodExchangeDeclare   Method = 40<<16 | 10
	MethodExchangeDeclareOK Method = 40<<16 | 11
	MethodExchangeDelete    Method = 40<<16 | 20
	MethodExchangeDeleteOK  Method = 40<<16 | 21
	MethodExchangeBind      Method = 40<<16 | 30
	MethodExchangeBindOK    Method = 40<<16 | 31
	MethodExchangeUnbind    Method = 40<<16 | 40
	MethodExchangeUnbindOK  Method = 40<<16 | 51

	MethodQueueDeclare   Method = 50<<16 | 10
	MethodQueueDeclareOK Method = 50<<16 | 11
	MethodQueueBind      Method = 50<<16 | 20
	MethodQueueBindOK    Method = 50<<16 | 21
	MethodQueuePurge     Method = 50<<16 | 30
	MethodQueuePurgeOK   Method = 50<<16 | 31
	MethodQueueDelete    Method = 50<<16 | 40
	MethodQueueDeleteOK  Method = 50<<16 | 41
	MethodQueueUnbind    Method = 50<<16 | 50
	MethodQueueUnbindOK  Method = 50<<16 | 51

	MethodBasicQos          Method = 60<<16 | 10
	MethodBasicQosOK        Method = 60<<16 | 11
	MethodBasicConsume      Method = 60<<16 | 20
	MethodBasicConsumeOK    Method = 60<<16 | 21
	MethodBasicCancel       Method = 60<<16 | 30
	MethodBasicCancelOK     Method = 60<<16 | 31
	MethodBasicPublish      Method = 60<<16 | 40
	MethodBasicReturn       Method = 60<<16 | 50
	MethodBasicDeliver      Method = 60<<16 | 60
	MethodBasicGet          Method = 60<<16 | 70
	MethodBasicGetOK        Method = 60<<16 | 71
	MethodBasicGetEmpty     Method = 60<<16 | 72
	MethodBasicAck          Method = 60<<16 | 80
	MethodBasicReject       Method = 60<<16 | 90
	MethodBasicRecoverAsync Method = 60<<16 | 100
	MethodBasicRecover      Method = 60<<16 | 110
	MethodBasicRecoverOK    Method = 60<<16 | 111
	MethodBasicNack         Method = 60<<16 | 120

	MethodConfirmSelect   Method = 85<<16 | 10
	MethodConfirmSelectOK Method = 85<<16 | 11

	MethodTxSelect     Method = 90<<16 | 10
	MethodTxSelectOK   Method = 90<<16 | 11
	MethodTxCommit     Method = 90<<16 | 20
	MethodTxCommitOK   Method = 90<<16 | 21
	MethodTxRollback   Method = 90<<16 | 30
	MethodTxRollbackOK Method = 90<<16 | 31
)

// Class returns the class id.
func (m Method) Class() uint16 { return uint16(m >> 16) }

// ID returns the method id in the class.
func (m Method) ID() uint16 { return uint16(m) }

// Known says whether there is such a method, whoever sends it.
func (m Method) Known() bool {
	// The two that come with every message do without the map.
	return m == MethodBasicPublish || m == MethodBasicAck || methodNames[m] != ""
}

// String returns the name, as "basic.publish".
func (m Method) String() string {
	if s := methodNames[m]; s != "" {
		return s
	}
	return "method " + strconv.Itoa(int(m.Class())) + "." + strconv.Itoa(int(m.ID()))
}

// ReadMethod takes the payload of a method frame apart. That the method is
// known is found out where its arguments are decoded.
func ReadMethod(payload []byte) (m Method, args []byte, err error) {
	if len(payload) < 4 {
		return 0, nil, ErrShort
	}
	return Method(binary.BigEndian.Uint32(payload)), payload[4:], nil
}

var methodNames = map[Method]string{
	MethodConnectionStart:          "connection.start",
	MethodConnectionStartOK:        "connection.start-ok",
	MethodConnectionSecure:         "connection.secure",
	MethodConnectionSecureOK:       "connection.secure-ok",
	MethodConnectionTune:           "connection.tune",
	MethodConnectionTuneOK:         "connection.tune-ok",
	MethodConnectionOpen:           "connection.open",
	MethodConnectionOpenOK:         "connection.open-ok",
	MethodConnectionClose:          "connection.close",
	MethodConnectionCloseOK:        "connection.close-ok",
	MethodConnectionBlocked:        "connection.blocked",
	MethodConnectionUnblocked:      "connection.unblocked",
	MethodConnectionUpdateSecret:   "connection.update-secret",
	MethodConnectionUpdateSecretOK: "connection.update-secret-ok",
	MethodChannelOpen:              "channel.open",
	MethodChannelOpenOK:            "channel.open-ok",
	MethodChannelFlow:              "channel.flow",
	MethodChannelFlowOK:            "channel.flow-ok",
	MethodChannelClose:             "channel.close",
	MethodChannelCloseOK:           "channel.close-ok",
	MethodAccessRequest:            "access.request",
	MethodAccessRequestOK:          "access.request-ok",
	MethodExchangeDeclare:          "exchange.declare",
	MethodExchangeDeclareOK:        "exchange.declare-ok",
	MethodExchangeDelete:           "exchange.delete",
	MethodExchangeDeleteOK:         "exchange.delete-ok",
	MethodExchangeBind:             "exchange.bind",
	MethodExchangeBindOK:           "exchange.bind-ok",
	MethodExchangeUnbind:           "exchange.unbind",
	MethodExchangeUnbindOK:         "exchange.unbind-ok",
	MethodQueueDeclare:             "queue.declare",
	MethodQueueDeclareOK:           "queue.declare-ok",
	MethodQueueBind:                "queue.bind",
	MethodQueueBindOK:              "queue.bind-ok",
	MethodQueuePurge:               "queue.purge",
	MethodQueuePurgeOK:             "queue.purge-ok",
	MethodQueueDelete:              "queue.delete",
	MethodQueueDeleteOK:            "queue.delete-ok",
	MethodQueueUnbind:              "queue.unbind",
	MethodQueueUnbindOK:            "queue.unbind-ok",
	MethodBasicQos:                 "basic.qos",
	MethodBasicQosOK:               "basic.qos-ok",
	MethodBasicConsume:             "basic.consume",
	MethodBasicConsumeOK:           "basic.consume-ok",
	MethodBasicCancel:              "basic.cancel",
	MethodBasicCancelOK:            "basic.cancel-ok",
	MethodBasicPublish:             "basic.publish",
	MethodBasicReturn:              "basic.return",
	MethodBasicDeliver:             "basic.deliver",
	MethodBasicGet:                 "basic.get",
	MethodBasicGetOK:               "basic.get-ok",
	MethodBasicGetEmpty:            "basic.get-empty",
	MethodBasicAck:                 "basic.ack",
	MethodBasicReject:              "basic.reject",
	MethodBasicRecoverAsync:        "basic.recover-async",
	MethodBasicRecover:             "basic.recover",
	MethodBasicRecoverOK:           "basic.recover-ok",
	MethodBasicNack:                "basic.nack",
	MethodConfirmSelect:            "confirm.select",
	MethodConfirmSelectOK:          "confirm.select-ok",
	MethodTxSelect:                 "tx.select",
	MethodTxSelectOK:               "tx.select-ok",
	MethodTxCommit:                 "tx.commit",
	MethodTxCommitOK:               "tx.commit-ok",
	MethodTxRollback:               "tx.rollback",
	MethodTxRollbackOK:             "tx.rollback-ok",
}
