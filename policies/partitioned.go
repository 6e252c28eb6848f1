package policies

import (
	"slices"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/realtime"
	"github.com/schedlab/schedlab/policies/sched"
)

// Partitioned is partitioned rate-monotonic scheduling: each periodic task whose releases have arrived has a node of its own on which all of
// them run, found by first fit in the order of falling utilization (Dhall & Liu 1978; realtime.Set.Partition), and each node is scheduled by
// itself, by period, preemptively. A processor of the analysis is a node: its tasks pass the test as if it ran one at a time, so where several fit
// beside each other the test is on the safe side; give single cores as nodes (64x1cpu) to partition cores. All deadlines are met that the
// test accepts, while global rate-monotonic scheduling can miss one at a utilization a little above 1 on any number of processors (Dhall's effect).
//
// The partition is made anew when a periodic task is first released, or with a longer estimate than before, and when a node comes or goes; what
// runs stays where it runs. Of more than 500 periodic tasks the first 500 are assigned. Those that pass the test on no node, or ask for more than one,
// run by period in the room that the others leave, and all tasks without a period behind them, in the order of their numbers. These may be stopped
// by the tasks of a node and stop none.
//
// Make one with NewPartitioned.
type Partitioned struct {
	Preemptive // keeps the running tasks; its lines are not used
	Test       realtime.Test

	known  templates
	levels []int64        // by template
	node   []sched.NodeID // by template; NoNode: none of its own
	waits  [][]heap.Item  // ready releases by node, in their order; the last line has those of no node
	rest   List           // tasks without a period
	stale  bool
	still  bool // nobody is stopped
	onNode sched.NodeID
	place  Place
	may    Evictable
}

// NewPartitioned returns partitioned rate-monotonic scheduling. skip says whether what does not fit is passed over, preempt whether tasks are
// stopped; the test promises nothing without both. place is for tasks that have no node of their own; nil: first fit.
func NewPartitioned(place Place, skip, preempt bool, test realtime.Test) *Partitioned {
	p := &Partitioned{Test: test, still: !preempt, rest: List{Key: func(*sched.State, sched.TaskID) int64 { return never }, Place: place, Skip: skip}}
	p.Place, p.Skip = place, skip
	p.Key = p.level
	p.place = func(s *sched.State, room *sched.Room, t sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
		d := s.DemandID(t)
		if room.FitsOn(d, p.onNode, 1) < 1 {
			return buf, false
		}
		return append(buf, sched.Placement{Node: p.onNode, Replicas: 1, GPUs: room.Devices(d, p.onNode, 1)}), true
	}
	p.may = func(s *sched.State, running, t sched.TaskID) (int64, bool) {
		k := p.level(s, running)
		mine := p.level(s, t)
		return k, (k > mine || k == mine && running > t) && slices.ContainsFunc(s.Placements(running), func(o sched.Placement) bool { return o.Node == p.onNode })
	}
	return p
}

func (p *Partitioned) level(_ *sched.State, t sched.TaskID) int64 {
	if i := p.known.template(t); i >= 0 && int(i) < len(p.levels) {
		return p.levels[i]
	}
	return never
}

// lineOf returns the line of a release.
func (p *Partitioned) lineOf(t sched.TaskID) *[]heap.Item {
	if i := p.known.template(t); int(i) < len(p.node) && p.node[i] != sched.NoNode {
		return &p.waits[p.node[i]]
	}
	return &p.waits[len(p.waits)-1]
}

// Observe keeps the periodic tasks, the lines and the running tasks.
func (p *Partitioned) Observe(s *sched.State, e sched.Event) {
	if len(p.waits) == 0 {
		p.waits = make([][]heap.Item, 1)
	}
	p.known.observe(s, &e)
	p.keepRunning(s, &e)
	switch e.Kind {
	case sched.TaskReady:
		if p.known.template(e.Task) >= 0 {
			p.file(s, e.Task)
			return
		}
	case sched.TaskBlocked, sched.TaskDropped:
		if p.known.template(e.Task) >= 0 {
			line := p.lineOf(e.Task)
			*line = slices.DeleteFunc(*line, func(it heap.Item) bool { return it.Task == e.Task })
		}
	case sched.NodeUp, sched.NodeDown:
		p.stale = true
	}
	p.rest.observe(s, &e)
}

// file puts a ready release into its line.
func (p *Partitioned) file(s *sched.State, t sched.TaskID) {
	it, line := heap.Item{Key: p.level(s, t), Task: t}, p.lineOf(t)
	list := append(*line, it)
	i := len(list) - 1
	for ; i > 0 && it.Before(list[i-1]); i-- {
		list[i] = list[i-1]
	}
	list[i] = it
	*line = list
}

// Decide assigns nodes where that has to be done anew, and starts the tasks of each node in their order, then the others.
func (p *Partitioned) Decide(r *sched.Round) {
	for _, o := range r.Ordered() {
		// A fact has ordered it, and nobody is told of that. The loss of its last node may have ended it since.
		if o.Kind == sched.Stop && r.Phase(o.Task) == sched.Stopping {
			p.running.leave(r.State, o.Task)
		}
	}
	if p.known.changed || p.stale {
		p.known.changed, p.stale = false, false
		p.partition(r.State)
	}
	last := len(p.waits) - 1
	if last < 0 {
		return // it has been told of nothing yet
	}
	for n := range p.waits[:last] {
		p.onNode = sched.NodeID(n)
		p.serve(r, &p.waits[n], p.tryOnNode)
	}
	p.serve(r, &p.waits[last], p.tryAnywhere)
	begun := len(r.Ordered())
	p.rest.Decide(r)
	for _, o := range r.Ordered()[begun:] {
		if o.Kind == sched.Start {
			p.started(r.State, o.Task)
		}
	}
}

// partition makes the assignment, and puts everybody where he belongs by it.
func (p *Partitioned) partition(s *sched.State) {
	room := s.Room()
	p.levels = levelsOf(p.levels, p.known.set, realtime.RM)
	analyzed := p.known.set[:min(len(p.known.set), maxAnalyzed)]
	on, err := analyzed.Partition(room.Len(), realtime.RM, p.Test, func(i, n int) bool {
		d := s.DemandID(p.known.one[i])
		dem, node := s.Demand(p.known.one[i]), sched.NodeID(n)
		return dem.Gang == 1 && room.Up(node) && room.Allowed(d, node) && sched.CouldEverFit([]sched.NodeSpec{*room.Spec(node)}, dem)
	})
	p.node = p.node[:0]
	for i := range p.known.set {
		node := sched.NoNode
		if i < len(analyzed) && err == nil && on[i] >= 0 {
			node = sched.NodeID(on[i])
		} else {
			p.levels[i] += int64(len(p.known.set)) // below all that have a node
		}
		p.node = append(p.node, node)
	}
	var all []heap.Item
	for _, line := range p.waits {
		all = append(all, line...)
	}
	p.waits = make([][]heap.Item, room.Len()+1)
	for _, it := range all {
		p.file(s, it.Task)
	}
	p.rekey(s)
}

// serve tries the tasks of a line in their order.
func (p *Partitioned) serve(r *sched.Round, line *[]heap.Item, try func(r *sched.Round, t sched.TaskID) bool) {
	kept, list := 0, *line
	for i, it := range list {
		if r.Phase(it.Task) == sched.Ready && r.QuotaAllows(it.Task) && !try(r, it.Task) {
			r.Skip(it.Task, sched.NoRoom)
			if !p.Skip {
				kept += copy(list[kept:], list[i:])
				break
			}
		}
		if r.Phase(it.Task) == sched.Ready {
			list[kept] = it
			kept++
		}
	}
	*line = list[:kept]
}

func (p *Partitioned) tryAnywhere(r *sched.Round, t sched.TaskID) bool {
	if p.Place == nil {
		if !r.StartFirst(t) {
			return false
		}
	} else {
		on, ok := p.Place(r.State, r.Room(), t, p.stop.buf[:0])
		p.stop.buf = on[:0]
		if !ok {
			return false
		}
		r.Start(t, on...)
	}
	p.tried(r, t)
	return true
}

// tryOnNode starts a task on its node, or claims room there.
func (p *Partitioned) tryOnNode(r *sched.Round, t sched.TaskID) bool {
	done := r.StartOn(t, p.onNode)
	switch {
	case done || p.still:
	case p.stop.near.serves(r.State, t):
		done = p.stopOnNode(r, t)
	default:
		done = p.stop.byPlan(r, t, p.may, p.place, false)
	}
	p.tried(r, t)
	return done
}

// stopOnNode stops tasks of the node that come after t in the order, the last of them first, as many as it takes, less those without whom it
// fits as well.
func (p *Partitioned) stopOnNode(r *sched.Round, t sched.TaskID) bool {
	x, list, mine := &p.stop, p.running.nodes[p.onNode], p.level(r.State, t)
	if !r.Room().Up(p.onNode) {
		return false
	}
	g, last := gapOn(r.State, r.DemandID(t), p.onNode), len(list)
	for ; last > 0 && !g.closed(); last-- {
		v := &list[last-1]
		if !v.leaving && (v.rank < mine || v.rank == mine && v.task < t) {
			return false // a task that must not be stopped would have to be
		}
		g.less(v.freed())
	}
	if !g.closed() {
		return false
	}
	if x.spareOn(list[last:], g); len(x.ids) == 0 {
		return false
	}
	x.buf = append(x.buf[:0], sched.Placement{Node: p.onNode, Replicas: 1}) // the kernel chooses the devices
	return r.Claim(t, x.buf, x.ids...)
}

var rmsEntry = Entry{
	Name: "rms", Summary: "Rate-monotonic: the shortest period first.", Placed: true, Starves: true,
	About: "Fixed priorities by period; tasks without a period rank last, in the order of their number, and may starve. Global: any task may run on any node. Partitioned: every " +
		"periodic task has a node, found by first fit in the order of falling utilization so that the node's tasks pass the test; what fits nowhere runs in the room that is left.",
	Source: "Liu & Layland, JACM 1973, section 4. Partitioned: Dhall & Liu, Operations Research 1978.",
	Params: []Param{
		{Name: "mode", Default: "global", Choices: []string{"global", "partitioned"}, About: "whether tasks may run on any node, or each on its own; a node counts as one processor"},
		{Name: "test", Default: "exact", Choices: []string{"exact", "bound"}, About: "partitioned: by response times, or by Liu and Layland's utilization bound"},
		preemptParam, skipParam,
	},
	New: func(a Args) (sched.Policy, error) {
		if a.Text("mode") == "global" {
			return preemptive(ByPeriod, false)(a)
		}
		test := realtime.ByResponse
		if a.Text("test") == "bound" {
			test = realtime.ByBound
		}
		return NewPartitioned(a.Place, a.Bool("skip"), a.Bool(preemptParam.Name), test), nil
	},
}
