package traces

import (
	"fmt"
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// work is what a workload asks for in all, in unit-seconds at reference speed.
type work struct{ gpu, cpu, mem float64 }

func (w *Workload) work() work {
	var sum work
	for t := range w.Tasks {
		d := w.DemandOf(sched.TaskID(t))
		s := w.Run[t].Seconds()
		sum.gpu += s * float64(d.GPUTotal()) / sched.Whole
		sum.cpu += s * float64(d.CPUTotal()) / 1000
		sum.mem += s * float64(d.Gang) * float64(d.Need.Mem)
	}
	return sum
}

// capacity is what the nodes have: GPUs, CPUs, bytes. A resource that a node does not state is infinite.
func capacity(nodes []sched.NodeSpec) work {
	var c work
	some := func(v int64) float64 {
		if v >= sched.Unlimited {
			return math.Inf(1)
		}
		return float64(v)
	}
	for _, n := range nodes {
		c.gpu += float64(n.GPUs)
		c.cpu += some(n.CPU) / 1000
		c.mem += some(n.Mem)
	}
	return c
}

// span returns the first and the last submit time.
func (w *Workload) span() (first, last sched.Time) {
	if len(w.Tasks) == 0 {
		return 0, 0
	}
	return w.Tasks[0].Submit, w.Tasks[len(w.Tasks)-1].Submit
}

// Load returns the offered load: work / (capacity x span of submits) of the busier of GPU and CPU. It is an error where that has no
// meaning: all tasks are submitted at once, or the nodes have nothing of what is asked for.
func (w *Workload) Load(nodes []sched.NodeSpec) (float64, error) {
	first, last := w.span()
	if first == last {
		return 0, fmt.Errorf("%s: the load has no meaning: all tasks are submitted at once", w.Source)
	}
	have, want := capacity(nodes), w.work()
	span, load := last.Sub(first).Seconds(), 0.0
	if want.gpu > 0 {
		if have.gpu == 0 {
			return 0, fmt.Errorf("%s: the workload asks for GPUs and the cluster has none", w.Source)
		}
		load = want.gpu / (have.gpu * span)
	}
	if want.cpu > 0 && have.cpu > 0 {
		load = max(load, want.cpu/(have.cpu*span)) // 0 where CPUs are not modelled
	}
	switch {
	case load > 0:
	case want.gpu == 0 && want.cpu == 0:
		return 0, fmt.Errorf("%s: the load has no meaning: the tasks ask for no GPU and no CPU time", w.Source)
	default:
		return 0, fmt.Errorf("%s: the load has no meaning: the tasks ask for CPUs alone, and the cluster states none, as 4x(16cpu,8xA100) does", w.Source)
	}
	return load, nil
}

// ScaleLoad returns the workload with all submit times divided by one factor, so that the offered load on the nodes is load.
// Deadlines keep their distance from the submit time. Times are scaled about 0 of the trace's axis. The result shares with w what
// is the same. Expand first: releases count.
func (w *Workload) ScaleLoad(nodes []sched.NodeSpec, load float64) (*Workload, error) {
	if !(load > 0) || math.IsInf(load, 0) {
		return nil, fmt.Errorf("load %v is not a positive number", load)
	}
	now, err := w.Load(nodes)
	if err != nil {
		return nil, err
	}
	factor := load / now
	out, tb := *w, *w.Table
	out.Table = &tb
	tb.Tasks = make([]sched.Task, len(w.Tasks))
	tb.Deadlines = slices.Clone(w.Deadlines) // nil stays nil
	for t, task := range w.Tasks {
		at := math.Round(float64(task.Submit) / factor)
		if math.Abs(at) > float64(maxDuration) {
			return nil, fmt.Errorf("%s: load %v: the submit times would pass 73 years", w.Source, load)
		}
		if due := w.DeadlineOf(sched.TaskID(t)); due != sched.Never {
			tb.Deadlines[t] = sched.Time(at).Add(due.Sub(task.Submit))
		}
		task.Submit = sched.Time(at)
		tb.Tasks[t] = task
	}
	return &out, nil
}
