package policies_test

import (
	"cmp"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// slowJob is a gang of replicas, each with so many cores on one node. Whole seconds.
type slowJob struct {
	submit, run, estimate int
	cores, gang           int
}

// slowRun is a job on its nodes: replicas by node.
type slowRun struct {
	job        int
	start, end int
	on         []int
}

// slowEasy is EASY on nodes, written from its rule and nothing else: whenever jobs end or come, start the line in order; reserve for the
// first that does not fit, at the earliest estimated end at which it does, on the lowest-numbered nodes; of the others, in order, start
// each that ends by its estimate no later, or that leaves the reservation feasible, on the lowest-numbered nodes that let it. A job past
// its estimate is expected to end in a second. It returns the runs by job.
func slowEasy(nodes []int, jobs []slowJob) []slowRun {
	out := make([]slowRun, len(jobs))
	var running, queue []int
	next := 0
	// free returns the cores free on each node once all have left that are expected to end at or before at; now = only what is free now.
	for now := 0; next < len(jobs) || len(running) > 0 || len(queue) > 0; now++ {
		expected := func(j int) int {
			if e := out[j].start + jobs[j].estimate; e > now || e == now && out[j].start == now {
				return e
			}
			return now + 1
		}
		free := func(by int) []int {
			f := slices.Clone(nodes)
			for _, j := range running {
				if expected(j) > by {
					for n, k := range out[j].on {
						f[n] -= k * jobs[j].cores
					}
				}
			}
			return f
		}
		nowFree := func() []int {
			f := slices.Clone(nodes)
			for _, j := range running {
				for n, k := range out[j].on {
					f[n] -= k * jobs[j].cores
				}
			}
			return f
		}
		// place puts the gang on the lowest-numbered nodes that all the given views of free cores allow.
		place := func(j int, views ...[]int) []int {
			on, left := make([]int, len(nodes)), jobs[j].gang
			for n := range nodes {
				k := left
				for _, v := range views {
					k = min(k, max(v[n], 0)/jobs[j].cores)
				}
				on[n], left = k, left-k
			}
			if left > 0 {
				return nil
			}
			return on
		}
		start := func(j int, on []int) {
			out[j] = slowRun{j, now, now + jobs[j].run, on}
			running = append(running, j)
		}
		for changed := true; changed; { // what ends in the instant in which it starts, ends in another round of it
			changed = false
			running = slices.DeleteFunc(running, func(j int) bool {
				over := out[j].end <= now
				changed = changed || over
				return over
			})
			for next < len(jobs) && jobs[next].submit <= now {
				queue = append(queue, next)
				next++
				changed = true
			}
			if !changed {
				break
			}
			for len(queue) > 0 {
				on := place(queue[0], nowFree())
				if on == nil {
					break
				}
				start(queue[0], on)
				queue = queue[1:]
			}
			if len(queue) == 0 {
				continue
			}
			head := queue[0]
			ends := []int{}
			for _, j := range running {
				ends = append(ends, expected(j))
			}
			slices.Sort(ends)
			shadow, reserved := -1, []int(nil)
			for _, e := range ends {
				if on := place(head, free(e)); on != nil {
					shadow, reserved = e, on
					break
				}
			}
			for _, j := range slices.Clone(queue[1:]) {
				on := place(j, nowFree())
				if on == nil {
					continue
				}
				if now+jobs[j].estimate > shadow {
					beside := free(shadow)
					for n, k := range reserved {
						beside[n] -= k * jobs[head].cores
					}
					if on = place(j, nowFree(), beside); on == nil {
						continue
					}
				}
				start(j, on)
				queue = slices.DeleteFunc(queue, func(q int) bool { return q == j })
			}
		}
	}
	return out
}

func slowWorkload(t testing.TB, jobs []slowJob) *traces.Workload {
	rows := make([]traces.Row, len(jobs))
	for i, j := range jobs {
		rows[i] = cores(float64(j.submit), float64(j.run), int64(j.cores))
		rows[i].Gang, rows[i].Estimate = int32(j.gang), time.Duration(j.estimate)*time.Second
	}
	return workload(t, rows...)
}

func TestEasyOnNodesIsItsRule(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	backfilled, gangs, past := 0, 0, 0
	for range 2500 {
		nodes := make([]int, 1+rng.IntN(6))
		for n := range nodes {
			nodes[n] = 1 + rng.IntN(4)
		}
		if rng.IntN(3) == 0 { // 4x1cpu and the like
			for n := range nodes {
				nodes[n] = 1
			}
		}
		var specs []sched.NodeSpec
		for n, k := range nodes {
			specs = append(specs, sched.NodeSpec{Name: fmt.Sprint(n), CPU: int64(k) * 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited})
		}
		short := rng.IntN(3) == 0
		spread := 1 + rng.IntN(50)
		jobs := make([]slowJob, 1+rng.IntN(25))
		for i := range jobs {
			j := slowJob{submit: rng.IntN(spread), run: rng.IntN(15), cores: 1 + rng.IntN(slices.Max(nodes))}
			fit := 0
			for _, k := range nodes {
				fit += k / j.cores
			}
			j.gang = 1
			if rng.IntN(2) == 0 {
				j.gang = 1 + rng.IntN(fit)
			}
			j.estimate = j.run
			switch rng.IntN(3) {
			case 0:
				j.estimate += rng.IntN(15)
			case 1:
				if short && j.run > 1 {
					j.estimate = 1 + rng.IntN(j.run)
				}
			}
			jobs[i] = j
		}
		slices.SortStableFunc(jobs, func(a, b slowJob) int { return cmp.Compare(a.submit, b.submit) })
		differs := func(jobs []slowJob) string {
			if len(jobs) == 0 {
				return ""
			}
			placed := map[sched.TaskID][]int{}
			w := slowWorkload(t, jobs)
			res := simulate(t, config(w, specs, &policies.Easy{}, func(_ sched.Time, _ []sched.Event, out []sched.Command) error {
				for _, o := range out {
					on := make([]int, len(nodes))
					for _, p := range o.On {
						on[p.Node] += int(p.Replicas)
					}
					placed[o.Task] = on
				}
				return nil
			}))
			want := slowEasy(nodes, jobs)
			for i, x := range want {
				o := res.Outcome(sched.TaskID(i))
				if o.Start != second(float64(x.start)) || !slices.Equal(placed[sched.TaskID(i)], x.on) {
					return fmt.Sprintf("job %d starts at %g on %v, by the rule at %d on %v", i, o.Start.Seconds(), placed[sched.TaskID(i)], x.start, x.on)
				}
				if i > 0 && want[i-1].start > x.start {
					backfilled++
				}
				if jobs[i].gang > 1 {
					gangs++
				}
				if jobs[i].run > jobs[i].estimate {
					past++
				}
			}
			return ""
		}
		if rest, why := smaller(jobs, differs); why != "" {
			t.Fatalf("nodes %v: %s\n%+v", nodes, why, rest)
		}
	}
	if backfilled < 1000 || gangs < 1000 || past < 500 {
		t.Errorf("%d jobs overtook, %d gangs, %d past their estimates: the cases say little", backfilled, gangs, past)
	}
}

func TestEasyKeepsTheReservationOfAWholeGPUFromShares(t *testing.T) {
	// Two GPUs. Half of GPU 1 is held until 100, half of GPU 0 until 10, when the head, which needs a whole one, can have GPU 0. The last
	// task, half a GPU for long, must go to GPU 1.
	half := func(submit, run float64) traces.Row {
		return with(devices(submit, run, 1), func(r *traces.Row) { r.Need.GPUMilli = 500 })
	}
	rows := []traces.Row{
		half(0, 10), half(0, 1), half(0, 100), half(0, 2), // 0 and 1 on GPU 0, 2 and 3 on GPU 1
		devices(3, 5, 1), half(4, 50),
	}
	res := simulate(t, config(workload(t, rows...), machines(1, 0, 2), &policies.Easy{}, nil))
	if got := res.Outcome(4).Start; got != second(10) {
		t.Errorf("the head starts at %g, its reservation was for 10", got.Seconds())
	}
	if got := res.Outcome(5).Start; got != second(4) {
		t.Errorf("the share starts at %g, and there was room beside the reservation at 4", got.Seconds())
	}
}

func TestEasyReservesWhateverIsDown(t *testing.T) {
	// The head's only node is down for good: nothing is reserved, and nothing is delayed.
	cluster := machines(2, 2, 0)
	cluster[1].CPU = 8000
	rows := []traces.Row{cores(1, 5, 8), cores(2, 50, 1), cores(3, 50, 2), cores(4, 5, 1)}
	res := simulate(t, sim.Config{Workload: workload(t, rows...), Nodes: cluster, Policy: &policies.Easy{}, Faults: []sim.Fault{{At: 0, Node: 1}}})
	for i, want := range []sched.Time{sched.Never, second(2), second(52), second(4)} {
		if got := res.Outcome(sched.TaskID(i)).Start; got != want {
			t.Errorf("task %d starts at %g, wanted %g", i, got.Seconds(), want.Seconds())
		}
	}
}

func TestEasyReservesForTheFirstThatCanEverStart(t *testing.T) {
	// Node 1 is down for good, and so the head must wait. Behind it, small tasks of 10 s come every 5 s, each when one of the two cores of node
	// 0 is busy: they must not starve the one that needs both.
	cluster := machines(2, 2, 0)
	cluster[1].CPU = 8000
	for _, gang := range []int32{1, 2} {
		rows := []traces.Row{cores(0, 5, 8)}
		for i := range 100 {
			rows = append(rows, cores(float64(1+5*i), 10, 1))
		}
		large := with(cores(3, 10, 2), func(r *traces.Row) {
			if r.ID = "large"; gang > 1 {
				r.Gang, r.Need.CPU = gang, 1000
			}
		})
		rows = append(rows, large)
		w := workload(t, rows...)
		at := sched.TaskID(slices.IndexFunc(w.Tasks, func(x sched.Task) bool { return x.Submit == large.Submit }))
		for _, name := range []string{"easy", "easy{scan=sjbf}", "easy{scan=reverse}", "easy{scan=lookahead}"} {
			res := simulate(t, sim.Config{Workload: w, Nodes: cluster, Policy: build(t, name)(), Faults: []sim.Fault{{At: 0, Node: 1}}})
			if got := res.Outcome(at).Start; got != second(11) {
				t.Errorf("%s, gang of %d: it starts at %g, the room is free at 11", name, gang, got.Seconds())
			}
			if got := res.Outcome(0).Start; got != sched.Never {
				t.Errorf("%s: the head starts at %g, its node is down", name, got.Seconds())
			}
		}
	}
}

func TestEasyBackfillsATaskWhoseDemandSleptWhenItWasLastAskedFor(t *testing.T) {
	// Pairs of cores: the one that came at 3 would delay the large task, which has node 0 from 20 on, until room comes free on node 1 at 5. After it
	// nobody waits for a pair when node 1 frees another at 10, when the large task starts at 20, and when the third node fails at 25. The pair
	// that comes at 27 ends by 35, when the second large task may start, and starts at once.
	early := func(submit, run, estimate float64) traces.Row {
		return with(cores(submit, run, 2), func(r *traces.Row) { r.Estimate = time.Duration(estimate * 1e9) })
	}
	rows := []traces.Row{
		cores(0, 1, 2), cores(0, 20, 2), early(0, 5, 30), early(0, 10, 30), cores(2, 100, 4), cores(3, 30, 2),
		cores(26, 10, 4), cores(27, 8, 2),
	}
	cluster := append(machines(2, 4, 0), machines(1, 1, 0)...)
	cluster[2].Name = "small"
	faults := []sim.Fault{{At: second(25), Node: 2}}
	res := simulate(t, sim.Config{Workload: workload(t, rows...), Nodes: cluster, Policy: &policies.Easy{}, Faults: faults})
	for i, want := range []float64{0, 0, 0, 0, 20, 5, 35, 27} {
		if got := res.Outcome(sched.TaskID(i)).Start; got != second(want) {
			t.Errorf("task %d starts at %g, wanted %g", i, got.Seconds(), want)
		}
	}
}

func TestEasyReservesForADemandThatHadNoHopeWhenItWasLastAskedFor(t *testing.T) {
	// A gang on nodes 0 and 1 waits for node 1, which is down, and is put on hold. When node 1 is up again, another that asks for the same comes, behind
	// one that waits for node 2, which stays down: it gets the reservation for 22, and the last task, which would run past that, waits.
	gang := func(submit float64) traces.Row {
		return with(cores(submit, 10, 4), func(r *traces.Row) { r.Gang = 2 })
	}
	rows := []traces.Row{gang(0), cores(1, 9, 2), cores(12, 10, 8), cores(12, 10, 2), gang(13), cores(14, 100, 2)}
	cluster := machines(3, 4, 0)
	cluster[2].CPU = 8000
	w := workload(t, rows...)
	k, err := sched.New(sched.Config{Table: w.Table, Nodes: cluster, Policy: &policies.Easy{}})
	if err != nil {
		t.Fatal(err)
	}
	k.Step(0, []sched.Event{{Kind: sched.NodeDown, Node: 1}, {Kind: sched.NodeDown, Node: 2}})
	comes := func(i sched.TaskID) { k.Step(w.Tasks[i].Submit, []sched.Event{arrival(i)}) }
	comes(0)
	comes(1)
	k.Step(second(3), []sched.Event{{Kind: sched.Hold, Task: 0, Node: sched.NoNode}})
	k.Step(second(10), []sched.Event{report(sched.Finished, 1, 1, 9*time.Second)})
	k.Step(second(11), []sched.Event{{Kind: sched.NodeUp, Node: 1}})
	for i := sched.TaskID(2); i < 6; i++ {
		comes(i)
	}
	for i, want := range []sched.Phase{sched.Held, sched.Done, sched.Ready, sched.Running, sched.Ready, sched.Ready} {
		if got := k.Phase(sched.TaskID(i)); got != want {
			t.Errorf("task %d is %v, wanted %v", i, got, want)
		}
	}
}

func TestEasyReservesNothingForATaskThatAQuotaRefuses(t *testing.T) {
	// Four cores. Tenant red may have one, and has it until 100. Its next task stands first in the line and would fit; the second, of blue, needs
	// all four and gets the reservation: the third, which would run past 100, waits.
	for _, first := range []int64{1, 4} { // with room for the refused one, and without
		rows := []traces.Row{
			with(cores(0, 100, 1), func(r *traces.Row) { r.Tenant = "red" }),
			with(cores(1, 10, first), func(r *traces.Row) { r.Tenant = "red" }),
			with(cores(2, 10, 4), func(r *traces.Row) { r.Tenant = "blue" }),
			with(cores(3, 200, 3), func(r *traces.Row) { r.Tenant = "blue" }),
			with(cores(4, 90, 3), func(r *traces.Row) { r.Tenant = "blue" }),
		}
		w := workload(t, rows...)
		for _, name := range []string{"easy", "easy{scan=sjbf}", "easy{scan=reverse}", "easy{scan=lookahead}"} {
			k, err := sched.New(sched.Config{Table: w.Table, Nodes: machines(1, 4, 0), Policy: build(t, name)()})
			if err != nil {
				t.Fatal(err)
			}
			k.Step(0, []sched.Event{{Kind: sched.QuotaSet, More: &sched.Detail{Quota: &sched.Quota{Tenant: "red", CPU: 1000, GPUMilli: -1}}}})
			for i := range w.Tasks {
				k.Step(w.Tasks[i].Submit, []sched.Event{{Kind: sched.JobArrived, Task: sched.TaskID(i), N: 1}})
			}
			for i, want := range []sched.Phase{sched.Running, sched.Ready, sched.Ready, sched.Ready, sched.Running} {
				if got := k.Phase(sched.TaskID(i)); got != want {
					t.Errorf("%s, the refused task of %d cores: task %d is %v, wanted %v", name, first, i, got, want)
				}
			}
			if got := k.CauseOf(1); got != sched.Order {
				t.Errorf("%s: the refused task waits for %v", name, got)
			}
			k.Step(second(94), []sched.Event{{Kind: sched.Finished, Task: 4, Attempt: 1}})
			k.Step(second(100), []sched.Event{{Kind: sched.Finished, Task: 0, Attempt: 1}})
			if first == 1 && k.Phase(1) != sched.Running || first > 1 && k.Phase(2) != sched.Running {
				t.Errorf("%s: at 100, with the first of red over, task 1 is %v and task 2 %v", name, k.Phase(1), k.Phase(2))
			}
		}
	}
}

func TestEasyKeepsTheTurnOfATaskThatComesBack(t *testing.T) {
	// Task 1 is backfilled, fails, and comes back in its old place: before task 2, behind task 0.
	rows := []traces.Row{
		with(cores(0, 10, 3), func(r *traces.Row) { r.ID = "hold" }), cores(1, 10, 4),
		with(cores(2, 8, 1), func(r *traces.Row) { r.Retries, r.Backoff = 2, 3*time.Second }), cores(3, 8, 1),
	}
	res := simulate(t, sim.Config{Workload: workload(t, rows...), Nodes: machines(1, 4, 0), Policy: &policies.Easy{}, Faults: []sim.Fault{{Task: 2, Attempt: 1, After: time.Second}}})
	// 2: backfilled at 2 (ends at 10, in time), fails at 3; 3 cannot end by 10 and waits; back at 6 it cannot either. 1 runs 10..20, then both.
	for i, want := range []float64{0, 10, 2, 20} {
		if got := res.Outcome(sched.TaskID(i)).Start; got != second(want) {
			t.Errorf("task %d starts at %g, wanted %g", i, got.Seconds(), want)
		}
	}
	if got := res.Outcome(2).End; got != second(28) {
		t.Errorf("task 2 ends at %g, wanted 28", got.Seconds())
	}
}

func TestEasyGivesATaskThatIsToldItsPredecessorAsItComesTheTurnOfWhenThatHasEnded(t *testing.T) {
	for _, name := range []string{"easy", "easy{scan=sjbf}", "easy{scan=reverse}", "easy{scan=lookahead}"} {
		w := workload(t, cores(0, 1, 5), cores(0, 9, 1), cores(0, 9, 2), cores(0, 9, 4))
		k, err := sched.New(sched.Config{Table: w.Table, Nodes: machines(1, 5, 0), Policy: build(t, name)()})
		if err != nil {
			t.Fatal(err)
		}
		arrived := []sched.Event{{Kind: sched.EdgeAdded, Task: 0, Other: 2}}
		for i := range w.Tasks {
			arrived = append(arrived, sched.Event{Kind: sched.JobArrived, Task: sched.TaskID(i), N: 1})
		}
		sched.SortBatch(arrived)
		k.Step(0, arrived)
		k.Step(second(1), []sched.Event{{Kind: sched.Finished, Task: 0, Attempt: 1}})
		if k.Phase(2) != sched.Ready || k.Phase(3) != sched.Running {
			t.Errorf("%s: task 2, ready since 1 s, is %v, task 3, since 0, is %v", name, k.Phase(2), k.Phase(3))
		}
	}
}

func TestEasyAgreesWithBatsimOnNodes(t *testing.T) {
	w, err := traces.Open(shared(t, "traces/hpc/batsim/medium_late.json.gz"), "")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(shared(t, "traces/hpc/batsim/medium_late.easy.out_jobs.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	number := func(row []string, name string) float64 {
		v, err := strconv.ParseFloat(row[column(name)], 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	byID := map[string][]string{}
	for _, r := range rows[1:] {
		byID[r[column("job_id")]] = r
	}
	res := simulate(t, sim.Config{Workload: w, Nodes: machines(32, 1, 0), Policy: &policies.Easy{}, KillAtEstimate: true})
	sum, most, differ, seen := 0.0, 0.0, 0, 0
	for i := range w.Tasks {
		o, row := res.Outcome(sched.TaskID(i)), byID[w.TaskNames.At(i)]
		wait := o.Start.Sub(w.Tasks[i].Submit).Seconds()
		sum, most = sum+wait, max(most, wait)
		if row == nil {
			continue
		}
		seen++
		if d := math.Abs(o.Start.Seconds() - number(row, "starting_time")); d > 2e-5 { // written to 6 digits, and its clock has rounding of its own
			differ++
			t.Logf("job %s starts at %.6f, there at %s", w.TaskNames.At(i), o.Start.Seconds(), row[column("starting_time")])
		}
	}
	mean := sum / float64(len(w.Tasks))
	t.Logf("%d jobs, %d compared, %d starts differ, mean wait %.7f, max %.6f", len(w.Tasks), seen, differ, mean, most)
	if math.Abs(mean-9.516326) > 1e-5 || math.Abs(most-316.742718) > 1e-5 {
		t.Errorf("mean wait %.6f and max %.6f, published 9.516326 and 316.742718", mean, most)
	}
	if differ > 0 || seen < len(w.Tasks)-1 {
		t.Errorf("%d of %d starts differ", differ, seen)
	}
}

// promises wraps EASY and holds it to what its reservations promise: with estimates that are the run times, the first in line starts no
// later than the earliest time at which it would have fitted when it became the first.
type promises struct {
	policies.Easy
	head  sched.TaskID
	by    map[sched.TaskID]sched.Time
	shown int
	err   error
}

func (p *promises) Decide(r *sched.Round) {
	p.Easy.Decide(r)
	head := sched.Nobody
	for t := range sched.TaskID(r.Known()) {
		switch {
		case r.Phase(t) == sched.Ready && (head == sched.Nobody || r.FirstReady(t) < r.FirstReady(head)):
			head = t
		case r.Phase(t) == sched.Running && r.StartedAt(t) == r.Now():
			if by, ok := p.by[t]; ok {
				if p.shown++; r.Now() > by {
					p.err = fmt.Errorf("task %d starts at %v and could have at %v", t, r.Now().Seconds(), by.Seconds())
				}
			}
		}
	}
	if head != p.head { // what has just become ready may stand before it
		delete(p.by, p.head)
		p.head = head
	}
	if head == sched.Nobody {
		return
	}
	var plan sched.Room
	plan.CopyFrom(r.Room())
	running := slices.SortedFunc(r.RunningTasks(), func(a, b sched.TaskID) int { return cmp.Compare(r.ExpectedEnd(a), r.ExpectedEnd(b)) })
	for _, t := range running {
		for _, on := range r.Placements(t) {
			plan.Give(&r.Demand(t).Need, on)
		}
		if _, ok := plan.FirstFit(r.DemandID(head), nil); ok {
			if by, ok := p.by[head]; !ok || r.ExpectedEnd(t) < by {
				p.by[head] = r.ExpectedEnd(t)
			}
			return
		}
	}
}

func TestEasyNeverDelaysTheFirstInLine(t *testing.T) {
	cases := policytest.Cases(policytest.Gen{NoNodeFaults: true, NoTaskFaults: true, NoKill: true, NoRunOn: true, NoOverhead: true})
	shown := 0
	rapid.Check(t, func(rt *rapid.T) {
		c := cases.Draw(rt, "case")
		for i := range c.Run { // a task that takes no time lets another, which stands before the first, come in the same instant
			c.Run[i] = max(c.Run[i], time.Second)
		}
		for _, scan := range []policies.Scan{policies.ScanArrival, policies.ScanSJBF, policies.ScanReverse, policies.ScanLookahead} {
			p := &promises{Easy: policies.Easy{Scan: scan}, by: map[sched.TaskID]sched.Time{}}
			w := &traces.Workload{Table: c.Table, Run: c.Run, Source: "case"}
			simulate(t, sim.Config{Workload: w, Nodes: c.Nodes, Policy: p, Estimates: c.Run})
			if p.err != nil {
				rt.Fatalf("scan %d: %v", scan, p.err)
			}
			shown += p.shown
		}
	})
	if shown < 200 {
		t.Errorf("only %d promises: the cases say little", shown)
	}
}
