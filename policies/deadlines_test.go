package policies_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/realtime"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// job is a task with a deadline in a plain simulation by ticks of a second.
type job struct{ release, run, deadline, left int64 }

// drawJobs draws jobs by release, as many as the processors can about do.
func drawJobs(t *rapid.T, processors int64) []job {
	var out []job
	for range rapid.IntRange(1, 12).Draw(t, "jobs") {
		j := job{release: rapid.Int64Range(0, 20/processors).Draw(t, "release"), run: rapid.Int64Range(1, 6).Draw(t, "run")}
		j.deadline = j.release + j.run + rapid.Int64Range(0, 12).Draw(t, "slack")
		j.left = j.run
		out = append(out, j)
	}
	slices.SortStableFunc(out, func(a, b job) int { return cmp.Compare(a.release, b.release) })
	return out
}

func rowsOf(jobs []job) []traces.Row {
	var rows []traces.Row
	for _, j := range jobs {
		rows = append(rows, with(cores(float64(j.release), float64(j.run), 1), func(r *traces.Row) { r.Deadline = time.Duration(j.deadline-j.release) * time.Second }))
	}
	return rows
}

// feasible reports whether one processor that works on the earliest deadline first ends all jobs in time, from now on and without arrivals.
func feasible(now int64, jobs []job) bool {
	jobs = slices.Clone(jobs)
	slices.SortFunc(jobs, func(a, b job) int { return cmp.Compare(a.deadline, b.deadline) })
	for _, j := range jobs {
		if now += j.left; j.left > 0 && now > j.deadline {
			return false
		}
	}
	return true
}

// late returns the tasks that ended after their deadlines, and those that were rejected.
func late(res *sim.Result, w *traces.Workload) (late, rejected []sched.TaskID) {
	for t := range sched.TaskID(w.Len()) {
		switch o := res.Outcome(t); {
		case o.Phase == sched.Rejected:
			rejected = append(rejected, t)
		case o.End > w.DeadlineOf(sched.TaskID(t)):
			late = append(late, t)
		}
	}
	return late, rejected
}

func TestAdmissionByDemandRefusesWhatNoScheduleCouldDoAndNothingElse(t *testing.T) {
	admitted, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		jobs := drawJobs(rt, 1)
		w := workload(t, rowsOf(jobs)...)
		res := simulate(t, config(w, machines(1, 1, 0), build(t, "edf{admission=demand}")(), nil))
		miss, got := late(res, w)
		if len(miss) > 0 {
			rt.Fatalf("%+v: tasks %v were admitted and are late", jobs, miss)
		}
		// The same by ticks: whether a job is feasible beside those admitted is found by playing them through.
		var in []job
		var want []sched.TaskID
		next := 0
		for now := int64(0); next < len(jobs); now++ {
			for ; next < len(jobs) && jobs[next].release == now; next++ {
				if with := append(slices.Clone(in), jobs[next]); feasible(now, with) {
					in = with
				} else {
					want = append(want, sched.TaskID(next))
				}
			}
			at := -1
			for i := range in {
				if in[i].left > 0 && (at < 0 || in[i].deadline < in[at].deadline) {
					at = i
				}
			}
			if at >= 0 {
				in[at].left--
			}
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("%+v: refused %v, wanted %v", jobs, got, want)
		}
		admitted, refused = admitted+len(jobs)-len(got), refused+len(got)
	})
	if (admitted < 100 || refused < 20) && !testing.Short() { // -short draws a fifth of the cases
		t.Errorf("%d admitted, %d refused: one side is not tested", admitted, refused)
	}
}

func TestNoTaskThatAdmissionByUtilizationLetsInIsLate(t *testing.T) {
	admitted, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		m := rapid.Int64Range(1, 3).Draw(rt, "nodes")
		jobs := drawJobs(rt, m)
		w := workload(t, rowsOf(jobs)...)
		res := simulate(t, config(w, machines(int(m), 1, 0), build(t, "edf{admission=utilization}")(), nil))
		miss, got := late(res, w)
		if len(miss) > 0 {
			rt.Fatalf("%d nodes, %+v: tasks %v were admitted and are late", m, jobs, miss)
		}
		admitted, refused = admitted+len(jobs)-len(got), refused+len(got)
		byDemand := simulate(t, config(w, machines(int(m), 1, 0), build(t, "edf{admission=demand}")(), nil))
		if miss, _ = late(byDemand, w); len(miss) > 0 {
			rt.Fatalf("%d nodes, %+v: tasks %v were admitted by demand and are late", m, jobs, miss)
		}
	})
	if (admitted < 100 || refused < 20) && !testing.Short() {
		t.Errorf("%d admitted, %d refused: one side is not tested", admitted, refused)
	}
}

func TestAdmissionByUtilizationCountsNodes(t *testing.T) {
	three := []job{{0, 4, 8, 4}, {0, 4, 8, 4}, {0, 4, 8, 4}} // densities 1/2 each: 3/2 is not more than m - (m-1)/2 for two nodes
	for _, c := range []struct {
		policy  string
		nodes   int
		refused int
	}{{"edf{admission=utilization}", 1, 1}, {"edf{admission=utilization}", 2, 0}, {"edf{admission=demand}", 1, 1}, {"edf{admission=demand}", 2, 1}, {"edf", 1, 0}} {
		w := workload(t, rowsOf(three)...)
		if _, got := late(simulate(t, config(w, machines(c.nodes, 1, 0), build(t, c.policy)(), nil)), w); len(got) != c.refused {
			t.Errorf("%s on %d nodes refuses %v, wanted %d tasks", c.policy, c.nodes, got, c.refused)
		}
	}
}

func TestARefusedTaskHasItsCause(t *testing.T) {
	w := workload(t, rowsOf([]job{{0, 4, 5, 4}, {1, 4, 8, 4}, {1, 2, 100, 2}})...)
	var got []string
	tap := func(_ sched.Time, _ []sched.Event, out []sched.Command) error {
		for _, o := range out {
			if o.Kind == sched.Reject {
				got = append(got, fmt.Sprint(o.Task, " ", o.Cause))
			}
		}
		return nil
	}
	simulate(t, config(w, machines(1, 1, 0), build(t, "edf{admission=demand}")(), tap))
	if strings.Join(got, ", ") != "" {
		t.Errorf("refused %v: both are done by 8", got)
	}
	w = workload(t, rowsOf([]job{{0, 4, 5, 4}, {1, 4, 7, 4}, {1, 2, 100, 2}})...)
	simulate(t, config(w, machines(1, 1, 0), build(t, "edf{admission=demand}")(), tap))
	if strings.Join(got, ", ") != "1 order" {
		t.Errorf("refused %v, wanted task 1 by order", got)
	}
}

// A plain least-laxity scheduler on one processor decides at every second. Ties: who runs goes on, else the lower number.
// One that will be late stops nobody.
func TestLeastLaxityDecidesAsAPlainOneDoesEverySecond(t *testing.T) {
	stops := 0
	rapid.Check(t, func(rt *rapid.T) {
		jobs := drawJobs(rt, 1)
		w := workload(t, rowsOf(jobs)...)
		res := simulate(t, config(w, machines(1, 1, 0), build(t, "llf{quantum=1s}")(), nil))
		running := -1
		for now, over := int64(0), 0; over < len(jobs); now++ {
			best := -1
			laxity := func(i int) int64 { return jobs[i].deadline - now - jobs[i].left }
			for i := range jobs {
				if jobs[i].left > 0 && jobs[i].release <= now && (best < 0 || laxity(i) < laxity(best)) {
					best = i
				}
			}
			if running >= 0 && jobs[running].left > 0 && (best < 0 || laxity(best) >= laxity(running) || laxity(best) < 0) {
				best = running
			} else if running >= 0 && jobs[running].left > 0 {
				stops++
			}
			if running = best; best < 0 {
				continue
			}
			if jobs[best].left--; jobs[best].left == 0 {
				over++
				if end := res.Outcome(sched.TaskID(best)).End; end != second(float64(now+1)) {
					rt.Fatalf("%+v: task %d ends at %v, the plain one's at %d s", jobs, best, end.Seconds(), now+1)
				}
			}
		}
	})
	if stops < 20 && !testing.Short() {
		t.Errorf("only %d stops", stops)
	}
}

func TestLeastLaxityMeetsAllDeadlinesThatCanBeMet(t *testing.T) {
	tested := 0
	rapid.Check(t, func(rt *rapid.T) {
		jobs := drawJobs(rt, 1)
		w := workload(t, rowsOf(jobs)...)
		// Earliest deadline first is optimal on one processor too (Liu & Layland 1973; Dertouzos 1974).
		if miss, _ := late(simulate(t, config(w, machines(1, 1, 0), build(t, "edf")(), nil)), w); len(miss) > 0 {
			return
		}
		tested++
		if miss, _ := late(simulate(t, config(w, machines(1, 1, 0), build(t, "llf{quantum=1s}")(), nil)), w); len(miss) > 0 {
			rt.Fatalf("%+v: tasks %v are late, and need not be", jobs, miss)
		}
	})
	if tested < 20 && !testing.Short() {
		t.Errorf("only %d job sets were feasible", tested)
	}
}

// drawPeriodic draws n periodic tasks of seconds with a small hyperperiod, of utilization at most 1.
func drawPeriodic(t *rapid.T, n int) realtime.Set {
	var s realtime.Set
	for i := range n {
		period := rapid.SampledFrom([]int64{4, 5, 6, 8, 10, 12, 15, 20}).Draw(t, "period")
		run := rapid.Int64Range(1, max(1, period*2/int64(n))).Draw(t, "run")
		s = append(s, realtime.Task{Name: fmt.Sprint("t", i+1), C: time.Duration(min(run, period)) * time.Second, T: time.Duration(period) * time.Second})
	}
	return s
}

// releases makes a workload of the set up to a hyperperiod.
func releases(t testing.TB, s realtime.Set) *traces.Workload {
	t.Helper()
	b := traces.NewBuilder("periodic", "test")
	for _, k := range s {
		if err := b.Add(&traces.Row{ID: k.Name, Run: k.C, Estimate: k.C, Need: sched.Need{CPU: 1000}, Period: k.T, Deadline: k.Deadline()}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	h, _ := s.Hyperperiod()
	if w, err = w.Expand(sched.Time(h)); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestLeastLaxityMeetsPeriodicDeadlinesUpToFullLoad(t *testing.T) {
	tested := 0
	rapid.Check(t, func(rt *rapid.T) {
		s := drawPeriodic(rt, rapid.IntRange(1, 4).Draw(rt, "n"))
		if s.Utilization() > 1+1e-9 {
			return
		}
		tested++
		w := releases(t, s)
		if miss, _ := late(simulate(t, config(w, machines(1, 1, 0), build(t, "llf{quantum=1s}")(), nil)), w); len(miss) > 0 {
			rt.Fatalf("%+v at utilization %v: tasks %v are late", s, s.Utilization(), miss)
		}
	})
	if tested < 20 && !testing.Short() {
		t.Errorf("only %d sets did not overload the processor", tested)
	}
}

func TestWhatAPartitionAcceptsIsInTime(t *testing.T) {
	whole := 0
	rapid.Check(t, func(rt *rapid.T) {
		m := rapid.IntRange(1, 3).Draw(rt, "nodes")
		s := drawPeriodic(rt, rapid.IntRange(1, 7).Draw(rt, "n"))
		name, test := "rms{mode=partitioned}", realtime.ByResponse
		if rapid.Bool().Draw(rt, "bound") {
			name, test = "rms{mode=partitioned,test=bound}", realtime.ByBound
		}
		on, err := s.Partition(m, realtime.RM, test, nil)
		if err != nil {
			rt.Fatal(err)
		}
		w := releases(t, s)
		res := simulate(t, config(w, machines(m, 1, 0), build(t, name)(), nil))
		if res.Unfinished > 0 {
			rt.Fatalf("%d releases never ran", res.Unfinished)
		}
		for id := range sched.TaskID(w.Len()) {
			of, _, _ := strings.Cut(w.TaskNames.At(int(id)), "#")
			i := slices.IndexFunc(s, func(k realtime.Task) bool { return k.Name == of })
			o := res.Outcome(id)
			if on[i] < 0 {
				continue
			}
			if o.End > w.DeadlineOf(id) {
				rt.Fatalf("%d nodes, %+v: %s ends at %v, due %v", m, s, w.TaskNames.At(int(id)), o.End, w.DeadlineOf(id))
			}
			if int(o.Node) != on[i] {
				rt.Fatalf("%d nodes, %+v: %s ran on node %d, its partition is %d", m, s, w.TaskNames.At(int(id)), o.Node, on[i])
			}
		}
		if !slices.Contains(on, -1) {
			whole++
		}
	})
	if whole < 10 {
		t.Errorf("only %d sets were placed as a whole", whole)
	}
}

func TestTasksWithoutAPeriodGiveWayToThePartition(t *testing.T) {
	w := workload(t, cores(0, 100, 1), cores(0, 30, 1), with(cores(1, 2, 1), func(r *traces.Row) { r.Period = 10 * time.Second }))
	tap, text := orders()
	simulate(t, config(w, machines(1, 2, 0), build(t, "rms{mode=partitioned}")(), tap))
	// Of the two the later in the order is stopped, and goes on when the periodic task is done.
	if want := "0 start 0@0, 0 start 1@0, 1 stop 1, 1 start 2@0, 3 start 1@0"; text() != want {
		t.Errorf("orders %s, wanted %s", text(), want)
	}
}

func TestAudsleysOrderIsInTimeWhereThatByDeadlineIsNot(t *testing.T) {
	const ms = time.Millisecond
	s := realtime.Set{{Name: "a", C: 52 * ms, T: 100 * ms, D: 110 * ms}, {Name: "b", C: 52 * ms, T: 140 * ms, D: 154 * ms}}
	w := releases(t, s)
	if miss, _ := late(simulate(t, config(w, machines(1, 1, 0), build(t, "opa")(), nil)), w); len(miss) > 0 {
		t.Errorf("under opa %v are late", miss)
	}
	if miss, _ := late(simulate(t, config(w, machines(1, 1, 0), build(t, "dm")(), nil)), w); len(miss) == 0 {
		t.Error("under dm nobody is late: the case says nothing")
	}
}

// A task that will be late stops nobody. Once it has left the line, by a hold, those behind it may: they find out when they come.
func TestALateTaskThatIsHeldKeepsNobodyBehindItFromStoppingOthers(t *testing.T) {
	by := func(submit, run, deadline float64) traces.Row {
		return with(devices(submit, run, 1), func(r *traces.Row) { r.Deadline = time.Duration(deadline * 1e9) })
	}
	w := workload(t, devices(0, 30, 1), by(1, 10, 5), by(3, 1, 8))
	k, err := sched.New(sched.Config{Table: w.Table, Nodes: machines(1, 4, 1), Policy: build(t, "llf{quantum=1s}")()})
	if err != nil {
		t.Fatal(err)
	}
	step := func(at float64, e sched.Event) []sched.Command {
		e.Node = sched.NoNode
		return k.Step(second(at), []sched.Event{e})
	}
	step(0, sched.Event{Kind: sched.JobArrived, Task: 0, N: 1})
	step(1, sched.Event{Kind: sched.JobArrived, Task: 1, N: 1})
	step(2, sched.Event{Kind: sched.Hold, Task: 1})
	if orders := step(3, sched.Event{Kind: sched.JobArrived, Task: 2, N: 1}); len(orders) != 1 || orders[0].Kind != sched.Stop || orders[0].Task != 0 {
		t.Errorf("task 2 has a laxity of 7 s, task 0 has all the time, and the orders are %v", orders)
	}
}
