package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestPackage builds the Debian package, installs it below a directory of its
// own, runs what was installed and removes it again.
func TestPackage(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no dpkg-deb")
	}
	root := t.TempDir()
	command := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "BINARY="+naruBinary(t), "DPKG_DEB_COMPRESSOR_TYPE=gzip", "DPKG_DEB_COMPRESSOR_LEVEL=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	arch := strings.TrimSpace(command("dpkg", "--print-architecture"))
	command("../../../docs/packaging/deb", arch, "v1.2.3-4-gabc", root)
	file := filepath.Join(root, "naru_1.2.3+4+gabc_"+arch+".deb")
	for _, want := range []string{"Version: 1.2.3+4+gabc", "Architecture: " + arch, "Depends: adduser"} {
		if info := command("dpkg-deb", "--info", file); !strings.Contains(info, want) {
			t.Errorf("the package does not say %q:\n%s", want, info)
		}
	}
	command("../../../docs/packaging/deb", arch, "v1.3.0-rc.1", root)
	candidate := strings.TrimSpace(command("dpkg-deb", "--field", filepath.Join(root, "naru_1.3.0~rc.1_"+arch+".deb"), "Version"))
	command("dpkg", "--compare-versions", candidate, "lt", "1.3.0")
	command("dpkg", "--compare-versions", candidate, "gt", "1.2.3+4+gabc")
	list := command("dpkg-deb", "--contents", file)
	for _, want := range []string{"-rwxr-xr-x root/root", "-rw-r----- root/root", "./etc/naru/naru.yaml", "./lib/systemd/system/naru.service"} {
		if !strings.Contains(list, want) {
			t.Errorf("the package has no %q:\n%s", want, list)
		}
	}

	system := filepath.Join(root, "system")
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates"} {
		must(t, os.MkdirAll(filepath.Join(system, dir), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(system, "var/lib/dpkg/status"), nil, 0o644))
	dpkg := func(args ...string) {
		t.Helper()
		command("dpkg", append([]string{
			"--root=" + system, "--force-script-chrootless", "--force-depends", "--force-not-root", "--force-bad-path",
		}, args...)...)
	}
	dpkg("--install", file)
	installed := filepath.Join(system, "usr/bin/naru")
	conf := filepath.Join(system, "etc/naru/naru.yaml")
	if out := command(installed, "check", conf); !strings.Contains(out, "is good") {
		t.Errorf("the configuration of the package:\n%s", out)
	}
	if out := command(installed, "config", "-c", conf); !strings.Contains(out, "data_dir: /var/lib/naru") {
		t.Errorf("the configuration of the package:\n%s", out)
	}
	for _, line := range strings.Split(command("grep", "-E", "^Exec(Start|Reload)=", filepath.Join(system, "lib/systemd/system/naru.service")), "\n") {
		if strings.HasPrefix(line, "ExecStart=") && line != "ExecStart=/usr/bin/naru serve --config /etc/naru/naru.yaml" {
			t.Errorf("the unit starts something else: %s", line)
		}
	}
	data := filepath.Join(system, "var/lib/naru")
	must(t, os.MkdirAll(data, 0o700))
	dpkg("--remove", "naru")
	if _, err := os.Stat(data); err != nil {
		t.Errorf("removing the package has removed the data: %v", err)
	}
	dpkg("--purge", "naru")
	for _, gone := range []string{data, installed, conf} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("purging the package has left %s", gone)
		}
	}
}
