package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/cmd/naru/bench"
)

// benchOptions are the flags of naru bench. A zero value leaves what the
// scenario has by default.
type benchOptions struct {
	qos       []uint
	n         int
	size      int
	window    int
	rate      int
	messages  int64
	duration  time.Duration
	wait      time.Duration
	rounds    int
	subscribe bool
	json      bool
	over      []string
	protocol  []string

	target string
	pid    int
	peers  []string
	set    []string
	keep   string
}

func benchCommand() *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "bench [pairs|persistent|paced|fanout|fanin|connect|offline|idle]...",
		Short: "Measure what a broker needs for each message",
		Long: `Measure a broker under a pattern of load, and what CPU it needs for each message.

Without --target a broker is started for the measurement, with its data in a
temporary directory. --peer mosquitto starts Debian's Mosquitto too and measures
both in turns: compare only figures of one run, on a machine that is doing little
else.`,
		Example:   "  naru bench pairs --qos 0,1,2 --peer mosquitto --rounds 3\n  naru bench idle --n 8000\n  naru bench pairs --protocol amqp --qos 1 --peer rabbitmq\n  naru bench pairs --over tcp,tls,ws,wss --peer mosquitto\n  naru bench pairs --target 127.0.0.1:1883 --pid $(pidof naru)",
		ValidArgs: kindNames(),
		Args:      cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args)
		},
	}
	f := cmd.Flags()
	f.UintSliceVar(&o.qos, "qos", nil, "QoS levels to measure, as in 0,1,2")
	f.IntVar(&o.n, "n", 0, "pairs, subscribers, publishers, connections or sessions")
	f.IntVar(&o.size, "size", 0, "bytes of payload")
	f.IntVar(&o.window, "window", 0, "messages in flight for each publisher")
	f.IntVar(&o.rate, "rate", 0, "messages per second in all (paced), or connects per second")
	f.Int64Var(&o.messages, "messages", 0, "messages in all, instead of a duration")
	f.DurationVar(&o.duration, "duration", 0, "how long to measure")
	f.DurationVar(&o.wait, "wait", 0, "how long idle connections are left alone")
	f.IntVar(&o.rounds, "rounds", 1, "how often to measure everything; the median counts")
	f.BoolVar(&o.subscribe, "subscribe", false, "give idle connections a subscription")
	f.StringSliceVar(&o.over, "over", []string{"tcp"}, "what MQTT goes over, as in tcp,tls,ws,wss")
	f.StringSliceVar(&o.protocol, "protocol", []string{"mqtt"}, "what is spoken, as in mqtt,amqp,mqtt-amqp; QoS 1 in AMQP is persistent with confirms")
	f.BoolVar(&o.json, "json", false, "print results as JSON")
	f.StringVar(&o.target, "target", "", "address of a running broker")
	f.IntVar(&o.pid, "pid", 0, "its process, whose CPU and memory is measured")
	f.StringArrayVar(&o.peers, "peer", nil, `another broker to measure beside: "mosquitto", "mosquitto-durable" or "rabbitmq"`)
	f.StringArrayVar(&o.set, "set", nil, "setting of the broker that is started, as in naru serve")
	f.StringVar(&o.keep, "data", "", "directory for data, on the disk to be measured (default: a temporary one)")
	return cmd
}

func kindNames() []cobra.Completion {
	var names []cobra.Completion
	for _, k := range bench.Kinds() {
		names = append(names, string(k))
	}
	return names
}

func (o *benchOptions) run(ctx context.Context, out, progress io.Writer, kinds []string) (err error) {
	if len(kinds) == 0 {
		kinds = []string{string(bench.Pairs)}
	}
	dir := o.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "naru-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	overs, err := o.overs()
	if err != nil {
		return err
	}
	protocols, err := o.protocols()
	if err != nil {
		return err
	}
	targets, stop, err := o.targets(dir, overs, protocols)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	results, err := bench.RunAll(ctx, targets, o.scenarios(kinds, overs, protocols), o.rounds, func(r bench.Result) {
		fmt.Fprintln(progress, r.Text)
	})
	if err != nil {
		return err
	}
	if o.json {
		return bench.WriteJSON(out, results)
	}
	fmt.Fprint(out, bench.List(results))
	if len(targets) > 1 {
		fmt.Fprintf(out, "\n%s", bench.Compare(results))
	}
	for _, r := range results {
		err = errors.Join(err, r.Broken())
	}
	return err
}

// overs are what MQTT goes over, TCP if nothing is said.
func (o *benchOptions) overs() (overs []bench.Over, err error) {
	for _, text := range o.over {
		over, err := bench.ParseOver(text)
		if err != nil {
			return nil, err
		}
		overs = append(overs, over)
	}
	if o.target != "" && !slices.Equal(overs, []bench.Over{bench.TCP}) {
		return nil, errors.New("--over needs brokers that are started here: without --target")
	}
	return overs, nil
}

// protocols are what is spoken.
func (o *benchOptions) protocols() (protocols []bench.Protocol, err error) {
	for _, text := range o.protocol {
		p, err := bench.ParseProtocol(text)
		if err != nil {
			return nil, err
		}
		protocols = append(protocols, p)
	}
	if o.target != "" && slices.Contains(protocols, bench.MQTTToAMQP) {
		return nil, errors.New("--protocol mqtt-amqp needs brokers that are started here: without --target")
	}
	return protocols, nil
}

func (o *benchOptions) scenarios(kinds []string, overs []bench.Over, protocols []bench.Protocol) []bench.Scenario {
	var all []bench.Scenario
	for _, k := range kinds {
		s := bench.Defaults(bench.Kind(k))
		pick(&s.N, o.n)
		pick(&s.Size, o.size)
		pick(&s.Window, o.window)
		pick(&s.Rate, o.rate)
		pick(&s.Wait, o.wait)
		s.Subscribe = s.Subscribe || o.subscribe && (s.Kind == bench.Idle || s.Kind == bench.Connect)
		pick(&s.Duration, o.duration)
		if o.messages > 0 {
			s.Messages, s.Duration, s.Warmup = o.messages, 0, 0
		}
		levels := []uint{uint(s.QoS)}
		if len(o.qos) > 0 {
			levels = o.qos
		}
		for _, q := range levels {
			s.QoS = byte(q)
			for _, s.Over = range overs {
				for _, s.Protocol = range protocols {
					all = append(all, s)
				}
			}
		}
	}
	return all
}

// pick sets a value that was given on the command line.
func pick[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// targets starts or names the brokers to be measured, ours first.
func (o *benchOptions) targets(dir string, overs []bench.Over, protocols []bench.Protocol) (targets []bench.Target, stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for _, s := range stops {
			errs = append(errs, s())
		}
		return errors.Join(errs...)
	}
	add := func(t bench.Target, s func() error, err error) error {
		if err == nil {
			targets, stops = append(targets, t), append(stops, s)
		}
		return err
	}
	if o.target != "" {
		targets = append(targets, bench.Target{Name: "naru", Addr: o.target, AMQP: o.target, PID: o.pid})
	} else if err := add(o.startSelf(dir, overs, protocols)); err != nil {
		return nil, stop, err
	}
	for _, p := range o.peers {
		peer := filepath.Join(dir, p)
		if err := os.MkdirAll(peer, 0o700); err != nil {
			return nil, stop, err
		}
		switch {
		case p == "mosquitto" && slices.Contains(overs, bench.TLS):
			var cert, key string
			if cert, key, err = bench.WriteCertificate(peer); err == nil {
				err = add(bench.StartMosquittoTLS(peer, cert, key))
			}
		case p == "rabbitmq":
			err = add(bench.StartRabbitMQ(peer))
		case p == "mosquitto":
			err = add(bench.StartMosquitto(peer))
		case p == "mosquitto-durable":
			err = add(bench.StartMosquitto(peer, "persistence true", "autosave_interval 1800"))
		default:
			err = fmt.Errorf("peer %q is not known", p)
		}
		if err != nil {
			return nil, stop, err
		}
	}
	return targets, stop, nil
}

// startSelf starts this program as the broker to be measured, with a listener
// for each thing that MQTT shall go over.
func (o *benchOptions) startSelf(dir string, overs []bench.Over, protocols []bench.Protocol) (bench.Target, func() error, error) {
	fail := func(err error) (bench.Target, func() error, error) { return bench.Target{}, nil, err }
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	data := filepath.Join(dir, "naru")
	addr, err := bench.FreeAddr()
	if err != nil {
		return fail(err)
	}
	mqtt, ws := "{address: \""+addr+"\"}", ""
	layered := map[bench.Over]string{}
	for _, over := range overs {
		if over == bench.TCP {
			continue
		}
		at, err := bench.FreeAddr()
		if err != nil {
			return fail(err)
		}
		layered[over] = at
		listener := "{address: \"" + at + "\"}"
		if over != bench.WS {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return fail(err)
			}
			cert, key, err := bench.WriteCertificate(dir)
			if err != nil {
				return fail(err)
			}
			listener = fmt.Sprintf("{address: %q, tls: {cert: %q, key: %q}}", at, cert, key)
		}
		if over == bench.TLS {
			mqtt += ", " + listener
		} else {
			ws += listener + ", "
		}
	}
	argv := []string{
		self, "serve", "--set", "data_dir=" + data, "--set", "log.level=warn", "--set", "metrics.enabled=false",
		"--set", "mqtt.sys_interval=0", "--set", "mqtt.listeners=[" + mqtt + "]",
		"--set", fmt.Sprint("ws.enabled=", ws != ""), "--set", "ws.listeners=[" + ws + "]",
	}
	amqp, others := "", slices.Collect(maps.Values(layered))
	if slices.Equal(protocols, []bench.Protocol{bench.MQTT}) {
		argv = append(argv, "--set", "amqp.enabled=false")
	} else {
		if amqp, err = bench.FreeAddr(); err != nil {
			return fail(err)
		}
		argv = append(argv, "--set", "amqp.listeners=[{address: \""+amqp+"\"}]")
		others = append(others, amqp)
	}
	for _, s := range o.set {
		argv = append(argv, "--set", s)
	}
	t, stop, err := bench.StartCommand("naru", argv, addr, others...)
	t.Layered, t.AMQP = layered, amqp
	return t, stop, err
}
