package operator

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"runtime"
	"runtime/metrics"

	"github.com/narumq/naru/core"
)

// Kinds are what can be listed.
func Kinds() []string {
	return []string{
		"connections", "channels", "consumers", "sessions", "exchanges", "queues", "bindings", "subscriptions", "retained",
	}
}

func (s *Server) lists(mux *http.ServeMux) {
	b := s.opt.Bus
	list(s, mux, "connections", b.Connections, func(c core.ConnectionInfo) string { return c.Name })
	list(s, mux, "channels", b.Channels, func(c core.ChannelInfo) string { return c.Connection })
	list(s, mux, "consumers", b.Consumers, func(c core.ConsumerInfo) string { return c.Queue })
	list(s, mux, "exchanges", b.Exchanges, func(x core.ExchangeInfo) string { return x.Name })
	list(s, mux, "sessions", b.Sessions, func(i core.SessionInfo) string { return i.ClientID })
	list(s, mux, "queues", b.Queues, func(q core.NamedQueueInfo) string { return q.Name })
	list(s, mux, "subscriptions", b.Subscriptions, func(i core.SubscriptionInfo) string { return i.ClientID })
	list(s, mux, "bindings", b.Bindings, func(i core.BindingInfo) string { return i.Queue })
	mux.HandleFunc("GET "+pathLists+"retained", func(w http.ResponseWriter, r *http.Request) {
		filter := r.FormValue("filter")
		send(s, w, r, func(vhost string) iter.Seq2[core.RetainedInfo, error] { return b.Retained(vhost, filter) },
			func(i core.RetainedInfo) string { return i.Topic })
	})
}

// list serves a list that cannot fail.
func list[T any](s *Server, mux *http.ServeMux, kind string, all func(vhost string) iter.Seq[T], name func(T) string) {
	mux.HandleFunc("GET "+pathLists+kind, func(w http.ResponseWriter, r *http.Request) {
		send(s, w, r, func(vhost string) iter.Seq2[T, error] {
			return func(yield func(T, error) bool) {
				for v := range all(vhost) {
					if !yield(v, nil) {
						return
					}
				}
			}
		}, name)
	})
}

// send sends a list, an object on a line. A list that breaks off is one that
// does not end as HTTP says it must.
func send[T any](s *Server, w http.ResponseWriter, r *http.Request, all func(vhost string) iter.Seq2[T, error], name func(T) string) {
	vhost, match := r.FormValue("vhost"), r.FormValue("match")
	if vhost != "" && s.opt.Bus.VHost(vhost) == nil {
		refuse(w, fmt.Errorf("vhost %q: %w", vhost, core.ErrNotFound))
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriterSize(w, 32<<10)
	enc := newEncoder(out)
	sent := false
	for v, err := range all(vhost) {
		if err == nil {
			err = r.Context().Err()
		}
		if err != nil && !sent {
			refuse(w, err)
			return
		}
		if err != nil {
			s.opt.Log.Warn("a list breaks off", "err", err)
			panic(http.ErrAbortHandler)
		}
		if match != "" && !Match(match, name(v)) {
			continue
		}
		sent = true
		if enc.Encode(v) != nil {
			return // nobody is there any more
		}
	}
	out.Flush() //nolint:errcheck // as above
}

func newEncoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

// Match says whether a name matches a pattern, in which * stands for anything
// and ? for one character.
func Match(pattern, name string) bool {
	p, n := []rune(pattern), []rune(name)
	i, j, star, from := 0, 0, -1, 0
	for j < len(n) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == n[j]):
			i++
			j++
		case star >= 0: // have the last star take one more
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// processFigures returns the memory that Go holds from the system, and the
// number of goroutines.
func processFigures() (memory int64, goroutines int) {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64()), runtime.NumGoroutine()
}
