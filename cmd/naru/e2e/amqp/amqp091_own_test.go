package amqp

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

const amqp091Module = "github.com/rabbitmq/amqp091-go"

// amqp091Left are tests of amqp091-go, by the beginnings of their names, that
// are not run, and why.
var amqp091Left = map[string]string{
	"TestConnectionRecovery":                       "breaks connections by RabbitMQ's management API on port 15672",
	"TestConnection_Close_WhenMemoryAlarmIsActive": "calls rabbitmqctl to set the memory limit; TestBlocked does this",
	"TestChannelExceptionWithCloseIssue43":         "logs from a goroutine that it does not wait for, which ends the whole run now and then",
}

// amqp091Slow are tests that take a minute with RabbitMQ, and pass.
var amqp091Slow = []string{"TestChannelCounterShouldNotPanicIssue136"}

// TestAmqp091Own runs amqp091-go's own tests that talk to a broker.
func TestAmqp091Own(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the tests of another module")
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", amqp091Module).CombinedOutput()
	dir := strings.TrimSpace(string(out))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	names, err := integrationTests(dir)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "amqp091.test")
	build := exec.Command("go", "test", "-c", "-tags", "integration", "-o", binary, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		runAmqp091(t, binary, needRabbit(t).Addr, names, amqp091Slow)
	})
	t.Run("naru", func(t *testing.T) {
		t.Parallel()
		runAmqp091(t, binary, likeRabbit(t, needNaru(t).Addr), names, nil)
	})
}

// integrationTests are the tests in files that are built for integration only.
func integrationTests(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(data, []byte("//go:build integration\n")) {
			continue
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(data, -1) {
			names = append(names, string(m[1]))
		}
	}
	if len(names) < 80 {
		return nil, fmt.Errorf("only %d tests of %s for integration in %s", len(names), amqp091Module, dir)
	}
	return names, nil
}

// likeRabbit stands before a broker and says that it is RabbitMQ: some of the
// tests look at the name and check nothing otherwise.
func likeRabbit(t *testing.T, addr string) string {
	return suite.Fake(t, func(client net.Conn) { rename(client, addr) })
}

func rename(client net.Conn, addr string) {
	broker, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	defer client.Close() // which ends it
	asking.Go(func() {
		io.Copy(broker, client)
		broker.Close()
	})
	var data []byte
	for buf := make([]byte, 4096); ; {
		n, err := broker.Read(buf)
		data = append(data, buf[:n]...)
		f, rest, ok, bad := cutFrame(data)
		if err != nil || bad != nil {
			break
		}
		if !ok {
			continue
		}
		if start, err := parseMethod(f.Payload); err == nil && start.Method.Name == "connection.start" {
			about := start.Args["server-properties"]
			for i := range about.Fields {
				if about.Fields[i].Name == "product" {
					about.Fields[i].Value = text("RabbitMQ")
				}
			}
			if f.Payload, err = start.payload(); err != nil {
				break
			}
		}
		data = append(appendFrame(nil, f), rest...)
		break
	}
	client.Write(data)
	io.Copy(client, broker)
}

func runAmqp091(t *testing.T, binary, addr string, names, but []string) {
	var skip []string
	for name := range amqp091Left {
		skip = append(skip, "^"+name)
	}
	for _, name := range but {
		skip = append(skip, "^"+name+"$")
	}
	cmd := exec.Command(binary, "-test.v", "-test.timeout", "3m",
		"-test.run", "^("+strings.Join(names, "|")+")$", "-test.skip", strings.Join(skip, "|"))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "AMQP_URL=amqp://guest:guest@"+addr+"/")
	out, err := cmd.CombinedOutput()
	passed := 0
	for _, m := range regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\w+)`).FindAllSubmatch(out, -1) {
		if string(m[1]) == "PASS" {
			passed++
			continue
		}
		t.Errorf("%s: %s", m[2], m[1])
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%d tests passed", passed)
	if passed < 70 {
		t.Errorf("only %d tests were run", passed)
	}
}
