package traces

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// shared returns the path of a file of the shared trace set, which is not part of the project; the test is skipped where the set is
// absent.
func shared(t testing.TB, path string) string {
	t.Helper()
	root := os.Getenv("SCHEDLAB_SHARED")
	if root == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				root = filepath.Join(dir, "..", "shared")
				break
			}
			if dir == filepath.Dir(dir) {
				t.Skip("no module root above the test")
			}
			dir = filepath.Dir(dir)
		}
	}
	full := filepath.Join(root, path)
	if _, err := os.Stat(full); err != nil {
		t.Skipf("the shared traces are not here: %v", err)
	}
	return full
}

func read(t testing.TB, text, format string) *Workload {
	t.Helper()
	w, err := Read(strings.NewReader(text), "t", format)
	if err != nil {
		t.Fatal(err)
	}
	checkWorkload(t, w)
	return w
}

func write(t testing.TB, w *Workload, format string) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, w, format); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// checkWorkload checks what every workload promises.
func checkWorkload(t failer, w *Workload) {
	t.Helper()
	n := len(w.Tasks)
	if len(w.Estimates) != n || len(w.Run) != n || w.Input != nil && len(w.Input) != n {
		t.Fatalf("lengths differ: %d tasks, %d estimates, %d run times, %d inputs", n, len(w.Estimates), len(w.Run), len(w.Input))
	}
	if w.Deadlines != nil && (len(w.Deadlines) != n || !slices.ContainsFunc(w.Deadlines, func(at sched.Time) bool { return at != sched.Never })) {
		t.Fatalf("%d tasks, and deadlines %v: they are nil where no task has one", n, w.Deadlines)
	}
	firstJob := sched.JobID(0)
	for i, task := range w.Tasks {
		if i > 0 && task.Submit < w.Tasks[i-1].Submit {
			t.Fatalf("task %d is submitted before task %d", i, i-1)
		}
		if task.Job > firstJob {
			t.Fatalf("job %d appears before job %d", task.Job, firstJob)
		}
		if task.Job == firstJob {
			firstJob++
		}
		if w.Run[i] < 0 || w.Estimates[i] < 0 {
			t.Fatalf("task %d: negative time", i)
		}
		d := w.DemandOf(sched.TaskID(i))
		if d.Gang < 1 || d.Need.CPU < 0 || d.Need.Mem < 0 || d.Need.GPUs < 0 || d.Need.GPUs == 0 && d.Need.CPU == 0 ||
			d.Need.GPUs > 0 && (d.Need.GPUMilli < 1 || d.Need.GPUMilli > 1000) || d.GPUTotal() < 0 || d.CPUTotal() < 0 {
			t.Fatalf("task %d: demand %+v", i, d)
		}
		for _, s := range w.Succs(sched.TaskID(i)) {
			if !slices.Contains(w.Preds(s), sched.TaskID(i)) {
				t.Fatalf("%d -> %d stands in one direction only", i, s)
			}
		}
		if !slices.IsSorted(w.Succs(sched.TaskID(i))) || !slices.IsSorted(w.Preds(sched.TaskID(i))) {
			t.Fatalf("task %d: neighbours are not sorted", i)
		}
		_ = w.TaskNames.At(i)
		_ = w.JobName.At(int(task.Job))
	}
	if firstJob != sched.JobID(w.Jobs) {
		t.Fatalf("%d jobs, %d seen", w.Jobs, firstJob)
	}
	if len(w.Succ) != len(w.Pred) {
		t.Fatalf("%d successors, %d predecessors", len(w.Succ), len(w.Pred))
	}
	if order, _ := topological(w.Table); len(order) != n {
		t.Fatal("a cycle")
	}
}

// diff says how two workloads differ, "" if they are equal in all but source and format.
func diff(a, b *Workload) string {
	eq := func(name string, x, y any) string {
		if s, z := fmt.Sprintf("%+v", x), fmt.Sprintf("%+v", y); s != z {
			return fmt.Sprintf("%s:\n%s\n%s", name, s, z)
		}
		return ""
	}
	names := func(n *sched.Names, count int) []string {
		var s []string
		if n != nil {
			for i := range count {
				s = append(s, n.At(i))
			}
		}
		return s
	}
	for _, d := range []string{
		eq("tasks", a.Tasks, b.Tasks),
		eq("deadlines", a.Deadlines, b.Deadlines),
		eq("estimates", a.Estimates, b.Estimates),
		eq("run", a.Run, b.Run),
		eq("run on", a.RunOn, b.RunOn),
		eq("estimate on", a.EstimateOn, b.EstimateOn),
		eq("speeds", a.Speeds, b.Speeds),
		eq("input", a.Input, b.Input),
		eq("succ", a.Succ, b.Succ),
		eq("succ offsets", a.SuccOff, b.SuccOff),
		eq("sent", a.EdgeBytes, b.EdgeBytes),
		eq("pred", a.Pred, b.Pred),
		eq("pred offsets", a.PredOff, b.PredOff),
		eq("classes", a.Classes, b.Classes),
		eq("demands", a.Demands, b.Demands),
		eq("tenants", a.Tenants, b.Tenants),
		eq("queues", a.Queues, b.Queues),
		eq("kinds", a.Kinds, b.Kinds),
		eq("jobs", a.Jobs, b.Jobs),
		eq("task names", names(&a.TaskNames, len(a.Tasks)), names(&b.TaskNames, len(b.Tasks))),
		eq("task names kept", a.TaskNames.Len(), b.TaskNames.Len()),
		eq("job names", names(&a.JobName, int(a.Jobs)), names(&b.JobName, int(b.Jobs))),
		eq("names", names(a.Names, len(a.Tasks)), names(b.Names, len(b.Tasks))),
		eq("data", a.Data, b.Data),
		eq("every", a.Every, b.Every),
		eq("missing", a.MissingEstimates, b.MissingEstimates),
	} {
		if d != "" {
			return d
		}
	}
	return ""
}

func seconds(s float64) time.Duration { return time.Duration(s * 1e9) }

// failer is what *testing.T and *rapid.T have in common here.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// allocated returns the bytes that the process has allocated so far.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
