package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/narumq/naru/cmd/naru/client"
)

// Exit codes of naru pub and naru sub. The last is what mosquitto_sub has.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitTimeout = 27
)

// errTimeout is the cause with which -W ends a context.
var errTimeout = errors.New("timed out")

// A usageError is one that a look at --help would have prevented.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// connectFlags are what naru pub and naru sub have in common: where the broker is,
// and who we are. The names are those of mosquitto_pub, but for -h, which helps.
type connectFlags struct {
	url, host, port, unix string

	id, idPrefix   string
	user, password string
	persistent     bool
	qos            uint
	keepAlive      seconds
	timeout        seconds
	version        string
	quiet          bool

	willTopic, willPayload string
	willQoS                uint
	willRetain             bool

	security client.Security

	help helpFlag
}

func (o *connectFlags) register(f *pflag.FlagSet) {
	o.keepAlive = seconds(time.Minute)
	f.StringVarP(&o.url, "url", "L", "", "the broker's URL, as the argument")
	f.StringVar(&o.host, "host", "", "the broker's host, instead of a URL (default 127.0.0.1)")
	f.StringVarP(&o.port, "port", "p", "", "its port (default 1883, with TLS 8883)")
	f.StringVar(&o.unix, "unix", "", "connect to this Unix socket")
	f.StringVarP(&o.id, "id", "i", "", "client id (default: a new one)")
	f.StringVarP(&o.idPrefix, "id-prefix", "I", "", "client id is this and the process id")
	f.StringVarP(&o.user, "username", "u", "", "user name (or NARU_USER in the environment)")
	f.StringVarP(&o.password, "pw", "P", "", "password; others on this machine can see it, but not NARU_PASSWORD in the environment")
	f.BoolVarP(&o.persistent, "disable-clean-session", "c", false, "persistent session: the broker keeps it (needs -i)")
	f.UintVarP(&o.qos, "qos", "q", 0, "quality of service: 0, 1 or 2")
	f.VarP(&o.keepAlive, "keepalive", "k", "seconds between signs of life, 0 for none")
	f.VarP(&o.timeout, "timeout", "W", "give up after so many seconds, with exit code 27")
	f.StringVarP(&o.version, "protocol-version", "V", "mqttv311", "mqttv311, the only one for now")
	f.BoolVar(&o.quiet, "quiet", false, "print no errors")
	f.StringVar(&o.willTopic, "will-topic", "", "where the broker publishes the will if we die")
	f.StringVar(&o.willPayload, "will-payload", "", "payload of the will")
	f.UintVar(&o.willQoS, "will-qos", 0, "quality of service of the will")
	f.BoolVar(&o.willRetain, "will-retain", false, "retain the will")
	f.StringVar(&o.security.CAFile, "cafile", "", "file of certificates to trust, instead of the system's")
	f.StringVar(&o.security.CertFile, "cert", "", "client certificate")
	f.StringVar(&o.security.KeyFile, "key", "", "its private key")
	f.BoolVar(&o.security.Insecure, "insecure", false, "with --cafile: accept any name in the certificate; without: any certificate")
	o.help.flags = f
	f.VarPF(&o.help, "help", "h", "show this").NoOptDefVal = "true"
}

// options puts flags, URL and environment together, in this order.
func (o *connectFlags) options(f *pflag.FlagSet, args []string, role string) (client.Options, error) {
	t, err := o.target(args)
	if err != nil {
		return client.Options{}, usageError{err}
	}
	if o.qos > 2 || o.willQoS > 2 {
		return client.Options{}, usagef("quality of service is 0, 1 or 2")
	}
	if !f.Changed("qos") && t.HasQoS {
		o.qos = uint(t.QoS)
	}
	switch strings.TrimPrefix(o.version, "mqttv") {
	case "311", "3.1.1", "4":
	default:
		return client.Options{}, usagef("protocol version %q: only mqttv311 is spoken", o.version)
	}
	pick(&o.security.CAFile, t.Security.CAFile)
	pick(&o.security.CertFile, t.Security.CertFile)
	pick(&o.security.KeyFile, t.Security.KeyFile)
	if err := misplaced(f.Changed, t); err != nil {
		return client.Options{}, err
	}
	if o.security.Given() && !t.Encrypted() {
		return client.Options{}, usagef("%s is not encrypted: write mqtts://, wss:// or amqps://", t)
	}
	if (o.security.CertFile == "") != (o.security.KeyFile == "") {
		return client.Options{}, usagef("--cert and --key are given together")
	}
	c := client.Options{
		Target: t, Security: o.security, Persistent: o.persistent, KeepAlive: time.Duration(o.keepAlive).Round(time.Second),
		Patience: t.Patience,
	}
	if t.Heartbeat > 0 && !f.Changed("keepalive") {
		c.KeepAlive = t.Heartbeat
	}
	if c.KeepAlive > 65535*time.Second {
		return c, usagef("-k is at most 65535")
	}
	o.credentials(f, &c)
	if c.HasPassword && c.User == "" {
		return c, usagef("a password needs a user name: -u, or NARU_USER")
	}
	if err := o.identity(&c, role); err != nil {
		return c, err
	}
	for what, text := range map[string]string{"client id": c.ClientID, "user name": c.User, "password": c.Password, "will": o.willPayload} {
		if len(text) > 65535 {
			return c, usagef("the %s has more than 65,535 bytes", what)
		}
	}
	return c, o.will(f, &c)
}

func (o *connectFlags) target(args []string) (client.Target, error) {
	urls := args
	if o.url != "" {
		urls = append(urls, o.url)
	}
	if len(urls) > 1 {
		return client.Target{}, errors.New("more than one URL")
	}
	if o.help.withHost() {
		return client.Target{}, errors.New("-h is help; the host is given by --host, or a URL")
	}
	if len(urls) == 1 {
		if o.host != "" || o.port != "" || o.unix != "" {
			return client.Target{}, errors.New("a URL, or --host, --port and --unix, but not both")
		}
		return client.ParseTarget(urls[0])
	}
	t := client.DefaultTarget()
	if o.unix != "" {
		return client.Target{Scheme: "unix", Path: o.unix}, nil
	}
	if o.security.Given() {
		t.Scheme, t.Port = "mqtts", "8883"
	}
	pick(&t.Host, o.host)
	if o.port != "" {
		t.Port = o.port
		return t, client.CheckPort(o.port)
	}
	return t, nil
}

func (o *connectFlags) credentials(f *pflag.FlagSet, c *client.Options) {
	c.User, c.Password, c.HasPassword = c.Target.User, c.Target.Password, c.Target.HasPassword
	if f.Changed("username") {
		c.User = o.user
	}
	if f.Changed("pw") {
		c.Password, c.HasPassword = o.password, true
	}
	if c.User == "" {
		c.User = os.Getenv("NARU_USER")
	}
	if !c.HasPassword && c.User != "" {
		c.Password, c.HasPassword = os.LookupEnv("NARU_PASSWORD")
	}
}

func (o *connectFlags) identity(c *client.Options, role string) error {
	if o.id != "" && o.idPrefix != "" {
		return usagef("-i or -I, but not both")
	}
	c.ClientID = c.Target.ClientID
	pick(&c.ClientID, o.id)
	if o.idPrefix != "" {
		c.ClientID = o.idPrefix + strconv.Itoa(os.Getpid())
	}
	if c.ClientID == "" {
		if o.persistent {
			return usagef("a persistent session (-c) needs a client id (-i)")
		}
		var b [6]byte
		_, _ = rand.Read(b[:]) // it never fails, or ends the process itself
		c.ClientID = "naru-" + role + "-" + hex.EncodeToString(b[:])
	}
	return nil
}

func (o *connectFlags) will(f *pflag.FlagSet, c *client.Options) error {
	if o.willTopic == "" {
		if f.Changed("will-payload") || f.Changed("will-qos") || o.willRetain {
			return usagef("a will needs --will-topic")
		}
		return nil
	}
	if err := client.CheckTopic(o.willTopic); err != nil {
		return usagef("--will-topic: %w", err)
	}
	c.Will = &client.Will{
		Topic: o.willTopic, Payload: []byte(o.willPayload), QoS: byte(o.willQoS), Retain: o.willRetain,
	}
	return nil
}

// limit is the context of -W.
func (o *connectFlags) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, time.Duration(o.timeout), errTimeout)
}

// finish says what went wrong and turns it into an exit code.
func (o *connectFlags) finish(cmd *cobra.Command, err error) error {
	var usage usageError
	code := exitFailed
	switch {
	case err == nil:
		return nil
	case errors.As(err, &usage):
		code = exitUsage
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v\nSee %[1]s --help.\n", cmd.CommandPath(), err)
		return &exitError{code}
	case errors.Is(err, errTimeout):
		code = exitTimeout
	}
	o.warn(cmd.ErrOrStderr(), cmd, err)
	return &exitError{code}
}

func (o *connectFlags) warn(w io.Writer, cmd *cobra.Command, err error) {
	if !o.quiet {
		fmt.Fprintf(w, "%s: %v\n", cmd.CommandPath(), err)
	}
}

// command makes errors of usage end with their own exit code.
func (o *connectFlags) command(cmd *cobra.Command) *cobra.Command {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return o.finish(cmd, usageError{err}) })
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return o.finish(cmd, usagef("one URL, not %d arguments: %q", len(args), args))
		}
		return nil
	}
	f := cmd.Flags()
	f.SortFlags = false
	return cmd
}

// A helpFlag is -h and --help. Those who know mosquitto_pub write -h and a host, and
// must not get a page of help and exit code 0 for a message that was not sent: with a
// host behind it the flag asks for nothing.
type helpFlag struct {
	asked bool
	flags *pflag.FlagSet
}

// String is what cobra asks when everything is parsed.
func (h *helpFlag) String() string { return strconv.FormatBool(h.asked && !h.withHost()) }

func (h *helpFlag) Type() string { return "bool" }

func (h *helpFlag) IsBoolFlag() bool { return true }

func (h *helpFlag) Set(text string) (err error) {
	h.asked, err = strconv.ParseBool(text)
	return err
}

// withHost says whether help is asked for beside an argument that is no URL.
func (h *helpFlag) withHost() bool {
	return h.asked && h.flags.NArg() > 0 && !strings.Contains(h.flags.Arg(0), "://")
}

// seconds is a flag that takes 5, 0.5 or 1m30s.
type seconds time.Duration

func (s *seconds) String() string {
	if *s == 0 {
		return "" // pflag then shows no default
	}
	return strconv.FormatFloat(time.Duration(*s).Seconds(), 'f', -1, 64)
}

func (s *seconds) Type() string { return "seconds" }

func (s *seconds) Set(text string) error {
	d, err := time.ParseDuration(text)
	if f, e := strconv.ParseFloat(text, 64); e == nil && f < 1e9 {
		d, err = time.Duration(f*float64(time.Second)), nil
	}
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a number of seconds", text)
	}
	*s = seconds(d)
	return nil
}
