package policies

import (
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
// Where the set of tasks has changed, which is so in most rounds, a linear program is solved, of a variable for each type and group of like tasks and two rows a
// group (some 96 groups at most, see gavelShares): O(groups^2 x types) a step of the simplex. The paper's have a variable for each task and type. And a
// round sorts the pairs of all n tasks, waiting ones included, in O(n log n). That is why it takes longer than a line in some order.
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

const (
	micro      = 1_000_000
	forgiven   = 4   // rounds beyond the share
	gavelTries = 256 // jobs that are tried for room that comes free within a round
)

// Observe keeps the jobs.
func (p *Gavel) Observe(s *sched.State, e sched.Event) {
	p.cpu.Skip = true
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
	p.slot = byTask(s, p.slot, -1)
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
			on = int16(slices.IndexFunc(p.types, func(y gavelType) bool { return sched.SameGPU(y.name, spec.GPUType) }))
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
	y := slices.IndexFunc(p.types, func(y gavelType) bool { return sched.SameGPU(y.name, gpuType) })
	if i < 0 || y < 0 {
		return 0
	}
	return float64(p.x[int(i)*len(p.types)+y]) / micro
}

var gavelEntry = Entry{
	Name: "gavel", Summary: "Rounds by shares of time on each GPU type, which a linear program computes.",
	About: "Each task should run a part of its time on each GPU type, as the objective says: max-min (least attained share, normalised by an equal share of the " +
		"cluster), ftf (finish-time fairness), makespan, throughput (in sum; it can leave tasks out for good) or fifo (in order, the fastest type that has room). Rounds go to " +
		"the (task, type) pairs furthest behind. Tasks without GPUs run as under fjf; a gang too large for any one type takes its turn before the pairs. Otherwise it never starves a task. " +
		"The program, and the sorting of all waiting tasks in each round, take much longer than a line in some order.",
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
		return &Gavel{Objective: a.Text("objective"), Round: round, Blind: !a.Bool("aware"), Weights: a.Bool("weights")}, nil
	},
}

var _ sched.Keeper = (*Gavel)(nil)
