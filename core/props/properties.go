package props

import (
	"encoding/binary"
	"math/bits"
)

// Flags says which properties a message has.
type Flags uint16

const (
	HasContentType Flags = 1 << (15 - iota)
	HasContentEncoding
	HasHeaders
	HasDeliveryMode
	HasPriority
	HasCorrelationID
	HasReplyTo
	HasExpiration
	HasMessageID
	HasTimestamp
	HasType
	HasUserID
	HasAppID
	HasClusterID // deprecated

	// noFlags are that of a fifteenth property, which does not exist, and that
	// of another word of flags, which could only be about more of them. Both
	// are refused: clients read one word, and would take what follows for
	// something else.
	noFlags Flags = 3
)

// Properties are the properties of a message, decoded. Short strings in them
// are not checked to be text: RabbitMQ lets correlation ids of any bytes pass.
type Properties struct {
	Has             Flags // what is not in it is zero
	ContentType     []byte
	ContentEncoding []byte
	Headers         Table
	DeliveryMode    uint8
	Priority        uint8
	CorrelationID   []byte
	ReplyTo         []byte
	Expiration      []byte
	MessageID       []byte
	Timestamp       uint64
	Type            []byte
	UserID          []byte
	AppID           []byte
	ClusterID       []byte
}

// Summary is what a broker must know of the properties of each message.
type Summary struct {
	Has          Flags // all of them
	DeliveryMode uint8 // 2 is persistent
	Priority     uint8
	Headers      Table
	ReplyTo      []byte
	Expiration   []byte
	UserID       []byte
}

// Persistent says whether the delivery mode is 2.
func (s *Summary) Persistent() bool { return s.DeliveryMode == 2 }

// Scan checks the properties of a Content whole and returns the summary.
func Scan(properties []byte) (s Summary, err error) {
	flags, b, err := readFlags(properties)
	if err != nil {
		return s, err
	}
	s.Has = flags
	for flags != 0 {
		f := Flags(1) << (bits.Len16(uint16(flags)) - 1)
		flags &^= f
		var v []byte
		if v, b = takeProperty(b, f); v == nil {
			return Summary{}, ErrProperties
		}
		switch f {
		case HasDeliveryMode:
			s.DeliveryMode = v[0]
		case HasPriority:
			s.Priority = v[0]
		case HasReplyTo:
			s.ReplyTo = v
		case HasExpiration:
			s.Expiration = v
		case HasUserID:
			s.UserID = v
		case HasHeaders:
			if s.Headers = v; s.Headers.Validate() != nil {
				return Summary{}, ErrProperties
			}
		}
	}
	if len(b) != 0 {
		return Summary{}, ErrProperties
	}
	return s, nil
}

func readFlags(b []byte) (Flags, []byte, error) {
	if len(b) < 2 {
		return 0, nil, ErrProperties
	}
	flags := Flags(binary.BigEndian.Uint16(b))
	if flags&noFlags != 0 {
		return 0, nil, ErrProperties
	}
	return flags, b[2:], nil
}

// takeProperty takes the value of one property, without the length before it.
// v is nil only if b is too short.
func takeProperty(b []byte, f Flags) (v, rest []byte) {
	head, n := 0, 1
	switch f {
	case HasDeliveryMode, HasPriority:
	case HasTimestamp:
		n = 8
	case HasHeaders:
		if len(b) < 4 {
			return nil, nil
		}
		head, n = 4, Length(b)
	default:
		if len(b) == 0 {
			return nil, nil
		}
		head, n = 1, int(b[0])
	}
	if n > len(b)-head {
		return nil, nil
	}
	return b[head : head+n : head+n], b[head+n:]
}

// Decode decodes the properties of a Content, and checks them as Scan does.
func (p *Properties) Decode(properties []byte) error {
	flags, b, err := readFlags(properties)
	if err != nil {
		return err
	}
	*p = Properties{Has: flags}
	for flags != 0 {
		f := Flags(1) << (bits.Len16(uint16(flags)) - 1)
		flags &^= f
		var v []byte
		if v, b = takeProperty(b, f); v == nil {
			return ErrProperties
		}
		switch f {
		case HasHeaders:
			if p.Headers = v; p.Headers.Validate() != nil {
				return ErrProperties
			}
		case HasDeliveryMode:
			p.DeliveryMode = v[0]
		case HasPriority:
			p.Priority = v[0]
		case HasTimestamp:
			p.Timestamp = binary.BigEndian.Uint64(v)
		default:
			*p.text(f) = v
		}
	}
	if len(b) != 0 {
		return ErrProperties
	}
	return nil
}

// text returns the field of a property that is a short string.
func (p *Properties) text(f Flags) *[]byte {
	switch f {
	case HasContentType:
		return &p.ContentType
	case HasContentEncoding:
		return &p.ContentEncoding
	case HasCorrelationID:
		return &p.CorrelationID
	case HasReplyTo:
		return &p.ReplyTo
	case HasExpiration:
		return &p.Expiration
	case HasMessageID:
		return &p.MessageID
	case HasType:
		return &p.Type
	case HasUserID:
		return &p.UserID
	case HasAppID:
		return &p.AppID
	}
	return &p.ClusterID
}

// AppendProperties appends the properties that p.Has names: what Content has,
// and AppendHeaderFrame takes. Short strings are cut at 255 bytes.
func AppendProperties(b []byte, p *Properties) []byte {
	flags := p.Has &^ noFlags
	b = binary.BigEndian.AppendUint16(b, uint16(flags))
	for flags != 0 {
		f := Flags(1) << (bits.Len16(uint16(flags)) - 1)
		flags &^= f
		switch f {
		case HasHeaders:
			b = AppendLong(b, p.Headers)
		case HasDeliveryMode:
			b = append(b, p.DeliveryMode)
		case HasPriority:
			b = append(b, p.Priority)
		case HasTimestamp:
			b = binary.BigEndian.AppendUint64(b, p.Timestamp)
		default:
			b = AppendShort(b, *p.text(f))
		}
	}
	return b
}

// HeadersOf returns the headers of a Content, and nothing if it has none. It
// checks nothing else.
func HeadersOf(properties []byte) Table {
	flags, b, err := readFlags(properties)
	if err != nil || flags&HasHeaders == 0 {
		return nil
	}
	var v []byte
	for _, f := range [...]Flags{HasContentType, HasContentEncoding, HasHeaders} {
		if flags&f == 0 {
			continue
		}
		if v, b = takeProperty(b, f); v == nil {
			return nil
		}
	}
	return v
}
