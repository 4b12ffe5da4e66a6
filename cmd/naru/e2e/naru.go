package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/narumq/naru/plugins/authfile"
)

// Profiles, as the scripts name them in "config:". Each has a meaning that
// every broker under test must be given in its own words:
//
//	default  anonymous clients may do everything
//	users    anonymous clients are refused; the users of profileUsers may do
//	         everything, except stranger, who has no right to be here
//	acl      as users, but alice may publish and subscribe to +/open/# only,
//	         subscribe to +/readonly/# and publish to +/writeonly/#
//	small    as default, with packets of at most 1,000 bytes
//	hasty    as default, with one second to send CONNECT
//
// profileUsers are user names and passwords of "users" and "acl".
var profileUsers = map[string]string{
	"admin": "open sesame",
	"alice": "secret",
}

// startNaru starts the built broker in the way that the profile means.
func startNaru(t *testing.T, binary, profile string) (*Broker, error) {
	return run(t, func(dir string, ports [2]int) (*Broker, error) {
		extra, ok := naruProfiles[profile]
		if !ok {
			return nil, fmt.Errorf("no naru configuration for profile %q", profile)
		}
		more, err := extra()
		if err != nil {
			return nil, err
		}
		conf := fmt.Sprintf(naruConf, dir, ports[1], ports[0]) + more
		file := filepath.Join(dir, "naru.yaml")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return nil, err
		}
		return &Broker{
			MQTT:    fmt.Sprintf("127.0.0.1:%d", ports[0]),
			WS:      fmt.Sprintf("127.0.0.1:%d", ports[1]),
			command: func() *exec.Cmd { return exec.Command(binary, "serve", "--config", file) },
		}, nil
	})
}

// naruConf is a configuration file; what a profile adds goes on inside mqtt.
const naruConf = `
data_dir: %s/data
bus: {min_free_disk: 0}
log: {level: debug}
metrics: {address: "127.0.0.1:0"}
amqp: {listeners: []}
ws:
  listeners: [{address: "127.0.0.1:%d"}]
mqtt:
  listeners: [{address: "127.0.0.1:%d"}]
`

// naruProfiles is what each broker profile adds to naruConf.
var naruProfiles = map[string]func() (string, error){
	"default": func() (string, error) { return "", nil },
	"small":   func() (string, error) { return "  max_packet_size: 1000\n", nil },
	"hasty":   func() (string, error) { return "transport: {auth_timeout: 1s}\n", nil },
	"users":   func() (string, error) { return naruUsers("") },
	"acl": func() (string, error) {
		return naruUsers(", acl: ['readwrite +/open/#', 'write +/writeonly/#', 'read +/readonly/#']")
	},
}

// naruUsers returns the users of the profiles, with alice's rights.
func naruUsers(rights string) (string, error) {
	var b strings.Builder
	b.WriteString("anonymous: {enabled: false}\nusers:\n")
	for name, password := range profileUsers {
		hash, err := authfile.HashPassword([]byte(password))
		if err != nil {
			return "", err
		}
		acl := ""
		if name == "alice" {
			acl = rights
		}
		fmt.Fprintf(&b, "  %s: {password: %q%s}\n", name, hash, acl)
		if name == "alice" {
			fmt.Fprintf(&b, "  stranger: {password: %q, vhosts: []}\n", hash)
		}
	}
	return b.String(), nil
}
