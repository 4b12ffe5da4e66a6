package amqp

import (
	"errors"
	"fmt"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// A failure ends a channel or the connection, with a code and a text that begins
// as RabbitMQ's does. (AMQP 1.2, reply codes)
type failure struct {
	code frame.Code
	text string
	hard bool // it ends the connection
}

func (f *failure) Error() string { return f.code.String() + " - " + f.text }

// soft ends the channel.
func soft(code frame.Code, format string, args ...any) error {
	return &failure{code, fmt.Sprintf(format, args...), false}
}

// hard ends the connection.
func hard(code frame.Code, format string, args ...any) error {
	return &failure{code, fmt.Sprintf(format, args...), true}
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
	case errors.As(err, &malformed):
		return &failure{malformed.Code, malformed.Text, true}
	}
	for _, row := range errorTable {
		if errors.Is(err, row.err) {
			return &failure{row.code, err.Error(), false}
		}
	}
	return &failure{frame.InternalError, err.Error(), true}
}
