package metrics

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"pgregory.net/rapid"
)

const second = sched.Time(time.Second)

// world is a workload and its outcome, built by hand.
type world struct {
	wl  *traces.Workload
	out []sched.Outcome
}

func newWorld() *world {
	return &world{wl: &traces.Workload{Table: &sched.Table{
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""},
		Demands: []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 1000}}},
		Classes: []sched.Class{{}},
	}}}
}

func (w *world) add(job int32, submit, run sched.Time, o sched.Outcome) sched.TaskID {
	t := sched.TaskID(len(w.wl.Tasks))
	w.wl.Tasks = append(w.wl.Tasks, sched.Task{Submit: submit, Job: sched.JobID(job)})
	w.wl.SetDeadline(t, sched.Never)
	w.wl.Run = append(w.wl.Run, time.Duration(run))
	w.wl.Estimates = append(w.wl.Estimates, time.Duration(run))
	w.wl.Jobs = max(w.wl.Jobs, job+1)
	w.out = append(w.out, o)
	return t
}

// outcomes is what WriteTasks asks.
func (w *world) outcomes(from sched.TaskID, outcomes []sched.Outcome) {
	if copy(outcomes, w.out[from:]) < len(outcomes) {
		panic("asked for tasks that are not there")
	}
}

// edges sets the predecessors, by task.
func (w *world) edges(preds map[sched.TaskID][]sched.TaskID) {
	tb, n := w.wl.Table, len(w.wl.Tasks)
	succs := make([][]sched.TaskID, n)
	tb.PredOff, tb.SuccOff, tb.Pred, tb.Succ = []int32{0}, []int32{0}, []sched.TaskID{}, []sched.TaskID{}
	for t := range n {
		tb.Pred = append(tb.Pred, preds[sched.TaskID(t)]...)
		tb.PredOff = append(tb.PredOff, int32(len(tb.Pred)))
		for _, p := range preds[sched.TaskID(t)] {
			succs[p] = append(succs[p], sched.TaskID(t))
		}
	}
	for t := range n {
		tb.Succ = append(tb.Succ, succs[t]...)
		tb.SuccOff = append(tb.SuccOff, int32(len(tb.Succ)))
	}
}

func (w *world) input() Input {
	return Input{
		Workload: w.wl, Outcome: func(t sched.TaskID) sched.Outcome { return w.out[t] },
		FragmentationGPUs: math.NaN(), LowerBound: math.NaN(),
	}
}

func done(ready, start, end sched.Time, held time.Duration) sched.Outcome {
	return sched.Outcome{Phase: sched.Done, Attempts: 1, Ready: ready, Start: start, End: end, Held: held}
}

func want(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.IsNaN(want) != math.IsNaN(got) || math.Abs(got-want) > 1e-9*max(1, math.Abs(want)) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// Two jobs of one task on one CPU, FIFO: A runs 0..20, B is submitted at 5 and runs 20..25.
func TestTwoTasksInARowGiveTheNumbersWorkedOutByHand(t *testing.T) {
	w := newWorld()
	w.add(0, 0, 20*second, done(0, 0, 20*second, 20*time.Second))
	w.add(1, 5*second, 5*second, done(5*second, 20*second, 25*second, 5*time.Second))
	in := w.input()
	in.Nodes = []sched.NodeSpec{{CPU: 2000, GPUs: 0}}
	in.CPUSeconds = 25
	in.LostCPUSeconds = 5
	r := Compute(in)
	want(t, "wait mean", r.WaitMean, 7.5)
	want(t, "wait p50", r.WaitP50, 0)
	want(t, "wait p99", r.WaitP99, 15)
	want(t, "response", r.ResponseMean, 7.5)
	want(t, "job wait", r.JobWaitMean, 7.5)
	want(t, "jct", r.JCTMean, 20)
	want(t, "slowdown", r.SlowdownMean, (1+20.0/10)/2) // B: 20 s over the bound of 10 s
	want(t, "cpu", r.UtilizationCPU, 0.5)
	want(t, "gpu", r.UtilizationGPU, math.NaN())
	want(t, "goodput", r.Goodput, 0.4)
	want(t, "throughput", r.ThroughputPerMin, 2*60/25.0)
	want(t, "makespan", r.Makespan, 25)
	want(t, "deadline miss", r.DeadlineMiss, math.NaN())
	want(t, "fairness", r.Fairness, 1)
}

func TestWaitCountsWhatFollowsAPreemptionAndResponseDoesNot(t *testing.T) {
	w := newWorld()
	w.add(0, 0, 10*second, done(1*second, 3*second, 20*second, 10*time.Second)) // 2 s to start, 7 s evicted
	r := Compute(w.input())
	want(t, "wait", r.WaitMean, 9)
	want(t, "response", r.ResponseMean, 2)
	want(t, "job wait", r.JobWaitMean, 3) // from submit, the dependency's second included
}

func TestAJobWithATaskThatIsNotDoneCountsInNoJobMetricAndItsDoneTasksInWait(t *testing.T) {
	w := newWorld()
	w.add(0, 0, 10*second, done(0, 4*second, 14*second, 10*time.Second))
	w.add(0, 0, 10*second, sched.Outcome{Phase: sched.Failed, Ready: 0, Start: 0, End: 90 * second, Held: 10 * time.Second})
	w.add(1, 0, 10*second, sched.Outcome{Phase: sched.Dropped, Ready: sched.Never, Start: sched.Never, End: 90 * second})
	r := Compute(w.input())
	want(t, "wait", r.WaitMean, 4)
	want(t, "jct", r.JCTMean, math.NaN())
	want(t, "slowdown", r.SlowdownMean, math.NaN())
	want(t, "fairness", r.Fairness, math.NaN())
	want(t, "makespan", r.Makespan, 90)
	if r.Tasks != 3 || r.Finished != 1 || r.Failed != 1 || r.Dropped != 1 {
		t.Errorf("counts %+v", r)
	}
}

func TestADAGJobsRunTimeIsItsLongestPathAlsoWhenPredecessorsHaveLargerNumbers(t *testing.T) {
	for _, forward := range []bool{true, false} {
		w := newWorld()
		for range 3 {
			w.add(0, 0, 20*second, done(0, 60*second, 80*second, 20*time.Second))
		}
		w.wl.Run[1] = 5 * time.Second
		if forward {
			w.edges(map[sched.TaskID][]sched.TaskID{1: {0}, 2: {0}})
		} else {
			w.edges(map[sched.TaskID][]sched.TaskID{0: {2}, 1: {2}})
		}
		want(t, "slowdown", Compute(w.input()).SlowdownMean, 80.0/40)
	}
}

func TestUtilizationIsNullWhereTheCapacityIsNotStated(t *testing.T) {
	w := newWorld()
	w.add(0, 0, 10*second, done(0, 0, 10*second, 10*time.Second))
	w.wl.Demands[0].Need = sched.Need{CPU: 1000, GPUs: 1, GPUMilli: 500}
	in := w.input()
	in.Nodes = []sched.NodeSpec{{CPU: sched.Unlimited, GPUs: 2}}
	in.CPUSeconds, in.GPUSeconds = 10, 5 // a share counts as its fraction
	r := Compute(in)
	want(t, "cpu", r.UtilizationCPU, math.NaN())
	want(t, "gpu", r.UtilizationGPU, 0.25)
	want(t, "goodput", r.Goodput, 0.25)
}

func TestLateIsDoneAfterTheDeadlineOrNeverDone(t *testing.T) {
	w := newWorld()
	for i, o := range []sched.Outcome{
		done(0, 0, 10*second, 10*time.Second), // in time, to the nanosecond
		done(0, 1, 10*second+1, 10*time.Second),
		{Phase: sched.Failed, Start: 0, End: second},
		{Phase: sched.Running, Start: 0, End: sched.Never},
		done(0, 0, 10*second, 10*time.Second), // no deadline
	} {
		w.add(int32(i), 0, 10*second, o)
		if i < 4 {
			w.wl.SetDeadline(sched.TaskID(i), 10*second)
		}
	}
	in := w.input()
	want(t, "miss", Compute(in).DeadlineMiss, 0.5)
	in.Horizon = 11 * second
	want(t, "miss, cut past the deadline", Compute(in).DeadlineMiss, 0.75)
}

func TestACutRunIsMeasuredUntilItsHorizon(t *testing.T) {
	w := newWorld()
	w.add(0, 0, 10*second, done(0, 0, 10*second, 10*time.Second))
	w.add(1, 0, 1000*second, sched.Outcome{Phase: sched.Running, Start: 0, End: sched.Never})
	in := w.input()
	in.Nodes = []sched.NodeSpec{{CPU: 2000}}
	in.CPUSeconds, in.Horizon = 110, 100*second
	want(t, "cpu", Compute(in).UtilizationCPU, 110.0/200)
}

func TestFairnessIsJainsIndexOverTheTenantsMeanSlowdowns(t *testing.T) {
	w := newWorld()
	w.wl.Tenants = []string{"", "a", "b"}
	w.wl.Classes = []sched.Class{{Tenant: 1}, {Tenant: 2}}
	for i, end := range []sched.Time{10, 30, 60} { // slowdowns 1 and 3 (mean 2) of a, 6 of b
		w.add(int32(i), 0, 10*second, done(0, 0, end*second, 10*time.Second))
	}
	w.wl.Tasks[2].Class = 1
	want(t, "fairness", Compute(w.input()).Fairness, 8*8/(2*(4.0+36)))
}

func TestOneTenantIsFairToItselfAlsoWhereJobsHaveSeveralTasks(t *testing.T) {
	w := newWorld()
	w.add(0, 0, 10*second, done(0, 0, 10*second, 10*time.Second))
	w.add(0, 0, 10*second, done(0, 10*second, 20*second, 10*time.Second))
	w.add(1, 0, 10*second, done(0, 20*second, 30*second, 10*time.Second))
	want(t, "fairness", Compute(w.input()).Fairness, 1)
}

func TestWarmUpLeavesEarlyTasksOutOfMeansAndNotOutOfTheMakespan(t *testing.T) {
	w := newWorld()
	w.add(0, -5*second, second, done(-5*second, 95*second, 96*second, time.Second))
	w.add(1, 5*second, second, done(5*second, 6*second, 7*second, time.Second))
	in := w.input()
	in.WarmUp = 5 * second
	r := Compute(in)
	want(t, "wait", r.WaitMean, 1)
	want(t, "jct", r.JCTMean, 2)
	want(t, "makespan", r.Makespan, 101)
}

func TestNothingAtAllGivesNullsAndNoPanic(t *testing.T) {
	r := Compute(newWorld().input())
	want(t, "makespan", r.Makespan, math.NaN())
	want(t, "throughput", r.ThroughputPerMin, math.NaN())
	want(t, "p99", r.WaitP99, math.NaN())
}

// TestComputeEqualsAPlainRecomputation: the same numbers from maps, sorting and recursion.
func TestComputeEqualsAPlainRecomputation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.wl.Tenants = []string{"", "a", "b"}
		w.wl.Classes = []sched.Class{{Tenant: 0}, {Tenant: 1}, {Tenant: 2}}
		n := rapid.IntRange(1, 30).Draw(t, "n")
		single := rapid.Bool().Draw(t, "single")
		perm := rapid.Permutation(slices.Collect(func(yield func(int) bool) {
			for i := 0; i < n && yield(i); i++ {
			}
		})).Draw(t, "rank")
		preds := map[sched.TaskID][]sched.TaskID{}
		sec := func(hi int, what string) sched.Time {
			return sched.Time(rapid.Int64Range(0, int64(hi)*1e9).Draw(t, what))
		}
		for i := range n {
			job := int32(i)
			if !single {
				job = int32(rapid.IntRange(0, 6).Draw(t, "job"))
			}
			submit := sec(50, "submit") - 10*second
			ready := submit + sec(20, "ready")
			start := ready + sec(3, "start")
			held := sec(40, "held")
			end := start + held + sec(5, "more")
			o := done(ready, start, end, time.Duration(held))
			if rapid.IntRange(0, 9).Draw(t, "fate") == 0 {
				o.Phase = rapid.SampledFrom([]sched.Phase{sched.Failed, sched.Dropped, sched.Rejected}).Draw(t, "phase")
			}
			id := w.add(job, submit, sec(60, "run"), o)
			w.wl.Tasks[id].Class = sched.ClassID(rapid.IntRange(0, 2).Draw(t, "class"))
			if !single {
				for j := range i {
					if perm[j] < perm[i] && rapid.IntRange(0, 4).Draw(t, "edge") == 0 {
						preds[id] = append(preds[id], sched.TaskID(j))
					} else if perm[j] > perm[i] && rapid.IntRange(0, 4).Draw(t, "edge") == 0 {
						preds[sched.TaskID(j)] = append(preds[sched.TaskID(j)], id)
					}
				}
			}
		}
		if !single {
			w.edges(preds)
		}
		in := w.input()
		if rapid.Bool().Draw(t, "warm") {
			in.WarmUp = 15 * second
		}
		r := Compute(in)

		keep := func(s sched.Time) bool { return in.WarmUp == 0 || s >= in.WarmUp }
		var waits, jcts, slow []float64
		byTenant := map[sched.TenantID][]float64{}
		members := map[sched.JobID][]sched.TaskID{}
		for i, task := range w.wl.Tasks {
			members[task.Job] = append(members[task.Job], sched.TaskID(i))
			if o := w.out[i]; o.Phase == sched.Done && keep(task.Submit) {
				waits = append(waits, (o.End.Sub(o.Ready) - o.Held).Seconds())
			}
		}
		var longest func(sched.TaskID) time.Duration
		longest = func(t sched.TaskID) time.Duration {
			var m time.Duration
			for _, p := range preds[t] {
				if w.wl.Tasks[p].Job == w.wl.Tasks[t].Job {
					m = max(m, longest(p))
				}
			}
			return m + w.wl.Run[t]
		}
		for job := range sched.JobID(w.wl.Jobs) {
			all, submit, end, run := len(members[job]) > 0, sched.Never, sched.Time(math.MinInt64), time.Duration(0)
			for _, id := range members[job] {
				all = all && w.out[id].Phase == sched.Done
				submit, end, run = min(submit, w.wl.Tasks[id].Submit), max(end, w.out[id].End), max(run, longest(id))
			}
			if !all || !keep(submit) {
				continue
			}
			jct := end.Sub(submit).Seconds()
			s := max(1, jct/max(10, run.Seconds()))
			jcts, slow = append(jcts, jct), append(slow, s)
			tenant := w.wl.Classes[w.wl.Tasks[members[job][0]].Class].Tenant
			byTenant[tenant] = append(byTenant[tenant], s)
		}
		mean := func(x []float64) float64 {
			s := 0.0
			for _, v := range x {
				s += v
			}
			return s / float64(len(x))
		}
		near := func(what string, got, want float64) {
			if math.IsNaN(want) != math.IsNaN(got) || math.Abs(got-want) > 1e-9*max(1, math.Abs(want)) {
				t.Fatalf("%s = %v, want %v", what, got, want)
			}
		}
		near("wait", r.WaitMean, mean(waits))
		near("jct", r.JCTMean, mean(jcts))
		near("slowdown", r.SlowdownMean, mean(slow))
		sort.Float64s(waits)
		rank := func(q float64) float64 {
			for i, v := range waits {
				if float64(i+1) >= q*float64(len(waits)) {
					return v
				}
			}
			return math.NaN()
		}
		near("p50", r.WaitP50, rank(0.5))
		near("p99", r.WaitP99, rank(0.99))
		var a, b, k float64
		for _, x := range byTenant {
			a, b, k = a+mean(x), b+mean(x)*mean(x), k+1
		}
		near("fairness", r.Fairness, a*a/(k*b))
	})
}

func TestQuantilesAgreeWithSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		top := rapid.SampledFrom([]int64{0, 20, 255, 300, 1 << 20, 1 << 40, math.MaxInt64}).Draw(t, "top")
		x := rapid.SliceOfN(rapid.Map(rapid.Int64Range(0, top), func(i int64) time.Duration { return time.Duration(i) }), 1, 300).Draw(t, "x")
		agree(t, x, rapid.Float64Range(0, 1).Draw(t, "q"))
	})
	// More of one bucket than are put in order at once, near to each other and all equal.
	rng := rand.New(rand.NewPCG(5, 6))
	for _, spread := range []int64{1, 100, 1e6} {
		x := make([]time.Duration, 3*fewEnough)
		for i := range x {
			x[i] = time.Duration(1<<40 + rng.Int64N(spread))
		}
		agree(t, x, 0.5)
		agree(t, x, 0.99)
	}
}

func agree(t interface{ Fatalf(string, ...any) }, x []time.Duration, q float64) {
	r := &ranked{}
	for _, d := range x {
		r.add(d)
	}
	got := r.quantiles(func(part func([]time.Duration)) {
		part(x[:len(x)/3])
		part(x[len(x)/3:])
	}, q)[0]
	k := max(int(math.Ceil(q*float64(len(x))))-1, 0)
	if want := slices.Sorted(slices.Values(x))[k].Seconds(); got != want {
		t.Fatalf("the %g-quantile of %d is %v, want %v", q, len(x), got, want)
	}
}

func TestARowSurvivesJSONAndNaNIsNull(t *testing.T) {
	w := newWorld()
	w.add(0, 0, 20*second, done(0, second/3, 20*second, 19*time.Second))
	in := w.input()
	in.Preemptions, in.Restarts, in.LostGPUSeconds = 3, 2, 0.25
	in.CauseSeconds[sched.FailureDelay] = 1.5
	r := Compute(in)
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"utilization_gpu":null`, `"preemptions":3`, `"failure":1.5`, `"lower_bound_s":null`, `"sim_wall_s":null`, `"makespan_s":20,`} {
		if !strings.Contains(string(b), part) {
			t.Errorf("%s lacks %s", b, part)
		}
	}
	var back Row
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	b2, _ := json.Marshal(back)
	if string(b) != string(b2) || !math.IsNaN(back.UtilizationGPU) || back.Preemptions != 3 {
		t.Errorf("%s came back as %s", b, b2)
	}
}

func TestEveryMetricNameOfTheDesignIsThere(t *testing.T) {
	for _, name := range strings.Fields(`wait_mean_s wait_p50_s wait_p99_s response_mean_s job_wait_mean_s jct_mean_s slowdown_mean
		utilization_gpu utilization_cpu goodput throughput_per_min makespan_s lower_bound_s deadline_miss fairness preemptions restarts
		lost_work_gpu_s fragmentation_gpus tasks finished sim_wall_s`) {
		if Lookup(name) == nil {
			t.Errorf("no metric %s", name)
		}
	}
}

func TestComputeNeedsNoMemoryATaskWhereEveryJobIsOneTask(t *testing.T) {
	w := newWorld()
	const n = 100_000
	for i := range n {
		w.add(int32(i), sched.Time(i), second, done(sched.Time(i), sched.Time(i), sched.Time(i)+second, time.Second))
	}
	in := w.input()
	res := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Compute(in)
		}
	})
	if got := res.AllocedBytesPerOp(); got > n {
		t.Errorf("%d bytes for %d tasks", got, n)
	}
}
