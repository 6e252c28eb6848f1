package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFolderThatKeepsOtherUsersFromTheSocketIsNamed(t *testing.T) {
	top := t.TempDir()
	for at := top; at != "/"; at = filepath.Dir(at) {
		if st, err := os.Stat(at); err != nil || st.Mode()&0o001 == 0 {
			if err := os.Chmod(at, 0o755); err != nil {
				t.Skip("the folder of tests is closed to others")
			}
		}
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
