package main

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/narumq/naru/cmd/naru/client"
)

// TestPubSubUsage: what cannot be meant ends with code 2 and says why, without a
// connection.
func TestPubSubUsage(t *testing.T) {
	t.Setenv("NARU_USER", "")
	t.Setenv("NARU_PASSWORD", "")
	long := strings.Repeat("x", 65536)
	for _, test := range []struct{ args, says string }{
		{"pub -m x", "no topic"},
		{"pub -t a", "no message"},
		{"pub -t a -m x -n", "one of"},
		{"pub -t a -l -s", "one of"},
		{"pub -t a/# -m x", "wildcards"},
		{"pub -t a -m x -q 3", "0, 1 or 2"},
		{"pub -t a -m x -q -1", "qos"},
		{"pub -t a -m x --repeat 0", "--repeat"},
		{"pub -t a -l --repeat 2", "repeated"},
		{"pub -t a -m x -M 0", "max-inflight"},
		{"pub -t a -m x -W soon", "seconds"},
		{"pub -t a -m x -k 100000", "65535"},
		{"pub -t a -m x -c", "client id"},
		{"pub -t a -m x -i a -I b", "not both"},
		{"pub -t a -m x -P secret", "user name"},
		{"pub -t a -m x --will-qos 1", "--will-topic"},
		{"pub -t a -m x --will-topic a/+", "wildcards"},
		{"pub -t a -m x --will-topic a --will-payload " + long, "65,535"},
		{"pub -t a -m x -V 5", "mqttv311"},
		{"pub -t a -m x --nothing", "--nothing"},
		{"pub -t a -m x -p 0", "port"},
		{"pub -t a -m x a b", "one URL"},
		{"pub -t a -m x mqtt://h -L mqtt://h", "more than one URL"},
		{"pub -t a -m x mqtt://h -p 1", "not both"},
		{"pub -t a -m x host", "not a URL"},
		{"pub -h host -t a -m x", "the host is given by --host"},
		{"pub -t a -m x --help host", "the host is given by --host"},
		{"sub -h 10.0.0.1 -t a", "the host is given by --host"},
		{"pub -m x ws://h/path", "no topic"},
		{"pub -m x mqtt://h/a?topic=b", "one topic"},
		{"pub -t a -m x mqtt://h --insecure", "mqtts://"},
		{"pub -t a -m x mqtts://h --cert c", "--key"},
		{"sub", "no topic"},
		{"sub -t a#", "level"},
		{"sub -t a -T +a", "level"},
		{"sub -t a -C -1", "-C"},
		{"sub -t a -R --retained-only", "nothing to print"},
		{"sub -t a -F %z", "not known"},
		{"sub -t a -F %t --json", "stands alone"},
		{"pub -m x amqp://h", "no key"},
		{"pub -t a -m x amqp://h -r", "no retained"},
		{"pub -t a -m x amqp://h?retain", "no retained"},
		{"pub -t a --queue q -m x amqp://h", "not both"},
		{"pub --exchange e --queue q -m x amqp://h", "not both"},
		{"pub --queue= -m x amqp://h", "empty"},
		{"pub --queue q -m x amqp://h --header novalue", "NAME=VALUE"},
		{"pub --queue q -m x amqp://h --header a=1 --header a=2", "twice"},
		{"pub -m x amqp://h -t " + long, "255"},
		{"pub -t a -m x amqp://h --will-topic w", "--will-topic is for MQTT"},
		{"pub -t a -m x amqp://h -c -i me", "--disable-clean-session is for MQTT"},
		{"pub -t a -m x amqp://h --cafile f", "amqps://"},
		{"pub -t a -m x mqtt://h --queue q", "--queue is for amqp://"},
		{"pub -t a -m x --header a=b", "--header is for amqp://"},
		{"sub amqp://h", "no key"},
		{"sub amqp://h -t a --queue q", "not both"},
		{"sub amqp://h -t a -q 1", "quality of service"},
		{"sub amqp://h -t a -T b", "--filter-out is for MQTT"},
		{"sub amqp://h -t a -R", "--no-retained is for MQTT"},
		{"sub amqp://h -t a -C -1", "-C"},
		{"sub -t a --exchange e", "--exchange is for amqp://"},
	} {
		cmd := newCommand()
		var out, problems bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&problems)
		cmd.SetArgs(strings.Fields(test.args))
		err := cmd.Execute()
		var exit *exitError
		if !errors.As(err, &exit) || exit.code != 2 {
			t.Errorf("%.60s: %v, want exit code 2", test.args, err)
		}
		if said := problems.String(); !strings.Contains(said, test.says) || !strings.Contains(said, "--help") || out.Len() > 0 {
			t.Errorf("%.60s: %q and %q, want %q", test.args, said, &out, test.says)
		}
	}
}

// TestConnectOptions: flags before URL before environment.
func TestConnectOptions(t *testing.T) {
	t.Setenv("NARU_USER", "eve")
	t.Setenv("NARU_PASSWORD", "from-env")
	at := func(scheme, host, port string) client.Target {
		return client.Target{Scheme: scheme, Host: host, Port: port}
	}
	for _, test := range []struct {
		args string
		want client.Options
	}{
		{"", client.Options{Target: at("mqtt", "127.0.0.1", "1883"), User: "eve", Password: "from-env"}},
		{"--host h -p 7 -i me -c", client.Options{Target: at("mqtt", "h", "7"), User: "eve", Password: "from-env", ClientID: "me", Persistent: true}},
		{"--cafile f", client.Options{Target: at("mqtts", "127.0.0.1", "8883"), User: "eve", Password: "from-env", Security: client.Security{CAFile: "f"}}},
		{"--unix /s", client.Options{Target: client.Target{Scheme: "unix", Path: "/s"}, User: "eve", Password: "from-env"}},
		{"mqtt://h -u bob", client.Options{Target: at("mqtt", "h", "1883"), User: "bob", Password: "from-env"}},
		{"mqtt://bob:x@h", client.Options{User: "bob", Password: "x"}},
		{"mqtt://bob:x@h -u carol -P y", client.Options{User: "carol", Password: "y"}},
		{"mqtt://bob@h", client.Options{User: "bob", Password: "from-env"}},
		{"mqtt://h?id=me -k 1.4", client.Options{ClientID: "me", User: "eve", Password: "from-env", KeepAlive: time.Second}},
		{"mqtt://h?id=me -i you -k 0", client.Options{ClientID: "you", User: "eve", Password: "from-env", KeepAlive: -1}},
		{"amqp://h?id=me&heartbeat=7&connection_timeout=1500", client.Options{ClientID: "me", User: "eve", Password: "from-env",
			KeepAlive: 7 * time.Second, Patience: 1500 * time.Millisecond}},
		{"amqps://h?id=me&heartbeat=7&cacertfile=f -k 5", client.Options{ClientID: "me", User: "eve", Password: "from-env",
			KeepAlive: 5 * time.Second, Security: client.Security{CAFile: "f"}}},
		{"--will-topic w --will-payload p --will-qos 2 --will-retain",
			client.Options{User: "eve", Password: "from-env", Will: &client.Will{Topic: "w", Payload: []byte("p"), QoS: 2, Retain: true}}},
	} {
		var o connectFlags
		f := pflag.NewFlagSet("test", pflag.ContinueOnError)
		o.register(f)
		if err := f.Parse(strings.Fields(test.args)); err != nil {
			t.Fatal(err)
		}
		have, err := o.options(f, f.Args(), "test")
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
			continue
		}
		want := test.want
		want.HasPassword = true
		if want.Target.Scheme == "" { // not what the case is about
			want.Target = have.Target
		}
		switch want.KeepAlive {
		case 0:
			want.KeepAlive = time.Minute
		case -1:
			want.KeepAlive = 0
		}
		if want.ClientID == "" && strings.HasPrefix(have.ClientID, "naru-test-") {
			want.ClientID = have.ClientID
		}
		if !reflect.DeepEqual(have, want) {
			t.Errorf("%s:\n%+v, want\n%+v", test.args, have, want)
		}
	}
}

// TestDocsPubSub: the page names every flag, and the help has examples.
func TestDocsPubSub(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []*cobra.Command{pubCommand(), subCommand()} {
		if strings.Count(cmd.Example, "naru "+cmd.Name()) < 5 || !strings.Contains(cmd.Long, "Exit codes") {
			t.Errorf("the help of %s does not teach", cmd.Name())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !bytes.Contains(page, []byte("--"+f.Name)) {
				t.Errorf("docs/cli.md does not name --%s of naru %s", f.Name, cmd.Name())
			}
			if f.Shorthand != "" && !bytes.Contains(page, []byte("`-"+f.Shorthand)) {
				t.Errorf("docs/cli.md does not name -%s of naru %s", f.Shorthand, cmd.Name())
			}
		})
	}
}
