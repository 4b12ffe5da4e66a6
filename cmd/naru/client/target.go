package client

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A Target is a broker, and what its URL says about the use that is made of it.
type Target struct {
	Scheme string // mqtt, mqtts, ws, wss, unix, amqp or amqps
	Host   string
	Port   string
	Path   string // of the WebSocket, or of the Unix socket

	User        string
	Password    string
	HasPassword bool

	Topics   []string
	ClientID string
	QoS      byte
	HasQoS   bool
	Retain   bool

	// of amqp and amqps
	VHost     string
	Heartbeat time.Duration
	Patience  time.Duration // for the connection
	Security  Security
}

// DefaultTarget is where a broker listens that nobody has configured.
func DefaultTarget() Target { return Target{Scheme: "mqtt", Host: "127.0.0.1", Port: "1883"} }

// schemes are the known schemes and their ports. Those of WebSocket are what a
// URL means everywhere else, browsers included.
var schemes = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443", "unix": "", "amqp": "5672", "amqps": "5671"}

// aliases are other names that people know.
var aliases = map[string]string{"tcp": "mqtt", "ssl": "mqtts", "tls": "mqtts", "mqtt+ssl": "mqtts"}

// ParseTarget reads a URL:
//
//	mqtt[s]://[user[:password]@]host[:port][/topic][?parameters]
//	ws[s]://[user[:password]@]host[:port][/path][?parameters]
//	unix:///path[?parameters]
//	amqp[s]://[user[:password]@]host[:port][/vhost][?parameters]
//
// The parameters are topic (any number), qos, retain and id, and of AMQP those of
// RabbitMQ that make sense here. It is not parsed by net/url, for which the # of a
// filter begins a fragment.
func ParseTarget(text string) (Target, error) {
	t, err := parseTarget(text)
	if err != nil {
		return Target{}, fmt.Errorf("%s: %w", withoutPassword(text), err)
	}
	return t, nil
}

func parseTarget(text string) (Target, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return Target{}, fmt.Errorf("not a URL: it should begin with mqtt://, mqtts://, ws://, wss://, amqp:// or amqps://")
	}
	t := Target{Scheme: strings.ToLower(scheme)}
	if name, ok := aliases[t.Scheme]; ok {
		t.Scheme = name
	}
	port, ok := schemes[t.Scheme]
	if !ok {
		return Target{}, fmt.Errorf("scheme %q is not known: mqtt, mqtts, ws, wss, unix, amqp or amqps", scheme)
	}
	if t.AMQP() {
		t.VHost = "/"
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, slash := strings.Cut(rest, "/")
	if err := t.setAuthority(authority, port); err != nil {
		return Target{}, err
	}
	if slash {
		if err := t.setPath(path); err != nil {
			return Target{}, err
		}
	}
	if t.Scheme == "unix" && t.Path == "" {
		return Target{}, fmt.Errorf("the path of the socket is missing")
	}
	return t, t.setParameters(query)
}

func (t *Target) setAuthority(s, port string) (err error) {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		user, password, has := strings.Cut(s[:i], ":")
		if t.User, err = url.PathUnescape(user); err == nil {
			t.Password, err = url.PathUnescape(password)
		}
		if err != nil {
			return fmt.Errorf("user or password has a %% that is not followed by two hexadecimal digits")
		}
		t.HasPassword = has
		s = s[i+1:]
	}
	if t.Scheme == "unix" {
		if s != "" {
			return fmt.Errorf("a Unix socket has no host")
		}
		return nil
	}
	t.Host, t.Port = s, port
	// An IPv6 address stands in brackets, so a colon behind them begins a port.
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		t.Host, t.Port = s[:i], s[i+1:]
		if err := CheckPort(t.Port); err != nil {
			return err
		}
	}
	if strings.HasPrefix(t.Host, "[") && strings.HasSuffix(t.Host, "]") {
		t.Host = t.Host[1 : len(t.Host)-1]
	} else if strings.Contains(t.Host, ":") {
		return fmt.Errorf("an IPv6 address stands in brackets: [::1]")
	}
	if t.Host == "" || strings.ContainsAny(t.Host, "[]# ") {
		return fmt.Errorf("host %q is not valid", t.Host)
	}
	return nil
}

// CheckPort says whether a port is one.
func CheckPort(port string) error {
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %q is not between 1 and 65535", port)
	}
	return nil
}

func (t *Target) setPath(path string) error {
	switch t.Scheme {
	case "ws", "wss":
		t.Path = "/" + path
		return nil
	}
	path, err := url.PathUnescape(path)
	if err != nil {
		return err
	}
	switch {
	case t.Scheme == "unix":
		t.Path = "/" + path
	case path == "":
	case t.AMQP():
		t.VHost = path
	default:
		t.Topics = append(t.Topics, path)
	}
	return nil
}

func (t *Target) setParameters(query string) error {
	for query != "" {
		var one string
		one, query, _ = strings.Cut(query, "&")
		if one == "" {
			continue
		}
		key, text, has := strings.Cut(one, "=")
		value, err := url.PathUnescape(text) // a plus sign is a wildcard here, not a blank
		if err != nil {
			return err
		}
		switch key {
		case "topic":
			t.Topics = append(t.Topics, value)
		case "id", "client_id", "clientid":
			t.ClientID = value
		case "qos":
			if value != "0" && value != "1" && value != "2" {
				return fmt.Errorf("qos %q is not 0, 1 or 2", value)
			}
			t.QoS, t.HasQoS = value[0]-'0', true
		case "retain":
			if t.Retain, err = strconv.ParseBool(value); err != nil && has {
				return fmt.Errorf("retain %q is not true or false", value)
			}
			t.Retain = t.Retain || !has
		default:
			if !t.AMQP() {
				return fmt.Errorf("parameter %q is not known: topic, qos, retain, id", key)
			}
			if err := t.setAMQPParameter(key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// setAMQPParameter takes parameters as RabbitMQ's clients do.
func (t *Target) setAMQPParameter(key, value string) error {
	number := func(unit time.Duration, to *time.Duration) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("%s %q is not a number", key, value)
		}
		*to = time.Duration(n) * unit
		return nil
	}
	switch key {
	case "heartbeat":
		return number(time.Second, &t.Heartbeat)
	case "connection_timeout":
		return number(time.Millisecond, &t.Patience)
	case "cacertfile":
		t.Security.CAFile = value
	case "certfile":
		t.Security.CertFile = value
	case "keyfile":
		t.Security.KeyFile = value
	default:
		return fmt.Errorf("parameter %q is not known: topic, qos, id, heartbeat, connection_timeout, cacertfile, certfile, keyfile", key)
	}
	return nil
}

// AMQP says whether AMQP 0-9-1 is spoken, and not MQTT.
func (t Target) AMQP() bool { return t.Scheme == "amqp" || t.Scheme == "amqps" }

// Address is what to dial.
func (t Target) Address() string {
	if t.Scheme == "unix" {
		return t.Path
	}
	return net.JoinHostPort(t.Host, t.Port)
}

// Encrypted says whether TLS is spoken.
func (t Target) Encrypted() bool {
	return t.Scheme == "mqtts" || t.Scheme == "wss" || t.Scheme == "amqps"
}

// String is the URL without what is secret.
func (t Target) String() string {
	s := t.Scheme + "://" + t.Address()
	if t.Scheme == "ws" || t.Scheme == "wss" {
		s += t.Path
	}
	if t.AMQP() && t.VHost != "/" {
		s += "/" + url.PathEscape(t.VHost)
	}
	return s
}

// withoutPassword is for error messages, which end in logs.
func withoutPassword(text string) string {
	begin := strings.Index(text, "://") + 3
	at := strings.LastIndexByte(text, '@')
	if begin < 3 || at < begin {
		return text
	}
	colon := strings.IndexByte(text[begin:at], ':')
	if colon < 0 {
		return text
	}
	return text[:begin+colon] + ":***" + text[at:]
}
