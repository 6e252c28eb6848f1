package checkpoint

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"

	"github.com/schedlab/schedlab/live/stage"
)

// openFake opens a store on an S3 server of another maker that runs in this process.
func openFake(t *testing.T, place string) Store {
	t.Helper()
	srv := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	t.Cleanup(srv.Close)
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": srv.URL, "AWS_REGION": "us-east-1"} {
		t.Setenv(k, v)
	}
	s, err := Open(place)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.(*s3).c.MakeBucket(t.Context(), s.(*s3).bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return s
}

// onEach runs a test on every kind of store.
func onEach(t *testing.T, test func(t *testing.T, s Store)) {
	t.Run("folder", func(t *testing.T) { test(t, Folder(filepath.Join(t.TempDir(), "deep", "store"))) })
	t.Run("s3", func(t *testing.T) { test(t, openFake(t, "s3://bucket/some/prefix")) })
	t.Run("s3-whole-bucket", func(t *testing.T) { test(t, openFake(t, "s3://bucket")) })
}

func get(t *testing.T, s Store, name string) string {
	t.Helper()
	r, err := s.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAStoreKeepsWhatItIsGiven(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		if names, err := s.List(t.Context(), "a/"); err != nil || len(names) != 0 {
			t.Fatal(names, err)
		}
		big := make([]byte, 40<<20+17) // more than two parts of an upload
		if _, err := rand.Read(big); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"a/1/0": "", "a/1/1": "one", "a/2/x": string(big), "ab/3/y": strings.Repeat("z", stage.Small), "b": "top"}
		for name, text := range want {
			if err := s.Put(t.Context(), name, strings.NewReader(text), int64(len(text))); err != nil {
				t.Fatal(name, err)
			}
		}
		if err := s.Put(t.Context(), "b", strings.NewReader("new"), 3); err != nil {
			t.Fatal(err)
		}
		want["b"] = "new"
		for name, text := range want {
			if got := get(t, s, name); got != text {
				t.Errorf("%s: %d bytes, want %d", name, len(got), len(text))
			}
		}
		if names, err := s.List(t.Context(), "a/"); err != nil || !slices.Equal(names, []string{"a/1/0", "a/1/1", "a/2/x"}) {
			t.Error(names, err)
		}
		if names, err := s.Folders(t.Context(), "a/"); err != nil || !slices.Equal(names, []string{"a/1/", "a/2/"}) {
			t.Error(names, err)
		}
		if _, err := s.Get(t.Context(), "a/9"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what is not there: %v", err)
		}
		// Less than was said is no object.
		if err := s.Put(t.Context(), "short", strings.NewReader("abc"), 4); err == nil {
			t.Error("a short object is taken")
		}
		if _, err := s.Get(t.Context(), "short"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a short object is there: %v", err)
		}
		for range 2 {
			if err := s.Remove(t.Context(), "a/1/0"); err != nil {
				t.Error(err)
			}
		}
		if names, err := s.List(t.Context(), "a/"); err != nil || !slices.Equal(names, []string{"a/1/1", "a/2/x"}) {
			t.Error(names, err)
		}
	})
}

// folder makes a folder of files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// restored returns what a set is restored to, and the checkpoint's number; 0 where there is none.
func restored(t *testing.T, s *Set) (map[string]string, int64, []error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "last")
	m, problems, err := s.Restore(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m == nil {
		if _, err := os.Stat(dir); err == nil {
			t.Error("there is a folder and no checkpoint")
		}
		return nil, 0, problems
	}
	out := map[string]string{}
	err = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			var b []byte
			b, err = os.ReadFile(p)
			rel, _ := filepath.Rel(dir, p)
			out[rel] = string(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, m.Seq, problems
}

func same(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func generation(i int) map[string]string {
	return map[string]string{
		"model": fmt.Sprint("model ", i), "deep/er/optimizer.bin": strings.Repeat(fmt.Sprint(i), stage.Small), "empty": "", fmt.Sprint("only-", i): "x", "ü 文": "name",
	}
}

func TestTheLastTwoCheckpointsAreKeptAndTheNewestIsRestored(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		set := &Set{Store: s, Key: "job/1"}
		other := &Set{Store: s, Key: "job/11"} // a neighbour whose key begins alike
		if _, err := other.Save(t.Context(), folder(t, generation(99)), Manifest{}); err != nil {
			t.Fatal(err)
		}
		if _, n, _ := restored(t, set); n != 0 {
			t.Fatal("a checkpoint before the first")
		}
		for i := 1; i <= 4; i++ {
			m, err := set.Save(t.Context(), folder(t, generation(i)), Manifest{Work: time.Duration(i), Task: "1/a", Attempt: 7, At: time.Now()})
			if err != nil || m.Seq != int64(i) || m.Bytes < stage.Small {
				t.Fatal(m, err)
			}
			if got, n, problems := restored(t, set); !same(got, generation(i)) || n != int64(i) || problems != nil {
				t.Fatalf("restored checkpoint %d of %d, %v", n, i, problems)
			}
			seqs, err := s.Folders(t.Context(), "job/1/")
			if err != nil || len(seqs) != min(i, Keep) {
				t.Fatal(seqs, err)
			}
		}
		if err := set.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if names, err := s.List(t.Context(), "job/1/"); err != nil || len(names) != 0 {
			t.Error(names, err)
		}
		if got, n, _ := restored(t, other); n != 1 || !same(got, generation(99)) {
			t.Error("the neighbour's is not as it was")
		}
	})
}

// A process that is killed right after it has made a folder has left nothing in it: that goes with the set, too.
func TestAFolderInWhichNothingWasSavedYetIsRemovedWithItsSet(t *testing.T) {
	root := t.TempDir()
	set := Set{Store: Folder(root), Key: "job/1"}
	for _, left := range []string{"job/1", "job/1/000000000003"} {
		for range 2 {
			if err := os.MkdirAll(filepath.Join(root, left), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := set.Remove(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(root, "job/1")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: it is left: %v", left, err)
			}
			if _, err := set.Save(t.Context(), folder(t, generation(1)), Manifest{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := set.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestModesAreKeptAndOwnSeesAll(t *testing.T) {
	set := &Set{Store: Folder(t.TempDir()), Key: "k"}
	dir := folder(t, map[string]string{"run.sh": "x", "d/f": "y"})
	if err := errors.Join(os.Chmod(filepath.Join(dir, "run.sh"), 0o755), os.Chmod(filepath.Join(dir, "d"), 0o500)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Chmod(filepath.Join(dir, "d"), 0o700) }()
	if _, err := set.Save(t.Context(), dir, Manifest{}); err != nil {
		t.Fatal(err)
	}
	last := filepath.Join(t.TempDir(), "last")
	var seen []string
	if _, _, err := set.Restore(t.Context(), last, func(f *os.File) error {
		seen = append(seen, filepath.Base(f.Name()))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"run.sh": 0o755, "d": 0o500, "d/f": 0o640} {
		if st, err := os.Stat(filepath.Join(last, name)); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, st.Mode(), err, want)
		}
	}
	if len(seen) != 4 {
		t.Errorf("given away: %v, want two files, a folder and the top", seen)
	}
	_ = os.Chmod(filepath.Join(last, "d"), 0o700)
}

// dying is a store whose process dies at the n-th step: nothing is done from there on, and of that step, where it is a Put of a folder,
// half.
type dying struct {
	Store
	left int
}

var errDied = errors.New("died")

func (d *dying) step() error {
	d.left--
	if d.left < 0 {
		return errDied
	}
	return nil
}

func (d *dying) Put(ctx context.Context, name string, r io.Reader, size int64) error {
	if err := d.step(); err != nil {
		if f, ok := d.Store.(Folder); ok && d.left == -1 {
			half, _ := io.ReadAll(io.LimitReader(r, size/2))
			_ = os.MkdirAll(filepath.Dir(f.at(name)), 0o700)
			_ = os.WriteFile(f.at(name)+partial, half, 0o600)
		}
		return err
	}
	return d.Store.Put(ctx, name, r, size)
}

func (d *dying) Remove(ctx context.Context, name string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.Store.Remove(ctx, name)
}

// Whatever step the process dies at, the newest checkpoint whose Save has got as far as its manifest is restored, byte for byte, and the
// next Save works and leaves no rest.
func TestASaveThatDiesAtAnyStepLosesNothingThatWasSaved(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		for n := 0; ; n++ {
			key := fmt.Sprint("k", n)
			set := &Set{Store: s, Key: key}
			for i := 1; i <= 2; i++ {
				if _, err := set.Save(t.Context(), folder(t, generation(i)), Manifest{}); err != nil {
					t.Fatal(err)
				}
			}
			m, err := (&Set{Store: &dying{s, n}, Key: key}).Save(t.Context(), folder(t, generation(3)), Manifest{})
			if err != nil && !errors.Is(err, errDied) {
				t.Fatal(err)
			}
			want := 2
			if m != nil {
				want = 3
			}
			after := &Set{Store: s, Key: key}
			if got, seq, problems := restored(t, after); !same(got, generation(want)) || seq != int64(want) || problems != nil {
				t.Fatalf("died at step %d: restored %d, want %d, %v", n, seq, want, problems)
			}
			m4, err2 := after.Save(t.Context(), folder(t, generation(4)), Manifest{})
			if err2 != nil || m4.Seq <= int64(want) {
				t.Fatal(m4, err2)
			}
			if got, seq, _ := restored(t, after); !same(got, generation(4)) || seq != m4.Seq {
				t.Fatalf("died at step %d: then restored %d", n, seq)
			}
			seqs, lerr := s.Folders(t.Context(), key+"/")
			names, nerr := s.List(t.Context(), key+"/")
			if lerr != nil || nerr != nil || len(seqs) != Keep || len(names) != Keep*6 {
				t.Fatalf("died at step %d: left %v", n, names)
			}
			if f, ok := s.(Folder); ok {
				_ = filepath.WalkDir(f.at(key), func(p string, _ fs.DirEntry, _ error) error {
					if strings.HasSuffix(p, partial) {
						t.Errorf("died at step %d: %s is left", n, p)
					}
					return nil
				})
			}
			if err == nil {
				if n < 8 {
					t.Fatalf("only %d steps", n)
				}
				return
			}
		}
	})
}

// Any damage to any object of the newest checkpoint is noticed, and the one before is taken; with both damaged there is none.
func TestADamagedCheckpointIsNeverRestored(t *testing.T) {
	onEach(t, func(t *testing.T, s Store) {
		set := &Set{Store: s, Key: "k"}
		for i := 1; i <= 2; i++ {
			if _, err := set.Save(t.Context(), folder(t, generation(i)), Manifest{}); err != nil {
				t.Fatal(err)
			}
		}
		names, err := s.List(t.Context(), "k/000000000002/")
		if err != nil || len(names) != 6 {
			t.Fatal(names, err)
		}
		put := func(name, text string) {
			t.Helper()
			if err := s.Put(t.Context(), name, strings.NewReader(text), int64(len(text))); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range names {
			was := get(t, s, name)
			damages := []string{was + "x"}
			if was != "" {
				flipped := []byte(was)
				flipped[len(was)/2] ^= 1
				damages = append(damages, "", was[:len(was)-1], string(flipped))
			}
			for i, d := range damages {
				put(name, d)
				if got, seq, problems := restored(t, &Set{Store: s, Key: "k"}); seq != 1 || len(problems) != 1 || !same(got, generation(1)) {
					t.Errorf("%s damaged (%d): restored %d, %v", name, i, seq, problems)
				}
			}
			if !strings.HasSuffix(name, manifestName) {
				if err := s.Remove(t.Context(), name); err != nil {
					t.Fatal(err)
				}
				if _, seq, problems := restored(t, &Set{Store: s, Key: "k"}); seq != 1 || len(problems) != 1 {
					t.Errorf("%s gone: restored %d, %v", name, seq, problems)
				}
			}
			put(name, was)
		}
		if got, seq, _ := restored(t, set); seq != 2 || !same(got, generation(2)) {
			t.Errorf("mended: restored %d", seq)
		}
		// A damaged one does not count among the two that are kept.
		put(names[0], "broken")
		again := &Set{Store: s, Key: "k"}
		if _, seq, _ := restored(t, again); seq != 1 {
			t.Fatal(seq)
		}
		if _, err := again.Save(t.Context(), folder(t, generation(3)), Manifest{}); err != nil {
			t.Fatal(err)
		}
		if seqs, err := s.Folders(t.Context(), "k/"); err != nil || !slices.Equal(seqs, []string{"k/000000000001/", "k/000000000003/"}) {
			t.Error(seqs, err)
		}
		put(strings.Replace(names[0], "2/", "1/", 1), "broken")
		put(strings.Replace(names[0], "2/", "3/", 1), "broken")
		if _, seq, problems := restored(t, &Set{Store: s, Key: "k"}); seq != 0 || len(problems) != 2 {
			t.Errorf("both damaged: restored %d, %v", seq, problems)
		}
	})
}

func TestAStoreThatDoesNotAnswerIsNotTakenForAnEmptyOne(t *testing.T) {
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "us-east-1"} {
		t.Setenv(k, v)
	}
	s, err := Open("s3://bucket/x")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, _, err := (&Set{Store: s, Key: "k"}).Restore(ctx, filepath.Join(t.TempDir(), "last"), nil); err == nil {
		t.Error("no error")
	}
	// A folder that is a file, likewise.
	f := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(f, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (&Set{Store: Folder(f), Key: "k"}).Restore(t.Context(), filepath.Join(t.TempDir(), "last"), nil); err == nil {
		t.Error("a file for a folder: no error")
	}
}

func TestPlacesOfStoresAreChecked(t *testing.T) {
	for _, bad := range []string{"", "relative/path", "s3://", "s3:///x", "s3://b/x?y=z", "ftp://x/y"} {
		if _, err := Open(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", "localhost:9000")
	if _, err := Open("s3://b/x"); err == nil || !strings.Contains(err.Error(), "endpoint") {
		t.Errorf("an endpoint without http: %v", err)
	}
}

func TestWhatCannotBeSavedIsRefused(t *testing.T) {
	set := &Set{Store: Folder(t.TempDir()), Key: "k"}
	dir := folder(t, map[string]string{"a": "x"})
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if m, err := set.Save(t.Context(), dir, Manifest{}); err == nil || m != nil {
		t.Error("a symbolic link is taken")
	}
	if _, seq, _ := restored(t, set); seq != 0 {
		t.Error("there is a checkpoint")
	}
}

// failing gives an error in the midst.
type failing struct{ r io.Reader }

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = errDied
	}
	return n, err
}

func TestBothTiersOfCopyingAreTheSameCopy(t *testing.T) {
	for _, size := range []int{0, 1, stage.Small - 1, stage.Small, stage.Small + 1, stage.Block, 2*stage.Block + 3, 5 * stage.Block} {
		want := make([]byte, size)
		_, _ = rand.Read(want)
		var got bytes.Buffer
		n, _, err := stage.Copy(t.Context(), &got, bytes.NewReader(want), int64(size))
		if err != nil || n != int64(size) || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d bytes: %d, %v", size, n, err)
		}
		if n, _, err := stage.Copy(t.Context(), io.Discard, bytes.NewReader(want), int64(size)+1); err != nil || n != int64(size) {
			t.Errorf("%d bytes of one more: %d, %v", size, n, err)
		}
		if _, _, err := stage.Copy(t.Context(), io.Discard, &failing{bytes.NewReader(want)}, int64(size)+1); !errors.Is(err, errDied) {
			t.Errorf("%d bytes and an error: %v", size, err)
		}
	}
}
