// Package checkpoint keeps the saved work of tasks in a store, a folder or S3-compatible storage, so that what is taken up again is
// whole: a checkpoint is a folder's files and a manifest with their sizes and SHA-256 sums, and it is there once its manifest is.
//
// A set of checkpoints, one task's, lies under the set's key:
//
//	KEY/000000000007/0, 1, ...   the files of checkpoint 7
//	KEY/000000000007/manifest    written last: what the files are called, their sizes and sums, and its own sum
//
// Save puts the files, then the manifest, then removes what is older than the last two, each manifest before its files. Whenever it dies,
// the checkpoints that have a manifest are whole; what lies there without one is removed by the next Save. Restore takes the newest that
// proves whole and leaves the others.
//
// The package has also the job's end of the protocol by which checkpoints are asked for (Job); the other end is in live/local.
package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/schedlab/schedlab/live/failpoint"
	"github.com/schedlab/schedlab/live/stage"
)

// Keep is how many checkpoints of a task are kept.
const Keep = 2

const (
	manifestName = "manifest"
	schema       = "schedlab/checkpoint/v1"
	maxFiles     = 100_000
	maxManifest  = 64 << 20
)

// Manifest says what a checkpoint is.
type Manifest struct {
	Schema  string    `json:"schema"`
	Seq     int64     `json:"seq"` // from 1, rising
	At      time.Time `json:"at"`  // when it was asked for: the work up to here is in it
	Task    string    `json:"task,omitempty"`
	Attempt int32     `json:"attempt,omitempty"`
	// Work is what is saved of all attempts together, in time on a node of reference speed.
	Work  time.Duration `json:"work_ns"`
	Bytes int64         `json:"bytes"`
	Files []File        `json:"files"`
}

// File is a file of a checkpoint, or a folder.
type File struct {
	Path   string      `json:"path"` // slash-separated, below the checkpoint's folder
	Mode   fs.FileMode `json:"mode"` // permissions
	Folder bool        `json:"folder,omitempty"`
	Size   int64       `json:"size,omitempty"`
	Sum    string      `json:"sha256,omitempty"`
}

// Set is the checkpoints of one task. It is for one goroutine of one process.
type Set struct {
	Store Store
	Key   string // without a slash at its end
	// Owner, if not nil, is whose files are saved; another's is refused: whoever can name a file need not be one who may read it, and what
	// is restored is given away.
	Owner *uint32

	bad map[int64]bool // found so by Restore
}

// ErrStore is what errors of Save are where it is the store that does not do its part, and not what was to be saved.
var ErrStore = errors.New("the store of checkpoints does not do its part")

// storeError is an error of a store.
type storeError struct{ error }

func (e storeError) Unwrap() error      { return e.error }
func (storeError) Is(target error) bool { return target == ErrStore }

// ofStore makes an error of the store's Put one of the store, unless it was handed too little.
func ofStore(err error) error {
	if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return storeError{err}
}

// errBad says that a checkpoint is not whole, as against a store that does not answer.
var errBad = errors.New("not whole")

func (s *Set) name(seq int64, of string) string { return fmt.Sprintf("%s/%012d/%s", s.Key, seq, of) }

// stored is what of a checkpoint lies in the store.
type stored struct {
	seq   int64
	whole bool // its manifest is there
	names []string
}

// all returns what lies there, oldest first.
func (s *Set) all(ctx context.Context) ([]stored, error) {
	names, err := s.Store.List(ctx, s.Key+"/")
	if err != nil {
		return nil, err
	}
	var out []stored
	for _, name := range names {
		dir, file, _ := strings.Cut(strings.TrimPrefix(name, s.Key+"/"), "/")
		seq, err := strconv.ParseInt(dir, 10, 64)
		if err != nil || seq < 1 {
			continue // not ours
		}
		if len(out) == 0 || out[len(out)-1].seq != seq {
			out = append(out, stored{seq: seq})
		}
		c := &out[len(out)-1]
		c.names = append(c.names, name)
		c.whole = c.whole || file == manifestName
	}
	slices.SortStableFunc(out, func(a, b stored) int { return int(min(max(a.seq-b.seq, -1), 1)) })
	return out, nil
}

// Save makes a checkpoint of the files in a folder. m says what is known of it; Save fills in the rest and returns it once it is durable.
// A symbolic link or another special file is refused. An error of what follows, the removal of older ones, is returned as well, with the
// manifest.
func (s *Set) Save(ctx context.Context, dir string, m Manifest) (*Manifest, error) {
	there, err := s.all(ctx)
	if err != nil {
		return nil, storeError{err}
	}
	m.Schema, m.Seq, m.Bytes, m.Files = schema, 1, 0, []File{}
	if n := len(there); n > 0 {
		m.Seq = there[n-1].seq + 1
	}
	if failpoint.Naive("overwrite") {
		if err := s.Remove(ctx); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(dir) // nothing below it leads out of it
	if err != nil {
		return nil, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case len(m.Files) == maxFiles:
			return fmt.Errorf("more than %d files", maxFiles)
		case !utf8.ValidString(name):
			return fmt.Errorf("the name %q is not UTF-8", name)
		case e.IsDir():
			info, err := e.Info()
			if err == nil {
				m.Files = append(m.Files, File{Path: name, Folder: true, Mode: info.Mode().Perm()})
			}
			return err
		case !e.Type().IsRegular():
			return fmt.Errorf("%s is no regular file", name)
		}
		f, err := s.put(ctx, root, name, m.Seq, len(m.Files))
		m.Files = append(m.Files, f)
		m.Bytes += f.Size
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("checkpoint %d: %w", m.Seq, err)
	}
	text, err := json.Marshal(&m)
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	text = fmt.Appendf(text, "%x\n", sha256.Sum256(text))
	failpoint.Hit("checkpoint-committing")
	if err := s.Store.Put(ctx, s.name(m.Seq, manifestName), bytes.NewReader(text), int64(len(text))); err != nil {
		return nil, storeError{err}
	}
	failpoint.Hit("checkpoint-committed")
	return &m, s.prune(ctx, there)
}

// put stores one file. What is hashed is what is stored, whatever the file becomes meanwhile.
func (s *Set) put(ctx context.Context, root *os.Root, name string, seq int64, i int) (File, error) {
	r, err := root.Open(name)
	if err != nil {
		return File{}, err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("%s is no regular file", name)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); s.Owner != nil && (!ok || st.Uid != *s.Owner) {
		return File{}, fmt.Errorf("%s is another user's", name)
	}
	sum := sha256.New()
	err = ofStore(s.Store.Put(ctx, s.name(seq, strconv.Itoa(i)), io.TeeReader(r, sum), info.Size()))
	failpoint.Hit("checkpoint-file-put")
	return File{Path: name, Mode: info.Mode().Perm(), Size: info.Size(), Sum: hex.EncodeToString(sum.Sum(nil))}, err
}

// prune removes what is not among the last two good ones, of what was there before a new one.
func (s *Set) prune(ctx context.Context, there []stored) error {
	left := Keep - 1
	var errs []error
	for _, c := range slices.Backward(there) {
		if c.whole && !s.bad[c.seq] && left > 0 {
			left--
			continue
		}
		errs = append(errs, s.remove(ctx, &c))
	}
	return errors.Join(errs...)
}

// remove removes a checkpoint, its manifest first.
func (s *Set) remove(ctx context.Context, c *stored) error {
	if c.whole {
		if err := s.Store.Remove(ctx, s.name(c.seq, manifestName)); err != nil {
			return err
		}
	}
	failpoint.Hit("checkpoint-removing")
	for _, name := range c.names {
		if err := s.Store.Remove(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes all of the set.
func (s *Set) Remove(ctx context.Context) error {
	there, err := s.all(ctx)
	if err != nil {
		return err
	}
	for i := range there {
		if err := s.remove(ctx, &there[i]); err != nil {
			return err
		}
	}
	// Who died between making a folder and the first file in it has left one that no object is in. What is not ours keeps its folder.
	empty, err := s.Store.Folders(ctx, s.Key+"/")
	for _, name := range append(empty, s.Key) {
		_ = s.Store.Remove(ctx, strings.TrimSuffix(name, "/"))
	}
	return err
}

// Restore makes a folder of the newest checkpoint that is whole: dir, which must not be there. own, where it is not nil, is called with
// every file and folder of it, to give it away; the folder itself comes last. It returns nil where there is no checkpoint that is whole, and
// no dir then; problems says what is wrong with newer ones. An error says that the store or the disk does not do its part: then it is not
// known whether there is one.
func (s *Set) Restore(ctx context.Context, dir string, own func(*os.File) error) (m *Manifest, problems []error, err error) {
	there, err := s.all(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range slices.Backward(there) {
		if !c.whole {
			continue
		}
		var bad error
		for range 2 { // what came short over a network may come whole the next time
			m, err := s.restore(ctx, c.seq, dir, own)
			if err == nil {
				return m, problems, nil
			}
			bad = fmt.Errorf("checkpoint %d: %w", c.seq, err)
			if rm := os.RemoveAll(dir); rm != nil {
				return nil, problems, errors.Join(bad, rm)
			}
			if !errors.Is(bad, errBad) {
				return nil, problems, bad
			}
		}
		problems = append(problems, bad)
		if s.bad == nil {
			s.bad = map[int64]bool{}
		}
		s.bad[c.seq] = true
	}
	return nil, problems, nil
}

// bad makes an error of a missing object one that says that the checkpoint is not whole.
func bad(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errBad, err)
	}
	return err
}

// misnamed makes an error of a name that no file can have there one that says that the checkpoint is not whole: the folder is new, so it is
// the manifest's fault.
func misnamed(err error) error {
	for _, e := range []error{syscall.EEXIST, syscall.ENOENT, syscall.ENOTDIR, syscall.EISDIR, syscall.EINVAL, syscall.ENAMETOOLONG, syscall.ELOOP} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", errBad, err)
		}
	}
	return err
}

// read reads and checks a manifest.
func (s *Set) read(ctx context.Context, seq int64) (*Manifest, error) {
	r, err := s.Store.Get(ctx, s.name(seq, manifestName))
	if err != nil {
		return nil, bad(err)
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxManifest))
	if err != nil {
		return nil, err
	}
	i := bytes.IndexByte(text, '\n') + 1
	if want := fmt.Sprintf("%x\n", sha256.Sum256(text[:i])); i == 0 || string(text[i:]) != want {
		return nil, fmt.Errorf("%w: its manifest is damaged", errBad)
	}
	var m Manifest
	if err := json.Unmarshal(text[:i], &m); err != nil {
		return nil, fmt.Errorf("%w: its manifest: %w", errBad, err)
	}
	if m.Schema != schema || m.Seq != seq || m.Work < 0 {
		return nil, fmt.Errorf("%w: its manifest is of %s, number %d", errBad, m.Schema, m.Seq)
	}
	return &m, nil
}

func (s *Set) restore(ctx context.Context, seq int64, dir string, own func(*os.File) error) (*Manifest, error) {
	m, err := s.read(ctx, seq)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for i := range m.Files {
		f := &m.Files[i]
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || f.Size < 0 || f.Size == math.MaxInt64 {
			return nil, fmt.Errorf("%w: it has a file %q of %d bytes", errBad, f.Path, f.Size)
		}
		if f.Folder {
			if err := root.Mkdir(f.Path, 0o700); err != nil {
				return nil, misnamed(err)
			}
			continue
		}
		if err := s.get(ctx, root, f, s.name(seq, strconv.Itoa(i)), own); err != nil {
			return nil, err
		}
	}
	for i := range slices.Backward(m.Files) { // what is below a folder is before it
		if f := &m.Files[i]; f.Folder {
			if err := giveFolder(root, f.Path, f.Mode, own); err != nil {
				return nil, err
			}
		}
	}
	return m, giveFolder(root, ".", 0o700, own)
}

// get writes one file and checks it.
func (s *Set) get(ctx context.Context, root *os.Root, f *File, name string, own func(*os.File) error) (err error) {
	r, err := s.Store.Get(ctx, name)
	if err != nil {
		return bad(err)
	}
	defer r.Close()
	w, err := root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return misnamed(err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	sum := sha256.New()
	// A byte more than there should be would be one too many.
	n, _, err := stage.Copy(ctx, w, io.TeeReader(r, sum), f.Size+1)
	if err != nil {
		return err
	}
	if n != f.Size || !sameSum(sum, f.Sum) {
		return fmt.Errorf("%w: %s is not what was saved (%d bytes of %d)", errBad, f.Path, n, f.Size)
	}
	if err := w.Chmod(f.Mode.Perm()); err != nil {
		return err
	}
	if own != nil {
		return own(w)
	}
	return nil
}

func sameSum(h hash.Hash, want string) bool { return hex.EncodeToString(h.Sum(nil)) == want }

func giveFolder(root *os.Root, name string, mode fs.FileMode, own func(*os.File) error) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Chmod(mode.Perm()); err != nil {
		return err
	}
	if own != nil {
		return own(d)
	}
	return nil
}
