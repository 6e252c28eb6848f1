package policies

import (
	"math"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// denial is what is known of a demand since a task of it found no room: neither does any that comes after it, but on nodes that have gained since. What
// starts makes no room for it, not even if it may be stopped: what it took was free before, and was not enough. And the ranks of running tasks do not
// rise, relative to the keys of waiting tasks, without a touch.
type denial struct {
	it   heap.Item
	upTo int // of the log of touched nodes, dropped entries included
	ok   bool

	// What was found among the nodes that have gained, for the first of the line.
	first   closing
	head    heap.Item
	bar     bar
	asked   bool // head and bar are there
	when    sched.Time
	changes int // of the running tasks, up to then
}

// fewChanged entries of the log are looked at one by one; of more the tree is asked.
const fewChanged = 24

// deny takes in that a task found no room on any node.
func (p *Preemptive) deny(d sched.DemandID, it heap.Item) {
	if (p.laxity == 0 || it.Key == never) && !p.grows { // else tasks may be stopped later that may not be now
		k := &p.denials[d]
		k.it, k.upTo, k.ok, k.changes = it, p.running.gains.mark(), true, -1
	}
}

// learn takes in that room was claimed at a closing: none comes before it, so that a task of its rank finds no room now, if it asks for as much or more.
// That serves those that were stopped, which are back in line next.
func (p *Preemptive) learn(s *sched.State, d sched.DemandID, c closing) {
	it := heap.Item{Key: c.rank, Task: c.task}
	if p.Falls {
		it.Key -= int64(s.Now())
	} else if m := p.running.quanta; m != nil {
		it.Key = m.keyAt(s, c.rank)
	}
	for i := range p.stop.ids {
		v := s.DemandID(p.stop.ids[i])
		if !p.asksMore(s, v, d) {
			continue
		}
		for len(p.denials) <= int(v) {
			p.denials = append(p.denials, denial{})
			p.running.hard = append(p.running.hard, 0)
			p.running.rightFrom(s, sched.DemandID(len(p.denials)-1))
		}
		if k := &p.denials[v]; !k.ok || p.earlier(it, k.it) || k.upTo < p.running.gains.begun {
			p.deny(v, it)
		}
	}
}

// asksMore reports whether wherever there is room for a task of demand d there is some for one of demand less, if both are of one replica.
func (p *Preemptive) asksMore(s *sched.State, d, less sched.DemandID) bool {
	if d == less {
		return true
	}
	a, b, want, least := &s.Table().Demands[d], &s.Table().Demands[less], &p.running.wants[d], &p.running.wants[less]
	return a.Gang == 1 && want.cpu >= least.cpu && want.mem >= least.mem && want.gpus >= least.gpus && a.Need.VRAM >= b.Need.VRAM &&
		len(b.GPUTypes) == 0 && len(b.Labels)+len(b.NotLabels) == 0 && len(a.Tolerations) == 0
}

// forget takes in that keys have changed.
func (p *Preemptive) forget() {
	clear(p.denials)
	p.stirred, p.sure = true, false
}

// bar is what a running task must come behind, in the order of ranks, ties by TaskID, to be stopped for a waiting task. The zero value is none.
type bar struct {
	rank int64
	task sched.TaskID
}

// noBar lets all be stopped.
var noBar = bar{math.MinInt64, -1}

// over reports whether a running task may be stopped.
func (b *bar) over(rank int64, running sched.TaskID) bool {
	return rank > b.rank || rank == b.rank && running > b.task
}

// bar returns what may be stopped for a waiting task.
func (p *Preemptive) bar(s *sched.State, it heap.Item) bar {
	b := bar{it.Key, it.Task}
	if p.Mild {
		b.task = lastTask
	}
	switch {
	case p.laxity > 0:
		b.task = lastTask
		if from := p.laxity - 1; it.Key == never || int64(s.Now()) > it.Key {
			b.rank = math.MaxInt64
		} else if b.rank = it.Key - int64(s.Now()); b.rank < 0 || b.rank >= never-from { // it does not fit
			b.rank = never - 1
		} else {
			b.rank += from
		}
	case p.running.quanta != nil:
		b.rank = p.running.quanta.above(s, it.Key)
	case p.Falls:
		if b.rank += int64(s.Now()); b.rank < it.Key && s.Now() > 0 {
			b = bar{math.MaxInt64, lastTask}
		}
	}
	return b
}

// mayStop reports whether a running task may be stopped for a waiting one.
func (p *Preemptive) mayStop(s *sched.State, rank int64, running sched.TaskID, it heap.Item) bool {
	b := p.bar(s, it)
	return b.over(rank, running)
}

// earlier reports whether a waiting task may stop any that another one may not.
func (p *Preemptive) earlier(it, than heap.Item) bool {
	return it.Key < than.Key || it.Key == than.Key && !p.Mild && it.Task < than.Task
}

// holds reports whether a denial still tells anything: few nodes have gained since.
func (p *Preemptive) holds(k *denial) bool {
	gains := &p.running.gains
	return k.ok && k.upTo >= gains.begun && gains.end()-k.upTo <= fewChanged && !p.quotas
}

// knows reports whether a denial tells of a task that it finds no room but on nodes that have gained since.
func (p *Preemptive) knows(k *denial, it heap.Item) bool { return p.holds(k) && !p.earlier(it, k.it) }

// denied reports whether a task is known to find no room: one of its demand that comes no later found none, and no node has gained since.
func (p *Preemptive) denied(d sched.DemandID, it heap.Item) bool {
	if int(d) >= len(p.denials) {
		return false
	}
	k := &p.denials[d]
	return k.ok && k.upTo == p.running.gains.end() && !p.quotas && !p.earlier(it, k.it) && p.byNodeServes(d) && p.orders(it.Key)
}

// settled reports whether there is no room for whom the lines that are shut stand, whatever has happened but on nodes that have gained.
func (p *Preemptive) settled() bool { return p.sure && p.near && !p.quotas && p.running.odd == 0 }

// amongGained returns the first closing for a task among the nodes that have gained since one of its demand that comes no later found no room, and false
// where that is not known.
func (p *Preemptive) amongGained(s *sched.State, d sched.DemandID, it heap.Item) (first closing, known bool) {
	k, q := &p.denials[d], &p.running
	if !p.knows(k, it) {
		return closing{}, false
	}
	if k.changes == q.changes && k.head == it && k.when == s.Now() {
		return k.first, true
	}
	b := p.bar(s, it)
	return p.firstGained(s, d, k, &b), true
}

// firstGained returns the first closing among the nodes that have gained since a denial.
func (p *Preemptive) firstGained(s *sched.State, d sched.DemandID, k *denial, b *bar) (first closing) {
	q := &p.running
	for i := k.upTo; i < q.gains.end(); i++ {
		if n, ok := q.gains.at(i); ok { // else it comes up again
			if c := q.closing(s, d, n, b); c.before(&first) {
				first = c
			}
		}
	}
	return first
}

// fitsNowhere reports whether it is known that no node has room for a task of the demand.
func (p *Preemptive) fitsNowhere(s *sched.State, d sched.DemandID) bool {
	k, q := &p.denials[d], &p.running
	if !p.holds(k) {
		return false
	}
	room := s.Room()
	for i := k.upTo; i < q.gains.end(); i++ {
		n, ok := q.gains.at(i)
		if !ok {
			continue
		}
		if g := gapOn(s, d, n); g.closed() && room.Up(n) && room.Allowed(d, n) {
			return false
		}
	}
	return true
}

// look takes in how much of what comes can be told without a search of all running tasks, at the begin of a decision.
func (p *Preemptive) look(s *sched.State) {
	p.quotas = s.Quotas()
	p.near = p.Place == nil && p.Loss == nil && p.stop.near.sees(s)
}

// ask finds out which lines may be opened since something has changed. It opens those of which nothing is known, and lists the others whose first tasks find room, or
// for whom room can be made, on the nodes that have gained. It returns the node if that is one and no line is open, else NoNode.
func (p *Preemptive) ask(s *sched.State) sched.NodeID {
	q := &p.running
	from, end, now, last := q.gains.end(), q.gains.end(), s.Now(), sched.NoNode
	if end > q.gains.begun {
		last, _ = q.gains.at(end - 1)
	}
	p.asked, p.sure = p.asked[:0], true
	for i := len(p.lines.Shuts()) - 1; i >= 0; i-- { // none is open for one node: nobody calls ReopenOn here
		d := p.lines.Shuts()[i]
		it, waits := p.lines.Head(d)
		if waits && int(d) < len(p.denials) && p.byNodeServes(d) && p.orders(it.Key) {
			if k := &p.denials[d]; p.knows(k, it) {
				if k.upTo == end {
					continue // no node has gained
				}
				from = min(from, k.upTo)
				if !k.asked || k.head != it || p.Falls || p.laxity > 0 || q.quanta != nil { // else the bar does not move
					k.head, k.bar, k.asked = it, p.bar(s, it), true
				}
				if k.upTo == end-1 { // as mostly
					k.first = q.closing(s, d, last, &k.bar)
				} else {
					k.first = p.firstGained(s, d, k, &k.bar)
				}
				switch k.first.how {
				case noRoom:
					p.deny(d, it)
				case leaving: // of it some may be left over
					p.sure = false
				default:
					k.when, k.changes = now, q.changes
					p.asked = append(p.asked, d)
				}
				continue
			}
		} else if !p.stirred {
			continue
		}
		p.lines.Unshut(d)
	}
	p.stirred, p.looked = false, q.gains.mark()
	if from == end || len(p.lines.Open()) > 0 {
		return sched.NoNode
	}
	for i := from; i < end-1; i++ {
		if _, ok := q.gains.at(i); ok {
			return sched.NoNode
		}
	}
	return last
}

// startOn starts what fits on the only node that has gained, as decideSkip would if it opened the lines for it, and takes from those that are asked the lines that it
// is done with. Whoever stops others is left to decideSkip.
func (p *Preemptive) startOn(r *sched.Round, n sched.NodeID) {
	q := &p.running
	for len(p.asked) > 0 {
		next := 0
		for i := 1; i < len(p.asked); i++ {
			if p.denials[p.asked[i]].head.Before(p.denials[p.asked[next]].head) {
				next = i
			}
		}
		d := p.asked[next]
		k := &p.denials[d]
		if !p.byNodeServes(d) || !p.orders(k.head.Key) {
			return // since one has started
		}
		if k.changes != q.changes {
			k.first, k.changes = q.closing(r.State, d, n, &k.bar), q.changes
		}
		if k.first.how == atStop {
			return
		}
		if k.first.how == fits && r.StartOn(k.head.Task, n) {
			p.started(r.State, k.head.Task)
			p.lines.Pop(d)
			if it, waits := p.lines.Head(d); waits {
				k.head, k.bar, k.changes = it, p.bar(r.State, it), -1
				continue
			}
			p.lines.Unshut(d) // it is empty
		} else {
			if k.first.how == noRoom {
				p.deny(d, k.head)
			}
			r.Skip(k.head.Task, sched.NoRoom)
			p.sure = p.sure && k.first.how == noRoom
			p.lines.Shut(d)
		}
		p.asked[next] = p.asked[len(p.asked)-1]
		p.asked = p.asked[:len(p.asked)-1]
	}
}

// raise takes in that the rank of a running task has risen: that may let the first of a line stop it, of those lines that are not looked at anyway since its
// node was touched.
func (p *Preemptive) raise(s *sched.State, old, rank int64) {
	if p.Place != nil || s.Quotas() || p.running.odd > 0 || p.running.leaves >= maxLeaves || !p.stop.near.servesAll(s) {
		p.lines.UnshutBetween(old, rank)
	}
}

// nodeLog is a list of nodes of which each reader remembers how far it has read.
type nodeLog struct {
	nodes []sched.NodeID
	last  []int // by node: its last entry, dropped ones included
	begun int   // entries that were dropped
	read  int   // entries that somebody has read, dropped ones included
}

func (l *nodeLog) grow() { l.last = append(l.last, -1) }

// end is the number of entries, dropped ones included.
func (l *nodeLog) end() int { return l.begun + len(l.nodes) }

// mark is end for one who has read all and comes back for more.
func (l *nodeLog) mark() int {
	l.read = l.end()
	return l.read
}

func (l *nodeLog) add(n sched.NodeID) {
	if l.last[n] >= max(l.read, l.begun) {
		return // nobody has read it yet
	}
	if len(l.nodes) > 4*len(l.last)+1024 { // who has not read for so long starts afresh; what nobody has read, each node once at most, stays
		read := max(l.read-l.begun, 0)
		l.begun += read
		l.nodes = l.nodes[:copy(l.nodes, l.nodes[read:])]
	}
	l.last[n] = l.end()
	l.nodes = append(l.nodes, n)
}

// at returns an entry, and false if the same node comes up again later.
func (l *nodeLog) at(i int) (sched.NodeID, bool) {
	n := l.nodes[i-l.begun]
	return n, l.last[n] == i
}
