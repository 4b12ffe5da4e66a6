package main

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/narumq/naru/config"
	"github.com/narumq/naru/core"
)

// newLogger returns a logger, and what sets its level later.
func newLogger(w io.Writer, c config.Log) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(levelOf(c))
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), level
	}
	return slog.New(slog.NewTextHandler(w, o)), level
}

func levelOf(c config.Log) slog.Level {
	return map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[strings.ToLower(c.Level)]
}

// logEvents writes events to the log: the one place where they become lines.
func logEvents(log *slog.Logger) core.Listener {
	return func(e core.Event) {
		level, msg, attrs := describe(e)
		if msg != "" && log.Enabled(context.Background(), level) {
			log.LogAttrs(context.Background(), level, msg, attrs...)
		}
	}
}

func describe(e core.Event) (slog.Level, string, []slog.Attr) {
	switch e := e.(type) {
	case core.Connected:
		return slog.LevelDebug, "connected", append(who(e.Identity), slog.Bool("clean", e.CleanSession),
			slog.Bool("resumed", e.SessionPresent), slog.Duration("keep_alive", e.KeepAlive))
	case core.Disconnected:
		level := slog.LevelInfo
		if e.Cause == nil {
			level = slog.LevelDebug
		}
		return level, "disconnected", append(who(e.Identity), cause(e.Cause), slog.Duration("after", e.Duration))
	case core.LoginRefused:
		return slog.LevelWarn, "no login", append(who(e.Identity), cause(e.Cause))
	case core.Subscribed:
		return slog.LevelDebug, "subscribed", append(who(e.Identity), slog.String("filter", e.Filter), slog.Int("qos", int(e.QoS)))
	case core.Unsubscribed:
		return slog.LevelDebug, "unsubscribed", append(who(e.Identity), slog.String("filter", e.Filter))
	case core.PublishRefused:
		return slog.LevelInfo, "publish refused", append(who(e.Identity), slog.String("topic", e.Topic), cause(e.Cause), slog.Int64("count", e.Count))
	case core.SubscribeRefused:
		return slog.LevelInfo, "subscribe refused", append(who(e.Identity), slog.String("filter", e.Filter), cause(e.Cause), slog.Int64("count", e.Count))
	case core.SessionExpired:
		return slog.LevelInfo, "session expired", []slog.Attr{slog.String("vhost", e.VHost), slog.String("client_id", e.ClientID)}
	case core.Dropped:
		return slog.LevelWarn, "messages dropped", []slog.Attr{
			slog.String("vhost", e.VHost), slog.String("queue", e.Queue),
			slog.String("reason", e.Reason.String()), slog.Int64("count", e.Count),
		}
	case core.WillPublished:
		return slog.LevelDebug, "will published", append(who(e.Identity), slog.String("topic", e.Topic), cause(e.Err))
	case core.AuthorizerFailed:
		return slog.LevelError, "authorizer failed, the answer was no", append(who(e.Identity), cause(e.Err))
	case core.StoreDamaged:
		return slog.LevelError, "record cannot be read and is left out", []slog.Attr{slog.String("queue", e.Queue), cause(e.Err)}
	case core.AlarmRaised:
		return slog.LevelError, "alarm: publishers wait", []slog.Attr{
			slog.String("alarm", e.Alarm), slog.String("detail", e.Detail), slog.Any("largest_queues", e.Largest),
		}
	case core.AlarmCleared:
		return slog.LevelWarn, "alarm cleared", []slog.Attr{slog.String("alarm", e.Alarm), slog.Duration("after", e.After)}
	case core.Recovered:
		return slog.LevelInfo, "state recovered", []slog.Attr{
			slog.Int("sessions", e.Sessions), slog.Int("queues", e.Queues), slog.Int("bindings", e.Bindings),
			slog.Int("retained", e.Retained), slog.Int("wills", e.Wills), slog.Int64("messages", e.Messages),
			slog.Duration("took", e.Took),
		}
	}
	return slog.LevelDebug, "", nil
}

// clip shortens what a client chose, which may have 64 KiB.
func clip(s string) string {
	const most = 256
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

func who(id *core.Identity) []slog.Attr {
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs, slog.String("protocol", id.Protocol))
	for _, a := range [...]slog.Attr{
		slog.String("client_id", clip(id.ClientID)), slog.String("user", clip(id.User)), slog.String("vhost", clip(id.VHost)),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	if id.Peer.IsValid() {
		attrs = append(attrs, slog.String("peer", id.Peer.String()))
	}
	return attrs
}

func cause(err error) slog.Attr {
	if err == nil {
		return slog.Attr{}
	}
	return slog.String("cause", clip(err.Error())) // which may quote the client
}
