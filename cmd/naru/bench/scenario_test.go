package bench

import (
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	labels := make(map[string]bool)
	for _, kind := range Kinds() {
		s := Defaults(kind)
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
		labels[s.String()] = true
	}
	if len(labels) != len(Kinds()) {
		t.Errorf("scenarios share labels: %v", labels)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		kind   Kind
		change func(*Scenario)
		want   string
	}{
		{"nonsense", func(*Scenario) {}, "unknown kind"},
		{Pairs, func(s *Scenario) { s.N = 0 }, "n is 0"},
		{Pairs, func(s *Scenario) { s.Size = headerSize - 1 }, "size"},
		{Pairs, func(s *Scenario) { s.QoS = 3 }, "QoS 3"},
		{Pairs, func(s *Scenario) { s.Window = 0 }, "window"},
		{Pairs, func(s *Scenario) { s.Window = idCycle + 1 }, "window"},
		{Pairs, func(s *Scenario) { s.Duration = 0 }, "messages or duration"},
		{Pairs, func(s *Scenario) { s.Subscribe = true }, "subscribe"},
		{Pairs, func(s *Scenario) { s.Timeout = 0 }, "timeout"},
		{Paced, func(s *Scenario) { s.Rate = 0 }, "rate"},
		{Persistent, func(s *Scenario) { s.QoS = 0 }, "QoS 1 or 2"},
		{Offline, func(s *Scenario) { s.Messages, s.Duration = 0, time.Second }, "messages must be given"},
		{Idle, func(s *Scenario) { s.KeepAlive = 19 * time.Hour }, "keep-alive"},
		{Idle, func(s *Scenario) { s.Churn = true }, "churn"},
		{Connect, func(s *Scenario) { s.Rate = -1 }, "rate"},
		{Fanout, func(s *Scenario) { s.Protocol = AMQP }, "pairs and paced"},
		{Pairs, func(s *Scenario) { s.Protocol, s.QoS = AMQP, 2 }, "no QoS 2"},
		{Pairs, func(s *Scenario) { s.Protocol, s.Over = MQTTToAMQP, TLS }, "over TCP"},
		{Pairs, func(s *Scenario) { s.Protocol, s.Size = AMQP, maxAMQPSize+1 }, "size"},
	}
	for _, test := range tests {
		s := Defaults(test.kind)
		test.change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.kind, err, test.want)
		}
	}
	// Everything that is wrong is told at once.
	s := Defaults(Pairs)
	s.N, s.Window = 0, 0
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "n is 0") || !strings.Contains(err.Error(), "window") {
		t.Errorf("two mistakes: %v", err)
	}
}
