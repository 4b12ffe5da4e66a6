package operator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A backup is a directory with the store as it was at one moment, and a manifest
// that is written last: what has none is not complete.
const (
	manifestName = "naru-backup.json"
	// StoreDir is where the store is, in a backup as in data_dir.
	StoreDir = "store"
	// manifestFormat is raised when older programs could misread a backup.
	manifestFormat = 1
)

// A Manifest says what a backup holds.
type Manifest struct {
	Format  int              `json:"format"`
	Version string           `json:"version"` // of the program that made it
	Created time.Time        `json:"created"`
	Files   map[string]int64 `json:"files"` // sizes, by path within the backup

	// Sums are SHA-256 in hexadecimal digits, of the files in which damage could pass
	// for an early end: the log, and the list of tables. The tables, which may be very
	// large, have a checksum in each block, and who restores reads them all.
	Sums map[string]string `json:"sums,omitempty"`
}

// tables is how the names of files end that find damage themselves.
const tables = ".sst"

// Bytes is the size of all files.
func (m *Manifest) Bytes() (n int64) {
	for _, size := range m.Files {
		n += size
	}
	return n
}

// ReadManifest reads the manifest of a backup and checks that all files are
// there, as long as they were.
func ReadManifest(dir string) (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no backup, or not a complete one: it has no %s", dir, manifestName)
	}
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, manifestName), err)
	}
	if m.Format > manifestFormat || m.Format < 1 {
		return nil, fmt.Errorf("backup %s has format %d and this program knows %d: use a newer naru", dir, m.Format, manifestFormat)
	}
	for name, size := range m.Files {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("backup %s: %q is not within it", dir, name)
		}
		switch st, err := os.Stat(filepath.Join(dir, name)); {
		case err != nil:
			return nil, fmt.Errorf("backup %s is not complete: %w", dir, err)
		case st.Size() != size:
			return nil, fmt.Errorf("backup %s is damaged: %s has %d bytes, and should have %d", dir, name, st.Size(), size)
		}
	}
	return m, nil
}

// sizes returns the size of each file below dir, by its path from base.
func sizes(base, dir string) (map[string]int64, error) {
	files := make(map[string]int64)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(base, path)
		files[rel] = info.Size()
		return err
	})
	return files, err
}

// sums returns the checksums of files below base, but for tables.
func sums(base string, files map[string]int64) (map[string]string, error) {
	all := make(map[string]string)
	for name := range files {
		if strings.HasSuffix(name, tables) {
			continue
		}
		f, err := os.Open(filepath.Join(base, name))
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.Close()
		all[name] = hex.EncodeToString(h.Sum(nil))
	}
	return all, nil
}

// progressTick is how often the progress of a backup is told.
const progressTick = 200 * time.Millisecond

func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	req := BackupRequest{}
	if !ask(w, r, &req) {
		return
	}
	switch {
	case s.opt.Backup == nil:
		refuse(w, fmt.Errorf("%w: this node keeps nothing on disk", errBadRequest))
		return
	case !filepath.IsAbs(req.Dir):
		refuse(w, fmt.Errorf("%w: %q is no absolute path", errBadRequest, req.Dir))
		return
	case !s.backups.TryLock():
		refuse(w, fmt.Errorf("backup: %w", errBusy))
		return
	}
	made, err := claim(req.Dir)
	if err != nil {
		s.backups.Unlock()
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := newEncoder(w)
	flush := http.NewResponseController(w)
	tell := func(p Progress) {
		enc.Encode(p) //nolint:errcheck // the backup goes on: see below
		flush.Flush() //nolint:errcheck
	}
	began := time.Now()
	m, err := s.makeBackup(r.Context(), req.Dir, made, tell)
	s.backups.Unlock() // who hears the end may ask for the next one
	if err != nil {
		s.opt.Log.Error("backup failed", "dir", req.Dir, "err", err)
		tell(Progress{Error: err.Error()})
		return
	}
	s.opt.Log.Info("by operator: backup", "dir", req.Dir, "bytes", m.Bytes(), "took", time.Since(began).Round(time.Millisecond))
	tell(Progress{Done: m.Bytes(), Total: m.Bytes(), Manifest: m})
}

// makeBackup makes a whole backup, or leaves nothing behind.
func (s *Server) makeBackup(ctx context.Context, dir string, made bool, tell func(Progress)) (*Manifest, error) {
	m, err := s.copyStore(dir, tell)
	if err == nil {
		err = ctx.Err() // nobody would know of it
	}
	if err == nil {
		err = writeManifest(dir, m)
	}
	if err != nil {
		return nil, errors.Join(err, abandon(dir, made))
	}
	return m, nil
}

// claim makes the directory of a backup, or takes an empty one.
func claim(dir string) (made bool, err error) {
	err = os.Mkdir(dir, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err == nil, err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%w: %s is not empty", errBadRequest, dir)
	}
	return false, err
}

// abandon removes what there is of a backup that has failed.
func abandon(dir string, made bool) error {
	err := os.RemoveAll(filepath.Join(dir, StoreDir))
	if made {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}

// copyStore has the store write its copy, and tells how far it has got.
func (s *Server) copyStore(dir string, tell func(Progress)) (*Manifest, error) {
	to := filepath.Join(dir, StoreDir)
	m := &Manifest{Format: manifestFormat, Version: s.opt.Version, Created: time.Now().UTC()}
	total := s.opt.StoreBytes()
	copied := make(chan error, 1)
	go s.runBackup(to, copied)
	tick := time.NewTicker(progressTick)
	defer tick.Stop()
	tell(Progress{Total: total})
	for {
		select {
		case err := <-copied:
			if err == nil {
				m.Files, err = sizes(dir, to)
			}
			if err == nil {
				m.Sums, err = sums(dir, m.Files)
			}
			return m, err
		case <-tick.C:
			// Files that are just being made or removed are no reason to stop.
			files, _ := sizes(dir, to)
			now := Manifest{Files: files}
			tell(Progress{Done: min(now.Bytes(), total), Total: total})
		}
	}
}

func (s *Server) runBackup(to string, copied chan<- error) { copied <- s.opt.Backup(to) }

// writeManifest completes a backup.
func writeManifest(dir string, m *Manifest) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, manifestName)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name+".new"))
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Copy copies the files of a backup to another directory, synced, and tells how
// many bytes have been copied since it was told last. It compares checksums.
func (m *Manifest) Copy(from, to string, tell func(n int64)) error {
	dirs := map[string]bool{to: true}
	for name := range m.Files {
		for dir := filepath.Dir(filepath.Join(to, name)); !dirs[dir]; dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o700); err != nil {
			return err
		}
		h := sha256.New()
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name), h, tell); err != nil {
			return err
		}
		if sum, ok := m.Sums[name]; ok && sum != hex.EncodeToString(h.Sum(nil)) {
			return fmt.Errorf("the backup is damaged: %s has another checksum than it should have", name)
		}
	}
	for dir := range dirs {
		if err := SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file, and gives what it copies to also.
func copyFile(from, to string, also io.Writer, tell func(n int64)) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.MultiWriter(out, also, teller(tell)), in)
	return errors.Join(err, out.Sync(), out.Close())
}

// A teller is told of what is written.
type teller func(n int64)

func (t teller) Write(b []byte) (int, error) {
	t(int64(len(b)))
	return len(b), nil
}
