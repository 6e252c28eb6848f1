package policies

import (
	"cmp"
	"math"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/match"
	"github.com/schedlab/schedlab/policies/sched"
)

// AlloX minimizes the mean completion time on GPUs of several types by a min-cost matching (Le, Sun, Chowdhury & Liu, EuroSys 2020, section 4;
// for unrelated machines Horn 1973 and Bruno, Coffman & Sethi 1974). A job that runs k-th from the last on a slot delays itself and the k-1 behind
// it, so the sum of completion times is that of k x run time there, plus the time until the slot is free: an assignment of jobs to (slot, k).
// Jobs that come first on a free slot start, and run to their end. The matching is made anew at every decision with free GPUs.
//
// Where we differ. A slot is one GPU, and a task of several counts its run time that many times. Only the first Head jobs in order of readiness
// are matched, since the time grows with their cube, and of each type the 2 x Head (slot, k) that a short job could end on first are offered. The
// paper bounds starvation by matching the oldest only; here the oldest job that has waited Patience times its shortest run time goes first, and
// nobody starts before it. Tasks without GPUs run as under fjf.
//
// The matching is O(Head^3) at every decision with free GPUs, where the paper's is O(n^3) in all the jobs: that is why it takes longer than a line in some order.
type AlloX struct {
	Head     int     // jobs that are matched; less than 1 is 1
	Patience float64 // multiples of its run time

	cpu    List
	line   heap.Queue
	jobs   []heap.Item
	types  []string
	typeOf []int16
	runs   []int64 // by job of the head and type: run time x GPUs, us; 0 = cannot run there
	slots  []alloxSlot
	cols   []alloxSlot
	best   []alloxSlot
	cost   []int64
	solver match.Solver
	buf    []sched.Placement
	told   []sched.TaskID
}

// alloxSlot is a GPU of a type, a place k from the last on it, and who has it.
type alloxSlot struct {
	free int64 // us from now until the slot is
	key  int64 // when a short job could begin there
	slot int32 // number of the slot
	k    int32
	job  int32
	on   int16
}

// Observe keeps the line.
func (p *AlloX) Observe(s *sched.State, e sched.Event) {
	p.cpu.Skip = true
	switch e.Kind {
	case sched.TaskReady:
		if s.Demand(e.Task).Need.GPUs > 0 {
			p.line.Push(heap.Item{Key: ReadyTime(s, e.Task), Task: e.Task})
			p.told = append(p.told, e.Task)
			return
		}
	case sched.TaskBlocked, sched.TaskDropped:
		p.line.Remove(e.Task)
	}
	p.cpu.Observe(s, e)
}

// Decide starts jobs as the matching of the head says, until none is first on a free slot.
func (p *AlloX) Decide(r *sched.Round) {
	p.types = r.Room().GPUTypes()
	for n := len(p.typeOf); n < r.Room().Len(); n++ {
		p.typeOf = append(p.typeOf, int16(r.Room().TypeOf(sched.NodeID(n))))
	}
	for p.line.Len() > 0 && p.someFree(r) && p.turn(r) {
	}
	p.cpu.Decide(r)
	for _, t := range p.told {
		if r.Phase(t) == sched.Ready {
			r.Skip(t, sched.NoRoom)
		}
	}
	p.told = p.told[:0]
}

func (p *AlloX) someFree(r *sched.Round) bool {
	for y := range r.Room().GPUTypes() {
		if capacity, used := r.Room().GPUs(y); used < capacity {
			return true
		}
	}
	return false
}

// turn takes the head of the line, starts who is to start, puts the others back, and reports whether anybody started.
func (p *AlloX) turn(r *sched.Round) bool {
	p.jobs = p.jobs[:0]
	for len(p.jobs) < max(p.Head, 1) && p.line.Len() > 0 {
		p.jobs = append(p.jobs, p.line.Pop())
	}
	p.measure(r.State)
	started, blocked := p.overdue(r, false)
	if !started && !blocked {
		if started = p.match(r); !started && r.Running() == 0 {
			started, _ = p.overdue(r, true) // a gang of several types, or what the matching would put off on an idle cluster
		}
	}
	for _, it := range p.jobs {
		if r.Phase(it.Task) == sched.Ready {
			p.line.Push(it)
		}
	}
	return started
}

// overdue starts the oldest of those that have waited too long, or if all, of all. It reports whether one waits for room, which nobody else may have.
func (p *AlloX) overdue(r *sched.Round, all bool) (started, blocked bool) {
	k := len(p.types)
	for j, it := range p.jobs {
		least := int64(math.MaxInt64)
		for _, run := range p.runs[j*k : (j+1)*k] {
			if run > 0 {
				least = min(least, run)
			}
		}
		waited := float64(r.Now().Sub(r.FirstReady(it.Task)).Microseconds())
		if least == math.MaxInt64 || !all && waited <= p.Patience*float64(least)/float64(gpusOf(r.State, it.Task)) || !r.QuotaAllows(it.Task) {
			continue
		}
		for least > 0 && !started { // the fastest type first
			least, started = p.onFastest(r, j, least)
		}
		if started || r.StartFirst(it.Task) {
			return true, false
		}
		if !all {
			return false, p.couldFit(r, it.Task)
		}
	}
	return false, false
}

// onFastest tries the types on which job j takes that long, and returns the next longer time, 0 if there is none.
func (p *AlloX) onFastest(r *sched.Round, j int, run int64) (next int64, started bool) {
	k := len(p.types)
	for y, t := range p.runs[j*k : (j+1)*k] {
		if t == run && p.start(r, p.jobs[j].Task, int16(y)) {
			return 0, true
		}
		if t > run && (next == 0 || t < next) {
			next = t
		}
	}
	return next, false
}

// couldFit reports whether t would fit the nodes that are up if they were empty.
func (p *AlloX) couldFit(r *sched.Round, t sched.TaskID) bool {
	var up []sched.NodeSpec
	for n := range r.Room().Len() {
		if r.Room().Up(sched.NodeID(n)) {
			up = append(up, *r.Room().Spec(sched.NodeID(n)))
		}
	}
	return sched.CouldEverFit(up, r.Demand(t))
}

// start starts t on nodes of a type.
func (p *AlloX) start(r *sched.Round, t sched.TaskID, y int16) bool {
	on, ok := r.Room().FirstFitWhere(r.DemandID(t), p.buf[:0], func(n sched.NodeID, fits int32) int32 {
		if p.typeOf[n] != y {
			return 0
		}
		return fits
	})
	p.buf = on[:0]
	return ok && r.Start(t, on...)
}

// measure works out how long each job of the head takes on each type.
func (p *AlloX) measure(s *sched.State) {
	k := len(p.types)
	p.runs = p.runs[:0]
	for range len(p.jobs) * k {
		p.runs = append(p.runs, 0)
	}
	for j, it := range p.jobs {
		left, whole, missing := max(int64(s.Remaining(it.Task)), 1), max(int64(s.Estimate(it.Task)), 1), k
		for n, y := range p.typeOf {
			if missing == 0 {
				break
			}
			id := sched.NodeID(n)
			if y < 0 || p.runs[j*k+int(y)] > 0 || !s.Room().Up(id) || !s.Room().Allowed(s.DemandID(it.Task), id) {
				continue
			}
			missing--
			here := sched.MulDiv(s.EstimateOn(it.Task, id), left, whole, true).Microseconds()
			p.runs[j*k+int(y)] = min(max(here, 1), match.Forbidden/64) * min(gpusOf(s, it.Task), 1024)
		}
	}
}

// gpusOf returns the GPUs that t holds, at least 1.
func gpusOf(s *sched.State, t sched.TaskID) int64 { return max(s.Demand(t).GPUTotal()/sched.Whole, 1) }

// offer lists the (slot, k) of all types that the jobs are matched with.
func (p *AlloX) offer(s *sched.State) {
	k, n := len(p.types), len(p.jobs)
	p.slots, p.cols = p.slots[:0], p.cols[:0]
	room, scarce := s.Room(), false
	for y := range k {
		free := int64(0)
		for node, on := range p.typeOf {
			if free >= int64(n)*sched.Whole {
				break // a GPU that is busy is no better than one of these
			}
			if on == int16(y) && room.Up(sched.NodeID(node)) {
				free += max(room.FreeGPUMilli(sched.NodeID(node)), 0)
			}
		}
		for range min(n, int((free+sched.Whole-1)/sched.Whole)) {
			p.slots = append(p.slots, alloxSlot{on: int16(y)})
		}
		scarce = scarce || free < int64(n)*sched.Whole
	}
	for t := range s.RunningTasks() {
		if !scarce {
			break
		}
		if d := s.Demand(t); d.Need.GPUs > 0 {
			for _, pl := range s.Placements(t) {
				if y := p.typeOf[pl.Node]; y >= 0 {
					for range min(n, int(pl.Replicas*d.Need.GPUs)) {
						p.slots = append(p.slots, alloxSlot{on: y, free: min(s.ExpectedEnd(t).Sub(s.Now()).Microseconds(), match.Forbidden/4)})
					}
				}
			}
		}
	}
	slices.SortStableFunc(p.slots, func(a, b alloxSlot) int { return cmp.Or(cmp.Compare(a.on, b.on), cmp.Compare(a.free, b.free)) })
	for from := 0; from < len(p.slots); {
		to := from
		for to < len(p.slots) && p.slots[to].on == p.slots[from].on {
			to++
		}
		y, short := int(p.slots[from].on), int64(math.MaxInt64)
		for j := range n {
			if run := p.runs[j*k+y]; run > 0 {
				short = min(short, run)
			}
		}
		p.best = p.best[:0]
		for i := from; i < min(to, from+n) && short < math.MaxInt64; i++ {
			for place := range n {
				c := p.slots[i]
				c.slot, c.k, c.key = int32(i), int32(place+1), c.free+int64(place)*min(short, match.Forbidden/4)
				p.best = append(p.best, c)
			}
		}
		slices.SortFunc(p.best, func(a, b alloxSlot) int {
			return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.slot, b.slot), cmp.Compare(a.k, b.k))
		})
		p.cols = append(p.cols, p.best[:min(len(p.best), 2*n)]...)
		from = to
	}
}

// match starts the jobs that come first on slots that are free, and reports whether it did.
func (p *AlloX) match(r *sched.Round) bool {
	k, n := len(p.types), len(p.jobs)
	p.offer(r.State)
	p.cost = p.cost[:0]
	for j := range n {
		for _, c := range p.cols {
			cost := int64(match.Forbidden)
			if run := p.runs[j*k+int(c.on)]; run > 0 {
				cost = c.free + min(int64(c.k)*min(run, match.Forbidden/4), match.Forbidden/4)
			}
			p.cost = append(p.cost, cost)
		}
	}
	p.best = p.best[:0]
	for j, col := range p.solver.Solve(p.cost, n, len(p.cols)) {
		if col < 0 || p.cost[j*len(p.cols)+int(col)] == match.Forbidden {
			continue
		}
		c := p.cols[col]
		c.job = int32(j)
		at := slices.IndexFunc(p.best, func(o alloxSlot) bool { return o.slot == c.slot })
		if at < 0 {
			p.best = append(p.best, c)
		} else if c.k > p.best[at].k {
			p.best[at] = c
		}
	}
	slices.SortFunc(p.best, func(a, b alloxSlot) int { return cmp.Compare(a.job, b.job) })
	started := false
	for _, c := range p.best {
		if c.free == 0 && p.start(r, p.jobs[c.job].Task, c.on) {
			started = true
		}
	}
	return started
}

var alloxEntry = Entry{
	Name: "allox", Summary: "Least mean completion time on GPUs of several types, by a min-cost matching.", Starves: true,
	About: "The first jobs in order of readiness are matched with (GPU, place from the last) so that the sum of their completion times is least; who comes first " +
		"on a free GPU starts and runs to its end. A long job may starve behind short ones, until it has waited patience times its run time: then it goes before all others.",
	Source: "Le, Sun, Chowdhury & Liu, EuroSys 2020, section 4.",
	Params: []Param{
		{Name: "head", Default: "32", Form: counting(512), Example: "64", About: "jobs that are matched; the time of a decision grows with its cube"},
		{Name: "patience", Default: "20", About: "multiples of its run time after which a waiting job goes first"},
	},
	New: func(a Args) (sched.Policy, error) {
		return &AlloX{Head: int(a.Float("head")), Patience: a.Float("patience")}, nil
	},
}
