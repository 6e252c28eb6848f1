package sched

import (
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// Every pass over the tasks of a trace reads their records, and there may be ten million.
func TestATasksRecordIs16Bytes(t *testing.T) {
	if n := unsafe.Sizeof(Task{}); n != 16 {
		t.Errorf("%d bytes", n)
	}
}

// A table that grows keeps no deadlines until a task has one, and from then on as many as tasks: whatever is set in whatever order, each task
// has its own and the others have none.
func TestDeadlinesBeginWithTheFirstTaskThatHasOne(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tb, want := &Table{}, []Time(nil)
		set := func(id TaskID) {
			at := rapid.SampledFrom([]Time{Never, Never, -5, 0, 7}).Draw(rt, "at")
			tb.SetDeadline(id, at)
			want[id] = at
		}
		some := false
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			if len(want) == 0 || rapid.Bool().Draw(rt, "grow") {
				tb.Tasks, want = append(tb.Tasks, Task{}), append(want, Never)
				set(TaskID(len(want) - 1))
			} else {
				set(TaskID(rapid.IntRange(0, len(want)-1).Draw(rt, "task")))
			}
			some = some || slices.ContainsFunc(want, func(at Time) bool { return at != Never })
			if (tb.Deadlines != nil) != some || some && !slices.Equal(tb.Deadlines, want) {
				rt.Fatalf("%v, want %v", tb.Deadlines, want)
			}
			for id, at := range want {
				if got := tb.DeadlineOf(TaskID(id)); got != at {
					rt.Fatalf("task %d: %v, want %v", id, got, at)
				}
			}
		}
		if at := tb.DeadlineOf(TaskID(len(want))); at != Never {
			rt.Fatalf("a task that is not there is due at %v", at)
		}
	})
}
