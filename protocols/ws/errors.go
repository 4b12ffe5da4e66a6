package ws

import (
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/gorilla/websocket"

	"github.com/narumq/naru/core"
)

var (
	errText    = fmt.Errorf("%w: a text message where binary ones are spoken", core.ErrProtocol)
	errInflate = fmt.Errorf("%w: a compressed message that cannot be inflated", core.ErrProtocol)
)

// closeCode returns the code of the closing frame for the cause of an end. The
// first row that matches counts.
func closeCode(cause error) int {
	switch {
	case cause == nil, errors.Is(cause, io.EOF):
		return websocket.CloseNormalClosure
	case errors.Is(cause, core.ErrShutdown):
		return websocket.CloseGoingAway
	case errors.Is(cause, errText):
		return websocket.CloseUnsupportedData
	case errors.Is(cause, errInflate):
		return websocket.CloseInvalidFramePayloadData
	case errors.Is(cause, core.ErrTooLarge):
		return websocket.CloseMessageTooBig
	case errors.Is(cause, core.ErrProtocol), errors.Is(cause, core.ErrBadAddress):
		return websocket.CloseProtocolError
	}
	return websocket.ClosePolicyViolation
}

// readError sorts what gorilla returns: ours says that the connection ends
// because of what the client has sent, and should be told so.
func readError(err error) (cause error, ours bool) {
	var closed *websocket.CloseError
	var network net.Error
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &closed):
		switch closed.Code {
		case websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived, websocket.CloseAbnormalClosure:
			return io.EOF, false
		}
		return fmt.Errorf("the client closed the WebSocket with code %d: %w", closed.Code, io.EOF), false
	case errors.Is(err, io.EOF):
		return io.EOF, false
	case errors.As(err, &network):
		return err, false
	case errors.As(err, &corrupt), errors.Is(err, io.ErrUnexpectedEOF):
		return errInflate, true
	case errors.Is(err, websocket.ErrReadLimit):
		return fmt.Errorf("%w: a WebSocket message", core.ErrTooLarge), true
	}
	return fmt.Errorf("%w: %w", core.ErrProtocol, err), true
}
