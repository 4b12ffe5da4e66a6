package e2e

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
)

// A tool is a client program on a command line: naru pub, naru sub, or one of
// Mosquitto's.
type tool struct {
	t       *testing.T
	cmd     *exec.Cmd
	out     *output
	err     *output
	exited  chan struct{} // closed by wait
	outcome error
}

// toolTime is how long a tool may take for what takes no time.
const toolTime = 60 * time.Second

// An output is what a program has written so far.
type output struct {
	mu   sync.Mutex
	text []byte
	more chan struct{} // one slot: there is more
}

func newOutput() *output { return &output{more: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	o.text = append(o.text, p...)
	o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// startTool starts a program whose environment says nothing of Naru but env. Its
// input may be nil.
func startTool(t *testing.T, in io.Reader, env []string, argv ...string) *tool {
	t.Helper()
	p := &tool{t: t, cmd: exec.Command(argv[0], argv[1:]...), out: newOutput(), err: newOutput(), exited: make(chan struct{})}
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "NARU_") })
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = in, p.out, p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.wait()
	t.Cleanup(p.kill)
	return p
}

func (p *tool) wait() {
	p.outcome = p.cmd.Wait()
	close(p.exited)
}

func (p *tool) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

// await waits until the tool has written a text to its output.
func (p *tool) await(text string) {
	p.t.Helper()
	p.awaitOn(p.out, text)
}

// awaitOn waits until the tool has written a text to one of its outputs.
func (p *tool) awaitOn(o *output, text string) {
	p.t.Helper()
	deadline := time.After(toolTime)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.more:
		case <-p.exited:
			if !strings.Contains(o.String(), text) {
				p.t.Fatalf("%q has ended (%v) without %q: %s%s", p.cmd.Args, p.outcome, text, p.out, p.err)
			}
		case <-deadline:
			p.t.Fatalf("%q does not say %q: %s%s", p.cmd.Args, text, p.out, p.err)
		}
	}
}

// signal interrupts the tool.
func (p *tool) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// end waits for the tool to end with an exit code, and returns its output.
func (p *tool) end(code int) string {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(toolTime):
		p.t.Fatalf("%q does not end: %.500s%s", p.cmd.Args, p.out, p.err)
	}
	if have := p.cmd.ProcessState.ExitCode(); have != code {
		p.t.Fatalf("%q ends with %d, want %d: %.500s%s", p.cmd.Args, have, code, p.out, p.err)
	}
	return p.out.String()
}

// runTool runs a program to its end.
func runTool(t *testing.T, code int, argv ...string) (stdout, stderr string) {
	t.Helper()
	p := startTool(t, nil, nil, argv...)
	return p.end(code), p.err.String()
}

// A toolbox is where a kind of tools is: argv in front of their options.
type toolbox struct {
	name     string
	pub, sub []string
}

func ownTools(binary string) toolbox {
	return toolbox{"naru", []string{binary, "pub"}, []string{binary, "sub"}}
}

// toolboxes are ours, and Mosquitto's where they are.
func toolboxes(t *testing.T) []toolbox {
	boxes := []toolbox{ownTools(naruBinary(t))}
	if _, err := exec.LookPath("mosquitto_sub"); err == nil {
		boxes = append(boxes, toolbox{"mosquitto", []string{"mosquitto_pub"}, []string{"mosquitto_sub"}})
	} else if peers.Required() {
		t.Fatal(err)
	}
	return boxes
}

// toolBrokers runs a test against our broker, and Mosquitto's where it is.
func toolBrokers(t *testing.T, test func(t *testing.T, port string)) {
	t.Run("naru", func(t *testing.T) {
		b, err := startNaru(t, naruBinary(t), "default")
		must(t, err)
		test(t, portOf(b))
	})
	t.Run("mosquitto", func(t *testing.T) {
		peers.NeedProgram(t, mosquittoPath)
		b, err := startMosquitto(t, "default")
		must(t, err)
		test(t, portOf(b))
	})
}

func portOf(b *Broker) string { return b.MQTT[strings.LastIndexByte(b.MQTT, ':')+1:] }

// command puts argv and options together.
func command(tool []string, options ...string) []string { return slices.Concat(tool, options) }

// startReady starts a subscriber and waits until it has subscribed: a retained
// message behind the filters says so. It is of QoS 2, or it could come twice where
// the broker is stopped at once.
func startReady(t *testing.T, box toolbox, port string, options ...string) *tool {
	t.Helper()
	runTool(t, 0, command(box.pub, "-p", port, "-t", "ready", "-m", "ready", "-r", "-q", "2")...)
	p := startTool(t, nil, nil, command(box.sub, append([]string{"-p", port}, append(options, "-t", "ready")...)...)...)
	p.await("ready")
	return p
}

// endless is an input that never ends and never says anything.
func endless(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r
}
