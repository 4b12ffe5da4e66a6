package main

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/plugins/operator"
)

func listCommand() *cobra.Command {
	missing := kindMissing("list", operator.Kinds()...)
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List what the running node holds",
		Long: `List what the running node holds: connections, their channels and consumers; sessions
and subscriptions; exchanges, queues and bindings; retained messages.

A table of up to 10,000 rows is sorted; a longer one comes as the node has it. What
clients have chosen (client ids, topics) is shown with what does not print escaped.
--json prints an array of objects, with everything that is known.`,
		Example: "  naru list connections\n  naru list sessions --match 'sensor-*' --json | jq '.[] | select(.ready > 100)'\n  naru list retained 'sensors/+/state'",
		Args:    missing,
		RunE:    func(*cobra.Command, []string) error { return nil }, // it never comes to that: see Args
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, _ error) error { return missing(cmd, cmd.Flags().Args()) })
	cmd.AddCommand(
		listOf("connections", "clients that have logged in", "name", &connectionTable),
		listOf("channels", "the channels of AMQP connections", "connection", &channelTable),
		listOf("consumers", "who takes from declared queues and shared subscriptions", "queue", &consumerTable),
		listOf("exchanges", "exchanges", "name", &exchangeTable),
		listOf("sessions", "what client ids stand for, connected or not", "client id", &sessionTable),
		listOf("queues", "declared queues and shared subscriptions", "name", &queueTable),
		listOf("subscriptions", "the subscriptions of all sessions", "client id", &subscriptionTable),
		listOf("retained", "retained messages, but for $SYS", "topic", &retainedTable),
		listOf("bindings", "what leads to declared queues and shared subscriptions", "queue", &bindingTable),
	)
	return cmd
}

// listOf makes the command for one kind.
func listOf[T any](kind, what, name string, tb *table[T]) *cobra.Command {
	var f nodeFlags
	var q operator.Query
	cmd := &cobra.Command{
		Use:     kind,
		Short:   "List " + what,
		Long:    "List " + what + ".",
		Example: fmt.Sprintf("  naru list %s\n  naru list %s --match 'a*' --json", kind, kind),
		Args:    arguments(0, 0, ""),
		RunE: f.ask(func(cmd *cobra.Command, args []string, c *operator.Client) error {
			if len(args) > 0 {
				q.Filter = args[0]
			}
			rows := c.List(cmd.Context(), kind, q)
			return writeRows(cmd.OutOrStdout(), tb, rows, f.json)
		}),
	}
	if kind == "retained" {
		cmd.Use, cmd.Args = "retained [FILTER]", arguments(0, 1, "FILTER")
		cmd.Long += "\n\nFILTER is a topic filter as in a subscription, with + and #."
		cmd.Example = "  naru list retained\n  naru list retained 'sensors/+/state'\n  naru list retained '$SYS/#'"
	}
	f.registerJSON(cmd)
	cmd.Flags().StringVar(&q.VHost, "vhost", "", "only those of this vhost (default: of all)")
	cmd.Flags().StringVar(&q.Match, "match", "", "only those whose "+name+" matches: * is anything, ? one character")
	return cmd
}

func writeRows[T any](w io.Writer, tb *table[T], rows iter.Seq2[json.RawMessage, error], asJSON bool) error {
	if asJSON {
		return writeArray(w, rows)
	}
	shown := *tb
	if terminal(w) {
		shown.limit = 60
	}
	return shown.write(w, rows)
}

func number(n int64) string { return fmt.Sprint(n) }

func user(name string, anonymous bool) string {
	if anonymous {
		return "-"
	}
	return name
}

var connectionTable = table[core.ConnectionInfo]{columns: []column[core.ConnectionInfo]{
	{head: "NAME", cell: func(c core.ConnectionInfo) string { return c.Name }},
	{head: "USER", cell: func(c core.ConnectionInfo) string { return user(c.User, c.Anonymous) }},
	{head: "VHOST", cell: func(c core.ConnectionInfo) string { return c.VHost }},
	{head: "PROTOCOL", cell: func(c core.ConnectionInfo) string { return c.Protocol }},
	{head: "PEER", cell: func(c core.ConnectionInfo) string { return dash(c.Peer) }},
	{head: "STATE", cell: func(c core.ConnectionInfo) string { return c.State }},
	{head: "CHANNELS", cell: func(c core.ConnectionInfo) string { return fmt.Sprint(c.Channels) }, right: true},
	{head: "SINCE", cell: func(c core.ConnectionInfo) string { return moment(c.Since) }},
	{head: "IN FLIGHT", cell: func(c core.ConnectionInfo) string { return number(c.InFlight) }, right: true},
	{head: "CLIENT NAME", cell: func(c core.ConnectionInfo) string { return dash(c.Label) }},
}}

var channelTable = table[core.ChannelInfo]{columns: []column[core.ChannelInfo]{
	{head: "CONNECTION", cell: func(c core.ChannelInfo) string { return c.Connection }},
	{head: "CHANNEL", cell: func(c core.ChannelInfo) string { return fmt.Sprint(c.Number) }, right: true},
	{head: "USER", cell: func(c core.ChannelInfo) string { return user(c.User, c.Anonymous) }},
	{head: "VHOST", cell: func(c core.ChannelInfo) string { return c.VHost }},
	{head: "STATE", cell: func(c core.ChannelInfo) string { return c.State }},
	{head: "MODE", cell: func(c core.ChannelInfo) string { return c.Mode }},
	{head: "CONSUMERS", cell: func(c core.ChannelInfo) string { return fmt.Sprint(c.Consumers) }, right: true},
	{head: "PREFETCH", cell: func(c core.ChannelInfo) string { return limit(c.Prefetch) }, right: true},
	{head: "GLOBAL", cell: func(c core.ChannelInfo) string { return limit(c.Total) }, right: true},
	{head: "UNACKED", cell: func(c core.ChannelInfo) string { return number(c.Unacked) }, right: true},
	{head: "UNCONFIRMED", cell: func(c core.ChannelInfo) string { return number(c.Unconfirmed) }, right: true},
}}

var consumerTable = table[core.ConsumerInfo]{columns: []column[core.ConsumerInfo]{
	{head: "QUEUE", cell: func(c core.ConsumerInfo) string { return c.Queue }},
	{head: "CONNECTION", cell: func(c core.ConsumerInfo) string { return c.Connection }},
	{head: "CHANNEL", cell: func(c core.ConsumerInfo) string { return limit(c.Channel) }, right: true},
	{head: "TAG", cell: func(c core.ConsumerInfo) string { return dash(c.Tag) }},
	{head: "VHOST", cell: func(c core.ConsumerInfo) string { return c.VHost }},
	{head: "ACK", cell: func(c core.ConsumerInfo) string { return yesNo(c.Acks) }},
	{head: "EXCLUSIVE", cell: func(c core.ConsumerInfo) string { return yesNo(c.Exclusive) }},
	{head: "ACTIVE", cell: func(c core.ConsumerInfo) string { return yesNo(c.Active) }},
	{head: "PRIORITY", cell: func(c core.ConsumerInfo) string { return fmt.Sprint(c.Priority) }, right: true},
	{head: "PREFETCH", cell: func(c core.ConsumerInfo) string { return limit(int(c.Prefetch)) }, right: true},
	{head: "UNACKED", cell: func(c core.ConsumerInfo) string { return number(c.Unacked) }, right: true},
}}

var exchangeTable = table[core.ExchangeInfo]{columns: []column[core.ExchangeInfo]{
	{head: "NAME", cell: func(x core.ExchangeInfo) string { return dash(x.Name) }},
	{head: "TYPE", cell: func(x core.ExchangeInfo) string { return x.Type }},
	{head: "VHOST", cell: func(x core.ExchangeInfo) string { return x.VHost }},
	{head: "DURABLE", cell: func(x core.ExchangeInfo) string { return yesNo(x.Durable) }},
	{head: "AUTO DELETE", cell: func(x core.ExchangeInfo) string { return yesNo(x.AutoDelete) }},
	{head: "INTERNAL", cell: func(x core.ExchangeInfo) string { return yesNo(x.Internal) }},
	{head: "ALTERNATE", cell: func(x core.ExchangeInfo) string { return dash(x.Alternate) }},
	{head: "BINDINGS", cell: func(x core.ExchangeInfo) string { return fmt.Sprint(x.Bindings) }, right: true},
}}

// limit renders a limit, of which 0 is none.
func limit(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

var sessionTable = table[core.SessionInfo]{columns: []column[core.SessionInfo]{
	{head: "CLIENT ID", cell: func(s core.SessionInfo) string { return s.ClientID }},
	{head: "USER", cell: func(s core.SessionInfo) string { return user(s.User, s.Anonymous) }},
	{head: "VHOST", cell: func(s core.SessionInfo) string { return s.VHost }},
	{head: "CONNECTED", cell: func(s core.SessionInfo) string { return yesNo(s.Connected) }},
	{head: "CLEAN", cell: func(s core.SessionInfo) string { return yesNo(s.Clean) }},
	{head: "SUBSCRIPTIONS", cell: func(s core.SessionInfo) string { return fmt.Sprint(s.Subscriptions) }, right: true},
	{head: "READY", cell: func(s core.SessionInfo) string { return number(s.Ready) }, right: true},
	{head: "IN FLIGHT", cell: func(s core.SessionInfo) string { return number(s.InFlight) }, right: true},
	{head: "BYTES", cell: func(s core.SessionInfo) string { return size(s.Bytes) }, right: true},
	{head: "OFFLINE SINCE", cell: func(s core.SessionInfo) string { return moment(s.Offline) }},
	{head: "EXPIRES", cell: func(s core.SessionInfo) string { return moment(s.Expires) }},
}}

var queueTable = table[core.NamedQueueInfo]{columns: []column[core.NamedQueueInfo]{
	{head: "NAME", cell: func(q core.NamedQueueInfo) string { return q.Name }},
	{head: "KIND", cell: func(q core.NamedQueueInfo) string { return q.Kind }},
	{head: "VHOST", cell: func(q core.NamedQueueInfo) string { return q.VHost }},
	{head: "DURABLE", cell: func(q core.NamedQueueInfo) string { return yesNo(q.Durable) }},
	{head: "READY", cell: func(q core.NamedQueueInfo) string { return number(q.Ready) }, right: true},
	{head: "IN FLIGHT", cell: func(q core.NamedQueueInfo) string { return number(q.InFlight) }, right: true},
	{head: "BYTES", cell: func(q core.NamedQueueInfo) string { return size(q.Bytes) }, right: true},
	{head: "CONSUMERS", cell: func(q core.NamedQueueInfo) string { return fmt.Sprint(q.Consumers) }, right: true},
	{head: "MEMBERS", cell: func(q core.NamedQueueInfo) string { return fmt.Sprint(q.Members) }, right: true},
	{head: "OPTIONS", cell: func(q core.NamedQueueInfo) string { return dash(queueOptions(&q)) }},
}}

// queueOptions says in a few words how a queue differs from an ordinary one, with
// the words that RabbitMQ has for it.
func queueOptions(q *core.NamedQueueInfo) string {
	var all []string
	add := func(there bool, format string, args ...any) {
		if there {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(q.Type == "quorum", "quorum")
	add(q.AutoDelete, "auto-delete")
	add(q.Exclusive, "exclusive")
	add(q.SingleActive, "single-active-consumer")
	add(q.MaxPriority > 0, "max-priority=%d", q.MaxPriority)
	add(q.MaxLength != 0, "max-length=%d", max(q.MaxLength, 0))
	add(q.MaxBytes != 0, "max-length-bytes=%d", max(q.MaxBytes, 0))
	add((q.MaxLength != 0 || q.MaxBytes != 0) && q.Overflow != core.DropHead.String(), "overflow=%s", q.Overflow)
	if q.TTL != nil {
		add(true, "message-ttl=%d", *q.TTL)
	}
	add(q.Expires > 0, "expires=%d", q.Expires)
	if q.DeliveryLimit != nil {
		add(true, "delivery-limit=%d", *q.DeliveryLimit)
	}
	if q.DeadLetter != nil {
		add(true, "dead-letter-exchange=%s", *q.DeadLetter)
	}
	if q.DeadLetterKey != nil {
		add(true, "dead-letter-routing-key=%s", *q.DeadLetterKey)
	}
	add(q.Policy != "", "policy=%s", q.Policy)
	add(q.OperatorPolicy != "", "operator-policy=%s", q.OperatorPolicy)
	return strings.Join(all, " ")
}

var subscriptionTable = table[core.SubscriptionInfo]{columns: []column[core.SubscriptionInfo]{
	{head: "CLIENT ID", cell: func(s core.SubscriptionInfo) string { return s.ClientID }},
	{head: "FILTER", cell: func(s core.SubscriptionInfo) string { return s.Filter }},
	{head: "QOS", cell: func(s core.SubscriptionInfo) string { return fmt.Sprint(s.QoS) }},
	{head: "KIND", cell: func(s core.SubscriptionInfo) string { return s.Kind }},
	{head: "VHOST", cell: func(s core.SubscriptionInfo) string { return s.VHost }},
	{head: "CONNECTED", cell: func(s core.SubscriptionInfo) string { return yesNo(s.Connected) }},
}}

var retainedTable = table[core.RetainedInfo]{columns: []column[core.RetainedInfo]{
	{head: "TOPIC", cell: func(r core.RetainedInfo) string { return r.Topic }},
	{head: "VHOST", cell: func(r core.RetainedInfo) string { return r.VHost }},
	{head: "QOS", cell: func(r core.RetainedInfo) string { return fmt.Sprint(r.QoS) }},
	{head: "BYTES", cell: func(r core.RetainedInfo) string { return size(int64(r.Bytes)) }, right: true},
	{head: "PUBLISHED", cell: func(r core.RetainedInfo) string { return moment(r.Published) }},
}}

var bindingTable = table[core.BindingInfo]{columns: []column[core.BindingInfo]{
	{head: "EXCHANGE", cell: func(b core.BindingInfo) string { return dash(b.Exchange) }},
	{head: "KEY", cell: func(b core.BindingInfo) string { return b.Key }},
	{head: "SYNTAX", cell: func(b core.BindingInfo) string { return b.Syntax }},
	{head: "TO", cell: func(b core.BindingInfo) string { return b.Destination }},
	{head: "DESTINATION", cell: func(b core.BindingInfo) string { return b.Queue }},
	{head: "VHOST", cell: func(b core.BindingInfo) string { return b.VHost }},
	{head: "ARGUMENTS", cell: func(b core.BindingInfo) string { return dash(b.Arguments) }},
}}
