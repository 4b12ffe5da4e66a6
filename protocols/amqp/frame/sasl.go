package frame

import (
	"bytes"

	"github.com/narumq/naru/core/props"
)

// DecodePlain decodes a SASL PLAIN response: exactly NUL, user, NUL, password.
// To log in on behalf of another is not possible.
func DecodePlain(response []byte) (user, password []byte, err error) {
	if len(response) == 0 || response[0] != 0 {
		return nil, nil, ErrSASL
	}
	user, password, ok := bytes.Cut(response[1:], []byte{0})
	if !ok || bytes.IndexByte(password, 0) >= 0 {
		return nil, nil, ErrSASL
	}
	return user, password, nil
}

// DecodeAMQPlain decodes an AMQPLAIN response: a field table, without the
// length before it, that has LOGIN and PASSWORD as long strings.
func DecodeAMQPlain(response []byte) (user, password []byte, err error) {
	t := props.Table(response)
	if t.Validate() != nil {
		return nil, nil, ErrSASL
	}
	login, _ := t.Get("LOGIN")
	secret, _ := t.Get("PASSWORD")
	if login.Kind() != props.KindLongStr || secret.Kind() != props.KindLongStr {
		return nil, nil, ErrSASL
	}
	return login.Bytes(), secret.Bytes(), nil
}
