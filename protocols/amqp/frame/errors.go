package frame

import "strconv"

// Code is the reply code of a connection.close, a channel.close or a
// basic.return.
type Code uint16

const (
	ReplySuccess       Code = 200
	ContentTooLarge    Code = 311
	NoRoute            Code = 312
	NoConsumers        Code = 313
	ConnectionForced   Code = 320
	InvalidPath        Code = 402
	AccessRefused      Code = 403
	NotFound           Code = 404
	ResourceLocked     Code = 405
	PreconditionFailed Code = 406
	FrameError         Code = 501
	SyntaxError        Code = 502
	CommandInvalid     Code = 503
	ChannelError       Code = 504
	UnexpectedFrame    Code = 505
	ResourceError      Code = 506
	NotAllowed         Code = 530
	NotImplemented     Code = 540
	InternalError      Code = 541
)

// String returns the name that a reply text begins with, as "NOT_FOUND".
func (c Code) String() string {
	switch c {
	case ReplySuccess:
		return "REPLY_SUCCESS"
	case ContentTooLarge:
		return "CONTENT_TOO_LARGE"
	case NoRoute:
		return "NO_ROUTE"
	case NoConsumers:
		return "NO_CONSUMERS"
	case ConnectionForced:
		return "CONNECTION_FORCED"
	case InvalidPath:
		return "INVALID_PATH"
	case AccessRefused:
		return "ACCESS_REFUSED"
	case NotFound:
		return "NOT_FOUND"
	case ResourceLocked:
		return "RESOURCE_LOCKED"
	case PreconditionFailed:
		return "PRECONDITION_FAILED"
	}
	return c.connectionName()
}

func (c Code) connectionName() string {
	switch c {
	case FrameError:
		return "FRAME_ERROR"
	case SyntaxError:
		return "SYNTAX_ERROR"
	case CommandInvalid:
		return "COMMAND_INVALID"
	case ChannelError:
		return "CHANNEL_ERROR"
	case UnexpectedFrame:
		return "UNEXPECTED_FRAME"
	case ResourceError:
		return "RESOURCE_ERROR"
	case NotAllowed:
		return "NOT_ALLOWED"
	case NotImplemented:
		return "NOT_IMPLEMENTED"
	case InternalError:
		return "INTERNAL_ERROR"
	}
	return "CODE_" + strconv.Itoa(int(c))
}

// An Error is a way in which bytes can be malformed. All of them end the
// connection: with a connection.close of Code, or, if that is 0, at once.
type Error struct {
	Code Code
	Text string
}

func (e *Error) Error() string { return e.Text }

// The ways in which bytes can be malformed.
var (
	ErrEnd       = &Error{FrameError, "frame does not end with octet 206"}
	ErrType      = &Error{FrameError, "unknown frame type"}
	ErrSize      = &Error{FrameError, "frame is larger than negotiated"}
	ErrShort     = &Error{FrameError, "frame ends early"}
	ErrLong      = &Error{FrameError, "bytes after the end of the arguments"}
	ErrString    = &Error{FrameError, "Malformed UTF-8 in shortstr"}
	ErrSASL      = &Error{SyntaxError, "malformed SASL response"}
	ErrHeartbeat = &Error{UnexpectedFrame, "heartbeat on a channel other than 0"}
	ErrWeight    = &Error{UnexpectedFrame, "content header with a weight"}

	// ErrUnknownMethod is of a class or method id that does not exist. The
	// socket is dropped without a connection.close.
	ErrUnknownMethod = &Error{0, "unknown method"}
)
