package authfile

import "testing"

func TestSummary(t *testing.T) {
	two := map[string]User{"alice": {Password: guestHash}, "bob": {Password: guestHash}}
	for _, c := range []struct {
		config Config
		want   string
	}{
		{DefaultConfig(), "1 user, guest with the default password from this machine only; anonymous clients from this machine only"},
		{Config{}, "0 users; no anonymous clients"},
		{Config{Users: two, Anonymous: Anonymous{Enabled: true}}, "2 users; anonymous clients from anywhere"},
		{Config{Users: two, Anonymous: Anonymous{LoopbackOnly: true}}, "2 users; no anonymous clients"},
	} {
		if got := mustNew(t, c.config).Summary(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
