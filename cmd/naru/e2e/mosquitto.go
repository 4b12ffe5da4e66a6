package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const (
	mosquittoPath  = "/usr/sbin/mosquitto"
	mosquittoHash  = "mosquitto_passwd"
	mosquittoTried = "2.0.11" // the version that the scripts know
)

// startMosquitto starts the reference peer in the way that the profile means.
// It has no WebSocket listener: Debian builds it without.
func startMosquitto(t *testing.T, profile string) (*Broker, error) {
	return run(t, func(dir string, ports [2]int) (*Broker, error) {
		extra, ok := mosquittoProfiles[profile]
		if !ok {
			return nil, fmt.Errorf("no mosquitto configuration for profile %q", profile)
		}
		conf := fmt.Sprintf(mosquittoConf, ports[0], dir) + extra(dir)
		if err := os.WriteFile(filepath.Join(dir, "acl"), []byte(mosquittoACL), 0o600); err != nil {
			return nil, err
		}
		for user, password := range profileUsers {
			err := exec.Command(mosquittoHash, "-c", "-b", filepath.Join(dir, "one"), user, password).Run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", mosquittoHash, err)
			}
			if err := appendFile(filepath.Join(dir, "users"), filepath.Join(dir, "one")); err != nil {
				return nil, err
			}
		}
		file := filepath.Join(dir, "mosquitto.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return nil, err
		}
		return &Broker{
			MQTT:    fmt.Sprintf("127.0.0.1:%d", ports[0]),
			command: func() *exec.Cmd { return exec.Command(mosquittoPath, "-c", file) },
		}, nil
	})
}

func appendFile(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(text)
	return err
}

// Without sys_interval 0 its own messages would mix with those of scripts that
// subscribe to $SYS; without a user it gives up root, and cannot read the
// directory of the test any more.
const mosquittoConf = `
listener %d 127.0.0.1
user root
persistence true
persistence_location %s/
sys_interval 0
`

// mosquittoProfiles is what each broker profile adds to the configuration.
var mosquittoProfiles = map[string]func(dir string) string{
	"default": func(string) string { return "allow_anonymous true\n" },
	"small":   func(string) string { return "allow_anonymous true\nmax_packet_size 1000\n" },
	"hasty":   func(string) string { return "allow_anonymous true\n" }, // it has no such setting
	"users": func(dir string) string {
		return "allow_anonymous false\npassword_file " + dir + "/users\n"
	},
	"acl": func(dir string) string {
		return "allow_anonymous false\npassword_file " + dir + "/users\nacl_file " + dir + "/acl\n"
	},
}

// mosquittoACL gives the rights that profileRights describes.
const mosquittoACL = `
user admin
topic readwrite #

user alice
topic readwrite +/open/#
topic read +/readonly/#
topic write +/writeonly/#
`
