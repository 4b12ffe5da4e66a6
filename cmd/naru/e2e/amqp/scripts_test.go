package amqp

import (
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

func loadScripts(t *testing.T) []*Script {
	t.Helper()
	scripts, err := LoadScripts("scripts")
	if err != nil {
		t.Fatal(err)
	}
	return scripts
}

// atOnce is how many scripts are played at once.
const atOnce = 32

// TestScriptsRabbit plays the scripts against RabbitMQ. A script marked as
// differing must fail where it is marked, and pass in RabbitMQ's version.
func TestScriptsRabbit(t *testing.T) {
	t.Parallel()
	peer := needRabbit(t)
	r := peer.runner()
	suite.Play(t, atOnce, loadScripts(t), func(t *testing.T, s *Script) {
		f := peer.again(t.Logf, func() *Failure { return r.Play(s, false) })
		if s.Differs == "" {
			if f != nil {
				t.Error(f)
			}
			return
		}
		switch {
		case f == nil:
			t.Errorf("%s passes: RabbitMQ does not differ here any more", s.ID())
		case !f.Step.Ours:
			t.Errorf("it differs in another line than the one marked: %v", f)
		}
		if f := peer.again(t.Logf, func() *Failure { return r.Play(s, true) }); f != nil {
			t.Errorf("RabbitMQ differs in another way than described: %v", f)
		}
	})
}

// TestScriptsNaru plays the scripts against Naru.
func TestScriptsNaru(t *testing.T) {
	t.Parallel()
	r := needNaru(t).runner()
	suite.Play(t, atOnce, loadScripts(t), func(t *testing.T, s *Script) {
		if f := r.Play(s, false); f != nil {
			t.Error(f)
		}
	})
}
