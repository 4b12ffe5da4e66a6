package ws

import (
	"bytes"
	"embed"
	"net/http"
	"strings"
	"time"
)

//go:embed page
var page embed.FS

// pageFiles are the files of the example page by path, with their types.
var pageFiles = map[string]struct{ file, kind string }{
	"/":         {"page/index.html", "text/html; charset=utf-8"},
	"/page.css": {"page/page.css", "text/css; charset=utf-8"},
	"/page.js":  {"page/page.js", "text/javascript; charset=utf-8"},
	"/mqtt.js":  {"page/mqtt.js", "text/javascript; charset=utf-8"},
}

// pagePolicy has a browser run and show nothing but these files. The page may
// connect to another broker than the one it comes from.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' ws: wss:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// servePage answers a request that is not for an upgrade.
func (a *Adapter) servePage(w http.ResponseWriter, r *http.Request) {
	f, ok := pageFiles[r.URL.Path]
	switch {
	case !a.conf().Page || !ok:
		w.Header().Set("Upgrade", "websocket")
		a.refuse(w, r, http.StatusUpgradeRequired, "This is a WebSocket listener of Naru, a message broker.")
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		a.refuse(w, r, http.StatusMethodNotAllowed, "This page can be read, and that is all.")
		return
	}
	b, err := page.ReadFile(f.file)
	if err != nil { // the tests read every file
		a.refuse(w, r, http.StatusInternalServerError, "This file is missing.")
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, strings.TrimPrefix(f.file, "page/"), time.Time{}, bytes.NewReader(b))
}
