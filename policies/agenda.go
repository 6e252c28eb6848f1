package policies

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// agenda knows when room is expected on each node: the running tasks of every node in the order of their estimated ends, and, for each
// demand that stood at the head of the line, the earliest time at which every node could hold one task of it. An event changes one or
// two nodes, so the earliest of all nodes is found again in logarithmic time instead of by looking at all running tasks. It serves demands
// that fit on one node, where nobody shares GPUs; others are worked out on a copy of the room (reservation.make).
type agenda struct {
	runs   [][]nodeRun // by node, by end
	gpus   []int32     // by node: what they hold
	gangs  gangs
	log    []sched.NodeID    // nodes that changed, oldest first; not kept of a single node
	begun  int               // number of entries that were dropped from the front of log
	byDem  []*whenFits       // by demand; nil = never asked for
	takes  []amount          // by demand: of one replica
	holds  []holding         // what a task may hold of a node, by nodeRun.kind
	usual  []int32           // by demand: the kind of its tasks that was last asked for
	kinds  map[holding]int32 // kinds by what they are; sizes are not looked at
	any    []bool            // by demand: every node is of the right kind
	shares bool              // some demand is for a share of a GPU: the agenda does not serve
	mixed  bool              // some node is not of reference speed
}

// nodeRun is a running task on a node. There are many, looked at in no order, so they are small.
type nodeRun struct {
	end  sched.Time // by its estimate, whatever the time is
	task sched.TaskID
	kind int32 // what it holds here: index of agenda.holds
}

// holding is what some replicas of a demand hold.
type holding struct {
	demand   sched.DemandID
	replicas int32
	instant  bool // estimated to take no time: not past its estimate in the instant of its start
	size     amount
}

// kind returns the kind of a holding.
func (a *agenda) kind(d sched.DemandID, replicas int32, instant bool) int32 {
	if i := a.usual[d]; i >= 0 {
		if h := &a.holds[i]; h.replicas == replicas && h.instant == instant {
			return i
		}
	}
	h := holding{demand: d, replicas: replicas, instant: instant}
	i, ok := a.kinds[h]
	if !ok {
		if a.kinds == nil {
			a.kinds = map[holding]int32{}
		}
		i = int32(len(a.holds))
		a.kinds[h] = i
		h.size = a.takes[d].times(replicas)
		a.holds = append(a.holds, h)
	}
	a.usual[d] = i
	return i
}

// size returns what a running task holds of its node.
func (a *agenda) size(r *nodeRun) amount { return a.holds[r.kind].size }

// late returns from when on a task is past its estimate.
func (a *agenda) late(r *nodeRun) sched.Time {
	if a.holds[r.kind].instant {
		return r.end + 1
	}
	return r.end
}

// amount is what tasks hold of a node, whole GPUs only.
type amount struct {
	cpu, mem int64
	gpus     int32
}

func amountOf(need *sched.Need, replicas int32) amount {
	k := int64(replicas)
	return amount{k * need.CPU, k * need.Mem, replicas * need.GPUs}
}

func (a amount) plus(b amount) amount { return amount{a.cpu + b.cpu, a.mem + b.mem, a.gpus + b.gpus} }

func (a amount) minus(b amount) amount { return amount{a.cpu - b.cpu, a.mem - b.mem, a.gpus - b.gpus} }

func (a amount) times(k int32) amount { return amount{int64(k) * a.cpu, int64(k) * a.mem, k * a.gpus} }

// covers reports whether a is enough for need.
func (a amount) covers(need *amount) bool {
	return a.cpu >= need.cpu && a.mem >= need.mem && a.gpus >= need.gpus
}

// nonNegative reports whether a is not less than nothing of what need asks for.
func (a amount) nonNegative(need amount) bool {
	return (need.cpu == 0 || a.cpu >= 0) && (need.mem == 0 || a.mem >= 0) && (need.gpus == 0 || a.gpus >= 0)
}

// freeOn returns what is free on a node; nothing where there is less: claims and what others use may take more than there is.
func freeOn(room *sched.Room, n sched.NodeID) amount {
	a := amountFree(room, n)
	return amount{max(a.cpu, 0), max(a.mem, 0), max(a.gpus, 0)}
}

// amountFree returns what is free on a node, below 0 where there is less than nothing.
func amountFree(room *sched.Room, n sched.NodeID) amount {
	cpu, mem, gpus := room.Free(n)
	return amount{cpu, mem, gpus}
}

// whenFits keeps, for one demand, when each node could hold a task of it by the estimates.
type whenFits struct {
	seen int          // entries of the log that are taken in, dropped ones included
	asks int32        // how often that was
	size int          // leaves of tree, a power of two
	tree []sched.Time // smallest time of each subtree; leaf i at size+i; Never = not by the running tasks' ends
	mark []int32      // by node: when it was taken in
}

func (a *agenda) touch(n sched.NodeID) {
	if len(a.runs) == 1 {
		return
	}
	if len(a.log) > 4*len(a.runs)+1024 { // who has not asked for so long starts afresh
		a.begun += len(a.log)
		a.log = a.log[:0]
	}
	a.log = append(a.log, n)
}

func (a *agenda) grow(s *sched.State) {
	if len(a.runs) < s.Room().Len() || len(a.takes) < len(s.Table().Demands) {
		a.growMore(s)
	}
}

func (a *agenda) growMore(s *sched.State) {
	defer a.lookUp(s)
	const each = 8 // entries to begin with, side by side: two cache lines a node
	slab := make([]nodeRun, each*max(s.Room().Len()-len(a.runs), 0))
	for len(a.runs) < s.Room().Len() {
		a.mixed = a.mixed || !s.Room().Spec(sched.NodeID(len(a.runs))).Reference()
		a.runs, a.gpus, a.any = append(a.runs, slab[:0:each]), append(a.gpus, 0), a.any[:0]
		slab = slab[each:]
	}
	for all := s.Table().Demands; len(a.takes) < len(all); {
		n := &all[len(a.takes)].Need
		a.shares = a.shares || n.GPUs > 0 && n.GPUMilli < sched.Whole
		a.takes, a.usual = append(a.takes, amountOf(n, 1)), append(a.usual, -1)
	}
}

// allowed is Room.Allowed: whether the node is of the right kind for the demand.
func (a *agenda) allowed(s *sched.State, d sched.DemandID, n sched.NodeID) bool {
	return int(d) < len(a.any) && a.any[d] || s.Room().Allowed(d, n)
}

// lookUp finds out for which demands every node is of the right kind.
func (a *agenda) lookUp(s *sched.State) {
	for len(a.any) < len(s.Table().Demands) {
		any := true
		for n := range a.runs {
			any = any && s.Room().Allowed(sched.DemandID(len(a.any)), sched.NodeID(n))
		}
		a.any = append(a.any, any)
	}
}

// add books a task that has just been started.
func (a *agenda) add(s *sched.State, t sched.TaskID) {
	on := s.Placements(t)
	d, r := s.DemandID(t), nodeRun{end: s.EstimatedEnd(t), task: t}
	instant := r.end == s.StartedAt(t)
	for i := range on {
		r.kind = a.kind(d, on[i].Replicas, instant)
		a.insert(on[i].Node, r)
	}
	a.gangs.note(t, on)
}

// has reports whether a running task is booked.
func (a *agenda) has(s *sched.State, t sched.TaskID) bool {
	return slices.ContainsFunc(a.runs[s.Placements(t)[0].Node], func(r nodeRun) bool { return r.task == t })
}

// few is the length up to which a list is looked through one by one.
const few = 16

func (a *agenda) insert(n sched.NodeID, r nodeRun) {
	to := &a.runs[n]
	list := append(*to, r)
	*to = list
	a.gpus[n] += a.holds[r.kind].size.gpus
	i := len(list) - 1
	if i > few {
		at := position(list[:i], r.end, r.task)
		copy(list[at+1:], list[at:i])
		list[at] = r
	} else {
		for ; i > 0 && !list[i-1].before(r.end, r.task); i-- {
			list[i] = list[i-1]
		}
		list[i] = r
	}
	a.touch(n)
}

// addOn is add for a task that has just been started as a whole on one node, and returns its estimated end.
func (a *agenda) addOn(s *sched.State, t sched.TaskID, d sched.DemandID, n sched.NodeID) sched.Time {
	end := s.EstimatedEnd(t)
	a.insert(n, nodeRun{end: end, task: t, kind: a.kind(d, s.Table().Demands[d].Gang, end == s.Now())})
	return end
}

// remove takes a task off a node. It need not be there.
func (a *agenda) remove(s *sched.State, n sched.NodeID, t sched.TaskID) (r nodeRun, ok bool) {
	from := &a.runs[n]
	list, i := *from, -1
	for j := range list[:min(len(list), few)] {
		if list[j].task == t {
			i = j
			break
		}
	}
	if i < 0 && len(list) > few { // it is likely to be where its first start and its estimate say
		end := s.Outcome(t).Start.Add(s.Estimate(t))
		if at := position(list, end, t); at < len(list) && list[at].task == t {
			i = at
		} else {
			i = slices.IndexFunc(list, func(r nodeRun) bool { return r.task == t })
		}
	}
	if i < 0 {
		return r, false
	}
	r = list[i]
	if last := len(list) - 1; last > few {
		copy(list[i:], list[i+1:])
	} else {
		for ; i < last; i++ {
			list[i] = list[i+1]
		}
	}
	*from = list[:len(list)-1]
	a.gpus[n] -= a.holds[r.kind].size.gpus
	a.touch(n)
	return r, true
}

func (r *nodeRun) before(end sched.Time, t sched.TaskID) bool {
	return r.end < end || r.end == end && r.task < t
}

// position returns where in a list a task belongs. Most belong among the first, since what ends soon is what comes and goes. Of the others it cannot
// be foreseen in which half they are, so that nothing is made to depend on it but a sum.
func position(list []nodeRun, end sched.Time, t sched.TaskID) int {
	lo := 0
	for ; lo < len(list) && lo < few/2; lo++ {
		if r := &list[lo]; r.end >= end && !r.before(end, t) {
			return lo
		}
	}
	const signs = 1 << 63
	high, low := uint64(end)^signs, uint64(t)
	for n := len(list) - lo; n > 0; {
		half := (n + 1) / 2
		r := &list[lo+half-1]
		_, less := bits.Sub64(uint64(r.task), low, 0)
		_, less = bits.Sub64(uint64(r.end)^signs, high, less)
		lo += half & -int(less)
		n -= half
	}
	return lo
}

// serves reports whether the agenda can tell when a task of the demand fits: where it fits on one node as a whole.
func (a *agenda) serves(s *sched.State, d *sched.Demand) bool {
	return !a.shares && (d.Gang == 1 || s.Room().Len() == 1)
}

// earliest returns the shadow time of a demand that does not fit now and the lowest-numbered node that holds it then; Never where no
// end of a running task makes room.
func (a *agenda) earliest(s *sched.State, d sched.DemandID) (sched.Time, sched.NodeID) {
	if s.Room().Len() == 1 {
		if at := a.expected(s, d, 0, sched.Never); at != sched.Never {
			return at, 0
		}
		return sched.Never, sched.NoNode
	}
	w := a.upToDate(s, d)
	soon := s.Now().Add(time.Second) // what is past its estimate is expected to end then
	if w.tree[1] >= soon {
		return w.tree[1], w.leftmost(w.tree[1])
	}
	// The tree takes overdue ends as if they had come at their time, which is never too late: look at nodes from the left as long as they
	// promise less than the best so far.
	best, at := sched.Never, sched.NoNode
	a.search(s, d, w, 1, soon, &best, &at)
	return best, at
}

// search looks through the subtree i for a node that holds the demand before best.
func (a *agenda) search(s *sched.State, d sched.DemandID, w *whenFits, i int, soon sched.Time, best *sched.Time, at *sched.NodeID) {
	switch {
	case w.tree[i] >= *best:
	case i < w.size:
		a.search(s, d, w, 2*i, soon, best, at)
		a.search(s, d, w, 2*i+1, soon, best, at)
	default:
		n := sched.NodeID(i - w.size)
		t := w.tree[i]
		if a.overdue(s, n) {
			t = a.whenLate(s, d, n, soon)
		}
		if t < *best {
			*best, *at = t, n
		}
	}
}

// expected returns the estimated end that makes room for the demand on a node, if it is not later than until; what is past its estimate ends
// in a second.
func (a *agenda) expected(s *sched.State, d sched.DemandID, n sched.NodeID, until sched.Time) sched.Time {
	if a.overdue(s, n) {
		return a.whenLate(s, d, n, s.Now().Add(time.Second))
	}
	return a.when(s, d, n, until)
}

func (w *whenFits) leftmost(t sched.Time) sched.NodeID {
	if t == sched.Never {
		return sched.NoNode
	}
	i := 1
	for i < w.size {
		if i *= 2; w.tree[i] != t {
			i++
		}
	}
	return sched.NodeID(i - w.size)
}

// upToDate takes in what changed since the demand was last asked for.
func (a *agenda) upToDate(s *sched.State, d sched.DemandID) *whenFits {
	for len(a.byDem) <= int(d) {
		a.byDem = append(a.byDem, nil)
	}
	nodes := s.Room().Len()
	w := a.byDem[d]
	if w == nil || len(w.mark) < nodes || w.seen < a.begun || a.begun+len(a.log)-w.seen > nodes {
		w = a.fresh(s, d, w)
	} else {
		w.asks++
		for _, n := range a.log[w.seen-a.begun:] {
			if w.mark[n] == w.asks {
				continue // a node that changed once has often changed twice
			}
			w.mark[n] = w.asks
			w.set(w.size+int(n), a.when(s, d, n, sched.Never))
		}
	}
	w.seen = a.begun + len(a.log)
	return w
}

// set changes a leaf.
func (w *whenFits) set(i int, t sched.Time) {
	for w.tree[i] != t {
		w.tree[i] = t
		if i == 1 {
			return
		}
		t = min(t, w.tree[i^1])
		i /= 2
	}
}

func (a *agenda) fresh(s *sched.State, d sched.DemandID, w *whenFits) *whenFits {
	nodes := s.Room().Len()
	if w == nil || len(w.mark) < nodes {
		size := 1
		for size < nodes {
			size *= 2
		}
		w = &whenFits{size: size, tree: make([]sched.Time, 2*size), mark: make([]int32, nodes)}
		for i := range w.tree {
			w.tree[i] = sched.Never
		}
		a.byDem[d] = w
	}
	for n := range nodes {
		w.tree[w.size+n] = a.when(s, d, sched.NodeID(n), sched.Never)
	}
	for i := w.size - 1; i > 0; i-- {
		w.tree[i] = min(w.tree[2*i], w.tree[2*i+1])
	}
	return w
}

// when returns the estimated end that makes room for one task of the demand on a node, not later than until, as if nothing were overdue;
// Never where there is none.
func (a *agenda) when(s *sched.State, d sched.DemandID, n sched.NodeID, until sched.Time) sched.Time {
	runs := a.runs[n]
	if len(runs) == 0 || runs[0].end > until || !s.Room().Up(n) || !a.allowed(s, d, n) {
		return sched.Never
	}
	gap := gapOn(s, d, n)
	switch take := &a.takes[d]; {
	case take.cpu == 0 && take.mem == 0: // the usual cases of one resource are spared the others
		if need, all := s.Table().Demands[d].Gang*take.gpus, s.Room().FreeGPUs(n)+a.gpus[n]; 2*need > all {
			return a.whenAll(runs, all-need)
		}
		for i := range runs {
			if gap.gpus -= a.holds[runs[i].kind].size.gpus; gap.gpus <= 0 {
				return runs[i].end
			}
		}
	case take.gpus == 0 && take.mem == 0:
		for i := range runs {
			if gap.cpu -= a.holds[runs[i].kind].size.cpu; gap.cpu <= 0 {
				return runs[i].end
			}
		}
	default:
		for i := range runs {
			if gap.less(a.size(&runs[i])); gap.closed() {
				return runs[i].end
			}
		}
	}
	return sched.Never
}

// whenAll is the end at which no more GPUs of a node are held than may stay so: where most are wanted, this is found from the other side.
func (a *agenda) whenAll(runs []nodeRun, stay int32) sched.Time {
	if stay < 0 {
		return sched.Never
	}
	for i := len(runs) - 1; i > 0; i-- {
		if stay -= a.holds[runs[i].kind].size.gpus; stay < 0 {
			return runs[i].end
		}
	}
	return runs[0].end
}

// overdue reports whether a task on a node may be past its estimate.
func (a *agenda) overdue(s *sched.State, n sched.NodeID) bool {
	return len(a.runs[n]) > 0 && a.runs[n][0].end <= s.Now()
}

// whenLate is when at a time at which some ends on the node are overdue: these come soon.
func (a *agenda) whenLate(s *sched.State, d sched.DemandID, n sched.NodeID, soon sched.Time) sched.Time {
	if !s.Room().Up(n) || !a.allowed(s, d, n) {
		return sched.Never
	}
	gap := gapOn(s, d, n)
	overdue := func() {
		for i := range a.runs[n] {
			if r := &a.runs[n][i]; a.late(r) <= s.Now() {
				gap.less(a.size(r))
			}
		}
	}
	told := false
	for i := range a.runs[n] {
		r := &a.runs[n][i]
		if a.late(r) <= s.Now() {
			continue
		}
		if r.end > soon && !told {
			told = true
			if overdue(); gap.closed() {
				return soon
			}
		}
		if gap.less(a.size(r)); gap.closed() {
			return r.end
		}
	}
	if !told {
		if overdue(); gap.closed() {
			return soon
		}
	}
	return sched.Never
}

// gap is what a demand needs on a node beyond what is free.
type gap struct{ amount }

// gapOn returns what a task of the demand, all its replicas together, lacks on a node now.
func gapOn(s *sched.State, d sched.DemandID, n sched.NodeID) gap {
	room := s.Room()
	return gap{wanted(&s.Table().Demands[d]).minus(amountFree(room, n))}
}

// wanted is what all replicas of a demand together ask for: one, or all of a gang on the only node. What they do not ask for is far below what any node
// lacks.
func wanted(d *sched.Demand) amount {
	k, a := int64(d.Gang), amount{math.MinInt64 / 2, math.MinInt64 / 2, math.MinInt32 / 2}
	if d.Need.CPU > 0 {
		a.cpu = k * d.Need.CPU
	}
	if d.Need.Mem > 0 {
		a.mem = k * d.Need.Mem
	}
	if d.Need.GPUs > 0 {
		a.gpus = d.Gang * d.Need.GPUs
	}
	return a
}

func (g *gap) less(a amount) { g.amount = g.minus(a) }

func (g *gap) more(a amount) { g.cpu, g.mem, g.gpus = g.cpu+a.cpu, g.mem+a.mem, g.gpus+a.gpus }

func (g *gap) closed() bool { return g.cpu <= 0 && g.mem <= 0 && g.gpus <= 0 }

// free returns what is free on a node at a later time by the estimates.
func (a *agenda) free(s *sched.State, n sched.NodeID, at sched.Time) amount {
	room, now := s.Room(), s.Now()
	sum := amountFree(room, n)
	for i := range a.runs[n] {
		r := &a.runs[n][i]
		if r.end > at && r.end > now {
			break // neither it nor what follows is overdue
		}
		end := r.end
		if a.late(r) <= now {
			end = now.Add(time.Second)
		}
		if end <= at {
			sum = sum.plus(a.size(r))
		}
	}
	return sum
}
