package policies

import (
	"math"
	"slices"
	"time"

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
			k.typ = sched.GPUKey(spec.GPUType)
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
	return p.looksAgain(s)
}

func (p *CriticalPath) looksAgain(s *sched.State) bool {
	m := &p.match
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
