package daemon

import (
	"slices"
	"testing"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/policies/sched"
)

// The first deadline may come long after the first jobs: those have none then, as those after it that ask for none.
func TestADeadlineThatComesLateLeavesTheTasksBeforeWithoutOne(t *testing.T) {
	b := newBook()
	add := func(submit sched.Time, text string) {
		t.Helper()
		j, err := job.Parse([]byte(text), "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.add(j, submit); err != nil {
			t.Fatal(err)
		}
	}
	want := func(want ...sched.Time) {
		t.Helper()
		for id, at := range want {
			if got := b.tb.DeadlineOf(sched.TaskID(id)); got != at {
				t.Errorf("task %d is due at %v, want %v", id, got, at)
			}
		}
	}
	plain := `{"tasks":[{"id":"a","command":"x"}]}`
	add(1e9, plain)
	add(2e9, plain)
	want(sched.Never, sched.Never)
	if b.tb.Deadlines != nil {
		t.Errorf("%v where no task has a deadline", b.tb.Deadlines)
	}
	add(3e9, `{"tasks":[{"id":"a","command":"x"},{"id":"b","command":"x","deadline_s":60},{"id":"c","command":"x"}]}`)
	add(4e9, plain)
	add(5e9, `{"tasks":[{"id":"a","command":"x","deadline_s":2}]}`)
	all := []sched.Time{sched.Never, sched.Never, sched.Never, 63e9, sched.Never, sched.Never, 7e9}
	want(all...)
	if !slices.Equal(b.tb.Deadlines, all) {
		t.Errorf("%v, and a kernel refuses a table with more or fewer deadlines than tasks", b.tb.Deadlines)
	}
}
