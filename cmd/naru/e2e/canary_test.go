package e2e

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecurity22Canary: what is secret is in nothing that a broker says, at its
// most talkative: not in its log, its metrics, its profiles, "naru config" or an
// error. Each secret has a name of its own, so that a leak says where from.
func TestSecurity22Canary(t *testing.T) {
	const (
		right   = "canary-right-password"
		wrong   = "canary-wrong-password"
		will    = "canary-will-payload"
		payload = "canary-message-payload"
		kept    = "canary-retained-payload"
		env     = "canary-in-environment"
		arg     = "canary-in-argument"
	)
	h := hash(t, right)
	_, salted, _ := strings.Cut(h, "p=1$") // salt and sum: what is worth guessing against
	conf := fmt.Sprintf("log: {level: debug}\nusers:\n  alice: {password: %q}\n", h)
	c := startConfigured(t, conf, nil)

	alice := c.join("alice", "alice", right, false)
	must(t, alice.subscribe("#", 2))
	c.refused("alice", wrong)
	c.refused(wrong+"-as-user-", wrong)
	dying := join(t, &session{addr: c.MQTT, id: "dying", user: "alice", password: right, will: &delivery{topic: "w", payload: []byte(will), qos: 1}})
	tell(t, dying, "a/b", payload, 2)
	must(t, dying.publish("a/c", 1, true, []byte(kept), 0), dying.drain(0))
	dying.close() // and its will is published
	for seen := false; !seen; {
		d, err := alice.take()
		must(t, err)
		seen = string(d.payload) == will
	}
	garbage := join(t, &session{addr: c.MQTT, id: "garbage", user: "alice", password: right})
	must(t, garbage.write(append([]byte{0x30, 0x10, 0xff, 0xff}, right+payload...))) // a packet that is none
	garbage.disconnect()

	said := map[string]string{}
	for _, path := range []string{"/metrics", "/healthz", "/readyz", "/debug/pprof/", "/debug/pprof/cmdline",
		"/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1"} {
		r, err := http.Get("http://" + c.Metrics + path)
		must(t, err)
		body, err := io.ReadAll(r.Body)
		must(t, err, r.Body.Close())
		said[path] = string(body)
	}
	http.DefaultClient.CloseIdleConnections()
	binary := c.Cmd.Path
	tool := func(env []string, args ...string) string {
		out, _ := naruCommand(binary, t.TempDir(), args, env...).CombinedOutput() // some must fail
		if len(out) == 0 {
			t.Errorf("naru %q says nothing", args)
		}
		return string(out)
	}
	said["naru config"] = tool([]string{"NARU_USERS__BOB__PASSWORD=" + h}, "config", "-c", c.file, "--set", "users.carol.password="+h)
	if !strings.Contains(said["naru config"], "carol") || !strings.Contains(said["naru config"], "***") {
		t.Errorf("naru config:\n%s", said["naru config"])
	}
	said["bad environment"] = tool([]string{"NARU_USERS__BOB__PASSWORD=" + env}, "config")
	said["bad environment, list"] = tool([]string{"NARU_USERS__BOB=[" + env + "]"}, "config")
	said["bad environment, key"] = tool([]string{"NARU_USERS__BOB__PASSWRD=" + env}, "config")
	said["bad --set"] = tool(nil, "config", "--set", "users.bob.password="+arg)
	said["bad --set, key"] = tool(nil, "config", "--set", "users.bob.passwrd="+arg)
	said["bad --set, section"] = tool(nil, "config", "--set", "users.bob="+arg)
	said["bad --set, no value"] = tool(nil, "config", "--set", "users.bob.password")
	for i, broken := range []string{
		"users: {alice: {password: canary-1}}",
		"users: {alice: {password: [canary-2]}}",
		"users: {alice: {password: {canary-3: x}}}",
		"users: {alice: canary-4}",
		"users: [canary-5]",
		"users: {alice: {password: \"$argon2id$v=19$m=1,t=1,p=1$canary-6$canary-6\"}}",
		"users: {alice: {password: \"$2a$99$canary-7\"}}",
		"users: {alice: {password: \"$7$1$canary-8$canary-8\"}}",
		"users: {alice: {password: \"$6$canary-9$canary-9\"}}",
		"users: {alice: {password: canary-10",
		"users: {alice: {password: 'canary-11}}",
		"users: {alice: {password: !!int canary-12}}",
		"users: {alice: {password: !canary canary-13}}",
		"users: {alice: {password: \"canary-14\\q\"}}",
		"users: {alice: {passwort: canary-15}}",
		"users: {alice: {password: canary-16, password: canary-16}}",
		"users: {alice: {password: |\n  canary-17\n}}",
		"users:\n  alice:\n    password: canary-18: x\n",
		"users:\n  alice:\n    password: @canary-19\n",
		"users:\n  alice:\n    password: *canary\n",
		"users:\n  alice:\n    password: " + strings.Repeat("canary-21", 500) + "\n",
	} {
		file := filepath.Join(t.TempDir(), "broken.yaml")
		must(t, os.WriteFile(file, []byte(broken), 0o600))
		out := tool(nil, "check", file)
		if strings.Contains(out, "is good") {
			t.Errorf("%s is good", broken)
		}
		if i != 15 && i != 19 { // the key of a tag or an alias is no value
			said["naru check: "+broken] = out
		}
		c.write(broken)
		c.hangUp("not reloaded")
	}
	c.write(conf)
	c.hangUp("reloaded")
	must(t, c.Restart(false), alice.connect()) // what is stored is read again
	c.refused("alice", wrong)
	said["log"] = c.wholeLog()
	if !strings.Contains(said["log"], "level=DEBUG") || !strings.Contains(said["log"], "will published") {
		t.Fatalf("the log is not at its most talkative:\n%s", said["log"])
	}
	for where, text := range said {
		text = strings.ReplaceAll(text, wrong+"-as-user-", "") // a user name is no secret
		for _, secret := range []string{"canary-", salted} {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s shows a secret: ...%s...", where, text[max(0, i-100):min(len(text), i+100)])
			}
		}
	}
}

// TestSecurity22Files: nobody but the owner reads what the broker stores, in a
// directory that was there before and under a careless umask too.
func TestSecurity22Files(t *testing.T) {
	c := startConfigured(t, "", func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `umask 0; mkdir -p data; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	})
	s := c.join("s", "", "", false)
	must(t, s.subscribe("#", 1), s.disconnect())
	tell(t, c.join("p", "", "", true), "a", "x", 1)
	must(t, c.Restart(false))
	seen := 0
	err := filepath.WalkDir(filepath.Join(c.Dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if seen++; seen == 1 {
			return nil // the directory that was there before is its maker's
		}
		if mode := info.Mode(); mode.Perm()&0o077 != 0 {
			t.Errorf("%s: others may use it: %v", path, mode)
		}
		return nil
	})
	if err != nil || seen < 4 {
		t.Errorf("%d files: %v", seen, err)
	}
	c.write("users: {alice: {password: " + fmt.Sprintf("%q", hash(t, "x")) + "}}\n")
	must(t, os.Chmod(c.file, 0o644))
	if log := c.hangUp("reloaded"); !strings.Contains(log, "chmod 600") {
		t.Errorf("nobody warns of a file with secrets that others can read:\n%s", log)
	}
}
