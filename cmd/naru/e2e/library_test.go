package e2e

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	python  = "/usr/bin/python3" // Debian's, which has Debian's Paho
	pahoPy  = "clients/python.py"
	mqttJS  = "clients/node.js"
	nodeMod = "clients/node_modules/mqtt"
)

// librariesThere says which of the client libraries is missing.
func librariesThere() error {
	for _, tool := range []string{"mosquitto_pub", "mosquitto_sub", "node"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	if _, err := os.Stat(nodeMod); err != nil {
		return fmt.Errorf("mqtt.js: %w", err)
	}
	if out, err := exec.Command(python, "-c", "import paho.mqtt.client").CombinedOutput(); err != nil {
		return fmt.Errorf("paho: %w\n%s", err, out)
	}
	return nil
}

// A library is a client that others have written. Its programs do not tell all
// that they do, so each is used in the way it is made for.
type library struct {
	name string
	// start runs a client that subscribes to a filter at QoS 2 and tells what
	// it receives.
	start func(t *testing.T, broker, id string, o startOptions) *program
	// publish sends payloads to a topic and returns when they are acknowledged.
	publish func(t *testing.T, broker, topic string, qos byte, payloads [][]byte)
	// lines: the program takes messages line by line, so a payload can hold
	// neither a line feed nor a zero.
	lines bool
}

type startOptions struct {
	filter string // "": the session subscribes to nothing new
	keep   bool   // a persistent session
	will   string // topic of a will
}

var libraries = []library{
	{name: "mosquitto", start: startMosquittoSub, publish: mosquittoPub, lines: true},
	{name: "paho", start: script(python, pahoPy), publish: publisher(python, pahoPy)},
	{name: "mqttjs", start: script("node", mqttJS), publish: publisher("node", mqttJS)},
}

// A program is a running client. What it prints arrives on told.
type program struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	err   bytes.Buffer
	told  chan event // closed by read
}

// An event is one thing that a program tells.
type event struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool

	Done    string
	Present bool
	Error   string
}

func startProgram(t *testing.T, name string, parse func(line string) (event, error), args ...string) *program {
	t.Helper()
	p := &program{t: t, name: name, cmd: exec.Command(args[0], args[1:]...), told: make(chan event, 1024)}
	p.cmd.Stderr = &p.err
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(out, parse)
	t.Cleanup(p.kill)
	return p
}

func (p *program) read(out io.Reader, parse func(line string) (event, error)) {
	defer close(p.told)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e, err := parse(lines.Text())
		if err != nil {
			e.Error = fmt.Sprintf("%q: %v", lines.Text(), err)
		}
		p.told <- e
	}
}

// kill ends the program without a goodbye to the broker.
func (p *program) kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	p.cmd.Process.Kill()
	for range p.told { // so that read can end
	}
	p.cmd.Wait()
}

// next is what the program tells next.
func (p *program) next() event {
	p.t.Helper()
	select {
	case e, ok := <-p.told:
		if !ok {
			p.cmd.Wait()
			p.t.Fatalf("%s has ended: %v\n%s", p.name, p.cmd.ProcessState, &p.err)
		}
		if e.Error != "" {
			p.t.Fatalf("%s: %s", p.name, e.Error)
		}
		return e
	case <-time.After(patience):
		p.t.Fatalf("%s tells nothing", p.name)
	}
	return event{}
}

// finish waits for a program that ends by itself.
func (p *program) finish() {
	p.t.Helper()
	p.stdin.Close()
	for e := range p.told {
		if e.Error != "" {
			p.t.Fatalf("%s: %s", p.name, e.Error)
		}
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("%s: %v\n%s", p.name, err, &p.err)
	}
}

// do gives a command to one of our programs and waits until it is done.
func (p *program) do(op string, args map[string]any) event {
	p.t.Helper()
	args["op"] = op
	line, err := json.Marshal(args)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		p.t.Fatalf("%s: %v\n%s", p.name, err, &p.err)
	}
	e := p.next()
	if e.Done != op {
		p.t.Fatalf("%s: %s is answered by %+v", p.name, op, e)
	}
	return e
}

func parseJSON(line string) (e event, err error) { return e, json.Unmarshal([]byte(line), &e) }

// script runs one of our programs, which take the same commands; with the
// argument ws they connect by WebSocket.
func script(interpreter, file string, args ...string) func(*testing.T, string, string, startOptions) *program {
	return func(t *testing.T, broker, id string, o startOptions) *program {
		t.Helper()
		p := startProgram(t, file, parseJSON, append([]string{interpreter, file}, args...)...)
		host, port, _ := net.SplitHostPort(broker)
		number, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		options := map[string]any{"host": host, "port": number, "id": id, "clean": !o.keep}
		if o.will != "" {
			options["will"] = o.will
		}
		known := p.do("connect", options).Present
		if o.filter != "" {
			p.do("subscribe", map[string]any{"filter": o.filter, "qos": 2})
		} else if o.keep && !known {
			t.Errorf("%s: the session of %s is not there", file, id)
		}
		return p
	}
}

func publisher(interpreter, file string, args ...string) func(*testing.T, string, string, byte, [][]byte) {
	return func(t *testing.T, broker, topic string, qos byte, payloads [][]byte) {
		t.Helper()
		p := script(interpreter, file, args...)(t, broker, strings.ReplaceAll("pub/"+topic, "/", "-"), startOptions{})
		p.do("publish", map[string]any{"topic": topic, "qos": qos, "payloads": payloads})
		p.do("disconnect", map[string]any{})
		p.finish()
	}
}

// readyTopic holds a retained message, by which mosquitto_sub tells that it has
// subscribed.
const readyTopic = "ready"

// sayReady publishes it at QoS 0, so that a program that is killed owes no
// acknowledgement, and sees that it has been taken.
func sayReady(t *testing.T, s *session) {
	t.Helper()
	must(t, s.publish(readyTopic, 0, true, []byte("yes"), 0), s.publish("next", 1, false, nil, 0), s.drain(0))
}

// startMosquittoSub runs mosquitto_sub. It subscribes at every start, so with a
// persistent session it is told the same filter again.
func startMosquittoSub(t *testing.T, broker, id string, o startOptions) *program {
	t.Helper()
	host, port, _ := net.SplitHostPort(broker)
	args := []string{"mosquitto_sub", "-h", host, "-p", port, "-i", id, "-q", "2", "-F", "%t %q %r %x"}
	if o.keep {
		args = append(args, "-c")
	}
	if o.will != "" {
		args = append(args, "--will-topic", o.will, "--will-payload", "gone", "--will-qos", "1")
	}
	if o.filter == "" { // it cannot do without
		return startProgram(t, args[0], parseMosquitto, append(args, "-t", "nothing/of/interest")...)
	}
	p := startProgram(t, args[0], parseMosquitto, append(args, "-t", o.filter, "-t", readyTopic)...)
	if e := p.next(); e.Topic != readyTopic {
		t.Fatalf("mosquitto_sub receives %+v first", e)
	}
	return p
}

func parseMosquitto(line string) (e event, err error) {
	f := strings.Split(line, " ")
	if len(f) != 4 {
		return e, fmt.Errorf("%d words", len(f))
	}
	e.Topic, e.QoS, e.Retain = f[0], f[1][0]-'0', f[2] == "1"
	e.Payload, err = hex.DecodeString(f[3])
	return e, err
}

// mosquittoPub sends all but one payload line by line, and the last, which may
// hold any byte, as what it reads to the end.
func mosquittoPub(t *testing.T, broker, topic string, qos byte, payloads [][]byte) {
	t.Helper()
	host, port, _ := net.SplitHostPort(broker)
	last := len(payloads) - 1
	lines := append(bytes.Join(payloads[:last], []byte("\n")), '\n')
	for _, in := range []struct {
		how  string
		data []byte
	}{{"-l", lines}, {"-s", payloads[last]}} {
		cmd := exec.Command("mosquitto_pub", "-h", host, "-p", port, "-t", topic, "-q", fmt.Sprint(qos), in.how)
		cmd.Stdin = bytes.NewReader(in.data)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_pub %s: %v\n%s", in.how, err, out)
		}
	}
}
