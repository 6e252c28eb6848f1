package policies

import (
	"cmp"
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// The rounds of Gavel: who runs where, by priority, as the shares have it.

// gavelPair is a job on a type, or a job.
type gavelPair struct {
	key  int64 // served smallest first
	x    int64
	rate int64
	task sched.TaskID
	on   int16
}

func (a gavelPair) compare(b gavelPair) int {
	return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(b.x, a.x), cmp.Compare(b.rate, a.rate), cmp.Compare(a.task, b.task), cmp.Compare(a.on, b.on))
}

// pair returns a job on a type with the key by which pairs are served: virtual time, at the middle of the next round that it would get.
func (p *Gavel) pair(i int32, y int16) gavelPair {
	at := int(i)*len(p.types) + int(y)
	pair := gavelPair{math.MaxInt64, p.x[at], p.rate[at], p.jobs[i].task, y}
	if pair.x > 0 {
		pair.key = p.v[at] + int64(sched.MulDiv(p.Round/2, micro, pair.x, false))
	}
	return pair
}

// order lists the pairs that have a share, served first first.
func (p *Gavel) order() {
	p.pairs = p.pairs[:0]
	k := len(p.types)
	for i := range p.jobs {
		j := &p.jobs[i]
		if !j.shared || j.wide {
			continue
		}
		for y := range k {
			if pair := p.pair(int32(i), int16(y)); pair.x > 0 && pair.rate > 0 {
				p.pairs = append(p.pairs, pair)
			}
		}
	}
	slices.SortFunc(p.pairs, gavelPair.compare)
}

// round decides who runs in the round that begins now, on what, and stops the others.
func (p *Gavel) round(r *sched.Round) {
	s := r.State
	p.plan.CopyFrom(r.Room())
	p.soft.CopyFrom(r.Room()) // with all that runs and has not been decided on
	for i := range p.jobs {
		j := &p.jobs[i]
		j.want = -1
		if s.Phase(j.task) == sched.Running && !j.wide {
			give(s, &p.plan, j.task)
		}
	}
	p.wideTurn(r)
	if p.Objective == "fifo" {
		p.fifoRound(r)
	} else {
		p.order()
		for _, pair := range p.pairs {
			if i := p.slot[pair.task]; p.jobs[i].want < 0 {
				p.assign(r, i, pair.on, true)
			}
		}
		p.rest(r)
	}
	p.settle(r)
}

// rest gives what the pairs have left: to each job that has nothing yet, by TaskID, on the fastest type where it displaces nobody.
func (p *Gavel) rest(r *sched.Round) {
	p.waiting = p.waiting[:0]
	for i := range p.jobs {
		if j := &p.jobs[i]; j.want < 0 && !j.wide {
			p.waiting = append(p.waiting, gavelPair{task: j.task})
		}
	}
	slices.SortFunc(p.waiting, gavelPair.compare)
	for _, w := range p.waiting {
		i := p.slot[w.task]
		for _, y := range p.preference(i) {
			if p.assign(r, i, y, false) {
				break
			}
		}
		if p.jobs[i].want < 0 && r.Phase(w.task) == sched.Running {
			give(r.State, &p.soft, w.task) // it will be stopped
		}
	}
}

// preference returns the types on which a job can run, the fastest first. For who does not know of speeds the job's number says with which
// to begin. Valid until the next call.
func (p *Gavel) preference(i int32) []int16 {
	k := len(p.types)
	out := p.solver.prefer[:0]
	for y := range k {
		at := int16(y)
		if p.Blind {
			at = int16((y + int(uint32(p.jobs[i].task)*2654435769>>16)) % k)
		}
		if p.rate[int(i)*k+int(at)] > 0 {
			out = append(out, at)
		}
	}
	if !p.Blind {
		slices.SortFunc(out, func(a, b int16) int {
			return cmp.Or(cmp.Compare(p.rate[int(i)*k+int(b)], p.rate[int(i)*k+int(a)]), cmp.Compare(a, b))
		})
	}
	p.solver.prefer = out
	return out
}

// assign gives a job a type in this round if there is room in the plan: where it runs, else where nobody would have to go, else, if may, anywhere.
func (p *Gavel) assign(r *sched.Round, i int32, y int16, may bool) bool {
	s, j := r.State, &p.jobs[i]
	running := s.Phase(j.task) == sched.Running
	if !running && s.Phase(j.task) != sched.Ready {
		return false
	}
	if running && p.typeOf(s, j.task) == y && p.keeps(s, j.task) {
		j.want = y
		return true
	}
	if !running && !r.QuotaAllows(j.task) {
		return false
	}
	d := s.DemandID(j.task)
	of := func(n sched.NodeID, fits int32) int32 {
		if p.nodes[n] != y {
			return 0
		}
		return fits
	}
	on, ok := p.soft.FirstFitWhere(d, p.buf[:0], of)
	free := ok
	if !ok && may {
		on, ok = p.plan.FirstFitWhere(d, on[:0], of)
	}
	p.buf = on[:0]
	if !ok {
		return false
	}
	need := &s.Demand(j.task).Need
	for _, pl := range on {
		p.plan.Take(need, pl)
		p.soft.Take(need, pl)
	}
	j.want = y
	if running {
		give(s, &p.soft, j.task)
		p.evict(r, i)
	} else if free {
		r.Start(j.task, on...)
	}
	return true
}

func (p *Gavel) evict(r *sched.Round, i int32) {
	if r.Evict(p.jobs[i].task) {
		p.leaves(r.State, i)
	}
}

// keeps takes the room where a running job stands in the plan, if it is free there.
func (p *Gavel) keeps(s *sched.State, t sched.TaskID) bool {
	need, d, on := &s.Demand(t).Need, s.DemandID(t), s.Placements(t)
	for i, pl := range on {
		k := int64(pl.Replicas)
		ok := p.plan.FreeCPU(pl.Node) >= k*need.CPU && p.plan.FreeMem(pl.Node) >= k*need.Mem || need.CPU == 0 && need.Mem == 0
		switch {
		case !ok:
		case pl.GPUs == 0:
			ok = int64(p.plan.FreeGPUs(pl.Node)) >= k*int64(need.GPUs)
		case need.GPUMilli >= sched.Whole:
			ok = pl.GPUs&^p.plan.WholeDevices(pl.Node) == 0
		default:
			for dev := range sched.MaxDevices {
				ok = ok && (pl.GPUs>>dev&1 == 0 || p.plan.ShareFits(d, pl.Node, dev))
			}
		}
		if !ok {
			for _, back := range on[:i] {
				p.plan.Give(need, back)
			}
			return false
		}
		p.plan.Take(need, pl)
	}
	return true
}

// settle stops who has no turn, and sees whether the next round may differ.
func (p *Gavel) settle(r *sched.Round) {
	s, k := r.State, len(p.types)
	runs, waits := false, p.wide.Len() > 0
	p.victims = p.victims[:0]
	for i := range p.jobs {
		if j := &p.jobs[i]; !j.wide && j.want < 0 && s.Phase(j.task) == sched.Running {
			p.victims = append(p.victims, j.task)
		}
	}
	slices.Sort(p.victims)
	for _, t := range p.victims {
		p.evict(r, p.slot[t])
	}
	for i := range p.jobs {
		j := &p.jobs[i]
		if j.wide {
			continue
		}
		if s.Phase(j.task) != sched.Running {
			waits = waits || !j.never
			runs = runs || j.moving
			continue
		}
		runs = true
		for y := range k {
			elsewhere := i*k + y
			waits = waits || y != int(j.want) && (p.x[elsewhere] > 0 || p.rate[elsewhere] > p.rate[i*k+int(j.want)])
		}
	}
	p.again = runs && waits
	p.list(s, false)
}

// list puts who did not run when the round began in order: those whose turn it is, then the others.
func (p *Gavel) list(s *sched.State, restored bool) {
	p.listed = true
	if p.Objective == "fifo" {
		return
	}
	p.waiting = p.waiting[:0]
	for _, turn := range []bool{true, false} {
		from := len(p.waiting)
		for i := range p.jobs {
			j := &p.jobs[i]
			if restored {
				if !j.listed {
					continue
				}
			} else if turn {
				j.listed = j.shared && !j.wide && s.Phase(j.task) != sched.Running
			}
			if !j.listed || turn != (j.want >= 0) {
				continue
			}
			best := gavelPair{key: math.MaxInt64, task: j.task}
			for y := range p.types {
				if pair := p.pair(int32(i), int16(y)); turn && j.want == int16(y) || !turn && pair.compare(best) < 0 {
					best = pair
				}
			}
			p.waiting = append(p.waiting, best)
		}
		slices.SortFunc(p.waiting[from:], gavelPair.compare)
	}
}

// fifoRound gives types in the order of readiness, the fastest that has room; the first that finds none blocks those behind it. Who does not
// know of speeds leaves everybody where he is.
func (p *Gavel) fifoRound(r *sched.Round) {
	s := r.State
	p.pairs = p.pairs[:0]
	for i := range p.jobs {
		if j := &p.jobs[i]; !j.wide {
			p.pairs = append(p.pairs, gavelPair{key: ReadyTime(s, j.task), task: j.task})
		}
	}
	slices.SortFunc(p.pairs, gavelPair.compare)
	blocked := false
	for _, pair := range p.pairs {
		i := p.slot[pair.task]
		running := s.Phase(pair.task) == sched.Running
		if running && (p.Blind || blocked) {
			if y := p.typeOf(s, pair.task); y >= 0 && p.keeps(s, pair.task) {
				p.jobs[i].want = y
			}
			continue
		}
		if !running && (blocked || s.Phase(pair.task) != sched.Ready) {
			continue
		}
		for _, y := range p.preference(i) {
			if p.assign(r, i, y, true) {
				break
			}
		}
		blocked = p.jobs[i].want < 0 && r.QuotaAllows(pair.task)
		if !running && s.Phase(pair.task) == sched.Running {
			p.line.Remove(pair.task)
		}
	}
}
