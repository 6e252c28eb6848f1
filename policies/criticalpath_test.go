package policies_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// onlyWeight is critical-path with one weight, or none.
func onlyWeight(name string) string {
	var set []string
	for _, w := range []string{"rank", "latency", "share", "preds", "heat", "age"} {
		v := "0"
		if w == name {
			v = "1"
		}
		set = append(set, w+"="+v)
	}
	return "critical-path{" + strings.Join(set, ",") + ",patience=1000h}"
}

func id(r traces.Row, id string) traces.Row {
	r.ID = id
	return r
}

func TestEachTermOfCriticalPathChangesAnOrderByItself(t *testing.T) {
	late := func(r traces.Row, deadline float64) traces.Row {
		r.Deadline = time.Duration(deadline * 1e9)
		return r
	}
	one, two := machines(1, 1, 0), machines(1, 2, 0)
	both := machines(1, 4, 1)
	for _, c := range []struct {
		name, weight  string
		nodes         []sched.NodeSpec
		rows          []traces.Row
		without, with string
	}{
		{"upward rank", "rank", one, []traces.Row{inJob(cores(0, 5, 1), "leaf"), inJob(cores(0, 1, 1), "root"), inJob(cores(0, 10, 1), "next", "root")}, "leaf root next", "root next leaf"},
		{"upward rank of the rest of the job", "rank", one, []traces.Row{
			// Once "long" is done, "b" stands on what is left of the critical path and "a" does not.
			inJob(cores(0, 50, 1), "long"), inJob(cores(0, 2, 1), "a"), inJob(cores(0, 3, 1), "b"),
		}, "long a b", "long b a"},
		{"criticality", "latency", one, []traces.Row{id(cores(0, 1, 1), "idle"), id(with(cores(0, 1, 1), func(r *traces.Row) { r.Criticality = 0.5 }), "mild"), id(with(cores(0, 1, 1), func(r *traces.Row) { r.Criticality = 1 }), "urgent")}, "idle mild urgent", "urgent mild idle"},
		{"deadline", "latency", one, []traces.Row{id(cores(0, 1, 1), "never"), id(late(cores(0, 2, 1), 100), "far"), id(late(cores(0, 2, 1), 5), "near"), id(late(cores(0, 2, 1), 2), "now")}, "never far near now", "now near far never"},
		{"share by estimate", "share", one, []traces.Row{id(cores(0, 9, 1), "long"), id(cores(0, 2, 1), "short")}, "long short", "short long"},
		{"share by demand", "share", two, []traces.Row{id(cores(0, 5, 2), "wide"), id(cores(0, 5, 1), "narrow")}, "wide narrow", "narrow wide"},
		{"predecessors", "preds", one, []traces.Row{id(cores(0, 1, 1), "alone"), inJob(cores(0, 1, 1), "last"), inJob(cores(0, 1, 1), "waits", "last")}, "alone last waits", "last alone waits"},
		{"predecessors that become the last", "preds", one, []traces.Row{
			inJob(cores(0, 1, 1), "p"), inJob(cores(0, 1, 1), "alone"), inJob(cores(0, 1, 1), "q"), inJob(cores(0, 1, 1), "waits", "p", "q"),
		}, "p alone q waits", "p q alone waits"},
		{"heat", "heat", both, []traces.Row{
			// 9 cores are asked for and 4 free: 9/13. 5 GPUs are asked for and 1 is free: 5/6.
			id(cores(0, 1, 4), "cpu"), id(withCPU(devices(0, 1, 1)), "gpu1"), id(withCPU(devices(0, 1, 1)), "gpu2"), id(withCPU(devices(0, 1, 1)), "gpu3"), id(withCPU(devices(0, 1, 1)), "gpu4"), id(withCPU(devices(0, 1, 1)), "gpu5"),
		}, "cpu gpu1 gpu2 gpu3 gpu4 gpu5", "gpu1 gpu2 gpu3 gpu4 cpu gpu5"},
		{"age", "age", one, []traces.Row{inJob(cores(0, 10, 1), "first"), inJob(cores(0, 1, 1), "second", "first"), id(cores(1, 1, 1), "other")}, "first second other", "first other second"},
	} {
		cfg := sim.Config{Workload: workload(t, c.rows...), Nodes: c.nodes}
		if got := startOrder(t, cfg, onlyWeight("")); got != c.without {
			t.Errorf("%s: without weights %s, wanted %s", c.name, got, c.without)
		}
		if got := startOrder(t, cfg, onlyWeight(c.weight)); got != c.with {
			t.Errorf("%s: with %s alone %s, wanted %s", c.name, c.weight, got, c.with)
		}
	}
}

// withCPU adds a core to what is asked for.
func withCPU(r traces.Row) traces.Row {
	r.Need.CPU = 1000
	return r
}

func TestCriticalPathAndBLevelTakeTheTopcuogluGraphByUpwardRank(t *testing.T) {
	read := func(name string) [][]string {
		f, err := os.Open(shared(t, "references/dag/"+name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		rows, err := csv.NewReader(f).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return rows[1:]
	}
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	costs, edges := read("topcuoglu_task_exe_time.csv"), read("topcuoglu_task_connectivity.csv")
	n := len(costs)
	mean := make([]float64, n)
	for i, row := range costs {
		for _, c := range row[1:] {
			mean[i] += number(c) / float64(len(row)-1)
		}
	}
	var rank func(i int, communication float64) float64
	rank = func(i int, communication float64) float64 {
		deepest := 0.0
		for j, c := range edges[i][1:] {
			if w := number(c); w > 0 {
				deepest = max(deepest, communication*w+rank(j, communication))
			}
		}
		return mean[i] + deepest
	}
	// With communication, these are the ranks of the paper.
	text, err := os.ReadFile(shared(t, "references/dag/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected struct {
		Topcuoglu struct {
			Rank []float64 `json:"rank_u"`
		} `json:"topcuoglu2002"`
	}
	if err := json.Unmarshal(text, &expected); err != nil {
		t.Fatal(err)
	}
	for i, want := range expected.Topcuoglu.Rank {
		if math.Abs(rank(i, 1)-want) > 1e-3 {
			t.Fatalf("upward rank of task %d is %.3f, in the paper %.3f", i, rank(i, 1), want)
		}
	}
	// The policy's are without. On one processor the order of starts is the order of the ranks, whatever the order of the input.
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if rank(a, 0) > rank(b, 0) {
			return -1
		}
		return 1
	})
	var want []string
	for _, i := range order {
		want = append(want, fmt.Sprint(i))
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		var rows []traces.Row
		for _, i := range rng.Perm(n) {
			var after []string
			for j := range edges {
				if number(edges[j][1:][i]) > 0 {
					after = append(after, fmt.Sprint(j))
				}
			}
			rows = append(rows, inJob(cores(0, mean[i], 1), fmt.Sprint(i), after...))
		}
		cfg := sim.Config{Workload: workload(t, rows...), Nodes: machines(1, 1, 0)}
		for _, policy := range []string{onlyWeight("rank"), "blevel"} {
			if got := startOrder(t, cfg, policy); got != strings.Join(want, " ") {
				t.Fatalf("%s: order %s, by upward rank %s", policy, got, strings.Join(want, " "))
			}
		}
	}
}

func TestAStreamOfSmallTasksDoesNotStarveALargeGang(t *testing.T) {
	// Small tasks of 10 s come faster than the GPUs can do them; the gang needs all 8 at once. Patience 30 s, longest run 10 s.
	for _, c := range []struct {
		name    string
		nodes   []sched.NodeSpec
		longest float64
	}{
		{"equal nodes", machines(4, 8, 2), 10},
		{"a slow and a fast node", func() []sched.NodeSpec {
			n := machines(4, 8, 2)
			n[0].SpeedMilli, n[2].SpeedMilli = 500, 2000
			return n
		}(), 20},
	} {
		var rows []traces.Row
		for i := range 300 {
			rows = append(rows, devices(float64(i), 10, 1))
		}
		gang := with(devices(5.5, 10, 2), func(r *traces.Row) { r.ID, r.Gang = "gang", 4 })
		rows = append(rows, gang)
		w := workload(t, rows...)
		at := sched.TaskID(slices.IndexFunc(w.Tasks, func(x sched.Task) bool { return x.Submit == gang.Submit }))
		res := simulate(t, config(w, c.nodes, build(t, "critical-path{patience=30s}")(), nil))
		if got, bound := res.Outcome(at).Start.Seconds(), 5.5+30+c.longest; got > bound {
			t.Errorf("%s: the gang starts at %g, the bound is %g", c.name, got, bound)
		}
		res = simulate(t, config(w, c.nodes, build(t, "fjf")(), nil))
		if got := res.Outcome(at).Start.Seconds(); got < 200 {
			t.Errorf("%s: under fjf the gang starts at %g: the stream starves nobody", c.name, got)
		}
	}
}

func TestTheOldestIsNotForgottenAmongThousandsThatHaveLeft(t *testing.T) {
	// Eight come at a time for four cores, whenever the eight before are over, so that four of them wait; the wide task can start in between only by a reservation.
	const patience = 1500
	rows := []traces.Row{cores(0, 1, 1), with(cores(0.1, 1, 4), func(r *traces.Row) { r.Criticality = 0 })}
	for i := range 2000 {
		for range 8 {
			rows = append(rows, cores(0.5+float64(i)*1.9, 1, 1))
		}
	}
	res := simulate(t, config(workload(t, rows...), machines(1, 4, 0), build(t, fmt.Sprintf("critical-path{patience=%ds}", patience))(), nil))
	if o := res.Outcome(1); o.Start.Sub(o.Ready).Seconds() < 1000 || o.Start.Sub(o.Ready).Seconds() > patience+2 {
		t.Errorf("the wide task waits %v", o.Start.Sub(o.Ready))
	}
}

func TestTheBoundOfWaitingUnderCriticalPath(t *testing.T) {
	const patience = 20
	rng := rand.New(rand.NewPCG(9, 10))
	overdue, tight := 0, 0
	for range 150 {
		nodes := machines(1+rng.IntN(4), 2+rng.Int64N(3), 0)
		slowest := int64(1000)
		total := int64(0)
		for i := range nodes {
			if rng.IntN(2) == 0 {
				nodes[i].SpeedMilli = []int64{500, 1000, 2000}[rng.IntN(3)]
				slowest = min(slowest, nodes[i].SpeedMilli)
			}
			total += nodes[i].CPU / 1000
		}
		var rows []traces.Row
		for i := range 120 {
			r := cores(float64(i)/float64(1+rng.IntN(3)), float64(1+rng.IntN(9)), 1)
			if rng.IntN(12) == 0 {
				r.Gang = int32(1 + rng.Int64N(total))
			}
			r.Criticality = float64(rng.IntN(3)) / 2
			rows = append(rows, r)
		}
		w := workload(t, rows...)
		res := simulate(t, config(w, nodes, build(t, fmt.Sprintf("critical-path{patience=%ds}", patience))(), nil))
		longest := 0.0
		for _, r := range w.Run {
			longest = max(longest, sched.OnSpeed(r, slowest).Seconds())
		}
		earlier := 0 // overdue tasks that were ready before: here tasks are ready as they are numbered
		for i := range w.Tasks {
			o := res.Outcome(sched.TaskID(i))
			wait := o.Start.Sub(o.Ready).Seconds()
			if bound := patience + longest*float64(earlier+1); wait > bound+1e-6 {
				t.Fatalf("task %d waits %g s; %d before it were overdue, the longest run is %g: the bound is %g", i, wait, earlier, longest, bound)
			} else if wait > patience && wait > bound-longest {
				tight++
			}
			if wait > patience {
				earlier++
				overdue++
			}
		}
	}
	if overdue < 100 || tight == 0 {
		t.Errorf("%d tasks were overdue and %d near their bound: the cases say little", overdue, tight)
	}
}

// Estimates may say anything: the stated bound of the waits holds, and where they are too short a stream of small tasks passes by for no longer.
func TestTheBoundOfWaitingUnderCriticalPathWhateverTheEstimates(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const patience = 20.0
		nodes := machines(rapid.IntRange(1, 4).Draw(rt, "nodes"), 4, 0)
		slowest := int64(1000)
		for i := range nodes {
			nodes[i].SpeedMilli = rapid.SampledFrom([]int64{1000, 1000, 500}).Draw(rt, "speed")
			slowest = min(slowest, nodes[i].SpeedMilli)
		}
		apart := float64(10*slowest/1000) / float64(4*len(nodes)) / rapid.Float64Range(0.7, 1.3).Draw(rt, "load")
		factors := rapid.SampledFrom([][]float64{{0.01}, {0.1}, {0.5}, {0.9}, {0.05, 1, 2}}).Draw(rt, "estimates")
		var rows []traces.Row
		longest := 0.0 // estimate
		for i := range 300 {
			r := cores(float64(i)*apart, float64(rapid.IntRange(1, 10).Draw(rt, "run")), 1)
			if i > 20 && rapid.IntRange(0, 40).Draw(rt, "wide") == 0 {
				r.Need.CPU = 4000
			}
			r.Estimate = time.Duration(float64(r.Run) * rapid.SampledFrom(factors).Draw(rt, "factor"))
			longest = max(longest, sched.OnSpeed(r.Estimate, slowest).Seconds())
			rows = append(rows, r)
		}
		w := workload(t, rows...)
		res := simulate(t, config(w, nodes, build(t, fmt.Sprintf("critical-path{patience=%gs,place=%s}", patience, rapid.SampledFrom([]string{"finish", "published", "first"}).Draw(rt, "place")))(), nil))
		run := 0.0
		for _, r := range w.Run {
			run = max(run, sched.OnSpeed(r, slowest).Seconds())
		}
		earlier := 0 // overdue tasks that were ready before: here tasks are ready as they are numbered
		for i := range w.Tasks {
			o := res.Outcome(sched.TaskID(i))
			wait := o.Start.Sub(o.Ready).Seconds()
			if bound := patience + (longest+run)*float64(earlier+1); wait > bound+1e-6 {
				rt.Fatalf("task %d waits %g s; %d before it were overdue, the longest run is %g, the longest estimate %g: the bound is %g", i, wait, earlier, run, longest, bound)
			}
			if wait > patience {
				earlier++
			}
		}
	})
}

func TestEstimatesThatAreTooShortStarveNobodyUnderCriticalPath(t *testing.T) {
	for _, factor := range []float64{0.01, 0.1, 0.5, 0.9} {
		short := func(r *traces.Row) { r.Estimate = time.Duration(float64(r.Run) * factor) }
		rows := []traces.Row{with(cores(100, 10, 4), short)}
		for i := range 1000 {
			rows = append(rows, with(cores(float64(i)*2.6, 10, 1), short))
		}
		w := workload(t, rows...)
		wide := sched.TaskID(slices.IndexFunc(w.Tasks, func(x sched.Task) bool { return x.Submit == sched.Time(100*time.Second) }))
		res := simulate(t, config(w, machines(1, 4, 0), build(t, "critical-path{patience=60s}")(), nil))
		if got, bound := res.Outcome(wide).Start.Seconds(), 100+60+10*factor+10; got > bound {
			t.Errorf("estimates of %g times the run: the wide task starts at %g s, the bound is %g", factor, got, bound)
		}
	}
}

// On a third of the reference speed a task of 30 s takes 90 s, as its estimate says: what ends before that may pass by the wide task until then.
func TestEstimatesOnASlowNodeAreNotTooShortUnderCriticalPath(t *testing.T) {
	nodes := machines(1, 4, 0)
	nodes[0].SpeedMilli = 333
	w := workload(t, cores(0, 30, 2), cores(1, 1, 4), cores(60, 1, 2))
	res := simulate(t, config(w, nodes, build(t, "critical-path{patience=20s}")(), nil))
	if got := res.Outcome(2).Start.Seconds(); got != 60 {
		t.Errorf("the short task starts at %g s, want 60", got)
	}
}

func TestATaskThatCannotRunNowDoesNotTakeTheReservationOfAnother(t *testing.T) {
	// "blocked" is the oldest and its only node is down; "gang" needs all of the other against a stream of small tasks.
	cluster := machines(2, 4, 0)
	cluster[1].Labels = []sched.Label{{Key: "zone", Value: "far"}}
	rows := []traces.Row{with(cores(1, 5, 1), func(r *traces.Row) { r.ID, r.Labels = "blocked", cluster[1].Labels })}
	for i := range 200 {
		rows = append(rows, cores(float64(i), 10, 1))
	}
	gang := with(cores(5.5, 10, 4), func(r *traces.Row) { r.ID = "gang" })
	w := workload(t, append(rows, gang)...)
	at := sched.TaskID(slices.IndexFunc(w.Tasks, func(x sched.Task) bool { return x.Submit == gang.Submit }))
	res := simulate(t, sim.Config{Workload: w, Nodes: cluster, Policy: build(t, "critical-path{patience=30s}")(), Faults: []sim.Fault{{At: 0, Node: 1}}})
	if got, bound := res.Outcome(at).Start.Seconds(), 5.5+30+10.0; got > bound {
		t.Errorf("the gang starts at %g, the bound is %g", got, bound)
	}
}

func TestTheNodeScoreByHand(t *testing.T) {
	gib := int64(1) << 30
	tb := &sched.Table{
		Demands: []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 8000, Mem: 64 * gib, GPUs: 1, GPUMilli: sched.Whole}}, {Gang: 1, Need: sched.Need{CPU: 8000, Mem: 64 * gib}}},
		Classes: []sched.Class{{Demand: 0}, {Demand: 1}}, Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}, Jobs: 2,
		Tasks:     []sched.Task{{}, {Job: 1, Class: 1}},
		Estimates: []time.Duration{time.Hour, time.Hour},
	}
	specs := []sched.NodeSpec{
		{Name: "gpu", CPU: 32000, Mem: 256 * gib, VRAM: sched.Unlimited, GPUs: 4, StorageLatency: 4 * time.Millisecond},
		{Name: "cpu", CPU: 32000, Mem: 256 * gib, StorageLatency: time.Millisecond},
		{Name: "bare", CPU: sched.Unlimited, Mem: sched.Unlimited},
	}
	k, err := sched.New(sched.Config{Table: tb, Nodes: specs, Policy: starter{}})
	if err != nil {
		t.Fatal(err)
	}
	score := func(n sched.NodeID) float64 { return policies.NodeScore(&k.State, k.Room(), n) }
	check := func(what string, n sched.NodeID, want float64) {
		t.Helper()
		if got := score(n); math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %.9f, wanted %.9f", what, got, want)
		}
	}
	check("empty, 4 ms", 0, 0.5+0.4+0.1/5)
	check("empty, 1 ms", 1, 0.5+0.4+0.1/2)
	check("states nothing", 2, 0.5+0.4+0.1)
	k.Step(0, []sched.Event{{Kind: sched.JobArrived, Task: 0, N: 1}, {Kind: sched.JobArrived, Task: 1, N: 1}})
	check("a quarter of memory and GPUs used", 0, 0.5*0.75+0.4*0.75+0.1/5)
	check("a quarter of memory and cores used", 1, 0.5*0.75+0.4*0.75+0.1/2)
	profile := func(now, sampled float64, p sched.Profile) {
		p.SampledAt = second(sampled)
		k.Step(second(now), []sched.Event{{Kind: sched.NodeProfile, Node: 0, Task: sched.Nobody, More: &sched.Detail{Profile: &p}}})
	}
	profile(1, 1, sched.Profile{GPULoad: 0.9})
	check("a fresh profile says more", 0, 0.5*0.75+0.4*0.1+0.1/5)
	profile(2, 2, sched.Profile{GPULoad: 0.1})
	check("a fresh profile says less than is allocated", 0, 0.5*0.75+0.4*0.75+0.1/5)
	profile(3, 3, sched.Profile{GPULoad: 0.9, OtherMem: 128 * gib})
	check("others use half of the memory", 0, 0.5*0.25+0.4*0.1+0.1/5)
	k.Step(second(12.9), nil)
	check("9.9 s old", 0, 0.5*0.25+0.4*0.1+0.1/5)
	k.Step(second(13), nil)
	check("10 s old: no longer younger than 10 s", 0, 0.5*0.25+0.4*0.75+0.1/5)
}

// starter starts task 0 on node 0 and task 1 on node 1.
type starter struct{}

func (starter) Observe(*sched.State, sched.Event) {}

func (starter) Decide(r *sched.Round) {
	for t := range sched.TaskID(r.Known()) {
		if r.Phase(t) == sched.Ready {
			r.Start(t, sched.Placement{Node: sched.NodeID(t), Replicas: 1})
		}
	}
}

func TestCriticalPathAndSeedPlaceOnTheBestScore(t *testing.T) {
	cluster := machines(4, 8, 2)
	for i, ms := range []time.Duration{9, 3, 1, 1} { // nodes 2 and 3 are the best; the lower number counts
		cluster[i].StorageLatency = ms * time.Millisecond
	}
	for policy, want := range map[string]string{
		"critical-path":              "0 start 0@2, 0 start 1@3, 0 start 2@1, 0 start 3@0, 0 start 4@2",
		"critical-path{score=0}":     "0 start 0@2, 0 start 1@3, 0 start 2@1, 0 start 3@0, 0 start 4@2",
		"critical-path{score=2}":     "0 start 0@1, 0 start 1@0, 0 start 2@1, 0 start 3@2, 0 start 4@2", // of the first two that have room
		"critical-path{place=first}": "0 start 0@0, 0 start 1@0, 0 start 2@1, 0 start 3@1, 0 start 4@2",
		"fjf+seed":                   "0 start 0@2, 0 start 1@3, 0 start 2@1, 0 start 3@0, 0 start 4@2",
		"fifo+seed":                  "0 start 0@2, 0 start 1@3, 0 start 2@1, 0 start 3@0, 0 start 4@2",
	} {
		tap, text := orders()
		one := devices(0, 5, 1)
		simulate(t, config(workload(t, one, one, one, one, one), cluster, build(t, policy)(), tap))
		if text() != want {
			t.Errorf("%s: %s, wanted %s", policy, text(), want)
		}
	}
}

func TestGPUTypesOfHeatAreComparedAsPlacementsAre(t *testing.T) {
	// A task that names its GPU type in other letters may run there; its demand makes the GPUs as hot as if it were written alike.
	for _, name := range []string{"A100", "a100"} {
		cluster := machines(1, 4, 1)
		cluster[0].GPUType = "A100"
		rows := []traces.Row{id(cores(0, 1, 4), "cpu")}
		for i := range 5 {
			rows = append(rows, id(with(withCPU(devices(0, 1, 1)), func(r *traces.Row) { r.GPUTypes = []string{name} }), fmt.Sprint("gpu", i+1)))
		}
		if got := startOrder(t, sim.Config{Workload: workload(t, rows...), Nodes: cluster}, onlyWeight("heat")); !strings.HasPrefix(got, "gpu1") {
			t.Errorf("type %s: the order is %s", name, got)
		}
	}
}
