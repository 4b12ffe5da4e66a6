package operator

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/narumq/naru/core"
)

// changeTime is how long a change may take that does not depend on how much
// there is: a client that has to go, a commit.
const changeTime = time.Minute

// target reads what a change is to be made to, and finds its vhost.
func (s *Server) target(w http.ResponseWriter, r *http.Request) (*core.VHost, Target, bool) {
	t := Target{}
	if !ask(w, r, &t) {
		return nil, t, false
	}
	if t.VHost == "" {
		t.VHost = "/"
	}
	vh := s.opt.Bus.VHost(t.VHost)
	switch {
	case vh == nil:
		refuse(w, fmt.Errorf("vhost %q: %w", t.VHost, core.ErrNotFound))
		return nil, t, false
	case t.Name == "":
		refuse(w, fmt.Errorf("%w: no name", errBadRequest))
		return nil, t, false
	}
	return vh, t, true
}

// done answers a change and has it in the log: who looks for the cause of a gap
// finds it there.
func (s *Server) done(w http.ResponseWriter, what string, t Target, c Changed) {
	if err := c.err; err != nil {
		if c.Count > 0 {
			err = fmt.Errorf("after %d: %w", c.Count, err)
		}
		refuse(w, err)
		return
	}
	s.opt.Log.Info("by operator: "+what, "vhost", t.VHost, "name", clip(t.Name), "count", c.Count)
	answer(w, c)
}

// one is what has come of a change to one thing.
func one(err error) Changed {
	if err != nil {
		return Changed{err: err}
	}
	return Changed{Count: 1}
}

// clip shortens what a client chose, for the log.
func clip(s string) string {
	if len(s) > 256 {
		return s[:256] + "..."
	}
	return s
}

func (s *Server) kick(w http.ResponseWriter, r *http.Request) {
	vh, t, ok := s.target(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), changeTime)
	defer cancel()
	s.done(w, "disconnected", t, one(vh.Kick(ctx, t.Name)))
}

func (s *Server) purge(w http.ResponseWriter, r *http.Request) {
	vh, t, ok := s.target(w, r)
	if !ok {
		return
	}
	var q *core.Queue
	if t.Session {
		if se := vh.Session(t.Name); se != nil {
			q = se.Queue()
		}
	} else {
		q = vh.Queue(t.Name)
	}
	if q == nil {
		what := "queue"
		if t.Session {
			what = "session"
		}
		refuse(w, fmt.Errorf("%s %q: %w", what, t.Name, core.ErrNotFound))
		return
	}
	n, err := s.opt.Bus.Purge(r.Context(), q)
	s.done(w, "purged", t, Changed{Count: n, err: err})
}

func (s *Server) delete(w http.ResponseWriter, r *http.Request) {
	vh, t, ok := s.target(w, r)
	if !ok {
		return
	}
	switch what := r.PathValue("what"); what {
	case "retained": // there may be very many
		n, err := vh.DeleteRetained(r.Context(), t.Name)
		if n == 0 && err == nil {
			err = fmt.Errorf("no retained message matches %q: %w", t.Name, core.ErrNotFound)
		}
		s.done(w, "retained messages deleted", t, Changed{Count: int64(n), err: err})
	case "session", "queue":
		ctx, cancel := context.WithTimeout(r.Context(), changeTime)
		defer cancel()
		remove := vh.DeleteSession
		if what == "queue" {
			remove = vh.DeleteQueue
		}
		s.done(w, what+" deleted", t, one(remove(ctx, t.Name)))
	default:
		refuse(w, fmt.Errorf("%w: %q cannot be deleted", errBadRequest, what))
	}
}
