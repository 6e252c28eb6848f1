package history

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// varied is the record of tasks of several jobs, tenants, queues, kinds and sizes that wait, run on several nodes, and now and then fail and run again.
func varied(tasks int) *Record {
	rng := rand.New(rand.NewPCG(3, 9))
	tb := &sched.Table{Tenants: []string{"", "ana", "Anabel", "bo"}, Queues: []string{"", "batch", "urgent"}, Kinds: []string{"", "train", "eval"}}
	for i, gpus := range []int32{0, 1, 2, 4} {
		d := sched.Demand{Need: sched.Need{GPUs: gpus, GPUMilli: sched.Whole}, Gang: 1}
		if gpus == 0 {
			d.Need = sched.Need{CPU: 1000}
		}
		tb.Demands = append(tb.Demands, d)
		tb.Classes = append(tb.Classes, sched.Class{
			Demand: sched.DemandID(i), Tenant: sched.TenantID(i), Queue: sched.QueueID(i % 3), Kind: sched.KindID(i % 3), Retries: 5,
		})
	}
	for i := range tasks {
		tb.Tasks = append(tb.Tasks, sched.Task{Submit: sched.Time(i/4) * 1e9, Job: sched.JobID(i / 3), Class: sched.ClassID(rng.IntN(4))})
		tb.Estimates = append(tb.Estimates, time.Second)
		tb.TaskNames.Append(fmt.Sprintf("%s-%d", []string{"Train", "eval", "prep"}[rng.IntN(3)], rng.IntN(20)))
		if i%3 == 0 {
			tb.JobName.Append(fmt.Sprintf("job-%d", rng.IntN(30)))
			tb.Jobs++
		}
	}
	nodes := make([]sched.NodeSpec, 7)
	for i := range nodes {
		nodes[i] = sched.NodeSpec{Name: fmt.Sprint("node-", i), GPUs: 8, CPU: 64_000, Mem: sched.Unlimited, VRAM: sched.Unlimited}
	}
	r := New(tb, nodes)
	attempt := make([]int32, tasks)
	running := map[sched.TaskID]bool{}
	for now := 0; now < tasks; now++ {
		var in []sched.Event
		var out []sched.Command
		for i := now * 4; i < min(now*4+4, tasks); i++ {
			in = append(in, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(i), N: 1, Node: sched.NoNode})
		}
		for t := range sched.TaskID(min(now*4, tasks)) {
			switch {
			case running[t] && rng.IntN(20) == 0:
				e := sched.Event{Kind: sched.Finished, Task: t, Attempt: attempt[t], Node: sched.NoNode}
				if rng.IntN(3) == 0 {
					e.Kind = sched.FailedAttempt
				}
				in = append(in, e)
				delete(running, t)
				if e.Kind == sched.Finished {
					attempt[t] = -1
				}
			case !running[t] && attempt[t] >= 0 && rng.IntN(30) == 0 && attempt[t] < 5:
				attempt[t]++
				running[t] = true
				out = append(out, sched.Command{
					Kind: sched.Start, Task: t, Attempt: attempt[t],
					On: []sched.Placement{{Node: sched.NodeID(rng.IntN(7)), Replicas: 1, GPUs: sched.Devices(1)<<tb.DemandOf(t).Need.GPUs - 1}},
				})
			}
		}
		r.Batch(sched.Time(now)*1e9, in, out)
	}
	r.Close(nil)
	return r
}

func (r *Record) list(q TasksQuery, at sched.Time) TasksPage {
	q.Rows, q.Find = len(r.tb.Tasks), sched.Nobody
	return r.Look(Query{At: at, Tasks: &q}).List
}

// What a filter lets through is what is read off the rows.
func TestAFilterTakesWhatItSays(t *testing.T) {
	r := varied(400)
	has := func(s, part string) bool { return strings.Contains(strings.ToLower(s), part) }
	any := func(x TaskRow, part string) bool {
		return has(x.Name, part) || has(x.Job, part) || has(x.Tenant, part) || has(x.Queue, part) || has(x.Kind, part) || has(x.Node, part)
	}
	queued := func(x TaskRow) bool {
		return x.State == sched.Ready || x.State == sched.Backoff || x.State == sched.Held
	}
	cases := map[string]func(TaskRow) bool{
		"":                   func(TaskRow) bool { return true },
		"train":              func(x TaskRow) bool { return any(x, "train") },
		"TRAIN":              func(x TaskRow) bool { return any(x, "train") },
		"node-3":             func(x TaskRow) bool { return any(x, "node-3") },
		"!train":             func(x TaskRow) bool { return !any(x, "train") },
		"train ana":          func(x TaskRow) bool { return any(x, "train") && any(x, "ana") },
		"name:train":         func(x TaskRow) bool { return has(x.Name, "train") },
		"name:train-1":       func(x TaskRow) bool { return has(x.Name, "train-1") },
		"name=train-1":       func(x TaskRow) bool { return strings.EqualFold(x.Name, "train-1") },
		"tenant:ana":         func(x TaskRow) bool { return has(x.Tenant, "ana") },
		"tenant=ana":         func(x TaskRow) bool { return x.Tenant == "ana" },
		"!tenant=ana":        func(x TaskRow) bool { return x.Tenant != "ana" },
		"job=job-7":          func(x TaskRow) bool { return x.Job == "job-7" },
		"queue:urgent":       func(x TaskRow) bool { return x.Queue == "urgent" },
		"kind:eval":          func(x TaskRow) bool { return x.Kind == "eval" },
		"node=node-2":        func(x TaskRow) bool { return x.Node == "node-2" },
		"state:running":      func(x TaskRow) bool { return x.State == sched.Running },
		"state:queued":       queued,
		"state:done":         func(x TaskRow) bool { return x.State == sched.Done },
		"!state:done":        func(x TaskRow) bool { return x.State != sched.Done },
		"wait>60s":           func(x TaskRow) bool { return x.Wait > time.Minute },
		"wait<60s":           func(x TaskRow) bool { return x.Wait < time.Minute },
		"wait>1m30s":         func(x TaskRow) bool { return x.Wait > 90*time.Second },
		"run>20":             func(x TaskRow) bool { return x.Run > 20*time.Second },
		"run<20s wait>30s":   func(x TaskRow) bool { return x.Run < 20*time.Second && x.Wait > 30*time.Second },
		"gpus>1":             func(x TaskRow) bool { return x.GPUs > 1000 },
		"gpus=2":             func(x TaskRow) bool { return x.GPUs == 2000 },
		"gpus:2":             func(x TaskRow) bool { return x.GPUs == 2000 },
		"attempts>1":         func(x TaskRow) bool { return x.Attempts > 1 },
		"attempts=0":         func(x TaskRow) bool { return x.Attempts == 0 },
		"id<17":              func(x TaskRow) bool { return x.ID < 17 },
		"tenant:bo !run>30s": func(x TaskRow) bool { return has(x.Tenant, "bo") && x.Run <= 30*time.Second },
		"state:bad": func(x TaskRow) bool {
			return x.State == sched.Failed || x.State == sched.Dropped || x.State == sched.Rejected
		},
		"state:active gpus<2": func(x TaskRow) bool { return (queued(x) || x.State == sched.Running) && x.GPUs < 2000 },
	}
	for _, at := range []sched.Time{50e9, 120e9, 390e9} {
		all := r.list(TasksQuery{}, at).Rows
		for text, takes := range cases {
			var want, got []sched.TaskID
			for _, x := range all {
				if takes(x) {
					want = append(want, x.ID)
				}
			}
			p := r.list(TasksQuery{Filter: text}, at)
			for _, x := range p.Rows {
				got = append(got, x.ID)
			}
			if p.Err != "" || p.Total != len(want) || !slices.Equal(got, want) {
				t.Errorf("%q at %v takes %v of %d (%s), want %v", text, at, got, len(all), p.Err, want)
			}
		}
	}
	some := 0
	for text, takes := range cases {
		n := 0
		all := r.list(TasksQuery{}, 120e9).Rows
		for _, x := range all {
			if takes(x) {
				n++
			}
		}
		if n > 0 && (n < len(all) || text == "") {
			some++
		} else {
			t.Logf("%q takes %d of %d", text, n, len(all))
		}
	}
	if some < len(cases)-3 {
		t.Errorf("only %d of %d filters take some and leave some: the test shows little", some, len(cases))
	}
	for _, bad := range []string{"wait>soon", "gpus>many", "state:flying", "tenant>ana"} {
		if p := r.list(TasksQuery{Filter: bad}, 120e9); p.Err == "" {
			t.Errorf("%q is no filter, and nothing is said", bad)
		}
	}
	for _, bad := range []string{"foo=bar", "tenent:ana", "!foo>3", "gpu_s<2", "train Foo:bar"} {
		if _, err := ParseFilter(bad); err == nil || !strings.Contains(strings.ToLower(err.Error()), "no field") || !strings.Contains(err.Error(), "tenant queue") {
			t.Errorf("%q: %v, want an error that says which fields there are", bad, err)
		}
	}
	for _, name := range []string{"node-3:0", "name:a=b", "=bar", "1:2"} { // text
		if _, err := ParseFilter(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// The events that a filter lets through are those that are read off the rows.
func TestAFilterOfEventsTakesWhatItSays(t *testing.T) {
	r := varied(400)
	page := func(filter string) []EventRow {
		return r.Look(Query{At: 200e9, Events: &EventsQuery{Filter: filter, Rows: 100_000}}).Events.Rows
	}
	tenant := func(x EventRow) string { return r.tb.Tenants[r.tb.ClassOf(x.Task).Tenant] }
	all := page("")
	for text, takes := range map[string]func(EventRow) bool{
		"event:finished":          func(x EventRow) bool { return x.What == "finished" },
		"event:failed tenant=ana": func(x EventRow) bool { return x.What == "failed" && tenant(x) == "ana" },
		"!event:submitted":        func(x EventRow) bool { return x.What != "submitted" },
		"state:done":              func(x EventRow) bool { return x.To == sched.Done },
		"name:eval-1":             func(x EventRow) bool { return strings.Contains(x.Name, "eval-1") },
		"started":                 func(x EventRow) bool { return x.What == "started" },
	} {
		var want []EventRow
		for _, x := range all {
			if takes(x) {
				want = append(want, x)
			}
		}
		if got := page(text); len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%q takes %d events of %d, want %d", text, len(got), len(all), len(want))
		}
		// A page of it ends where it is asked to.
		p := r.Look(Query{At: 200e9, Events: &EventsQuery{Filter: text, Rows: 5, Skip: 3}}).Events
		if !slices.Equal(p.Rows, want[len(want)-8:len(want)-3]) || p.Skip != 3 {
			t.Errorf("%q: five events before the last three are %+v", text, p.Rows)
		}
	}
}

// A list is in the order that it says, either way, ties by the task's number, and a page of it is a part of it.
func TestAListIsInItsOrder(t *testing.T) {
	r := varied(400)
	state := func(p sched.Phase) int64 { return stateOrder[p] }
	orders := map[Column]func(a, b TaskRow) int{
		ByID:       func(a, b TaskRow) int { return 0 },
		ByName:     func(a, b TaskRow) int { return cmp.Compare(a.Name, b.Name) },
		ByJob:      func(a, b TaskRow) int { return cmp.Compare(a.Job, b.Job) },
		ByTenant:   func(a, b TaskRow) int { return cmp.Compare(a.Tenant, b.Tenant) },
		ByState:    func(a, b TaskRow) int { return cmp.Compare(state(a.State), state(b.State)) },
		BySubmit:   func(a, b TaskRow) int { return cmp.Compare(a.Submit, b.Submit) },
		ByWait:     func(a, b TaskRow) int { return cmp.Compare(a.Wait, b.Wait) },
		ByRun:      func(a, b TaskRow) int { return cmp.Compare(a.Run, b.Run) },
		ByGPUs:     func(a, b TaskRow) int { return cmp.Compare(a.GPUs, b.GPUs) },
		ByNode:     func(a, b TaskRow) int { return cmp.Compare(a.Node, b.Node) },
		ByAttempts: func(a, b TaskRow) int { return cmp.Compare(a.Attempts, b.Attempts) },
	}
	if len(orders) != int(NumColumns) {
		t.Fatalf("%d columns of %d are looked at", len(orders), NumColumns)
	}
	for _, at := range []sched.Time{120e9, 60e9, 300e9} { // back too
		for c := range NumColumns {
			for _, desc := range []bool{false, true} {
				want := r.list(TasksQuery{}, at).Rows
				slices.SortStableFunc(want, func(a, b TaskRow) int {
					d := orders[c](a, b)
					if desc {
						d = -d
					}
					return cmp.Or(d, cmp.Compare(a.ID, b.ID))
				})
				if c == ByID && desc {
					slices.Reverse(want)
				}
				got := r.list(TasksQuery{Sort: c, Desc: desc}, at).Rows
				if !slices.Equal(got, want) {
					t.Fatalf("column %d, descending %v, at %v is not in order", c, desc, at)
				}
				p := r.Look(Query{At: at, Tasks: &TasksQuery{Sort: c, Desc: desc, From: 40, Rows: 9, Find: want[44].ID}}).List
				if !slices.Equal(p.Rows, want[40:49]) || p.Found != 44 || p.FoundState != want[44].State {
					t.Fatalf("column %d, descending %v: rows 40 to 48 are others, row 44 is found at %d", c, desc, p.Found)
				}
			}
		}
	}
	// While time goes on the order may be kept, back in time not.
	q := TasksQuery{Sort: ByWait, Keep: true}
	r.list(q, 100e9)
	early, late := r.list(q, 101e9).Rows, r.list(TasksQuery{Sort: ByWait}, 101e9).Rows
	if slices.Equal(early, late) {
		t.Error("an order that may be kept was made anew")
	}
	if got, want := r.list(q, 40e9), r.list(TasksQuery{Sort: ByWait}, 40e9); got.Total != want.Total || !slices.Equal(got.Rows, want.Rows) {
		t.Error("an order was kept back in time")
	}
}
