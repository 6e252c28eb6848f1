package history

import (
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// cursor is the state of a run at one instant: after the first pos entries. Each entry moves it forth or back.
type cursor struct {
	pos   int32
	phase []uint8 // by task; Unknown where it is not submitted
	last  []int32 // its last entry by now; -1 if none
	nodes []nodeNow
	waits [numBins]int32
	done  int32
	group []Group // by tenant
}

// nodeNow is what is held of a node.
type nodeNow struct {
	state   NodeState
	use     Use     // what is there does not count
	holding []int32 // places
}

func (c *cursor) init(r *Record) {
	c.nodes = make([]nodeNow, len(r.nodes))
}

// grow makes room for the nodes, tasks and tenants of the record.
func (c *cursor) grow(r *Record) {
	for len(c.nodes) < len(r.nodes) {
		c.nodes = append(c.nodes, nodeNow{state: Down})
	}
	if n := len(r.tasks); len(c.phase) < n {
		c.phase = append(c.phase, make([]uint8, n-len(c.phase))...)
		was := len(c.last)
		c.last = slices.Grow(c.last, n-was)[:n]
		for i := was; i < n; i++ {
			c.last[i] = -1
		}
	}
	for len(c.group) < max(len(r.tb.Tenants), 1) {
		c.group = append(c.group, Group{})
	}
}

// moveTo makes the cursor stand after all that has happened by t.
func (c *cursor) moveTo(r *Record, t sched.Time) {
	c.grow(r)
	to := r.position(t)
	r.saved.nearer(c, to)
	for c.pos < to {
		c.step(r, r.log.at(c.pos), 1)
		c.pos++
	}
	for c.pos > to {
		c.pos--
		c.step(r, r.log.at(c.pos), -1)
	}
}

// step applies an entry (sign 1) or takes it back (-1).
func (c *cursor) step(r *Record, e *entry, sign int64) {
	if e.task == sched.Nobody {
		if e.kind == entNode {
			c.nodes[e.arg].state = NodeState(e.to)
			if sign < 0 {
				c.nodes[e.arg].state = NodeState(e.from)
			}
		}
		return
	}
	g := &c.group[0]
	if t := r.tb.ClassOf(e.task).Tenant; int(t) < len(c.group) {
		g = &c.group[t]
	}
	s32 := int32(sign)
	g.phase(sched.Phase(e.from), -s32)
	g.phase(sched.Phase(e.to), s32)
	if sign > 0 {
		c.phase[e.task], c.last[e.task] = e.to, c.pos
	} else {
		c.phase[e.task], c.last[e.task] = e.from, e.prev
	}
	switch {
	case e.kind == entStart:
		a := r.atts.at(e.arg)
		for p := a.place; p < a.place+a.places; p++ {
			c.hold(r, g, p, sign)
		}
	case e.kind == entPart:
		c.hold(r, g, e.arg, -sign)
	case e.ended():
		a := r.atts.at(e.arg)
		for p := a.place; p < a.place+a.places; p++ {
			if r.stoodUntil(p, e) {
				c.hold(r, g, p, -sign)
			}
		}
		if e.kind == entFinish {
			c.waits[bin(r.tasks[e.task].wait)] += s32
			c.done += s32
		}
	}
}

func (g *Group) phase(p sched.Phase, n int32) {
	switch p {
	case sched.Unknown, sched.Blocked:
	case sched.Running, sched.Stopping:
		g.Running += n
	case sched.Ready, sched.Claiming, sched.Backoff, sched.Held:
		g.Queued += n
	case sched.Done:
		g.Done += n
	}
}

func (c *cursor) hold(r *Record, g *Group, p int32, sign int64) {
	pl := r.places.at(p)
	n := &c.nodes[pl.node]
	before := n.use
	r.usePlace(&n.use, p, sign)
	g.GPU += n.use.GPU - before.GPU
	g.CPU += n.use.CPU - before.CPU
	if sign > 0 {
		n.holding = append(n.holding, p)
		return
	}
	i := slices.Index(n.holding, p)
	if i >= 0 {
		n.holding[i] = n.holding[len(n.holding)-1]
		n.holding = n.holding[:len(n.holding)-1]
	}
}

// Waits lie in bins of 1/16 of a doubling, from 1 ms on; bin 0 is all below.
const (
	binsPerDoubling = 16
	numBins         = 44*binsPerDoubling + 1
)

func bin(d time.Duration) int {
	if d < time.Millisecond {
		return 0
	}
	return min(1+int(math.Log2(float64(d)/1e6)*binsPerDoubling), numBins-1)
}

// upper returns the upper edge of a bin in seconds.
func upper(b int) float64 { return math.Exp2(float64(b)/binsPerDoubling) / 1e3 }

// rank returns the bin in which the q-quantile of the waits of the finished tasks lies, by nearest rank, and how many of the bin are before it.
func (c *cursor) rank(q float64) (b int, before int32) {
	need := max(int32(math.Ceil(q*float64(c.done))), 1)
	for b, n := range c.waits {
		if n >= need {
			return b, need - 1
		}
		need -= n
	}
	return numBins - 1, 0
}

// middle stands for a bin, whose waits differ from it by less than 3 %; what lies below the first millisecond counts as nothing.
func middle(b int) float64 {
	if b == 0 {
		return 0
	}
	return (upper(b) + upper(b-1)) / 2
}

// exactWaits is up to how many finished tasks a frame has exact quantiles of their waits: it looks at each of them.
const exactWaits = 1 << 17

// quantiles returns the median and the 99th percentile of the waits of the finished tasks, NaN if there is none. They are by nearest rank, as in
// the tables; or rough, within 3 %, where there are too many tasks and it need not be exact.
func (r *Record) quantiles(exact bool) (p50, p99 float64, rough bool) {
	c := &r.cur
	if c.done == 0 {
		return math.NaN(), math.NaN(), false
	}
	low, beforeLow := c.rank(0.5)
	high, beforeHigh := c.rank(0.99)
	if c.done > exactWaits && !exact {
		return middle(low), middle(high), true
	}
	in := &r.binned
	in[0], in[1] = in[0][:0], in[1][:0]
	// Few need a logarithm: these are the bins' edges in ns and some more. The first bin has none below.
	least, most := upper(low-1)*1e9*0.999, upper(high)*1e9*1.001
	if low == 0 {
		least = 0
	}
	for t, p := range c.phase {
		if sched.Phase(p) != sched.Done {
			continue
		}
		d := r.tasks[t].wait
		if x := float64(d); x < least || x > most {
			continue
		}
		switch bin(d) {
		case low:
			in[0] = append(in[0], d)
		case high:
			in[1] = append(in[1], d)
		}
	}
	slices.Sort(in[0])
	slices.Sort(in[1])
	of := 1
	if low == high {
		of = 0
	}
	return in[0][beforeLow].Seconds(), in[of][beforeHigh].Seconds(), false
}

// distribution returns the histogram, from the first bin to the last that is not empty.
func (c *cursor) distribution() Distribution {
	d := Distribution{Total: int(c.done)}
	end := numBins
	for end > 0 && c.waits[end-1] == 0 {
		end--
	}
	for b := range end {
		d.Upper = append(d.Upper, upper(b))
		d.Count = append(d.Count, c.waits[b])
	}
	return d
}
