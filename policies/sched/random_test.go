package sched

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a kernel under random facts and a policy that gives random orders, with a plain account of every task's time beside it: between
// two Steps a task either holds room or waits, by its phase alone.
type world struct {
	t       *rapid.T
	c       Config
	k       *Kernel
	started int
	claimed int
	spread  map[TaskID]bool // tasks that have arrived

	wait, held []time.Duration
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, spread: map[TaskID]bool{}}
	n := func(label string, from, to int) int { return rapid.IntRange(from, to).Draw(t, label) }
	for i := range n("nodes", 1, 3) {
		w.c.Nodes = append(w.c.Nodes, w.spec(fmt.Sprint("n", i)))
	}
	tb := &Table{Tenants: []string{"", "red"}, Queues: []string{"", "night"}, Kinds: []string{""}}
	tasks := n("tasks", 1, 10)
	var edges [][2]TaskID
	for i := range tasks {
		d := Demand{Gang: int32(n("gang", 1, 2))}
		d.Need.CPU = int64(n("cpu", 0, 3)) * 1000
		d.Need.Mem = int64(n("mem", 0, 2))
		if d.Need.GPUs = int32(n("gpus", 0, 2)); d.Need.GPUs > 0 {
			d.Need.GPUMilli, d.Need.VRAM = Whole, int64(n("vram", 0, 2))
			if n("share", 0, 1) == 1 {
				d.Need.GPUs, d.Need.GPUMilli = 1, int32(n("milli", 1, 9)*100)
			}
		}
		cl := Class{Demand: DemandID(i), Tenant: TenantID(n("tenant", 0, 1)), Queue: QueueID(n("queue", 0, 1)), Retries: int32(n("retries", 0, 2)), Backoff: time.Duration(n("backoff", 0, 3)) * time.Second}
		job := JobID(i)
		if i > 0 && n("same job", 0, 1) == 1 {
			job = tb.Tasks[i-1].Job
		}
		if i > 0 {
			for range n("preds", 0, 2) {
				e := [2]TaskID{TaskID(n("pred", 0, i-1)), TaskID(i)}
				if n("backward", 0, 9) == 9 {
					e[1] = TaskID(tasks) // an edge to the last task
				}
				if !slices.Contains(edges, e) {
					edges = append(edges, e)
				}
			}
		}
		tb.Tasks = append(tb.Tasks, Task{Submit: Time(n("submit", 0, 5)) * 1e9, Job: job, Class: ClassID(i)})
		tb.Estimates = append(tb.Estimates, time.Duration(n("estimate", 0, 9))*time.Second)
		tb.Classes, tb.Demands, tb.Jobs = append(tb.Classes, cl), append(tb.Demands, d), int32(job)+1
	}
	// One task more, which others may wait for or come before.
	tb.Tasks = append(tb.Tasks, Task{Submit: 1e9, Job: JobID(tb.Jobs), Class: ClassID(tasks)})
	tb.Classes = append(tb.Classes, Class{})
	tb.Estimates = append(tb.Estimates, 0)
	tb.Jobs++
	if len(edges) > 0 {
		tb.SuccOff, tb.PredOff = []int32{0}, []int32{0}
		for i := range tb.Tasks {
			for _, e := range edges {
				if e[0] == TaskID(i) {
					tb.Succ = append(tb.Succ, e[1])
				}
				if e[1] == TaskID(i) {
					tb.Pred = append(tb.Pred, e[0])
				}
			}
			tb.SuccOff, tb.PredOff = append(tb.SuccOff, int32(len(tb.Succ))), append(tb.PredOff, int32(len(tb.Pred)))
		}
	}
	w.c.Table, w.c.Policy, w.c.Waits = tb, w, true
	w.wait, w.held = make([]time.Duration, len(tb.Tasks)), make([]time.Duration, len(tb.Tasks))
	var err error
	if w.k, err = New(w.c); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) spec(name string) NodeSpec {
	n := func(label string, from, to int) int { return rapid.IntRange(from, to).Draw(w.t, label) }
	return NodeSpec{
		Name: name, CPU: int64(n("node cpu", 1, 8)) * 1000, Mem: int64(n("node mem", 1, 8)), VRAM: int64(n("node vram", 1, 4)), GPUType: "A",
		GPUs: rapid.SampledFrom([]int32{0, 1, 4, 100}).Draw(w.t, "node gpus"), SpeedMilli: rapid.SampledFrom([]int64{0, 500, 2000}).Draw(w.t, "speed"),
	}
}

// Observe uses what policies use, so that a state that is half changed would show.
func (w *world) Observe(s *State, e Event) {
	if e.Kind == NodeDown && s.Room().Up(e.Node) {
		w.t.Fatalf("told %v of a node that is up", e.Kind)
	}
	if e.Task < 0 || int(e.Task) >= s.Known() {
		return
	}
	s.Attained(e.Task)
	s.Remaining(e.Task)
	s.ReadySince(e.Task)
	switch ph := s.Phase(e.Task); e.Kind {
	case TaskReady:
		if ph != Ready || s.ReadySince(e.Task) > s.Now() {
			w.t.Fatalf("task %d: told ready, is %v", e.Task, ph)
		}
	case Finished, Stopped, FailedAttempt, Killed:
		if ph == Running || ph == Stopping {
			w.t.Fatalf("task %d: told %v, is %v", e.Task, e.Kind, ph)
		}
	case TaskDropped:
		if !ph.Over() {
			w.t.Fatalf("task %d: told dropped, is %v", e.Task, ph)
		}
	}
}

func (w *world) task(label string) TaskID {
	return TaskID(rapid.IntRange(-1, len(w.c.Table.Tasks)).Draw(w.t, label))
}

func (w *world) Decide(r *Round) {
	for range rapid.IntRange(0, 8).Draw(w.t, "acts") {
		t := w.task("task")
		var on []Placement
		if r.Phase(t) == Ready {
			on, _ = r.Room().FirstFit(r.DemandID(t), nil)
		}
		switch rapid.IntRange(0, 9).Draw(w.t, "act") {
		default:
			if r.Start(t, on...) {
				w.started++
			}
		case 5: // anywhere
			p := Placement{Node: NodeID(rapid.IntRange(-1, 4).Draw(w.t, "node")), Replicas: int32(rapid.IntRange(0, 2).Draw(w.t, "replicas")), GPUs: Devices(rapid.IntRange(0, 15).Draw(w.t, "gpus"))}
			r.Start(t, p)
		case 6:
			r.Evict(t)
		case 7:
			if r.Phase(t) != Ready {
				continue
			}
			var victims []TaskID
			for v := range r.RunningTasks() {
				if rapid.Bool().Draw(w.t, "victim") {
					victims = append(victims, v)
				}
			}
			for n := range r.Room().Len() {
				if r.Claim(t, []Placement{{Node: NodeID(n), Replicas: r.Demand(t).Gang}}, victims...) {
					w.claimed++
					break
				}
			}
		case 8:
			r.Skip(t, rapid.SampledFrom([]Cause{NoRoom, Order, Staging}).Draw(w.t, "cause"))
			r.WakeAt(r.Now() + Time(rapid.IntRange(1, 3).Draw(w.t, "wake"))*1e9)
		case 9:
			if rapid.IntRange(0, 9).Draw(w.t, "reject") == 9 {
				r.Reject(t, Order)
			}
			r.Checkpoint(t)
		}
	}
}

func (w *world) fact() Event {
	t := w.task("task")
	e := Event{Task: t, Node: NodeID(rapid.IntRange(-1, w.k.room.Len()).Draw(w.t, "node"))}
	e.Kind = rapid.SampledFrom([]EventKind{
		JobArrived, JobArrived, JobArrived, JobArrived, Finished, Finished, Stopped, Stopped, FailedAttempt, Killed, CheckpointDone, Started, NodeDown, NodeUp, NodeUp, NodeProfile, NodeDrain,
		Cancelled, Hold, Release, Release, Updated, QuotaSet, EdgeAdded, PolicySet, DependencyDown, DependencyUp, Wake, TaskReady, TaskDropped, 99,
	}).Draw(w.t, "fact")
	if w.k.Phase(t) != Unknown {
		e.Attempt = w.k.Attempt(t) - int32(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(w.t, "old"))
	}
	e.Done = time.Duration(rapid.IntRange(-1, 5).Draw(w.t, "done")) * time.Second
	e.Value = int64(rapid.IntRange(-1, 9).Draw(w.t, "value")) * 1e9
	e.Other = w.task("other")
	e.N = int32(rapid.IntRange(0, 2).Draw(w.t, "n"))
	switch e.Kind {
	case NodeUp:
		if rapid.IntRange(0, 9).Draw(w.t, "new") == 9 && w.k.room.Len() < 5 {
			spec := w.spec("new")
			e.More = &Detail{Spec: &spec}
		}
	case NodeProfile:
		e.More = &Detail{Profile: &Profile{SampledAt: w.k.now - Time(e.Value), OtherCPU: e.Value / 1e6, OtherMem: int64(e.N), OtherGPUs: Devices(e.N), GPULoad: math.NaN()}}
	case QuotaSet:
		e.More = &Detail{Quota: &Quota{CPU: e.Value / 1e6, GPUMilli: -1, Tasks: int64(e.Attempt)}}
		if rapid.Bool().Draw(w.t, "lends") {
			q := e.More.Quota
			q.Cohort, q.CPU, q.BorrowCPU, q.Tasks, q.Reclaim = "c", q.CPU+2000, e.Value/1e6, 0, rapid.Bool().Draw(w.t, "reclaims")
		}
		if e.N > 0 {
			e.More.Quota.Tenant = rapid.SampledFrom([]string{"red", "red", "", "blue"}).Draw(w.t, "tenant")
		}
		if e.N != 1 {
			e.More.Quota.Queue = "night"
		}
	case PolicySet:
		e.More = &Detail{Policy: w}
	case DependencyDown, DependencyUp:
		e.More = &Detail{Name: fmt.Sprint(e.N)}
	case JobArrived:
		for i := range w.c.Table.Tasks { // mostly the next one
			if e.N > 0 && w.k.Phase(TaskID(i)) == Unknown {
				e.Task = TaskID(i)
				break
			}
		}
	}
	if rapid.IntRange(0, 19).Draw(w.t, "bare") == 19 {
		e.More = nil
	}
	return e
}

// step moves the world and its account on.
func (w *world) step(at Time, in []Event) {
	for t := range w.c.Table.Tasks {
		if ph := w.k.Phase(TaskID(t)); ph != Unknown {
			w.account(TaskID(t), at-w.k.now, ph)
		}
	}
	known := map[TaskID]bool{}
	for t := range w.c.Table.Tasks {
		known[TaskID(t)] = w.k.Phase(TaskID(t)) != Unknown
	}
	w.k.Step(at, in)
	w.k.checkInvariants()
	for t := range w.c.Table.Tasks {
		if id := TaskID(t); !known[id] && w.k.Phase(id) != Unknown {
			w.wait[t] += max(at.Sub(w.c.Table.Tasks[t].Submit), 0)
		}
	}
}

func (w *world) account(t TaskID, d Time, ph Phase) {
	switch {
	case ph == Running || ph == Stopping:
		w.held[t] += time.Duration(d)
	case !ph.Over():
		w.wait[t] += time.Duration(d)
	}
}

// restart replaces the kernel by one restored from its snapshot, which must snapshot to the same bytes.
func (w *world) restart() {
	var first, second bytes.Buffer
	if err := w.k.Snapshot(&first); err != nil {
		w.t.Fatal(err)
	}
	k, err := Restore(bytes.NewReader(first.Bytes()), w.c)
	if err != nil {
		w.t.Fatal(err)
	}
	k.checkInvariants()
	if err := k.Snapshot(&second); err != nil {
		w.t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		w.t.Fatal("a restored kernel snapshots to other bytes")
	}
	for t := range w.c.Table.Tasks {
		id := TaskID(t)
		if w.k.Outcome(id) != k.Outcome(id) || w.k.Phase(id) != Unknown && (w.k.Remaining(id) != k.Remaining(id) || w.k.Attained(id) != k.Attained(id) || w.k.ReadySince(id) != k.ReadySince(id)) {
			w.t.Fatalf("task %d is not what it was", t)
		}
		if ph := w.k.Phase(id); ph != Unknown && !ph.Over() && (w.k.AtRisk(id) != k.AtRisk(id) || w.k.StopLoss(id) != k.StopLoss(id) || w.k.CheckpointCost(id) != k.CheckpointCost(id) || w.k.CheckpointedAt(id) != k.CheckpointedAt(id) || w.k.RestoreCost() != k.RestoreCost()) {
			w.t.Fatalf("the checkpoints of task %d are not what they were", t)
		}
	}
	w.k = k
}

// TestBooksHoldUnderAnyFacts is the attacker's: whatever facts come, true ones or not, and whatever a policy orders, the books agree with a
// recount after each Step, a restored kernel is the same, and every task's causes of waiting add up to submit-to-end less holding.
func TestBooksHoldUnderAnyFacts(t *testing.T) {
	started, claimed, over := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		now := Time(0)
		for range rapid.IntRange(10, 60).Draw(rt, "steps") {
			now += Time(rapid.IntRange(0, 3).Draw(rt, "later")) * 1e9
			var in []Event
			for range rapid.IntRange(0, 4).Draw(rt, "facts") {
				in = append(in, w.fact())
			}
			w.step(now, in)
			if rapid.IntRange(0, 9).Draw(rt, "restart") == 9 {
				w.restart()
			}
		}
		// All comes to an end.
		now += 1e9
		var in []Event
		for id := range TaskID(w.k.Known()) {
			in = append(in, Event{Kind: Cancelled, Task: id})
		}
		w.step(now, in)
		in = in[:0]
		for id := range TaskID(w.k.Known()) {
			in = append(in, Event{Kind: Stopped, Task: id, Attempt: w.k.Attempt(id)})
		}
		w.step(now+1e9, in)
		rows := w.k.Waits()
		var causes [NumCauses]float64
		sums := make([]float64, len(w.c.Table.Tasks))
		for _, r := range rows {
			causes[r.Cause] += r.Wait / 1e9
			if r.Count < 1 {
				rt.Fatalf("a row of %d segments", r.Count)
			}
			sums[r.Class] += r.Wait
		}
		together := make([]Outcome, len(w.c.Table.Tasks))
		w.k.Outcomes(0, together)
		for i := range w.c.Table.Tasks {
			id := TaskID(i)
			o := w.k.Outcome(id)
			if together[i] != o {
				rt.Fatalf("task %d: %+v among others, %+v alone", i, together[i], o)
			}
			if o.Phase == Unknown {
				continue
			}
			if !o.Phase.Over() {
				rt.Fatalf("task %d is %v at the end", i, o.Phase)
			}
			over++
			if o.Held != w.held[i] {
				rt.Fatalf("task %d held %v by the books, %v by its phases", i, o.Held, w.held[i])
			}
			if sums[i] != float64(w.wait[i]) {
				rt.Fatalf("task %d: causes add up to %v, it waited %v", i, time.Duration(sums[i]), w.wait[i])
			}
		}
		for c, sec := range w.k.Books().CauseSeconds {
			if math.Abs(sec-causes[c]) > 1e-6 {
				rt.Fatalf("%v: %g s by the books, %g by the rows", Cause(c), sec, causes[c])
			}
		}
		started, claimed = started+w.started, claimed+w.claimed
	})
	if started == 0 || claimed == 0 || over == 0 {
		t.Errorf("%d starts, %d claims, %d tasks over: nothing was checked", started, claimed, over)
	}
}

// TestRestoreRefusesWhatIsNotWhole cuts a snapshot at every byte, changes every bit, and offers it to another table and other nodes.
func TestRestoreRefusesWhatIsNotWhole(t *testing.T) {
	for seed := range 5 {
		c, snapshot := exampleSnapshot(t, seed)
		if _, err := Restore(bytes.NewReader(snapshot), c); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(bytes.NewReader(append(slices.Clone(snapshot), "and more"...)), c); err != nil {
			t.Error("a snapshot with something behind it:", err)
		}
		for n := range snapshot {
			if _, err := Restore(bytes.NewReader(snapshot[:n]), c); err == nil {
				t.Errorf("restored from the first %d bytes of %d", n, len(snapshot))
			}
			for bit := range 8 {
				bad := slices.Clone(snapshot)
				bad[n] ^= 1 << bit
				if _, err := Restore(bytes.NewReader(bad), c); err == nil {
					t.Errorf("restored with bit %d of byte %d changed", bit, n)
				}
			}
		}
		other := c
		other.Nodes = append(slices.Clone(c.Nodes), NodeSpec{Name: "more"})
		if _, err := Restore(bytes.NewReader(snapshot), other); err == nil {
			t.Error("restored on other nodes")
		}
		other.Nodes = slices.Clone(c.Nodes)
		other.Nodes[0].Name = "renamed"
		if _, err := Restore(bytes.NewReader(snapshot), other); err == nil {
			t.Error("restored on renamed nodes")
		}
		other = c
		table := *c.Table
		table.Tasks = slices.Clone(table.Tasks)
		table.Tasks[0].Submit++
		other.Table = &table
		if _, err := Restore(bytes.NewReader(snapshot), other); err == nil {
			t.Error("restored with another table")
		}
		other.Table = &Table{}
		if _, err := Restore(bytes.NewReader(snapshot), other); err == nil {
			t.Error("restored with no table")
		}
		other = c
		other.Waits = false
		k, err := Restore(bytes.NewReader(snapshot), other)
		if err != nil || len(k.Waits()) > 0 {
			t.Errorf("without the wait profile: %v, %d rows", err, len(k.Waits()))
		}
		other.Policy = nil
		if _, err := Restore(bytes.NewReader(snapshot), other); err == nil {
			t.Error("restored without a policy")
		}
	}
}

// exampleSnapshot makes a snapshot of a world that has seen something of everything.
func exampleSnapshot(tb testing.TB, seed int) (Config, []byte) {
	type made struct {
		c Config
		b []byte
	}
	m := rapid.Custom(func(t *rapid.T) made {
		w := newWorld(t)
		for i := range rapid.IntRange(15, 30).Draw(t, "steps") {
			var in []Event
			for range 3 {
				in = append(in, w.fact())
			}
			if i == 0 {
				in = append(in, Event{Kind: JobArrived, N: 1})
			}
			w.step(Time(i)*1e9, in)
		}
		var b bytes.Buffer
		if err := w.k.Snapshot(&b); err != nil {
			t.Fatal(err)
		}
		w.c.Policy = greedy{}
		return made{w.c, b.Bytes()}
	}).Example(seed)
	if len(m.b) == 0 {
		tb.Fatal("no snapshot")
	}
	return m.c, m.b
}

// greedy starts what fits.
type greedy struct{}

func (greedy) Observe(s *State, e Event) {
	if e.Task >= 0 && int(e.Task) < s.Known() {
		s.Attained(e.Task)
		s.Remaining(e.Task)
	}
}

func (greedy) Decide(r *Round) {
	for t := range TaskID(r.Known()) {
		if r.Phase(t) == Ready {
			if on, ok := r.Room().FirstFit(r.DemandID(t), nil); ok {
				r.Start(t, on...)
			} else {
				r.Skip(t, NoRoom)
			}
		}
	}
}

// FuzzRestore offers bytes behind a right checksum: they are refused, or make a kernel that works.
func FuzzRestore(f *testing.F) {
	var configs []Config
	for seed := range 4 {
		c, b := exampleSnapshot(f, seed)
		configs = append(configs, c)
		f.Add(byte(seed), b[:len(b)-4])
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		c := configs[int(which)%len(configs)]
		whole := binary.LittleEndian.AppendUint32(slices.Clone(body), crc32.Checksum(body, castagnoli))
		k, err := Restore(bytes.NewReader(whole), c)
		if err != nil {
			return
		}
		k.checkInvariants()
		for i := range Time(3) {
			var in []Event
			for id := range TaskID(k.Known()) {
				if k.Phase(id) != Unknown {
					in = append(in, Event{Kind: Stopped, Task: id, Attempt: k.Attempt(id)})
				}
			}
			in = append(in, Event{Kind: NodeDown}, Event{Kind: NodeUp}, Event{Kind: JobArrived, Task: TaskID(k.Known()), N: 1})
			k.Step(k.Now()+i, in)
			k.checkInvariants()
		}
		var b bytes.Buffer
		if err := k.Snapshot(&b); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(&b, c); err != nil {
			t.Fatal(err)
		}
	})
}
