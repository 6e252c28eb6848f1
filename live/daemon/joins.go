package daemon

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/policies/sched"
)

// Additions to a workflow that already runs (S1): tasks and dependencies. An addition is a job of its own in the state, with its own range of tasks, and belongs to the
// workflow in all that is shown. Dependencies between what was there and what comes, and among what was there, are facts.

// maxJoins bounds the dependencies of one addition that are facts: the kernel looks for a cycle with each.
const maxJoins = 10_000

// inherit gives an addition the workflow's tenant and queue, where it does not say its own: its quotas and shares bind what is added too. Other
// jobs are returned as they are.
func (d *Daemon) inherit(j *job.Job) (*job.Job, error) {
	if j.To <= 0 {
		return j, nil
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if int(j.To) > len(d.jobs) {
		return nil, fmt.Errorf("%w: there is no job %d to add to (there are %d)", ErrNotFound, j.To, len(d.jobs))
	}
	tenant, queue := d.whose(d.jobs[d.jobs[j.To-1].Of].First)
	own := *j
	own.Tenant, own.Queue = cmp.Or(j.Tenant, tenant), cmp.Or(j.Queue, queue)
	return &own, nil
}

// joins checks an addition against the workflow as it stands, and returns its dependencies as facts. The tasks of the addition will be the
// next of the table. The workflow is there (inherit). It is called under mu.
func (d *Daemon) joins(who Who, j *job.Job) ([]sched.Event, error) {
	w := &d.jobs[d.jobs[j.To-1].Of]
	if err := d.may(who, w.First); err != nil {
		return nil, err
	}
	tb, k := d.book.tb, d.kernel
	first := sched.TaskID(len(tb.Tasks))
	old, fresh := map[string]sched.TaskID{}, map[string]sched.TaskID{}
	for i := -1; i < len(d.parts[w.ID]); i++ {
		part := w
		if i >= 0 {
			part = &d.jobs[d.parts[w.ID][i]]
		}
		for t := part.First; t < part.First+sched.TaskID(part.Tasks); t++ {
			old[tb.TaskNames.At(int(t))] = t
		}
	}
	for i := range j.Tasks {
		id := j.Tasks[i].ID
		if _, twice := old[id]; twice {
			return nil, fmt.Errorf("%w: job %d has a task %s already", ErrConflict, w.ID+1, id)
		}
		fresh[id] = first + sched.TaskID(i)
	}
	var facts []sched.Event
	succs := map[sched.TaskID][]sched.TaskID{} // that come with the addition
	add := func(from, to string) error {
		a, ok := fresh[from]
		inside := ok
		if !ok {
			if a, ok = old[from]; !ok {
				return fmt.Errorf("%w: %s -> %s: job %d has no task %s", ErrNotFound, from, to, w.ID+1, from)
			}
			if ph := k.Phase(a); ph.Over() && ph != sched.Done {
				return fmt.Errorf("%w: %s -> %s: %s is %s and will not be done, so %s would never run", ErrConflict, from, to, from, ph, to)
			}
		}
		b, ok := fresh[to]
		inside = inside && ok
		if !ok {
			if b, ok = old[to]; !ok {
				return fmt.Errorf("%w: %s -> %s: job %d has no task %s", ErrNotFound, from, to, w.ID+1, to)
			}
			switch ph := k.Phase(b); ph {
			case sched.Blocked, sched.Ready, sched.Held:
			default:
				return fmt.Errorf("%w: %s -> %s: %s is %s, and nothing can come before what has started or is over", ErrConflict, from, to, to, ph)
			}
		}
		succs[a] = append(succs[a], b)
		if inside { // it stands in the table
			return nil
		}
		if len(facts) == maxJoins {
			return fmt.Errorf("%w: more than %d dependencies between what was there and what comes", ErrBad, maxJoins)
		}
		facts = append(facts, sched.Event{Kind: sched.EdgeAdded, Task: a, Other: b, Node: sched.NoNode})
		return nil
	}
	for i := range j.Tasks {
		for _, p := range j.Tasks[i].After {
			if err := add(p, j.Tasks[i].ID); err != nil {
				return nil, err
			}
		}
	}
	for _, text := range j.Edges {
		from, to := job.Edge(text)
		if err := add(from, to); err != nil {
			return nil, err
		}
	}
	next := func(t sched.TaskID) []sched.TaskID {
		out := succs[t]
		if t < first {
			for u := range k.Succs(t) {
				out = append(out[:len(out):len(out)], u)
			}
		}
		return out
	}
	if c := cycleFrom(facts, next); c != nil {
		words := make([]string, len(c))
		for i, t := range c {
			if t >= first {
				words[i] = j.Tasks[t-first].ID
			} else {
				words[i] = tb.TaskNames.At(int(t))
			}
		}
		return nil, fmt.Errorf("%w: a cycle: %s", ErrConflict, strings.Join(words, " -> "))
	}
	return facts, nil
}

// cycleFrom returns a cycle that one of the edges is on, its first task repeated at the end; nil if there is none.
func cycleFrom(edges []sched.Event, next func(sched.TaskID) []sched.TaskID) []sched.TaskID {
	const grey, black = 1, 2
	colour := map[sched.TaskID]uint8{}
	type frame struct {
		t    sched.TaskID
		rest []sched.TaskID
	}
	for i := range edges {
		if colour[edges[i].Task] != 0 {
			continue
		}
		stack := []frame{{edges[i].Task, next(edges[i].Task)}}
		colour[edges[i].Task] = grey
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if len(f.rest) == 0 {
				colour[f.t] = black
				stack = stack[:len(stack)-1]
				continue
			}
			u := f.rest[0]
			f.rest = f.rest[1:]
			switch colour[u] {
			case 0:
				colour[u] = grey
				stack = append(stack, frame{u, next(u)})
			case grey:
				path := []sched.TaskID{u}
				for i := len(stack) - 1; stack[i].t != u; i-- {
					path = append(path, stack[i].t)
				}
				path = append(path, u)
				for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
					path[i], path[j] = path[j], path[i]
				}
				return path
			}
		}
	}
	return nil
}
