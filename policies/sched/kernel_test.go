package sched

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestNewRefusesATableThatWouldBreakItLater(t *testing.T) {
	good := func() *Table {
		return &Table{
			Tasks: []Task{{}, {}}, Estimates: make([]time.Duration, 2), Classes: make([]Class, 1), Jobs: 1,
			Demands: []Demand{{Gang: 1, Need: Need{CPU: 1, GPUs: 1, GPUMilli: Whole}}},
		}
	}
	if _, err := New(Config{Table: good(), Policy: greedy{}}); err != nil {
		t.Fatal(err)
	}
	for want, breakIt := range map[string]func(tb *Table){
		"gang":          func(tb *Table) { tb.Demands[0].Gang = 0 },
		"negative need": func(tb *Table) { tb.Demands[0].Need.Mem = -1 },
		"GPUs of 0":     func(tb *Table) { tb.Demands[0].Need.GPUMilli = 0 },
		"GPUs of 500":   func(tb *Table) { tb.Demands[0].Need = Need{GPUs: 2, GPUMilli: 500} },
		"no demand 7":   func(tb *Table) { tb.Classes[0].Demand = 7 },
		"no class -1":   func(tb *Table) { tb.Tasks[1].Class = -1 },
		"estimates":     func(tb *Table) { tb.Estimates = tb.Estimates[:1] },
		"1 deadlines":   func(tb *Table) { tb.Deadlines = []Time{Never} },
		"3 deadlines":   func(tb *Table) { tb.Deadlines = []Time{Never, 5, 6} },
		"0 deadlines":   func(tb *Table) { tb.Deadlines = []Time{} },
		"or edges":      func(tb *Table) { tb.SuccOff, tb.PredOff = []int32{0, 0}, []int32{0, 0} },
		"cycle: 2 -> 2": func(tb *Table) {
			tb.SuccOff, tb.PredOff, tb.Succ, tb.Pred = []int32{0, 0, 1}, []int32{0, 0, 1}, []TaskID{1}, []TaskID{1}
		},
	} {
		tb := good()
		breakIt(tb)
		if _, err := New(Config{Table: tb, Policy: greedy{}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, c := range []Config{
		{Policy: greedy{}},
		{Table: good()},
		{Table: good(), Policy: greedy{}, Nodes: []NodeSpec{{CPU: -1}}},
		{Table: good(), Policy: greedy{}, Nodes: []NodeSpec{{StorageMBps: math.NaN()}}},
		{Table: good(), Policy: greedy{}, Nodes: []NodeSpec{{StorageMBps: -1}}},
		{Table: good(), Policy: greedy{}, Nodes: []NodeSpec{{StorageLatency: -1}}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("made a kernel of %+v", c)
		}
	}
}

// A table grows while the kernel runs. A job that is not well-formed is refused when it arrives and leaves the others alone, also after a
// snapshot.
func TestAJobAppendedWithACycleOrHalfIsRefused(t *testing.T) {
	tb := &Table{Demands: []Demand{{Gang: 1}}, Classes: make([]Class, 1), SuccOff: []int32{0}, PredOff: []int32{0}}
	c := Config{Table: tb, Policy: greedy{}, Nodes: []NodeSpec{{CPU: 1000}}}
	k, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	add := func(preds, succs []TaskID) {
		tb.Tasks, tb.Estimates = append(tb.Tasks, Task{Job: JobID(tb.Jobs)}), append(tb.Estimates, time.Second)
		tb.Pred, tb.Succ = append(tb.Pred, preds...), append(tb.Succ, succs...)
		tb.PredOff, tb.SuccOff = append(tb.PredOff, int32(len(tb.Pred))), append(tb.SuccOff, int32(len(tb.Succ)))
	}
	add(nil, nil)
	k.Step(0, []Event{{Kind: JobArrived, Task: 0, N: 1}})
	add([]TaskID{2}, []TaskID{2})
	add([]TaskID{1}, []TaskID{1})
	k.Step(1, []Event{{Kind: JobArrived, Task: 1, N: 2}})
	if k.Refused() != 1 || k.Phase(1) != Unknown {
		t.Fatalf("a cycle: %d refused, task 1 is %v", k.Refused(), k.Phase(1))
	}
	add(nil, nil)
	tb.Estimates = tb.Estimates[:3]
	k.Step(2, []Event{{Kind: JobArrived, Task: 3, N: 1}})
	if k.Refused() != 2 {
		t.Fatal("a task without an estimate was taken in")
	}
	tb.Estimates = append(tb.Estimates, time.Second)
	k.Step(3, []Event{{Kind: JobArrived, Task: 3, N: 1}})
	if k.Phase(3) != Running {
		t.Fatalf("task 3 is %v", k.Phase(3))
	}
	var b bytes.Buffer
	if err := k.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	r, err := Restore(&b, c)
	if err != nil {
		t.Fatal(err)
	}
	r.Step(4, []Event{{Kind: JobArrived, Task: 1, N: 2}, {Kind: Finished, Task: 3, Attempt: 1}})
	if r.Refused() != 3 || r.Phase(1) != Unknown || r.Phase(3) != Done {
		t.Fatalf("restored: %d refused, %v, %v", r.Refused(), r.Phase(1), r.Phase(3))
	}
}

// Kernels that share a table must not see each other's updates.
func TestAnUpdatedEstimateStaysInItsKernel(t *testing.T) {
	tb := &Table{Tasks: make([]Task, 1), Estimates: []time.Duration{time.Hour}, Demands: []Demand{{Gang: 1}}, Classes: make([]Class, 1)}
	a, _ := New(Config{Table: tb, Policy: greedy{}})
	b, _ := New(Config{Table: tb, Policy: greedy{}})
	for _, k := range []*Kernel{a, b} {
		k.Step(0, []Event{{Kind: JobArrived, N: 1}})
	}
	a.Step(0, []Event{{Kind: Updated, Value: int64(time.Minute)}})
	if a.Estimate(0) != time.Minute || b.Estimate(0) != time.Hour || tb.Estimates[0] != time.Hour {
		t.Errorf("%v, %v, table %v", a.Estimate(0), b.Estimate(0), tb.Estimates[0])
	}
}

// What passes between the submission and the batch that takes it in is the decision window's.
func TestTheWindowCountsFromTheSubmission(t *testing.T) {
	tb := &Table{Tasks: []Task{{Submit: 2e9}, {Submit: 9e9}}, Estimates: make([]time.Duration, 2), Demands: []Demand{{Gang: 1}}, Classes: make([]Class, 1)}
	k, _ := New(Config{Table: tb, Policy: greedy{}, Nodes: []NodeSpec{{}}})
	k.Step(5e9, []Event{{Kind: JobArrived, N: 2}}) // the second one before its time
	if got := k.Books().CauseSeconds; got != [NumCauses]float64{Window: 3} {
		t.Errorf("%v", got)
	}
}

func TestRetryBackoffDoublesUpTo64Times(t *testing.T) {
	for n, want := range map[int]time.Duration{0: 1, 1: 1, 2: 2, 3: 4, 7: 64, 8: 64, 1000: 64} {
		if got := RetryBackoff(time.Second, n); got != want*time.Second {
			t.Errorf("retry %d after %v, want %v s", n, got, int64(want))
		}
	}
	if got := RetryBackoff(math.MaxInt64/2, 9); got != math.MaxInt64 {
		t.Errorf("an absurd base: %v", got)
	}
	if got := RetryBackoff(-5, 3); got != 0 {
		t.Errorf("a negative base: %v", got)
	}
}

func TestSortBatchIsTheTieRule(t *testing.T) {
	in := []Event{
		{Kind: JobArrived, Task: 9},
		{Kind: Hold, Task: 8},
		{Kind: Finished, Task: 7},
		{Kind: NodeUp, Node: 1},
		{Kind: EdgeAdded, Task: 3},
		{Kind: Stopped, Task: 2},
		{Kind: NodeDown, Node: 0},
		{Kind: JobArrived, Task: 4},
	}
	SortBatch(in)
	var got []string
	for _, e := range in {
		got = append(got, e.Kind.String())
	}
	if s := strings.Join(got, " "); s != "stopped finished hold node-up node-down arrived arrived edge" || in[5].Task != 4 {
		t.Errorf("%s", s)
	}
}

// A writer that fails is reported.
func TestSnapshotTellsThatItCouldNotBeWritten(t *testing.T) {
	tb := &Table{Tasks: make([]Task, 1), Estimates: make([]time.Duration, 1), Demands: []Demand{{Gang: 1}}, Classes: make([]Class, 1)}
	k, _ := New(Config{Table: tb, Policy: greedy{}})
	if err := k.Snapshot(full{}); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
}

var errFull = errors.New("the disk is full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// claimer starts the first two tasks, and then claims their node for the third by naming victims.
type claimer struct {
	victims []TaskID
	claimed bool
}

func (p *claimer) Observe(*State, Event) {}

func (p *claimer) Decide(r *Round) {
	r.StartOn(0, 0)
	r.StartOn(1, 0)
	p.claimed = r.Claim(2, []Placement{{Node: 0, Replicas: 1}}, p.victims...)
}

func TestAClaimCountsAVictimOnceAndOnlyWhoRuns(t *testing.T) {
	for what, need := range map[string]Need{"GPUs": {GPUs: 1, GPUMilli: Whole}, "CPUs": {CPU: 1000}} {
		both := need
		both.GPUs, both.CPU = 2*need.GPUs, 2*need.CPU
		for _, c := range []struct {
			victims []TaskID
			want    bool
		}{{[]TaskID{0, 1}, true}, {[]TaskID{0, 0}, false}, {[]TaskID{0}, false}, {[]TaskID{0, 1, 1}, false}, {[]TaskID{0, 1, 2}, false}, {[]TaskID{0, 7}, false}} {
			tb := &Table{
				Tasks: []Task{{}, {Job: 1}, {Job: 2, Class: 1}}, Estimates: make([]time.Duration, 3), Jobs: 3,
				Demands: []Demand{{Gang: 1, Need: need}, {Gang: 1, Need: both}}, Classes: []Class{{}, {Demand: 1}},
			}
			p := &claimer{victims: c.victims}
			k, err := New(Config{Table: tb, Policy: p, Nodes: []NodeSpec{{CPU: 2000, GPUs: 2}, {}}})
			if err != nil {
				t.Fatal(err)
			}
			orders := k.Step(0, []Event{{Kind: JobArrived, Task: 0, N: 1}, {Kind: JobArrived, Task: 1, N: 1}, {Kind: JobArrived, Task: 2, N: 1}})
			stops := 0
			for _, o := range orders {
				if o.Kind == Stop {
					stops++
				}
			}
			if p.claimed != c.want || stops != 0 != c.want || stops != 0 && stops != len(c.victims) {
				t.Errorf("%s: claiming the room of %v: %v, with %d stops", what, c.victims, p.claimed, stops)
			}
		}
	}
}

// twice starts task 0, stops it at once the first time, and lets it run the second.
type twice struct{}

func (twice) Observe(*State, Event) {}

func (twice) Decide(r *Round) {
	if r.StartFirst(0) && r.Attempt(0) == 1 {
		r.Evict(0)
	}
}

func TestATaskWhoseFirstAttemptTookNoTimeIsRestoredAsOneOfTwoAttempts(t *testing.T) {
	c := Config{
		Table:  &Table{Tasks: []Task{{}}, Estimates: []time.Duration{2 * time.Second}, Classes: make([]Class, 1), Demands: []Demand{{Gang: 1}}, Jobs: 1},
		Policy: twice{}, Nodes: []NodeSpec{{CPU: 1000}},
	}
	k, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	k.Step(0, []Event{{Kind: JobArrived, Task: 0, N: 1}})
	k.Step(0, []Event{{Kind: Stopped, Task: 0, Attempt: 1}})
	k.Step(1e9, []Event{{Kind: Finished, Task: 0, Attempt: 2}})
	var b bytes.Buffer
	if err := k.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	again, err := Restore(&b, c)
	if err != nil {
		t.Fatal(err)
	}
	if k.Outcome(0).Attempts != 2 || k.Remaining(0) != again.Remaining(0) || k.Ran(0, make([]Ran, 1)) || again.Ran(0, make([]Ran, 1)) {
		t.Errorf("%+v: left %v, restored %v; done in one attempt: %v, restored %v", k.Outcome(0), k.Remaining(0), again.Remaining(0), k.Ran(0, make([]Ran, 1)), again.Ran(0, make([]Ran, 1)))
	}
}

// spoken says of task 0 what it is told to, and starts it a moment later.
type spoken struct {
	cause  Cause
	reject bool
	took   bool
}

func (*spoken) Observe(*State, Event) {}

func (p *spoken) Decide(r *Round) {
	switch {
	case p.reject:
		p.took = r.Reject(0, p.cause)
	case r.Now() == 0:
		r.Skip(0, NoRoom)
		r.Skip(0, p.cause)
	default:
		r.StartFirst(0)
	}
}

func TestACauseThatThereIsNotChangesNothing(t *testing.T) {
	for _, c := range []Cause{NumCauses, 200} {
		tb := &Table{Tasks: []Task{{}}, Estimates: make([]time.Duration, 1), Classes: make([]Class, 1), Demands: []Demand{{Gang: 1}}, Jobs: 1}
		arrived := []Event{{Kind: JobArrived, Task: 0, N: 1}}
		p := &spoken{cause: c}
		k, err := New(Config{Table: tb, Policy: p, Nodes: []NodeSpec{{CPU: 1000}}, Waits: true})
		if err != nil {
			t.Fatal(err)
		}
		k.Step(0, arrived)
		if got := k.CauseOf(0); got != NoRoom {
			t.Errorf("skipped for cause %d: it waits for %d", c, got)
		}
		if out := k.Step(5e9, nil); len(out) != 1 || k.Books().CauseSeconds[NoRoom] != 5 {
			t.Errorf("skipped for cause %d: orders %v, waits %v", c, out, k.Books().CauseSeconds)
		}
		p = &spoken{cause: c, reject: true}
		if k, err = New(Config{Table: tb, Policy: p, Nodes: []NodeSpec{{CPU: 1000}}}); err != nil {
			t.Fatal(err)
		}
		if out := k.Step(0, arrived); len(out) > 0 || p.took || k.Phase(0) != Ready {
			t.Errorf("rejected for cause %d: took it %v, orders %v, it is %v", c, p.took, out, k.Phase(0))
		}
	}
}
