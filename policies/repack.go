package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// Repack is list scheduling that places all open tasks anew whenever something happens: in the order of the key, ties to the lower TaskID, on nodes
// thought empty, passing over what does not fit. A running task stays where the plan puts it on the same nodes, or is stopped, to wait or to start
// elsewhere. It is what simulators do that clear the cluster at every event, as Muri's: what runs never keeps a better task out by where it stands, and
// migration is taken to be free. An event costs O(n log n) for n open tasks.
type Repack struct {
	Key   Key   // must be set
	Place Place // nil: first fit

	ready  []sched.TaskID
	queued []bool // by TaskID: in ready
	order  []heap.Item
	plan   sched.Room
	full   []bool // by demand: found no room in this plan
	buf    []sched.Placement
	near   near
}

// Observe keeps the ready tasks.
func (p *Repack) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.JobArrived:
		if n := len(s.Table().Tasks); len(p.queued) < n {
			p.queued = append(p.queued, make([]bool, n-len(p.queued))...)
		}
	case sched.TaskReady:
		if !p.queued[e.Task] {
			p.queued[e.Task] = true
			p.ready = append(p.ready, e.Task)
		}
	}
}

// Decide makes the plan, stops what it moves or puts off, and starts what it can. What is being stopped keeps its room in the plan, so that nobody is
// started there for the moment until it is ready again.
func (p *Repack) Decide(r *sched.Round) {
	s := r.State
	p.order, p.full = p.order[:0], p.full[:0]
	waiting := p.ready[:0]
	for _, t := range p.ready {
		if p.queued[t] = s.Phase(t) == sched.Ready; p.queued[t] {
			waiting = append(waiting, t)
			p.order = append(p.order, heap.Item{Key: p.Key(s, t), Task: t})
		}
	}
	if p.ready = waiting; len(waiting) == 0 {
		return // what runs may stay
	}
	p.near.serves(s, p.ready[0]) // looks for shares
	p.plan.CopyFrom(s.Room())
	for t := range s.RunningTasks() {
		p.order = append(p.order, heap.Item{Key: p.Key(s, t), Task: t})
		give(s, &p.plan, t)
	}
	slices.SortFunc(p.order, func(a, b heap.Item) int {
		if a.Before(b) {
			return -1
		}
		return 1
	})
	p.full = slices.Grow(p.full, len(s.Table().Demands))[:len(s.Table().Demands)]
	clear(p.full)
	place := p.Place
	if place == nil {
		place = FirstFit
	}
	held := false // by a task that is to start and waits for room: what a quota leaves is for it
	for _, it := range p.order {
		t := it.Task
		d, ph := s.DemandID(t), s.Phase(t)
		if ph == sched.Ready && !s.QuotaAllows(t) {
			r.Skip(t, sched.Order)
			continue
		}
		on, fits := p.buf[:0], false
		if !p.full[d] {
			on, fits = place(s, &p.plan, t, on)
			p.buf = on[:0]
			p.full[d] = !fits
		}
		need := &s.Demand(t).Need
		if fits {
			for _, o := range on {
				p.plan.Take(need, o)
			}
		}
		switch {
		case ph == sched.Running && !(fits && p.same(on, s.Placements(t))):
			r.Evict(t)
		case ph == sched.Ready:
			if need.GPUMilli >= sched.Whole && !p.near.shares && p.Place == nil {
				for i := range on {
					on[i].GPUs = 0 // the kernel chooses: who stays on the node may hold others than planned
				}
			}
			switch {
			case !fits:
				r.Skip(t, sched.NoRoom)
			case held:
				r.Skip(t, sched.Order)
			case !r.Start(t, on...):
				r.Skip(t, sched.NoRoom)
				held = s.Quotas()
			}
		}
	}
}

// same reports whether two placements are on the same nodes. Where GPUs are shared it takes the same GPUs too; else they are as good as any.
func (p *Repack) same(a, b []sched.Placement) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Node != b[i].Node || a[i].Replicas != b[i].Replicas || p.near.shares && a[i].GPUs != b[i].GPUs {
			return false
		}
	}
	return true
}

var repackParam = Param{Name: "repack", Default: "false", About: "place all tasks anew, in order, at every event, and move what runs elsewhere (free only where stops are); preempt and skip count as true, and no placement goes by who runs on a node"}

// repacking builds a Repack where the parameter asks for one.
func repacking(key Key, plain func(Args) (sched.Policy, error)) func(Args) (sched.Policy, error) {
	return func(a Args) (sched.Policy, error) {
		if a.Bool(repackParam.Name) {
			return &Repack{Key: key, Place: a.Place}, nil
		}
		return plain(a)
	}
}
