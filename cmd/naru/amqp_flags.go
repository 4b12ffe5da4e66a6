package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/narumq/naru/cmd/naru/client"
)

// amqpFlags are what naru pub and naru sub have in common for amqp:// alone.
type amqpFlags struct {
	exchange string
	queue    string
}

// topicExchange is where MQTT's topics are, with dots in the place of slashes.
const topicExchange = "amq.topic"

func (o *amqpFlags) register(f *pflag.FlagSet, exchange, queue string) {
	f.StringVar(&o.exchange, "exchange", topicExchange, "AMQP: "+exchange)
	f.StringVar(&o.queue, "queue", "", "AMQP: "+queue)
}

// Flags that say something to one of the two protocols only.
var (
	flagsOfAMQP = []string{"exchange", "queue", "mandatory", "header"}
	flagsOfMQTT = []string{
		"disable-clean-session", "protocol-version", "will-topic", "will-payload", "will-qos", "will-retain",
		"filter-out", "no-retained", "retained-only", "exit-after-subscribe",
	}
)

// misplaced refuses flags of the protocol that is not spoken.
func misplaced(changed func(flag string) bool, t client.Target) error {
	flags, of := flagsOfAMQP, "amqp:// and amqps://"
	if t.AMQP() {
		flags, of = flagsOfMQTT, "MQTT"
	}
	for _, name := range flags {
		if changed(name) {
			return usagef("--%s is for %s only", name, of)
		}
	}
	return nil
}

// maxKey is how long AMQP lets the name of a queue or exchange and a key be.
const maxKey = 255

// checkAMQP finds contradictions. needed says that --queue or a key must be given.
func (o *amqpFlags) checkAMQP(changed func(flag string) bool, t client.Target, keys []string, needed bool) error {
	switch {
	case changed("queue") && o.queue == "":
		return usagef("--queue is empty")
	case o.queue != "" && len(keys) > 0:
		return usagef("--queue, or a key (-t), but not both")
	case o.queue != "" && changed("exchange"):
		return usagef("--queue, or --exchange, but not both")
	case o.queue == "" && len(keys) == 0 && needed:
		return usagef("no key: -t, or --queue")
	case t.Retain:
		return errNoRetain
	}
	for _, name := range append([]string{o.exchange, o.queue}, keys...) {
		if len(name) > maxKey {
			return usagef("%.20q...: names and keys of AMQP have at most %d bytes", name, maxKey)
		}
	}
	return nil
}

var errNoRetain = usagef("AMQP has no retained messages: -r is for MQTT")

// parseHeaders reads name=value pairs.
func parseHeaders(pairs []string) (map[string]string, error) {
	all := make(map[string]string)
	for _, p := range pairs {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" || len(name) > 128 {
			return nil, usagef("--header %q: it is NAME=VALUE", p)
		}
		if _, twice := all[name]; twice {
			return nil, usagef("--header %s is given twice", name)
		}
		all[name] = value
	}
	return all, nil
}

// connectError says who did not answer.
func connectError(t client.Target, err error) error { return fmt.Errorf("%s: %w", t, err) }
