package policies

import (
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// agenda knows when room is expected on each node: the running tasks of every node in the order of their estimated ends, and, for each
// demand that stood at the head of the line, the earliest time at which every node could hold one task of it. An event changes one or
// two nodes, so the earliest of all nodes is found again in logarithmic time instead of by looking at all running tasks. It serves demands
// that fit on one node, where nobody shares GPUs; others are worked out on a copy of the room (reservation.make).
type agenda struct {
	runs   [][]nodeRun                     // by node, by end
	gangs  map[sched.TaskID][]sched.NodeID // nodes of running tasks that have more than one placement
	spare  [][]sched.NodeID                // for gangs, reused
	log    []sched.NodeID                  // nodes that changed, oldest first
	begun  int                             // number of entries that were dropped from the front of log
	byDem  []*whenFits                     // by demand; nil = never asked for
	shares bool                            // some demand is for a share of a GPU: the agenda does not serve
	seen   int                             // demands that were looked at for shares
}

// nodeRun is what a running task holds on a node.
type nodeRun struct {
	end      sched.Time // by its estimate, whatever the time is
	late     sched.Time // from then on it is past its estimate
	task     sched.TaskID
	gpus     int32
	cpu, mem int64
}

// whenFits keeps, for one demand, when each node could hold a task of it by the estimates.
type whenFits struct {
	seen int          // entries of the log that are taken in, dropped ones included
	size int          // leaves of tree, a power of two
	tree []sched.Time // smallest time of each subtree; leaf i at size+i; Never = not by the running tasks' ends
	late []sched.Time // by node: from when on a task whose end it takes is past its estimate
}

func (a *agenda) touch(n sched.NodeID) {
	if len(a.log) > 4*len(a.runs)+1024 { // who has not asked for so long starts afresh
		a.begun += len(a.log)
		a.log = a.log[:0]
	}
	a.log = append(a.log, n)
}

func (a *agenda) grow(s *sched.State) {
	for len(a.runs) < s.Room().Len() {
		a.runs = append(a.runs, nil)
	}
	for ; a.seen < len(s.Table().Demands); a.seen++ {
		n := s.Table().Demands[a.seen].Need
		a.shares = a.shares || n.GPUs > 0 && n.GPUMilli < sched.Whole
	}
}

// observe keeps the agenda by the facts; started must be told of every start too.
func (a *agenda) observe(s *sched.State, e sched.Event) {
	a.grow(s)
	switch e.Kind {
	case sched.Started:
		a.add(s, e.Task)
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
		a.remove(s, e.Task)
	case sched.Updated: // its expected end has moved
		if ph := s.Phase(e.Task); ph == sched.Running || ph == sched.Stopping {
			a.remove(s, e.Task)
			a.add(s, e.Task)
		}
	case sched.NodeUp, sched.NodeDown, sched.NodeProfile:
		a.touch(e.Node)
	}
}

// add books a running task, once.
func (a *agenda) add(s *sched.State, t sched.TaskID) {
	on := s.Placements(t)
	need, end := &s.Demand(t).Need, s.EstimatedEnd(t)
	if slices.ContainsFunc(a.runs[on[0].Node], func(r nodeRun) bool { return r.task == t }) {
		return
	}
	late := end
	if end == s.StartedAt(t) { // estimated to take no time: not late in the instant of its start
		late++
	}
	for _, p := range on {
		k := int64(p.Replicas)
		r := nodeRun{end: end, late: late, task: t, gpus: p.Replicas * need.GPUs, cpu: k * need.CPU, mem: k * need.Mem}
		list := append(a.runs[p.Node], r)
		i := len(list) - 1
		for i > 0 && (list[i-1].end > end || list[i-1].end == end && list[i-1].task > t) {
			list[i] = list[i-1]
			i--
		}
		list[i] = r
		a.runs[p.Node] = list
		a.touch(p.Node)
	}
	if len(on) > 1 {
		if a.gangs == nil {
			a.gangs = map[sched.TaskID][]sched.NodeID{}
		}
		var nodes []sched.NodeID
		if last := len(a.spare) - 1; last >= 0 {
			nodes, a.spare = a.spare[last][:0], a.spare[:last]
		}
		for _, p := range on {
			nodes = append(nodes, p.Node)
		}
		a.gangs[t] = nodes
	}
}

func (a *agenda) remove(s *sched.State, t sched.TaskID) {
	if nodes, ok := a.gangs[t]; ok {
		for _, n := range nodes {
			a.removeFrom(n, t)
		}
		delete(a.gangs, t)
		a.spare = append(a.spare, nodes)
		return
	}
	if n := s.Outcome(t).Node; n != sched.NoNode {
		a.removeFrom(n, t)
	}
}

func (a *agenda) removeFrom(n sched.NodeID, t sched.TaskID) {
	if i := slices.IndexFunc(a.runs[n], func(r nodeRun) bool { return r.task == t }); i >= 0 {
		a.runs[n] = slices.Delete(a.runs[n], i, i+1)
	}
	a.touch(n)
}

// serves reports whether the agenda can tell when a task of the demand fits: where it fits on one node as a whole.
func (a *agenda) serves(s *sched.State, d *sched.Demand) bool {
	return !a.shares && (d.Gang == 1 || s.Room().Len() == 1)
}

// earliest returns the shadow time of a demand that does not fit now and the lowest-numbered node that holds it then; Never where no
// end of a running task makes room.
func (a *agenda) earliest(s *sched.State, d sched.DemandID) (sched.Time, sched.NodeID) {
	w := a.upToDate(s, d)
	soon := s.Now().Add(time.Second) // what is past its estimate is expected to end then
	if w.tree[1] >= soon {
		return w.tree[1], w.leftmost(w.tree[1])
	}
	// The tree takes overdue ends as if they had come at their time, which is never too late: look at nodes from the left as long as they
	// promise less than the best so far.
	best, at := sched.Never, sched.NoNode
	var search func(i int)
	search = func(i int) {
		switch {
		case w.tree[i] >= best:
		case i < w.size:
			search(2 * i)
			search(2*i + 1)
		default:
			n := sched.NodeID(i - w.size)
			t := w.tree[i]
			if w.late[n] <= s.Now() {
				t = a.whenLate(s, d, n, soon)
			}
			if t < best {
				best, at = t, n
			}
		}
	}
	search(1)
	return best, at
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
	if w == nil || len(w.late) < nodes || w.seen < a.begun || a.begun+len(a.log)-w.seen > nodes {
		w = a.fresh(s, d, w)
	} else {
		for _, n := range a.log[w.seen-a.begun:] {
			t, late := a.when(s, d, n)
			w.late[n] = late
			i := w.size + int(n)
			if w.tree[i] == t {
				continue
			}
			w.tree[i] = t
			for i /= 2; i > 0; i /= 2 {
				w.tree[i] = min(w.tree[2*i], w.tree[2*i+1])
			}
		}
	}
	w.seen = a.begun + len(a.log)
	return w
}

func (a *agenda) fresh(s *sched.State, d sched.DemandID, w *whenFits) *whenFits {
	nodes := s.Room().Len()
	if w == nil || len(w.late) < nodes {
		size := 1
		for size < nodes {
			size *= 2
		}
		w = &whenFits{size: size, tree: make([]sched.Time, 2*size), late: make([]sched.Time, nodes)}
		for i := range w.tree {
			w.tree[i] = sched.Never
		}
		a.byDem[d] = w
	}
	for n := range nodes {
		w.tree[w.size+n], w.late[n] = a.when(s, d, sched.NodeID(n))
	}
	for i := w.size - 1; i > 0; i-- {
		w.tree[i] = min(w.tree[2*i], w.tree[2*i+1])
	}
	return w
}

// when returns the estimated end that makes room for one task of the demand on a node, and from when on one of the ends that this takes is
// overdue.
func (a *agenda) when(s *sched.State, d sched.DemandID, n sched.NodeID) (at, late sched.Time) {
	room := s.Room()
	if !room.Up(n) || len(a.runs[n]) == 0 || !room.Allowed(d, n) {
		return sched.Never, sched.Never
	}
	gap := gapOn(s, d, n)
	late = sched.Never
	for _, r := range a.runs[n] {
		late = min(late, r.late)
		if gap.less(r); gap.closed() {
			return r.end, late
		}
	}
	return sched.Never, sched.Never
}

// whenLate is when at a time at which some ends on the node are overdue: these come soon.
func (a *agenda) whenLate(s *sched.State, d sched.DemandID, n sched.NodeID, soon sched.Time) sched.Time {
	gap := gapOn(s, d, n)
	overdue := func() {
		for _, r := range a.runs[n] {
			if r.late <= s.Now() {
				gap.less(r)
			}
		}
	}
	told := false
	for _, r := range a.runs[n] {
		if r.late <= s.Now() {
			continue
		}
		if r.end > soon && !told {
			told = true
			if overdue(); gap.closed() {
				return soon
			}
		}
		if gap.less(r); gap.closed() {
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
type gap struct {
	cpu, mem int64
	gpus     int32
}

// gapOn returns what a task of the demand, all its replicas together, lacks on a node now.
func gapOn(s *sched.State, d sched.DemandID, n sched.NodeID) gap {
	room, dem := s.Room(), &s.Table().Demands[d]
	k := int64(dem.Gang) // 1, or all on the only node
	g := gap{math.MinInt64 / 2, math.MinInt64 / 2, math.MinInt32 / 2}
	if dem.Need.CPU > 0 {
		g.cpu = k*dem.Need.CPU - room.FreeCPU(n)
	}
	if dem.Need.Mem > 0 {
		g.mem = k*dem.Need.Mem - room.FreeMem(n)
	}
	if dem.Need.GPUs > 0 {
		g.gpus = dem.Gang*dem.Need.GPUs - room.FreeGPUs(n)
	}
	return g
}

func (g *gap) less(r nodeRun) { g.cpu, g.mem, g.gpus = g.cpu-r.cpu, g.mem-r.mem, g.gpus-r.gpus }

func (g *gap) more(r nodeRun) { g.cpu, g.mem, g.gpus = g.cpu+r.cpu, g.mem+r.mem, g.gpus+r.gpus }

func (g *gap) closed() bool { return g.cpu <= 0 && g.mem <= 0 && g.gpus <= 0 }

// free returns what is free on a node at a later time by the estimates.
func (a *agenda) free(s *sched.State, n sched.NodeID, at sched.Time) (cpu, mem int64, gpus int32) {
	room := s.Room()
	cpu, mem, gpus = room.FreeCPU(n), room.FreeMem(n), room.FreeGPUs(n)
	for _, r := range a.runs[n] {
		end := r.end
		if r.late <= s.Now() {
			end = s.Now().Add(time.Second)
		}
		if end <= at {
			cpu, mem, gpus = cpu+r.cpu, mem+r.mem, gpus+r.gpus
		}
	}
	return cpu, mem, gpus
}
