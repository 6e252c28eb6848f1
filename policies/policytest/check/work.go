package check

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Service given = run time.
//
// An attempt on nodes where the whole task takes D has done (held - overhead)/D of it. D is the run time x 1000 / SpeedMilli of the
// node, or the run time that RunOn gives for the node's name, or else its GPU type, or that the class's throughput table gives for
// the type; a gang is as slow as its slowest node. The
// overhead is held at the start of an attempt that follows a preemption. Over the attempts:
//
//   - stopped by order: the work is kept, or with Restart all of it is lost
//   - failed, or its node lost: what this attempt did is lost. Whether work kept at an earlier preemption survives depends on where
//     it was kept, which a case does not say; both readings are accepted, and so are both for the overhead of the start after it.
//   - finished: the parts add up to exactly one
//   - killed at its estimate: the parts, of the estimate instead of the run time, add up to one; or, where estimates are by node,
//     the work done is what the estimate says for the reference node, or the time held less overhead is the estimate of the last node
//
// Before all that an attempt may hold its room and wait for what its predecessors send (staging): where an edge carries data, from the end of
// the predecessor, and from the first node that it ran on to each node of the attempt, for the larger latency of the two nodes' links and the
// bytes at the smaller bandwidth. Nothing is sent within a node.
//
// One attempt is compared in whole nanoseconds; several allow two nanoseconds an attempt, for rounding to whole ones on nodes of
// different speed.

// duration returns the whole task's time on the placements, rounded down and up.
func (c *Case) duration(run time.Duration, by []sched.CostOn, on []sched.Placement) (lo, hi time.Duration) {
	for _, p := range on {
		if p.Node < 0 || int(p.Node) >= len(c.Nodes) {
			continue
		}
		a, b := oneNode(run, by, &c.Nodes[p.Node])
		lo, hi = max(lo, a), max(hi, b)
	}
	return lo, hi
}

// by returns the run times by node name or GPU type of a task that takes run at reference speed: those of its own, then those that the
// throughput table of its class comes to, rounded up.
func (c *Case) by(t sched.TaskID, run time.Duration, own []sched.CostOn) []sched.CostOn {
	class := c.Table.ClassOf(t)
	if class.Speeds == 0 {
		return own
	}
	out := slices.Clone(own)
	for _, s := range c.Table.Speeds[class.Speeds] {
		d := new(big.Int).Mul(big.NewInt(int64(run)), big.NewInt(1e9))
		d.Add(d, big.NewInt(s.Nano-1)).Div(d, big.NewInt(s.Nano))
		if !d.IsInt64() {
			d.SetInt64(math.MaxInt64)
		}
		out = append(out, sched.CostOn{On: s.GPUType, Run: time.Duration(d.Int64())})
	}
	return out
}

func oneNode(run time.Duration, by []sched.CostOn, node *sched.NodeSpec) (lo, hi time.Duration) {
	for _, x := range by {
		if x.On == node.Name {
			return x.Run, x.Run
		}
	}
	for _, x := range by {
		if x.On != "" && sched.SameGPU(x.On, node.GPUType) {
			return x.Run, x.Run
		}
	}
	speed := node.SpeedMilli
	if speed <= 0 {
		speed = 1000
	}
	if run <= 0 {
		return 0, 0
	}
	h, l := bits.Mul64(uint64(run), 1000)
	if h >= uint64(speed) {
		return math.MaxInt64, math.MaxInt64
	}
	q, r := bits.Div64(h, l, uint64(speed))
	if q >= math.MaxInt64 {
		return math.MaxInt64, math.MaxInt64
	}
	lo = time.Duration(q)
	hi = lo
	if r > 0 {
		hi++
	}
	return lo, hi
}

// part is what the attempts so far may have left behind: the share of the work kept, of the estimate used up, and the time that took,
// with the tolerance collected.
type part struct {
	done, slack float64
	late        float64 // of done, may be waiting to be told
	est         float64 // share of the estimate
	rough       float64 // of est, may be rounding, of whole ns on nodes where it is short
	spent       time.Duration
	n           int // attempts that count
}

// staging returns how long an attempt that starts then waits for its input, and for what its predecessors, of these ends and nodes, send.
func (c *Case) staging(t sched.TaskID, start sched.Time, on []sched.Placement, pred func(p sched.TaskID) (sched.Time, sched.NodeID)) time.Duration {
	if d, ok := c.waits[spanStart{t, start}]; ok {
		return d
	}
	wait := c.sent(t, start, on, pred)
	if in := c.Table.Data[t]; in.Input > 0 {
		for _, place := range on {
			if place.Node < 0 || int(place.Node) >= len(c.Nodes) || c.Nodes[place.Node].Name == in.At {
				continue
			}
			n, takes := &c.Nodes[place.Node], 0.0
			if n.StorageMBps > 0 {
				takes = float64(in.Input) / (n.StorageMBps / 1000) // ns
			}
			wait = max(wait, n.StorageLatency+time.Duration(math.Round(takes)))
		}
	}
	return wait
}

// sent returns how long an attempt that starts then waits for what its predecessors send.
func (c *Case) sent(t sched.TaskID, start sched.Time, on []sched.Placement, pred func(p sched.TaskID) (sched.Time, sched.NodeID)) time.Duration {
	tb, wait := c.Table, time.Duration(0)
	for _, p := range tb.Preds(t) {
		bytes := int64(0)
		for i := tb.SuccOff[p]; i < tb.SuccOff[p+1] && len(tb.EdgeBytes) > 0; i++ {
			if tb.Succ[i] == t {
				bytes = tb.EdgeBytes[i]
			}
		}
		end, from := pred(p)
		if bytes == 0 || end == sched.Never || from == sched.NoNode {
			continue
		}
		for _, place := range on {
			if place.Node == from || place.Node < 0 || int(place.Node) >= len(c.Nodes) {
				continue
			}
			a, b := &c.Nodes[from], &c.Nodes[place.Node]
			bits, slow := float64(bytes)*8, math.Inf(1) // bits a second
			for _, n := range []*sched.NodeSpec{a, b} {
				if n.NetworkMbps > 0 {
					slow = math.Min(slow, n.NetworkMbps*1e6)
				}
			}
			takes := time.Duration(math.Round(bits / slow * 1e9))
			if b.NetworkLatency > a.NetworkLatency {
				a = b
			}
			wait = max(wait, end.Sub(start)+takes+a.NetworkLatency)
		}
	}
	return wait
}

func (k *checker) service(t sched.TaskID, spans []*Span, o sched.Outcome, outcome func(sched.TaskID) sched.Outcome) {
	c := &k.c
	kept := []part{{}}
	preempted, ever := false, false // the previous attempt was preempted; some attempt was
	for i, s := range spans {
		if s.How == Open || s.End < s.Start {
			return
		}
		run, by := c.Run[t], c.by(t, c.Run[t], c.RunOn[t])
		lo, hi := c.duration(run, by, s.On)
		elo, ehi := c.duration(c.Table.Estimates[t], c.by(t, c.Table.Estimates[t], c.Table.EstimateOn[t]), s.On)
		if s.How == Cut {
			if !c.KillAtEstimate {
				k.bad("service", t, s.End, "attempt %d was killed, and nothing says that runs are cut", s.Attempt)
				return
			}
			if ehi >= lo {
				k.bad("service", t, s.End, "attempt %d was killed though its estimate %s covers its run time %s", s.Attempt, ehi, lo)
				return
			}
		}
		overheads := []time.Duration{0}
		if preempted {
			overheads[0] = c.Overhead
		} else if ever && c.Overhead > 0 {
			overheads = append(overheads, c.Overhead)
		}
		held := s.End.Sub(s.Start) - c.staging(t, s.Start, s.On, func(p sched.TaskID) (sched.Time, sched.NodeID) {
			q := outcome(p)
			return q.End, q.Node
		})
		if s.How == Complete || s.How == Cut {
			whole := lo
			good := false
			if s.How == Complete {
				good = addsUp(kept, held, overheads, lo, hi, run, c.Late)
			} else {
				whole = elo
				good = cutRight(kept, held, overheads, lo, elo, ehi, run, c.Table.Estimates[t], c.Late)
			}
			if !good {
				k.bad("service", t, s.End, "attempt %d was %s after holding for %s, which with what was kept before (%s) is not the whole of %s (overhead %v)",
					s.Attempt, s.How, held, shares(kept), whole, overheads)
			}
			if s.How == Complete && c.KillAtEstimate && i == 0 && elo > 0 && held > ehi+c.Late {
				k.bad("service", t, s.End, "finished after %s though it is to be cut at its estimate %s", held, ehi)
			}
			return
		}
		next := kept[:0:0]
		for _, p := range kept {
			switch s.How {
			case Halted:
				if c.Restart {
					next = merge(next, part{})
					continue
				}
				for _, v := range overheads {
					next = merge(next, p.plus(max(held-v, 0), lo, elo, run).later(c.Late, lo))
				}
			default: // Broken, Lost
				next = merge(next, p)
				next = merge(next, part{})
			}
		}
		for _, p := range next {
			if p.done > 1+p.slack+p.late && p.slack < 1 {
				k.bad("service", t, s.End, "has had %.9f of its run time after attempt %d and still runs", p.done, s.Attempt)
				return
			}
		}
		kept = next
		preempted = s.How == Halted
		ever = ever || preempted
	}
	if o.Phase == sched.Done && len(spans) > 0 && spans[len(spans)-1].How != Complete && spans[len(spans)-1].How != Unsaid {
		k.bad("service", t, o.End, "is done, but its last attempt was %s", spans[len(spans)-1].How)
	}
}

// plus adds an attempt that did work for d of a whole that takes full, and is estimated at est, here, and takes run on the reference node.
func (p part) plus(d, full, est, run time.Duration) part {
	p.spent += d
	p.n++
	if est > 0 {
		p.est += float64(d) / float64(est)
		p.rough += 2 / float64(est)
	}
	if full <= 0 {
		return p
	}
	p.done += float64(d) / float64(full)
	p.slack += 2/float64(full) + 1e-12
	if run > 0 {
		p.slack += 2 / float64(run)
	}
	return p
}

// later allows for the time until an end was told, of a whole that takes full.
func (p part) later(late, full time.Duration) part {
	if full > 0 {
		p.late += float64(late) / float64(full)
	}
	return p
}

// addsUp reports whether the last attempt completes the work in one of the readings.
func addsUp(kept []part, held time.Duration, overheads []time.Duration, lo, hi, run, late time.Duration) bool {
	for _, p := range kept {
		for _, v := range overheads {
			d := held - v
			switch {
			case d < 0:
			case d >= lo && d <= hi+late && p.done == 0:
				return true
			case p.n == 0: // one attempt is compared exactly
			case hi == 0:
				if d <= late {
					return true
				}
			default:
				if q := p.plus(d, max(lo, 1), 0, run).later(late, max(lo, 1)); q.done >= 1-q.slack && q.done <= 1+q.slack+q.late {
					return true
				}
			}
		}
	}
	return false
}

// cutRight reports whether the last attempt ends where the estimate does in one of the readings.
func cutRight(kept []part, held time.Duration, overheads []time.Duration, full, lo, hi, run, estimate, late time.Duration) bool {
	for _, p := range kept {
		for _, v := range overheads {
			d := held - v
			if d < 0 {
				continue
			}
			if p.spent == 0 && d >= lo && d <= hi+late {
				return true
			}
			if p.n == 0 {
				continue
			}
			q := p.plus(d, max(full, 1), max(lo, 1), run)
			slack := time.Duration(2*q.n+2) + late*time.Duration(q.n)
			switch {
			// More than the estimate may have been used up on nodes where it covers the run, which cut nothing; there is then nothing left here.
			case d == 0 && p.est >= 1,
				math.Abs(q.est-1) <= float64(slack)/float64(max(lo, 1))+q.rough+1e-9,
				math.Abs(q.done*float64(run)-float64(estimate)) <= float64(slack)+1e-9*float64(estimate),
				q.spent >= lo-slack && q.spent <= hi+slack:
				return true
			}
		}
	}
	return false
}

func merge(list []part, p part) []part {
	for _, q := range list {
		if q == p {
			return list
		}
	}
	if len(list) >= 64 { // readings of a task that fails very often
		return list
	}
	return append(list, p)
}

func shares(kept []part) string {
	s := ""
	for i, p := range kept {
		if i > 0 {
			s += " or "
		}
		s += fmt.Sprintf("%.9f of it", p.done)
	}
	return s
}
