package core

import "errors"

// The errors of the core are few and named by what the client must hear. Each
// adapter translates them in one table, its errors.go.
var (
	// ErrBadCredentials: the user name or the password is wrong, or missing
	// where it is required.
	ErrBadCredentials = errors.New("bad user name or password")
	// ErrNotAuthorized: the identity is known and has no right to do this.
	ErrNotAuthorized = errors.New("not authorized")
	// ErrBadAddress: a topic, routing key, filter or name that is not legal.
	ErrBadAddress = errors.New("malformed address")
	// ErrNotFound: no such queue, exchange or vhost.
	ErrNotFound = errors.New("not found")
	// ErrExists: it is there already, with other properties.
	ErrExists = errors.New("exists with other properties")
	// ErrInUse: somebody uses it who excludes others, or it is not to go while
	// it is used.
	ErrInUse = errors.New("in use")
	// ErrNotEmpty: a queue that was to go only when empty has messages.
	ErrNotEmpty = errors.New("not empty")
	// ErrIdentifier: the client identifier is refused, because it is malformed
	// or because it belongs to another user.
	ErrIdentifier = errors.New("client identifier rejected")
	// ErrQuota: a configured limit (connections, subscriptions, queue length)
	// is reached.
	ErrQuota = errors.New("quota exceeded")
	// ErrTooLarge: the message exceeds what the receiver takes.
	ErrTooLarge = errors.New("message too large")
	// ErrUnavailable: the broker cannot do this now; a later attempt may work.
	ErrUnavailable = errors.New("server unavailable")
	// ErrProtocol: the peer broke the rules of its protocol.
	ErrProtocol = errors.New("protocol error")

	// ErrTakenOver ends a connection whose client id has connected anew.
	ErrTakenOver = errors.New("session taken over")
	// ErrKeepAlive ends a connection that has been silent for too long.
	ErrKeepAlive = errors.New("keep-alive timeout")
	// ErrSlow ends a consumer that sat on deliveries for too long, or whose
	// unsolicited replies filled its outbox.
	ErrSlow = errors.New("consumer too slow")
	// ErrShutdown ends every connection when the node stops.
	ErrShutdown = errors.New("server shutting down")
	// ErrKicked ends a connection by order of an operator.
	ErrKicked = errors.New("closed by operator")
)
