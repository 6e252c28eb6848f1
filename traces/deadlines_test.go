package traces

import (
	"slices"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
)

// Most traces have no deadline, and then none are kept, also where there is a column for them.
func TestATraceWithoutDeadlinesKeepsNone(t *testing.T) {
	for _, text := range []string{
		"id,submit_s,run_s\n1,0,5\n2,1,5\n3,2,5\n",
		"id,submit_s,run_s\n1,2,5\n2,1,5\n3,0,5\n",
		"id,submit_s,run_s,deadline_s\na,2,5,\nb,1,5,\nc,0,5,0\n",
	} {
		w := read(t, text, "csv")
		for _, format := range []string{"csv", "jsonl", "parquet"} {
			again := read(t, write(t, w, format), format)
			if w.Deadlines != nil || again.Deadlines != nil {
				t.Errorf("%q: deadlines %v, by way of %s %v", text, w.Deadlines, format, again.Deadlines)
			}
		}
	}
	if w := read(t, "1 0 0 5 1 -1 -1 1 5 -1 1 1 1 1 1 -1 -1 -1\n", "swf"); w.Deadlines != nil {
		t.Errorf("an SWF trace has deadlines %v", w.Deadlines)
	}
}

// Tasks are numbered anew by their submit times: each keeps its own deadline, by whatever way it is read.
func TestATaskKeepsItsDeadlineWhereTasksAreNumberedAnew(t *testing.T) {
	for name, text := range map[string]string{
		"in order": "id,submit_s,run_s,deadline_s\n1,0,5,30\n2,10,5,\n3,20,5,10\n4,20,5,40\n",
		"not":      "id,submit_s,run_s,deadline_s\n4,20,5,10\n2,10,5,\n1,0,5,30\n3,20,5,40\n",
	} {
		w := read(t, text, "csv")
		want := []sched.Time{30e9, sched.Never, 30e9, 60e9}
		for _, format := range []string{"csv", "jsonl", "parquet"} {
			again := read(t, write(t, w, format), format)
			if !slices.Equal(w.Deadlines, want) || !slices.Equal(again.Deadlines, want) {
				t.Errorf("%s: due at %v, by way of %s at %v, want %v", name, w.Deadlines, format, again.Deadlines, want)
			}
		}
	}
}

// Many plain rows of a Parquet file are taken at once, those with a deadline by their class.
func TestManyRowsOfParquetKeepTheirDeadlines(t *testing.T) {
	var b strings.Builder
	b.WriteString("id,submit_s,run_s,deadline_s\n")
	const n = 5000
	for i := range n {
		b.WriteString([]string{",1,5,\n", ",1,5,8\n", ",1,5,20\n"}[i%3])
	}
	w := read(t, b.String(), "csv")
	again := read(t, write(t, w, "parquet"), "parquet")
	for i := range sched.TaskID(n) {
		want := []sched.Time{sched.Never, 9e9, 21e9}[i%3]
		if w.DeadlineOf(i) != want || again.DeadlineOf(i) != want {
			t.Fatalf("task %d is due at %v, by way of Parquet at %v, want %v", i, w.DeadlineOf(i), again.DeadlineOf(i), want)
		}
	}
}
