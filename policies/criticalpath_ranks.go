package policies

import (
	"cmp"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// The upward ranks of CriticalPath, and what is left of each job's critical path.

// jobPath follows what is left of the longest path of a job of several tasks.
type jobPath struct {
	byRank []sched.TaskID // largest upward rank first
	top    int            // first of them that is not over
	keyed  int64          // R: the largest rank of those left, rounded up; 0 = not known
	dirty  bool           // in CriticalPath.changed
}

// noTask is the entry of a job in CriticalPath.jobs of which nothing has arrived.
const noTask = -1

// join adds t, one of so many that arrive together, to the path of its job; a job has one from its second task on.
func (p *CriticalPath) join(s *sched.State, t sched.TaskID, together int) {
	id := s.Task(t).Job
	if len(p.jobs) <= int(id) {
		p.jobs = slices.Grow(p.jobs, max(int(id)+1, int(s.Table().Jobs))-len(p.jobs))
	}
	for len(p.jobs) <= int(id) {
		p.jobs = append(p.jobs, noTask)
	}
	switch entry := p.jobs[id]; {
	case entry == noTask:
		p.jobs[id] = int32(t)
		return
	case entry >= 0:
		p.jobs[id] = int32(noTask - 1 - len(p.paths))
		p.paths = append(p.paths, p.arena.path(sched.TaskID(entry), together+1)) // the first may have come before
	}
	j := p.path(s, t)
	j.byRank = append(j.byRank, t)
	p.change(j)
}

// path returns what is kept of the job of a task that has arrived; nil where it is the only one.
func (p *CriticalPath) path(s *sched.State, t sched.TaskID) *jobPath {
	if len(p.paths) == 0 {
		return nil
	}
	if entry := p.jobs[s.Task(t).Job]; entry < noTask {
		return p.paths[noTask-1-entry]
	}
	return nil
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
		slices.SortFunc(j.byRank, func(a, b sched.TaskID) int {
			return cmp.Or(cmp.Compare(p.rankOf(s, b), p.rankOf(s, a)), cmp.Compare(a, b))
		})
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
	step := max(p.rankOf(s, j.byRank[0])/20, 1)
	if now := (p.rankOf(s, j.byRank[j.top]) + step - 1) / step * step; now != j.keyed {
		j.keyed = now
		for _, t := range j.byRank[j.top:] {
			p.rekey(s, t)
		}
	}
}

// rankEstimates makes room for the ranks of all tasks. Once, when the first dependency has come, those of the tasks that arrived before
// (not first..end-1) are their estimates. A policy that is told a present with dependencies knows of none before the first job.
func (p *CriticalPath) rankEstimates(s *sched.State, first, end sched.TaskID) {
	if grow := s.Known() - len(p.ranks); grow > 0 {
		p.ranks = append(slices.Grow(p.ranks, len(s.Table().Tasks)-len(p.ranks)), make([]int64, grow)...)
	}
	if p.ranked {
		return
	}
	for t := range sched.TaskID(s.Known()) {
		if p.count > 0 && (t < first || t >= end) && s.Phase(t) != sched.Unknown {
			p.ranks[t] = p.rankOf(s, t)
		}
	}
	p.ranked = true
}

// rankOf returns the upward rank of a task that has arrived.
func (p *CriticalPath) rankOf(s *sched.State, t sched.TaskID) int64 {
	if p.ranked {
		return p.ranks[t]
	}
	return max(int64(s.Estimate(t)), 1)
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
	if !p.ranked {
		p.newRank(s, t)
		p.rekeyChanged(s)
		return
	}
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
		p.newRank(s, t)
		for u := range s.Preds(t) {
			stack = append(stack, u)
		}
	}
	p.touched = stack
	p.rekeyChanged(s)
}

// newRank takes in that the rank of t has changed.
func (p *CriticalPath) newRank(s *sched.State, t sched.TaskID) {
	if j := p.path(s, t); j != nil {
		p.change(j)
	} else {
		p.rekey(s, t)
	}
}

// over takes in that a task is over: what is left of its job's critical path may be shorter.
func (p *CriticalPath) over(s *sched.State, t sched.TaskID) {
	if j := p.path(s, t); j != nil {
		p.settle(s, j)
	}
}
