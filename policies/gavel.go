package policies

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"

	"github.com/schedlab/schedlab/policies/sched"
)

// Gavel schedules GPU tasks in rounds, by shares of time on each GPU type (Narayanan et al., OSDI 2020). Whenever the set of tasks has changed,
// the next round begins with an allocation X by the objective (section 4): X[m][j] is the part of its time that task m should run on type j.
// Each round then goes to the pairs (m, j) in the order of X / rounds received (section 5), as long as there is room on nodes of the type;
// a task that keeps its type keeps its GPUs unless a pair before it needs them, and the others are stopped. What the pairs leave goes to the
// other tasks, the fastest type first.
//
// Where we differ. Received rounds count in virtual time, rounds / X, and are not forgotten when X is computed anew: a task or pair that is new
// begins where the served pair stands that is least far (start-time fair queueing), and none stays more than 4 rounds before or behind that. (The paper counts from the last computation; with
// arrivals in every round that leaves no history. Its public simulator computes anew at most every 1920 s.) Among the allocations of the best objective,
// one with the most throughput is taken. (The public code takes what its solver returns: where nobody waits, its published max-min runs every job on a
// V100, also the 3 in 10 that are faster on a P100.) Rounds
// begin at multiples of their length on the trace's axis, and GPUs that come free within one are given away at once. X is rounded to 1e-6.
// Space sharing is not modelled.
//
// Beyond the shares: tasks that need no GPU run as under fjf. A gang that no single type could hold takes its turn by readiness, before the pairs
// of a round, on any nodes, and is not stopped.
type Gavel struct {
	Objective string        // "max-min", "ftf", "makespan", "throughput" or "fifo"
	Round     time.Duration // must be positive
	Blind     bool          // heterogeneity-agnostic: all types count as equally fast
	Weights   bool          // a priority above 0 is the task's weight under max-min

	cpu    List
	nodes  []int16 // by node: its type; -1 has no GPUs
	types  []gavelType
	specs  []sched.NodeSpec // nodes that are up
	stale  bool             // the nodes have changed
	lost   bool             // jobs may have ended with them
	slot   []int32          // by TaskID: in jobs; -1
	jobs   []gavelJob
	x      []int64 // by slot and type: share of time, 1e-6
	v      []int64 // likewise: received / x beyond the system's, ns
	rate   []int64 // likewise: speed relative to reference speed, 1e-6; 0 = cannot run there
	number int64   // of the round
	at     sched.Time
	begun  bool
	dirty  bool // x is not of the present jobs
	again  bool // the next round may differ from this one
	moving int  // jobs that are stopping
	listed bool // waiting is of this round

	pairs      []gavelPair
	waiting    []gavelPair // jobs that did not run when the round began, in order
	fresh      []sched.TaskID
	told       []sched.TaskID
	left       []sched.TaskID // have stopped: ready again with the same batch of facts, unless they are held, which nothing tells
	victims    []sched.TaskID
	line       heap.Queue // fifo: ready jobs
	wide       heap.Queue // ready gangs that no type can hold
	aside      []heap.Item
	full       []int64 // by demand: the search that found no room
	search     int64
	plan, soft sched.Room
	buf        []sched.Placement
	solver     gavelShares
}

type gavelType struct {
	name  string
	specs []sched.NodeSpec // that are up
	gpus  int64            // on them, 1/1000
}

type gavelJob struct {
	task   sched.TaskID
	size   int64 // GPUs of the gang, 1/1000
	want   int16 // the type that this round gives it; -1 = none
	shared bool  // x has been computed with it
	listed bool  // it did not run when the round began: it stands in waiting
	moving bool  // it is stopping
	wide   bool  // no single type could hold it
	never  bool  // nor could all
}

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

const (
	micro      = 1_000_000
	forgiven   = 4   // rounds beyond the share
	gavelTries = 256 // jobs that are tried for room that comes free within a round
)

// Observe keeps the jobs.
func (p *Gavel) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.NodeUp, sched.NodeDown:
		p.stale, p.lost = true, true
		p.cpu.Observe(s, e)
	case sched.TaskReady:
		if s.Demand(e.Task).Need.GPUs == 0 {
			p.cpu.Observe(s, e)
			return
		}
		p.ready(s, e.Task)
	case sched.Started:
		if s.Demand(e.Task).Need.GPUs > 0 {
			p.survey(s)
			i := p.add(s, e.Task)
			p.leaves(s, i)
		}
	case sched.Finished, sched.FailedAttempt, sched.Killed:
		p.cpu.Observe(s, e)
		p.remove(e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		p.cpu.Observe(s, e)
		if p.slotOf(e.Task) >= 0 {
			p.line.Remove(e.Task)
			p.wide.Remove(e.Task)
			p.remove(e.Task)
		}
	case sched.Updated:
		p.cpu.Observe(s, e)
		if i := p.slotOf(e.Task); i >= 0 {
			p.rates(s, i)
			p.dirty, p.listed = true, false // the order of waiting looks at rates
		}
	case sched.Stopped:
		p.cpu.Observe(s, e)
		p.stopped(e.Task)
		p.left = append(p.left, e.Task)
	default:
		p.cpu.Observe(s, e)
	}
}

func (p *Gavel) ready(s *sched.State, t sched.TaskID) {
	p.survey(s)
	i := p.slotOf(t)
	if i < 0 {
		i = p.add(s, t)
	} else if j := &p.jobs[i]; j.shared && !j.listed { // it has lost a node
		j.shared, p.dirty = false, true
	}
	p.stopped(t) // the loss of all its nodes has no other end
	p.told = append(p.told, t)
	p.line.Remove(t) // the survey may have queued it
	p.wide.Remove(t)
	p.queue(s, i)
}

// queue puts a ready job where it waits.
func (p *Gavel) queue(s *sched.State, i int32) {
	j := &p.jobs[i]
	it := heap.Item{Key: ReadyTime(s, j.task), Task: j.task}
	switch {
	case j.never:
	case j.wide:
		p.wide.Push(it)
	case p.Objective == "fifo":
		p.line.Push(it)
	case !j.shared:
		p.fresh = append(p.fresh, j.task)
	}
}

func (p *Gavel) slotOf(t sched.TaskID) int32 {
	if int(t) >= len(p.slot) {
		return -1
	}
	return p.slot[t]
}

func (p *Gavel) add(s *sched.State, t sched.TaskID) int32 {
	for len(p.slot) < max(len(s.Table().Tasks), int(t)+1) {
		p.slot = append(p.slot, -1)
	}
	if i := p.slot[t]; i >= 0 {
		return i
	}
	i := int32(len(p.jobs))
	p.slot[t] = i
	p.jobs = append(p.jobs, gavelJob{task: t, want: -1, size: s.Demand(t).GPUTotal()})
	for range p.types {
		p.x, p.v, p.rate = append(p.x, 0), append(p.v, 0), append(p.rate, 0)
	}
	p.rates(s, i)
	p.dirty = true
	return i
}

// remove forgets a job that is over, or may not run now.
func (p *Gavel) remove(t sched.TaskID) {
	i := p.slotOf(t)
	if i < 0 {
		return
	}
	p.stopped(t)
	last, k := int32(len(p.jobs)-1), int32(len(p.types))
	p.jobs[i] = p.jobs[last]
	p.slot[p.jobs[i].task], p.slot[t] = i, -1
	for _, f := range []*[]int64{&p.x, &p.v, &p.rate} {
		copy((*f)[i*k:(i+1)*k], (*f)[last*k:])
		*f = (*f)[:last*k]
	}
	p.jobs = p.jobs[:last]
	p.dirty = true
}

// keepOnly forgets a job that neither is ready nor holds GPUs.
func (p *Gavel) keepOnly(s *sched.State, t sched.TaskID) {
	if ph := s.Phase(t); ph != sched.Ready && ph != sched.Running && ph != sched.Stopping {
		p.remove(t)
	}
}

func (p *Gavel) leaves(s *sched.State, i int32) {
	if j := &p.jobs[i]; !j.moving && s.Phase(j.task) == sched.Stopping {
		j.moving = true
		p.moving++
	}
}

func (p *Gavel) stopped(t sched.TaskID) {
	if i := p.slotOf(t); i >= 0 && p.jobs[i].moving {
		p.jobs[i].moving = false
		p.moving--
	}
}

// rates works out on which types a job can run, and how fast.
func (p *Gavel) rates(s *sched.State, i int32) {
	j, k := &p.jobs[i], len(p.types)
	d, est := s.Demand(j.task), s.Estimate(j.task)
	some := false
	for y := range p.types {
		r := int64(0)
		if sched.CouldEverFit(p.types[y].specs, d) {
			r = micro
			if on := p.first(s, s.DemandID(j.task), int16(y)); on != sched.NoNode && est > 0 && !p.Blind {
				r = min(max(int64(sched.MulDiv(est, micro, int64(max(s.EstimateOn(j.task, on), 1)), false)), 1), 1e9)
			}
			some = true
		}
		p.rate[int(i)*k+y] = r
	}
	j.wide = !some
	j.never = !some && !sched.CouldEverFit(p.specs, d)
}

// first returns the first node of a type that is up and of the right kind.
func (p *Gavel) first(s *sched.State, d sched.DemandID, y int16) sched.NodeID {
	for n, on := range p.nodes {
		if on == y && s.Room().Up(sched.NodeID(n)) && s.Room().Allowed(d, sched.NodeID(n)) {
			return sched.NodeID(n)
		}
	}
	return sched.NoNode
}

// survey takes in what nodes there are, where that has changed.
func (p *Gavel) survey(s *sched.State) {
	if !p.stale && len(p.nodes) == s.Room().Len() {
		return
	}
	p.stale = false
	before := len(p.types)
	for y := range p.types {
		p.types[y].specs, p.types[y].gpus = p.types[y].specs[:0], 0
	}
	p.specs, p.nodes = p.specs[:0], p.nodes[:0]
	for n := range s.Room().Len() {
		spec, on := s.Room().Spec(sched.NodeID(n)), int16(-1)
		if spec.GPUs > 0 {
			on = int16(slices.IndexFunc(p.types, func(y gavelType) bool { return y.name == spec.GPUType }))
			if on < 0 {
				on = int16(len(p.types))
				p.types = append(p.types, gavelType{name: spec.GPUType})
			}
		}
		p.nodes = append(p.nodes, on)
		if !s.Room().Up(sched.NodeID(n)) {
			continue
		}
		p.specs = append(p.specs, *spec)
		if on >= 0 {
			p.types[on].specs = append(p.types[on].specs, *spec)
			p.types[on].gpus += int64(spec.GPUs) * sched.Whole
		}
	}
	if k := len(p.types); k > before {
		for _, f := range []*[]int64{&p.x, &p.v, &p.rate} {
			wider := make([]int64, len(p.jobs)*k)
			for i := range p.jobs {
				copy(wider[i*k:], (*f)[i*before:(i+1)*before])
			}
			*f = wider
		}
	}
	p.line, p.wide, p.fresh = heap.Queue{}, heap.Queue{}, p.fresh[:0]
	for i := range p.jobs {
		p.rates(s, int32(i))
		if s.Phase(p.jobs[i].task) == sched.Ready {
			p.queue(s, int32(i))
		}
	}
	p.dirty, p.listed = true, false
}

// Decide begins a round where one is due, and else gives away what is free.
func (p *Gavel) Decide(r *sched.Round) {
	s := r.State
	for _, o := range r.Ordered() {
		if i := p.slotOf(o.Task); i >= 0 && o.Kind == sched.Stop {
			p.leaves(s, i) // a fact has ordered it, and nobody is told of that
		}
	}
	p.survey(s)
	for _, t := range p.left {
		p.keepOnly(s, t)
	}
	p.left = p.left[:0]
	if p.lost {
		p.lost = false
		for i := len(p.jobs) - 1; i >= 0; i-- { // what lost all its nodes while it was to be held is told by nothing else
			p.keepOnly(s, p.jobs[i].task)
		}
	}
	number := int64(r.Now()) / int64(p.Round)
	if int64(r.Now()) < 0 && int64(r.Now())%int64(p.Round) != 0 {
		number--
	}
	if len(p.jobs) > 0 && (!p.begun || number > p.number) {
		p.account(s)
		p.begun, p.number, p.at = true, number, r.Now()
		if p.dirty && p.Objective != "fifo" {
			p.share(s)
		}
		p.dirty = false
		p.round(r)
	} else {
		p.fill(r)
	}
	if p.moving == 0 { // room that is being left is not for them
		p.cpu.Decide(r)
	}
	for _, t := range p.told {
		if r.Phase(t) == sched.Ready {
			r.Skip(t, sched.NoRoom)
		}
	}
	p.told = p.told[:0]
	if len(p.jobs) > 0 && (p.dirty || p.again) {
		r.WakeAt(sched.Time((p.number + 1) * int64(p.Round)))
	}
}

// typeOf returns the type on which a job runs, -1 where it runs on several.
func (p *Gavel) typeOf(s *sched.State, t sched.TaskID) int16 {
	on := s.Placements(t)
	y := p.nodes[on[0].Node]
	for _, pl := range on[1:] {
		if p.nodes[pl.Node] != y {
			return -1
		}
	}
	return y
}

// account adds what running jobs have received since the last round began to their virtual times, and takes the system's off all: that of the
// served pair that is least far. Nobody stays more than 4 rounds before or behind it: what idle GPUs gave is forgiven, and who could not be
// served does not hoard.
func (p *Gavel) account(s *sched.State) {
	k := len(p.types)
	system := int64(math.MaxInt64)
	for i := range p.jobs {
		j := &p.jobs[i]
		if s.Phase(j.task) != sched.Running || j.wide || !j.shared {
			continue
		}
		y := p.typeOf(s, j.task)
		if y < 0 {
			continue
		}
		if at := i*k + int(y); p.x[at] > 0 {
			p.v[at] += min(int64(sched.MulDiv(s.Now().Sub(max(s.StartedAt(j.task), p.at)), micro, p.x[at], false)), 1<<61)
			system = min(system, p.v[at])
		}
	}
	if system == math.MaxInt64 {
		return
	}
	for at, x := range p.x {
		if x > 0 {
			most := min(int64(sched.MulDiv(forgiven*p.Round, micro, x, false)), 1<<61)
			p.v[at] = max(min(p.v[at]-system, most), -most)
		}
	}
}

// share computes the allocation.
func (p *Gavel) share(s *sched.State) {
	p.solver.allocate(p, s)
	for i := range p.jobs {
		p.jobs[i].shared = !p.jobs[i].wide
	}
	p.fresh = p.fresh[:0]
	for at := range p.x {
		if p.x[at] == 0 {
			p.v[at] = 0
		}
	}
}

// Share returns the part of its time that t should run on nodes of a GPU type, by the last allocation, 0 to 1.
func (p *Gavel) Share(t sched.TaskID, gpuType string) float64 {
	i := p.slotOf(t)
	y := slices.IndexFunc(p.types, func(y gavelType) bool { return y.name == gpuType })
	if i < 0 || y < 0 {
		return 0
	}
	return float64(p.x[int(i)*len(p.types)+y]) / micro
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

// Keep appends the round, and shares and virtual times of the jobs by TaskID.
func (p *Gavel) Keep(_ *sched.State, b []byte) []byte {
	flags := int64(0)
	for i, f := range []bool{p.begun, p.dirty, p.again} {
		if f {
			flags |= 1 << i
		}
	}
	for _, v := range []int64{flags, p.number, int64(p.at), int64(len(p.types)), int64(len(p.jobs))} {
		b = binary.AppendVarint(b, v)
	}
	ids := make([]sched.TaskID, 0, len(p.jobs))
	for _, j := range p.jobs {
		ids = append(ids, j.task)
	}
	slices.Sort(ids)
	k := len(p.types)
	for _, t := range ids {
		i := p.slot[t]
		j := &p.jobs[i]
		shared := int64(0)
		if j.shared {
			shared = 1
		}
		if j.listed {
			shared |= 2
		}
		b = binary.AppendVarint(binary.AppendVarint(binary.AppendVarint(b, int64(t)), shared), int64(j.want))
		for y := range k {
			b = binary.AppendVarint(binary.AppendVarint(b, p.x[int(i)*k+y]), p.v[int(i)*k+y])
		}
	}
	return b
}

// Recall takes back what Keep wrote.
func (p *Gavel) Recall(s *sched.State, b []byte) error {
	p.survey(s)
	short := false
	next := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			short = true
			return 0
		}
		b = b[n:]
		return v
	}
	flags, number, at, types, jobs := next(), next(), next(), next(), next()
	if types != int64(len(p.types)) || jobs != int64(len(p.jobs)) {
		return errors.New("it is of other jobs or GPU types")
	}
	p.fresh, p.listed = p.fresh[:0], false
	for range jobs {
		t, shared, want := next(), next(), next()
		i := int32(-1)
		if t >= 0 && t < int64(len(p.slot)) {
			i = p.slot[t]
		}
		if short || i < 0 || want < -1 || want >= types {
			return errors.New("it is cut short, or of other jobs")
		}
		j := &p.jobs[i]
		j.shared, j.listed, j.want = shared&1 != 0, shared&2 != 0, int16(want)
		for y := range types {
			x, v := next(), next()
			if x < 0 || x > micro || v > 1<<61 || v < -1<<61 {
				return errors.New("a share or a virtual time is out of range")
			}
			p.x[int64(i)*types+y], p.v[int64(i)*types+y] = x, v
		}
		if !j.shared && !j.wide && s.Phase(j.task) == sched.Ready && p.Objective != "fifo" {
			p.fresh = append(p.fresh, j.task)
		}
	}
	if short || len(b) > 0 {
		return errors.New("it is cut short, or longer than what it says")
	}
	p.begun, p.dirty, p.again, p.number, p.at = flags&1 != 0, flags&2 != 0, flags&4 != 0, number, sched.Time(at)
	return nil
}

var gavelEntry = Entry{
	Name: "gavel", Summary: "Rounds by shares of time on each GPU type, which a linear program computes.",
	About: "Each task should run a part of its time on each GPU type, as the objective says: max-min (least attained share, normalised by an equal share of the " +
		"cluster), ftf (finish-time fairness), makespan, throughput (in sum; it can leave tasks out for good) or fifo (in order, the fastest type that has room). Rounds go to " +
		"the (task, type) pairs furthest behind. Tasks without GPUs run as under fjf; a gang too large for any one type takes its turn before the pairs. Otherwise it never starves a task.",
	Source: "Narayanan, Santhanam, Kazhamiaka, Phanishayee & Zaharia, OSDI 2020, sections 4 and 5.",
	Params: []Param{
		{Name: "objective", Default: "max-min", About: "what the shares are to achieve", Choices: []string{"max-min", "ftf", "makespan", "throughput", "fifo"}},
		{Name: "round", Default: auto, About: "length of a round; auto is 6 minutes"},
		{Name: "aware", Default: "true", About: "know how fast a task is on each type; false: all types count as equally fast"},
		{Name: "weights", Default: "false", About: "a task's priority, if above 0, is its weight under max-min"},
	},
	New: func(a Args) (sched.Policy, error) {
		round := a.Duration("round")
		if round <= 0 {
			round = 6 * time.Minute
		}
		return &Gavel{Objective: a.Text("objective"), Round: round, Blind: !a.Bool("aware"), Weights: a.Bool("weights"), cpu: List{Skip: true}}, nil
	},
}

var _ sched.Keeper = (*Gavel)(nil)
