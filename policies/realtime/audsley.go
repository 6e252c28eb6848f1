package realtime

import (
	"errors"
	"fmt"
)

// Audsley returns an order of priorities (indexes, highest first) under which every task meets its deadline, if there is one: no other order
// does better (optimal priority assignment). From the lowest level up, each level goes to a task that meets its deadline there with all tasks
// that have no level yet above it; whether it does depends neither on their order nor on the tasks below. At most n (n+1) / 2 tests instead of n!.
// Of several that would do, a level takes the one that is last by deadline, so that the order is the deadline-monotonic one wherever that
// meets all deadlines. Where no task will do, there is no such order: ok is false, and the tasks without a level follow by deadline.
//
// Deadlines may come after the end of the period, jitter is allowed, and a task's blocking B must not depend on the order.
//
// Source: N. Audsley, Optimal priority assignment and feasibility of static priority tasks with arbitrary start times, report YCS 164,
// University of York 1991; N. Audsley, On priority assignment in fixed priority scheduling, Information Processing Letters 79(1), 2001.
func (s Set) Audsley() (ranks []int, ok bool, err error) {
	if err := s.Validate(); err != nil {
		return nil, false, err
	}
	var c counter
	ranks = s.Ranks(DM) // ranks[:level+1] have no level yet
	above := make([]int, 0, len(s))
levels:
	for level := len(ranks) - 1; level >= 0; level-- {
		for at := level; at >= 0; at-- {
			above = append(append(above[:0], ranks[:at]...), ranks[at+1:level+1]...)
			i := ranks[at]
			fits, err := s.meets(i, above, &c)
			if err != nil {
				return nil, false, fmt.Errorf("task %d %q: %w", i+1, s[i].Name, err)
			}
			if fits {
				copy(ranks[at:level], ranks[at+1:level+1])
				ranks[level] = i
				continue levels
			}
		}
		return ranks, false, nil
	}
	return ranks, true, nil
}

// meets reports whether a task meets its deadline below the tasks of hp.
func (s Set) meets(i int, hp []int, c *counter) (bool, error) {
	k := &s[i]
	d := k.Deadline()
	if d > k.T {
		r, err := s.response(i, hp, c)
		return err == nil && r <= d, err
	}
	// With a deadline within the period a set that passes has one job in the busy period.
	w, err := s.finish(0, k.B+k.C, hp, d, c)
	if errors.Is(err, ErrRange) {
		return false, nil
	}
	return err == nil && w+k.J <= d, err
}
