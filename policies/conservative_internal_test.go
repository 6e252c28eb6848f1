package policies

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// plainConservative is conservative backfilling written from its rule and nothing else: a list of bookings, and for each question a room from which
// is taken, on every node and device, the most that is booked of it at any instant of the window.
type plainConservative struct {
	all     bool // promise everything anew
	early   bool
	waiting []sched.TaskID // in order of readiness
	booked  map[sched.TaskID]*plainBooking
	over    sched.TaskID
}

type plainBooking struct {
	running       bool
	from, to, end sched.Time
	on            []sched.Placement
}

func (p *plainConservative) Observe(s *sched.State, e sched.Event) {
	if p.booked == nil {
		p.booked = map[sched.TaskID]*plainBooking{}
	}
	forget := func(t sched.TaskID) bool {
		b := p.booked[t]
		was := b != nil || slices.Contains(p.waiting, t)
		p.early = p.early || b != nil && b.to > s.Now()
		delete(p.booked, t)
		p.waiting = slices.DeleteFunc(p.waiting, func(u sched.TaskID) bool { return u == t })
		return was
	}
	switch e.Kind {
	case sched.TaskReady:
		early := p.early
		forget(e.Task)
		p.early = early
		p.waiting = append(p.waiting, e.Task)
		slices.SortFunc(p.waiting, func(a, b sched.TaskID) int {
			if comesBefore(s, a, b) {
				return -1
			}
			return 1
		})
	case sched.Finished, sched.FailedAttempt, sched.Killed, sched.Stopped:
		forget(e.Task)
		p.over = e.Task
	case sched.TaskBlocked, sched.TaskDropped:
		if !forget(e.Task) && e.Task != p.over {
			p.all = true
		}
	case sched.NodeUp, sched.NodeDown, sched.NodeProfile, sched.Updated:
		p.all = true
	}
}

// plainUse is what is booked of a node, and of each of its devices.
type plainUse struct {
	cpu, mem, gpus int64
	milli, vram    [64]int64
}

// most returns the most that is booked of a node at any time of a window, of each resource by itself.
func (p *plainConservative) most(s *sched.State, n sched.NodeID, from, to sched.Time) (most plainUse) {
	type hold struct {
		from, to sched.Time
		need     *sched.Need
		on       sched.Placement
	}
	var holds []hold
	at := []sched.Time{from}
	for t, b := range p.booked {
		if b.from >= to || b.to <= from {
			continue
		}
		for _, q := range b.on {
			if q.Node == n {
				holds = append(holds, hold{b.from, b.to, &s.Demand(t).Need, q})
				at = append(at, max(b.from, from))
			}
		}
	}
	for _, t := range at {
		var use plainUse
		for _, h := range holds {
			if t < h.from || t >= h.to {
				continue
			}
			k := int64(h.on.Replicas)
			use.cpu, use.mem, use.gpus = use.cpu+k*h.need.CPU, use.mem+k*h.need.Mem, use.gpus+k*int64(h.need.GPUs)
			for set := uint64(h.on.GPUs); set != 0; set &= set - 1 {
				i := bits.TrailingZeros64(set)
				if h.need.GPUMilli >= sched.Whole {
					use.milli[i] += sched.Whole
				} else {
					use.milli[i], use.vram[i] = use.milli[i]+k*int64(h.need.GPUMilli), use.vram[i]+k*h.need.VRAM
				}
			}
		}
		most.cpu, most.mem, most.gpus = max(most.cpu, use.cpu), max(most.mem, use.mem), max(most.gpus, use.gpus)
		for i := range use.milli {
			most.milli[i], most.vram[i] = max(most.milli[i], use.milli[i]), max(most.vram[i], use.vram[i])
		}
	}
	return most
}

func plainShares(s *sched.State) bool {
	return slices.ContainsFunc(s.Table().Demands, func(d sched.Demand) bool { return d.Need.GPUs > 0 && d.Need.GPUMilli < sched.Whole })
}

// window is a room in which what is booked at any time of a window is taken.
func (p *plainConservative) window(s *sched.State, from, to sched.Time) *sched.Room {
	room := &sched.Room{}
	room.CopyFrom(s.Room())
	for t := range s.RunningTasks() {
		give(s, room, t)
	}
	for i := range room.Len() {
		n := sched.NodeID(i)
		use := p.most(s, n, from, to)
		room.Take(&sched.Need{CPU: use.cpu, Mem: use.mem}, sched.Placement{Node: n, Replicas: 1})
		switch devs := len(room.BookedMilli(n)); {
		case devs == 0 || !plainShares(s):
			if use.gpus > 0 {
				on := sched.Placement{Node: n, Replicas: 1}
				for j := 0; j < devs && int64(bits.OnesCount64(uint64(on.GPUs))) < use.gpus; j++ {
					on.GPUs |= 1 << j
				}
				room.Take(&sched.Need{GPUs: int32(use.gpus), GPUMilli: sched.Whole}, on)
			}
		default:
			for j := range devs {
				if use.milli[j] > 0 {
					room.Take(&sched.Need{GPUs: 1, GPUMilli: int32(use.milli[j]), VRAM: use.vram[j]}, sched.Placement{Node: n, Replicas: 1, GPUs: 1 << j})
				}
			}
		}
	}
	return room
}

func plainHold(s *sched.State, t sched.TaskID, n sched.NodeID) time.Duration {
	d := s.EstimateOn(t, n)
	if left := s.Remaining(t); left != s.Estimate(t) {
		d = sched.MulDiv(d, int64(left), int64(max(s.Estimate(t), 1)), true)
	}
	return max(d, 1)
}

// find returns the earliest start of a task and its nodes.
func (p *plainConservative) find(s *sched.State, t sched.TaskID) (sched.Time, []sched.Placement) {
	d, room := s.DemandID(t), s.Room()
	times := []sched.Time{s.Now()}
	for _, b := range p.booked {
		if b.to > s.Now() {
			times = append(times, b.to)
		}
	}
	slices.Sort(times)
	longest := time.Duration(0)
	for n := range sched.NodeID(room.Len()) {
		if room.Up(n) && room.Allowed(d, n) {
			longest = max(longest, plainHold(s, t, n))
		}
	}
	if longest == 0 {
		return sched.Never, nil
	}
	for _, at := range slices.Compact(times) {
		if s.Demand(t).Gang == 1 && !plainShares(s) {
			for n := range sched.NodeID(room.Len()) {
				if room.Up(n) && room.Allowed(d, n) && p.window(s, at, at.Add(plainHold(s, t, n))).FitsOn(d, n, 1) == 1 {
					return at, []sched.Placement{{Node: n, Replicas: 1}}
				}
			}
			continue
		}
		if on, ok := p.window(s, at, at.Add(longest)).LowestFit(d, nil); ok {
			for i := range on {
				if !plainShares(s) {
					on[i].GPUs = 0 // whole ones are interchangeable: the kernel chooses
				}
			}
			return at, on
		}
	}
	return sched.Never, nil
}

// promise books a task at its earliest, if that is before until.
func (p *plainConservative) promise(s *sched.State, t sched.TaskID, until sched.Time) bool {
	at, on := p.find(s, t)
	if at >= until {
		return false
	}
	hold := time.Duration(1)
	for _, q := range on {
		hold = max(hold, plainHold(s, t, q.Node))
	}
	p.booked[t] = &plainBooking{from: at, to: at.Add(hold), on: on}
	return true
}

func (p *plainConservative) run(s *sched.State, t sched.TaskID) {
	end := max(s.EstimatedEnd(t), s.StartedAt(t)+1)
	p.booked[t] = &plainBooking{running: true, from: s.StartedAt(t), to: expectedBy(end, s.Now()), end: end, on: slices.Clone(s.Placements(t))}
}

// overbooked reports whether more is booked of a node in a window than there is.
func (p *plainConservative) overbooked(s *sched.State, n sched.NodeID, from, to sched.Time) bool {
	room, use := p.window(s, from, to), p.most(s, n, from, to)
	if room.FreeCPU(n) < 0 || room.FreeMem(n) < 0 {
		return true
	}
	if spec := room.Spec(n); plainShares(s) && spec.GPUs <= sched.MaxDevices {
		for i := range use.milli {
			if use.milli[i] > sched.Whole || use.vram[i] > spec.VRAM {
				return true
			}
		}
		return false
	}
	return use.gpus > int64(room.Spec(n).GPUs)
}

func (p *plainConservative) Decide(r *sched.Round) {
	s := r.State
	switch {
	case p.all:
		p.all, p.early = false, false
		clear(p.booked)
		for t := range s.RunningTasks() {
			p.run(s, t)
		}
	default:
		late := []sched.TaskID{}
		for t, b := range p.booked {
			if b.running && b.to <= s.Now() {
				b.to = expectedBy(b.end, s.Now())
				late = append(late, t)
			}
		}
		first := len(p.waiting) // from it on, whoever came later makes way
		for _, t := range late {
			for _, q := range p.booked[t].on {
				if p.overbooked(s, q.Node, s.Now(), p.booked[t].to) {
					for i, w := range p.waiting[:first] {
						if b := p.booked[w]; b != nil && b.from < p.booked[t].to && b.to > s.Now() && slices.ContainsFunc(b.on, func(x sched.Placement) bool { return x.Node == q.Node }) {
							first = min(first, i)
						}
					}
				}
			}
		}
		was := map[sched.TaskID]*plainBooking{}
		for _, t := range p.waiting[first:] {
			was[t] = p.booked[t]
			delete(p.booked, t)
			p.early = true
		}
		for _, t := range p.waiting[first:] {
			b := was[t]
			if b == nil {
				continue
			}
			p.booked[t] = b
			fits := b.from >= s.Now()
			for _, q := range b.on {
				fits = fits && !p.overbooked(s, q.Node, b.from, b.to)
			}
			if !fits {
				delete(p.booked, t)
				p.promise(s, t, sched.Never)
			}
		}
	}
	for again := true; again; {
		again = false
		if p.early {
			p.early = false
			for _, t := range p.waiting {
				if b := p.booked[t]; b != nil && b.from > s.Now() {
					delete(p.booked, t)
					if !p.promise(s, t, b.from+1) || p.booked[t].from == b.from && sameNodes(p.booked[t].on, b.on) { // it finds at least what it had
						p.booked[t] = b
					}
				}
			}
		}
		for _, t := range p.waiting {
			if p.booked[t] == nil {
				p.promise(s, t, sched.Never)
			}
		}
		for _, t := range slices.Clone(p.waiting) {
			b := p.booked[t]
			if b == nil || b.from > s.Now() {
				continue
			}
			if !r.Start(t, b.on...) {
				panic(fmt.Sprintf("task %d cannot start on %v", t, b.on))
			}
			p.waiting = slices.DeleteFunc(p.waiting, func(u sched.TaskID) bool { return u == t })
			p.run(s, t)
			if p.booked[t].to != b.to {
				panic("it holds its room otherwise than promised")
			}
		}
	}
	first := sched.Never
	for _, t := range p.waiting {
		if b := p.booked[t]; b != nil {
			first = min(first, b.from)
		}
	}
	if first < sched.Never {
		r.WakeAt(first)
	}
}

// Skylines, the index over the nodes, the looks at freed room only, and what is kept over decisions, give what looking at every booking gives.
func TestConservativeIsItsRule(t *testing.T) {
	gen := policytest.Cases(policytest.Gen{})
	rapid.Check(t, func(rt *rapid.T) {
		c := gen.Draw(rt, "case")
		tb := policytest.TB(t, rt)
		fast, plain := orderStream(tb, c, &Conservative{near: rapid.IntRange(0, 2).Draw(rt, "near")}), orderStream(tb, c, &plainConservative{})
		if !slices.Equal(fast, plain) {
			rt.Fatalf("orders differ:\nfast  %q\nplain %q", fast, plain)
		}
	})
}

func TestConservativeIsItsRuleOnBusyNodes(t *testing.T) {
	backfilled := 0
	type busy struct {
		w      *traces.Workload
		nodes  []sched.NodeSpec
		faults []sim.Fault
	}
	gen := rapid.Custom(func(rt *rapid.T) busy {
		w, nodes, faults := busyCase(rt)
		return busy{w, nodes, faults}
	})
	for seed := range 6 { // the plain form is slow
		c := gen.Example(seed)
		var streams [2][]string
		for i, p := range []sched.Policy{&Conservative{near: 1 + seed%2*few}, &plainConservative{}} {
			cfg := sim.Config{Workload: c.w, Nodes: c.nodes, Policy: p, Faults: c.faults, Tap: func(now sched.Time, _ []sched.Event, cmds []sched.Command) error {
				for _, cmd := range cmds {
					streams[i] = append(streams[i], fmt.Sprint(now, cmd.Kind, cmd.Task, cmd.On))
				}
				return nil
			}}
			res, err := sim.Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			for j := range c.w.Tasks[1:] {
				if res.Outcome(sched.TaskID(j)).Start > res.Outcome(sched.TaskID(j+1)).Start {
					backfilled++
				}
			}
		}
		if len(streams[0]) != len(streams[1]) {
			t.Fatalf("seed %d: %d orders, the plain form's %d", seed, len(streams[0]), len(streams[1]))
		}
		for i := range streams[0] {
			if streams[0][i] != streams[1][i] {
				t.Fatalf("seed %d: order %d of %d is %s, of the plain form %s", seed, i, len(streams[0]), streams[0][i], streams[1][i])
			}
		}
	}
	if backfilled < 50 {
		t.Errorf("only %d tasks overtook: the cases say little", backfilled)
	}
}

func TestConservativeRecallsOnlyPromisesThatCanBe(t *testing.T) {
	tb := &sched.Table{Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 1, Classes: []sched.Class{{}}}
	tb.Demands = []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 1000}}}
	for range 4 {
		tb.Tasks, tb.Estimates = append(tb.Tasks, sched.Task{}), append(tb.Estimates, time.Second)
	}
	nodes := []sched.NodeSpec{{Name: "a", CPU: 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited}}
	start := func(p sched.Policy) *sched.Kernel {
		k, err := sched.New(sched.Config{Table: tb, Nodes: nodes, Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		k.Step(0, []sched.Event{{Kind: sched.JobArrived, Task: 0, N: 4, Node: sched.NoNode}})
		return k
	}
	first := &Conservative{}
	kept := first.Keep(&start(first).State, nil)
	recall := func(in []byte) error {
		// Another policy's run, which left the same tasks waiting, is the present that is told.
		var b bytes.Buffer
		if err := start(&List{}).Snapshot(&b); err != nil {
			t.Fatal(err)
		}
		p := &Conservative{}
		k, err := sched.Restore(&b, sched.Config{Table: tb, Nodes: nodes, Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		return p.Recall(&k.State, in)
	}
	if err := recall(kept); err != nil {
		t.Errorf("its own promises: %v", err)
	}
	for n := range kept {
		if recall(kept[:n]) == nil {
			t.Errorf("the first %d of %d bytes are taken for promises", n, len(kept))
		}
	}
	if recall(append(slices.Clone(kept), 0)) == nil {
		t.Error("a byte more is taken for promises")
	}
	for i := range kept { // whatever a byte says instead, it is an error or a promise, and no panic
		for _, v := range []byte{0, 1, 3, 4, 127, 128, 255} {
			bent := slices.Clone(kept)
			bent[i] = v
			_ = recall(bent)
		}
	}
}
