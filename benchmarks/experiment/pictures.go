package experiment

import (
	"fmt"
	"math/bits"

	"github.com/schedlab/schedlab/benchmarks/plots"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/graph"
)

// Picture is what plots show of one policy's run.
type Picture struct {
	Policy      string
	Waits       plots.CDF
	Utilization plots.Series // share of the GPUs, or of the CPUs where there are none
	What        string       // "GPU" or "CPU"
	Queue       plots.Series
	Gantt       *plots.Gantt
}

// maxGanttRows bounds the rows that are told apart by GPU; a larger cluster has one row a node.
const maxGanttRows = 96

// ganttRecorder follows who held what when.
type ganttRecorder struct {
	w      *traces.Workload
	byGPU  bool
	rowOf  []int // first row of each node
	gantt  *plots.Gantt
	tenant bool
	open   map[sched.TaskID]openSpan
}

type openSpan struct {
	attempt int32
	from    sched.Time
	rows    []int
}

func newGantt(w *traces.Workload, nodes []sched.NodeSpec) *ganttRecorder {
	g := &ganttRecorder{w: w, gantt: &plots.Gantt{}, open: map[sched.TaskID]openSpan{}}
	gpus := int32(0)
	for i := range nodes {
		gpus += nodes[i].GPUs
	}
	g.byGPU = gpus > 0 && gpus <= maxGanttRows
	for i := range nodes {
		g.rowOf = append(g.rowOf, len(g.gantt.Rows))
		if g.byGPU && nodes[i].GPUs > 0 && nodes[i].GPUs <= sched.MaxDevices {
			for j := range nodes[i].GPUs {
				g.gantt.Rows = append(g.gantt.Rows, fmt.Sprintf("%s/%d", nodes[i].Name, j))
			}
		} else {
			g.gantt.Rows = append(g.gantt.Rows, nodes[i].Name)
		}
	}
	g.tenant = len(w.Tenants) > 2
	if g.tenant {
		g.gantt.What = "tenant"
		g.gantt.Groups = append(g.gantt.Groups, w.Tenants...)
	} else {
		g.gantt.What = "job"
		for j := range w.Jobs {
			g.gantt.Groups = append(g.gantt.Groups, w.JobName.At(int(j)))
		}
	}
	return g
}

func (g *ganttRecorder) tap(now sched.Time, in []sched.Event, out []sched.Command) {
	for i := range in {
		e := &in[i]
		switch e.Kind {
		case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
			if o, ok := g.open[e.Task]; ok && o.attempt == e.Attempt {
				g.close(e.Task, o, now)
			}
		}
	}
	for i := range out {
		c := &out[i]
		if c.Kind != sched.Start {
			continue
		}
		o := openSpan{attempt: c.Attempt, from: now}
		for _, p := range c.On {
			if g.byGPU && p.GPUs != 0 {
				for set := p.GPUs; set != 0; set &= set - 1 {
					o.rows = append(o.rows, g.rowOf[p.Node]+bits.TrailingZeros64(uint64(set)))
				}
			} else if !g.byGPU || g.w.DemandOf(c.Task).Need.GPUs > 0 {
				o.rows = append(o.rows, g.rowOf[p.Node])
			}
		}
		g.open[c.Task] = o
	}
}

func (g *ganttRecorder) close(t sched.TaskID, o openSpan, now sched.Time) {
	delete(g.open, t)
	group := int(g.w.Tasks[t].Job)
	if g.tenant {
		group = int(g.w.ClassOf(t).Tenant)
	}
	for _, row := range o.rows {
		g.gantt.Spans = append(g.gantt.Spans, plots.Span{Row: row, From: o.from.Seconds(), To: now.Seconds(), Group: group})
	}
}

func picture(policy string, w *traces.Workload, nodes []sched.NodeSpec, r *sim.Result, g *ganttRecorder) Picture {
	p := Picture{Policy: policy, Gantt: g.gantt, What: "CPU"}
	var waits []float64
	for t := range w.Tasks {
		if o := r.Outcome(sched.TaskID(t)); o.Phase == sched.Done {
			waits = append(waits, o.Wait().Seconds())
		}
	}
	p.Waits = plots.NewCDF(policy, waits)
	var gpus, cpus float64
	for i := range nodes {
		gpus += float64(nodes[i].GPUs)
		if nodes[i].CPU < sched.Unlimited {
			cpus += float64(nodes[i].CPU) / 1000
		}
	}
	used, capacity := r.Series.CPUs, cpus
	if r.GPUSeconds > 0 {
		used, capacity, p.What = r.Series.GPUs, gpus, "GPU"
	}
	p.Utilization.Name, p.Queue.Name = policy, policy
	for i := range used {
		at := r.Series.From.Add(r.Series.Width*1).Seconds() + (float64(i)-1)*r.Series.Width.Seconds()
		p.Utilization.Seconds = append(p.Utilization.Seconds, at)
		if capacity > 0 {
			p.Utilization.Value = append(p.Utilization.Value, min(used[i]/capacity, 1))
		} else {
			p.Utilization.Value = append(p.Utilization.Value, 0)
		}
		p.Queue.Seconds = append(p.Queue.Seconds, at)
		p.Queue.Value = append(p.Queue.Value, r.Series.Queued[i])
	}
	return p
}

// JobGraph returns the DAG of one job for a picture: the first job whose graph has between 4 and 60 tasks, else the largest of at most 200.
func JobGraph(w *traces.Workload) (title string, nodes []plots.Node, edges [][2]int, ok bool) {
	if w.SuccOff == nil {
		return "", nil, nil, false
	}
	size := make([]int, w.Jobs)
	for t := range w.Tasks {
		size[w.Tasks[t].Job]++
	}
	best := -1
	for j, n := range size {
		if n >= 4 && n <= 60 {
			best = j
			break
		}
		if n > 1 && n <= 200 && (best < 0 || n > size[best]) {
			best = j
		}
	}
	if best < 0 {
		return "", nil, nil, false
	}
	members := graph.Members(w.Table, sched.JobID(best))
	at := map[sched.TaskID]int{}
	for i, t := range members {
		at[t] = i
		name := w.TaskNames.At(int(t))
		nodes = append(nodes, plots.Node{Name: name, Kind: w.Kinds[w.ClassOf(t).Kind], Seconds: w.Run[t].Seconds()})
	}
	for i, t := range members {
		for _, u := range w.Succs(t) {
			if j, in := at[u]; in {
				edges = append(edges, [2]int{i, j})
			}
		}
	}
	return "Job " + w.JobName.At(best), nodes, edges, true
}
