package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// byScore places on the node with the largest score of all on which a replica fits, or of the first limit, the lowest-numbered of equals. A gang
// fills the nodes in the order of their scores for one replica. A score is kept until the node changes, so that a decision works out few.
type byScore struct {
	rate   func(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) int64         // follows from what the node holds and from alike
	alike  likeness                                                                             // which tasks have the same scores
	begin  func(s *sched.State, room *sched.Room) (void bool)                                   // before a search; void: no score holds any more; nil: they all do
	device func(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID) sched.Devices // for one share on a node; nil: the least room left
	limit  int                                                                                  // 0: all

	kept  rows[sched.Rating]    // by alike
	best  rows[sched.Favourite] // by demand, or by pairs
	pairs map[[2]int32]int      // tenants with demands, numbered as they come
	ids   []sched.NodeID
	nodes []scoredNode
}

// likeness says which tasks have the same scores.
type likeness uint8

const (
	all      likeness = iota // the score says something of the node alone
	byDemand                 // tasks of one demand
	byTenant                 // of one tenant
)

// search begins a search and returns the task's ratings.
func (b *byScore) search(s *sched.State, room *sched.Room, t sched.TaskID) []sched.Rating {
	if b.begin != nil && b.begin(s, room) {
		b.kept.forget()
		b.best.forget()
	}
	key := 0
	switch b.alike {
	case byDemand:
		key = int(s.DemandID(t))
	case byTenant:
		key = int(s.Class(t).Tenant)
	}
	return b.kept.of(key, room.Len())
}

func (b *byScore) place(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
	memo, d := b.search(s, room, t), s.DemandID(t)
	dem := &s.Table().Demands[d]
	rate := func(n sched.NodeID) int64 { return b.rate(s, room, t, n) }
	if dem.Gang == 1 {
		n := room.PickRated(d, b.limit, memo, b.best.of(b.pair(s, t, d), room.Blocks()), rate)
		if n == sched.NoNode {
			return buf, false
		}
		return b.fill(s, room, t, n, 1, buf), true
	}
	b.ids = room.Candidates(d, 0, b.limit, b.ids[:0])
	b.nodes = b.nodes[:0]
	for _, n := range b.ids {
		b.nodes = append(b.nodes, scoredNode{room.TakenLast(d, n), room.Rated(n, memo, rate), n})
	}
	slices.SortFunc(b.nodes, scoredNode.compare)
	start, left := len(buf), dem.Gang
	for _, c := range b.nodes {
		k := room.FitsOn(d, c.node, left)
		buf = b.fill(s, room, t, c.node, k, buf)
		if left -= k; left == 0 {
			return buf, true
		}
	}
	if b.limit > 0 { // more nodes may have room
		return room.FirstFit(d, buf[:start])
	}
	return buf[:start], false
}

// pair returns a number for tasks that have the same demand and the same scores.
func (b *byScore) pair(s *sched.State, t sched.TaskID, d sched.DemandID) int {
	if b.alike != byTenant {
		return int(d)
	}
	if b.pairs == nil {
		b.pairs = map[[2]int32]int{}
	}
	key := [2]int32{int32(s.Class(t).Tenant), int32(d)}
	at, ok := b.pairs[key]
	if !ok {
		at = len(b.pairs)
		b.pairs[key] = at
	}
	return at
}

// fill puts replicas on a node on which they fit.
func (b *byScore) fill(s *sched.State, room *sched.Room, t sched.TaskID, n sched.NodeID, replicas int32, buf []sched.Placement) []sched.Placement {
	d := s.DemandID(t)
	dem := &s.Table().Demands[d]
	if b.device != nil && isShare(dem) {
		return room.Shares(d, n, replicas, buf, func() sched.Devices { return b.device(s, room, t, n) })
	}
	return fill(room, d, dem, n, replicas, buf)
}

// fill puts replicas on a node on which they fit: shares each on the device with the least room left.
func fill(room *sched.Room, d sched.DemandID, dem *sched.Demand, n sched.NodeID, replicas int32, buf []sched.Placement) []sched.Placement {
	if replicas > 1 && isShare(dem) {
		return room.Shares(d, n, replicas, buf, nil)
	}
	return append(buf, sched.Placement{Node: n, Replicas: replicas, GPUs: room.Devices(d, n, replicas)})
}

func isShare(dem *sched.Demand) bool { return dem.Need.GPUs > 0 && dem.Need.GPUMilli < sched.Whole }

// rows keeps a row of n for each key, or for as many as there is memory for: the others are made anew, empty. The zero value has none.
type rows[T any] struct {
	n    int
	rows [][]T
	at   []int32 // by key: its row, or -1
	keys []int   // by row
	next int     // the row that makes way for another
}

// maxRated bounds what a placement keeps, where one row is not longer: 2^22 ratings take 64 MB.
const maxRated = 1 << 22

// of returns the row of a key.
func (r *rows[T]) of(key, n int) []T {
	if n != r.n {
		*r = rows[T]{n: n}
	}
	for len(r.at) <= key {
		r.at = append(r.at, -1)
	}
	if i := r.at[key]; i >= 0 {
		return r.rows[i]
	}
	i := len(r.rows)
	if i == 0 || (i+1)*n <= maxRated {
		r.rows, r.keys = append(r.rows, make([]T, n)), append(r.keys, key)
	} else {
		i = r.next
		r.next = (r.next + 1) % len(r.rows)
		r.at[r.keys[i]] = -1
		clear(r.rows[i])
		r.keys[i] = key
	}
	r.at[key] = int32(i)
	return r.rows[i]
}

// forget empties all rows.
func (r *rows[T]) forget() {
	for _, row := range r.rows {
		clear(row)
	}
}

// limited returns the parameter score.
func limited(a Args) int { return int(a.Float(scoreParam.Name)) }

// largest is the most that one node has, for scores relative to it; at least 1 each.
type largest struct {
	nodes    int
	cpu, gpu int64 // milli-CPU of the nodes that state it, GPUs in 1/1000
}

func (l *largest) begin(_ *sched.State, room *sched.Room) (void bool) {
	if room.Len() == l.nodes {
		return false
	}
	l.nodes, l.cpu, l.gpu = room.Len(), 1, 1
	for n := range l.nodes {
		spec := room.Spec(sched.NodeID(n))
		if spec.CPU < sched.Unlimited {
			l.cpu = max(l.cpu, spec.CPU)
		}
		l.gpu = max(l.gpu, int64(spec.GPUs)*sched.Whole)
	}
	return true
}
