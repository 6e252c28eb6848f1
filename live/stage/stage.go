// Package stage brings the inputs of a task to where it runs (S12), and copies files for it and for checkpoints in three tiers: small
// files through pooled buffers, large ones in large blocks past the page cache, and what a GPU's job reads through blocks whose pages are locked.
//
// Inputs are staged by a process of their own, Command of the program: it becomes the job's owner before it opens anything, so that nobody
// gets at what he may not read; it can be killed whatever a file system does; and the daemon's memory is not in it. What it has staged
// it names by an identity, so that what was staged ahead, while the predecessors of a task still ran, is known to be what is there now.
package stage

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Command is the hidden command of the program under which Main runs.
const Command = "__stage"

// A stager does not wait until all packages of the program are initialized, of which it needs few.
func init() {
	if len(os.Args) == 2 && os.Args[1] == Command {
		os.Exit(Main(os.Stdin, os.Stdout))
	}
}

// DirVariable is the variable of the folder of a task's inputs.
const DirVariable = "INPUT_DIR"

// Item is one input.
type Item struct {
	From string `json:"from"` // an absolute path, or a URL of http or https
	As   string `json:"as"`   // where it comes to lie, below the folder
	Link bool   `json:"link"` // a symbolic link will do
	Have string `json:"have"` // identity of what was staged before; that is left alone where it still holds
}

// Request is what a stager is to do.
type Request struct {
	Dir    string   `json:"dir"` // is there, and is the owner's
	Items  []Item   `json:"items"`
	UID    uint32   `json:"uid"` // whom it becomes where it is root
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"`
	Locked bool     `json:"locked"` // through page-locked blocks
	Limit  int64    `json:"limit"`  // bytes that it may copy; 0 = no bound
}

// Report is what it did.
type Report struct {
	Items   []Staged        `json:"items"`
	Files   int64           `json:"files"` // copied, or linked
	Bytes   int64           `json:"bytes"` // copied or cloned
	Tiers   [NumTiers]int64 `json:"tiers"` // bytes by tier
	Kept    int             `json:"kept"`  // items that were there
	Seconds float64         `json:"s"`
	Err     string          `json:"error,omitempty"`
	Missing bool            `json:"missing,omitempty"` // the error is that an input is not there
}

// Staged is what became of an item.
type Staged struct {
	ID string `json:"id"` // its identity; "" where it is not known whether it will still be the same
}

// IsURL reports whether an input is fetched.
func IsURL(from string) bool {
	return strings.HasPrefix(from, "http://") || strings.HasPrefix(from, "https://")
}

// Name returns the name of an input that has been given none.
func Name(from string) string {
	if IsURL(from) {
		u, err := url.Parse(from)
		if err != nil {
			return ""
		}
		return path.Base("/" + u.Path)
	}
	return filepath.Base(from)
}

// Run has a stager do what is requested, and waits for it. exe is the program. The error of a report is its own.
func Run(ctx context.Context, exe string, r *Request) (*Report, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Args = []string{"schedlab", Command}
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin", "GOMAXPROCS=2", "GOMEMLIMIT=64MiB"}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	var out, problem bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &out, &problem
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var rep Report
	if json.Unmarshal(out.Bytes(), &rep) != nil {
		return nil, fmt.Errorf("staging: %w: %s", errors.Join(err, errors.New("no report")), strings.TrimSpace(problem.String()))
	}
	return &rep, nil
}

// Main is the whole of a stager's process: a Request on in, a Report on out.
func Main(in io.Reader, out io.Writer) int {
	var r Request
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var rep *Report
	err := become(&r)
	if err == nil {
		rep, err = Do(context.Background(), &r)
	}
	if rep == nil {
		rep = &Report{}
	}
	if err != nil {
		rep.Err, rep.Missing = err.Error(), errors.Is(err, fs.ErrNotExist)
	}
	if err := json.NewEncoder(out).Encode(rep); err != nil {
		return 1
	}
	return 0
}

// become makes this process the owner's, for good.
func become(r *Request) error {
	if os.Geteuid() != 0 || r.UID == 0 {
		return nil
	}
	groups := make([]int, len(r.Groups))
	for i, g := range r.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("the owner's groups: %w", err)
	}
	if err := syscall.Setresgid(int(r.GID), int(r.GID), int(r.GID)); err != nil {
		return fmt.Errorf("the owner's group: %w", err)
	}
	parent := os.Getppid()
	if err := syscall.Setresuid(int(r.UID), int(r.UID), int(r.UID)); err != nil {
		return fmt.Errorf("the owner: %w", err)
	}
	// The kernel forgets with the user that this process is to die with the daemon.
	if err := dieWithParent(); err != nil {
		return err
	}
	if os.Getppid() != parent {
		return errors.New("the daemon is gone")
	}
	return nil
}

// stager is one request at work.
type stager struct {
	r    *Request
	root *os.Root
	rep  Report
	ids  hash.Hash // of the item
	sure bool      // the item will be known again
}

// Do stages the items in their order.
func Do(ctx context.Context, r *Request) (*Report, error) {
	began := time.Now()
	if r.Locked {
		ctx = WithLocked(ctx)
	}
	root, err := os.OpenRoot(r.Dir) // nothing is written out of it
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// One stager at a time: that of a daemon that was killed may still be dying.
	l, err := os.Open(r.Dir)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	for {
		if err = syscall.Flock(int(l.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the folder's lock: %w", err)
	}
	s := &stager{r: r, root: root}
	for i := range r.Items {
		it := &r.Items[i]
		id, err := s.item(ctx, it)
		if err != nil {
			return &s.rep, fmt.Errorf("input %s: %w", it.From, err)
		}
		s.rep.Items = append(s.rep.Items, Staged{id})
	}
	s.rep.Seconds = time.Since(began).Seconds()
	return &s.rep, nil
}

// item stages one item, or finds that it is there.
func (s *stager) item(ctx context.Context, it *Item) (string, error) {
	if !filepath.IsLocal(it.As) || filepath.Clean(it.As) == "." {
		return "", fmt.Errorf("the name %q leads out of the folder", it.As)
	}
	as := filepath.Clean(it.As)
	if dir := filepath.Dir(as); dir != "." {
		if err := s.root.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
	}
	if IsURL(it.From) {
		return s.fetch(ctx, it, as)
	}
	if !filepath.IsAbs(it.From) {
		return "", errors.New("not an absolute path")
	}
	st, err := os.Stat(it.From)
	if err != nil {
		return "", err
	}
	s.ids, s.sure = fnv.New128a(), true
	if it.Have != "" {
		if id, err := s.identity(it.From, st); err == nil && id == it.Have {
			s.rep.Kept++
			return id, nil
		}
		s.ids.Reset()
		s.sure = true
	}
	if err := s.root.RemoveAll(as); err != nil {
		return "", err
	}
	if it.Link {
		s.rep.Files++
		return "", s.root.Symlink(it.From, as)
	}
	switch {
	case st.IsDir():
		err = s.folder(ctx, it.From, as)
	case st.Mode().IsRegular():
		err = s.top(ctx, it.From, as)
	default:
		err = errors.New("neither a file nor a folder")
	}
	if err != nil {
		return "", err
	}
	return s.id(), nil
}

// note takes a file into the identity of the item. Who has written to a file within the last moment may go on writing to it without its
// times showing that.
func (s *stager) note(name string, st fs.FileInfo) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || time.Since(st.ModTime()) < 100*time.Millisecond {
		s.sure = false
	}
	fmt.Fprintf(s.ids, "%q %d %d %v\n", name, st.Size(), st.ModTime().UnixNano(), st.Mode())
	if ok {
		fmt.Fprintf(s.ids, "%d %d %d\n", sys.Dev, sys.Ino, sys.Ctim.Nano())
	}
}

func (s *stager) id() string {
	if !s.sure {
		return ""
	}
	return hex.EncodeToString(s.ids.Sum(nil))
}

// identity returns the identity that a path has now.
func (s *stager) identity(from string, st fs.FileInfo) (string, error) {
	if !st.IsDir() {
		s.note(".", st)
		return s.id(), nil
	}
	err := s.walk(from, func(root *os.Root, name string, st fs.FileInfo) error {
		s.note(name, st)
		return nil
	})
	return s.id(), err
}

// walk visits a folder and all below it, links followed as far as they do not lead out of it.
func (s *stager) walk(from string, visit func(root *os.Root, name string, st fs.FileInfo) error) error {
	root, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer root.Close()
	files := 0
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if files++; files > maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		st, err := root.Stat(name)
		switch {
		case err != nil && e.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("the link %s leads out of the folder, or to nothing: %w", name, err)
		case err != nil:
			return err
		case e.Type()&fs.ModeSymlink != 0 && st.IsDir():
			return fmt.Errorf("%s is a link to a folder", name)
		case !st.IsDir() && !st.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file nor a folder", name)
		}
		return visit(root, name, st)
	})
}

const maxFiles = 1_000_000

func (s *stager) folder(ctx context.Context, from, as string) error {
	return s.walk(from, func(root *os.Root, name string, st fs.FileInfo) error {
		to := filepath.Join(as, name)
		if st.IsDir() {
			s.note(name, st)
			return s.root.MkdirAll(to, st.Mode().Perm()|0o700)
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return s.copy(ctx, f, name, to)
	})
}

func (s *stager) top(ctx context.Context, from, as string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.copy(ctx, f, ".", as)
}

// copy copies a file, which must be the same when it ends.
func (s *stager) copy(ctx context.Context, f *os.File, name, to string) error {
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return fmt.Errorf("%s is neither a file nor a folder", name)
	}
	if s.r.Limit > 0 && s.rep.Bytes+before.Size() > s.r.Limit {
		return errLimit
	}
	n, err := s.write(to, before.Mode().Perm(), func(w *os.File) (int64, Tier, error) {
		if clone(w, f) == nil {
			return before.Size(), Cloned, nil
		}
		return Copy(ctx, w, f, before.Size())
	})
	if err != nil {
		return err
	}
	if n != before.Size() {
		return fmt.Errorf("%s has become shorter while it was copied", name)
	}
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		s.sure = false
	}
	s.note(name, after)
	return nil
}

// errLimit says that an input is too large to be staged ahead.
var errLimit = errors.New("it is larger than what may be staged ahead")

// write makes a file under another name first.
func (s *stager) write(to string, mode fs.FileMode, fill func(w *os.File) (int64, Tier, error)) (n int64, err error) {
	part := to + ".part"
	w, err := s.root.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	n, tier, err := fill(w)
	if err == nil {
		err = w.Chmod(mode | 0o400)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return n, errors.Join(err, s.root.Remove(part))
	}
	s.rep.Files++
	s.rep.Bytes += n
	s.rep.Tiers[tier] += n
	return n, s.root.Rename(part, to)
}

// client fetches inputs. Each request ends when nothing comes for a while, see watched.
var client = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: quiet, TLSHandshakeTimeout: quiet}}

// quiet is how long the other side may say nothing.
const quiet = 30 * time.Second

// fetch fetches a URL.
func (s *stager) fetch(ctx context.Context, it *Item, as string) (string, error) {
	if it.Link {
		return "", errors.New("a URL cannot be linked")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, it.From, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", "schedlab")
	if it.Have != "" {
		if tag, ok := strings.CutPrefix(it.Have, "etag "); ok {
			req.Header.Set("If-None-Match", tag)
		} else if at, ok := strings.CutPrefix(it.Have, "modified "); ok {
			req.Header.Set("If-Modified-Since", at)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return "", err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && it.Have != "":
		s.rep.Kept++
		return it.Have, nil
	case resp.StatusCode == http.StatusNotFound:
		return "", fmt.Errorf("the answer is %s: %w", resp.Status, fs.ErrNotExist)
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("the answer is %s", resp.Status)
	case s.r.Limit > 0 && resp.ContentLength > s.r.Limit-s.rep.Bytes:
		return "", errLimit
	}
	if err := s.root.RemoveAll(as); err != nil {
		return "", err
	}
	size := resp.ContentLength
	most := size
	if size < 0 {
		most = 1 << 62
		if s.r.Limit > 0 {
			most = s.r.Limit - s.rep.Bytes + 1
		}
	}
	body := &watched{r: resp.Body, t: time.AfterFunc(quiet, func() { cancel(fmt.Errorf("nothing came for %s", quiet)) })}
	defer body.t.Stop()
	_, err = s.write(as, 0o600, func(w *os.File) (int64, Tier, error) {
		n, tier, err := Copy(ctx, w, body, most)
		switch {
		case context.Cause(ctx) != nil:
			err = context.Cause(ctx)
		case err != nil:
		case size < 0 && n == most:
			err = errLimit
		case body.err != nil && !errors.Is(body.err, io.EOF):
			err = fmt.Errorf("after %d bytes: %w", n, body.err)
		case size >= 0 && n != size:
			err = fmt.Errorf("%d bytes of %d came", n, size)
		}
		return n, tier, err
	})
	if err != nil {
		return "", err
	}
	if tag := resp.Header.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return "etag " + tag, nil
	}
	if at := resp.Header.Get("Last-Modified"); at != "" {
		return "modified " + at, nil
	}
	return "", nil
}

// watched is a body that says when something comes, and keeps its error.
type watched struct {
	r   io.Reader
	t   *time.Timer
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.t.Reset(quiet)
	}
	if err != nil {
		w.err = err
	}
	return n, err
}
