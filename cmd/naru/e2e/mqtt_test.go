package e2e

import (
	"strings"
	"sync"
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

func loadMQTT(t *testing.T) []*Script {
	t.Helper()
	scripts, err := LoadScripts("mqtt")
	must(t, err)
	return scripts
}

func loadStatements(t *testing.T) []Statement {
	t.Helper()
	statements, err := LoadStatements("mqtt/statements.tsv")
	must(t, err)
	return statements
}

// TestStatementsCovered: every statement that a broker can keep or break has a
// script, and no script names a statement that does not exist.
func TestStatementsCovered(t *testing.T) {
	scripts, known := loadMQTT(t), map[string]bool{}
	for _, s := range loadStatements(t) {
		known[s.ID] = true
		if s.OnServer() && len(suite.Covering(scripts, s.ID)) == 0 {
			t.Errorf("no script shows %s: %s", s.ID, s.Text)
		}
	}
	for _, s := range scripts {
		for _, id := range s.Covers {
			if !known[id] {
				t.Errorf("%s: %s covers %s, which is not a statement of MQTT 3.1.1", s.File, s.Name, id)
			}
		}
	}
}

// The peer's scripts that wait overlap, those that work do not gain by more.
const (
	mosquittoAtOnce = 32
	naruAtOnce      = 16
)

// TestScriptsMosquitto plays the scripts against the reference peer. A script
// marked as differing must fail where it is marked, and pass in the peer's
// version.
func TestScriptsMosquitto(t *testing.T) {
	peers.NeedProgram(t, mosquittoPath)
	play(t, mosquittoAtOnce, func(t *testing.T, s *Script, broker func() *Broker) {
		f := broker().Runner().Play(s)
		if s.Peer == nil {
			if f != nil {
				t.Error(f)
			}
			return
		}
		switch {
		case f == nil:
			t.Errorf("%s passes: mosquitto does not differ here any more", s.ID())
		case !f.Step.Ours:
			t.Errorf("it differs in another line than the one marked: %v", f)
		}
		if f := broker().Runner().Play(s.Peer); f != nil {
			t.Errorf("mosquitto differs in another way than described: %v", f)
		}
	}, startMosquitto)
}

// TestScriptsNaru plays the scripts against Naru, which differs nowhere.
func TestScriptsNaru(t *testing.T) {
	binary := naruBinary(t)
	play(t, naruAtOnce, func(t *testing.T, s *Script, broker func() *Broker) {
		b := broker()
		if f := b.Runner().Play(s); f != nil {
			t.Error(f)
			if s.Own {
				t.Logf("the broker says:\n%s", b.Log())
			}
		}
	}, func(t *testing.T, profile string) (*Broker, error) { return startNaru(t, binary, profile) })
}

// play gives every script a broker. Scripts of one profile share one unless they
// need their own.
func play(t *testing.T, atOnce int, one func(*testing.T, *Script, func() *Broker), start starter) {
	shared := &sharedBrokers{t: t, start: start, brokers: map[string]*Broker{}}
	suite.Play(t, atOnce, loadMQTT(t), func(t *testing.T, s *Script) {
		one(t, s, func() *Broker {
			b, err := shared.of(t, s)
			must(t, err)
			return b
		})
	})
}

// A starter starts a broker for a profile and stops it with the test.
type starter func(t *testing.T, profile string) (*Broker, error)

// sharedBrokers are started when a script first needs them and live as long as
// the test around all scripts.
type sharedBrokers struct {
	t     *testing.T
	start starter

	sync.Mutex
	brokers map[string]*Broker
}

func (s *sharedBrokers) of(t *testing.T, script *Script) (*Broker, error) {
	if script.Own {
		return s.start(t, script.Profile)
	}
	s.Lock()
	defer s.Unlock()
	if b := s.brokers[script.Profile]; b != nil {
		return b, nil
	}
	b, err := s.start(s.t, script.Profile)
	if err == nil {
		s.brokers[script.Profile] = b
	}
	return b, err
}

// TestStatementList: the list is complete. The standard numbers the statements
// of a section without gaps (or means to: appendix B spells 3.1.2-7 and
// 3.8.3-4 wrongly), so a section's highest number says it all.
func TestStatementList(t *testing.T) {
	const sections = `1.5.3:3 2.2.2:2 2.3.1:7 3.1.0:2 3.1.2:24 3.1.3:11 3.1.4:5 3.2.0:1 3.2.2:6
		3.3.1:12 3.3.2:3 3.3.4:1 3.3.5:2 3.6.1:1 3.8.1:1 3.8.3:4 3.8.4:6 3.9.3:2 3.10.1:1 3.10.3:2
		3.10.4:6 3.12.4:1 3.14.1:1 3.14.4:3 4.1.0:2 4.3.1:1 4.3.2:2 4.3.3:2 4.4.0:1 4.5.0:2 4.6.0:6
		4.7.1:3 4.7.2:1 4.7.3:4 4.8.0:2 6.0.0:4 7.0.0:2 7.1.1:1 7.1.2:1`
	statements := loadStatements(t)
	var got []string
	for i, s := range statements {
		section, number, ok := strings.Cut(strings.TrimPrefix(s.ID, "MQTT-"), "-")
		if !ok {
			t.Fatalf("%q is not an id", s.ID)
		}
		if i+1 == len(statements) || !strings.HasPrefix(statements[i+1].ID, "MQTT-"+section+"-") {
			got = append(got, section+":"+number)
		}
	}
	if want := strings.Join(strings.Fields(sections), " "); strings.Join(got, " ") != want {
		t.Errorf("sections and their number of statements are\n%s\nwant\n%s", strings.Join(got, " "), want)
	}
	if len(statements) != 141 {
		t.Errorf("%d statements, want 141: a number is missing in the middle", len(statements))
	}
}
