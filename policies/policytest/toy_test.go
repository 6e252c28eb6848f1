package policytest

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// toy is a small driver with a fixed policy inside: in order of TaskID it starts what fits, first fit; every few batches it stops something. It
// proves that the generators make cases that can be run and that the checkers do not cry wolf; it shares no code with either. The
// policy that it is given is not asked. everyN = 0 never preempts.
type toy struct{ everyN int }

type toyTask struct {
	phase           sched.Phase
	preds           int
	attempt         int32
	fails           int32
	done, estDone   float64
	on              []sched.Placement
	start, wake     sched.Time
	end             sched.Time // scheduled end of the attempt
	how             sched.EventKind
	full, estFull   float64
	overhead        time.Duration
	preempted, lost bool
	gone            map[sched.NodeID]bool
	out             sched.Outcome
}

type toyNode struct {
	cpu, mem    int64
	milli, vram []int64
	pool        int64
	down        bool
}

type toyRun struct {
	c        Case
	opt      toy
	now      sched.Time
	task     []toyTask
	node     []toyNode
	in       []sched.Event
	out      []sched.Command
	stopping []sched.TaskID
	batches  int
}

func (o toy) drive(_ testing.TB, c Case, _ sched.Policy, tap func(sched.Time, []sched.Event, []sched.Command)) func(sched.TaskID) sched.Outcome {
	r := &toyRun{c: c, opt: o, now: c.Table.Tasks[0].Submit - 2e9, task: make([]toyTask, len(c.Table.Tasks)), node: make([]toyNode, len(c.Nodes))}
	for n := range r.node {
		r.node[n] = toyNode{cpu: c.Nodes[n].CPU, mem: c.Nodes[n].Mem, milli: make([]int64, 128), vram: make([]int64, 128)}
		for i := range int(c.Nodes[n].GPUs) {
			r.node[n].milli[i], r.node[n].vram[i] = 1000, c.Nodes[n].VRAM
		}
	}
	for t := range r.task {
		r.task[t].preds = len(c.Table.Preds(sched.TaskID(t)))
		r.task[t].out = sched.Outcome{Ready: sched.Never, Start: sched.Never, End: sched.Never, Node: sched.NoNode}
	}
	for {
		next := sched.Never
		if len(r.stopping) > 0 {
			next = r.now
		}
		for t := range r.task {
			k := &r.task[t]
			switch k.phase {
			case sched.Unknown:
				next = min(next, c.Table.Tasks[t].Submit)
			case sched.Running:
				next = min(next, k.end)
			case sched.Backoff:
				next = min(next, k.wake)
			}
		}
		for _, f := range c.Faults {
			if f.Attempt == 0 && f.At > r.now {
				next = min(next, f.At)
			}
		}
		if next == sched.Never {
			break
		}
		r.step(next)
		tap(r.now, r.in, r.out)
	}
	return func(t sched.TaskID) sched.Outcome {
		r.task[t].out.Phase = r.task[t].phase
		return r.task[t].out
	}
}

func (r *toyRun) step(next sched.Time) {
	before := r.now
	r.now = next
	r.in, r.out = r.in[:0], r.out[:0]
	r.batches++
	for _, t := range r.stopping {
		r.in = append(r.in, sched.Event{Kind: sched.Stopped, Task: t, Attempt: r.task[t].attempt})
		k := &r.task[t]
		if k.lost {
			r.finish(t)
			k.phase = sched.Ready
			continue
		}
		if r.c.Restart {
			k.done, k.estDone = 0, 0
		} else if d := float64(max(r.now.Sub(k.start)-k.overhead, 0)); k.full > 0 {
			k.done += d / k.full
			k.estDone += d / max(k.estFull, 1)
		}
		k.preempted = true
		r.finish(t)
		k.phase = sched.Ready
	}
	r.stopping = r.stopping[:0]
	for t := range r.task {
		k := &r.task[t]
		if k.phase != sched.Running || k.end > r.now {
			continue
		}
		id := sched.TaskID(t)
		r.in = append(r.in, sched.Event{Kind: k.how, Task: id, Attempt: k.attempt})
		r.finish(id)
		switch k.how {
		case sched.Finished:
			k.phase, k.out.End = sched.Done, r.now
			for _, s := range r.c.Table.Succs(id) {
				r.task[s].preds--
			}
		case sched.Killed:
			k.phase, k.out.End = sched.Failed, r.now
			r.drop(id)
		case sched.FailedAttempt:
			cl := r.c.Table.ClassOf(id)
			k.preempted = false
			if k.fails++; k.fails > cl.Retries {
				k.phase, k.out.End = sched.Failed, r.now
				r.drop(id)
				break
			}
			k.phase, k.wake = sched.Backoff, r.now.Add(cl.Backoff*time.Duration(math.Pow(2, float64(min(k.fails-1, 6)))))
		}
	}
	for _, f := range r.c.Faults {
		if f.Attempt != 0 || f.At <= before || f.At > r.now {
			continue
		}
		kind := sched.NodeDown
		if f.Up {
			kind = sched.NodeUp
		}
		r.in = append(r.in, sched.Event{Kind: kind, Node: f.Node})
		r.node[f.Node].down = !f.Up
		if f.Up {
			continue
		}
		for t := range r.task {
			k := &r.task[t]
			if k.phase != sched.Running && k.phase != sched.Stopping {
				continue
			}
			left := false
			hit := false
			for _, p := range k.on {
				hit = hit || p.Node == f.Node
				left = left || (p.Node != f.Node && !k.gone[p.Node])
			}
			if !hit {
				continue
			}
			k.preempted = false
			k.gone[f.Node] = true
			r.room(sched.TaskID(t), f.Node, +1)
			if !left {
				r.finish(sched.TaskID(t))
				k.phase = sched.Ready
				r.stopping = slices.DeleteFunc(r.stopping, func(x sched.TaskID) bool { return x == sched.TaskID(t) })
				continue
			}
			k.lost = true
			if k.phase == sched.Running {
				r.stop(sched.TaskID(t))
			}
		}
	}
	for t := range r.task {
		k := &r.task[t]
		if k.phase == sched.Unknown && r.c.Table.Tasks[t].Submit <= r.now {
			r.in = append(r.in, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(t), N: 1})
			k.phase = sched.Blocked
			for _, p := range r.c.Table.Preds(sched.TaskID(t)) {
				if q := r.task[p].phase; q.Over() && q != sched.Done {
					k.phase, k.out.End = sched.Dropped, r.now
				}
			}
			if k.phase == sched.Dropped {
				r.drop(sched.TaskID(t))
			}
		}
		if k.phase == sched.Blocked && k.preds <= 0 {
			k.phase, k.out.Ready = sched.Ready, r.now
		}
		if k.phase == sched.Backoff && k.wake <= r.now {
			k.phase = sched.Ready
		}
	}
	r.decide()
}

func (r *toyRun) drop(t sched.TaskID) {
	for _, s := range r.c.Table.Succs(t) {
		if k := &r.task[s]; !k.phase.Over() && k.phase != sched.Unknown {
			k.phase, k.out.End = sched.Dropped, r.now
			r.drop(s)
		}
	}
}

// finish ends the attempt and gives back its room.
func (r *toyRun) finish(t sched.TaskID) {
	k := &r.task[t]
	for n := range r.node {
		if !k.gone[sched.NodeID(n)] {
			r.room(t, sched.NodeID(n), +1)
		}
	}
	k.out.Held += r.now.Sub(k.start)
	k.on = nil
}

func (r *toyRun) room(t sched.TaskID, node sched.NodeID, sign int64) {
	need := &r.c.Table.DemandOf(t).Need
	for _, p := range r.task[t].on {
		if p.Node != node {
			continue
		}
		n := &r.node[node]
		n.cpu += sign * int64(p.Replicas) * need.CPU
		n.mem += sign * int64(p.Replicas) * need.Mem
		n.pool -= sign * int64(p.Replicas) * int64(need.GPUs)
		for i := range 64 {
			if p.GPUs>>i&1 == 1 {
				n.milli[i] += sign * int64(need.GPUMilli)
				n.vram[i] += sign * need.VRAM
			}
		}
	}
}

func (r *toyRun) stop(t sched.TaskID) {
	r.task[t].phase = sched.Stopping
	r.stopping = append(r.stopping, t)
	r.out = append(r.out, sched.Command{Kind: sched.Stop, Task: t, Attempt: r.task[t].attempt})
}

func (r *toyRun) decide() {
	if r.opt.everyN > 0 && r.batches%r.opt.everyN == 0 && r.batches < 400 {
		for t := range r.task {
			if k := &r.task[t]; k.phase == sched.Running && (t+r.batches)%3 == 0 {
				r.stop(sched.TaskID(t))
			}
		}
	}
	for t := range r.task {
		if r.task[t].phase == sched.Ready {
			r.tryStart(sched.TaskID(t))
		}
	}
}

// inTurn returns the nodes as first fit looks at them: those with a soft taint that is not tolerated last.
func (r *toyRun) inTurn(d *sched.Demand) []int {
	var first, last []int
	for n := range r.node {
		if slices.ContainsFunc(r.c.Nodes[n].Taints, func(taint sched.Taint) bool {
			return taint.Effect == "PreferNoSchedule" && !slices.ContainsFunc(d.Tolerations, func(x sched.Toleration) bool { return x.Tolerates(taint) })
		}) {
			last = append(last, n)
		} else {
			first = append(first, n)
		}
	}
	return append(first, last...)
}

func (r *toyRun) tryStart(t sched.TaskID) {
	k, d := &r.task[t], r.c.Table.DemandOf(t)
	k.on = nil
	left := d.Gang
	for _, n := range r.inTurn(d) {
		for left > 0 && r.allowed(d, n) {
			p := sched.Placement{Node: sched.NodeID(n), Replicas: 1}
			x, spec := &r.node[n], &r.c.Nodes[n]
			need := d.Need.GPUs
			if spec.GPUs <= 64 {
				for i := 0; i < int(spec.GPUs) && need > 0; i++ {
					if x.milli[i] >= int64(d.Need.GPUMilli) && x.vram[i] >= d.Need.VRAM {
						p.GPUs |= 1 << i
						need--
					}
				}
			} else if d.Need.GPUMilli != 1000 && d.Need.GPUs > 0 || x.pool+int64(d.Need.GPUs) > int64(spec.GPUs) || d.Need.VRAM > spec.VRAM {
				break
			} else {
				need = 0
			}
			if need > 0 || x.cpu < d.Need.CPU || x.mem < d.Need.Mem {
				break
			}
			old := k.on
			k.on = []sched.Placement{p}
			r.room(t, p.Node, -1)
			k.on = append(old, p)
			left--
		}
	}
	if left > 0 {
		for n := range r.node {
			r.room(t, sched.NodeID(n), +1)
		}
		k.on = nil
		return
	}
	// Merge whole-GPU replicas of one node into one placement; shares keep one each.
	if d.Need.GPUMilli == 1000 || d.Need.GPUs == 0 {
		merged := k.on[:1]
		for _, p := range k.on[1:] {
			if last := &merged[len(merged)-1]; last.Node == p.Node {
				last.Replicas++
				last.GPUs |= p.GPUs
			} else {
				merged = append(merged, p)
			}
		}
		k.on = merged
	}
	k.attempt++
	k.out.Attempts++
	k.phase, k.start, k.gone, k.lost = sched.Running, r.now, map[sched.NodeID]bool{}, false
	if k.out.Start == sched.Never {
		k.out.Start = r.now
	}
	k.out.Node = k.on[0].Node
	k.overhead = 0
	if k.preempted {
		k.overhead = r.c.Overhead
	}
	k.preempted = false
	k.full, k.estFull = 0, 0
	for _, p := range k.on {
		k.full = max(k.full, r.whole(t, r.c.Run[t], r.c.RunOn[t], p.Node))
		k.estFull = max(k.estFull, r.whole(t, r.c.Table.Estimates[t], r.c.Table.EstimateOn[t], p.Node))
	}
	k.how = sched.Finished
	work := k.full * max(1-k.done, 0)
	if r.c.KillAtEstimate && k.estFull < math.Floor(k.full) {
		k.how = sched.Killed
		work = k.estFull * max(1-k.estDone, 0)
	}
	k.end = r.now.Add(time.Duration(math.Round(work)) + k.overhead)
	for _, f := range r.c.Faults {
		if f.Attempt == k.attempt && f.Task == t && r.now.Add(f.After) < k.end {
			k.end, k.how = r.now.Add(f.After), sched.FailedAttempt
		}
	}
	r.out = append(r.out, sched.Command{Kind: sched.Start, Task: t, Attempt: k.attempt, On: k.on})
}

func (r *toyRun) whole(t sched.TaskID, run time.Duration, by []sched.CostOn, n sched.NodeID) float64 {
	spec := &r.c.Nodes[n]
	best := float64(run)
	if spec.SpeedMilli > 0 {
		best = best * 1000 / float64(spec.SpeedMilli)
	}
	if table := r.c.Table.ClassOf(t).Speeds; table > 0 {
		for _, s := range r.c.Table.Speeds[table] {
			if s.GPUType == spec.GPUType {
				best = math.Ceil(float64(run) * 1e9 / float64(s.Nano))
			}
		}
	}
	for _, x := range by {
		if x.On == spec.Name || x.On == spec.GPUType {
			best = float64(x.Run)
		}
	}
	return best
}

func (r *toyRun) allowed(d *sched.Demand, n int) bool {
	spec := &r.c.Nodes[n]
	if r.node[n].down {
		return false
	}
	if len(d.GPUTypes) > 0 && !slices.Contains(d.GPUTypes, spec.GPUType) {
		return false
	}
	for _, l := range d.Labels {
		if !slices.Contains(spec.Labels, l) {
			return false
		}
	}
	for _, l := range d.NotLabels {
		if slices.ContainsFunc(spec.Labels, l.Forbids) {
			return false
		}
	}
	for _, taint := range spec.Taints {
		if taint.Effect != "PreferNoSchedule" && !slices.ContainsFunc(d.Tolerations, func(x sched.Toleration) bool { return x.Tolerates(taint) }) {
			return false
		}
	}
	return true
}
