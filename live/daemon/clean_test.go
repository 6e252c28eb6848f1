package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLogsOfJobsThatAreOverGoAndNothingElseDoes(t *testing.T) {
	dir, far := t.TempDir(), t.TempDir()
	d := serve(t, dir)
	kept := filepath.Join(far, "work")
	if err := os.WriteFile(kept, []byte("weeks"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"a","command":"echo words; ln -s %s $SCHEDLAB_ATTEMPT_DIR/far"}]}`, far))
	d.submit(`{"tasks":[{"id":"a","command":"echo first"},{"id":"b","command":"sleep 100","after":["a"],"grace_s":0}]}`)
	d.wait("1")
	d.wait("2/a")
	log := func(selector string) (string, error) {
		var b bytes.Buffer
		err := d.Log(t.Context(), Who{0}, mustSelect(t, d, selector)[0], 0, false, &b)
		return b.String(), err
	}
	if c, err := d.Clean(t.Context(), Who{12345}, Clean{}); err != nil || c.Tasks != 0 {
		t.Errorf("another user removes %+v, %v", c, err)
	}
	if c, err := d.Clean(t.Context(), Who{0}, Clean{OlderS: 3600}); err != nil || c.Tasks != 0 {
		t.Errorf("removed of jobs that have been over for less than an hour: %+v, %v", c, err)
	}
	dry, err := d.Clean(t.Context(), Who{0}, Clean{DryRun: true})
	if text, err := log("1"); err != nil || text != "words\n" {
		t.Errorf("after a dry run the log is %q, %v", text, err)
	}
	c, err2 := d.Clean(t.Context(), Who{0}, Clean{})
	if err != nil || err2 != nil || c.Jobs != 1 || c.Tasks != 1 || c.Bytes <= 0 || c.Bytes != dry.Bytes {
		t.Errorf("removed %+v, %v, and before, dry, %+v, %v: want what is of job 1", c, err2, dry, err)
	}
	if _, err := log("1"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "was removed") {
		t.Errorf("the log that was removed: %v", err)
	}
	if text, err := log("2/a"); err != nil || text != "first\n" {
		t.Errorf("the log of a task whose job runs: %q, %v", text, err)
	}
	if text, err := os.ReadFile(kept); err != nil || string(text) != "weeks" {
		t.Errorf("what lies elsewhere: %q, %v", text, err)
	}
	// What is added to a workflow that is over keeps it.
	d.submit(`{"to":1,"tasks":[{"id":"more","command":"sleep 100","grace_s":0}]}`)
	if c, err := d.Clean(t.Context(), Who{0}, Clean{}); err != nil || c.Tasks != 0 {
		t.Errorf("removed %+v, %v", c, err)
	}
	for _, bad := range []float64{-1, 1e300} {
		if _, err := d.Clean(t.Context(), Who{0}, Clean{OlderS: bad}); !errors.Is(err, ErrBad) {
			t.Errorf("%g s: %v", bad, err)
		}
	}
}

func TestADaemonThatKeepsLogsForATimeRemovesThemByItself(t *testing.T) {
	dir := t.TempDir()
	d := serve(t, dir)
	d.submit(`{"tasks":[{"id":"a","command":"echo words"}]}`)
	d.wait("1")
	d.close()
	d = serve(t, dir, func(c *Config) { c.KeepLogs = time.Hour })
	if c, err := d.Clean(t.Context(), Who{0}, Clean{DryRun: true}); err != nil || c.Tasks != 1 {
		t.Errorf("younger than an hour: %+v, %v", c, err)
	}
	d.close()
	d = serve(t, dir, func(c *Config) { c.KeepLogs = 1 })
	eventually(t, "it stays", func() bool { return d.runner.Removed(0) })
}
