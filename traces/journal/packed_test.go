package journal

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func packings(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, writer := range map[string]func(io.Writer) (io.WriteCloser, error){
		"j.gz":  func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, gzip.BestSpeed) },
		"j.zst": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
	} {
		var packed bytes.Buffer
		z, err := writer(&packed)
		if err == nil {
			_, err = z.Write(b)
		}
		if err = errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		out[name] = packed.Bytes()
	}
	return out
}

func TestOpenUnpacksAJournal(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	const rounds = 100_000
	b := plain(rounds).write(t, func(int) bool { return false })
	dir := t.TempDir()
	count := func(name string, content []byte) (int64, error) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(path)
		if err != nil {
			return 0, err
		}
		defer func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}()
		return readAll(r)
	}
	for name, packed := range packings(t, b) {
		if n, err := count(name, packed); n != rounds || err != io.EOF {
			t.Errorf("%s: %d batches, %v", name, n, err)
		}
		if n, err := count(name, packed[:len(packed)*3/4]); n <= 0 || n >= rounds || !errors.Is(err, ErrTruncated) {
			t.Errorf("%s cut short: %d batches, %v", name, n, err)
		}
		if n, err := count(name, packed[:8]); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s of 8 bytes: %d batches, %v", name, n, err)
		}
	}
	for name, packed := range packings(t, bytes.Repeat([]byte("id,run_s\n"), 1<<20)) {
		if _, err := count(name, packed); err == nil || !strings.Contains(err.Error(), name+": not a journal") {
			t.Errorf("%s of a table: %v", name, err)
		}
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
