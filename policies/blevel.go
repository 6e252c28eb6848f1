package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// BLevel is list scheduling by static b-levels (HLFET: Adam, Chandy & Dickson 1974; Kwok & Ahmad 1999, BNP scheduling algorithms): ready tasks
// in the order of their b-level, largest first. The b-level of a task is the estimated length of the longest path from it to the end of its
// job, its own estimate included: the upward rank of Topcuoglu, Hariri & Wu 2002, section 4.1, without communication. It is static: no decision
// changes it. An added dependency, a successor that arrives later and a new estimate do, for the task and what comes before it.
//
// Make one with NewBLevel.
type BLevel struct {
	List
	ranks []int64 // b-level by TaskID, ns, at most Never; untold where the task has not arrived
	queue []sched.TaskID
}

// untold is the b-level of a task of whose arrival the policy has not been told: it counts for nobody yet.
const untold = -1

// NewBLevel returns list scheduling by b-levels. place may be nil: first fit. skip says whether what does not fit is passed over.
func NewBLevel(place Place, skip bool) *BLevel {
	b := &BLevel{List: List{Place: place, Skip: skip}}
	b.Key = func(_ *sched.State, t sched.TaskID) int64 { return -b.ranks[t] }
	return b
}

// Observe keeps the b-levels, and the lines by them.
func (b *BLevel) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.TaskReady: // as List does; these two come once a task
		b.push(s, e.Task)
		return
	case sched.Finished:
		b.freed(s, e.Task)
		return
	case sched.JobArrived:
		b.arrived(s, e.Task, e.Task+sched.TaskID(e.N))
	case sched.EdgeAdded, sched.Updated:
		b.change(s, e.Task)
	}
	b.List.observe(s, &e)
}

// Foresee looks at the b-levels of tasks that will soon be ready.
func (b *BLevel) Foresee(_ *sched.State, tasks []sched.TaskID) (x int64) {
	for _, t := range tasks {
		if int(t) < len(b.ranks) { // else another policy is made of this one, and does not use them
			x += b.ranks[t]
		}
	}
	return x
}

// arrived computes the b-levels of the tasks of a job, in one sweep from the last to the first where the ids are topological.
func (b *BLevel) arrived(s *sched.State, first, end sched.TaskID) {
	if grow := int(end) - len(b.ranks); grow > 0 {
		known := len(b.ranks)
		b.ranks = slices.Grow(b.ranks, max(len(s.Table().Tasks), int(end))-known)[:end]
		for t := known; t < int(first); t++ {
			b.ranks[t] = untold
		}
	}
	if !s.Linked() {
		for t := first; t < end; t++ {
			b.ranks[t] = int64(s.Estimate(t))
		}
		return
	}
	if !b.sweep(s, first, end) {
		b.sort(s, first, end)
	}
	if first == 0 && int(end) == s.Known() {
		return // nobody else is there
	}
	for t := first; t < end; t++ {
		given, added := s.PredLists(t)
		for _, list := range [...][]sched.TaskID{given, added} {
			for _, u := range list {
				if u < first || u >= end {
					b.change(s, u)
				}
			}
		}
	}
}

// sweep computes the b-levels of tasks from the last to the first. It reports false, and may have computed some, where one has a successor among
// them with a smaller number.
func (b *BLevel) sweep(s *sched.State, first, end sched.TaskID) bool {
	tb, ranks := s.Table(), b.ranks
	off := tb.SuccOff
	if off == nil || s.Added() {
		return false
	}
	for t := int(end) - 1; t >= int(first); t-- {
		deepest := int64(0)
		for _, u := range tb.Succ[off[t]:off[t+1]] {
			if int(u) <= t && u >= first {
				return false
			}
			if i := uint(u); i < uint(len(ranks)) { // else it has not arrived
				deepest = max(deepest, ranks[i])
			}
		}
		ranks[t] = int64(sched.Time(deepest).Add(s.Estimate(sched.TaskID(t))))
	}
	return true
}

// rank returns the b-level of t by those of its successors.
func (b *BLevel) rank(s *sched.State, t sched.TaskID) int64 {
	given, added := s.SuccLists(t)
	deepest := int64(0)
	for _, list := range [...][]sched.TaskID{given, added} {
		for _, u := range list {
			if int(u) < len(b.ranks) {
				deepest = max(deepest, b.ranks[u])
			}
		}
	}
	return int64(sched.Time(deepest).Add(s.Estimate(t)))
}

// sort computes the b-levels of tasks whose ids are in any order: from those without successors among them to those before.
func (b *BLevel) sort(s *sched.State, first, end sched.TaskID) {
	left := make([]int32, end-first) // successors among them whose b-level is not known
	b.queue = b.queue[:0]
	for t := first; t < end; t++ {
		given, added := s.SuccLists(t)
		for _, list := range [...][]sched.TaskID{given, added} {
			for _, u := range list {
				if u >= first && u < end {
					left[t-first]++
				}
			}
		}
		if left[t-first] == 0 {
			b.queue = append(b.queue, t)
		}
	}
	for i := 0; i < len(b.queue); i++ {
		t := b.queue[i]
		b.ranks[t] = b.rank(s, t)
		given, added := s.PredLists(t)
		for _, list := range [...][]sched.TaskID{given, added} {
			for _, u := range list {
				if u >= first && u < end {
					if left[u-first]--; left[u-first] == 0 {
						b.queue = append(b.queue, u)
					}
				}
			}
		}
	}
}

// change computes the b-level of t anew, and those of its ancestors where that changes them.
func (b *BLevel) change(s *sched.State, t sched.TaskID) {
	b.queue = append(b.queue[:0], t)
	for i := 0; i < len(b.queue); i++ {
		t := b.queue[i]
		if int(t) >= len(b.ranks) || b.ranks[t] == untold || s.Phase(t) == sched.Done {
			continue // told of later, with its b-level; or never asked for again, nor are those before it
		}
		rank := b.rank(s, t)
		if rank == b.ranks[t] {
			continue
		}
		b.ranks[t] = rank
		if s.Phase(t) == sched.Ready {
			b.List.Observe(s, sched.Event{Kind: sched.Updated, Task: t, Node: sched.NoNode}) // its place in its line
		}
		given, added := s.PredLists(t)
		b.queue = append(append(b.queue, given...), added...)
	}
}

var blevelEntry = Entry{
	Name: "blevel", Summary: "List scheduling by static b-level (HLFET): the head of the longest path first.", Placed: true, Starves: true,
	About: "The b-level of a task is the estimated length of the longest path from it to the end of its job, without communication; it changes only with the graph and " +
		"the estimates. The largest goes first, whatever the job, so the makespan of one workflow is short and jobs with short paths may starve behind others. " +
		"Those that set it against the start on each node at every decision, data transfers counted, are dls and etf.",
	Source: "Adam, Chandy & Dickson, CACM 1974 (HLFET); Kwok & Ahmad, ACM Computing Surveys 1999, BNP scheduling algorithms.",
	Params: []Param{skipParam},
	New: func(a Args) (sched.Policy, error) {
		p := NewBLevel(a.Place, a.Bool("skip"))
		p.alone = true
		return p, nil
	},
}
