package policies

import "github.com/schedlab/schedlab/policies/sched"

// NewMinMin returns min-min (Ibarra & Kim, JACM 1977, heuristic D; Maheswaran et al., JPDC 59 1999, section 4.2, batch mode): of the ready
// tasks' earliest completion times the least is mapped first. max is max-min: the largest of them first.
//
// Where we differ: the mapping event is every decision, tasks need not be independent (those that wait for others are mapped once they are
// ready), and nodes may hold several tasks.
func NewMinMin(max bool) sched.Policy {
	sign := int64(1)
	if max {
		sign = -1
	}
	return &mapper{key: func(_ *sched.State, _ sched.TaskID, sl slot) int64 { return sign * int64(sl.end) }}
}

const mappedAbout = " All that has not started is mapped anew at every decision, over the running tasks' estimated ends; data transfers count. Each decision looks at every pair of a " +
	"ready task and a node. A share of a GPU gets a GPU of its own."

var minMinEntry = Entry{
	Name: "min-min", Summary: "Min-min: of the ready tasks' earliest completion times, the least first.", Starves: true,
	About:  "Short tasks go first and long ones may starve behind a stream of them." + mappedAbout,
	Source: "Ibarra & Kim, JACM 24(2) 1977; Maheswaran et al., JPDC 59(2) 1999, section 4.2.",
	New:    func(Args) (sched.Policy, error) { return NewMinMin(false), nil },
}

var maxMinEntry = Entry{
	Name: "max-min", Summary: "Max-min: of the ready tasks' earliest completion times, the largest first.", Starves: true,
	About:  "Long tasks go first and the short ones beside them; short ones may starve behind a stream of long ones." + mappedAbout,
	Source: "Ibarra & Kim, JACM 24(2) 1977; Maheswaran et al., JPDC 59(2) 1999, section 4.2.",
	New:    func(Args) (sched.Policy, error) { return NewMinMin(true), nil },
}
