package policies

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/schedlab/schedlab/policies/internal/heap"
	"github.com/schedlab/schedlab/policies/sched"
)

// tenants is list scheduling by tenant: the task that is next is that of the tenant with the smallest rank, ties by the time of readiness of
// the tenants' first tasks and then by TaskID; a tenant's own tasks go in the order of their first readiness. Who uses it sets the ranks, in
// Observe or in started.
//
// The tasks stand in one line for each pair of tenant and demand, and each demand keeps the pairs that wait for it in a heap. So whom to try
// next is found among the first of every demand, and a rank that changes moves only the pairs of its tenant.
type tenants struct {
	place   Place
	skip    bool // pass over what does not fit
	started func(*sched.State, sched.TaskID)

	pairs   []tenantPair
	ofClass []int32           // pair of a class; -1 = not looked up yet
	ids     map[pairKey]int32 // pairs by what they are of
	demands []demandPairs     // by DemandID
	open    []sched.DemandID  // demands that somebody waits for and that are not shut, in no special order
	ranks   []tenantRank      // by TenantID
	stuck   sched.TaskID      // strict: it was next, there was no room, and nothing has happened since that could make any
	ended   bool              // skip: a task has ended since the last decision, which has made room on one node
	gangs   ganged
	fresh   []sched.TaskID    // skip: new since the last decision
	aside   []sched.TaskID    // scratch
	buf     []sched.Placement // scratch
}

type pairKey struct {
	tenant sched.TenantID
	demand sched.DemandID
}

// tenantPair is the line of one tenant for one demand.
type tenantPair struct {
	pairKey
	line heap.Queue // by time of first readiness
	at   int32      // in the heap of its demand; -1 where its line is empty
	mine int32      // in the tenant's list of waiting pairs
}

type demandPairs struct {
	heap []int32      // pairs whose line is not empty
	shut bool         // its first task found no room
	at   int32        // in open; -1
	told sched.TaskID // the last that was told so
}

type tenantRank struct {
	rank    int64
	waiting []int32 // pairs whose line is not empty
}

func newTenants(place Place, skip bool) tenants {
	return tenants{place: place, skip: skip, ids: map[pairKey]int32{}, stuck: sched.Nobody}
}

// observe keeps the lines.
func (q *tenants) observe(s *sched.State, e *sched.Event) {
	switch e.Kind {
	case sched.TaskReady:
		q.push(s, e.Task)
		q.fresh = append(q.fresh, e.Task)
	case sched.TaskBlocked, sched.TaskDropped:
		// Tasks that were started have left their line already; if one is blocked, its claim was undone and room came free.
		if !q.remove(s, e.Task) && e.Kind == sched.TaskBlocked {
			q.reopen()
		}
	case sched.JobArrived, sched.Started, sched.CheckpointDone:
	case sched.Finished:
		if q.place != nil || !q.skip || q.gangs.any(s) {
			q.reopen()
		} else {
			q.reopenOn(s, s.LastNode(e.Task))
		}
	default:
		q.reopen()
	}
}

// reopenOn takes in that there is more room on a node.
func (q *tenants) reopenOn(s *sched.State, n sched.NodeID) {
	q.ended = true
	for d := range q.demands {
		if h := &q.demands[d]; h.shut && s.Room().Holds(sched.DemandID(d), n) {
			h.shut = false
			q.list(sched.DemandID(d))
		}
	}
}

// tell says of those who have become the first of a demand for which there is still no room why they wait: ranks change as tasks end.
func (q *tenants) tell(r *sched.Round) {
	if !q.ended {
		return
	}
	q.ended = false
	for d := range q.demands {
		if h := &q.demands[d]; h.shut && len(h.heap) > 0 {
			if t := q.pairs[h.heap[0]].line.Top().Task; t != h.told {
				r.Skip(t, sched.NoRoom)
				h.told = t
			}
		}
	}
}

// reopen takes in that there may be room for what found none.
func (q *tenants) reopen() {
	q.stuck = sched.Nobody
	for d := range q.demands {
		if h := &q.demands[d]; h.shut {
			h.shut = false
			q.list(sched.DemandID(d))
		}
	}
}

// list puts a demand among the open ones if it belongs there.
func (q *tenants) list(d sched.DemandID) {
	if h := &q.demands[d]; h.at < 0 && !h.shut && len(h.heap) > 0 {
		h.at = int32(len(q.open))
		q.open = append(q.open, d)
	}
}

func (q *tenants) unlist(d sched.DemandID) {
	h := &q.demands[d]
	if h.at < 0 {
		return
	}
	last := q.open[len(q.open)-1]
	q.open[h.at] = last
	q.demands[last].at = h.at
	q.open = q.open[:len(q.open)-1]
	h.at = -1
}

// pair returns the line of a task.
func (q *tenants) pair(s *sched.State, t sched.TaskID) int32 {
	class := s.Task(t).Class
	for len(q.ofClass) <= int(class) {
		q.ofClass = append(q.ofClass, -1)
	}
	if p := q.ofClass[class]; p >= 0 {
		return p
	}
	c := s.Class(t)
	key := pairKey{c.Tenant, c.Demand}
	p, ok := q.ids[key]
	if !ok {
		p = int32(len(q.pairs))
		q.ids[key] = p
		q.pairs = append(q.pairs, tenantPair{pairKey: key, at: -1})
		for len(q.demands) <= int(c.Demand) {
			q.demands = append(q.demands, demandPairs{at: -1, told: sched.Nobody})
		}
		q.grow(c.Tenant)
	}
	q.ofClass[class] = p
	return p
}

func (q *tenants) grow(tenant sched.TenantID) {
	for len(q.ranks) <= int(tenant) {
		q.ranks = append(q.ranks, tenantRank{})
	}
}

func (q *tenants) push(s *sched.State, t sched.TaskID) {
	p := q.pair(s, t)
	q.pairs[p].line.Push(heap.Item{Key: ReadyTime(s, t), Task: t})
	q.moved(p)
}

// remove takes t out of its line and reports whether it was there.
func (q *tenants) remove(s *sched.State, t sched.TaskID) bool {
	p := q.pair(s, t)
	if !q.pairs[p].line.Remove(t) {
		return false
	}
	if q.stuck == t {
		q.stuck = sched.Nobody
	}
	q.moved(p)
	return true
}

// moved takes in that the first task of a pair, or its tenant's rank, may be another.
func (q *tenants) moved(p int32) {
	u := &q.pairs[p]
	h, mine := &q.demands[u.demand], &q.ranks[u.tenant]
	switch waits := u.line.Len() > 0; {
	case waits && u.at < 0:
		u.at, u.mine = int32(len(h.heap)), int32(len(mine.waiting))
		h.heap, mine.waiting = append(h.heap, p), append(mine.waiting, p)
		q.up(h.heap, int(u.at))
		q.list(u.demand)
	case waits:
		q.fix(h.heap, int(u.at))
	case u.at >= 0:
		last := len(h.heap) - 1
		at := int(u.at)
		h.heap[at] = h.heap[last]
		h.heap = h.heap[:last]
		if at < last {
			q.pairs[h.heap[at]].at = int32(at)
			q.fix(h.heap, at)
		}
		other := mine.waiting[len(mine.waiting)-1]
		mine.waiting[u.mine] = other
		q.pairs[other].mine = u.mine
		mine.waiting = mine.waiting[:len(mine.waiting)-1]
		u.at = -1
		if last == 0 {
			q.unlist(u.demand)
		}
	}
}

// before is the order of two pairs whose lines are not empty.
func (q *tenants) before(a, b int32) bool {
	x, y := &q.pairs[a], &q.pairs[b]
	if rx, ry := q.ranks[x.tenant].rank, q.ranks[y.tenant].rank; rx != ry {
		return rx < ry
	}
	return x.line.Top().Before(y.line.Top())
}

func (q *tenants) fix(h []int32, i int) {
	if i > 0 && q.before(h[i], h[(i-1)/2]) {
		q.up(h, i)
	} else {
		q.down(h, i)
	}
}

func (q *tenants) up(h []int32, i int) {
	p := h[i]
	for i > 0 && q.before(p, h[(i-1)/2]) {
		h[i] = h[(i-1)/2]
		q.pairs[h[i]].at = int32(i)
		i = (i - 1) / 2
	}
	h[i] = p
	q.pairs[p].at = int32(i)
}

func (q *tenants) down(h []int32, i int) {
	p := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && q.before(h[c+1], h[c]) {
			c++
		}
		if !q.before(h[c], p) {
			break
		}
		h[i] = h[c]
		q.pairs[h[i]].at = int32(i)
		i = c
	}
	h[i] = p
	q.pairs[p].at = int32(i)
}

// setRank gives a tenant a new rank.
func (q *tenants) setRank(tenant sched.TenantID, rank int64) {
	u := &q.ranks[tenant]
	if u.rank == rank {
		return
	}
	u.rank = rank
	for _, p := range u.waiting {
		q.fix(q.demands[q.pairs[p].demand].heap, int(q.pairs[p].at))
	}
}

// next returns the pair whose first task is next.
func (q *tenants) next() (int32, bool) {
	best := int32(-1)
	for _, d := range q.open {
		if p := q.demands[d].heap[0]; best < 0 || q.before(p, best) {
			best = p
		}
	}
	return best, best >= 0
}

// decide starts tasks in turn as long as there is room.
func (q *tenants) decide(r *sched.Round) {
	for {
		p, ok := q.next()
		if !ok {
			break
		}
		u := &q.pairs[p]
		t, d := u.line.Top().Task, u.demand
		if t == q.stuck {
			break
		}
		if !q.try(r, t) {
			r.Skip(t, sched.NoRoom)
			if !q.skip {
				q.stuck = t
				break
			}
			q.demands[d].shut, q.demands[d].told = true, t
			q.unlist(d)
			continue
		}
		u.line.Pop()
		q.moved(p)
		if r.Phase(t) == sched.Ready { // a quota refused it: the others move on without it
			q.aside = append(q.aside, t)
		} else {
			q.started(r.State, t)
		}
	}
	for _, t := range q.aside {
		q.push(r.State, t)
	}
	q.aside = q.aside[:0]
	q.tell(r)
	for _, t := range q.fresh {
		if r.Phase(t) == sched.Ready && q.demands[r.DemandID(t)].shut {
			r.Skip(t, sched.NoRoom)
		}
	}
	q.fresh = q.fresh[:0]
}

// try starts t. It reports false where there is no room; true, with the task still ready, where there was room and the kernel refused.
func (q *tenants) try(r *sched.Round, t sched.TaskID) bool {
	if q.place == nil {
		return r.StartFirst(t)
	}
	on, ok := q.place(r.State, r.Room(), t, q.buf[:0])
	q.buf = on[:0]
	if ok {
		r.Start(t, on...)
	}
	return ok
}

// equal is the default of weightsParam.
const equal = "equal"

var weightsParam = Param{
	Name: "weights", Default: equal, About: "tenants that are entitled to more or less than others, as name:weight/...; who is not named has 1",
	Form: func(v string) error { _, err := parseWeights(v); return err }, Example: "red:2/blue:0.5",
}

// TenantWeight says what a tenant is entitled to, as many times as who is not named. It must be above 0.
type TenantWeight struct {
	Tenant string
	Weight float64
}

// weights are those of the tenants that are named.
type weights []TenantWeight

// parseWeights reads the value of weightsParam.
func parseWeights(text string) (weights, error) {
	if text == equal {
		return nil, nil
	}
	var out weights
	for _, part := range strings.Split(text, "/") {
		i := strings.LastIndexByte(part, ':')
		if i < 0 {
			return nil, fmt.Errorf("must be %s or name:weight pairs such as red:2/blue:0.5", equal)
		}
		name, number := strings.TrimSpace(part[:i]), strings.TrimSpace(part[i+1:])
		w, err := strconv.ParseFloat(number, 64)
		if err != nil || !(w >= 1e-6 && w <= 1e6) {
			return nil, errors.New("must have weights from 1e-6 to 1e6")
		}
		if slices.ContainsFunc(out, func(o TenantWeight) bool { return o.Tenant == name }) {
			return nil, fmt.Errorf("must name each tenant once, and has %q twice", name)
		}
		out = append(out, TenantWeight{name, w})
	}
	return out, nil
}

// of returns the weight of a tenant.
func (w weights) of(s *sched.State, tenant sched.TenantID) float64 {
	for i := range w {
		if w[i].Tenant == s.Table().Tenants[tenant] {
			return w[i].Weight
		}
	}
	return 1
}
