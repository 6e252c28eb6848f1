package policytest

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
)

// This is the reference for clusters: nodes, several resources, gangs, dependencies, preemption. It is written from the rules in the package comments of
// policies/sched and sim and from the policies' own, shares nothing with the kernel, the drivers and the policies, and is as slow as it is plain: what
// is free is added up from all who hold room whenever anybody asks, every decision looks at every ready task anew, and priorities are worked
// out from nothing each time.
//
// It does not know shares of a GPU, run times by node's name, faults, overheads and cuts at the estimate, which the checkers of Check judge. Preemptive
// policies are for nodes of reference speed.

// RefTask is what a reference simulation of a cluster says of a task.
type RefTask struct {
	Phase    sched.Phase
	Ready    sched.Time // first
	Start    sched.Time // first
	End      sched.Time
	Held     time.Duration
	Attempts int32
	On       []sched.Placement // of the last attempt

	since  sched.Time    // ready since, this time
	began  sched.Time    // of the attempt that runs
	kept   time.Duration // work of earlier attempts
	waits  int           // predecessors that are not done
	claims []int         // victims that must stop before it starts
}

// RefPolicy decides: it looks at everything and starts, or claims room for, what it wants.
type RefPolicy func(*RefCluster)

// RefCluster is a reference simulation under way.
type RefCluster struct {
	c       Case
	now     sched.Time
	wake    sched.Time // Never: nobody wants a decision
	tasks   []RefTask
	holders []int // tasks that hold room, in the order of their start, and such as have claimed it
	stops   []int // tasks that were ordered to stop
	arrived int
}

// RefSimulate runs a case to its end, or until nothing can happen any more.
func RefSimulate(c Case, decide RefPolicy) []RefTask {
	w := &RefCluster{c: c, wake: sched.Never, tasks: make([]RefTask, len(c.Table.Tasks))}
	for t := range w.tasks {
		w.tasks[t] = RefTask{Ready: sched.Never, Start: sched.Never, End: sched.Never, waits: len(c.Table.Preds(sched.TaskID(t)))}
	}
	for first := true; ; first = false {
		at := w.wake
		for _, t := range w.holders {
			if p := w.tasks[t].Phase; p == sched.Running {
				at = min(at, w.endOf(t))
			}
		}
		if w.arrived < len(w.tasks) {
			at = min(at, c.Table.Tasks[w.arrived].Submit)
		}
		if len(w.stops) > 0 {
			at = w.now
		}
		if at == sched.Never || w.arrived == len(w.tasks) && !slices.ContainsFunc(w.tasks, func(t RefTask) bool { return !t.Phase.Over() }) {
			return w.tasks
		}
		if first || at > w.now {
			w.now = at
		}
		w.facts()
		if w.wake <= w.now {
			w.wake = sched.Never
		}
		decide(w)
	}
}

// facts takes in what happens now: stops and ends by task, then arrivals. What starts here for want of no more victims and takes no time ends in the
// next batch.
func (w *RefCluster) facts() {
	var ends []int
	for _, t := range w.holders {
		if w.tasks[t].Phase == sched.Running && w.endOf(t) <= w.now {
			ends = append(ends, t)
		}
	}
	for t := range w.tasks {
		k := &w.tasks[t]
		switch {
		case slices.Contains(w.stops, t):
			held := w.now.Sub(k.began)
			k.Held += held
			k.kept = min(k.kept+held, w.c.Run[t])
			w.release(t)
			w.ready(t)
		case slices.Contains(ends, t):
			k.Held += w.now.Sub(k.began)
			k.Phase, k.End = sched.Done, w.now
			w.release(t)
			for _, u := range w.c.Table.Succs(sched.TaskID(t)) {
				if w.tasks[u].waits--; w.tasks[u].waits == 0 && int(u) < w.arrived {
					w.ready(int(u))
				}
			}
		}
	}
	w.stops = w.stops[:0]
	for w.arrived < len(w.tasks) && w.c.Table.Tasks[w.arrived].Submit <= w.now {
		t := w.arrived
		w.arrived++
		w.tasks[t].Phase = sched.Blocked
		if w.tasks[t].waits == 0 {
			w.ready(t)
		}
	}
}

func (w *RefCluster) ready(t int) {
	k := &w.tasks[t]
	k.Phase, k.since = sched.Ready, w.now
	k.Ready = min(k.Ready, w.now)
}

// release gives a task's room back, and starts who has claimed it if that was the last victim.
func (w *RefCluster) release(t int) {
	w.holders = slices.DeleteFunc(w.holders, func(h int) bool { return h == t })
	for _, h := range slices.Clone(w.holders) {
		k := &w.tasks[h]
		if i := slices.Index(k.claims, t); i >= 0 {
			if k.claims = slices.Delete(k.claims, i, i+1); len(k.claims) == 0 {
				w.holders = append(slices.DeleteFunc(w.holders, func(x int) bool { return x == h }), h)
				w.begin(h)
			}
		}
	}
}

func (w *RefCluster) begin(t int) {
	k := &w.tasks[t]
	k.Phase, k.began = sched.Running, w.now
	k.Start = min(k.Start, w.now)
	k.Attempts++
}

// on returns a time of work on the slowest of the placements.
func (w *RefCluster) slowest(d time.Duration, on []sched.Placement) time.Duration {
	var most time.Duration
	for _, p := range on {
		here := d
		if s := w.c.Nodes[p.Node].SpeedMilli; s > 0 && s != 1000 {
			here = (d*1000 + time.Duration(s) - 1) / time.Duration(s) // rounded up
		}
		most = max(most, here)
	}
	return most
}

func (w *RefCluster) endOf(t int) sched.Time {
	return w.tasks[t].began.Add(w.slowest(w.c.Run[t], w.tasks[t].On) - w.tasks[t].kept)
}

// left is the estimated work left of a task.
func (w *RefCluster) left(t int) time.Duration {
	k := &w.tasks[t]
	left := w.estimate(t) - k.kept
	if k.Phase == sched.Running || k.Phase == sched.Stopping {
		left -= w.now.Sub(k.began)
	}
	return max(left, 0)
}

func (w *RefCluster) estimate(t int) time.Duration { return w.c.Table.Estimates[t] }

// expected is when a running task ends by its estimate; in a second where that is past.
func (w *RefCluster) expected(t int) sched.Time {
	k := &w.tasks[t]
	end := k.began.Add(w.slowest(max(w.estimate(t)-k.kept, 0), k.On))
	if end <= w.now && k.began < w.now {
		return w.now.Add(time.Second)
	}
	return end
}

func (w *RefCluster) demand(t int) *sched.Demand { return w.c.Table.DemandOf(sched.TaskID(t)) }

// refRoom is what is free on a node.
type refRoom struct {
	cpu, mem, gpus int64
	booked         []int // by device: how many hold it
}

// room adds up what is free on each node if those of gone held nothing.
func (w *RefCluster) room(gone ...int) []refRoom {
	out := make([]refRoom, len(w.c.Nodes))
	for n := range out {
		spec := &w.c.Nodes[n]
		out[n] = refRoom{cpu: spec.CPU, mem: spec.Mem, gpus: int64(spec.GPUs)}
		if spec.GPUs <= sched.MaxDevices {
			out[n].booked = make([]int, spec.GPUs)
		}
	}
	for _, t := range w.holders {
		if !slices.Contains(gone, t) {
			for _, p := range w.tasks[t].On {
				out[p.Node].take(&w.demand(t).Need, p)
			}
		}
	}
	return out
}

func (r *refRoom) take(need *sched.Need, p sched.Placement) {
	r.cpu -= int64(p.Replicas) * need.CPU
	r.mem -= int64(p.Replicas) * need.Mem
	if r.booked == nil {
		r.gpus -= int64(p.Replicas) * int64(need.GPUs)
		return
	}
	r.gpus = 0
	for i := range r.booked {
		if p.GPUs>>i&1 == 1 {
			r.booked[i]++
		}
		if r.booked[i] == 0 {
			r.gpus++
		}
	}
}

// devices returns the lowest k free devices.
func (r *refRoom) devices(k int64) (set sched.Devices) {
	for i := 0; i < len(r.booked) && k > 0; i++ {
		if r.booked[i] == 0 {
			set |= 1 << i
			k--
		}
	}
	return set
}

// fits returns how many replicas of t fit on a node, at most its gang.
func (w *RefCluster) fits(t int, room []refRoom, n int) int64 {
	one := *w.demand(t)
	one.Gang = 1
	if !check.FitsDemand(w.c.Nodes[n:n+1], &one) {
		return 0 // of the wrong kind
	}
	k, r := int64(w.demand(t).Gang), &room[n]
	if one.Need.CPU > 0 {
		k = min(k, max(r.cpu, 0)/one.Need.CPU)
	}
	if one.Need.Mem > 0 {
		k = min(k, max(r.mem, 0)/one.Need.Mem)
	}
	if one.Need.GPUs > 0 {
		k = min(k, max(r.gpus, 0)/int64(one.Need.GPUs))
	}
	return k
}

// fill places t on nodes in the order given, as many replicas on each as fit and as limit, if not nil, allows; nil where it does not fit.
func (w *RefCluster) fill(t int, room []refRoom, nodes []int, limit func(n int) int64) (on []sched.Placement) {
	need, left := &w.demand(t).Need, int64(w.demand(t).Gang)
	for _, n := range nodes {
		k := min(left, w.fits(t, room, n))
		if limit != nil {
			k = min(k, limit(n))
		}
		if k > 0 {
			left -= k
			on = append(on, sched.Placement{Node: sched.NodeID(n), Replicas: int32(k), GPUs: room[n].devices(k * int64(need.GPUs))})
		}
	}
	if left > 0 {
		return nil
	}
	return on
}

func (w *RefCluster) all() []int {
	nodes := make([]int, len(w.c.Nodes))
	for n := range nodes {
		nodes[n] = n
	}
	return nodes
}

// inTurn returns the nodes in the order in which room for t is looked for: those with a soft taint that it does not tolerate last.
func (w *RefCluster) inTurn(t int) []int {
	nodes := w.all()
	slices.SortStableFunc(nodes, func(a, b int) int { return cmp.Compare(w.last(t, a), w.last(t, b)) })
	return nodes
}

// last is 1 for a node that is taken last, else 0.
func (w *RefCluster) last(t, n int) int {
	for _, taint := range w.c.Nodes[n].Taints {
		if taint.Effect == "PreferNoSchedule" && !slices.ContainsFunc(w.demand(t).Tolerations, func(x sched.Toleration) bool { return x.Tolerates(taint) }) {
			return 1
		}
	}
	return 0
}

// firstFit places t on the lowest-numbered nodes, and on those that are taken last behind all others.
func (w *RefCluster) firstFit(t int, room []refRoom) []sched.Placement {
	return w.fill(t, room, w.inTurn(t), nil)
}

// lowestFit places t on the lowest-numbered nodes: no plan heeds soft taints.
func (w *RefCluster) lowestFit(t int, room []refRoom) []sched.Placement {
	return w.fill(t, room, w.all(), nil)
}

func (w *RefCluster) start(t int, on []sched.Placement) {
	w.tasks[t].On = on
	w.holders = append(w.holders, t)
	w.begin(t)
}

// claim orders the victims to stop and holds the room for t. It reports false where there is not enough even without them.
func (w *RefCluster) claim(t int, on []sched.Placement, victims []int) bool {
	room := w.room(victims...)
	booked := make([]sched.Placement, len(on))
	for i, p := range on {
		if w.fits(t, room, int(p.Node)) < int64(p.Replicas) {
			return false
		}
		p.GPUs = room[p.Node].devices(int64(p.Replicas) * int64(w.demand(t).Need.GPUs))
		booked[i] = p
	}
	for _, v := range victims {
		w.tasks[v].Phase = sched.Stopping
		w.stops = append(w.stops, v)
	}
	w.tasks[t].Phase, w.tasks[t].On, w.tasks[t].claims = sched.Claiming, booked, slices.Clone(victims)
	w.holders = append(w.holders, t)
	return true
}

// readyBy returns the ready tasks by a key, smallest first, ties to the lower number.
func (w *RefCluster) readyBy(key func(t int) int64) []int {
	var out []int
	for t := range w.tasks {
		if w.tasks[t].Phase == sched.Ready {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(key(a), key(b)) })
	return out
}

func (w *RefCluster) firstReady(t int) int64 { return int64(w.tasks[t].Ready) }

// RefListFIFO is strict first in, first out.
func RefListFIFO() RefPolicy { return refList(false, (*RefCluster).firstReady) }

// RefListFJF is FIFO that passes over what does not fit.
func RefListFJF() RefPolicy { return refList(true, (*RefCluster).firstReady) }

// RefListSJF takes the shortest estimate first and, with skip, passes over what does not fit.
func RefListSJF(skip bool) RefPolicy {
	return refList(skip, func(w *RefCluster, t int) int64 { return int64(w.left(t)) })
}

func refList(skip bool, key func(*RefCluster, int) int64) RefPolicy {
	return func(w *RefCluster) {
		for _, t := range w.readyBy(func(t int) int64 { return key(w, t) }) {
			if on := w.firstFit(t, w.room()); on != nil {
				w.start(t, on)
			} else if !skip {
				return
			}
		}
	}
}

// RefListSRTF takes the least work left first, passes over what does not fit, and stops running tasks that have more left: those with the most
// first (ties: the higher number), until there is room, but none that need not go. What is being stopped counts as gone already. A task that must
// wait is not overtaken, in that decision, by one of the same demand.
func RefListSRTF() RefPolicy {
	return func(w *RefCluster) {
		waits := map[*sched.Demand]bool{}
		for _, t := range w.readyBy(func(t int) int64 { return int64(w.left(t)) }) {
			if waits[w.demand(t)] {
				continue
			}
			if on := w.firstFit(t, w.room()); on != nil {
				w.start(t, on)
				continue
			}
			var stopping, victims []int
			for _, v := range w.holders {
				switch w.tasks[v].Phase {
				case sched.Stopping:
					stopping = append(stopping, v)
				case sched.Running:
					if a, b := w.left(v), w.left(t); a > b || a == b && v > t {
						victims = append(victims, v)
					}
				}
			}
			slices.SortFunc(victims, func(a, b int) int { return cmp.Or(cmp.Compare(w.left(b), w.left(a)), cmp.Compare(b, a)) })
			waits[w.demand(t)] = true
			for n := range len(victims) + 1 {
				if w.firstFit(t, w.room(slices.Concat(stopping, victims[:n])...)) != nil {
					waits[w.demand(t)] = !w.preempt(t, stopping, victims[:n])
					break
				}
			}
		}
	}
}

// preempt claims room for t from the victims without whom it does not fit. They are spared from the last one on. It reports whether it could.
func (w *RefCluster) preempt(t int, stopping, victims []int) bool {
	gone := slices.Clone(victims)
	for _, v := range slices.Backward(victims) {
		without := slices.DeleteFunc(slices.Clone(gone), func(x int) bool { return x == v })
		if w.firstFit(t, w.room(slices.Concat(stopping, without)...)) != nil {
			gone = without
		}
	}
	if len(gone) == 0 {
		return false // there will be room by itself
	}
	slices.Reverse(gone) // the order in which they are told does not matter to anybody
	return w.claim(t, w.lowestFit(t, w.room(slices.Concat(stopping, gone)...)), gone)
}

// RefRoundRobin is one line in the order of readiness, the head of which blocks. Tasks that have run for the quantum may be stopped, in the order of their
// start, if that makes room for the head.
func RefRoundRobin(quantum time.Duration) RefPolicy {
	return func(w *RefCluster) {
		for _, t := range w.readyBy(func(t int) int64 { return int64(w.tasks[t].since) }) {
			if on := w.firstFit(t, w.room()); on != nil {
				w.start(t, on)
				continue
			}
			var stopping, victims []int
			done := false
			for _, v := range w.holders {
				switch k := &w.tasks[v]; {
				case k.Phase == sched.Claiming:
					continue
				case k.Phase == sched.Stopping:
					stopping = append(stopping, v)
				case w.now.Sub(k.began) >= quantum:
					victims = append(victims, v)
				default:
					done = true
				}
				if done {
					break
				}
				if w.firstFit(t, w.room(slices.Concat(stopping, victims)...)) != nil {
					if len(victims) > 0 && w.preempt(t, stopping, victims) {
						t = -1
					}
					break
				}
			}
			if t < 0 {
				continue
			}
			for _, v := range w.holders { // it waits: for the next slice to end
				if k := &w.tasks[v]; k.Phase != sched.Claiming && k.began.Add(quantum) > w.now {
					w.wake = min(w.wake, k.began.Add(quantum))
					break
				}
			}
			return
		}
	}
}

// RefClusterEASY is EASY backfilling on several nodes: the head that finds no room has a reservation at the earliest expected end at which first fit
// finds room for it; a later task starts if it ends by then, or if it leaves the reservation feasible.
func RefClusterEASY() RefPolicy {
	return func(w *RefCluster) {
		line := w.readyBy(w.firstReady)
		for len(line) > 0 {
			on := w.firstFit(line[0], w.room())
			if on == nil {
				break
			}
			w.start(line[0], on)
			line = line[1:]
		}
		if len(line) == 0 {
			return
		}
		v := w.reserve(line[0])
		for _, t := range line[1:] {
			if on, _ := v.backfill(t); on != nil {
				w.start(t, on)
				v.book(t)
			}
		}
	}
}

// refReservation is room kept for a task.
type refReservation struct {
	w      *RefCluster
	shadow sched.Time
	after  []refRoom // free at the shadow time, beside the task
	beside bool      // whatever ends before it, by its estimate, gets no more than what is beside it
}

func (w *RefCluster) reserve(head int) *refReservation { return w.reserveBy(head, w.expected) }

// reserveBy is reserve where running tasks give their room back in the order of what end says.
func (w *RefCluster) reserveBy(head int, end func(t int) sched.Time) *refReservation {
	v := &refReservation{w: w, shadow: sched.Never}
	var ends []sched.Time
	for _, t := range w.holders {
		ends = append(ends, end(t))
	}
	slices.Sort(ends)
	for _, at := range ends {
		var gone []int
		for _, t := range w.holders {
			if end(t) <= at {
				gone = append(gone, t)
			}
		}
		room := w.room(gone...)
		if on := w.lowestFit(head, room); on != nil {
			v.shadow, v.after = at, room
			for _, p := range on {
				v.after[p.Node].take(&w.demand(head).Need, p)
			}
			break
		}
	}
	return v
}

// backfill looks for room for t that does not delay the reservation. fits: there is room now, but perhaps not beside it.
func (v *refReservation) backfill(t int) (on []sched.Placement, fits bool) {
	w, room := v.w, v.w.room()
	if on = w.firstFit(t, room); on == nil {
		return nil, false
	}
	if !v.beside && w.now.Add(w.slowest(w.left(t), on)) <= v.shadow || v.shadow == sched.Never {
		return on, true
	}
	return w.fill(t, room, w.inTurn(t), func(n int) int64 { return w.fits(t, v.after, n) }), true
}

// book takes a task that was started and may run past the shadow time off what is left then.
func (v *refReservation) book(t int) {
	if v.shadow == sched.Never || !v.beside && v.w.expected(t) <= v.shadow {
		return
	}
	need := &v.w.demand(t).Need
	for _, p := range v.w.tasks[t].On {
		r := &v.after[p.Node]
		p.GPUs = r.devices(int64(p.Replicas) * int64(need.GPUs)) // devices are alike: it gets others then
		r.take(need, p)
	}
}

// RefWeights are the weights of RefCriticalPath's terms.
type RefWeights struct{ Rank, Latency, Share, Preds, Heat, Age float64 }

// RefCriticalPath is the critical-path weighted policy by its documentation. Patience 0 is its automatic one, score 0 scores all nodes.
func RefCriticalPath(weights RefWeights, patience time.Duration, score int) RefPolicy {
	return func(w *RefCluster) {
		(&refCritical{RefCluster: w, weights: weights, fixed: patience, score: score}).decide()
	}
}

// refCritical is one decision.
type refCritical struct {
	*RefCluster
	weights      RefWeights
	fixed        time.Duration
	score        int
	ranks        []int64
	meanA, meanE float64
}

const refUnit = 1e6 // priorities are compared in whole millionths

func (p *refCritical) decide() {
	p.means()
	p.ranks = make([]int64, len(p.tasks))
	for t := range p.arrived {
		p.rank(t)
	}
	holder := p.overdue()
	var v *refReservation
	switch {
	case holder < 0:
	case p.misled(holder):
		v = p.reserveBy(holder, func(t int) sched.Time { return p.tasks[t].began })
		v.beside = true
	default:
		v = p.reserve(holder)
	}
	heat := make([]int64, len(p.c.Table.Demands)) // as it is before anything of this decision starts, but for the overdue
	for d := range heat {
		heat[d] = int64(math.Round(p.weights.Heat * refUnit * p.heat(&p.c.Table.Demands[d])))
	}
	key := func(t int) int64 { return p.key(t) - heat[p.class(t).Demand] }
	full, crowded := map[sched.DemandID]bool{}, 0
	for _, t := range p.readyBy(key) {
		d := p.class(t).Demand
		if t == holder || full[d] {
			continue
		}
		if v == nil {
			if on := p.choose(t); on != nil {
				p.start(t, on)
			} else {
				full[d] = true
			}
			continue
		}
		switch on, fits := v.backfill(t); {
		case on != nil:
			p.start(t, on)
			v.book(t)
		case !fits:
			full[d] = true
		default: // every sixteenth that would delay the reservation ends the search among those of its demand
			if crowded++; crowded%16 == 0 {
				full[d] = true
			}
		}
	}
}

func (p *refCritical) class(t int) *sched.Class { return p.c.Table.ClassOf(sched.TaskID(t)) }

// means are of the tasks that had arrived when their number last was a power of two.
func (p *refCritical) means() {
	n := 1
	for 2*n <= p.arrived {
		n *= 2
	}
	var area, est float64
	for t := range n {
		area += p.area(t)
		est += p.estimate(t).Seconds()
	}
	p.meanA, p.meanE = area/float64(n), est/float64(n)
}

// capacity returns the capacity of the nodes that state one, and what is booked there.
func (p *refCritical) capacity(of func(n *sched.NodeSpec) int64, need func(*sched.Need) int64) (total, used int64) {
	for n := range p.c.Nodes {
		if c := of(&p.c.Nodes[n]); c < sched.Unlimited {
			total += c
			for _, t := range p.holders {
				for _, on := range p.tasks[t].On {
					if int(on.Node) == n {
						used += int64(on.Replicas) * need(&p.demand(t).Need)
					}
				}
			}
		}
	}
	return total, used
}

func (p *refCritical) cpu() (total, used int64) {
	return p.capacity(func(n *sched.NodeSpec) int64 { return n.CPU }, func(d *sched.Need) int64 { return d.CPU })
}

func (p *refCritical) mem() (total, used int64) {
	return p.capacity(func(n *sched.NodeSpec) int64 { return n.Mem }, func(d *sched.Need) int64 { return d.Mem })
}

// gpus is in 1/1000, of the nodes with GPUs of a type; "*" is every type.
func (p *refCritical) gpus(typ string) (total, used int64) {
	return p.capacity(func(n *sched.NodeSpec) int64 {
		if typ != "*" && !sched.SameGPU(n.GPUType, typ) || n.GPUs == 0 {
			return sched.Unlimited
		}
		return int64(n.GPUs) * 1000
	}, func(d *sched.Need) int64 { return int64(d.GPUs) * 1000 })
}

// area is the dominant share x the estimate in seconds.
func (p *refCritical) area(t int) float64 {
	d, share := p.demand(t), 0.0
	gang := float64(d.Gang)
	if c, _ := p.cpu(); c > 0 {
		share = max(share, gang*float64(d.Need.CPU)/float64(c))
	}
	if c, _ := p.mem(); c > 0 {
		share = max(share, gang*float64(d.Need.Mem)/float64(c))
	}
	if c, _ := p.gpus("*"); c > 0 {
		share = max(share, gang*float64(d.Need.GPUs)*1000/float64(c))
	}
	return share * p.estimate(t).Seconds()
}

// rank is the length of the longest path from t over the tasks that have arrived, in ns of estimates; no task takes no time.
func (p *refCritical) rank(t int) int64 {
	if p.ranks[t] == 0 {
		deepest := int64(0)
		for _, u := range p.c.Table.Succs(sched.TaskID(t)) {
			if int(u) < p.arrived {
				deepest = max(deepest, p.rank(int(u)))
			}
		}
		p.ranks[t] = max(int64(p.estimate(t)), 1) + deepest
	}
	return p.ranks[t]
}

// key is the priority without the heat, smallest first.
func (p *refCritical) key(t int) int64 {
	task := &p.c.Table.Tasks[t]
	longest, left, members := int64(0), int64(0), 0
	for u := range p.arrived {
		if p.c.Table.Tasks[u].Job == task.Job {
			members++
			longest = max(longest, p.ranks[u])
			if !p.tasks[u].Phase.Over() {
				left = max(left, p.ranks[u])
			}
		}
	}
	rank := 1.0
	if members > 1 {
		step := max(longest/20, 1)
		rank = min(float64(p.ranks[t])/float64((left+step-1)/step*step), 1)
		rank *= rank
		rank *= rank
		rank *= rank // its eighth power
	}
	latency := p.class(t).Criticality
	if due := p.c.Table.DeadlineOf(sched.TaskID(t)); due != sched.Never {
		if slack := int64(due - p.tasks[t].Ready); slack <= p.ranks[t] {
			latency = 1
		} else {
			latency = max(latency, float64(p.ranks[t])/float64(slack))
		}
	}
	share := 1.0
	if p.meanA > 0 {
		share = 1 / (1 + p.area(t)/p.meanA)
	}
	sum := p.weights.Rank*rank + p.weights.Latency*min(latency, 1) + p.weights.Share*share
	for _, u := range p.c.Table.Succs(sched.TaskID(t)) {
		if int(u) < p.arrived && p.tasks[u].waits == 1 {
			sum += p.weights.Preds
			break
		}
	}
	key := -int64(math.Round(sum * refUnit))
	if p.weights.Age > 0 {
		key += int64(math.Round(p.weights.Age * refUnit * (float64(p.tasks[t].Ready) / float64(p.patience()))))
	}
	return key
}

func (p *refCritical) patience() time.Duration {
	if p.fixed > 0 {
		return p.fixed
	}
	return max(time.Duration(20*p.meanE*1e9), time.Second)
}

// overdue starts the oldest tasks that have waited for the patience and returns the first that finds no room, -1 if there is none.
func (p *refCritical) overdue() int {
	for _, t := range p.readyBy(p.firstReady) {
		wait := p.patience()
		if p.fixed == 0 {
			for u := range p.tasks {
				if p.tasks[u].Phase == sched.Ready {
					wait += 4 * time.Duration(math.Round(min(p.area(u), 1e6)*1e9))
				}
			}
			wait = min(wait, sched.MulDiv(p.patience(), 5, 1, false)) // 100 x the mean estimate
		}
		if p.now < p.tasks[t].Ready.Add(wait) {
			return -1
		}
		on := p.choose(t)
		if on == nil {
			return t
		}
		p.start(t, on)
	}
	return -1
}

// misled reports whether t, the oldest, should have started by now: it has waited for the longest patience, and since then and since the last that was ready before it
// began for the longest estimate, and no task that ran then has time left of its estimate.
func (p *refCritical) misled(t int) bool {
	from := p.tasks[t].Ready.Add(p.patience())
	if p.fixed == 0 {
		from = from.Add(4 * p.patience())
	}
	for _, v := range p.holders {
		if k := &p.tasks[v]; k.Ready < p.tasks[t].Ready || k.Ready == p.tasks[t].Ready && v < t {
			from = max(from, k.began)
		}
	}
	longest := time.Duration(0)
	for u := range p.arrived {
		longest = max(longest, p.estimate(u))
	}
	for _, v := range p.holders {
		k := &p.tasks[v]
		if k.began <= from && k.began.Add(p.slowest(max(p.estimate(v)-k.kept, 0), k.On)) >= p.now {
			return false
		}
	}
	return p.now > from.Add(longest)
}

// heat is D / (D + F) of the resource that the demand asks most of.
func (p *refCritical) heat(d *sched.Demand) float64 {
	best, heat := -1.0, 0.0
	consider := func(asks, want, total, used int64) {
		if total <= 0 || asks <= 0 || float64(asks)/float64(total) <= best {
			return
		}
		best = float64(asks) / float64(total)
		heat = 0
		if free := max(total-used, 0); want+free > 0 {
			heat = float64(want) / float64(want+free)
		}
	}
	wanted := func(need func(*sched.Demand) int64) (sum int64) {
		for t := range p.tasks {
			if p.tasks[t].Phase == sched.Ready {
				sum += int64(p.demand(t).Gang) * need(p.demand(t))
			}
		}
		return sum
	}
	c, u := p.cpu()
	consider(int64(d.Gang)*d.Need.CPU, wanted(func(d *sched.Demand) int64 { return d.Need.CPU }), c, u)
	c, u = p.mem()
	consider(int64(d.Gang)*d.Need.Mem, wanted(func(d *sched.Demand) int64 { return d.Need.Mem }), c, u)
	if d.Need.GPUs > 0 {
		var types []string
		for n := range p.c.Nodes {
			if typ := p.c.Nodes[n].GPUType; p.c.Nodes[n].GPUs > 0 && !slices.ContainsFunc(types, func(t string) bool { return sched.SameGPU(t, typ) }) {
				types = append(types, typ)
			}
		}
		var want, total, used int64
		for _, typ := range types {
			may := func(d *sched.Demand) bool {
				return len(d.GPUTypes) == 0 || slices.ContainsFunc(d.GPUTypes, func(t string) bool { return sched.SameGPU(t, typ) })
			}
			if may(d) {
				c, u := p.gpus(typ)
				total, used = total+c, used+u
				want = max(want, wanted(func(d *sched.Demand) int64 {
					if !may(d) {
						return 0
					}
					return int64(d.Need.GPUs) * 1000
				}))
			}
		}
		consider(int64(d.Gang)*int64(d.Need.GPUs)*1000, want, total, used)
	}
	return heat
}

// choose places by the node score, among the first nodes on which a replica fits, those that are taken last behind all others; a gang that these do not hold goes by first fit.
func (p *refCritical) choose(t int) []sched.Placement {
	room := p.room()
	var nodes []int
	for _, n := range p.inTurn(t) {
		if p.fits(t, room, n) > 0 && (p.score == 0 || len(nodes) < p.score) {
			nodes = append(nodes, n)
		}
	}
	slices.SortStableFunc(nodes, func(a, b int) int {
		return cmp.Or(cmp.Compare(p.last(t, a), p.last(t, b)), cmp.Compare(p.nodeScore(room, b), p.nodeScore(room, a)))
	})
	if on := p.fill(t, room, nodes, nil); on != nil {
		return on
	}
	return p.firstFit(t, room)
}

// nodeScore is 0.5 x free memory + 0.4 x (1 - GPU load) + 0.1 / (1 + storage latency in ms), in whole billionths.
func (p *refCritical) nodeScore(room []refRoom, n int) float64 {
	spec, r := &p.c.Nodes[n], &room[n]
	mem, load := 1.0, 0.0
	if spec.Mem > 0 && spec.Mem < sched.Unlimited {
		mem = float64(max(r.mem, 0)) / float64(spec.Mem)
	}
	if spec.GPUs > 0 {
		load = 1 - float64(r.gpus)/float64(spec.GPUs)
	} else if spec.CPU > 0 && spec.CPU < sched.Unlimited {
		load = 1 - float64(max(r.cpu, 0))/float64(spec.CPU)
	}
	score := 0.5*mem + 0.4*(1-load) + 0.1/(1+float64(spec.StorageLatency)/1e6)
	return math.Round(score*1e9) / 1e9
}
