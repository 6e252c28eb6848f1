package metrics

import (
	"math"
	"math/bits"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/graph"
)

// Bound is the shortest run time, in the slowdown's denominator, that counts: shorter jobs would dominate the mean (Feitelson and
// Rudolph's bounded slowdown).
const Bound = 10 * time.Second

// Input is what Compute needs to know of one run. Resource-seconds and counts are the driver's sums over all attempts.
type Input struct {
	Workload *traces.Workload
	Nodes    []sched.NodeSpec
	Outcome  func(sched.TaskID) sched.Outcome
	// Outcomes fills outcomes with those of the tasks from `from` on; faster than Outcome, and used instead where it is given.
	Outcomes func(from sched.TaskID, outcomes []sched.Outcome)
	// Waits appends to buf the waits of those of the tasks from..end-1 that are done. It may be nil.
	Waits func(from, end sched.TaskID, buf []time.Duration) []time.Duration

	// WarmUp leaves the tasks and the jobs submitted before it out of the means and quantiles (wait, response, job wait, jct,
	// slowdown, deadline misses, fairness). Sums and rates are of the whole run. 0 leaves nothing out.
	WarmUp sched.Time
	// Horizon is where the run was cut with tasks still open; it then counts as the last end, so that what they hold until then is
	// measured against the capacity until then. 0 if the run was not cut.
	Horizon sched.Time

	GPUSeconds, CPUSeconds         float64 // allocated resource-seconds, all attempts
	LostGPUSeconds, LostCPUSeconds float64 // of it lost to failures, kills, restarts, checkpoints and overhead
	Preemptions, Restarts          int64
	CauseSeconds                   [sched.NumCauses]float64
	FragmentationGPUs              float64       // time-mean; NaN where it has no meaning
	Decisions                      int64         // times that the policy was asked
	NodeHours, NodePrice           float64       // h that nodes were on; what one costs, 0: nothing is said of it
	LowerBound                     float64       // s, of the makespan; NaN if unknown
	Wall                           time.Duration // the simulator's own time; 0 if unknown

	// Paths are the jobs' longest paths in true run times, as graph.JobPaths has them; nil: Compute works them out.
	Paths []time.Duration
}

// measured reports whether a task or a job submitted then counts in the means.
func (in *Input) measured(submit sched.Time) bool { return in.WarmUp == 0 || submit >= in.WarmUp }

// each yields the outcomes of all tasks, some at a time.
func (in *Input) each(part func(from sched.TaskID, outcomes []sched.Outcome)) {
	n := len(in.Workload.Tasks)
	buf := make([]sched.Outcome, min(n, someTasks))
	for from := 0; from < n; from += len(buf) {
		buf = buf[:min(len(buf), n-from)]
		if in.Outcomes != nil {
			in.Outcomes(sched.TaskID(from), buf)
		} else {
			for i := range buf {
				buf[i] = in.Outcome(sched.TaskID(from + i))
			}
		}
		part(sched.TaskID(from), buf)
	}
}

// eachWait yields the waits of all tasks that count in the mean wait, some at a time.
func (in *Input) eachWait(part func([]time.Duration)) {
	var waits []time.Duration
	if in.Waits != nil && in.WarmUp == 0 {
		for n, from := len(in.Workload.Tasks), 0; from < n; from += someTasks {
			waits = in.Waits(sched.TaskID(from), sched.TaskID(min(from+someTasks, n)), waits[:0])
			part(waits)
		}
		return
	}
	in.each(func(from sched.TaskID, outcomes []sched.Outcome) {
		waits = waits[:0]
		for i := range outcomes {
			if o := &outcomes[i]; o.Phase == sched.Done && in.measured(in.Workload.Tasks[int(from)+i].Submit) {
				waits = append(waits, o.Wait())
			}
		}
		part(waits)
	})
}

// someTasks are looked at together.
const someTasks = 256

// sum adds durations without rounding and without overflow, in 128 bits. None is negative.
type sum struct {
	hi, lo uint64
	n      int64
}

func (s *sum) add(d time.Duration) {
	lo, carry := bits.Add64(s.lo, uint64(d), 0)
	s.lo = lo
	s.hi += carry
	s.n++
}

func (s *sum) mean() float64 {
	if s.n == 0 {
		return math.NaN()
	}
	sec, ns := bits.Div64(s.hi, s.lo, 1e9) // hi is below 1e9: there are fewer terms
	return (float64(sec) + float64(ns)/1e9) / float64(s.n)
}

type meanOf struct {
	total float64
	n     int64
}

func (m *meanOf) add(v float64) { m.total += v; m.n++ }

func (m *meanOf) mean() float64 {
	if m.n == 0 {
		return math.NaN()
	}
	return m.total / float64(m.n)
}

// Compute measures one run as SPEC.md's table of metrics defines it. It takes time linear in tasks and edges. Where every job is one
// task and nothing depends on anything, its memory does not grow with the tasks.
//
// Wait and response are over tasks that are done, job metrics over jobs whose tasks are all done. Quantiles are by nearest rank: the
// smallest wait that at least that share of the waits does not exceed.
func Compute(in Input) Row {
	wl := in.Workload
	n := len(wl.Tasks)
	r := Row{
		Preemptions: in.Preemptions, Restarts: in.Restarts, LostWorkGPU: in.LostGPUSeconds, FragmentationGPUs: in.FragmentationGPUs,
		CauseSeconds: in.CauseSeconds, LowerBound: in.LowerBound, Tasks: int64(n), SimWall: math.NaN(),
	}
	r.Decisions, r.NodeHours, r.Cost = in.Decisions, in.NodeHours, math.NaN()
	if in.NodePrice > 0 {
		r.Cost = in.NodeHours * in.NodePrice
	}
	if in.Wall > 0 {
		r.SimWall = in.Wall.Seconds()
	}

	t := &tally{in: &in, row: &r, jobs: newJobs(wl), tenants: make([]meanOf, len(wl.Tenants)), first: sched.Never, last: math.MinInt64}
	in.each(t.take)
	jobs := t.jobs
	if !jobs.single {
		run := in.Paths
		if run == nil {
			run = longestPaths(wl)
		}
		for j := range jobs.all {
			job := &jobs.all[j]
			if job.tasks > 0 && job.tasks == job.done && in.measured(job.submit) {
				t.finishJob(run[j], job.end.Sub(job.submit), job.start.Sub(job.submit), job.tenant)
			}
		}
	}
	first, last := t.first, t.last
	if t.open && in.Horizon != 0 {
		last = max(last, in.Horizon)
	}

	r.WaitMean, r.ResponseMean = t.wait.mean(), t.response.mean()
	q := t.waits.quantiles(in.eachWait, 0.50, 0.99)
	r.WaitP50, r.WaitP99 = q[0], q[1]
	r.JobWaitMean, r.JCTMean, r.SlowdownMean = jobs.wait.mean(), jobs.jct.mean(), jobs.slowdown.mean()
	r.Fairness = jain(t.tenants)
	r.DeadlineMiss = ratio(float64(t.late), float64(t.deadlines))

	r.Makespan, r.ThroughputPerMin = math.NaN(), math.NaN()
	span := math.NaN()
	if n > 0 && last >= first {
		span = last.Sub(first).Seconds()
		r.Makespan = span
		r.ThroughputPerMin = ratio(float64(r.Finished)*60, span)
	}
	gpus, cpus := capacity(in.Nodes)
	r.UtilizationGPU = ratio(in.GPUSeconds, gpus*span)
	r.UtilizationCPU = ratio(in.CPUSeconds, cpus*span)
	r.Goodput = ratio(in.CPUSeconds-in.LostCPUSeconds, cpus*span)
	if asksGPUs(wl.Table) || math.IsNaN(r.Goodput) {
		if g := ratio(in.GPUSeconds-in.LostGPUSeconds, gpus*span); !math.IsNaN(g) {
			r.Goodput = g
		}
	}
	return r
}

// tally gathers what the outcomes of the tasks say.
type tally struct {
	in              *Input
	row             *Row // the counts by what became of the tasks
	jobs            *jobs
	tenants         []meanOf
	wait, response  sum
	waits           ranked
	deadlines, late int64
	first, last     sched.Time
	open            bool
}

// take adds the outcomes of the tasks from `from` on.
func (y *tally) take(from sched.TaskID, outcomes []sched.Outcome) {
	wl := y.in.Workload
	tasks := wl.Tasks[from:][:len(outcomes)]
	first, last := y.first, y.last
	for i := range outcomes {
		task, o := &tasks[i], &outcomes[i]
		first = min(first, task.Submit)
		done := o.Phase == sched.Done
		if done {
			y.row.Finished++
			last = max(last, o.End)
		} else {
			last = max(last, y.undone(o))
		}
		keep := y.in.measured(task.Submit)
		if task.Deadline != sched.Never && keep {
			y.judge(task.Deadline, o)
		}
		if keep = keep && done; keep {
			d := o.Wait()
			y.wait.add(d)
			y.waits.add(d)
			y.response.add(o.Start.Sub(o.Ready))
		}
		if !y.jobs.single {
			y.jobs.take(wl, from+sched.TaskID(i), o)
		} else if keep {
			y.finishJob(wl.Run[int(from)+i], o.End.Sub(task.Submit), o.Start.Sub(task.Submit), wl.Classes[task.Class].Tenant)
		}
	}
	y.first, y.last = first, last
}

// undone counts a task that is not done, and returns when it ended; the beginning of time where it has not.
func (y *tally) undone(o *sched.Outcome) sched.Time {
	switch o.Phase {
	case sched.Failed:
		y.row.Failed++
	case sched.Dropped:
		y.row.Dropped++
	case sched.Rejected:
		y.row.Rejected++
	}
	if !o.Phase.Over() {
		y.open = true
	} else if o.End != sched.Never {
		return o.End
	}
	return math.MinInt64
}

// judge counts a task that has a deadline.
func (y *tally) judge(deadline sched.Time, o *sched.Outcome) {
	y.deadlines++
	switch {
	case o.Phase == sched.Done:
		if o.End > deadline {
			y.late++
		}
	case o.Phase.Over(): // it will never be done in time
		y.late++
	case y.in.Horizon != 0 && y.in.Horizon > deadline: // still open when the run was cut
		y.late++
	}
}

func (y *tally) finishJob(run, jct, wait time.Duration, tenant sched.TenantID) {
	jobs := y.jobs
	jobs.wait.add(wait)
	jobs.jct.add(jct)
	s := slowdown(run, jct)
	jobs.slowdown.add(s)
	if uint(tenant) < uint(len(y.tenants)) {
		y.tenants[tenant].add(s)
	}
}

// ratio returns a/b, NaN where b is not a positive number.
func ratio(a, b float64) float64 {
	if !(b > 0) {
		return math.NaN()
	}
	return a / b
}

// slowdown is the bounded slowdown: max(1, jct / max(10 s, run)).
func slowdown(run, jct time.Duration) float64 {
	return max(1, float64(jct)/float64(max(Bound, run)))
}

// capacity returns the cluster's GPUs and CPUs, NaN where it has none or a node does not state how many.
func capacity(nodes []sched.NodeSpec) (gpus, cpus float64) {
	var g, milli int64
	unlimited := false
	for i := range nodes {
		g += int64(nodes[i].GPUs)
		if nodes[i].CPU >= sched.Unlimited {
			unlimited = true
			continue
		}
		milli += nodes[i].CPU
	}
	gpus, cpus = float64(g), float64(milli)/1000
	if g <= 0 {
		gpus = math.NaN()
	}
	if unlimited || milli <= 0 {
		cpus = math.NaN()
	}
	return gpus, cpus
}

func asksGPUs(tb *sched.Table) bool {
	for i := range tb.Demands {
		if tb.Demands[i].Need.GPUs > 0 {
			return true
		}
	}
	return false
}

// jain returns Jain's fairness index of the tenants' means, (sum x)^2 / (n sum x^2), over the tenants that have any (Jain, Chiu and
// Hawe 1984).
func jain(tenants []meanOf) float64 {
	var n, total, squares float64
	for i := range tenants {
		if tenants[i].n > 0 {
			x := tenants[i].mean()
			n++
			total += x
			squares += x * x
		}
	}
	return ratio(total*total, n*squares)
}

// job gathers what the tasks of one job say.
type job struct {
	submit, start, end sched.Time
	tasks, done        int32
	tenant             sched.TenantID // of its first task
}

type jobs struct {
	single    bool // every job is the one task of the same number
	all       []job
	wait, jct sum
	slowdown  meanOf
}

func newJobs(wl *traces.Workload) *jobs {
	js := &jobs{single: int(wl.Jobs) == len(wl.Tasks)}
	for i := range wl.Tasks {
		if !js.single {
			break
		}
		js.single = int(wl.Tasks[i].Job) == i
	}
	if !js.single {
		js.all = make([]job, wl.Jobs)
		for j := range js.all {
			js.all[j] = job{submit: sched.Never, start: sched.Never, end: math.MinInt64}
		}
	}
	return js
}

func (js *jobs) take(wl *traces.Workload, t sched.TaskID, o *sched.Outcome) {
	task := &wl.Tasks[t]
	j := &js.all[task.Job]
	if j.tasks == 0 {
		j.tenant = wl.Classes[task.Class].Tenant
	}
	j.tasks++
	j.submit = min(j.submit, task.Submit)
	if o.Phase == sched.Done {
		j.done++
		j.start = min(j.start, o.Start)
		j.end = max(j.end, o.End)
	}
}

// longestPaths returns each job's run time: its longest path in true run times, over the edges inside the job.
func longestPaths(wl *traces.Workload) []time.Duration {
	run := make([]time.Duration, wl.Jobs)
	if len(wl.Pred) == 0 {
		for i := range wl.Tasks {
			j := wl.Tasks[i].Job
			run[j] = max(run[j], wl.Run[i])
		}
		return run
	}
	take := func(t sched.TaskID, before time.Duration) time.Duration {
		d, job := before+wl.Run[t], wl.Tasks[t].Job
		run[job] = max(run[job], d)
		return d
	}
	if graph.Forward(wl.Table, true, take) {
		return run
	}
	clear(run)
	// A predecessor may have been submitted later and then has the larger number: count predecessors off instead.
	path := make([]time.Duration, len(wl.Tasks)) // of the longest path that ends with the task, the task included
	left := make([]int32, len(wl.Tasks))
	next := make([]sched.TaskID, 0, len(wl.Tasks))
	for i := range wl.Tasks {
		left[i] = int32(len(wl.Preds(sched.TaskID(i))))
		if left[i] == 0 {
			next = append(next, sched.TaskID(i))
		}
	}
	for k := 0; k < len(next); k++ {
		t := next[k]
		var before time.Duration
		for _, p := range wl.Preds(t) {
			if wl.Tasks[p].Job == wl.Tasks[t].Job {
				before = max(before, path[p])
			}
		}
		path[t] = take(t, before)
		for _, s := range wl.Succs(t) {
			if left[s]--; left[s] == 0 {
				next = append(next, s)
			}
		}
	}
	return run
}
