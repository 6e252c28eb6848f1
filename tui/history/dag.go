package history

import (
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// dagMemo is the tree of one job, which changes only when tasks or edges are added.
type dagMemo struct {
	job      sched.JobID
	last     int32 // task that arrived
	extra    int
	valid    bool
	rows     []dagNode
	index    map[sched.TaskID]int32
	edges    int
	length   time.Duration
	critical int
	shown    []int32 // rows that no fold hides; only in use where there is one
}

type dagNode struct {
	task     sched.TaskID
	depth    int32
	lasts    uint64
	critical bool
	others   int32
	succs    int32
	parent   sched.TaskID
	below    int32 // rows after it that are its branch
}

func (r *Record) dagPage(q *DAGQuery, at sched.Time) DAGPage {
	if q.Task < 0 || int(q.Task) >= len(r.tasks) || r.cur.phase[q.Task] == uint8(sched.Unknown) {
		return DAGPage{Found: -1}
	}
	j := r.tb.Tasks[q.Task].Job
	m := &r.dag
	if !m.valid || m.job != j || m.last != r.jobs[j].last || m.extra != len(r.extra.succ) {
		r.makeTree(j)
	}
	p := DAGPage{Job: r.tb.JobName.At(int(j)), Tasks: len(m.rows), Edges: m.edges, Length: m.length, Critical: m.critical, Total: len(m.rows), Found: int(m.index[q.Task])}
	done := func(rows []dagNode) (n int) {
		for i := range rows {
			if r.cur.phase[rows[i].task] == uint8(sched.Done) {
				n++
			}
		}
		return n
	}
	p.Done = done(m.rows)
	folds := m.fold(q)
	if folds != nil {
		p.Total = len(m.shown)
		i, hit := slices.BinarySearch(m.shown, int32(p.Found))
		if !hit {
			i-- // the branch that begins before it
		}
		p.Found = i
	}
	p.From = max(min(q.From, p.Total-q.Rows), 0)
	for k := p.From; k < min(p.From+q.Rows, p.Total); k++ {
		i := k
		if folds != nil {
			i = int(m.shown[k])
		}
		n := &m.rows[i]
		x := DAGRow{
			Task: r.row(n.task, at), Depth: n.depth, Last: n.lasts, Critical: n.critical, Others: n.others, Succs: n.succs, Parent: n.parent, Below: n.below,
		}
		if folds != nil && n.below > 0 && folds(n.task) {
			x.Folded, x.Done = true, int32(done(m.rows[i+1:i+1+int(n.below)]))
		}
		p.Rows = append(p.Rows, x)
	}
	return p
}

// fold collects the rows that are shown, and returns what says which branches are folded; nil if none is.
func (m *dagMemo) fold(q *DAGQuery) func(sched.TaskID) bool {
	if !q.Folded && len(q.Unlike) == 0 {
		return nil
	}
	unlike := make(map[sched.TaskID]bool, len(q.Unlike))
	for _, t := range q.Unlike {
		unlike[t] = true
	}
	folded := func(t sched.TaskID) bool { return q.Folded != unlike[t] }
	m.shown = m.shown[:0]
	for i := int32(0); i < int32(len(m.rows)); i++ {
		m.shown = append(m.shown, i)
		if folded(m.rows[i].task) {
			i += m.rows[i].below
		}
	}
	return folded
}

// makeTree hangs every task of a job below the predecessor whose path is longest. Lengths are in estimates.
func (r *Record) makeTree(j sched.JobID) {
	m := &r.dag
	*m = dagMemo{job: j, last: r.jobs[j].last, extra: len(r.extra.succ), valid: true, index: map[sched.TaskID]int32{}}
	var ts []sched.TaskID
	for t := r.jobs[j].last; t >= 0; t = r.tasks[t].sibling {
		ts = append(ts, sched.TaskID(t))
	}
	slices.Reverse(ts)
	local := make(map[sched.TaskID]int32, len(ts))
	for i, t := range ts {
		local[t] = int32(i)
	}
	n := len(ts)
	open, preds, succs, parent := make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n)
	length := make([]time.Duration, n)
	var queue []int32
	for i, t := range ts {
		parent[i] = -1
		r.eachPred(t, func(p sched.TaskID) {
			if _, ok := local[p]; ok {
				open[i]++
			}
		})
		preds[i] = open[i]
		m.edges += int(open[i])
		if open[i] == 0 {
			queue = append(queue, int32(i))
		}
	}
	estimate := func(i int32) time.Duration {
		if int(ts[i]) < len(r.tb.Estimates) {
			return max(r.tb.Estimates[ts[i]], 0)
		}
		return 0
	}
	for h := 0; h < len(queue); h++ {
		i := queue[h]
		length[i] += estimate(i)
		r.eachSucc(ts[i], func(u sched.TaskID) {
			k, ok := local[u]
			if !ok {
				return
			}
			succs[i]++
			if parent[k] < 0 || length[i] > length[k] {
				parent[k], length[k] = i, length[i]
			}
			if open[k]--; open[k] == 0 {
				queue = append(queue, k)
			}
		})
	}
	end := int32(-1)
	for i := range length {
		if end < 0 || length[i] > length[end] {
			end = int32(i)
		}
	}
	critical := make([]bool, n)
	if end >= 0 {
		m.length = length[end]
	}
	for i := end; i >= 0; i = parent[i] {
		critical[i] = true
		m.critical++
	}
	r.spread(ts, parent, preds, succs, critical)
}

// spread puts the tree into rows, parents before children, critical ones first.
func (r *Record) spread(ts []sched.TaskID, parent, preds, succs []int32, critical []bool) {
	m := &r.dag
	children := make([][]int32, len(ts))
	var roots []int32
	for i := range ts {
		if parent[i] < 0 {
			roots = append(roots, int32(i))
		} else {
			children[parent[i]] = append(children[parent[i]], int32(i))
		}
	}
	first := func(list []int32) {
		slices.SortStableFunc(list, func(a, b int32) int {
			switch {
			case critical[a] == critical[b]:
				return 0
			case critical[a]:
				return -1
			}
			return 1
		})
	}
	type item struct {
		i, depth int32
		lasts    uint64
	}
	up := func(i int32) sched.TaskID {
		if parent[i] < 0 {
			return sched.Nobody
		}
		return ts[parent[i]]
	}
	var stack []item
	push := func(list []int32, depth int32, lasts uint64) {
		first(list)
		for k := len(list) - 1; k >= 0; k-- {
			l := lasts
			if k == len(list)-1 && depth < 64 {
				l |= 1 << depth
			}
			stack = append(stack, item{list[k], depth, l})
		}
	}
	push(roots, 0, 0)
	for len(stack) > 0 {
		x := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		m.index[ts[x.i]] = int32(len(m.rows))
		m.rows = append(m.rows, dagNode{
			task: ts[x.i], depth: x.depth, lasts: x.lasts, critical: critical[x.i], others: max(preds[x.i]-1, 0), succs: succs[x.i], parent: up(x.i),
		})
		push(children[x.i], x.depth+1, x.lasts)
	}
	for i := len(m.rows) - 1; i >= 0; i-- { // a branch stands behind its node
		if p := m.rows[i].parent; p != sched.Nobody {
			m.rows[m.index[p]].below += m.rows[i].below + 1
		}
	}
}
