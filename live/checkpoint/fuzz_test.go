package checkpoint

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Whatever a manifest says, and even under its right sum, it leads to nothing outside of the folder, and where it is no good the checkpoint
// before it is taken.
func FuzzManifest(f *testing.F) {
	for _, files := range []string{
		``, `{"path":"a","mode":420,"size":5,"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}`,
		`{"path":"../a","mode":420,"size":5,"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}`,
		`{"path":"d","mode":493,"folder":true},{"path":"d","mode":493,"folder":true}`, `{"path":".","folder":true}`, `{"path":"no/such","folder":true}`,
		`{"path":"a","size":9223372036854775807}`, `{"path":"a\u0000b","size":5}`, `{"path":"d","mode":0,"folder":true},{"path":"d/a","size":1}`,
	} {
		f.Add([]byte(`{"schema":"schedlab/checkpoint/v1","seq":2,"work_ns":5,"files":[`+files+`]}`), true)
	}
	f.Add([]byte("\n"), false)
	f.Fuzz(func(t *testing.T, text []byte, signed bool) {
		base := t.TempDir()
		set := &Set{Store: Folder(filepath.Join(base, "store")), Key: "k"}
		work := filepath.Join(base, "work")
		if err := os.Mkdir(work, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, "state"), []byte("one"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := set.Save(t.Context(), work, Manifest{Task: "good"}); err != nil {
			t.Fatal(err)
		}
		if signed {
			text = append(text, '\n')
			text = fmt.Appendf(text, "%x\n", sha256.Sum256(text))
		}
		second := filepath.Join(base, "store", "k", "000000000002")
		if err := os.MkdirAll(second, 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := os.WriteFile(filepath.Join(second, fmt.Sprint(i)), []byte("hello"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(second, manifestName), text, 0o600); err != nil {
			t.Fatal(err)
		}
		before := tree(t, base)
		m, problems, err := set.Restore(t.Context(), filepath.Join(work, "last"), nil)
		if err != nil || m == nil {
			t.Fatalf("%v, %v: neither is taken", m, err)
		}
		if m.Seq != 2 && (m.Seq != 1 || m.Task != "good" || len(problems) != 1) {
			t.Fatalf("%+v with problems %v", m, problems)
		}
		if err := os.RemoveAll(filepath.Join(work, "last")); err != nil {
			t.Fatal(err)
		}
		if after := tree(t, base); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Fatalf("%v became %v", before, after)
		}
	})
}

func tree(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		out = append(out, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
