package policies

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/schedlab/schedlab/policies/internal/skyline"
	"github.com/schedlab/schedlab/policies/sched"
)

// timetable is what is expected to be free of every node at every time to come, when all that runs or is promised holds its room from its start to
// its expected end: a skyline a node, of CPU, memory and whole GPUs, and where some demand is for a share of a GPU, one a device in place of
// the count, of its thousandths and its VRAM. Room is looked for at the earliest time at which it is free for as long as it is held, then on
// the lowest-numbered nodes. A gang is looked for as if it ran on the slowest of the nodes that it may use.
type timetable struct {
	nodes  []skyline.Line
	devs   [][]skyline.Line // by node, of those whose GPUs are told apart; only with shares
	wants  []skyline.Amount // by demand: what it must find on a node, all of it where it goes on one, else for one replica; Any of what it does not ask for
	shares bool
	mixed  bool             // tasks do not take the same time everywhere
	log    []sched.NodeID   // nodes that changed, oldest first; not kept of a single node
	begun  int              // entries that were dropped from the front of log
	byDem  []*whenFits      // by demand: since when, at the earliest, there is room on each node for an instant
	steps  []int64          // scratch
	gains  []gain           // scratch
	firsts []int64          // scratch, by device
	lows   []skyline.Amount // scratch, by device
}

// gain is a change of the number of replicas that could start on a node at a time.
type gain struct {
	at    int64
	fewer int32 // replicas, negative where it is more
}

func (tt *timetable) one() bool { return len(tt.nodes) == 1 && !tt.shares }

// reset makes the timetable that of the room and of nothing else: what is free now is free for ever, until book says otherwise.
func (tt *timetable) reset(s *sched.State) {
	room := s.Room()
	for i := range s.Table().Demands {
		n := &s.Table().Demands[i].Need
		tt.shares = tt.shares || n.GPUs > 0 && n.GPUMilli < sched.Whole
	}
	for n := range room.Len() {
		tt.mixed = tt.mixed || !room.Spec(sched.NodeID(n)).Reference()
	}
	for len(tt.nodes) < room.Len() {
		tt.nodes, tt.devs = append(tt.nodes, skyline.Line{}), append(tt.devs, nil)
	}
	for i := range tt.nodes {
		n := sched.NodeID(i)
		tt.nodes[i].Reset(skyline.Amount{room.FreeCPU(n), room.FreeMem(n), int64(room.FreeGPUs(n))})
		if !tt.shares {
			continue
		}
		booked := room.BookedMilli(n)
		for len(tt.devs[i]) < len(booked) {
			tt.devs[i] = append(tt.devs[i], skyline.Line{})
		}
		for j, milli := range booked {
			tt.devs[i][j].Reset(skyline.Amount{int64(sched.Whole - milli), room.Spec(n).VRAM, 0})
		}
	}
	tt.running(s, func(l *skyline.Line, vram int64) { l.Add(math.MinInt64, skyline.Ever, skyline.Amount{0, -vram, 0}) })
	tt.wants = tt.wants[:0] // what a demand must find on a node depends on whether there are others
	tt.grow(s)
	tt.begun += len(tt.log) + 1
	tt.log = tt.log[:0]
}

// grow takes in new demands, and reports false where the first for a share is among them: then the timetable must be reset.
func (tt *timetable) grow(s *sched.State) bool {
	tt.mixed = tt.mixed || s.Table().Uneven()
	for all := s.Table().Demands; len(tt.wants) < len(all); {
		d := &all[len(tt.wants)]
		if d.Need.GPUs > 0 && d.Need.GPUMilli < sched.Whole && !tt.shares {
			return false
		}
		k := int64(1)
		if tt.one() {
			k = int64(d.Gang)
		}
		w := skyline.Amount{skyline.Any, skyline.Any, skyline.Any}
		if d.Need.CPU > 0 {
			w[0] = k * d.Need.CPU
		}
		if d.Need.Mem > 0 {
			w[1] = k * d.Need.Mem
		}
		if d.Need.GPUs > 0 {
			w[2] = k * int64(d.Need.GPUs)
		}
		tt.wants = append(tt.wants, w)
	}
	return true
}

func (tt *timetable) touch(n sched.NodeID) {
	if len(tt.nodes) == 1 {
		return
	}
	if len(tt.log) > 4*len(tt.nodes)+1024 { // who has not asked for so long starts afresh
		tt.begun += len(tt.log)
		tt.log = tt.log[:0]
	}
	tt.log = append(tt.log, n)
}

// book takes what a task of the demand holds on its placements from one time to another, or with sign 1 gives it back. What is over at now is
// forgotten; from is not before it.
func (tt *timetable) book(s *sched.State, d sched.DemandID, on []sched.Placement, from, to sched.Time, sign int64) {
	if from >= to {
		return
	}
	need, now := &s.Table().Demands[d].Need, int64(s.Now())
	for i := range on {
		p := &on[i]
		k := sign * int64(p.Replicas)
		a := skyline.Amount{k * need.CPU, k * need.Mem, k * int64(need.GPUs)}
		devs := tt.devs[p.Node]
		if len(devs) > 0 {
			a[2] = 0
			milli, vram := sign*int64(need.GPUMilli), int64(0)
			if need.GPUMilli < sched.Whole {
				milli, vram = milli*int64(p.Replicas), k*need.VRAM
			}
			for set := uint64(p.GPUs); set != 0; set &= set - 1 {
				l := &devs[bits.TrailingZeros64(set)]
				l.Forget(now)
				l.Add(int64(from), int64(to), skyline.Amount{milli, vram, 0})
			}
		}
		l := &tt.nodes[p.Node]
		l.Forget(now)
		l.Add(int64(from), int64(to), a)
		tt.touch(p.Node)
	}
}

// othersKeep takes the GPUs of a running task that others hold too from its end on, for they are not free then, and reports whether there are any.
func (tt *timetable) othersKeep(s *sched.State, on []sched.Placement, end sched.Time) bool {
	kept := false
	for i := range on {
		p := &on[i]
		if !s.Room().Shared(p.Node) || len(tt.devs[p.Node]) > 0 { // of devices that are told apart it is known how much is booked
			continue
		}
		if twice := bits.OnesCount64(uint64(p.GPUs & s.Room().Overbooked(p.Node))); twice > 0 {
			tt.nodes[p.Node].Add(int64(end), skyline.Ever, skyline.Amount{0, 0, -int64(twice)})
			kept = true
		}
	}
	return kept
}

// short reports whether more is promised of a node, between two times, than there is.
func (tt *timetable) short(n sched.NodeID, from, to sched.Time) bool {
	if low := tt.nodes[n].Low(int64(from), int64(to)); min(low[0], low[1], low[2]) < 0 {
		return true
	}
	for i := range tt.devs[n] {
		if low := tt.devs[n][i].Low(int64(from), int64(to)); min(low[0], low[1]) < 0 {
			return true
		}
	}
	return false
}

// keeps reports whether there is enough for a task of the demand where it is booked already, of all that it asks for.
func (tt *timetable) keeps(s *sched.State, d sched.DemandID, on []sched.Placement, from, to sched.Time) bool {
	need := &s.Table().Demands[d].Need
	for i := range on {
		p := &on[i]
		low := tt.nodes[p.Node].Low(int64(from), int64(to))
		if need.CPU > 0 && low[0] < 0 || need.Mem > 0 && low[1] < 0 || need.GPUs > 0 && low[2] < 0 {
			return false
		}
		if len(tt.devs[p.Node]) == 0 {
			continue
		}
		for set := uint64(p.GPUs); set != 0; set &= set - 1 {
			if low := tt.devs[p.Node][bits.TrailingZeros64(set)].Low(int64(from), int64(to)); low[0] < 0 || need.VRAM > 0 && low[1] < 0 {
				return false
			}
		}
	}
	return true
}

// allowed reports whether a node is up and of the right kind.
func (tt *timetable) allowed(s *sched.State, d sched.DemandID, n sched.NodeID) bool {
	return s.Room().Up(n) && s.Room().Allowed(d, n)
}

// hold returns for how long t would hold a node, by its estimate and the work that is left; at least 1 ns.
func (tt *timetable) hold(s *sched.State, t sched.TaskID, n sched.NodeID) int64 {
	whole, left := s.Estimate(t), s.Remaining(t)
	d := left
	if !s.Room().Spec(n).Reference() || s.Table().Uneven() {
		if d = s.EstimateOn(t, n); left != whole {
			d = sched.MulDiv(d, int64(left), int64(max(whole, 1)), true)
		}
	}
	return int64(max(d, 1))
}

// longest returns hold on the slowest node that the task may use; 0 where there is none.
func (tt *timetable) longest(s *sched.State, t sched.TaskID, d sched.DemandID) int64 {
	most := int64(0)
	for n := range tt.nodes {
		if tt.allowed(s, d, sched.NodeID(n)) {
			most = max(most, tt.hold(s, t, sched.NodeID(n)))
		}
	}
	return most
}

// place looks for room from a time on, not as late as until, and appends the placements to buf.
func (tt *timetable) place(s *sched.State, t sched.TaskID, from, until sched.Time, buf []sched.Placement) (on []sched.Placement, at sched.Time, ok bool) {
	d := s.DemandID(t)
	if gang := s.Table().Demands[d].Gang; tt.whole(s, d) {
		n, at := tt.soonest(s, t, d, from, until)
		if n == sched.NoNode {
			return buf, 0, false
		}
		return append(buf, sched.Placement{Node: n, Replicas: gang}), at, true
	}
	return tt.placeGang(s, t, d, int64(from), int64(until), buf)
}

// whole reports whether tasks of the demand go on one node as a whole, whose skyline says all that matters.
func (tt *timetable) whole(s *sched.State, d sched.DemandID) bool {
	return !tt.shares && (s.Table().Demands[d].Gang == 1 || len(tt.nodes) == 1)
}

// soonest returns the node that has room first for a task that goes on one, and when.
func (tt *timetable) soonest(s *sched.State, t sched.TaskID, d sched.DemandID, from, until sched.Time) (sched.NodeID, sched.Time) {
	if len(tt.nodes) == 1 {
		if at, ok := tt.soonestOn(s, t, d, 0, from, until); ok {
			return 0, at
		}
		return sched.NoNode, 0
	}
	q := soonest{tt, s, t, d, from, until, sched.NoNode}
	w := tt.upToDate(s, d)
	q.search(w, 1)
	return q.node, q.best
}

func (tt *timetable) soonestOn(s *sched.State, t sched.TaskID, d sched.DemandID, n sched.NodeID, from, until sched.Time) (sched.Time, bool) {
	if !tt.allowed(s, d, n) {
		return 0, false
	}
	at, ok := tt.nodes[n].Earliest(int64(from), int64(until), tt.hold(s, t, n), skyline.Ever, &tt.wants[d])
	return sched.Time(at), ok
}

// soonest is a search for the first of the nodes that is the earliest.
type soonest struct {
	tt   *timetable
	s    *sched.State
	t    sched.TaskID
	d    sched.DemandID
	from sched.Time
	best sched.Time // found, or the bound
	node sched.NodeID
}

// search looks through a subtree for a node with room before best. A node is looked at only where it has room for an instant before that.
func (q *soonest) search(w *whenFits, i int) {
	switch {
	case max(w.tree[i], q.from) >= q.best:
	case i < w.size:
		q.search(w, 2*i)
		q.search(w, 2*i+1)
	default:
		n := sched.NodeID(i - w.size)
		if at, ok := q.tt.soonestOn(q.s, q.t, q.d, n, max(w.tree[i], q.from), q.best); ok {
			q.best, q.node = at, n
		}
	}
}

// upToDate takes in what changed since the demand was last asked for.
func (tt *timetable) upToDate(s *sched.State, d sched.DemandID) *whenFits {
	for len(tt.byDem) <= int(d) {
		tt.byDem = append(tt.byDem, nil)
	}
	nodes := len(tt.nodes)
	w := tt.byDem[d]
	if w == nil || len(w.mark) < nodes {
		size := 1
		for size < nodes {
			size *= 2
		}
		w = &whenFits{size: size, tree: make([]sched.Time, 2*size), mark: make([]int32, nodes), seen: -1}
		for i := range w.tree {
			w.tree[i] = sched.Never
		}
		tt.byDem[d] = w
	}
	if w.seen < tt.begun || tt.begun+len(tt.log)-w.seen > nodes {
		for n := range nodes {
			w.tree[w.size+n] = tt.instant(s, d, sched.NodeID(n))
		}
		for i := w.size - 1; i > 0; i-- {
			w.tree[i] = min(w.tree[2*i], w.tree[2*i+1])
		}
	} else {
		w.asks++
		for _, n := range tt.log[w.seen-tt.begun:] {
			if w.mark[n] != w.asks {
				w.mark[n] = w.asks
				w.set(w.size+int(n), tt.instant(s, d, n))
			}
		}
	}
	w.seen = tt.begun + len(tt.log)
	return w
}

// instant returns since when a node has room for a task of the demand for an instant; Never if it will not have.
func (tt *timetable) instant(s *sched.State, d sched.DemandID, n sched.NodeID) sched.Time {
	if tt.allowed(s, d, n) {
		if at, ok := tt.nodes[n].Earliest(int64(s.Now()), skyline.Ever, 1, skyline.Ever, &tt.wants[d]); ok {
			return sched.Time(at)
		}
	}
	return sched.Never
}

// placeGang is place for what may go on several nodes or on a share of a GPU: on every node, the times at which the number of replicas that could start
// changes, and of these, in their order, the first at which there is room for all.
func (tt *timetable) placeGang(s *sched.State, t sched.TaskID, d sched.DemandID, from, until int64, buf []sched.Placement) ([]sched.Placement, sched.Time, bool) {
	hold, gang := tt.longest(s, t, d), s.Table().Demands[d].Gang
	if hold == 0 || from >= until {
		return buf, 0, false
	}
	tt.gains = tt.gains[:0]
	sure := int32(0) // those that could start at from
	for n := range tt.nodes {
		if !tt.allowed(s, d, sched.NodeID(n)) {
			continue
		}
		tt.steps = tt.steps[:0]
		for _, l := range tt.linesOf(n) {
			tt.steps = l.Steps(from, min(plusTime(until, hold), skyline.Ever), tt.steps)
		}
		if len(tt.devs[n]) > 0 {
			slices.Sort(tt.steps)
		}
		// It changes where a step starts, and where the end of what starts there passes one.
		starts, passed, before := 0, 0, int32(0)
		for at := from; at < until; {
			k := tt.replicas(s, d, sched.NodeID(n), at, at+hold, gang)
			switch {
			case at == from:
				sure += k
			case k != before:
				tt.gains = append(tt.gains, gain{at, before - k})
			}
			if k >= gang { // all can start here: the others matter only before
				until = at
			}
			if before = k; k == 0 {
				at = tt.mayHold(s, d, sched.NodeID(n), at+1, until, hold)
				continue
			}
			for starts < len(tt.steps) && tt.steps[starts] <= at {
				starts++
			}
			for passed < len(tt.steps) && tt.steps[passed]-hold < at {
				passed++
			}
			at = until
			if starts < len(tt.steps) {
				at = min(at, tt.steps[starts])
			}
			if passed < len(tt.steps) {
				at = min(at, tt.steps[passed]-hold+1)
			}
		}
	}
	at := from
	if sure < gang {
		slices.SortFunc(tt.gains, func(a, b gain) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.fewer, b.fewer)) })
		found := false
		for i := 0; i < len(tt.gains) && !found; {
			for at = tt.gains[i].at; i < len(tt.gains) && tt.gains[i].at == at; i++ {
				sure -= tt.gains[i].fewer
			}
			found = sure >= gang
		}
		if !found {
			return buf, 0, false
		}
	}
	left := gang
	for n := 0; n < len(tt.nodes) && left > 0; n++ {
		if tt.allowed(s, d, sched.NodeID(n)) {
			if k := tt.replicas(s, d, sched.NodeID(n), at, at+hold, left); k > 0 {
				buf = tt.putOn(s, d, sched.NodeID(n), at, at+hold, k, buf)
				left -= k
			}
		}
	}
	return buf, sched.Time(at), true
}

func plusTime(a, b int64) int64 { return int64(sched.Time(a).Add(sched.Time(b).Sub(0))) }

// mayHold returns the first time from which on a node may hold a replica of the demand for so long; until where there is none before. At any time
// before it the node cannot.
func (tt *timetable) mayHold(s *sched.State, d sched.DemandID, n sched.NodeID, from, until, hold int64) int64 {
	need, devs, want := &s.Table().Demands[d].Need, tt.devs[n], tt.wants[d]
	switch {
	case len(devs) > 0:
		want[2] = skyline.Any
	case need.GPUs > 0 && need.GPUMilli < sched.Whole: // nobody knows how much of a device is left
		return until
	}
	at, ok := tt.nodes[n].Earliest(from, until, hold, skyline.Ever, &want)
	if !ok {
		return until
	}
	if need.GPUs == 0 || len(devs) == 0 {
		return at
	}
	want, k := skyline.Amount{sched.Whole, skyline.Any, skyline.Any}, int(need.GPUs)
	if need.GPUMilli < sched.Whole {
		if want[0], k = int64(need.GPUMilli), 1; need.VRAM > 0 {
			want[1] = need.VRAM
		}
	}
	tt.firsts = tt.firsts[:0]
	for i := range devs {
		if first, ok := devs[i].Earliest(at, until, hold, skyline.Ever, &want); ok {
			tt.firsts = append(tt.firsts, first)
		}
	}
	if len(tt.firsts) < k {
		return until
	}
	slices.Sort(tt.firsts)
	return tt.firsts[k-1]
}

// linesOf returns a node's skyline and those of its devices.
func (tt *timetable) linesOf(n int) func(func(int, *skyline.Line) bool) {
	return func(yield func(int, *skyline.Line) bool) {
		if !yield(-1, &tt.nodes[n]) {
			return
		}
		for i := range tt.devs[n] {
			if !yield(i, &tt.devs[n][i]) {
				return
			}
		}
	}
}

// replicas returns how many replicas of the demand, at most limit, a node could hold from one time to another.
func (tt *timetable) replicas(s *sched.State, d sched.DemandID, n sched.NodeID, from, to int64, limit int32) int32 {
	need, k := &s.Table().Demands[d].Need, int64(limit)
	low := tt.nodes[n].Low(from, to)
	if need.CPU > 0 {
		k = min(k, low[0]/need.CPU)
	}
	if need.Mem > 0 {
		k = min(k, low[1]/need.Mem)
	}
	devs := tt.devs[n]
	switch {
	case need.GPUs == 0 || k <= 0:
	case len(devs) == 0 && need.GPUMilli < sched.Whole:
		return 0
	case len(devs) == 0:
		k = min(k, low[2]/int64(need.GPUs))
	case need.GPUMilli >= sched.Whole:
		free := int64(0)
		for i := range devs {
			if devs[i].Low(from, to)[0] >= sched.Whole {
				free++
			}
		}
		k = min(k, free/int64(need.GPUs))
	default:
		fit := int64(0)
		for i := range devs {
			fit += sharesOn(need, devs[i].Low(from, to))
		}
		k = min(k, fit)
	}
	return int32(max(k, 0))
}

// sharesOn returns how many replicas of a demand for a share a device with so much free holds.
func sharesOn(need *sched.Need, free skyline.Amount) int64 {
	k := free[0] / int64(need.GPUMilli)
	if need.VRAM > 0 {
		k = min(k, free[1]/need.VRAM)
	}
	return max(k, 0)
}

// putOn appends the placements of replicas that fit on a node: on the lowest devices that stay wholly free, or for a share each on the device with the
// least room, the lowest of equals.
func (tt *timetable) putOn(s *sched.State, d sched.DemandID, n sched.NodeID, from, to int64, replicas int32, buf []sched.Placement) []sched.Placement {
	need, devs := &s.Table().Demands[d].Need, tt.devs[n]
	p := sched.Placement{Node: n, Replicas: replicas}
	if need.GPUs == 0 || len(devs) == 0 {
		return append(buf, p)
	}
	tt.lows = tt.lows[:0]
	for i := range devs {
		tt.lows = append(tt.lows, devs[i].Low(from, to))
	}
	if need.GPUMilli >= sched.Whole {
		left := replicas * need.GPUs
		for i := 0; left > 0; i++ {
			if tt.lows[i][0] >= sched.Whole {
				p.GPUs |= 1 << i
				left--
			}
		}
		return append(buf, p)
	}
	for range replicas {
		best := -1
		for i := range tt.lows {
			if sharesOn(need, tt.lows[i]) > 0 && (best < 0 || tt.lows[i][0] < tt.lows[best][0]) {
				best = i
			}
		}
		tt.lows[best][0] -= int64(need.GPUMilli)
		tt.lows[best][1] -= need.VRAM
		buf = append(buf, sched.Placement{Node: n, Replicas: 1, GPUs: 1 << best})
	}
	return buf
}

// view makes room what stays free from now on for so long. What is to start now counts as taken, started or not.
func (tt *timetable) view(s *sched.State, room *sched.Room, hold int64) {
	room.CopyFrom(s.Room())
	now := int64(s.Now())
	until := plusTime(now, hold)
	tt.running(s, func(l *skyline.Line, vram int64) { l.Add(math.MinInt64, skyline.Ever, skyline.Amount{0, 0, -vram}) })
	for i := range tt.nodes {
		n := sched.NodeID(i)
		low := tt.nodes[i].Low(now, until)
		p := sched.Placement{Node: n, Replicas: 1}
		need := sched.Need{CPU: max(room.FreeCPU(n)-low[0], 0), Mem: max(room.FreeMem(n)-low[1], 0)}
		if gone := int64(room.FreeGPUs(n)) - low[2]; gone > 0 && len(tt.devs[i]) == 0 {
			need.GPUs, need.GPUMilli = int32(gone), sched.Whole
			free := room.WholeDevices(n)
			for ; gone > 0 && free != 0; gone-- {
				p.GPUs |= free & -free
				free &= free - 1
			}
		}
		if need != (sched.Need{}) {
			room.Take(&need, p)
		}
		for j := range tt.devs[i] {
			low := tt.devs[i][j].Low(now, until)
			milli, vram := int64(sched.Whole-room.BookedMilli(n)[j])-low[0], room.Spec(n).VRAM+low[2]-low[1]
			if milli > 0 || vram > 0 {
				room.Take(&sched.Need{GPUs: 1, GPUMilli: int32(max(milli, 0)), VRAM: max(vram, 0)}, sched.Placement{Node: n, Replicas: 1, GPUs: 1 << j})
			}
		}
	}
	tt.running(s, func(l *skyline.Line, vram int64) { l.Add(math.MinInt64, skyline.Ever, skyline.Amount{0, 0, vram}) })
}

// running calls f for each share of a device that is held, with its VRAM: the room does not say how much of that a device has left.
func (tt *timetable) running(s *sched.State, f func(l *skyline.Line, vram int64)) {
	if !tt.shares {
		return
	}
	for t := range s.RunningTasks() {
		if need := &s.Demand(t).Need; need.GPUMilli < sched.Whole && need.VRAM > 0 {
			for _, p := range s.Placements(t) {
				if p.GPUs != 0 {
					f(&tt.devs[p.Node][bits.TrailingZeros64(uint64(p.GPUs))], int64(p.Replicas)*need.VRAM)
				}
			}
		}
	}
}
