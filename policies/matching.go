package policies

import (
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// matching chooses pairs of a task and a node for CriticalPath (place=finish) where nodes differ in how long they are held, and that otherwise
// for one task than for another: by the speed of their GPUs for tasks of its kind, or by how far its input is. Nodes that differ in nothing of
// that are one sort. Where nodes differ in their own speed alone, or not at all, nothing has a comparative advantage: it is off, costs nothing
// and changes nothing.
//
// Let h(t, n) be the time for which t is expected to hold n: fetching its input (State.InputTime) and running (State.EstimateOn), s. Each sort has
// a price, that of the linear program which ends the ready work soonest (a task costs its GPUs x h x price on the sort where that is least; a
// price goes up where the sort would be busier than the others). The comparative disadvantage of a pair is
//
//	a(t, n) = h(t, n) x price(n) / min over n' of h(t, n') x price(n')
//
// and, where t there and what follows from it would take longer than T = max(time for the ready work, longest upward rank of a ready task), at
// least its expected finish relative to that on the best node, the wait for that one included. A pair of a > Decline is declined: the task waits for
// a better node. Of the others that with the largest
//
//	p(t) + Urgency x min(1, upward rank / T) - Advantage x ln a(t, n)
//
// goes first, p the priority of CriticalPath without its rank term, whose place the urgency takes. Within a sort the published node score chooses.
// Whichever task would be first and may take no node now holds the node where it would be done soonest: others start there only if they end
// before it could, or leave it room. (Immediate mapping by completion times: Maheswaran et al., JPDC 59(2), 1999; prices of machines: Lenstra,
// Shmoys & Tardos, Mathematical Programming 46, 1990, on the same linear program.) The bound on the wait is that of CriticalPath: a task
// that has waited for the patience takes any node, or reserves one.
type matching struct {
	known   bool
	on      bool
	nodes   int // of the room that was looked at
	classes int
	sort    []int16 // by node
	first   []sched.NodeID
	members [][]sched.NodeID
	cap     [2][]float64 // by sort: GPUs, cores
	byName  map[string]sched.NodeID

	could []int8  // by demand x sorts: 0 not known, 1 it could hold the demand, -1 not
	work  []int64 // by class x sorts: of the ready tasks, in ms x 1/1000 GPU (core where there are no GPUs)
	count []int32 // by class: ready tasks
	price [2][]float64
	load  []float64
	share []float64
	long  float64 // T in s

	cands []matchCand
	opts  []option
	avail []availability // by demand x sorts
	turn  int32
	hold  struct {
		task  sched.TaskID
		node  sched.NodeID
		at    float64 // s from now
		res   int     // 0: GPUs, 1: CPUs
		extra int64   // 1/1000 GPU or milli-CPU that it leaves
	}
	want sched.Placement
	only Place
}

type matchCand struct {
	it       heap.Item
	d        sched.DemandID
	base     float64
	from, to int32 // in opts
	bound    bool  // no single sort could hold it
}

type option struct {
	node  sched.NodeID
	h     float64 // s
	score float64
}

type availability struct {
	turn int32
	node sched.NodeID
	at   float64
}

const (
	maxSorts   = 16  // with more sorts nodes are chosen by score
	maxMatched = 256 // tasks looked at in a decision, first those of the largest priority
)

// MatchWeights are the weights of pair matching.
type MatchWeights struct {
	Urgency   float64 // of the upward rank in what is left of the makespan
	Advantage float64 // of the logarithm of the comparative disadvantage
	Decline   float64 // the largest comparative disadvantage that is taken, at least 1
}

// DefaultMatch are the weights of `critical-path` without parameters.
var DefaultMatch = MatchWeights{Urgency: 0.7, Advantage: 3, Decline: 1.8}

// look sorts the nodes.
func (m *matching) look(s *sched.State) bool {
	room, tb := s.Room(), s.Table()
	*m = matching{known: true, nodes: room.Len(), classes: len(tb.Classes), cands: m.cands, opts: m.opts}
	type kind struct {
		typ     string // where throughput tables, or run times by type, say what that means
		name    string // where run times are given by node
		speed   int64
		latency time.Duration
		mbps    float64
	}
	byName := false // run times are given by a node's name
	if tb.EstimateOn != nil {
		for n := range room.Len() {
			byName = byName || room.Spec(sched.NodeID(n)).GPUType == ""
		}
	}
	data := len(tb.Data) > 0
	kinds := map[kind]int16{}
	for n := range room.Len() {
		spec := room.Spec(sched.NodeID(n))
		var k kind
		if k.speed = spec.SpeedMilli; k.speed == 0 {
			k.speed = sched.Whole
		}
		if tb.Uneven() {
			k.typ = spec.GPUType
		}
		if byName {
			k.name = spec.Name
		}
		if data {
			k.latency, k.mbps = spec.StorageLatency, spec.StorageMBps
		}
		i, ok := kinds[k]
		if !ok {
			if len(kinds) == maxSorts {
				return false
			}
			i = int16(len(kinds))
			kinds[k] = i
			m.members, m.first = append(m.members, nil), append(m.first, sched.NodeID(n))
			m.cap[0], m.cap[1] = append(m.cap[0], 0), append(m.cap[1], 0)
		}
		m.sort = append(m.sort, i)
		m.members[i] = append(m.members[i], sched.NodeID(n))
		m.cap[0][i] += float64(spec.GPUs)
		if spec.CPU < sched.Unlimited {
			m.cap[1][i] += float64(spec.CPU) / 1000
		}
		if data {
			if m.byName == nil {
				m.byName = map[string]sched.NodeID{}
			}
			m.byName[spec.Name] = sched.NodeID(n)
		}
		m.on = m.on || k.latency > 0 || k.mbps > 0
	}
	m.on = room.Len() > 1 && (m.on || tb.Uneven() && len(kinds) > 1)
	if m.on {
		k := len(m.first)
		m.price = [2][]float64{make([]float64, k), make([]float64, k)}
		m.load, m.share = make([]float64, k), make([]float64, k)
		m.only = func(_ *sched.State, room *sched.Room, _ sched.TaskID, buf []sched.Placement) ([]sched.Placement, bool) {
			return append(buf, m.want), true
		}
	}
	return m.on
}

// matches reports whether pairs are chosen in this decision. The sums are taken anew where that has changed.
func (p *CriticalPath) matches(s *sched.State) bool {
	m := &p.match
	if m.known && m.nodes == s.Room().Len() && m.classes == len(s.Table().Classes) {
		return m.on
	}
	m.look(s)
	p.stale = p.stale || m.on
	return m.on
}

// amount returns what a demand holds in 1/1000 GPU, or milli-CPU where it asks for no GPU, and which of the two.
func amountAsked(dem *sched.Demand) (int64, int) {
	if dem.Need.GPUs > 0 {
		return dem.GPUTotal(), 0
	}
	return dem.CPUTotal(), 1
}

// couldHold reports whether nodes of a sort alone could hold a demand, were they empty.
func (m *matching) couldHold(s *sched.State, d sched.DemandID, sort int) bool {
	k := len(m.first)
	for len(m.could) < (int(d)+1)*k {
		m.could = append(m.could, 0)
	}
	c := &m.could[int(d)*k+sort]
	if *c == 0 {
		*c = -1
		dem := &s.Table().Demands[d]
		specs := make([]sched.NodeSpec, 0, len(m.members[sort]))
		for _, n := range m.members[sort] {
			specs = append(specs, *s.Room().Spec(n))
		}
		if sched.CouldEverFit(specs, dem) {
			*c = 1
		}
	}
	return *c > 0
}

// holds returns how long t is expected to hold a node of a sort, not the one where its input lies.
func (m *matching) holds(s *sched.State, t sched.TaskID, sort int) time.Duration {
	n := m.first[sort]
	d := s.EstimateOn(t, n)
	if s.Table().Data != nil {
		in := s.InputTime(t, n)
		if in == 0 && len(m.members[sort]) > 1 {
			in = s.InputTime(t, m.members[sort][1])
		}
		d += in
	}
	return d
}

// ask takes a ready task into the work, or out of it.
func (m *matching) ask(s *sched.State, t sched.TaskID, sign int64) {
	k, c := len(m.first), int(s.Task(t).Class)
	for len(m.count) <= c {
		m.count, m.work = append(m.count, 0), append(m.work, make([]int64, k)...)
	}
	m.count[c] += int32(sign)
	amount, _ := amountAsked(s.Demand(t))
	for i := range k {
		m.work[c*k+i] += sign * int64(min(m.holds(s, t, i), 1e6*time.Second)/time.Millisecond) * amount
	}
}

func (m *matching) forget() {
	clear(m.count)
	clear(m.work)
}

// steps of the prices: enough for a few per cent.
const priceSteps = 48

// prices finds the prices of the sorts and T. The shares in which the work of a class goes to the sorts are those of cost^-12, so that
// prices settle; a price goes up where a sort would be busier than others.
func (m *matching) prices(s *sched.State) {
	k := len(m.first)
	m.long = 0
	for res := range 2 {
		price, any := m.price[res], false
		for i := range price {
			price[i] = 1
		}
		for step := range priceSteps {
			clear(m.load)
			for c, n := range m.count {
				if n <= 0 {
					continue
				}
				d := s.Table().Classes[c].Demand
				if _, r := amountAsked(&s.Table().Demands[d]); r != res {
					continue
				}
				any = true
				best, sum := math.Inf(1), 0.0
				for i := range k {
					if m.couldHold(s, d, i) {
						best = min(best, float64(m.work[c*k+i]+1)*price[i])
					}
				}
				for i := range k {
					m.share[i] = 0
					if m.couldHold(s, d, i) {
						x := best / (float64(m.work[c*k+i]+1) * price[i])
						x *= x * x // 3
						x *= x     // 6
						m.share[i] = float64(x * x)
						sum += m.share[i]
					}
				}
				for i := range k {
					if m.share[i] > 0 && m.cap[res][i] > 0 {
						m.load[i] += float64(m.share[i] / sum * float64(m.work[c*k+i]) / m.cap[res][i])
					}
				}
			}
			most := 0.0
			for _, l := range m.load {
				most = max(most, l)
			}
			if !any || most == 0 {
				break
			}
			for i := range price {
				f := math.Sqrt((m.load[i]/most + 0.01) / 1.01)
				if step >= priceSteps/3 {
					f = math.Sqrt(f)
				}
				if step >= priceSteps*2/3 {
					f = math.Sqrt(f)
				}
				price[i] *= f
			}
			top := slices.Max(price)
			for i := range price {
				price[i] = max(price[i]/top, 1e-3)
			}
		}
		if any {
			for _, l := range m.load {
				m.long = max(m.long, l/1e6)
			}
		}
	}
}

// freeAt returns where a demand has room soonest on a sort, and in how many seconds, by what the tasks there are expected to hold.
func (m *matching) freeAt(s *sched.State, d sched.DemandID, sort int) availability {
	k := len(m.first)
	for len(m.avail) < (int(d)+1)*k {
		m.avail = append(m.avail, availability{})
	}
	a := &m.avail[int(d)*k+sort]
	if a.turn == m.turn {
		return *a
	}
	*a = availability{m.turn, sched.NoNode, math.Inf(1)}
	for _, n := range m.members[sort][:min(len(m.members[sort]), 64)] {
		if !s.Room().Up(n) || !s.Room().Allowed(d, n) {
			continue
		}
		if at := m.nodeFreeAt(s, d, n); at < a.at {
			a.node, a.at = n, at
		}
	}
	return *a
}

func (m *matching) nodeFreeAt(s *sched.State, d sched.DemandID, n sched.NodeID) float64 {
	room, dem := s.Room(), &s.Table().Demands[d]
	if room.FitsOn(d, n, 1) > 0 {
		return 0
	}
	_, res := amountAsked(dem)
	need, free := int64(dem.Need.GPUs)*int64(dem.Need.GPUMilli), int64(0)
	if res == 1 {
		need, free = dem.Need.CPU, room.FreeCPU(n)
	} else if free = int64(room.FreeGPUs(n)) * sched.Whole; dem.Need.GPUMilli < sched.Whole {
		free = room.FreeGPUMilli(n)
	}
	holders := s.Holders(n)
	done := sched.Time(math.MinInt64)
	last := sched.Nobody
	for range holders { // the ends in their order; a node has few holders
		next, who := sched.Never, sched.Nobody
		var of int32
		for _, h := range holders {
			if ph := s.Phase(h.Task); ph != sched.Running && ph != sched.Stopping {
				continue
			}
			if e := s.ExpectedEnd(h.Task); (e > done || e == done && h.Task > last) && e < next {
				next, who, of = e, h.Task, h.Replicas
			}
		}
		if who == sched.Nobody {
			break
		}
		done, last = next, who
		hd := s.Demand(who)
		if res == 1 {
			free += hd.Need.CPU * int64(of)
		} else {
			free += int64(hd.Need.GPUs) * int64(hd.Need.GPUMilli) * int64(of)
		}
		if free >= need {
			return max(done.Sub(s.Now()).Seconds(), 0)
		}
	}
	return max(done.Sub(s.Now()).Seconds(), 0) // memory, or what a claim holds: not before the last has ended
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
	for _, t := range p.fresh {
		if r.Phase(t) != sched.Ready {
			continue
		}
		if r.FirstReady(t) == r.Now() {
			p.age(r.State, t)
		}
		if p.lines.IsShut(r.DemandID(t)) {
			r.Skip(t, sched.NoRoom)
		}
	}
	p.fresh = p.fresh[:0]
}

func (p *CriticalPath) matchOpen(r *sched.Round) {
	m, s, room := &p.match, r.State, r.Room()
	p.scores.refresh(s)
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
