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
	// Ran, where it is given, fills all with what became of the tasks from `from` on and reports true, if each was done in its one attempt; Outcomes
	// is then not asked of them.
	Ran func(from sched.TaskID, all []sched.Ran) bool

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

// measuredAll reports whether all of the n tasks from `from` on are measured.
func (in *Input) measuredAll(from sched.TaskID, n int) bool {
	if in.WarmUp != 0 {
		for i := range in.Workload.Tasks[from:][:n] {
			if !in.measured(in.Workload.Tasks[int(from)+i].Submit) {
				return false
			}
		}
	}
	return true
}

// outcomes fills buf with what became of the tasks from `from` on.
func (in *Input) outcomes(from sched.TaskID, buf []sched.Outcome) {
	if in.Outcomes != nil {
		in.Outcomes(from, buf)
		return
	}
	for i := range buf {
		buf[i] = in.Outcome(from + sched.TaskID(i))
	}
}

// each yields the outcomes of all tasks, some at a time. Those that were done in one attempt each it offers to ran first, if that is not nil, which reports whether
// it has taken them.
func (in *Input) each(ran func(from sched.TaskID, all []sched.Ran) bool, part func(from sched.TaskID, outcomes []sched.Outcome)) {
	var all [someTasks]sched.Ran
	buf := make([]sched.Outcome, min(len(in.Workload.Tasks), someTasks))
	for n, from := len(in.Workload.Tasks), 0; from < n; from += someTasks {
		k := min(someTasks, n-from)
		if in.Ran != nil && ran != nil && in.Ran(sched.TaskID(from), all[:k]) && ran(sched.TaskID(from), all[:k]) {
			continue
		}
		in.outcomes(sched.TaskID(from), buf[:k])
		part(sched.TaskID(from), buf[:k])
	}
}

// eachWait yields the waits of all tasks that count in the mean wait, some at a time.
func (in *Input) eachWait(part func([]time.Duration)) {
	var waits [someTasks]time.Duration
	in.each(func(from sched.TaskID, all []sched.Ran) bool {
		if !in.measuredAll(from, len(all)) {
			return false
		}
		for i := range all {
			waits[i%someTasks] = all[i].Start.Sub(all[i].Ready)
		}
		part(waits[:len(all)])
		return true
	}, func(from sched.TaskID, outcomes []sched.Outcome) {
		k := 0
		for i := range outcomes {
			if o := &outcomes[i]; o.Phase == sched.Done && in.measured(in.Workload.Tasks[int(from)+i].Submit) {
				waits[k] = o.Wait()
				k++
			}
		}
		part(waits[:k])
	})
}

// someWaits returns the waits of one task of many, of those that count.
func (in *Input) someWaits() []time.Duration {
	n := len(in.Workload.Tasks)
	m := min(n/64, 1<<14)
	waits := make([]time.Duration, 0, m)
	for i := range m {
		t := sched.TaskID(int64(i) * int64(n) / int64(m))
		if o := in.Outcome(t); o.Phase == sched.Done && in.measured(in.Workload.Tasks[t].Submit) {
			waits = append(waits, o.Wait())
		}
	}
	return waits
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

// addAll adds n durations that come to total.
func (s *sum) addAll(total uint64, n int64) {
	lo, carry := bits.Add64(s.lo, total, 0)
	s.lo = lo
	s.hi += carry
	s.n += n
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

// Compute measures one run as README.md's table of metrics defines it. It takes time linear in tasks and edges. Where every job is one
// task and nothing depends on anything, its memory is less than a byte a task.
//
// Wait and response are over tasks that are done, job metrics over jobs whose tasks are all done. Quantiles are by nearest rank: the
// smallest wait that at least that share of the waits does not exceed.
func Compute(in Input) Row {
	wl := in.Workload
	n := len(wl.Tasks)
	r := Row{
		Preemptions: float64(in.Preemptions), Restarts: float64(in.Restarts), LostWorkGPU: in.LostGPUSeconds, FragmentationGPUs: in.FragmentationGPUs,
		CauseSeconds: in.CauseSeconds, LowerBound: in.LowerBound, Tasks: float64(n), SimWall: math.NaN(),
	}
	r.Decisions, r.NodeHours, r.Cost = float64(in.Decisions), in.NodeHours, math.NaN()
	if in.NodePrice > 0 {
		r.Cost = in.NodeHours * in.NodePrice
	}
	if in.Wall > 0 {
		r.SimWall = in.Wall.Seconds()
	}

	t := &tally{in: &in, row: &r, jobs: newJobs(wl), tenants: make([]meanOf, len(wl.Tenants)), first: sched.Never, last: math.MinInt64}
	t.start()
	in.each(t.ran, t.take)
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
	t.finish()
	first, last := t.first, t.last
	if t.open && in.Horizon != 0 {
		last = max(last, in.Horizon)
	}

	r.WaitMean, r.ResponseMean = t.wait.mean(), t.response.mean()
	r.WaitP50, r.WaitP99 = t.waits.quantiles(in.eachWait)
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
	waits           guesses
	tenantOf        []sched.TenantID // by class; nil where all have the same tenant, which then needs no sum of its own
	deadlines, late int64
	first, last     sched.Time
	open            bool
	buf             [someTasks]time.Duration // scratch
}

// start looks at the classes, and at some of the tasks.
func (y *tally) start() {
	y.waits.guess(len(y.in.Workload.Tasks), y.in.someWaits())
	classes := y.in.Workload.Classes
	for i := range classes {
		if t := classes[i].Tenant; t != classes[0].Tenant || uint(t) >= uint(len(y.tenants)) {
			y.tenantOf = make([]sched.TenantID, len(classes))
			for i := range classes {
				y.tenantOf[i] = classes[i].Tenant
			}
			return
		}
	}
}

// finish gives the one tenant that there is what is known of the jobs, once all are counted.
func (y *tally) finish() {
	if y.tenantOf == nil && len(y.in.Workload.Classes) > 0 {
		y.tenants[y.in.Workload.Classes[0].Tenant] = y.jobs.slowdown
	}
}

// ran adds the tasks from `from` on, which were done in one attempt each, if they are all measured.
func (y *tally) ran(from sched.TaskID, all []sched.Ran) bool {
	if !y.in.measuredAll(from, len(all)) {
		return false
	}
	wl := y.in.Workload
	waits := y.buf[:len(all)]
	var total, long uint64
	for i := range all {
		d := all[i].Start.Sub(all[i].Ready)
		waits[i] = d
		total += uint64(d)
		long |= uint64(d)
	}
	y.waits.add(waits)
	tasks := wl.Tasks[from:][:len(all)]
	first, last := y.first, y.last
	for i := range tasks {
		first, last = min(first, tasks[i].Submit), max(last, all[i].End)
	}
	if wl.Deadlines != nil {
		for i, d := range wl.Deadlines[from:][:len(all)] {
			if d != sched.Never {
				y.deadlines++
				if all[i].End > d {
					y.late++
				}
			}
		}
	}
	n := int64(len(all))
	y.first, y.last = first, last
	y.row.Finished += float64(n)
	if long < safeSum {
		y.wait.addAll(total, n)
		y.response.addAll(total, n)
	} else {
		for _, d := range waits {
			y.wait.add(d)
			y.response.add(d)
		}
	}
	if y.jobs.single {
		y.ranJobs(wl, from, all)
		return true
	}
	for i := range all {
		y.jobs.take(wl, from+sched.TaskID(i), true, all[i].Start, all[i].End)
	}
	return true
}

// safeSum bounds durations of which someTasks can be added up in 64 bits.
const safeSum = 1 << 64 / someTasks

// ranJobs adds the jobs that the tasks from `from` on are, each done in one attempt.
func (y *tally) ranJobs(wl *traces.Workload, from sched.TaskID, all []sched.Ran) {
	jobs, tenantOf := y.jobs, y.tenantOf
	tasks, run := wl.Tasks[from:][:len(all)], wl.Run[from:][:len(all)]
	total := jobs.slowdown.total
	var waits, jcts, long uint64
	for i := range all {
		o, submit := &all[i], tasks[i].Submit
		jct := o.End.Sub(submit)
		waits += uint64(o.Start - submit)
		jcts += uint64(jct)
		long |= uint64(jct)
		s := slowdown(run[i], jct)
		total += s
		if tenantOf != nil {
			if t := tenantOf[tasks[i].Class]; uint(t) < uint(len(y.tenants)) {
				y.tenants[t].add(s)
			}
		}
	}
	n := int64(len(all))
	jobs.slowdown.total, jobs.slowdown.n = total, jobs.slowdown.n+n
	if long < safeSum {
		jobs.wait.addAll(waits, n)
		jobs.jct.addAll(jcts, n)
		return
	}
	for i := range all {
		jobs.wait.add(all[i].Start.Sub(tasks[i].Submit))
		jobs.jct.add(all[i].End.Sub(tasks[i].Submit))
	}
}

// take adds the outcomes of the tasks from `from` on.
func (y *tally) take(from sched.TaskID, outcomes []sched.Outcome) {
	wl := y.in.Workload
	tasks := wl.Tasks[from:][:len(outcomes)]
	first, last := y.first, y.last
	waits := y.buf[:0]
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
		if due := wl.DeadlineOf(from + sched.TaskID(i)); due != sched.Never && keep {
			y.judge(due, o)
		}
		if keep = keep && done; keep {
			d := o.Wait()
			y.wait.add(d)
			waits = append(waits, d)
			y.response.add(o.Start.Sub(o.Ready))
		}
		if !y.jobs.single {
			y.jobs.take(wl, from+sched.TaskID(i), done, o.Start, o.End)
		} else if keep {
			y.finishJob(wl.Run[int(from)+i], o.End.Sub(task.Submit), o.Start.Sub(task.Submit), wl.Classes[task.Class].Tenant)
		}
	}
	y.waits.add(waits)
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
	if y.tenantOf != nil && uint(tenant) < uint(len(y.tenants)) {
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
	run = max(Bound, run)
	return float64(max(jct, run)) / float64(run)
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
	js := &jobs{single: int(wl.Jobs) == len(wl.Tasks) && eachItsJob(wl.Tasks)}
	if !js.single {
		js.all = make([]job, wl.Jobs)
		for j := range js.all {
			js.all[j] = job{submit: sched.Never, start: sched.Never, end: math.MinInt64}
		}
	}
	return js
}

// eachItsJob reports whether every task is the job of its number.
func eachItsJob(tasks []sched.Task) bool {
	for i := range tasks {
		if int(tasks[i].Job) != i {
			return false
		}
	}
	return true
}

func (js *jobs) take(wl *traces.Workload, t sched.TaskID, done bool, start, end sched.Time) {
	task := &wl.Tasks[t]
	j := &js.all[task.Job]
	if j.tasks == 0 {
		j.tenant = wl.Classes[task.Class].Tenant
	}
	j.tasks++
	j.submit = min(j.submit, task.Submit)
	if done {
		j.done++
		j.start = min(j.start, start)
		j.end = max(j.end, end)
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
