package policies

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/timeline"
	"github.com/schedlab/schedlab/policies/sched"
)

// Where and when a planner can place a task: the ledger of what is booked, and the search in it.

// slot is a place that a task could have.
type slot struct {
	node       sched.NodeID
	start, end sched.Time
	parts      int // placements in planner.on, for a gang on several nodes
}

// deviceRun is a task that runs on a share of a GPU.
type deviceRun struct {
	node   sched.NodeID
	device sched.Devices
	end    sched.Time
}

// ledger makes the profiles of the nodes from what is free now and what running tasks will give back.
func (p *planner) ledger(s *sched.State) {
	room, now := s.Room(), s.Now()
	if n := room.Len(); len(p.lines) < n {
		p.lines = append(p.lines, make([]timeline.Line, n-len(p.lines))...)
	}
	for n := range p.lines {
		id := sched.NodeID(n)
		p.lines[n].Reset(now, timeline.Amount{CPU: room.FreeCPU(id), Mem: room.FreeMem(id), GPUs: int64(room.FreeGPUs(id))})
	}
	p.shares = p.shares[:0]
	for t := range s.RunningTasks() {
		d, end := s.Demand(t), s.ExpectedEnd(t)
		if s.StartedAt(t) < now && s.EstimatedEnd(t) <= now {
			p.exact = false
		}
		end = max(end, now+1) // what takes no time holds its room until its end is told
		for _, on := range s.Placements(t) {
			need := booked(d, room.Spec(on.Node), on.Replicas)
			if share(d) {
				need.GPUs = 0
				p.shares = append(p.shares, deviceRun{on.Node, on.GPUs, end})
			} else if room.Shared(on.Node) { // what others hold too stays theirs
				need.GPUs -= int64(bits.OnesCount64(uint64(on.GPUs & room.Overbooked(on.Node))))
			}
			// It is free for ever, less what is taken until then.
			p.lines[on.Node].Give(end, sched.Never, need)
		}
		pl := &p.plans[t]
		*pl = plan{start: s.StartedAt(t), end: end, node: s.Placements(t)[0].Node, kind: started}
		if len(s.Placements(t)) > 1 {
			pl.gang = int32(len(p.gangs)) + 1
			p.gangs = append(p.gangs, s.Placements(t)...)
			pl.parts = int32(len(p.gangs)) + 1 - pl.gang
		}
		if s.Phase(t) == sched.Stopping {
			pl.kind, p.exact = unplanned, false
			continue
		}
		p.ending.Push(heap.Item{Key: pl.late(), Task: t})
	}
	// A shared GPU is free when the last on it is over, unless others hold it too.
	slices.SortFunc(p.shares, func(a, b deviceRun) int {
		switch {
		case a.node != b.node:
			return int(a.node) - int(b.node)
		case a.device != b.device:
			if a.device < b.device {
				return -1
			}
			return 1
		case a.end > b.end:
			return -1
		case a.end < b.end:
			return 1
		}
		return 0
	})
	for i, d := range p.shares {
		if last := i == 0 || p.shares[i-1].node != d.node || p.shares[i-1].device != d.device; last && room.Overbooked(d.node)&d.device == 0 {
			p.lines[d.node].Give(d.end, sched.Never, timeline.Amount{GPUs: 1})
		}
	}
}

// booked returns what so many replicas of a gang take of a node. Shares of a GPU take whole GPUs: the gang shares them with nobody else.
func booked(d *sched.Demand, n *sched.NodeSpec, replicas int32) timeline.Amount {
	k, gpus := int64(replicas), int64(replicas)*int64(d.Need.GPUs)
	if per := perGPU(d, n); per > 1 {
		gpus = (k + per - 1) / per
	}
	return timeline.Amount{CPU: k * d.Need.CPU, Mem: k * d.Need.Mem, GPUs: gpus}
}

// perGPU returns how many replicas fit on a GPU of the node: 1 where they ask for whole ones, or none.
func perGPU(d *sched.Demand, n *sched.NodeSpec) int64 {
	if !share(d) {
		return 1
	}
	per := int64(sched.Whole / d.Need.GPUMilli)
	if d.Need.VRAM > 0 {
		per = min(per, n.VRAM/d.Need.VRAM)
	}
	return max(per, 1)
}

func share(d *sched.Demand) bool { return d.Need.GPUs > 0 && d.Need.GPUMilli < sched.Whole }

// after returns when the predecessors in p.preds are all over, not before now.
func (p *planner) after(s *sched.State) sched.Time {
	at := s.Now()
	for _, a := range p.preds {
		at = max(at, a.end)
	}
	return at
}

// sent returns when what they send is on a node; see State.Sent.
func (p *planner) sent(s *sched.State, n sched.NodeID) sched.Time {
	at := s.Now()
	for _, a := range p.preds {
		end := a.end
		if a.bytes > 0 && a.node != n && a.node != sched.NoNode {
			end = end.Add(sched.Transfer(a.bytes, s.Room().Spec(a.node), s.Room().Spec(n)))
		}
		at = max(at, end)
	}
	return at
}

// work is how long a task takes on a node, less the work that it has kept of earlier attempts.
type work struct{ whole, left time.Duration }

func workOf(s *sched.State, t sched.TaskID) work { return work{s.Estimate(t), s.Remaining(t)} }

func (w work) on(s *sched.State, t sched.TaskID, n sched.NodeID) time.Duration {
	d := s.EstimateOn(t, n)
	if w.left < w.whole {
		d = sched.MulDiv(d, int64(w.left), int64(w.whole), true)
	}
	return max(d, 1) // so that what takes no time has a place too
}

// allowed reports whether the node is up and of the right kind for the task.
func allowed(s *sched.State, d sched.DemandID, n sched.NodeID) bool {
	room := s.Room()
	if !room.Up(n) || !room.Allowed(d, n) {
		return false
	}
	need := &s.Table().Demands[d].Need
	return need.GPUs == 0 || need.GPUMilli == sched.Whole || room.Spec(n).GPUs <= sched.MaxDevices
}

// slotOn returns the earliest slot of a task on a node, all of its gang together.
func (p *planner) slotOn(s *sched.State, t sched.TaskID, n sched.NodeID) (slot, bool) {
	d := s.Demand(t)
	if !allowed(s, s.DemandID(t), n) {
		return slot{}, false
	}
	dur := workOf(s, t).on(s, t, n)
	p.lines[n].Forget(s.Now())
	at, ok := p.lines[n].Earliest(p.sent(s, n), dur, booked(d, s.Room().Spec(n), d.Gang))
	return slot{node: n, start: at, end: at.Add(dur)}, ok
}

// finishFirst returns the slot of a task that ends first, plus bias(node) if there is one; of equals that on the lowest-numbered node.
func (p *planner) finishFirst(s *sched.State, t sched.TaskID, bias func(n sched.NodeID) int64) (slot, bool) {
	d, id := s.Demand(t), s.DemandID(t)
	w, after, now := workOf(s, t), p.after(s), s.Now()
	sends := s.Table().EdgeBytes != nil
	var best slot
	found, least := false, int64(math.MaxInt64)
	for n := range sched.NodeID(s.Room().Len()) {
		if !allowed(s, id, n) {
			continue
		}
		dur, more := w.on(s, t, n), int64(0)
		if bias != nil {
			more = bias(n)
		}
		if found && int64(after.Add(dur))+more >= least {
			continue // not even at once
		}
		from := after
		if sends {
			from = p.sent(s, n)
		}
		l := &p.lines[n]
		l.Forget(now)
		at, ok := l.Earliest(from, dur, booked(d, s.Room().Spec(n), d.Gang))
		if !ok {
			continue
		}
		if score := int64(at.Add(dur)) + more; !found || score < least {
			found, least = true, score
			best = slot{node: n, start: at, end: at.Add(dur)}
		}
	}
	if d.Gang > 1 {
		if sl, ok := p.spread(s, t); ok && (!found || int64(sl.end) < least) {
			return sl, true
		}
	}
	return best, found
}

// spread returns the earliest slot of a gang on several nodes, the lowest-numbered that have room, and leaves the placements in p.on. It reserves
// room for as long as the slowest of all nodes of the right kind would take, and has its data wherever it may go.
func (p *planner) spread(s *sched.State, t sched.TaskID) (slot, bool) {
	d, id := s.Demand(t), s.DemandID(t)
	w := workOf(s, t)
	ready, most, up := s.Now(), time.Duration(0), 0
	for n := range sched.NodeID(s.Room().Len()) {
		if allowed(s, id, n) {
			ready, most = max(ready, p.sent(s, n)), max(most, w.on(s, t, n))
			up++
		}
	}
	if up < 2 {
		return slot{}, false
	}
	p.times = append(p.times[:0], ready)
	for n := range sched.NodeID(s.Room().Len()) {
		if allowed(s, id, n) {
			p.lines[n].Forget(s.Now())
			p.times = p.lines[n].Changes(ready, p.times)
		}
	}
	slices.Sort(p.times)
	for i, at := range p.times {
		if i > 0 && at == p.times[i-1] {
			continue
		}
		p.on = p.on[:0]
		left, slowest := int64(d.Gang), time.Duration(0)
		for n := sched.NodeID(0); left > 0 && int(n) < s.Room().Len(); n++ {
			if !allowed(s, id, n) {
				continue
			}
			if k := p.replicas(s, d, n, at, most, left); k > 0 {
				p.on = append(p.on, sched.Placement{Node: n, Replicas: int32(k)})
				left, slowest = left-k, max(slowest, w.on(s, t, n))
			}
		}
		if left == 0 {
			return slot{node: p.on[0].Node, start: at, end: at.Add(slowest), parts: len(p.on)}, true
		}
	}
	return slot{}, false
}

// replicas returns how many of a gang's replicas, at most limit, a node has room for from that time on for so long.
func (p *planner) replicas(s *sched.State, d *sched.Demand, n sched.NodeID, at sched.Time, dur time.Duration, limit int64) int64 {
	k := p.lines[n].Times(at, dur, timeline.Amount{CPU: d.Need.CPU, Mem: d.Need.Mem}, limit)
	if d.Need.GPUs == 0 || k == 0 {
		return k
	}
	per := perGPU(d, s.Room().Spec(n))
	return min(k, per*p.lines[n].Times(at, dur, timeline.Amount{GPUs: int64(d.Need.GPUs)}, limit))
}
