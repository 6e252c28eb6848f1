package stage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// noise returns bytes that no two offsets share.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// Whatever the size, the source and the tier, what arrives is what was there.
func TestWhatIsCopiedIsWhatWasThere(t *testing.T) {
	all := noise(3*Block + 12345)
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{0, 1, align - 1, align, Small - 1, Small, Small + 1, Block - 1, Block, Block + 1, 2 * Block, 2*Block + align, len(all)}).Draw(t, "size")
		from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
		if err := os.WriteFile(from, all[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := os.Open(from)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		dst, err := os.Create(to)
		if err != nil {
			t.Fatal(err)
		}
		defer dst.Close()
		ctx := context.Background()
		if rapid.Bool().Draw(t, "locked") {
			ctx = WithLocked(ctx)
		}
		var r io.Reader = src
		sum := sha256.New()
		if rapid.Bool().Draw(t, "hashed") {
			r = io.TeeReader(src, sum)
		}
		asked := int64(size) + rapid.Int64Range(-1, 1).Draw(t, "more")
		want := max(min(int64(size), asked), 0)
		if asked < 0 {
			asked = 0
		}
		n, tier, err := Copy(ctx, dst, r, asked)
		if err != nil || n != want {
			t.Fatalf("%d bytes of %d, tier %s: %v", n, want, tier, err)
		}
		if (tier == Pooled) != (asked < Small) {
			t.Errorf("%d bytes by tier %s", asked, tier)
		}
		got, err := os.ReadFile(to)
		if err != nil || !bytes.Equal(got, all[:want]) {
			t.Fatalf("%d bytes arrive of %d, other ones: %v", len(got), want, err)
		}
		if r != io.Reader(src) && want == int64(size) && !bytes.Equal(sum.Sum(nil), sum256(all[:want])) {
			t.Error("what was hashed is something else")
		}
	})
}

func sum256(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

// failing fails after some bytes.
type failing struct{ left int }

func (f *failing) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, errors.New("broken")
	}
	n := min(len(p), f.left)
	f.left -= n
	return n, nil
}

func (f *failing) Write(p []byte) (int, error) { return f.Read(p) }

func TestAnErrorOfEitherSideEndsACopy(t *testing.T) {
	for _, left := range []int{0, Block, 2*Block + 5} {
		if n, _, err := Copy(t.Context(), io.Discard, &failing{left}, 10*Block); err == nil || n > int64(left) {
			t.Errorf("reading breaks after %d: %d, %v", left, n, err)
		}
		if n, _, err := Copy(t.Context(), &failing{left}, bytes.NewReader(make([]byte, 10*Block)), 10*Block); err == nil || n > int64(left) {
			t.Errorf("writing breaks after %d: %d, %v", left, n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Copy(ctx, io.Discard, bytes.NewReader(make([]byte, 10*Block)), 10*Block); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled copy: %v", err)
	}
}

func TestLockedBlocksAreLockedAndKept(t *testing.T) {
	locked := func() (kb int) {
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Skip(err)
		}
		_, rest, _ := strings.Cut(string(b), "VmLck:")
		_, _ = fmt.Sscan(rest, &kb)
		return kb
	}
	b, err := takeBlock(true)
	if err != nil {
		t.Fatal(err)
	}
	if !b.locked {
		t.Skip("this process may not lock pages")
	}
	if got := locked(); got < Block>>10 {
		t.Errorf("%d kB are locked, of a block of %d", got, Block>>10)
	}
	b.give()
	c, err := takeBlock(true)
	if err != nil || &c.b[0] != &b.b[0] {
		t.Errorf("the block is not kept: %v", err)
	}
	c.give()
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d bytes, %v; want %d", path, len(got), err, len(want))
	}
}

// stageIn stages by a process of its own.
func stageIn(t *testing.T, r *Request) *Report {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rep, err := Run(ctx, exe, r)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestInputsAreStagedAndKnownAgain(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	large := noise(Block + 5)
	write(t, src+"/small", []byte("hello"))
	write(t, src+"/large", large)
	write(t, src+"/tree/a/b", []byte("deep"))
	if err := os.Symlink("b", src+"/tree/a/link"); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Minute)
	for _, d := range []string{"/tree", "/tree/a"} {
		if err := os.Chtimes(src+d, old, old); err != nil {
			t.Fatal(err)
		}
	}
	r := &Request{Dir: dir, Items: []Item{
		{From: src + "/small", As: "small"}, {From: src + "/large", As: "data/large"}, {From: src + "/tree", As: "tree"}, {From: src + "/large", As: "linked", Link: true},
	}}
	rep := stageIn(t, r)
	if rep.Err != "" || rep.Files != 5 || rep.Bytes != int64(5+len(large)+4+4) || rep.Kept != 0 {
		t.Fatalf("%+v", rep)
	}
	if rep.Tiers[Pooled]+rep.Tiers[Cloned] < 13 || rep.Tiers[Plain]+rep.Tiers[Direct]+rep.Tiers[Cloned] < int64(len(large)) {
		t.Errorf("tiers %v", rep.Tiers)
	}
	same(t, dir+"/small", []byte("hello"))
	same(t, dir+"/data/large", large)
	same(t, dir+"/tree/a/b", []byte("deep"))
	same(t, dir+"/tree/a/link", []byte("deep"))
	if to, err := os.Readlink(dir + "/linked"); err != nil || to != src+"/large" {
		t.Errorf("linked to %s, %v", to, err)
	}

	// What has not changed is left alone; what has is staged again.
	for i := range r.Items {
		r.Items[i].Have = rep.Items[i].ID
	}
	write(t, src+"/small", []byte("world"))
	rep = stageIn(t, r)
	if rep.Err != "" || rep.Kept != 2 || rep.Files != 2 || rep.Bytes != 5 { // the link is made again
		t.Errorf("%+v", rep)
	}
	same(t, dir+"/small", []byte("world"))
}

// Who has written within the last moment may go on without the file's times showing it: such a file has no identity.
func TestAFileThatWasJustWrittenIsNotKnownAgain(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	write(t, src+"/a", []byte("half"))
	for age, known := range map[time.Duration]bool{-time.Hour: false, 0: false, time.Minute: true} {
		at := time.Now().Add(-age)
		if err := os.Chtimes(src+"/a", at, at); err != nil {
			t.Fatal(err)
		}
		rep, err := Do(t.Context(), &Request{Dir: dir, Items: []Item{{From: src + "/a", As: "a"}}})
		if err != nil || (rep.Items[0].ID != "") != known {
			t.Errorf("of an age of %s: %+v, %v", age, rep, err)
		}
	}
}

func TestWhatClimbsOutIsRefused(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	write(t, src+"/secret", []byte("secret"))
	write(t, src+"/tree/file", []byte("x"))
	if err := os.Symlink("../secret", src+"/tree/out"); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	if err := os.Symlink(outside, dir+"/hole"); err != nil {
		t.Fatal(err)
	}
	for name, it := range map[string]Item{
		"a name with ..":           {From: src + "/secret", As: "../x"},
		"an absolute name":         {From: src + "/secret", As: outside + "/x"},
		"no name":                  {From: src + "/secret", As: "."},
		"through a link":           {From: src + "/secret", As: "hole/x"},
		"a relative path":          {From: "etc/passwd", As: "x"},
		"a link out of the folder": {From: src + "/tree", As: "tree"},
		"a device":                 {From: "/dev/zero", As: "zero"},
		"a linked URL":             {From: "http://127.0.0.1:1/x", As: "x", Link: true},
	} {
		if rep := stageIn(t, &Request{Dir: dir, Items: []Item{it}}); rep.Err == "" {
			t.Errorf("%s: %+v", name, rep)
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("written outside: %v, %v", entries, err)
	}
	if rep := stageIn(t, &Request{Dir: dir, Items: []Item{{From: src + "/nope", As: "x"}}}); !rep.Missing {
		t.Errorf("%+v", rep)
	}
	if rep := stageIn(t, &Request{Dir: dir, Items: []Item{{From: src + "/secret", As: "x"}}, Limit: 3}); !strings.Contains(rep.Err, "staged ahead") {
		t.Errorf("%+v", rep)
	}
}

// Root's daemon stages as the owner: what he may not read he does not get.
func TestAStagerIsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	src, err := os.MkdirTemp("", "stage")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(src)
	if err := os.Chmod(src, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, src+"/open", []byte("open"))
	write(t, src+"/closed", []byte("closed"))
	if err := os.Chmod(src+"/closed", 0o600); err != nil {
		t.Fatal(err)
	}
	dir := src + "/dir"
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	r := &Request{Dir: dir, UID: 65534, GID: 65534, Items: []Item{{From: src + "/open", As: "open"}}}
	if rep := stageIn(t, r); rep.Err != "" {
		t.Fatalf("%+v", rep)
	}
	same(t, dir+"/open", []byte("open"))
	r.Items = []Item{{From: src + "/closed", As: "closed"}}
	if rep := stageIn(t, r); !strings.Contains(rep.Err, "permission denied") {
		t.Errorf("%+v", rep)
	}
}

// A stager, whoever it has become, dies with the process that started it: two of them must not write in one folder.
func TestAStagerDiesWithTheDaemon(t *testing.T) {
	hold := make(chan struct{})
	asked := make(chan struct{}, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		asked <- struct{}{}
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(hold)
	dir := t.TempDir()
	uid := 0
	if os.Geteuid() == 0 {
		uid = 65534
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
		for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(&Request{Dir: dir, UID: uint32(uid), GID: uint32(uid), Items: []Item{{From: srv.URL + "/x", As: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	// A process between: it starts the stager as a daemon does, and is killed.
	cmd := exec.Command(exe, "-test.run=TestStartsAStager")
	cmd.Env = append(os.Environ(), "STAGE_REQUEST="+string(text))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-asked:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is fetched")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	lock, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the stager goes on")
		}
	}
}

// TestStartsAStager is the process between of the test above.
func TestStartsAStager(t *testing.T) {
	text := os.Getenv("STAGE_REQUEST")
	if text == "" {
		t.Skip("only in a process of another test")
	}
	var r Request
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	stageIn(t, &r)
}

func TestURLsAreFetchedAndAskedAgain(t *testing.T) {
	tag, body, asked := `"1"`, noise(2*Small), 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch r.URL.Path {
		case "/data/x.bin":
			w.Header().Set("ETag", tag)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		case "/chunked":
			w.(http.Flusher).Flush()
			_, _ = w.Write(body)
		case "/short":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("short"))
		case "/cut":
			w.(http.Flusher).Flush()
			_, _ = w.Write(body[:Small])
			panic(http.ErrAbortHandler)
		default:
			http.NotFound(w, r)
		}
	}))
	srv.Config.ErrorLog = nil
	defer srv.Close()
	dir := t.TempDir()
	r := &Request{Dir: dir, Items: []Item{{From: srv.URL + "/data/x.bin?q=1", As: Name(srv.URL + "/data/x.bin?q=1")}, {From: srv.URL + "/chunked", As: "c"}}}
	rep := stageIn(t, r)
	if rep.Err != "" || rep.Items[0].ID != `etag "1"` || rep.Items[1].ID != "" {
		t.Fatalf("%+v", rep)
	}
	same(t, dir+"/x.bin", body)
	same(t, dir+"/c", body)
	r.Items = r.Items[:1]
	r.Items[0].Have = rep.Items[0].ID
	if rep := stageIn(t, r); rep.Kept != 1 || rep.Bytes != 0 {
		t.Errorf("%+v", rep)
	}
	tag = `"2"`
	if rep := stageIn(t, r); rep.Kept != 0 || rep.Bytes != int64(len(body)) || rep.Items[0].ID != `etag "2"` {
		t.Errorf("%+v", rep)
	}
	for path, want := range map[string]string{"/short": "unexpected EOF", "/cut": "unexpected EOF", "/nope": "404"} {
		if rep := stageIn(t, &Request{Dir: dir, Items: []Item{{From: srv.URL + path, As: "y"}}}); !strings.Contains(rep.Err, want) {
			t.Errorf("%s: %+v", path, rep)
		}
		if _, err := os.Stat(dir + "/y"); err == nil {
			t.Errorf("%s: there is a file", path)
		}
	}
}

// BenchmarkCopy measures the tiers on one file of 64 MiB, written durably.
func BenchmarkCopy(b *testing.B) {
	const size = 64 << 20
	from := filepath.Join(b.TempDir(), "from")
	if err := os.WriteFile(from, noise(size), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		ctx  context.Context
	}{{"pageable", context.Background()}, {"page-locked", WithLocked(context.Background())}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				src, err := os.Open(from)
				if err != nil {
					b.Fatal(err)
				}
				dst, err := os.Create(from + "-to")
				if err != nil {
					b.Fatal(err)
				}
				n, tier, err := Copy(c.ctx, dst, src, size)
				if err := errors.Join(err, dst.Sync(), dst.Close(), src.Close()); err != nil || n != size {
					b.Fatal(n, tier, err)
				}
				b.ReportMetric(float64(tier), "tier")
			}
		})
	}
}
