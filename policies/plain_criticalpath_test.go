package policies

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// PlainCriticalPath is CriticalPath written the obvious way: every key, sum and score is worked out when it is asked for. It says what the
// orders must be.
type PlainCriticalPath struct {
	W        Weights
	Patience time.Duration // 0: as above
	Score    int           // nodes scored at most; 0: all
	First    bool          // first fit instead of the node score

	lines   plainLines
	fresh   []sched.TaskID
	aside   []heap.Item
	crowded []sched.DemandID // lines given up in this decision
	bias    []int64
	oldest  heap.Heap                     // ready tasks by first readiness; those that left are skipped
	passed  []heap.Item                   // scratch of reserveForOldest
	ranks   []int64                       // upward rank, ns; 0 = not computed
	jobs    map[sched.JobID]*plainJobPath // of several tasks
	only    []sched.TaskID                // by JobID: the one task of it that has arrived; Nobody
	changed []*plainJobPath               // scratch of rerank
	touched []sched.TaskID                // scratch of rerank
	stale   bool                          // estimates or capacities changed: sums and keys are taken anew at the next decision
	count   int64                         // tasks that arrived
	area    float64                       // sum of a over them
	est     float64                       // sum of their estimates, s
	meanA   float64
	meanE   float64
	asked   []int64 // by demand: ready tasks
	wants   plainWants
	backlog int64 // sum of a over the ready tasks: ns of the whole cluster, whole so that the order of summing does not matter
	buf     []sched.Placement
	nodes   []sched.NodeID
	scored  []plainScored
	reserve reservation
	holder  sched.TaskID // whose reservation stands in this decision
}

// plainJobPath follows what is left of the longest path of a job of several tasks.
type plainJobPath struct {
	byRank []sched.TaskID // largest upward rank first
	top    int            // first of them that is not over
	keyed  int64          // R: the largest rank of those left, rounded up; 0 = not known
	dirty  bool           // in PlainCriticalPath.changed
}

// plainWants sums what ready tasks ask for.
type plainWants struct {
	cpu, mem int64
	gpu      []int64 // by GPU type of the cluster: of the demands that may use it
}

type plainScored struct {
	last  int // plainLast
	score float64
	node  sched.NodeID
}

// Observe keeps ranks, sums and lines.
func (p *PlainCriticalPath) Observe(s *sched.State, e sched.Event) {
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

func (p *PlainCriticalPath) left(s *sched.State, t sched.TaskID) {
	if p.lines.Remove(s.DemandID(t), t) {
		p.ask(s, t, -1)
	}
}

// arrived computes upward ranks and takes the tasks into their job and the means. All that it keeps is what the tasks that have arrived
// make it, in whatever groups they did.
func (p *PlainCriticalPath) arrived(s *sched.State, e sched.Event) {
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
func (p *PlainCriticalPath) take(s *sched.State, t sched.TaskID) {
	p.area += p.areaOf(s, t)
	p.est += s.Estimate(t).Seconds()
	p.count++
	if p.count&(p.count-1) == 0 {
		p.meanA, p.meanE = p.area/float64(p.count), p.est/float64(p.count)
	}
}

// refresh takes sums and keys anew.
func (p *PlainCriticalPath) refresh(s *sched.State) {
	p.stale = false
	p.count, p.area, p.est, p.meanA, p.meanE = 0, 0, 0, 0, 0
	p.backlog, p.wants = 0, plainWants{gpu: p.wants.gpu[:0]}
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
func (p *PlainCriticalPath) join(s *sched.State, t sched.TaskID) {
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
			p.jobs = map[sched.JobID]*plainJobPath{}
		}
		j = &plainJobPath{byRank: []sched.TaskID{p.only[id]}}
		p.jobs[id] = j
	}
	j.byRank = append(j.byRank, t)
	p.change(j)
}

func (p *PlainCriticalPath) change(j *plainJobPath) {
	if !j.dirty {
		j.dirty = true
		p.changed = append(p.changed, j)
	}
}

// rekeyChanged puts the jobs whose ranks have changed in order again.
func (p *PlainCriticalPath) rekeyChanged(s *sched.State) {
	for _, j := range p.changed {
		j.dirty = false
		slices.SortFunc(j.byRank, func(a, b sched.TaskID) int { return cmp.Or(cmp.Compare(p.ranks[b], p.ranks[a]), cmp.Compare(a, b)) })
		j.top, j.keyed = 0, 0
		p.settle(s, j)
	}
	p.changed = p.changed[:0]
}

// settle finds R of what is left of a job, and keys its ready tasks by it if it has changed.
func (p *PlainCriticalPath) settle(s *sched.State, j *plainJobPath) {
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
func (p *PlainCriticalPath) rank(s *sched.State, t sched.TaskID) {
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
func (p *PlainCriticalPath) rerank(s *sched.State, t sched.TaskID) {
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
func (p *PlainCriticalPath) over(s *sched.State, t sched.TaskID) {
	if j := p.jobs[s.Task(t).Job]; j != nil {
		p.settle(s, j)
	}
}

func (p *PlainCriticalPath) rekey(s *sched.State, t sched.TaskID) {
	if s.Phase(t) == sched.Ready && p.lines.Remove(s.DemandID(t), t) {
		p.lines.Push(s.DemandID(t), heap.Item{Key: p.key(s, t), Task: t})
	}
}

// rekeyPreds looks again at the ready predecessors of t: one of them may have become the last that t waits for, or be so no more.
func (p *PlainCriticalPath) rekeyPreds(s *sched.State, t sched.TaskID) {
	for u := range s.Preds(t) {
		p.rekey(s, u)
	}
}

// areaOf returns the task's dominant share of the cluster x its estimate in seconds.
func (p *PlainCriticalPath) areaOf(s *sched.State, t sched.TaskID) float64 {
	return plainDominantShare(s.Room(), s.Demand(t)) * s.Estimate(t).Seconds()
}

// plainDominantShare is the largest share of a resource of the whole cluster that the demand asks for (Ghodsi et al. 2011, section 4).
func plainDominantShare(room *sched.Room, d *sched.Demand) float64 {
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
func (p *PlainCriticalPath) key(s *sched.State, t sched.TaskID) int64 {
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
	if dl := s.Deadline(t); dl != sched.Never {
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
func (p *PlainCriticalPath) due(s *sched.State, t sched.TaskID) sched.Time {
	d := p.patience()
	if p.Patience <= 0 {
		d = min(d+time.Duration(4*p.backlog), sched.MulDiv(d, 5, 1, false))
	}
	return s.FirstReady(t).Add(d)
}

// late reports whether t, the oldest, waits for tasks that run for longer than was estimated.
func (p *PlainCriticalPath) late(s *sched.State, t sched.TaskID) bool {
	since := s.FirstReady(t).Add(p.patience())
	if p.Patience <= 0 {
		since = s.FirstReady(t).Add(5 * p.patience())
	}
	longest := time.Duration(0)
	for u := range sched.TaskID(s.Known()) {
		if s.Phase(u) != sched.Unknown {
			longest = max(longest, s.Estimate(u))
		}
	}
	for v := range s.RunningTasks() {
		if cmp.Or(cmp.Compare(s.FirstReady(v), s.FirstReady(t)), cmp.Compare(v, t)) < 0 {
			since = max(since, s.StartedAt(v))
		}
	}
	for v := range s.RunningTasks() {
		if s.StartedAt(v) <= since && s.EstimatedEnd(v) >= s.Now() {
			return false
		}
	}
	return s.Now() > since.Add(longest)
}

// patience is the patience without what stands for the backlog; the age term counts in it too.
func (p *PlainCriticalPath) patience() time.Duration {
	if p.Patience > 0 {
		return p.Patience
	}
	return max(time.Duration(20*p.meanE*1e9), time.Second)
}

// ask keeps what ready tasks ask for together.
func (p *PlainCriticalPath) ask(s *sched.State, t sched.TaskID, sign int64) {
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
		if plainTakes(dem, typ) {
			p.wants.gpu[i] += sign * dem.GPUTotal()
		}
	}
}

// plainTakes reports whether the demand may use GPUs of a type: as placing does, whatever the case of the letters.
func plainTakes(d *sched.Demand, typ string) bool {
	return len(d.GPUTypes) == 0 || slices.ContainsFunc(d.GPUTypes, func(t string) bool { return strings.EqualFold(t, typ) })
}

// heat returns the heat of the resource that the demand asks most of, 0..1.
func (p *PlainCriticalPath) heat(s *sched.State, d sched.DemandID) float64 {
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
			if i < len(p.wants.gpu) && plainTakes(dem, typ) {
				cc, uu := room.GPUs(i)
				want, capacity, used = max(want, p.wants.gpu[i]), capacity+cc, used+uu
			}
		}
		consider(dem.GPUTotal(), want, capacity, used)
	}
	return heat
}

// Decide starts ready tasks in the order of their priority, past what does not fit, beside the reservation of the oldest overdue task.
func (p *PlainCriticalPath) Decide(r *sched.Round) {
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

// reserveForOldest starts the oldest ready tasks that have waited for the patience, and reserves for the first that finds no room. One that
// a quota holds back, or that no running task's end lets start because a node is down, is passed over: others must not starve behind it.
func (p *PlainCriticalPath) reserveForOldest(r *sched.Round) {
	p.holder = sched.Nobody
	for len(p.oldest) > 0 {
		it := p.oldest[0]
		t := it.Task
		if r.Phase(t) != sched.Ready || it.Key != int64(r.FirstReady(t)) { // an edge that came with it may have blocked it: it was not ready then
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
			p.reserve.senior = p.late(r.State, t)
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

// place looks for room for t, beside the reservation if there is one.
func (p *PlainCriticalPath) place(r *sched.Round, t sched.TaskID) (on []sched.Placement, ok, fits bool) {
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
func (p *PlainCriticalPath) choose(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	if p.First {
		return room.FirstFit(s.DemandID(t), buf)
	}
	return p.byScore(s, room, t, buf)
}

// byScore places on the nodes with the best score among at most Score candidates; a gang fills them in the order of their scores and
// falls back on first fit where they do not hold it.
func (p *PlainCriticalPath) byScore(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	d := s.DemandID(t)
	dem := &s.Table().Demands[d]
	p.nodes = room.Candidates(d, 0, p.Score, p.nodes[:0])
	if len(p.nodes) == 0 {
		return buf, false
	}
	p.scored = p.scored[:0]
	for _, n := range p.nodes {
		p.scored = append(p.scored, plainScored{plainLast(room, dem, n), plainNodeScore(s, room, n), n})
	}
	if dem.Gang == 1 {
		best := p.scored[0]
		for _, c := range p.scored[1:] {
			if c.last < best.last || c.last == best.last && c.score > best.score {
				best = c
			}
		}
		return append(buf, sched.Placement{Node: best.node, Replicas: 1, GPUs: room.Devices(d, best.node, 1)}), true
	}
	if dem.Need.GPUs > 0 && dem.Need.GPUMilli < sched.Whole {
		return room.FirstFit(d, buf)
	}
	slices.SortStableFunc(p.scored, func(a, b plainScored) int {
		switch {
		case a.last != b.last:
			return a.last - b.last
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

// plainNodeScore is the node score of S7, 0..1: 0.5 x free memory ratio + 0.4 x (1 - GPU load) + 0.1 x 1/(1 + storage latency in ms). A
// node that states no memory has all of it free; on a node without GPUs the load is that of its CPU.
func plainNodeScore(s *sched.State, room *sched.Room, n sched.NodeID) float64 {
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

// plainLines is lines.Lines without an index: all that is kept is which tasks stand in which line, and which lines are shut.
type plainLines struct {
	items [][]heap.Item // by demand, in no order
	shut  []bool
}

func (l *plainLines) Index(int) {}

func (l *plainLines) Push(d sched.DemandID, it heap.Item) {
	for len(l.items) <= int(d) {
		l.items, l.shut = append(l.items, nil), append(l.shut, false)
	}
	l.items[d] = append(l.items[d], it)
}

func (l *plainLines) Shut(d sched.DemandID)   { l.shut[d] = true }
func (l *plainLines) Unshut(d sched.DemandID) { l.shut[d] = false }
func (l *plainLines) Reopen()                 { clear(l.shut) }

func (l *plainLines) IsShut(d sched.DemandID) bool { return int(d) < len(l.shut) && l.shut[d] }

func (l *plainLines) Open() []sched.DemandID {
	var open []sched.DemandID
	for d := range l.items {
		if !l.shut[d] && len(l.items[d]) > 0 {
			open = append(open, sched.DemandID(d))
		}
	}
	return open
}

func (l *plainLines) first(d sched.DemandID) int {
	first := 0
	for i, it := range l.items[d] {
		if it.Before(l.items[d][first]) {
			first = i
		}
	}
	return first
}

func (l *plainLines) First(d sched.DemandID) heap.Item { return l.items[d][l.first(d)] }

func (l *plainLines) Best(bias []int64) (sched.DemandID, bool) {
	var best heap.Item
	of := sched.DemandID(-1)
	for _, d := range l.Open() {
		it := l.First(d)
		if bias != nil {
			it.Key += bias[d]
		}
		if of < 0 || it.Before(best) {
			best, of = it, d
		}
	}
	return of, of >= 0
}

func (l *plainLines) Pop(d sched.DemandID) heap.Item {
	i := l.first(d)
	it := l.items[d][i]
	l.items[d] = slices.Delete(l.items[d], i, i+1)
	return it
}

func (l *plainLines) Remove(d sched.DemandID, t sched.TaskID) bool {
	if int(d) >= len(l.items) {
		return false
	}
	i := slices.IndexFunc(l.items[d], func(it heap.Item) bool { return it.Task == t })
	if i >= 0 {
		l.items[d] = slices.Delete(l.items[d], i, i+1)
	}
	return i >= 0
}

func (l *plainLines) Rekey(key func(sched.TaskID) int64) {
	for _, items := range l.items {
		for i := range items {
			items[i].Key = key(items[i].Task)
		}
	}
}
