package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
)

// admission puts a test before a policy by earliest deadline: a task with a deadline that is ready and was never started is refused for good
// (cause: order) if the test does not say that all admitted tasks meet their deadlines with it. Tasks without a deadline come behind all others,
// and are always admitted. What it promises holds if estimates are right, nothing fails, stops cost nothing and the policy may stop tasks and
// passes over what does not fit: each task then waits only while tasks with earlier deadlines hold room.
//
// demand: the cluster counts as one processor. With C the estimated work left of the admitted tasks and the new one, the sum of C over all tasks
// due by d may not be larger than the time to d, for each of their deadlines d. On one processor that is exact: the new task is refused only if no
// schedule could meet all deadlines. This is the processor-demand criterion (Baruah, Mok & Rosier, RTSS 1990) for tasks that are all there; as an
// on-line test: Buttazzo & Stankovic, Responsive Computer Systems 1993 (RED). It is linear in the admitted tasks.
//
// utilization: the m nodes count as processors (m is the smallest number of nodes, up and of the right kind and size, that any of the tasks
// could have; 1 where one is a gang). With density the work left by the time to the deadline, the sum of densities may not be larger than
// m - (m-1) x the largest density: Goossens, Funk & Baruah, Real-Time Systems 25, 2003 for utilizations; Bertogna, Cirinei & Lipari, ECRTS 2005 for
// densities. Sufficient; on one node weaker than demand.
type admission struct {
	sched.Policy
	demand  bool
	members []sched.TaskID // admitted, with a deadline, not over: the earliest deadline first
	fresh   []sched.TaskID
	homes   []int64 // by DemandID: nodes that could have it; -1 = not counted
}

// Observe keeps the admitted tasks.
func (a *admission) Observe(s *sched.State, e sched.Event) {
	switch e.Kind {
	case sched.JobArrived:
		for t := e.Task; t < e.Task+sched.TaskID(e.N); t++ {
			// Those that stand here already were admitted before the kernel was restored.
			if ph := s.Phase(t); s.Deadline(t) != sched.Never && !ph.Over() && (ph == sched.Ready || ph == sched.Claiming || s.Attempt(t) > 0) {
				a.admit(s, t)
			}
		}
	case sched.TaskReady:
		if s.Deadline(e.Task) != sched.Never && s.Attempt(e.Task) == 0 && !slices.Contains(a.members, e.Task) {
			a.fresh = append(a.fresh, e.Task)
		}
	case sched.TaskBlocked:
		if s.Attempt(e.Task) == 0 { // it will be tested again
			a.members = slices.DeleteFunc(a.members, func(t sched.TaskID) bool { return t == e.Task })
		}
	case sched.NodeUp, sched.NodeDown:
		a.homes = a.homes[:0]
	}
	a.Policy.Observe(s, e)
}

func (a *admission) admit(s *sched.State, t sched.TaskID) {
	d := s.Deadline(t)
	i := len(a.members)
	a.members = append(a.members, t)
	for ; i > 0; i-- {
		u := a.members[i-1]
		if at := s.Deadline(u); at < d || at == d && u < t {
			break
		}
		a.members[i] = u
	}
	a.members[i] = t
}

// Decide tests the tasks that have become ready, by their numbers, and lets the policy decide.
func (a *admission) Decide(r *sched.Round) {
	if len(a.fresh) > 0 {
		a.members = slices.DeleteFunc(a.members, func(t sched.TaskID) bool { return r.Phase(t).Over() })
		slices.Sort(a.fresh)
		for _, t := range a.fresh {
			if r.Phase(t) != sched.Ready {
				continue
			}
			a.admit(r.State, t)
			if ok := a.demand && a.meets(r.State) || !a.demand && a.dense(r.State); !ok {
				a.members = slices.DeleteFunc(a.members, func(u sched.TaskID) bool { return u == t })
				r.Reject(t, sched.Order)
			}
		}
		a.fresh = a.fresh[:0]
	}
	a.Policy.Decide(r)
}

// meets is the test by demand.
func (a *admission) meets(s *sched.State) bool {
	end := s.Now()
	for _, t := range a.members {
		if end = end.Add(s.Remaining(t)); end > s.Deadline(t) {
			return false
		}
	}
	return true
}

// full is a density of 1. Densities are rounded up, so that rounding never lets a task in.
const full = 1 << 32

// dense is the test by utilization.
func (a *admission) dense(s *sched.State) bool {
	var sum, largest, m int64
	for _, t := range a.members {
		left, work := s.Deadline(t).Sub(s.Now()), s.Remaining(t)
		if left < work {
			return false
		}
		if left > 0 {
			density := int64(sched.MulDiv(work, full, int64(left), true))
			sum, largest = sum+density, max(largest, density)
		}
		if h := a.home(s, t); m == 0 || h < m {
			m = h
		}
	}
	return sum <= m*full-(m-1)*largest
}

// home returns the number of nodes that could have a task, 1 for a gang.
func (a *admission) home(s *sched.State, t sched.TaskID) int64 {
	d := s.DemandID(t)
	for len(a.homes) <= int(d) {
		a.homes = append(a.homes, -1)
	}
	if a.homes[d] < 0 {
		room, n := s.Room(), int64(0)
		for i := range sched.NodeID(room.Len()) {
			if room.Up(i) && room.Allowed(d, i) && sched.CouldEverFit([]sched.NodeSpec{*room.Spec(i)}, s.Demand(t)) {
				n++
			}
		}
		if s.Demand(t).Gang > 1 {
			n = min(n, 1)
		}
		a.homes[d] = max(n, 1)
	}
	return a.homes[d]
}

const admissionName = "admission"

var edfEntry = Entry{
	Name: "edf", Summary: "Earliest deadline first.", Placed: true, Starves: true,
	About: "The earliest absolute deadline first; tasks without one rank last and may starve. With admission a task that might make an admitted one late is refused when it " +
		"becomes ready, so that no admitted task is late while estimates are right, nothing fails and tasks may be stopped.",
	Source: "Liu & Layland, JACM 1973, section 7. Admission: Baruah, Mok & Rosier, RTSS 1990; Goossens, Funk & Baruah, Real-Time Systems 2003.",
	Params: []Param{
		{Name: admissionName, Default: "none", Choices: []string{"none", "utilization", "demand"}, About: "test of new tasks with a deadline: by densities on the nodes, or by demand as if the cluster were one processor"},
		preemptParam, skipParam,
	},
	New: func(a Args) (sched.Policy, error) {
		p, err := preemptive(ByDeadline, false)(a)
		if how := a.Text(admissionName); err == nil && how != "none" {
			p = &admission{Policy: p, demand: how == "demand"}
		}
		return p, err
	},
}
