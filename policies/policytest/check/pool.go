package check

import (
	"fmt"
	"math"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Pool checks a run whose nodes are switched on and off and whose queues are bounded (QuotaSet), from the facts and orders alone: nothing
// starts on a node that is not up, no queue comes to hold more than its bound by a start, and the nodes' time adds up. Feed it every batch.
type Pool struct {
	Table *sched.Table
	Nodes []sched.NodeSpec
	Delay time.Duration // from the order to switch a node on until it is up

	from, now sched.Time
	began     bool
	nodes     []poolNode
	live      map[sched.TaskID][]sched.Placement
	attempt   map[sched.TaskID]int32
	bounds    map[string]sched.Quota
	held      map[string][2]int64 // by queue: milli-CPU, milli-GPU
	on        time.Duration       // of nodes that are off again
	problems  []Violation
}

type poolNode struct {
	down bool
	lost bool // down, and not only drained
	off  bool
	on   sched.Time // since when it costs
	runs int

	broken bool // lost while it was on: it costs all the same, and comes back without being switched on
}

// Tap takes one batch.
func (p *Pool) Tap(now sched.Time, in []sched.Event, out []sched.Command) {
	if !p.began {
		p.began, p.from = true, now
		p.nodes = make([]poolNode, len(p.Nodes))
		for i := range p.nodes {
			p.nodes[i].on = now
		}
		p.live, p.attempt = map[sched.TaskID][]sched.Placement{}, map[sched.TaskID]int32{}
		p.bounds, p.held = map[string]sched.Quota{}, map[string][2]int64{}
	}
	p.now = now
	for _, e := range in {
		switch e.Kind {
		case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
			if p.attempt[e.Task] == e.Attempt {
				p.end(e.Task)
			}
		case sched.NodeDown:
			for t, on := range p.live { // what ran there alone is over
				elsewhere := false
				for _, x := range on {
					elsewhere = elsewhere || x.Node != e.Node && !p.nodes[x.Node].lost
				}
				for _, x := range on {
					if x.Node == e.Node && !elsewhere {
						p.end(t)
						break
					}
				}
			}
			n := &p.nodes[e.Node]
			n.broken = n.broken || !n.down
			n.down, n.lost = true, true
		case sched.NodeDrain:
			p.nodes[e.Node].down, p.nodes[e.Node].broken = true, false
		case sched.NodeUp:
			n := &p.nodes[e.Node]
			n.down, n.lost, n.broken = false, false, false
			if n.off {
				n.off, n.on = false, max(now-sched.Time(p.Delay), p.from)
			}
		case sched.QuotaSet:
			if q := e.More.Quota; q.Queue != "" || q.Tenant == "" {
				p.bounds[q.Queue] = *q
			}
		}
	}
	for _, c := range out {
		if c.Kind != sched.Start {
			continue
		}
		d := p.Table.DemandOf(c.Task)
		queue := p.Table.Queues[p.Table.ClassOf(c.Task).Queue]
		h := p.held[queue]
		h[0] += int64(d.Gang) * d.Need.CPU
		h[1] += int64(d.Gang) * int64(d.Need.GPUs) * int64(d.Need.GPUMilli)
		p.held[queue] = h
		if b, ok := p.bounds[queue]; ok && (b.CPU >= 0 && h[0] > b.CPU || b.GPUMilli >= 0 && h[1] > b.GPUMilli) {
			p.bad(c.Task, "queue %q holds %d milli-CPU and %d/1000 GPUs, its replicas have %d and %d", queue, h[0], h[1], b.CPU, b.GPUMilli)
		}
		p.attempt[c.Task] = c.Attempt
		p.live[c.Task] = append([]sched.Placement(nil), c.On...)
		for _, x := range c.On {
			p.nodes[x.Node].runs++
			if p.nodes[x.Node].down {
				p.bad(c.Task, "attempt %d is started on node %d, which takes nothing", c.Attempt, x.Node)
			}
		}
	}
	for i := range p.nodes {
		if n := &p.nodes[i]; n.down && !n.broken && !n.off && n.runs == 0 {
			n.off = true
			p.on += now.Sub(n.on)
		}
	}
}

func (p *Pool) end(t sched.TaskID) {
	for _, x := range p.live[t] {
		p.nodes[x.Node].runs--
	}
	delete(p.live, t)
	p.attempt[t] = -1
	d := p.Table.DemandOf(t)
	queue := p.Table.Queues[p.Table.ClassOf(t).Queue]
	h := p.held[queue]
	h[0] -= int64(d.Gang) * d.Need.CPU
	h[1] -= int64(d.Gang) * int64(d.Need.GPUs) * int64(d.Need.GPUMilli)
	p.held[queue] = h
}

func (p *Pool) bad(t sched.TaskID, format string, args ...any) {
	p.problems = append(p.problems, Violation{"pool", t, p.now, fmt.Sprintf(format, args...)})
}

// Check returns what was wrong. hours is what the books under test say of the nodes' time until end; nodes whose coming up was given up are in no
// fact, so it may be more than what the facts say, and equal to it where exact is set: nothing was given up.
func (p *Pool) Check(hours float64, end sched.Time, exact bool) []Violation {
	on := p.on
	for i := range p.nodes {
		if n := &p.nodes[i]; !n.off {
			on += end.Sub(n.on)
		}
	}
	if got := on.Hours(); got > hours+1e-9*(1+hours) || exact && math.Abs(got-hours) > 1e-9*(1+hours) {
		p.bad(sched.Nobody, "nodes were on for %.9g h, the books say %.9g h", got, hours)
	}
	return p.problems
}
