package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFolderThatKeepsOtherUsersFromTheSocketIsNamed(t *testing.T) {
	top := t.TempDir()
	for _, at := range []string{top, filepath.Dir(top)} { // the test's own; what is above is somebody else's
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if closed := closedToOthers(top); closed != "" {
		t.Skipf("%s, in which tests run, is closed to others", closed)
	}
	home := filepath.Join(top, "home")
	if err := os.MkdirAll(filepath.Join(home, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := closedToOthers(filepath.Join(home, "run")); got != "" {
		t.Errorf("%s is closed, where none is", got)
	}
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := closedToOthers(filepath.Join(home, "run")); got != home {
		t.Errorf("%q is closed, want %s", got, home)
	}
}
