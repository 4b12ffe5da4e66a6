package authfile

import "testing"

func TestSummary(t *testing.T) {
	two := map[string]User{"alice": {Password: guestHash}, "bob": {Password: guestHash}}
	for _, c := range []struct {
		config    Config
		anonymous bool // of the listener
		want      string
	}{
		{DefaultConfig(), true, "1 user, guest with the default password from this machine only; anonymous clients from this machine only"},
		{DefaultConfig(), false, "1 user, guest with the default password from this machine only; no anonymous clients"},
		{Config{}, true, "0 users; no anonymous clients"},
		{Config{Users: two, Anonymous: Anonymous{Enabled: true}}, true, "2 users; anonymous clients from anywhere"},
		{Config{Users: two, Anonymous: Anonymous{LoopbackOnly: true}}, true, "2 users; no anonymous clients"},
	} {
		if got := mustNew(t, c.config).Summary(c.anonymous); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
