package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
)

// A Client asks a running node, by its socket.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client. It does not connect before it is asked something.
func NewClient(socket string) *Client {
	return &Client{socket: socket, http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) },
	}}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks how the node is.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.get(ctx, pathStatus, nil, &s)
}

// Plugins asks what runs.
func (c *Client) Plugins(ctx context.Context) (p []Plugin, err error) {
	return p, c.get(ctx, pathPlugins, nil, &p)
}

// Query narrows a list.
type Query struct {
	VHost  string // "": all
	Match  string // a pattern for the name, see Match; "": all
	Filter string // of topics of retained messages
}

// List asks for a list of one kind, see Kinds. Each element is a JSON object.
func (c *Client) List(ctx context.Context, kind string, q Query) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		v := url.Values{"vhost": {q.VHost}, "match": {q.Match}, "filter": {q.Filter}}
		body, err := c.do(ctx, http.MethodGet, pathLists+kind+"?"+v.Encode(), nil)
		if err != nil {
			yield(nil, err)
			return
		}
		defer body.Close()
		for dec := json.NewDecoder(body); ; {
			var row json.RawMessage
			switch err := dec.Decode(&row); {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(nil, fmt.Errorf("the list broke off: %w", err))
				return
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// Kick disconnects a client.
func (c *Client) Kick(ctx context.Context, t Target) error {
	_, err := c.change(ctx, pathKick, t)
	return err
}

// Purge empties a queue and returns how many messages that were.
func (c *Client) Purge(ctx context.Context, t Target) (int64, error) {
	return c.change(ctx, pathPurge, t)
}

// Delete deletes a "session", a "queue" or what is "retained", and returns how
// many there were.
func (c *Client) Delete(ctx context.Context, what string, t Target) (int64, error) {
	return c.change(ctx, pathDelete+url.PathEscape(what), t)
}

// Backup has the node write a backup, and tells how far it has got.
func (c *Client) Backup(ctx context.Context, dir string, tell func(Progress)) (*Manifest, error) {
	body, err := c.post(ctx, pathBackup, BackupRequest{Dir: dir})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		p := Progress{}
		if err := dec.Decode(&p); err != nil {
			return nil, fmt.Errorf("the node has ended before the backup was complete: %w", err)
		}
		switch {
		case p.Error != "":
			return nil, errors.New(p.Error)
		case p.Manifest != nil:
			return p.Manifest, nil
		}
		tell(p)
	}
}

func (c *Client) change(ctx context.Context, path string, t Target) (int64, error) {
	body, err := c.post(ctx, path, t)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	done := Changed{}
	if err := json.NewDecoder(body).Decode(&done); err != nil {
		return 0, fmt.Errorf("the answer broke off: %w", err)
	}
	return done.Count, nil
}

func (c *Client) get(ctx context.Context, path string, q url.Values, to any) error {
	body, err := c.do(ctx, http.MethodGet, path+"?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(to); err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	return nil
}

func (c *Client) post(ctx context.Context, path string, what any) (io.ReadCloser, error) {
	text, err := json.Marshal(what)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, http.MethodPost, path, bytes.NewReader(text))
}

// do sends a request and returns the body of a good answer.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://node"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is of no interest to anybody
		}
		return nil, &Unreachable{c.socket, err}
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	f := failure{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequest)).Decode(&f); err != nil || f.Error == "" {
		return nil, fmt.Errorf("the node answers %s", resp.Status)
	}
	return nil, errors.New(f.Error)
}

// Unreachable says that nobody could be asked.
type Unreachable struct {
	Socket string
	Err    error
}

func (u *Unreachable) Error() string { return fmt.Sprintf("no answer on %s: %v", u.Socket, u.Err) }

// Unwrap returns the cause.
func (u *Unreachable) Unwrap() error { return u.Err }
