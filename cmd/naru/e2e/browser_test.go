package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// A tab is one page in a headless Chromium, driven by its own protocol for
// developer tools.
type tab struct {
	t    *testing.T
	conn *websocket.Conn
	next int
	// errors are what the console and the page's policy complain of
	errors []string
}

// openTab starts a browser with one page. It is skipped where there is none;
// with TEST_BROWSER=1 that is a failure.
func openTab(t *testing.T, url string) *tab {
	t.Helper()
	path, err := browser()
	if err != nil {
		if os.Getenv("TEST_BROWSER") == "1" {
			t.Fatal(err)
		}
		t.Skipf("%v; with TEST_BROWSER=1 this is a failure", err)
	}
	cmd := exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--window-size=1280,900", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), "about:blank")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if _, a, ok := strings.Cut(lines.Text(), "DevTools listening on "); ok {
				address <- a
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-read
		cmd.Wait()
	})
	var devtools string
	select {
	case devtools = <-address:
	case <-time.After(patience):
		t.Fatal("the browser does not start")
	}
	b := &tab{t: t, conn: dialDevTools(t, devtools)}
	target := b.call("Target.createTarget", map[string]any{"url": "about:blank"})["targetId"]
	b.conn.Close()
	root := devtools[:strings.Index(devtools, "/devtools/")]
	b = &tab{t: t, conn: dialDevTools(t, fmt.Sprintf("%s/devtools/page/%s", root, target))}
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil)
	}
	b.call("Page.navigate", map[string]any{"url": url})
	b.until("document.readyState === 'complete'")
	return b
}

func dialDevTools(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(4 * patience))
	return c
}

// call calls a method of the browser and returns its result.
func (b *tab) call(method string, params map[string]any) map[string]any {
	b.t.Helper()
	b.next++
	if err := b.conn.WriteJSON(map[string]any{"id": b.next, "method": method, "params": params}); err != nil {
		b.t.Fatal(err)
	}
	for {
		var m struct {
			ID     int
			Method string
			Params json.RawMessage
			Result map[string]any
			Error  *struct{ Message string }
		}
		if err := b.conn.ReadJSON(&m); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		switch {
		case m.Method == "Runtime.exceptionThrown", m.Method == "Log.entryAdded" && strings.Contains(string(m.Params), `"level":"error"`):
			b.errors = append(b.errors, string(m.Params))
		case m.ID == b.next && m.Error != nil:
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		case m.ID == b.next:
			return m.Result
		}
	}
}

// eval returns what an expression is on the page.
func (b *tab) eval(expression string) any {
	b.t.Helper()
	r := b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	if e, failed := r["exceptionDetails"]; failed {
		b.t.Fatalf("%s: %v", expression, e)
	}
	return r["result"].(map[string]any)["value"]
}

// until waits until an expression is true.
func (b *tab) until(expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); b.eval(expression) != true; {
		if time.Now().After(deadline) {
			b.t.Fatalf("never: %s\nthe page says: %v\n%v", expression, b.eval("document.body.innerText"), b.errors)
		}
		time.Sleep(20 * time.Millisecond) // the page tells nobody when it changes
	}
}

// fill writes into the fields of a form and submits it as Enter does.
func (b *tab) fill(form string, fields map[string]string) {
	b.t.Helper()
	values, err := json.Marshal(fields)
	if err != nil {
		b.t.Fatal(err)
	}
	b.eval(fmt.Sprintf(`{
		const f = document.getElementById(%q)
		for (const [name, value] of Object.entries(%s)) f.elements[name].value = value
		f.requestSubmit()
	}`, form, values))
}
