package amqp

import (
	"errors"
	"fmt"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// A failure ends a channel or the connection, with a code and a text that begins
// as RabbitMQ's does. (AMQP 1.2, reply codes)
type failure struct {
	code frame.Code
	text string
	hard bool // it ends the connection
	bare bool // no method is to blame
}

func (f *failure) Error() string {
	if f.text == "" {
		return f.code.String()
	}
	return f.code.String() + " - " + f.text
}

// soft ends the channel.
func soft(code frame.Code, format string, args ...any) error {
	return &failure{code: code, text: fmt.Sprintf(format, args...)}
}

// hard ends the connection.
func hard(code frame.Code, format string, args ...any) error {
	return &failure{code: code, text: fmt.Sprintf(format, args...), hard: true}
}

// bare is hard, with no method to blame.
func bare(code frame.Code, format string, args ...any) error {
	return &failure{code: code, text: fmt.Sprintf(format, args...), hard: true, bare: true}
}

// undecoded says of malformed arguments whose they are.
func undecoded(m frame.Method, err error) error {
	if err == nil { // as a rule, and malformed is an allocation
		return nil
	}
	var malformed *frame.Error
	if errors.As(err, &malformed) && malformed.Code == frame.FrameError && malformed != frame.ErrString {
		return hard(frame.FrameError, "cannot decode the arguments of %v: %s", m, malformed.Text)
	}
	return err
}

// errorTable has a row for every error of the core that a method can meet. The
// first that matches counts.
var errorTable = []struct {
	err  error
	code frame.Code
}{
	{core.ErrNotAuthorized, frame.AccessRefused},
	{core.ErrNotFound, frame.NotFound},
	{core.ErrExists, frame.PreconditionFailed},
	{core.ErrInUse, frame.PreconditionFailed},
	{core.ErrNotEmpty, frame.PreconditionFailed},
	{core.ErrBadAddress, frame.PreconditionFailed},
	{core.ErrQuota, frame.PreconditionFailed},
	{core.ErrTooLarge, frame.PreconditionFailed},
}

// failureOf says how an error ends what it is about.
func failureOf(err error) *failure {
	var f *failure
	var malformed *frame.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, props.ErrProperties):
		return &failure{code: frame.InternalError, hard: true, bare: true}
	case errors.As(err, &malformed):
		return &failure{code: malformed.Code, text: malformed.Text, hard: true, bare: malformed.Code != frame.SyntaxError}
	}
	for _, row := range errorTable {
		if errors.Is(err, row.err) {
			return &failure{code: row.code, text: err.Error()}
		}
	}
	return &failure{code: frame.InternalError, text: err.Error(), hard: true}
}
