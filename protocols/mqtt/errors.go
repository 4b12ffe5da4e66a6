package mqtt

import (
	"errors"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// action is what becomes of a packet that the bus refuses.
type action uint8

const (
	closes  action = iota // the connection ends
	drops                 // acknowledged, or answered with a failure code, and dropped
	ignores               // not acknowledged: the client will try again
)

// errorRow says what a client hears of one of the core's errors. MQTT 3.1.1 has
// codes for CONNECT and SUBSCRIBE only.
type errorRow struct {
	err       error
	connect   packet.ConnectCode
	publish   action
	subscribe action
}

// errorTable has a row for every error of the core; the first that matches
// counts.
var errorTable = []errorRow{
	{core.ErrBadCredentials, packet.BadCredentials, closes, closes},
	{core.ErrNotAuthorized, packet.NotAuthorized, drops, drops},
	{core.ErrIdentifier, packet.IdentifierRejected, closes, closes},
	{core.ErrBadAddress, packet.NotAuthorized, closes, closes},
	{core.ErrNotFound, packet.BadCredentials, drops, drops},
	{core.ErrExists, packet.NotAuthorized, drops, drops},
	{core.ErrInUse, packet.NotAuthorized, drops, drops},
	{core.ErrNotEmpty, packet.NotAuthorized, drops, drops},
	{core.ErrQuota, packet.ServerUnavailable, ignores, drops},
	{core.ErrTooLarge, packet.NotAuthorized, closes, closes},
	{core.ErrUnavailable, packet.ServerUnavailable, ignores, drops},
	{core.ErrProtocol, packet.NotAuthorized, closes, closes},
	{core.ErrTakenOver, packet.ServerUnavailable, closes, closes},
	{core.ErrKeepAlive, packet.ServerUnavailable, closes, closes},
	{core.ErrSlow, packet.ServerUnavailable, closes, closes},
	{core.ErrShutdown, packet.ServerUnavailable, closes, closes},
	{core.ErrKicked, packet.ServerUnavailable, closes, closes},
}

// other is for errors that are not the core's: of an authenticator's back end,
// or an interceptor's no.
var other = errorRow{nil, packet.ServerUnavailable, drops, drops}

func rowOf(err error) *errorRow {
	for i := range errorTable {
		if errors.Is(err, errorTable[i].err) {
			return &errorTable[i]
		}
	}
	return &other
}

func codeOf(err error) packet.ConnectCode { return rowOf(err).connect }
