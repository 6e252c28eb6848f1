package policies

import (
	"math"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// The choice of pairs of task and node, once the prices are known.

// matchCand is a waiting task that may be matched.
type matchCand struct {
	it       heap.Item
	d        sched.DemandID
	base     float64
	from, to int32 // in opts
	bound    bool  // no single sort could hold it
}

// option is a sort of node on which a candidate could run.
type option struct {
	node  sched.NodeID
	h     float64 // s
	score float64
}

// decideMatched is Decide with pairs.
func (p *CriticalPath) decideMatched(r *sched.Round) {
	p.enter(r.State)
	if p.stale {
		p.refresh(r.State)
	}
	p.reserveForOldest(r)
	if len(p.lines.Open()) > 0 {
		p.matchOpen(r)
	}
	p.leaveFresh(r)
}

func (p *CriticalPath) matchOpen(r *sched.Round) {
	m, s, room := &p.match, r.State, r.Room()
	p.scores.refresh(s)
	p.shifted = true
	p.lines.Reopen() // who finds no room still counts in what is left of the makespan, and may hold a node
	for len(p.bias) < len(r.Table().Demands) {
		p.bias = append(p.bias, 0)
	}
	for _, d := range p.lines.Open() {
		p.bias[d] = 0
		if p.W.Heat > 0 {
			p.bias[d] = -int64(math.Round(p.W.Heat * unit * p.heat(s, d)))
		}
	}
	// The first tasks of the lines in which something could start.
	m.cands, m.opts = m.cands[:0], m.opts[:0]
	m.turn++
	longest := 0.0
	some := false
	for len(m.cands) < maxMatched {
		d, ok := p.lines.Best(p.bias)
		if !ok {
			break
		}
		it := p.lines.Pop(d)
		m.cands = append(m.cands, matchCand{it: it, d: d, base: -float64(it.Key+p.bias[d]) / unit})
		longest = max(longest, float64(p.rankOf(s, it.Task))/1e9)
		some = some || room.Roomy(d)
	}
	if some {
		m.prices(s)
		m.long = max(m.long, longest)
		for i := range m.cands {
			c := &m.cands[i]
			rank := float64(p.rankOf(s, c.it.Task)) / 1e9
			c.base += float64(p.Match.Urgency*math.Min(rank/max(m.long, 1e-9), 1)) - float64(p.W.Rank*p.rankTerm(s, c.it.Task))
			p.options(s, c)
		}
		p.holdFor(s)
		p.startPairs(r)
	}
	for i := range m.cands {
		c := &m.cands[i]
		if t := c.it.Task; r.Phase(t) == sched.Ready {
			p.lines.Push(c.d, c.it)
			cause := sched.Order
			if !room.Roomy(c.d) {
				cause = sched.NoRoom
			}
			if r.CauseOf(t) != cause {
				r.Skip(t, cause)
			}
		}
	}
	for i := range m.cands {
		if d := m.cands[i].d; !p.lines.IsShut(d) && !room.Roomy(d) {
			p.lines.Shut(d)
		}
	}
}

// disadvantage returns a of a pair that would take h seconds, by the best that the task could have.
func (m *matching) disadvantage(h, price, cost, after, end float64) float64 {
	a := h * price / cost
	if h+after > m.long {
		a = max(a, h/end)
	}
	return a
}

// options lists the pairs of a matchCand that may start now.
func (p *CriticalPath) options(s *sched.State, c *matchCand) {
	m, room, t := &p.match, s.Room(), c.it.Task
	c.from, c.to = int32(len(m.opts)), int32(len(m.opts))
	dem := &s.Table().Demands[c.d]
	_, res := amountAsked(dem)
	cost, end, most := math.Inf(1), math.Inf(1), 0.0
	after := float64(p.rankOf(s, t)-int64(s.Estimate(t))) / 1e9
	home := sched.NoNode // where its input lies
	if m.byName != nil {
		if data, ok := s.Table().Data[t]; ok && data.At != "" {
			if n, ok := m.byName[data.At]; ok && room.Up(n) && room.Allowed(c.d, n) {
				home = n
			}
		}
	}
	for i := range m.first {
		if !m.couldHold(s, c.d, i) {
			continue
		}
		h := m.holds(s, t, i).Seconds()
		cost = min(cost, h*m.price[res][i])
		most = max(most, h)
	}
	homeTime := 0.0
	if home != sched.NoNode {
		if i := int(m.sort[home]); m.couldHold(s, c.d, i) {
			homeTime = (s.EstimateOn(t, home) + s.InputTime(t, home)).Seconds()
			cost = min(cost, homeTime*m.price[res][i])
		} else {
			home = sched.NoNode
		}
	}
	if math.IsInf(cost, 1) {
		c.bound = true
		return
	}
	if most+after > m.long { // the time of the finish may count
		for i := range m.first {
			if m.couldHold(s, c.d, i) {
				end = min(end, m.holds(s, t, i).Seconds()+m.freeAt(s, c.d, i).at)
			}
		}
		if home != sched.NoNode {
			end = min(end, homeTime+m.nodeFreeAt(s, c.d, home))
		}
	}
	add := func(n sched.NodeID, h float64, sort int) {
		a := m.disadvantage(h, m.price[res][sort], max(cost, 1e-9), after, max(end, 1e-9))
		if a > p.Match.Decline {
			return
		}
		m.opts = append(m.opts, option{n, h, math.Round((c.base-p.Match.Advantage*math.Log(max(a, 1e-9)))*unit) / unit})
	}
	for i := range m.first {
		if !m.couldHold(s, c.d, i) {
			continue
		}
		if n := p.nodeOf(s, c.d, i); n != sched.NoNode && n != home {
			add(n, m.holds(s, t, i).Seconds(), i)
		}
	}
	if home != sched.NoNode && room.FitsOn(c.d, home, 1) > 0 {
		add(home, homeTime, int(m.sort[home]))
	}
	c.to = int32(len(m.opts))
}

// nodeOf returns the node of a sort with the best score among the first Score on which one replica fits.
func (p *CriticalPath) nodeOf(s *sched.State, d sched.DemandID, sort int) sched.NodeID {
	room, best, at, seen := s.Room(), int64(math.MinInt64), sched.NoNode, 0
	for _, n := range p.match.members[sort] {
		if room.FitsOn(d, n, 1) == 0 {
			continue
		}
		if v := p.scores.value(s, n); v > best {
			best, at = v, n
		}
		if seen++; seen == p.Score {
			break
		}
	}
	return at
}

// holdFor finds the task that would be first and may take no node now, and the node that it holds.
func (p *CriticalPath) holdFor(s *sched.State) {
	m := &p.match
	m.hold.task, m.hold.node = sched.Nobody, sched.NoNode
	best := math.Inf(-1)
	for i := range m.cands {
		c := &m.cands[i]
		if c.from < c.to || c.bound || c.base <= best {
			continue
		}
		t := c.it.Task
		_, res := amountAsked(&s.Table().Demands[c.d])
		after := float64(p.rankOf(s, t)-int64(s.Estimate(t))) / 1e9
		cost, soonest := math.Inf(1), math.Inf(1)
		for j := range m.first {
			if m.couldHold(s, c.d, j) {
				h := m.holds(s, t, j).Seconds()
				cost, soonest = min(cost, h*m.price[res][j]), min(soonest, h+m.freeAt(s, c.d, j).at)
			}
		}
		end, node, at := math.Inf(1), sched.NoNode, 0.0
		for j := range m.first {
			if !m.couldHold(s, c.d, j) {
				continue
			}
			h := m.holds(s, t, j).Seconds()
			if m.disadvantage(h, m.price[res][j], max(cost, 1e-9), after, max(soonest, 1e-9)) > p.Match.Decline {
				continue
			}
			if f := m.freeAt(s, c.d, j); f.node != sched.NoNode && h+f.at < end {
				end, node, at = h+f.at, f.node, f.at
			}
		}
		if node != sched.NoNode && at > 0 {
			best = c.base
			m.hold.task, m.hold.node, m.hold.at = t, node, at
		}
	}
	if m.hold.node == sched.NoNode {
		return
	}
	dem := s.Demand(m.hold.task)
	_, res := amountAsked(dem)
	m.hold.res = res
	free := s.Room().FreeGPUMilli(m.hold.node) - int64(dem.Need.GPUs)*int64(dem.Need.GPUMilli)
	if res == 1 {
		free = s.Room().FreeCPU(m.hold.node) - dem.Need.CPU
	}
	for _, h := range s.Holders(m.hold.node) {
		if s.ExpectedEnd(h.Task).Sub(s.Now()).Seconds() <= m.hold.at {
			hd := s.Demand(h.Task)
			if res == 1 {
				free += hd.Need.CPU * int64(h.Replicas)
			} else {
				free += int64(hd.Need.GPUs) * int64(hd.Need.GPUMilli) * int64(h.Replicas)
			}
		}
	}
	m.hold.extra = free
}

// startPairs starts the best pairs as long as there are any.
func (p *CriticalPath) startPairs(r *sched.Round) {
	m, s, room := &p.match, r.State, r.Room()
	started := false
	for {
		best, which, opt := math.Inf(-1), -1, option{}
		for i := range m.cands {
			c := &m.cands[i]
			if c.from == c.to || r.Phase(c.it.Task) != sched.Ready {
				continue
			}
			for _, o := range m.opts[c.from:c.to] {
				if o.score < best || o.score == best && (c.it.Task > m.cands[which].it.Task || c.it.Task == m.cands[which].it.Task && o.node >= opt.node) {
					continue
				}
				if o.node == m.hold.node && o.h > m.hold.at && !p.leaves(s, c.d) {
					continue
				}
				best, which, opt = o.score, i, o
			}
		}
		if which < 0 {
			break
		}
		c := &m.cands[which]
		if s.Table().Demands[c.d].Gang > 1 {
			if !p.startGang(r, c, opt) {
				c.to = c.from
			} else {
				started = true
			}
			continue
		}
		if room.FitsOn(c.d, opt.node, 1) == 0 { // taken meanwhile
			p.options(s, c)
			continue
		}
		on := append(p.buf[:0], sched.Placement{Node: opt.node, Replicas: 1, GPUs: room.Devices(c.d, opt.node, 1)})
		p.buf = on[:0]
		if !p.startOn(r, c, on) {
			m.drop(c, opt.node)
			continue
		}
		started = true
		if opt.node == m.hold.node && opt.h > m.hold.at {
			if a, res := amountAsked(&s.Table().Demands[c.d]); res == m.hold.res {
				m.hold.extra -= a
			}
		}
	}
	// Demands that no single sort could hold, and whatever is left where nothing runs: a task must not wait for ever.
	for i := range m.cands {
		c := &m.cands[i]
		if r.Phase(c.it.Task) != sched.Ready || c.it.Task == p.holder || !c.bound && (started || s.Running() > 0) {
			continue
		}
		on, ok, _ := p.place(r, c.it.Task)
		if ok && r.Start(c.it.Task, on...) {
			p.ask(s, c.it.Task, -1)
			p.started(c.it.Task, on)
			started = true
			if p.holder != sched.Nobody {
				p.reserve.started(s, c.it.Task, on)
			}
		}
	}
}

// leaves reports whether a task of the demand would leave the holding task the room that it waits for.
func (p *CriticalPath) leaves(s *sched.State, d sched.DemandID) bool {
	a, res := amountAsked(&s.Table().Demands[d])
	return res != p.match.hold.res || a <= p.match.hold.extra
}

// drop takes a pair out of the candidate's list.
func (m *matching) drop(c *matchCand, n sched.NodeID) {
	for i := c.from; i < c.to; i++ {
		if m.opts[i].node == n {
			c.to--
			m.opts[i] = m.opts[c.to]
			return
		}
	}
}

// startOn starts a task there unless that would delay the reservation of an overdue one.
func (p *CriticalPath) startOn(r *sched.Round, c *matchCand, on []sched.Placement) bool {
	t := c.it.Task
	if t == p.holder {
		return false
	}
	if p.holder != sched.Nobody && len(on) == 1 {
		p.match.want = on[0]
		got, ok, _ := p.reserve.backfill(r.State, p.match.only, t, p.buf[len(on):len(on)], false)
		if !ok || len(got) != 1 || got[0].Node != on[0].Node {
			return false
		}
	}
	if !r.Start(t, on...) {
		return false
	}
	p.ask(r.State, t, -1)
	p.started(t, on)
	if p.holder != sched.Nobody {
		p.reserve.started(r.State, t, on)
	}
	return true
}

// startGang starts a gang on nodes of the option's sort.
func (p *CriticalPath) startGang(r *sched.Round, c *matchCand, o option) bool {
	m := &p.match
	sort := m.sort[o.node]
	on, ok := r.Room().FirstFitWhere(c.d, p.buf[:0], func(n sched.NodeID, fits int32) int32 {
		if m.sort[n] != sort {
			return 0
		}
		return fits
	})
	p.buf = on[:0]
	if !ok {
		return false
	}
	if p.holder != sched.Nobody {
		p.reserve.ready(r.State)
		if !p.reserve.endsInTime(r.State, c.it.Task, on) {
			return false
		}
	}
	return p.startOn(r, c, on)
}
