package ws

import (
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestPage gets every file of the page, with a policy under which a browser
// runs nothing else, and every file that these name.
func TestPage(t *testing.T) {
	b := newBox(t)
	named := regexp.MustCompile(`(?:src|href)="([^":]+)"|from '\./([^']+)'`)
	reached := map[string]bool{}
	for todo := []string{"/"}; len(todo) > 0; todo = todo[1:] {
		path := todo[0]
		if reached[path] {
			continue
		}
		reached[path] = true
		resp, body := b.get(http.MethodGet, path)
		if resp.StatusCode != http.StatusOK || len(body) < 500 {
			t.Fatalf("%s: %s, %d bytes", path, resp.Status, len(body))
		}
		if kind := resp.Header.Get("Content-Type"); kind != pageFiles[path].kind {
			t.Errorf("%s is %s", path, kind)
		}
		policy := resp.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'; script-src 'self'; style-src 'self'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" || !resp.Close {
			t.Errorf("%s: %v", path, resp.Header)
		}
		for _, m := range named.FindAllStringSubmatch(body, -1) {
			todo = append(todo, "/"+m[1]+m[2])
		}
	}
	if len(reached) != len(pageFiles) {
		t.Errorf("%v of %d files are reached", reached, len(pageFiles))
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if resp, _ := b.get(method, "/"); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
	if resp, body := b.get(http.MethodHead, "/"); resp.StatusCode != http.StatusOK || body != "" {
		t.Errorf("HEAD: %s %q", resp.Status, body)
	}
	for _, path := range []string{"/index.html", "/page/index.html", "/../page.go", "/page.js/", "/favicon.ico", "//"} {
		if resp, _ := b.get(http.MethodGet, path); resp.StatusCode == http.StatusOK {
			t.Errorf("%s is served", path)
		}
	}
}

// TestPageIsText: nothing in the page makes markup or code of a string, or
// loads anything from elsewhere.
func TestPageIsText(t *testing.T) {
	danger := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|DOMParser|srcdoc|` +
		`\bon\w+="|<script>|<style|style="|javascript:|https?://|@import|url\(`)
	files := 0
	err := fs.WalkDir(page, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		text, err := page.ReadFile(path)
		for _, found := range danger.FindAllString(string(text), -1) {
			t.Errorf("%s has %q", path, found)
		}
		return err
	})
	if err != nil || files != len(pageFiles) {
		t.Errorf("%d files, %v", files, err)
	}
}
