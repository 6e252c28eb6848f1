package sim

import "github.com/schedlab/schedlab/policies/sched"

// A model is a part of the simulated world beside the tasks that makes facts of its own. There is none by default, and a run then pays for
// one look at an empty list a batch.
type model interface {
	// next returns when the model has something to tell; Never if nothing is to come.
	next() sched.Time
	// tell appends the facts of the model that are due to a batch, which has all other facts by then.
	tell(now sched.Time, in []sched.Event) []sched.Event
	// carry sees the orders of the batch, when the kernel has decided.
	carry(now sched.Time, out []sched.Command)
}

// nextOf returns when the first of the models has something to tell.
func (r *run) nextOf() sched.Time {
	at := sched.Never
	for _, m := range r.models {
		at = min(at, m.next())
	}
	return at
}

// tell lets the models add to the batch.
func (r *run) tell(now sched.Time) {
	n := len(r.in)
	for _, m := range r.models {
		r.in = m.tell(now, r.in)
	}
	if len(r.in) > n {
		sched.SortBatch(r.in)
	}
}
