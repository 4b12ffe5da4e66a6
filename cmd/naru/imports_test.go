package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/narumq/naru/"

// layer says what the packages below a path may import of ours. The first rule
// that matches counts; "=" means the package itself and not what lies below.
type layer struct {
	path string
	may  []string
	why  string
}

var layers = []layer{
	{"core/internal", nil, "leaf data structures know nothing of their owner"},
	{"core/props", nil, "a codec that the core, adapters and plugins share"},
	{"plugins/sdk", nil, "third parties import it, and nothing of ours with it"},
	{"protocols/mqtt/packet", nil, "codecs are pure"},
	{"protocols/amqp/frame", []string{"core/props"}, "codecs are pure"},
	{"protocols/stomp/frame", nil, "codecs are pure"},
	{"core/transport", []string{"=core", "core/internal/wheel", "core/internal/tasks"}, "sockets stand on the bus; wheel and tasks serve both"},
	{"core/host", []string{"=core"}, "the host knows plugins, not what they do"},
	{"core/store", []string{"=core", "core/coretest"}, "a store implements the seam of the core"},
	{"core/coretest", []string{"=core"}, "suites test through the seam"},
	{"=core", []string{"core/internal", "core/props"}, "the bus knows no protocol, no socket and no store"},
	{"protocols/mqtt", []string{"=core", "core/transport", "core/props", "protocols/mqtt/packet"}, "no adapter goes through another"},
	{"protocols/amqp", []string{"=core", "core/transport", "core/props", "protocols/amqp/frame"}, "no adapter goes through another"},
	{"protocols/stomp", []string{"=core", "core/transport", "core/props", "protocols/stomp/frame"}, "no adapter goes through another"},
	{"protocols/ws", []string{"=core", "core/transport"}, "wire.go hands it the adapters"},
	{"plugins/external", []string{"=core", "plugins/sdk"}, "it joins the two"},
	{"plugins", []string{"=core", "core/props"}, "first-party plugins stand on the bus"},
	{"config", []string{"core", "protocols", "plugins"}, "it assembles what the owners define"},
	{"cmd", []string{""}, "wire.go is where everything meets"},
}

func matches(rule, path string) bool {
	if exact, ok := strings.CutPrefix(rule, "="); ok {
		return path == exact
	}
	return rule == "" || path == rule || strings.HasPrefix(path, rule+"/")
}

// TestImports checks who imports whom. Tests of a package may use the suites and
// stores that are made for tests.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	seen := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		path := strings.TrimPrefix(p.ImportPath, module)
		var rule *layer
		for i := range layers {
			if matches(layers[i].path, path) {
				rule = &layers[i]
				break
			}
		}
		if rule == nil {
			t.Errorf("%s belongs to no layer: give it one in imports_test.go", path)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module)
			if !ours || to == path {
				continue
			}
			ok := false
			for _, may := range rule.may {
				ok = ok || matches(may, to)
			}
			if !ok {
				t.Errorf("%s imports %s: not allowed, %s", path, to, rule.why)
			}
		}
	}
	if seen < 8 {
		t.Fatalf("only %d packages were looked at", seen)
	}
}
