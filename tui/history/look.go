package history

import (
	"cmp"
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// Look answers what is on the screen.
func (r *Record) Look(q Query) Frame {
	r.look.Lock()
	defer r.look.Unlock()
	r.mu.RLock()
	defer r.mu.RUnlock()
	f := Frame{From: r.from, End: r.end, Closed: r.closed, Err: r.err, Version: r.vers, Tasks: len(r.tb.Tasks), NumNodes: len(r.nodes)}
	at := min(max(q.At, r.from), r.end)
	if q.Latest {
		at = r.end
	}
	f.At = at
	y := r.tallyAt(at)
	f.Counts, f.Use = y.counts, y.use
	f.Use.Nodes = int32(len(r.nodes))
	r.cur.moveTo(r, at)
	f.Metrics = r.metrics(&y, at)
	f.Metrics.WaitP50, f.Metrics.WaitP99, f.Metrics.WaitRough = r.quantiles(q.Exact)
	if q.Curves != nil {
		f.Curves = r.curves(q.Curves, at)
	}
	if q.Waits {
		f.Waits = r.cur.distribution()
	}
	if q.Groups > 0 {
		f.Groups, f.AllGroups = r.groups(q.Groups)
	}
	if q.Nodes != nil {
		f.Nodes = r.nodesPage(q.Nodes)
	}
	if q.Tasks != nil {
		f.List = r.tasksPage(q.Tasks, at)
	}
	if q.Task != nil {
		f.Task = r.detail(q.Task, at)
	}
	if q.Gantt != nil {
		f.Gantt = r.gantt(q.Gantt, at)
	}
	if q.DAG != nil {
		f.DAG = r.dagPage(q.DAG, at)
	}
	if q.Events != nil {
		f.Events = r.eventsPage(q.Events)
	}
	return f
}

func (r *Record) metrics(y *tally, at sched.Time) Metrics {
	m := Metrics{
		WaitMean: ratio(y.wait/1e9, float64(y.done)), JCTMean: ratio(y.jct/1e9, float64(y.jobs)), JobWaitMean: ratio(y.jobWait/1e9, float64(y.jobs)),
		Finished: int(y.done), FinishedJobs: int(y.jobs),
		Preemptions: int(y.preempted), Restarts: int(y.restarts), Late: int(y.late), WithDeadline: int(y.deadlines),
	}
	if y.over {
		m.Makespan = y.lastEnd.Sub(y.first).Seconds()
	}
	to, open := at, y.counts.open() > 0
	switch { // as the tables count it: up to the last end, or to where the run was cut
	case r.cut && (open || int(y.counts.Submitted()) < len(r.tb.Tasks)):
		if at >= r.end && y.some {
			m.Makespan = r.end.Sub(y.first).Seconds()
		}
	case !open && y.over: // that nobody has asked for anything since is no time in which something could have been used
		to = y.lastEnd
	}
	span := to.Sub(y.first)
	m.Utilization = ratio(y.gpu, float64(r.whole.GPUs)*float64(span))
	m.UtilizationCPU = math.NaN()
	if !r.noCPU {
		m.UtilizationCPU = ratio(y.cpu, float64(r.whole.CPUs)*float64(span))
	}
	m.Throughput = ratio(float64(y.done)*60, span.Seconds())
	return m
}

func (c *Counts) open() int32 {
	n := int32(0)
	for p, x := range c {
		if !sched.Phase(p).Over() {
			n += x
		}
	}
	return n
}

func ratio(a, b float64) float64 {
	if !(b > 0) {
		return math.NaN()
	}
	return a / b
}

// curveMemo keeps buckets that lie wholly in the past of a record: they never change.
type curveMemo struct {
	q    CurvesQuery
	full []Bucket
	done []bool
}

// curves returns means over equal stretches, exact.
func (r *Record) curves(q *CurvesQuery, at sched.Time) []Bucket {
	if q.Buckets <= 0 || q.To <= q.From {
		return nil
	}
	edge := func(i int) sched.Time {
		return q.From + sched.Time(float64(q.To-q.From)*float64(i)/float64(q.Buckets))
	}
	m := &r.curve
	if m.q != *q {
		*m = curveMemo{*q, make([]Bucket, q.Buckets), make([]bool, q.Buckets)}
	}
	out := make([]Bucket, q.Buckets)
	var a tally
	known := -1 // the bucket at whose beginning a stands
	for i := range out {
		from, to := edge(i), edge(i+1)
		switch {
		case from > at || to < r.from || to == from:
			out[i].Wait = math.NaN()
			continue
		case m.done[i] && to <= at:
			out[i] = m.full[i]
			continue
		}
		if known != i {
			a = r.tallyAt(min(from, at))
		}
		b := r.tallyAt(min(to, at))
		out[i] = r.bucket(&a, &b, float64(min(to, at)-max(from, r.from)))
		if to <= at && to < r.end {
			m.full[i], m.done[i] = out[i], true
		}
		a, known = b, i+1
	}
	return out
}

// bucket is the mean between two tallies that lie d ns apart.
func (r *Record) bucket(a, b *tally, d float64) Bucket {
	o := Bucket{Known: true, Ended: float64(b.done - a.done)}
	o.Wait = ratio((b.wait-a.wait)/1e9, o.Ended)
	if d <= 0 {
		o.Queued, o.Running, o.Blocked = float64(b.counts.Queued()), float64(b.counts.Running()), float64(b.counts[sched.Blocked])
		return o
	}
	o.Queued, o.Running, o.Blocked = (b.queued-a.queued)/d, (b.running-a.running)/d, (b.blocked-a.blocked)/d
	if r.whole.GPUs > 0 {
		o.GPU = (b.gpu - a.gpu) / d / float64(r.whole.GPUs)
	}
	if r.whole.CPUs > 0 {
		o.CPU = (b.cpu - a.cpu) / d / float64(r.whole.CPUs)
	}
	return o
}

// groups returns the tenants with most at stake, by name.
func (r *Record) groups(n int) (largest []Group, all int) {
	var gs []Group
	for i := range r.cur.group {
		g := r.cur.group[i]
		if g == (Group{}) {
			continue
		}
		g.Name = r.tb.Tenants[i]
		gs = append(gs, g)
	}
	slices.SortFunc(gs, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.GPU, a.GPU), cmp.Compare(b.CPU, a.CPU), cmp.Compare(b.Queued, a.Queued), cmp.Compare(a.Name, b.Name))
	})
	return gs[:min(n, len(gs))], len(gs)
}

func (r *Record) nodesPage(q *NodesQuery) NodesPage {
	p := NodesPage{From: max(min(q.From, len(r.nodes)-q.Rows), 0), Total: len(r.nodes)}
	for i := p.From; i < min(p.From+q.Rows, len(r.nodes)); i++ {
		p.Rows = append(p.Rows, r.nodeRow(sched.NodeID(i)))
	}
	if q.Heat {
		p.Heat = make([]uint8, len(r.nodes))
		for i := range p.Heat {
			p.Heat[i] = r.heat(sched.NodeID(i))
		}
	}
	return p
}

func (r *Record) heat(n sched.NodeID) uint8 {
	spec, now := &r.nodes[n].spec, &r.cur.nodes[n]
	switch {
	case now.state == Down:
		return HeatDown
	case spec.GPUs > 0:
		return percent(now.use.GPU, int64(spec.GPUs)*sched.Whole)
	case spec.CPU < sched.Unlimited:
		return percent(now.use.CPU, spec.CPU)
	}
	return 0
}

func percent(a, b int64) uint8 {
	if b <= 0 {
		return 0
	}
	return uint8(min(max((a*100+b/2)/b, 0), 100))
}

func (r *Record) owner(p int32) Owner {
	t := r.atts.at(r.places.at(p).att).task
	return Owner{Task: t, Name: r.name(t), Job: int32(r.tb.Tasks[t].Job), Tenant: int32(r.tb.ClassOf(t).Tenant)}
}

func (r *Record) nodeRow(id sched.NodeID) Node {
	spec, now := &r.nodes[id].spec, &r.cur.nodes[id]
	n := Node{
		ID: id, Name: spec.Name, GPUType: spec.GPUType, State: now.state, CPU: now.use.CPU, Mem: now.use.Mem, GPU: now.use.GPU, VRAM: now.use.VRAM,
		GPUs: spec.GPUs, Holders: int32(len(now.holding)), Largest: Owner{Task: sched.Nobody},
	}
	if spec.CPU < sched.Unlimited {
		n.CPUs = spec.CPU
	}
	if spec.Mem < sched.Unlimited {
		n.Mems = spec.Mem
	}
	if spec.VRAM < sched.Unlimited {
		n.VRAMs = spec.VRAM * int64(spec.GPUs)
	}
	if spec.GPUs > 0 && spec.GPUs <= sched.MaxDevices {
		n.Devices = make([]Device, spec.GPUs)
		for i := range n.Devices {
			n.Devices[i].Owner.Task, n.Devices[i].Load, n.Devices[i].UsedVRAM = sched.Nobody, -1, -1
			if spec.VRAM < sched.Unlimited {
				n.Devices[i].VRAMs = spec.VRAM
			}
		}
	}
	largest := [2]int64{-1, -1}
	held := make([]int32, len(n.Devices))
	r.scratch = append(r.scratch[:0], now.holding...)
	slices.Sort(r.scratch) // going back and forth leaves them in any order
	for _, p := range r.scratch {
		pl := r.places.at(p)
		need := &r.tb.DemandOf(r.atts.at(pl.att).task).Need
		size := [2]int64{int64(pl.replicas) * int64(need.GPUs) * int64(need.GPUMilli), int64(pl.replicas) * need.CPU}
		if slices.Compare(size[:], largest[:]) > 0 {
			largest, n.Largest = size, r.owner(p)
		}
		for g := uint64(pl.gpus); g != 0; g &= g - 1 {
			i := trailing(g)
			if i >= len(n.Devices) {
				break
			}
			d := &n.Devices[i]
			times := int32(1) // replicas that share the device
			if need.GPUMilli < sched.Whole {
				times = max(pl.replicas*need.GPUs/int32(max(onesCount(uint64(pl.gpus)), 1)), 1)
			}
			d.Milli += times * need.GPUMilli
			d.VRAM += int64(times) * need.VRAM
			if need.GPUMilli > held[i] {
				if d.Owner.Task != sched.Nobody {
					d.Others++
				}
				held[i], d.Owner = need.GPUMilli, r.owner(p)
			} else {
				d.Others++
			}
		}
	}
	return n
}
