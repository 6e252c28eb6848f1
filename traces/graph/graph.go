// Package graph looks at the DAGs of a table: orders, ranks, longest paths, cycles, the makespan's lower bound, and pictures.
//
// Everything works on the table's flat adjacency and is linear in tasks and edges. Times are in nanoseconds; sums saturate at
// the largest duration instead of wrapping.
package graph

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

const longest = time.Duration(math.MaxInt64)

func add(a, b time.Duration) time.Duration {
	if s := a + b; s >= a || b < 0 {
		return s
	}
	return longest
}

// CycleError says that the table's edges are no DAG.
type CycleError struct {
	Path  []sched.TaskID // in the order of the edges; the last has an edge to the first
	names *sched.Names
}

// Error spells the cycle out: "cycle a -> b -> a".
func (e *CycleError) Error() string {
	const shown = 16
	var b strings.Builder
	b.WriteString("cycle ")
	for i, t := range e.Path {
		if i == shown {
			fmt.Fprintf(&b, "(%d more) -> ", len(e.Path)-i)
			break
		}
		b.WriteString(e.names.At(int(t)))
		b.WriteString(" -> ")
	}
	b.WriteString(e.names.At(int(e.Path[0])))
	return b.String()
}

// Order returns the tasks in a topological order: repeatedly those whose predecessors are done, first come first (A. B. Kahn,
// Topological sorting of large networks, CACM 5(11), 1962). The error is a *CycleError.
func Order(tb *sched.Table) ([]sched.TaskID, error) {
	n := len(tb.Tasks)
	order := make([]sched.TaskID, 0, n)
	if tb.SuccOff == nil {
		for t := range n {
			order = append(order, sched.TaskID(t))
		}
		return order, nil
	}
	left := make([]int32, n)
	for t := range n {
		if left[t] = tb.PredOff[t+1] - tb.PredOff[t]; left[t] == 0 {
			order = append(order, sched.TaskID(t))
		}
	}
	for i := 0; i < len(order); i++ {
		for _, s := range tb.Succs(order[i]) {
			if left[s]--; left[s] == 0 {
				order = append(order, s)
			}
		}
	}
	if len(order) == n {
		return order, nil
	}
	return nil, &CycleError{Path: cycleAmong(tb, left), names: &tb.TaskNames}
}

// Cycle returns the tasks of a cycle in the order of its edges, beginning with the lowest, or nil where there is none.
func Cycle(tb *sched.Table) []sched.TaskID {
	if _, err := Order(tb); err != nil {
		return err.(*CycleError).Path
	}
	return nil
}

// cycleAmong finds a cycle among the tasks with left > 0. Each of them has a predecessor among them (else it would have been
// ordered), so going back from one must come round.
func cycleAmong(tb *sched.Table, left []int32) []sched.TaskID {
	at := make([]int32, len(left)) // position on the path + 1
	t := sched.Nobody
	for i, l := range left {
		if l > 0 {
			t = sched.TaskID(i)
			break
		}
	}
	var path []sched.TaskID
	for at[t] == 0 {
		path = append(path, t)
		at[t] = int32(len(path))
		for _, p := range tb.Preds(t) {
			if left[p] > 0 {
				t = p
				break
			}
		}
	}
	path = path[at[t]-1:]
	cycle := make([]sched.TaskID, 0, len(path))
	low := 0
	for i := range path { // reversed: the path was walked against the edges
		cycle = append(cycle, path[len(path)-1-i])
		if cycle[i] < cycle[low] {
			low = i
		}
	}
	return append(cycle[low:len(cycle):len(cycle)], cycle[:low]...)
}

// ringSize is how far back edges reach in most tables whose numbers are topological, at most.
const ringSize = 1 << 16

// Forward goes through the tasks of a table with edges in the order of their numbers and works out a value of each, which may not be negative: value
// gets the largest of its predecessors' (of those in the same job, where that is asked for), or 0. It reports false, and may have called value for
// some, where numbers are not topological. It keeps the values of the last tasks only, as far back as edges reach, so that they stay in the
// processor's cache where there are many tasks, as those of all would not.
func Forward(tb *sched.Table, sameJob bool, value func(t sched.TaskID, before time.Duration) time.Duration) bool {
	n := len(tb.Tasks)
	sameJob = sameJob && tb.Jobs > 1
	return n > ringSize && forward(tb, sameJob, make([]time.Duration, ringSize), value) ||
		forward(tb, sameJob, make([]time.Duration, 1<<bits.Len(uint(n))), value)
}

// forward is Forward with a ring, of a length that is a power of two. It reports false also where an edge reaches farther back.
func forward(tb *sched.Table, sameJob bool, ring []time.Duration, value func(t sched.TaskID, before time.Duration) time.Duration) bool {
	mask := uint32(len(ring) - 1)
	i := tb.PredOff[0]
	for t, end := range tb.PredOff[1:] {
		preds := tb.Pred[i:end]
		i = end
		var before time.Duration
		if sameJob {
			before = largestInJob(ring, tb.Tasks, preds, uint32(t))
		} else {
			before = largest(ring, preds, uint32(t))
		}
		if before < 0 {
			return false
		}
		ring[uint32(t)&mask] = value(sched.TaskID(t), before)
	}
	return true
}

// largest returns the largest value of the predecessors of t, 0 where it has none; -1 where one of them is not in the ring.
func largest(ring []time.Duration, preds []sched.TaskID, t uint32) time.Duration {
	most, mask := time.Duration(0), uint32(len(ring)-1)
	for _, p := range preds {
		if t-uint32(p)-1 >= mask { // the difference of an edge that goes back, or stays, is huge
			return -1
		}
		most = max(most, ring[uint32(p)&mask])
	}
	return most
}

// largestInJob is largest of the predecessors in the job of t.
func largestInJob(ring []time.Duration, tasks []sched.Task, preds []sched.TaskID, t uint32) time.Duration {
	most, mask := time.Duration(0), uint32(len(ring)-1)
	for _, p := range preds {
		if t-uint32(p)-1 >= mask {
			return -1
		}
		if d := ring[uint32(p)&mask]; d > most && tasks[p].Job == tasks[t].Job {
			most = d
		}
	}
	return most
}

// UpwardRanks returns for each task the length of the longest path from it, itself included, to an exit task:
// rank(t) = cost(t) + max over successors s of (comm(t,s) + rank(s)). This is the priority of HEFT (Topcuoglu, Hariri, Wu,
// Performance-effective and low-complexity task scheduling for heterogeneous computing, IEEE TPDS 13(3), 2002, eq. 8 and 9).
// cost is per task, comm per edge in the order of tb.Succ, or nil for none. The error is a *CycleError.
func UpwardRanks(tb *sched.Table, cost, comm []time.Duration) ([]time.Duration, error) {
	order, err := Order(tb)
	if err != nil {
		return nil, err
	}
	rank := make([]time.Duration, len(tb.Tasks))
	for i := len(order) - 1; i >= 0; i-- {
		t := order[i]
		best := time.Duration(0)
		for j, s := range tb.Succs(t) {
			r := rank[s]
			if comm != nil {
				r = add(r, comm[int(tb.SuccOff[t])+j])
			}
			best = max(best, r)
		}
		rank[t] = add(best, cost[t])
	}
	return rank, nil
}

// DownwardRanks returns for each task the length of the longest path from an entry task to it, itself not included:
// rank(t) = max over predecessors p of (rank(p) + cost(p) + comm(p,t)) (Topcuoglu et al. 2002, eq. 10).
// Arguments and error are those of UpwardRanks.
func DownwardRanks(tb *sched.Table, cost, comm []time.Duration) ([]time.Duration, error) {
	order, err := Order(tb)
	if err != nil {
		return nil, err
	}
	rank := make([]time.Duration, len(tb.Tasks))
	for _, t := range order {
		end := add(rank[t], cost[t])
		for j, s := range tb.Succs(t) {
			e := end
			if comm != nil {
				e = add(e, comm[int(tb.SuccOff[t])+j])
			}
			rank[s] = max(rank[s], e)
		}
	}
	return rank, nil
}

// JobPaths returns for each job the length of its longest path in the costs given: with true run times, the run time of a DAG job.
// Edges between jobs do not count. The error is a *CycleError.
func JobPaths(tb *sched.Table, cost []time.Duration) ([]time.Duration, error) {
	paths := make([]time.Duration, tb.Jobs)
	if tb.SuccOff == nil {
		for t := range tb.Tasks {
			j := tb.Tasks[t].Job
			paths[j] = max(paths[j], cost[t])
		}
		return paths, nil
	}
	order, err := Order(tb)
	if err != nil {
		return nil, err
	}
	end := make([]time.Duration, len(tb.Tasks)) // start, until the task's turn
	for _, t := range order {
		j := tb.Tasks[t].Job
		end[t] = add(end[t], cost[t])
		paths[j] = max(paths[j], end[t])
		for _, s := range tb.Succs(t) {
			if tb.Tasks[s].Job == j {
				end[s] = max(end[s], end[t])
			}
		}
	}
	return paths, nil
}

// Members returns the tasks of a job, ascending.
func Members(tb *sched.Table, job sched.JobID) []sched.TaskID {
	var tasks []sched.TaskID
	for t := range tb.Tasks {
		if tb.Tasks[t].Job == job {
			tasks = append(tasks, sched.TaskID(t))
		}
	}
	return tasks
}

// CriticalPath returns the longest path of a job in the costs given, first task first, and its length; of several, the one whose
// last task, then second to last and so on, has the lowest number. The error is a *CycleError.
func CriticalPath(tb *sched.Table, job sched.JobID, cost []time.Duration) ([]sched.TaskID, time.Duration, error) {
	d, err := sub(tb, Members(tb, job))
	if err != nil {
		return nil, 0, err
	}
	path, length := d.critical(cost)
	return path, length, nil
}

// dag is the DAG among some tasks, with local numbers 0..n-1 in the order of ids.
type dag struct {
	ids        []sched.TaskID
	succ, pred [][]int32
	order      []int32
	level      []int32 // longest path from an entry, in edges
	levels     int
}

// sub cuts out the DAG among the tasks.
func sub(tb *sched.Table, tasks []sched.TaskID) (*dag, error) {
	d := &dag{ids: tasks, succ: make([][]int32, len(tasks)), pred: make([][]int32, len(tasks)), level: make([]int32, len(tasks))}
	local := make(map[sched.TaskID]int32, len(tasks))
	for i, t := range tasks {
		local[t] = int32(i)
	}
	left := make([]int32, len(tasks))
	for i, t := range tasks {
		for _, s := range tb.Succs(t) {
			if j, ok := local[s]; ok {
				d.succ[i] = append(d.succ[i], j)
				d.pred[j] = append(d.pred[j], int32(i))
				left[j]++
			}
		}
	}
	for i, l := range left {
		if l == 0 {
			d.order = append(d.order, int32(i))
		}
	}
	for k := 0; k < len(d.order); k++ {
		i := d.order[k]
		d.levels = max(d.levels, int(d.level[i])+1)
		for _, j := range d.succ[i] {
			d.level[j] = max(d.level[j], d.level[i]+1)
			if left[j]--; left[j] == 0 {
				d.order = append(d.order, j)
			}
		}
	}
	if len(d.order) < len(tasks) {
		_, err := Order(tb)
		return nil, err
	}
	return d, nil
}

// critical returns the longest path and its length.
func (d *dag) critical(cost []time.Duration) ([]sched.TaskID, time.Duration) {
	if len(d.ids) == 0 {
		return nil, 0
	}
	end := make([]time.Duration, len(d.ids))
	from := make([]int32, len(d.ids))
	last := int32(0)
	for _, i := range d.order {
		from[i] = -1
		for _, p := range d.pred[i] {
			if from[i] < 0 || end[p] > end[from[i]] {
				from[i] = p
			}
		}
		if from[i] >= 0 {
			end[i] = end[from[i]]
		}
		end[i] = add(end[i], cost[d.ids[i]])
	}
	for i := range end {
		if end[i] > end[last] {
			last = int32(i)
		}
	}
	var path []sched.TaskID
	for i := last; i >= 0; i = from[i] {
		path = append(path, d.ids[i])
	}
	for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
		path[i], path[j] = path[j], path[i]
	}
	return path, end[last]
}
