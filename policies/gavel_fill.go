package policies

import (
	"cmp"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/heap"

	"github.com/schedlab/schedlab/policies/sched"
)

// What Gavel does with room that comes free within a round.

// fill gives away what is free within a round: to the gang that no type can hold, to those whose turn it is, and, if nobody is stopping, to
// the others in order and to who came since.
func (p *Gavel) fill(r *sched.Round) {
	if len(p.jobs) == 0 || r.Running() == r.Open() {
		return
	}
	for it, ok := p.wide.First(); ok; it, ok = p.wide.First() {
		if !r.StartFirst(it.Task) {
			break
		}
		p.wide.Pop()
		if r.Phase(it.Task) == sched.Ready { // a quota refused it: the line moves on without it
			p.aside = append(p.aside, it)
		}
	}
	p.putBack(&p.wide)
	if p.Objective == "fifo" {
		p.fifoFill(r)
		return
	}
	if !p.listed {
		p.list(r.State, true)
	}
	p.search++
	tries := 0
	for _, w := range p.waiting {
		if tries == gavelTries || p.exhausted(r) {
			break
		}
		i := p.slotOf(w.task)
		if i < 0 || !p.jobs[i].shared || p.jobs[i].wide || r.Phase(w.task) != sched.Ready {
			continue
		}
		if p.jobs[i].want >= 0 {
			p.startOn(r, i, p.jobs[i].want)
		} else if p.moving > 0 {
			return
		} else if !p.startAny(r, i) {
			tries++
		}
	}
	if p.moving > 0 {
		return
	}
	slices.SortFunc(p.fresh, func(a, b sched.TaskID) int {
		return cmp.Or(cmp.Compare(r.ReadySince(a), r.ReadySince(b)), cmp.Compare(a, b))
	})
	p.fresh = slices.Compact(p.fresh)
	for _, t := range p.fresh {
		if tries == gavelTries || p.exhausted(r) {
			break
		}
		if i := p.slotOf(t); i >= 0 && !p.jobs[i].shared && !p.jobs[i].wide && r.Phase(t) == sched.Ready && !p.startAny(r, i) {
			tries++
		}
	}
}

// exhausted reports whether no GPU is free.
func (p *Gavel) exhausted(r *sched.Round) bool {
	for y := range r.Room().GPUTypes() {
		if capacity, used := r.Room().GPUs(y); used < capacity {
			return false
		}
	}
	return true
}

// startAny starts a job on the best type that has room.
func (p *Gavel) startAny(r *sched.Round, i int32) bool {
	d := int(r.DemandID(p.jobs[i].task))
	for len(p.full) <= d {
		p.full = append(p.full, 0)
	}
	if p.full[d] == p.search {
		return false // no room for another of this demand
	}
	for _, y := range p.preference(i) {
		if p.startOn(r, i, y) {
			return true
		}
	}
	if r.QuotaAllows(p.jobs[i].task) {
		p.full[d] = p.search
	}
	return false
}

func (p *Gavel) startOn(r *sched.Round, i int32, y int16) bool {
	on, ok := r.Room().FirstFitWhere(r.DemandID(p.jobs[i].task), p.buf[:0], func(n sched.NodeID, fits int32) int32 {
		if p.nodes[n] != y {
			return 0
		}
		return fits
	})
	p.buf = on[:0]
	if ok && r.Start(p.jobs[i].task, on...) {
		p.jobs[i].want = y
		return true
	}
	return false
}

// wideTurn gives the gangs that no type can hold their turn in the plan of a round.
func (p *Gavel) wideTurn(r *sched.Round) {
	s := r.State
	for it, ok := p.wide.First(); ok; it, ok = p.wide.First() {
		d, need := s.DemandID(it.Task), &s.Demand(it.Task).Need
		on, free := p.soft.FirstFit(d, p.buf[:0])
		fits := free
		if !free {
			on, fits = p.plan.FirstFit(d, on[:0])
		}
		p.buf = on[:0]
		if !r.QuotaAllows(it.Task) {
			p.aside = append(p.aside, p.wide.Pop())
			continue
		}
		if !fits {
			break
		}
		for _, pl := range on {
			p.plan.Take(need, pl)
			p.soft.Take(need, pl)
		}
		if !free || !r.Start(it.Task, on...) {
			break // once who stands there has stopped
		}
		p.wide.Pop()
	}
	p.putBack(&p.wide)
}

// putBack puts the jobs aside back in line.
func (p *Gavel) putBack(line *heap.Queue) {
	for _, it := range p.aside {
		line.Push(it)
	}
	p.aside = p.aside[:0]
}

// fifoFill starts ready jobs in order, as long as there is room.
func (p *Gavel) fifoFill(r *sched.Round) {
	p.search++
	for it, ok := p.line.First(); ok; it, ok = p.line.First() {
		i := p.slot[it.Task]
		started := false
		if want := p.jobs[i].want; want >= 0 && p.moving > 0 {
			started = p.startOn(r, i, want)
		} else if p.moving == 0 {
			started = p.startAny(r, i)
		}
		if !started && r.QuotaAllows(it.Task) {
			break
		}
		p.line.Pop()
		if !started { // a quota refused it: the line moves on without it
			p.aside = append(p.aside, it)
		}
	}
	p.putBack(&p.line)
}
