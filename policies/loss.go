package policies

import "github.com/schedlab/schedlab/policies/sched"

// Loss says what is lost if a running task is stopped now, in the unit of the keys, so that they can be compared with it: under a key of work left, a task
// stops another only if it has less left than the other by more than that. To stop v for t, and to go on with v behind it, is better for the sum
// of their completion times exactly where left(t) + loss(v) < left(v).
type Loss func(s *sched.State, running sched.TaskID) int64

// worthwhile lets a task stop those to whose keys its own is still less once what they lose is added, those first with which most is gained. To take those
// first that lose the least is worse: it stops what has just begun, again and again.
func worthwhile(key Key, loss Loss) Evictable {
	return func(s *sched.State, running, t sched.TaskID) (int64, bool) {
		rank := key(s, running) - loss(s, running)
		return rank, key(s, t) < rank
	}
}

// WatchesCheckpoints reports whether the policy looks at what tasks have saved.
func (p *Preemptive) WatchesCheckpoints() bool { return p.Loss != nil }

var victimsParam = Param{
	Name: "victims", Default: "last", Choices: []string{"last", "lost", "saved"},
	About: "whom a task stops: the last of the order; or counts what a stop costs, and stops those with which most is gained: lost: the work since the last checkpoint, and restoring it; saved: instead of that work a checkpoint like the last one, if it is shorter; of no effect with preempt=false",
}

// lossOf returns what the parameter says that a stop costs, as work left, or with service as work left x what the task holds; nil for last.
func lossOf(a Args, service bool) Loss {
	how := a.Text(victimsParam.Name)
	if how == "last" {
		return nil
	}
	lost := (*sched.State).AtRisk
	if how == "saved" {
		lost = (*sched.State).StopLoss
	}
	return func(s *sched.State, t sched.TaskID) int64 {
		d := lost(s, t) + s.RestoreCost()
		if service {
			d = sched.MulDiv(d, width(s.Demand(t)), 1000, false)
		}
		return int64(d)
	}
}
