package local

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/schedlab/schedlab/live/checkpoint"
)

// Whatever a job says into its socket, its shim keeps count, takes no more than was asked for and stored, and notes a short line of text.
func FuzzNotify(f *testing.F) {
	for _, s := range []string{
		checkpoint.SaysDone, checkpoint.SaysNotNow, checkpoint.SaysProgress + "5 of 9", checkpoint.SaysDone + "\n" + checkpoint.SaysDone + "\r\n",
		checkpoint.SaysProgress + strings.Repeat("\xff", 500), "", "\n\n", checkpoint.SaysProgress, "\x00drained", "READY=1\nSTATUS=x",
	} {
		f.Add(s, 0)
	}
	f.Fuzz(func(t *testing.T, text string, replica int) {
		dir := t.TempDir()
		s := &Spec{Name: "x", Replicas: make([]Replica, 2), Checkpoint: &Checkpoint{Dir: filepath.Join(dir, "work"), Store: filepath.Join(dir, "store"), Key: "k"}}
		attempt := filepath.Join(dir, "0", "1", "1")
		if err := os.MkdirAll(attempt, 0o700); err != nil {
			t.Fatal(err)
		}
		k, err := openKeeper(t.Context(), folder(attempt), s, func(string, ...any) {}, func() []int { return nil })
		if err != nil {
			t.Fatal(err)
		}
		k.hear(replica&1, text, "")
		k.hear(0, checkpoint.SaysDone, "")
		k.end(false, false)
		k.mu.Lock()
		defer k.mu.Unlock()
		dones := int64(strings.Count(text, checkpoint.SaysDone))
		if got := k.saved.Done + k.saved.Failed; got > dones+1 || k.saved.NotNow > int64(len(text)) {
			t.Fatalf("%+v after %q", k.saved, text)
		}
		note, err := os.ReadFile(filepath.Join(attempt, progressFile))
		if err == nil && (!utf8.Valid(note) || len(note) > 3*200 || strings.Contains(string(note), "\n")) {
			t.Fatalf("the note %q of %q", note, text)
		}
	})
}
