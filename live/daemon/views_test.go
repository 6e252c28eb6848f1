package daemon

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The numbers of the status are of tasks and add up; what is added to a job is no other job.
func TestTheStatusCountsTasksAndTheyAddUp(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"a","command":"exec sleep 1000","grace_s":0,"cpu":4},{"id":"b","command":"true","after":["a"]}]}`)
	waitState(t, d, "1/a", "running")
	if err := d.join(`{"to":1,"tasks":[{"id":"c","command":"true","after":["b"]}]}`); err != nil {
		t.Fatal(err)
	}
	d.submit(`{"tasks":[{"id":"a","command":"true"}]}`)
	d.submit(`{"tasks":[{"id":"a","command":"true"}]}`)
	for selector, what := range map[string]Action{"3": Cancel, "4": Hold} {
		if _, err := d.Act(t.Context(), Who{0}, what, mustSelect(t, d, selector)); err != nil {
			t.Fatal(err)
		}
	}
	d.submit(`{"tasks":[{"id":"a","command":"true"}]}`)
	s := d.Status()
	if s.Jobs != 4 || s.Tasks != 6 || s.Running != 1 || s.Queued != 1 || s.Blocked != 2 || s.Over != 1 || s.Aside != 1 {
		t.Errorf("%+v", s)
	}
}

// The kernel is ahead of the state file while that cannot be written: what it has placed has not begun.
func TestWhatIsPlacedWhileTheStateCannotBeWrittenIsNotShownAsRunning(t *testing.T) {
	d := serve(t, t.TempDir())
	d.submit(`{"tasks":[{"id":"a","command":"exec sleep 1000"}]}`)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		d.mu.RLock()
		_, begun := d.began[attemptKey{0, 1}]
		d.mu.RUnlock()
		if begun {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not begin")
		}
	}
	d.submit(`{"tasks":[{"id":"b","command":"true"}]}`) // time goes on
	d.wait("2")
	for _, c := range []struct {
		name    string
		fault   error
		begun   bool
		problem string
		why     string
	}{
		{"well", nil, true, "", ""},
		{"begun before", fmt.Errorf("%w: the state file cannot be written: full", ErrUnavailable), true, "the state file cannot be written: full", ""},
		{"not begun", fmt.Errorf("%w: the state file cannot be written: full", ErrUnavailable), false, "the state file cannot be written: full", "not begun"},
		{"stopping", errStopping, false, "", ""},
		{"on its way", nil, false, "", ""},
	} {
		d.refuse(c.fault)
		d.mu.Lock()
		at := d.began[attemptKey{0, 1}]
		if !c.begun {
			delete(d.began, attemptKey{0, 1})
		}
		v := d.view(0)
		d.mu.Unlock()
		if got := d.Status().Problem; got != c.problem || v.State != "running" || v.Why != c.why {
			t.Errorf("%s: status says %q, the task is %s: %q", c.name, got, v.State, v.Why)
		}
		if text := strings.Join(d.Explain(mustSelect(t, d, "1"))[0].Why, " "); strings.Contains(text, "has not begun: "+c.problem) != (c.why != "") {
			t.Errorf("%s: %s", c.name, text)
		}
		d.mu.Lock()
		d.began[attemptKey{0, 1}] = at
		d.mu.Unlock()
	}
	d.refuse(nil)
}
