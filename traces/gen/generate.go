package gen

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// shapeTask is a task of a job's shape.
type shapeTask struct {
	kind  string
	after []int32 // positions in the job
}

// tasksPerJob is the largest number of tasks a job of the shape has.
func (s *Spec) tasksPerJob() float64 {
	switch fields[fDAG].choices[s.values[fDAG].choice].name {
	case "chain", "layered":
		return s.arg(fDAG, "tasks")
	case "forkjoin":
		return (s.arg(fDAG, "width")+1)*s.arg(fDAG, "stages") + 1
	case "montage":
		n := s.arg(fDAG, "images")
		return 2*n + (2*n - 3) + 6
	}
	return 1
}

// shape draws the tasks of one job, predecessors first.
func (s *Spec) shape(r *rand.Rand, buf []shapeTask) []shapeTask {
	out := buf[:0]
	add := func(kind string, after ...int32) int32 {
		out = append(out, shapeTask{kind, after})
		return int32(len(out) - 1)
	}
	arg := func(k string) int { return int(s.arg(fDAG, k)) }
	switch fields[fDAG].choices[s.values[fDAG].choice].name {
	case "none":
		add("")
	case "chain":
		last := add("step")
		for range arg("tasks") - 1 {
			last = add("step", last)
		}
	case "forkjoin":
		last := add("fork")
		for range arg("stages") {
			var all []int32
			for range arg("width") {
				all = append(all, add("work", last))
			}
			last = add("join", all...)
		}
	case "layered":
		out = layered(r, out, arg("tasks"), arg("width"), s.arg(fDAG, "density"))
	case "montage":
		out = montage(out, arg("images"))
	}
	return out
}

// layered draws layers of 1 to 2 width - 1 tasks, as random task graphs are commonly made (Topcuoglu et al. 2002, sec. 5.1; Suter,
// daggen).
func layered(r *rand.Rand, out []shapeTask, tasks, width int, density float64) []shapeTask {
	from, to := 0, 0 // the layer before
	for len(out) < tasks {
		n := min(1+int(open(r)*float64(2*width-1)), tasks-len(out))
		first := len(out)
		for range n {
			var after []int32
			if to > from {
				must := from + int(open(r)*float64(to-from))
				for i := from; i < to; i++ {
					if i == must || open(r) < density {
						after = append(after, int32(i))
					}
				}
			}
			out = append(out, shapeTask{"layer", after})
		}
		from, to = first, len(out)
	}
	return out
}

// montage is the workflow of the astronomy mosaic toolkit (Juve et al., Characterizing and profiling scientific workflows, Future
// Generation Computer Systems 29(3), 2013): images lie in a strip two wide, so that each overlaps the next two.
func montage(out []shapeTask, images int) []shapeTask {
	add := func(kind string, after ...int32) int32 {
		out = append(out, shapeTask{kind, after})
		return int32(len(out) - 1)
	}
	n := int32(images)
	for range n {
		add("mProject")
	}
	var fits []int32
	for i := int32(0); i < n; i++ {
		for _, j := range []int32{i + 1, i + 2} {
			if j < n {
				fits = append(fits, add("mDiffFit", i, j))
			}
		}
	}
	model := add("mBgModel", add("mConcatFit", fits...))
	var flat []int32
	for i := range n {
		flat = append(flat, add("mBackground", i, model))
	}
	sum := add("mAdd", append([]int32{add("mImgtbl", flat...)}, flat...)...)
	add("mViewer", add("mShrink", sum))
	return out
}

// jobs draws the jobs one after the other and hands each to f: its rows, without submit times, are valid during the call.
func (s *Spec) jobs(seed uint64, f func(j int, rows []traces.Row) error) error {
	durations, gpus, dags := stream(seed, "duration"), stream(seed, "gpus"), stream(seed, "dag")
	tenants, estimates, deadlines, critical := stream(seed, "tenants"), stream(seed, "estimates"), stream(seed, "deadlines"), stream(seed, "critical")
	dur, sizes := s.duration(), newPicker(s.gpuMix())
	estimateSigma := 0.0
	if s.is(fEstimates, "lognormal") {
		estimateSigma = s.arg(fEstimates, "sigma")
	}
	var people []share
	var names []string
	for k := range int(s.values[fTenants].num[0]) {
		people = append(people, share{float64(k), 1 / float64(k+1)})
		names = append(names, "tenant-"+strconv.Itoa(k+1))
	}
	who := newPicker(people)
	base := sched.Need{CPU: int64(math.Round(s.values[fCPU].num[0] * 1000)), Mem: int64(s.values[fMem].num[0] * (1 << 30))}
	vram := int64(s.values[fVRAM].num[0] * (1 << 30))
	single := s.is(fDAG, "none")

	var rows []traces.Row
	var shape []shapeTask
	var ends []time.Duration
	for j := range int(s.values[fJobs].num[0]) {
		shape = s.shape(dags, shape)
		common := traces.Row{}
		if len(names) > 1 {
			common.Tenant = names[int(who.pick(tenants))]
		}
		if open(critical) < s.values[fCritical].num[0] {
			common.Criticality = 1
		}
		if !single {
			common.Job = "job-" + strconv.Itoa(j+1)
		}
		rows, ends = rows[:0], ends[:0]
		longest := time.Duration(0)
		for i, t := range shape {
			r := common
			r.Kind, r.Run = t.kind, microseconds(dur.sample(durations))
			if !single {
				r.ID = taskID(t.kind, i)
				for _, p := range t.after {
					r.After = append(r.After, taskID(shape[p].kind, int(p)))
				}
			}
			r.Need, r.Gang = need(sizes.pick(gpus))
			r.Need.CPU, r.Need.Mem = base.CPU, base.Mem
			if r.Need.GPUs > 0 {
				r.Need.VRAM = vram
			}
			r.Estimate = r.Run
			if estimateSigma > 0 {
				r.Estimate = max(r.Run, microseconds(r.Run.Seconds()*math.Exp(math.Abs(estimateSigma*normal(estimates)))))
			}
			end := time.Duration(0)
			for _, p := range t.after {
				end = max(end, ends[p])
			}
			end += r.Run
			ends = append(ends, end)
			longest = max(longest, end)
			rows = append(rows, r)
		}
		if s.is(fDeadlines, "slack") {
			has := open(deadlines) < s.arg(fDeadlines, "share")
			low, high := s.arg(fDeadlines, "min"), s.arg(fDeadlines, "max")
			slack := low + (high-low)*open(deadlines)
			for i := range rows {
				if has {
					rows[i].Deadline = microseconds(slack * longest.Seconds())
				}
			}
		}
		if err := f(j, rows); err != nil {
			return err
		}
	}
	return nil
}

// Generate makes the workload of a seed. nodes are needed where the description states a load; without load and interval they
// give a load of 0.8, and without nodes jobs come a minute apart on average.
func (s *Spec) Generate(seed uint64, nodes []sched.NodeSpec) (*traces.Workload, error) {
	if s.values[fPeriodic].set {
		return s.periodic(seed)
	}
	if s.values[fLoad].set && len(nodes) == 0 {
		return nil, fmt.Errorf("load=%s needs a cluster to load (--cluster), or say interval=60s", printNumber(s.values[fLoad].num[0]))
	}
	n := int(s.values[fJobs].num[0])
	loaded := len(nodes) > 0 && !s.values[fInterval].set && !s.is(fArrival, "batch")
	rate := 1 / s.values[fInterval].num[0]
	if loaded {
		// The rate follows from the work, so the jobs are drawn twice instead of held.
		var gpuWork, cpuWork, haveGPU, haveCPU float64
		err := s.jobs(seed, func(_ int, rows []traces.Row) error {
			for i := range rows {
				r := &rows[i]
				gpuWork += r.Run.Seconds() * float64(r.Gang) * float64(r.Need.GPUs) * float64(r.Need.GPUMilli) / sched.Whole
				cpuWork += r.Run.Seconds() * float64(r.Gang) * float64(r.Need.CPU) / 1000
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for _, nd := range nodes {
			haveGPU += float64(nd.GPUs)
			haveCPU += float64(nd.CPU) / 1000
			if nd.CPU >= sched.Unlimited {
				haveCPU = math.Inf(1)
			}
		}
		span := 0.0
		if haveGPU > 0 {
			span = gpuWork / haveGPU
		}
		if haveCPU > 0 {
			span = max(span, cpuWork/haveCPU)
		}
		if span > 0 {
			rate = float64(n) * s.values[fLoad].num[0] / span
		}
	}
	at := s.arrivals(stream(seed, "arrival"), n, rate)
	b := traces.NewBuilder(s.source(), "generated")
	b.Grow(n)
	count := 0
	err := s.jobs(seed, func(j int, rows []traces.Row) error {
		submit := sched.Time(math.Round(min(at[j], 2e9)*1e6)) * 1000
		for i := range rows {
			if count++; count > MaxTasks {
				return fmt.Errorf("more than %d tasks", MaxTasks)
			}
			rows[i].Submit, rows[i].Line = submit, count
			if err := b.Add(&rows[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	w, err := b.Build()
	if err != nil {
		return nil, err
	}
	w.Recorded = false
	if loaded && at[0] < at[n-1] {
		// Exactly the load asked for: that is what --load means, too.
		if w, err = w.ScaleLoad(nodes, s.values[fLoad].num[0]); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (s *Spec) source() string { return "gen:" + s.String() }

func taskID(kind string, i int) string { return kind + "-" + strconv.Itoa(i+1) }

// periodic makes the tasks of a periodic task set, all released at 0, one CPU each, deadline = period.
func (s *Spec) periodic(seed uint64) (*traces.Workload, error) {
	n, total := int(s.arg(fPeriodic, "tasks")), s.arg(fPeriodic, "utilization")
	u, ok := uunifast(stream(seed, "utilization"), n, total)
	if !ok {
		return nil, fmt.Errorf("periodic: no set of %d tasks with a utilization of %v in 10000 tries; take more tasks", n, total)
	}
	low, high := s.arg(fPeriodic, "min"), s.arg(fPeriodic, "max")
	periods, tenants := stream(seed, "period"), stream(seed, "tenants")
	b := traces.NewBuilder(s.source(), "generated")
	for i := range n {
		t := microseconds(low * math.Pow(high/low, open(periods)))
		// Rounded down: rounding must not make a feasible set infeasible.
		run := max(time.Duration(u[i]*float64(t)).Truncate(time.Microsecond), time.Microsecond)
		r := traces.Row{ID: "T" + strconv.Itoa(i+1), Run: run, Estimate: run, Period: t, Deadline: t, Need: sched.Need{CPU: 1000}, Line: i + 1}
		if k := s.values[fTenants].num[0]; k > 1 {
			r.Tenant = "tenant-" + strconv.Itoa(1+int(open(tenants)*k))
		}
		if err := b.Add(&r); err != nil {
			return nil, err
		}
	}
	w, err := b.Build()
	if err != nil {
		return nil, err
	}
	w.Recorded = false
	return w, nil
}
