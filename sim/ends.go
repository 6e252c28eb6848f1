package sim

import "github.com/schedlab/schedlab/policies/sched"

// ends is a binary heap of scheduled ends by time, ties to the lower TaskID. Ends of attempts that were stopped stay in it until they
// come up (cancelling by attempt number is cheaper than removing).
type ends []end

func (e end) before(f end) bool { return e.at < f.at || e.at == f.at && e.task < f.task }

func (h *ends) push(e end) {
	q := append(*h, e)
	i := len(q) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(q[parent]) {
			break
		}
		q[i] = q[parent]
		i = parent
	}
	q[i] = e
	*h = q
}

func (h *ends) pop() end {
	q := *h
	top, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	n, i := len(q), 0
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && q[child+1].before(q[child]) {
			child++
		}
		if !q[child].before(last) {
			break
		}
		q[i] = q[child]
		i = child
	}
	if n > 0 {
		q[i] = last
	}
	*h = q
	return top
}

// dropStale removes ends of attempts that no longer run from the top, so that the top's time is that of a real end.
func (h *ends) dropStale(k *sched.Kernel) {
	for len(*h) > 0 {
		e := (*h)[0]
		if k.Attempt(e.task) == e.attempt && k.Phase(e.task) == sched.Running {
			return
		}
		h.pop()
	}
}
