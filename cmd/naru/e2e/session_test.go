package e2e

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// A session is the client's side of an MQTT session: one client id over any
// number of connections, with exact books. What it has published and not seen
// completed is sent again by resend; what it has received at QoS 2 and not seen
// released is not handed out twice. It reads and writes only when it is called,
// so a session that nobody calls is a client that does not read. All methods
// are for one goroutine.
type session struct {
	addr      string
	id        string
	clean     bool
	keepAlive uint16    // seconds, 0: none
	readBuf   int       // of the socket, 0: what the system gives
	will      *delivery // topic, payload and QoS
	user      string    // "": anonymous
	password  string

	net     net.Conn
	r       *bufio.Reader
	present bool // the broker knew the session

	lastID uint16
	open   []*outgoing     // published and not completed, in order
	done   func(*outgoing) // called when the broker has taken responsibility for it
	taken  map[uint16]bool // QoS 2 ids that were handed out and are not released
}

// An outgoing is a message at QoS 1 or 2 on its way to the broker.
type outgoing struct {
	id       uint16
	packet   []byte
	tag      int  // the test's own number for it
	recorded bool // PUBREC has come
}

// A delivery is a message as a client receives it.
type delivery struct {
	topic       string
	payload     []byte
	qos         byte
	id          uint16
	dup, retain bool
}

// patience is how long a session waits for a packet that must come, and for
// room to write.
const patience = 60 * time.Second

// connect opens a connection and logs in.
func (s *session) connect() (err error) {
	s.close()
	if s.net, err = net.Dial("tcp", s.addr); err != nil {
		return err
	}
	if s.readBuf > 0 {
		s.net.(*net.TCPConn).SetReadBuffer(s.readBuf)
	}
	s.r = bufio.NewReaderSize(s.net, 32<<10)
	flags, tail := byte(0), text(s.id)
	if s.clean {
		flags |= 0x02
		s.open, s.taken = nil, nil
	}
	if s.taken == nil {
		s.taken = map[uint16]bool{}
	}
	if s.will != nil {
		flags |= 0x04 | s.will.qos<<3
		tail = slices.Concat(tail, text(s.will.topic), text(string(s.will.payload)))
	}
	if s.user != "" {
		flags |= 0xc0
		tail = slices.Concat(tail, text(s.user), text(s.password))
	}
	head := append(text("MQTT"), 4, flags, byte(s.keepAlive>>8), byte(s.keepAlive))
	if err := s.write(pack(0x10, head, tail)); err != nil {
		return err
	}
	first, body, err := s.next()
	if err != nil {
		return fmt.Errorf("CONNECT: %w", err)
	}
	if first != 0x20 || len(body) != 2 || body[1] != 0 {
		return fmt.Errorf("CONNECT is answered by %x %x", first, body)
	}
	s.present = body[0] == 1
	return nil
}

// close drops the connection without a word.
func (s *session) close() {
	if s.net != nil {
		s.net.Close()
	}
}

// disconnect says goodbye and waits for the broker to close: what the client
// had acknowledged has been read by then.
func (s *session) disconnect() error {
	if err := s.write([]byte{0xe0, 0}); err != nil {
		return err
	}
	s.net.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, s.r)
	s.close()
	return err
}

// subscribe waits for SUBACK, which must be the next packet.
func (s *session) subscribe(filter string, qos byte) error {
	if err := s.write(pack(0x82, s.newID(), text(filter), []byte{qos})); err != nil {
		return err
	}
	first, body, err := s.next()
	if err != nil {
		return fmt.Errorf("SUBSCRIBE %s: %w", filter, err)
	}
	if first != 0x90 || len(body) != 3 || body[2] != qos {
		return fmt.Errorf("SUBSCRIBE %s at QoS %d is answered by %x %x", filter, qos, first, body)
	}
	return nil
}

// publish sends a message; settle or drain reads the broker's answers.
func (s *session) publish(topic string, qos byte, retain bool, payload []byte, tag int) error {
	first := 0x30 | qos<<1
	if retain {
		first |= 1
	}
	if qos == 0 {
		return s.write(pack(first, text(topic), payload))
	}
	id := s.newID()
	m := &outgoing{id: binary.BigEndian.Uint16(id), packet: pack(first, text(topic), id, payload), tag: tag}
	s.open = append(s.open, m)
	return s.write(m.packet)
}

// resend repeats what the former connection left open, as the standard has it:
// in order, PUBREL for what was recorded.
func (s *session) resend() error {
	for _, m := range s.open {
		again := slices.Clone(m.packet)
		again[0] |= 0x08
		if m.recorded {
			again = pack(0x62, binary.BigEndian.AppendUint16(nil, m.id))
		}
		if err := s.write(again); err != nil {
			return err
		}
	}
	return nil
}

// settle reads one packet, which must be an answer to something published.
func (s *session) settle() error {
	first, body, err := s.next()
	if err != nil {
		return err
	}
	return s.answer(first, body)
}

// drain settles until no more than left are open.
func (s *session) drain(left int) error {
	for len(s.open) > left {
		if err := s.settle(); err != nil {
			return fmt.Errorf("%d messages open: %w", len(s.open), err)
		}
	}
	return nil
}

func (s *session) answer(first byte, body []byte) error {
	if len(body) != 2 {
		return fmt.Errorf("unexpected packet %x %x", first, body[:min(len(body), 32)])
	}
	id := binary.BigEndian.Uint16(body)
	i := slices.IndexFunc(s.open, func(m *outgoing) bool { return m.id == id })
	if i < 0 {
		return fmt.Errorf("answer %x %x to nothing", first, body)
	}
	m := s.open[i]
	qos2 := m.packet[0]&0x06 == 0x04
	switch {
	case first == 0x40 && !qos2, first == 0x70 && qos2 && m.recorded:
		s.open = slices.Delete(s.open, i, i+1)
		if !qos2 && s.done != nil {
			s.done(m)
		}
		return nil
	case first == 0x50 && qos2:
		if !m.recorded && s.done != nil {
			s.done(m)
		}
		m.recorded = true
		return s.write(pack(0x62, body))
	}
	return fmt.Errorf("answer %x %x to %x", first, body, m.packet[0])
}

// receive returns the next message that was not handed out before, without
// acknowledging it.
func (s *session) receive() (*delivery, error) {
	for {
		first, body, err := s.next()
		if err != nil {
			return nil, err
		}
		switch first & 0xf0 {
		case 0x30:
			d, err := parseDelivery(first, body)
			if err != nil {
				return nil, err
			}
			if d.qos == 2 && s.taken[d.id] {
				if err := s.acknowledge(d); err != nil {
					return nil, err
				}
				continue
			}
			return d, nil
		case 0x60:
			delete(s.taken, binary.BigEndian.Uint16(body))
			if err := s.write(pack(0x70, body)); err != nil {
				return nil, err
			}
		default:
			if err := s.answer(first, body); err != nil {
				return nil, err
			}
		}
	}
}

// acknowledge sends PUBACK or PUBREC.
func (s *session) acknowledge(d *delivery) error {
	switch d.qos {
	case 1:
		return s.write(pack(0x40, binary.BigEndian.AppendUint16(nil, d.id)))
	case 2:
		s.taken[d.id] = true
		return s.write(pack(0x50, binary.BigEndian.AppendUint16(nil, d.id)))
	}
	return nil
}

// take receives and acknowledges. When the acknowledgement cannot be sent the
// message has come all the same.
func (s *session) take() (*delivery, error) {
	d, err := s.receive()
	if err == nil {
		s.acknowledge(d)
	}
	return d, err
}

// newID gives packet ids in turn, leaving out those still in use.
func (s *session) newID() []byte {
	for {
		s.lastID++
		used := func(m *outgoing) bool { return m.id == s.lastID }
		if s.lastID != 0 && !slices.ContainsFunc(s.open, used) {
			return binary.BigEndian.AppendUint16(nil, s.lastID)
		}
	}
}

func (s *session) write(b []byte) error {
	s.net.SetWriteDeadline(time.Now().Add(patience))
	_, err := s.net.Write(b)
	return err
}

// next reads one packet.
func (s *session) next() (first byte, body []byte, err error) {
	s.net.SetReadDeadline(time.Now().Add(patience))
	if first, err = s.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(s.r) // the same encoding as the remaining length
	if err != nil {
		return 0, nil, err
	}
	if n > 1<<28 {
		return 0, nil, fmt.Errorf("a packet of %d bytes", n)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(s.r, body)
	return first, body, err
}

func parseDelivery(first byte, body []byte) (*delivery, error) {
	d := &delivery{qos: first >> 1 & 3, dup: first&8 != 0, retain: first&1 != 0}
	bad := errors.New("a PUBLISH that is cut")
	if len(body) < 2 {
		return nil, bad
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if len(body) < n {
		return nil, bad
	}
	d.topic, body = string(body[2:n]), body[n:]
	if d.qos > 0 {
		if len(body) < 2 {
			return nil, bad
		}
		d.id, body = binary.BigEndian.Uint16(body), body[2:]
	}
	d.payload = body
	return d, nil
}

// pack puts the fixed header before the parts of a packet.
func pack(first byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := make([]byte, 0, n+5)
	out = append(append(out, first), remainingLength(n)...)
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// text is a string after its length.
func text(s string) []byte {
	return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...)
}
