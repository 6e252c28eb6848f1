package policies

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/internal/lines"
	"github.com/schedlab/schedlab/policies/sched"
)

// CriticalPath is the critical-path weighted policy of Open-AutoGLM's offline scheduler (SPEC S7). A ready task's priority is
//
//	p = W.Rank x rank + W.Latency x latency + W.Share x share + W.Preds x preds + W.Heat x heat + W.Age x age
//
// and the largest goes first; what does not fit is passed over. Each term lies in 0..1:
//
//	rank     (r/R)^8: r the upward rank of the task (Topcuoglu, Hariri & Wu 2002, section 4.1, without communication), R the largest among
//	         the tasks of its job that are not over, rounded up to a twentieth of the job's longest path. 1 on what is left of the job's critical path; the power makes what is far from
//	         it equal, so that there the short tasks go first (on the WfInstances set: a tenth less wait at the same makespan than r/R).
//	         The ready tasks of a job are looked at again each time R has fallen. The only task of a job has 1.
//	latency  the task's criticality, or upward rank / (deadline - time of readiness) if that is more, at most 1.
//	share    1 / (1 + a/A): a = the task's dominant share of the cluster x its estimate, A = the mean of a over the tasks that had
//	         arrived when their number last reached a power of two. Small tasks first.
//	preds    state of the predecessors: 1 if the task is the last one that some successor still waits for, else 0.
//	heat     heat of the resource that the task asks most of: D / (D + F), D what the ready tasks together ask of it, F what is free,
//	         per resource, and per GPU type for GPUs. It is common to all tasks of a demand and taken anew at every decision, so that the scarce
//	         resource is not left idle.
//	age      time since first readiness / Patience; it grows without end, so any task becomes first in the end.
//
// No starvation: a task that has waited for Patience gets a reservation as in EASY, the oldest such task first: from then on only tasks
// that leave its reservation feasible may overtake it. With estimates that are never too short it starts no later than its shadow time,
// when the tasks that run at that moment have ended; so a task waits at most Patience plus one longest run, and one more for each
// overdue task that was ready before it. Where Patience is 0 it is 20 x the mean estimate (of A's tasks) + 4 x the time in which the whole
// cluster could do what is ready at the moment, so that a burst that needs its time does not turn the order into FIFO.
//
// Node choice: 0.5 x free memory ratio + 0.4 x (1 - GPU load) + 0.1 x 1/(1 + storage latency in ms) among at most Score nodes on
// which the task fits. Load is the allocated share, or the sampled one where a profile younger than 10 s says more.
type CriticalPath struct {
	W        Weights
	Patience time.Duration // 0: as above
	Score    int           // nodes scored at most; 0: all
	First    bool          // first fit instead of the node score

	lines   lines.Lines
	fresh   []sched.TaskID
	aside   []heap.Item
	crowded []sched.DemandID // lines given up in this decision
	bias    []int64
	oldest  heap.Heap                // ready tasks by first readiness; those that left are skipped
	passed  []heap.Item              // scratch of reserveForOldest
	ranks   []int64                  // upward rank, ns; 0 = not computed
	jobs    map[sched.JobID]*jobPath // of several tasks
	only    []sched.TaskID           // by JobID: the one task of it that has arrived; Nobody
	changed []*jobPath               // scratch of rerank
	touched []sched.TaskID           // scratch of rerank
	stale   bool                     // estimates or capacities changed: sums and keys are taken anew at the next decision
	count   int64                    // tasks that arrived
	area    float64                  // sum of a over them
	est     float64                  // sum of their estimates, s
	meanA   float64
	meanE   float64
	asked   []int64 // by demand: ready tasks
	wants   wants
	backlog int64 // sum of a over the ready tasks: ns of the whole cluster, whole so that the order of summing does not matter
	buf     []sched.Placement
	nodes   []sched.NodeID
	scored  []scoredNode
	reserve reservation
	holder  sched.TaskID // whose reservation stands in this decision
}

// Weights are the weights of the terms of CriticalPath's priority, at least 0.
type Weights struct{ Rank, Latency, Share, Preds, Heat, Age float64 }

// DefaultWeights are the weights of `critical-path` without parameters.
var DefaultWeights = Weights{Rank: 0.5, Latency: 0.1, Share: 0.6, Preds: 0.1, Heat: 0.1, Age: 0.1}

// jobPath follows what is left of the longest path of a job of several tasks.
type jobPath struct {
	byRank []sched.TaskID // largest upward rank first
	top    int            // first of them that is not over
	keyed  int64          // R: the largest rank of those left, rounded up; 0 = not known
	dirty  bool           // in CriticalPath.changed
}

// wants sums what ready tasks ask for.
type wants struct {
	cpu, mem int64
	gpu      []int64 // by GPU type of the cluster: of the demands that may use it
}

type scoredNode struct {
	score float64
	node  sched.NodeID
}

// unit is the scale of keys: priorities are rounded to millionths, so that no processor's fused arithmetic can change an order.
const unit = 1e6

// Observe keeps ranks, sums and lines.
func (p *CriticalPath) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.JobArrived:
		p.arrived(s, e)
	case sched.EdgeAdded:
		p.rerank(s, e.Task)
		p.rekeyPreds(s, e.Other)
	case sched.Updated:
		p.rerank(s, e.Task)
		p.stale = true
	case sched.NodeUp:
		p.stale = p.stale || e.More != nil && e.More.Spec != nil
		p.lines.Reopen()
	case sched.TaskReady:
		d := s.DemandID(e.Task)
		p.lines.Push(d, heap.Item{Key: p.key(s, e.Task), Task: e.Task})
		p.fresh = append(p.fresh, e.Task)
		p.oldest.Push(heap.Item{Key: int64(s.FirstReady(e.Task)), Task: e.Task})
		p.ask(s, e.Task, 1)
	case sched.TaskBlocked:
		p.left(s, e.Task)
	case sched.TaskDropped:
		p.left(s, e.Task)
		p.over(s, e.Task)
	case sched.Finished:
		p.lines.Reopen()
		p.over(s, e.Task)
		for u := range s.Succs(e.Task) {
			if s.WaitsFor(u) == 1 {
				p.rekeyPreds(s, u)
			}
		}
	case sched.Started, sched.CheckpointDone:
	default:
		p.lines.Reopen()
	}
}

func (p *CriticalPath) left(s *sched.State, t sched.TaskID) {
	if p.lines.Remove(s.DemandID(t), t) {
		p.ask(s, t, -1)
	}
}

// arrived computes upward ranks and takes the tasks into their job and the means. All that it keeps is what the tasks that have arrived
// make it, in whatever groups they did.
func (p *CriticalPath) arrived(s *sched.State, e sched.Event) {
	first, end := e.Task, e.Task+sched.TaskID(e.N)
	if grow := s.Known() - len(p.ranks); grow > 0 {
		p.ranks = append(slices.Grow(p.ranks, len(s.Table().Tasks)-len(p.ranks)), make([]int64, grow)...)
	}
	p.lines.Index(max(len(s.Table().Tasks), int(end))) // keys change often, so tasks leave their lines from anywhere
	for t := first; t < end; t++ {
		p.rank(s, t)
	}
	for t := first; t < end; t++ {
		p.join(s, t)
		for u := range s.Preds(t) {
			if u < first || u >= end {
				p.rerank(s, u)
			}
		}
		if s.WaitsFor(t) == 1 {
			p.rekeyPreds(s, t)
		}
	}
	p.rekeyChanged(s)
	before := p.count
	for t := first; t < end; t++ {
		p.take(s, t)
	}
	if bits.Len64(uint64(before)) != bits.Len64(uint64(p.count)) {
		p.lines.Rekey(func(t sched.TaskID) int64 { return p.key(s, t) })
	}
}

// take counts a task into the means.
func (p *CriticalPath) take(s *sched.State, t sched.TaskID) {
	p.area += p.areaOf(s, t)
	p.est += s.Estimate(t).Seconds()
	p.count++
	if p.count&(p.count-1) == 0 {
		p.meanA, p.meanE = p.area/float64(p.count), p.est/float64(p.count)
	}
}

// refresh takes sums and keys anew.
func (p *CriticalPath) refresh(s *sched.State) {
	p.stale = false
	p.count, p.area, p.est, p.meanA, p.meanE = 0, 0, 0, 0, 0
	p.backlog, p.wants = 0, wants{gpu: p.wants.gpu[:0]}
	clear(p.asked)
	for t := range sched.TaskID(s.Known()) {
		if s.Phase(t) != sched.Unknown {
			p.take(s, t)
		}
		if s.Phase(t) == sched.Ready {
			p.ask(s, t, 1)
		}
	}
	p.lines.Rekey(func(t sched.TaskID) int64 { return p.key(s, t) })
}

// join adds t to the path of its job; a job has one from its second task on.
func (p *CriticalPath) join(s *sched.State, t sched.TaskID) {
	id := s.Task(t).Job
	if len(p.only) <= int(id) {
		p.only = slices.Grow(p.only, max(int(id)+1, int(s.Table().Jobs))-len(p.only))
	}
	for len(p.only) <= int(id) {
		p.only = append(p.only, sched.Nobody)
	}
	j := p.jobs[id]
	if j == nil {
		if p.only[id] == sched.Nobody {
			p.only[id] = t
			return
		}
		if p.jobs == nil {
			p.jobs = map[sched.JobID]*jobPath{}
		}
		j = &jobPath{byRank: []sched.TaskID{p.only[id]}}
		p.jobs[id] = j
	}
	j.byRank = append(j.byRank, t)
	p.change(j)
}

func (p *CriticalPath) change(j *jobPath) {
	if !j.dirty {
		j.dirty = true
		p.changed = append(p.changed, j)
	}
}

// rekeyChanged puts the jobs whose ranks have changed in order again.
func (p *CriticalPath) rekeyChanged(s *sched.State) {
	for _, j := range p.changed {
		j.dirty = false
		slices.SortFunc(j.byRank, func(a, b sched.TaskID) int { return cmp.Or(cmp.Compare(p.ranks[b], p.ranks[a]), cmp.Compare(a, b)) })
		j.top, j.keyed = 0, 0
		p.settle(s, j)
	}
	p.changed = p.changed[:0]
}

// settle finds R of what is left of a job, and keys its ready tasks by it if it has changed.
func (p *CriticalPath) settle(s *sched.State, j *jobPath) {
	for j.top < len(j.byRank) && s.Phase(j.byRank[j.top]).Over() {
		j.top++
	}
	if j.top == len(j.byRank) {
		return
	}
	step := max(p.ranks[j.byRank[0]]/20, 1)
	if now := (p.ranks[j.byRank[j.top]] + step - 1) / step * step; now != j.keyed {
		j.keyed = now
		for _, t := range j.byRank[j.top:] {
			p.rekey(s, t)
		}
	}
}

// rank computes the upward rank of t and of what follows from it, without recursion.
func (p *CriticalPath) rank(s *sched.State, t sched.TaskID) {
	if p.ranks[t] != 0 {
		return
	}
	stack := append(p.touched[:0], t)
	for len(stack) > 0 {
		u := stack[len(stack)-1]
		deepest, waiting := int64(0), false
		for v := range s.Succs(u) {
			if s.Phase(v) == sched.Unknown {
				continue // submitted later; it counts when it is there
			}
			if p.ranks[v] == 0 {
				stack = append(stack, v)
				waiting = true
			}
			deepest = max(deepest, p.ranks[v])
		}
		if waiting {
			continue
		}
		p.ranks[u] = max(int64(s.Estimate(u)), 1) + deepest
		stack = stack[:len(stack)-1]
	}
	p.touched = stack
}

// rerank computes the upward rank of t anew, and those of its ancestors where that changes them.
func (p *CriticalPath) rerank(s *sched.State, t sched.TaskID) {
	stack := append(p.touched[:0], t)
	for len(stack) > 0 {
		t := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if int(t) >= len(p.ranks) || p.ranks[t] == 0 {
			continue // not told of yet; its rank is computed when it is
		}
		deepest := int64(0)
		for u := range s.Succs(t) {
			if s.Phase(u) != sched.Unknown {
				deepest = max(deepest, p.ranks[u])
			}
		}
		r := max(int64(s.Estimate(t)), 1) + deepest
		if r == p.ranks[t] {
			continue
		}
		p.ranks[t] = r
		if j := p.jobs[s.Task(t).Job]; j != nil {
			p.change(j)
		} else {
			p.rekey(s, t)
		}
		for u := range s.Preds(t) {
			stack = append(stack, u)
		}
	}
	p.touched = stack
	p.rekeyChanged(s)
}

// over takes in that a task is over: what is left of its job's critical path may be shorter.
func (p *CriticalPath) over(s *sched.State, t sched.TaskID) {
	if j := p.jobs[s.Task(t).Job]; j != nil {
		p.settle(s, j)
	}
}

func (p *CriticalPath) rekey(s *sched.State, t sched.TaskID) {
	if s.Phase(t) == sched.Ready && p.lines.Remove(s.DemandID(t), t) {
		p.lines.Push(s.DemandID(t), heap.Item{Key: p.key(s, t), Task: t})
	}
}

// rekeyPreds looks again at the ready predecessors of t: one of them may have become the last that t waits for, or be so no more.
func (p *CriticalPath) rekeyPreds(s *sched.State, t sched.TaskID) {
	for u := range s.Preds(t) {
		p.rekey(s, u)
	}
}

// areaOf returns the task's dominant share of the cluster x its estimate in seconds.
func (p *CriticalPath) areaOf(s *sched.State, t sched.TaskID) float64 {
	return dominantShare(s.Room(), s.Demand(t)) * s.Estimate(t).Seconds()
}

// dominantShare is the largest share of a resource of the whole cluster that the demand asks for (Ghodsi et al. 2011, section 4).
func dominantShare(room *sched.Room, d *sched.Demand) float64 {
	share := 0.0
	if c, _ := room.CPU(); c > 0 {
		share = max(share, float64(d.CPUTotal())/float64(c))
	}
	if c, _ := room.Mem(); c > 0 {
		share = max(share, float64(d.Need.Mem)*float64(d.Gang)/float64(c))
	}
	if d.Need.GPUs > 0 {
		total := int64(0)
		for i := range room.GPUTypes() {
			c, _ := room.GPUs(i)
			total += c
		}
		if total > 0 {
			share = max(share, float64(d.GPUTotal())/float64(total))
		}
	}
	return share
}

// key returns the part of the priority that does not depend on the moment, as a key: smallest first.
func (p *CriticalPath) key(s *sched.State, t sched.TaskID) int64 {
	last := false
	for u := range s.Succs(t) {
		if s.WaitsFor(u) == 1 {
			last = true
			break
		}
	}
	rank := 1.0
	if j := p.jobs[s.Task(t).Job]; j != nil {
		rank = min(float64(p.ranks[t])/float64(max(j.keyed, 1)), 1)
		rank *= rank
		rank *= rank
		rank *= rank
	}
	latency := s.Class(t).Criticality
	if dl := s.Task(t).Deadline; dl != sched.Never {
		left := dl.Sub(s.FirstReady(t))
		if left <= time.Duration(p.ranks[t]) {
			latency = 1
		} else {
			latency = max(latency, float64(p.ranks[t])/float64(left))
		}
	}
	share := 1.0
	if p.meanA > 0 {
		share = 1 / (1 + p.areaOf(s, t)/p.meanA)
	}
	score := p.W.Rank*rank + p.W.Latency*min(latency, 1) + p.W.Share*share
	if last {
		score += p.W.Preds
	}
	key := -int64(math.Round(score * unit))
	if p.W.Age > 0 {
		// Everybody ages at the same pace, so the moment of readiness says it all and no key changes with time.
		key += int64(math.Round(p.W.Age * unit * (float64(s.FirstReady(t)) / float64(p.patience()))))
	}
	return key
}

// due returns when t, which is ready, is overdue.
func (p *CriticalPath) due(s *sched.State, t sched.TaskID) sched.Time {
	d := p.patience()
	if p.Patience <= 0 {
		d += time.Duration(4 * p.backlog)
	}
	return s.FirstReady(t).Add(d)
}

// patience is the patience without what stands for the backlog; the age term counts in it too.
func (p *CriticalPath) patience() time.Duration {
	if p.Patience > 0 {
		return p.Patience
	}
	return max(time.Duration(20*p.meanE*1e9), time.Second)
}

// ask keeps what ready tasks ask for together.
func (p *CriticalPath) ask(s *sched.State, t sched.TaskID, sign int64) {
	d := s.DemandID(t)
	p.backlog += sign * int64(math.Round(min(p.areaOf(s, t), 1e6)*1e9))
	for len(p.asked) <= int(d) {
		p.asked = append(p.asked, 0)
	}
	p.asked[d] += sign
	dem := &s.Table().Demands[d]
	p.wants.cpu += sign * dem.CPUTotal()
	p.wants.mem += sign * dem.Need.Mem * int64(dem.Gang)
	if dem.Need.GPUs == 0 {
		return
	}
	room := s.Room()
	for i, typ := range room.GPUTypes() {
		if len(p.wants.gpu) <= i {
			p.wants.gpu = append(p.wants.gpu, 0)
		}
		if takes(dem, typ) {
			p.wants.gpu[i] += sign * dem.GPUTotal()
		}
	}
}

// takes reports whether the demand may use GPUs of a type: as placing does, whatever the case of the letters.
func takes(d *sched.Demand, typ string) bool {
	return len(d.GPUTypes) == 0 || slices.ContainsFunc(d.GPUTypes, func(t string) bool { return strings.EqualFold(t, typ) })
}

// heat returns the heat of the resource that the demand asks most of, 0..1.
func (p *CriticalPath) heat(s *sched.State, d sched.DemandID) float64 {
	room, dem := s.Room(), &s.Table().Demands[d]
	ratio := func(want, capacity, used int64) float64 {
		free := max(capacity-used, 0)
		if want+free == 0 {
			return 0
		}
		return float64(want) / float64(want+free)
	}
	share, heat := -1.0, 0.0
	consider := func(asks, want, capacity, used int64) {
		if capacity <= 0 || asks <= 0 {
			return
		}
		if sh := float64(asks) / float64(capacity); sh > share {
			share, heat = sh, ratio(want, capacity, used)
		}
	}
	c, u := room.CPU()
	consider(dem.CPUTotal(), p.wants.cpu, c, u)
	c, u = room.Mem()
	consider(dem.Need.Mem*int64(dem.Gang), p.wants.mem, c, u)
	if dem.Need.GPUs > 0 {
		var want, capacity, used int64
		for i, typ := range room.GPUTypes() {
			if i < len(p.wants.gpu) && takes(dem, typ) {
				cc, uu := room.GPUs(i)
				want, capacity, used = max(want, p.wants.gpu[i]), capacity+cc, used+uu
			}
		}
		consider(dem.GPUTotal(), want, capacity, used)
	}
	return heat
}

// Decide starts ready tasks in the order of their priority, past what does not fit, beside the reservation of the oldest overdue task.
func (p *CriticalPath) Decide(r *sched.Round) {
	if p.stale {
		p.refresh(r.State)
	}
	p.reserveForOldest(r)
	if p.W.Heat > 0 {
		for len(p.bias) < len(r.Table().Demands) {
			p.bias = append(p.bias, 0)
		}
		for _, d := range p.lines.Open() {
			p.bias[d] = -int64(math.Round(p.W.Heat * unit * p.heat(r.State, d)))
		}
	}
	var bias []int64
	if p.W.Heat > 0 {
		bias = p.bias
	}
	crowded := 0
	for {
		d, ok := p.lines.Best(bias)
		if !ok {
			break
		}
		t := p.lines.First(d).Task
		if t == p.holder {
			p.aside = append(p.aside, p.lines.Pop(d)) // it has no room; others of its demand may run beside its reservation
			continue
		}
		on, found, fits := p.place(r, t)
		switch {
		case !found && !fits:
			r.Skip(t, sched.NoRoom)
			p.lines.Shut(d)
		case !found: // it would delay the reservation; a shorter one of the same demand may not
			r.Skip(t, sched.Order)
			p.aside = append(p.aside, p.lines.Pop(d))
			if crowded++; crowded%crowdedTries == 0 {
				p.lines.Shut(d)
				p.crowded = append(p.crowded, d)
			}
		default:
			it := p.lines.Pop(d)
			if !r.Start(t, on...) {
				p.aside = append(p.aside, it)
				continue
			}
			p.ask(r.State, t, -1)
			if p.holder != sched.Nobody {
				p.reserve.started(r.State, t, on)
			}
		}
	}
	for _, it := range p.aside {
		p.lines.Push(r.DemandID(it.Task), it)
	}
	p.aside = p.aside[:0]
	for _, d := range p.crowded {
		p.lines.Unshut(d) // given up for this decision only: what would delay the reservation now may not do so later
	}
	p.crowded = p.crowded[:0]
	for _, t := range p.fresh {
		if r.Phase(t) == sched.Ready && p.lines.IsShut(r.DemandID(t)) {
			r.Skip(t, sched.NoRoom)
		}
	}
	p.fresh = p.fresh[:0]
}

// crowdedTries bounds how many tasks that would delay the reservation a decision looks at before it gives up the line at hand.
const crowdedTries = 16

// reserveForOldest starts the oldest ready tasks that have waited for the patience, and reserves for the first that finds no room. One that
// a quota holds back, or that no running task's end lets start because a node is down, is passed over: others must not starve behind it.
func (p *CriticalPath) reserveForOldest(r *sched.Round) {
	p.holder = sched.Nobody
	for len(p.oldest) > 0 {
		it := p.oldest[0]
		t := it.Task
		if r.Phase(t) != sched.Ready {
			p.oldest.Pop()
			continue
		}
		if r.Now() < p.due(r.State, t) {
			break // when it is, nothing starts for that alone; the next fact's decision sees it
		}
		on, ok := p.choose(r.State, r.Room(), t, p.buf[:0])
		p.buf = on[:0]
		if ok && r.Start(t, on...) {
			p.lines.Remove(r.DemandID(t), t)
			p.ask(r.State, t, -1)
			p.oldest.Pop()
			continue
		}
		if !ok {
			r.Skip(t, sched.NoRoom)
			p.holder = t
			p.reserve.keepFor(t, FirstFit, true)
			if !someDown(r.Room()) {
				break
			}
			if p.reserve.ready(r.State); p.reserve.shadow != sched.Never {
				break
			}
			p.holder = sched.Nobody
		}
		p.passed = append(p.passed, it)
		p.oldest.Pop()
	}
	for _, it := range p.passed {
		p.oldest.Push(it)
	}
	p.passed = p.passed[:0]
}

func someDown(room *sched.Room) bool {
	for n := range room.Len() {
		if !room.Up(sched.NodeID(n)) {
			return true
		}
	}
	return false
}

// place looks for room for t, beside the reservation if there is one.
func (p *CriticalPath) place(r *sched.Round, t sched.TaskID) (on []sched.Placement, ok, fits bool) {
	if p.holder == sched.Nobody {
		on, ok = p.choose(r.State, r.Room(), t, p.buf[:0])
		p.buf = on[:0]
		return on, ok, ok
	}
	on, ok, fits = p.reserve.backfill(r.State, FirstFit, t, p.buf[:0], false)
	p.buf = on[:0]
	return on, ok, fits
}

// choose places by the node score, or by first fit.
func (p *CriticalPath) choose(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	if p.First {
		return room.FirstFit(s.DemandID(t), buf)
	}
	return p.byScore(s, room, t, buf)
}

// byScore places on the nodes with the best score among at most Score candidates; a gang fills them in the order of their scores and
// falls back on first fit where they do not hold it.
func (p *CriticalPath) byScore(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	d := s.DemandID(t)
	dem := &s.Table().Demands[d]
	p.nodes = room.Candidates(d, 0, p.Score, p.nodes[:0])
	if len(p.nodes) == 0 {
		return buf, false
	}
	p.scored = p.scored[:0]
	for _, n := range p.nodes {
		p.scored = append(p.scored, scoredNode{NodeScore(s, room, n), n})
	}
	if dem.Gang == 1 {
		best := p.scored[0]
		for _, c := range p.scored[1:] {
			if c.score > best.score {
				best = c
			}
		}
		return append(buf, sched.Placement{Node: best.node, Replicas: 1, GPUs: room.Devices(d, best.node, 1)}), true
	}
	if dem.Need.GPUs > 0 && dem.Need.GPUMilli < sched.Whole {
		return room.FirstFit(d, buf)
	}
	slices.SortStableFunc(p.scored, func(a, b scoredNode) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return int(a.node - b.node)
	})
	start, left := len(buf), dem.Gang
	for _, c := range p.scored {
		if k := room.FitsOn(d, c.node, left); k > 0 {
			buf = append(buf, sched.Placement{Node: c.node, Replicas: k, GPUs: room.Devices(d, c.node, k)})
			if left -= k; left == 0 {
				return buf, true
			}
		}
	}
	return room.FirstFit(d, buf[:start])
}

// freshProfile is the age from which on a sampled load no longer counts.
const freshProfile = 10 * time.Second

// NodeScore is the node score of S7, 0..1: 0.5 x free memory ratio + 0.4 x (1 - GPU load) + 0.1 x 1/(1 + storage latency in ms). A
// node that states no memory has all of it free; on a node without GPUs the load is that of its CPU.
func NodeScore(s *sched.State, room *sched.Room, n sched.NodeID) float64 {
	spec := room.Spec(n)
	mem := 1.0
	if spec.Mem > 0 && spec.Mem < sched.Unlimited {
		mem = float64(max(room.FreeMem(n), 0)) / float64(spec.Mem)
	}
	load := 0.0
	switch {
	case spec.GPUs > 0:
		load = 1 - float64(room.FreeGPUMilli(n))/float64(int64(spec.GPUs)*sched.Whole)
	case spec.CPU > 0 && spec.CPU < sched.Unlimited:
		load = 1 - float64(max(room.FreeCPU(n), 0))/float64(spec.CPU)
	}
	if p, ok := s.ProfileOf(n); ok && s.ProfileAge(n) < freshProfile {
		load = max(load, p.GPULoad)
	}
	score := 0.5*mem + 0.4*(1-load) + 0.1/(1+float64(spec.StorageLatency)/float64(time.Millisecond))
	return math.Round(score*1e9) / 1e9
}
