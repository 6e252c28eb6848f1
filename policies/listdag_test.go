package policies_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// plainDAG is one job with integer costs on processors that run one task at a time: cost[t][p], comm[t][u] (-1: no edge). Tasks come behind their
// predecessors.
type plainDAG struct {
	cost [][]int
	comm [][]int
}

func drawDAG(t *rapid.T) plainDAG {
	n, procs := rapid.IntRange(1, 9).Draw(t, "tasks"), rapid.IntRange(2, 4).Draw(t, "processors") // on one, nothing is ever sent, and our ranks say so
	g := plainDAG{}
	for i := range n {
		row := make([]int, procs)
		for p := range row {
			row[p] = 12 * rapid.IntRange(1, 8).Draw(t, "cost") // means of up to 4 are whole numbers
		}
		g.cost = append(g.cost, row)
		comm := slices.Repeat([]int{-1}, n)
		for j := i + 1; j < n; j++ {
			if rapid.IntRange(0, 2).Draw(t, "edge") == 2 {
				comm[j] = rapid.IntRange(0, 40).Draw(t, "comm")
			}
		}
		g.comm = append(g.comm, comm)
	}
	return g
}

func (g *plainDAG) mean(t int) float64 {
	sum := 0
	for _, c := range g.cost[t] {
		sum += c
	}
	return float64(sum) / float64(len(g.cost[t]))
}

func (g *plainDAG) up(t int) float64 {
	most := 0.0
	for u, c := range g.comm[t] {
		if c >= 0 {
			most = math.Max(most, float64(c)+g.up(u))
		}
	}
	return g.mean(t) + most
}

func (g *plainDAG) down(t int) float64 {
	most := 0.0
	for p := range g.cost {
		if c := g.comm[p][t]; c >= 0 {
			most = math.Max(most, g.down(p)+g.mean(p)+float64(c))
		}
	}
	return most
}

// oct is the optimistic cost table of PEFT (eq. 6 of the paper).
func (g *plainDAG) oct(t, p int) float64 {
	most := 0.0
	for u, c := range g.comm[t] {
		if c < 0 {
			continue
		}
		least := math.Inf(1)
		for w := range g.cost[u] {
			v := g.oct(u, w) + float64(g.cost[u][w])
			if w != p {
				v += float64(c)
			}
			least = math.Min(least, v)
		}
		most = math.Max(most, least)
	}
	return most
}

type placed struct{ proc, start, end int }

// schedule is list scheduling as the papers write it down: of the tasks whose predecessors are placed the one of the largest priority, on the
// processor (one of only, if not nil) with the least of end + bias, in the earliest gap.
func (g *plainDAG) schedule(priority func(t int) float64, bias func(t, p int) float64, only func(t int) int) []placed {
	n := len(g.cost)
	out := make([]placed, n)
	done := make([]bool, n)
	for range n {
		next := -1
		for t := range n {
			free := !done[t]
			for p := range n {
				free = free && (g.comm[p][t] < 0 || done[p])
			}
			if free && (next < 0 || priority(t) > priority(next)) {
				next = t
			}
		}
		best, least := placed{}, math.Inf(1)
		for p := range g.cost[next] {
			if only != nil && only(next) >= 0 && only(next) != p {
				continue
			}
			ready := 0
			for q := range n {
				if c := g.comm[q][next]; c >= 0 {
					if out[q].proc == p {
						c = 0
					}
					ready = max(ready, out[q].end+c)
				}
			}
			at := ready
			for moved := true; moved; {
				moved = false
				for q := range n {
					if done[q] && out[q].proc == p && at < out[q].end && out[q].start < at+g.cost[next][p] {
						at, moved = out[q].end, true
					}
				}
			}
			if score := float64(at+g.cost[next][p]) + bias(next, p); score < least {
				best, least = placed{p, at, at + g.cost[next][p]}, score
			}
		}
		out[next], done[next] = best, true
	}
	return out
}

// run simulates the graph under a policy, with links that take a second for an MB.
func (g *plainDAG) run(t testing.TB, policy string) []placed {
	nodes := make([]sched.NodeSpec, len(g.cost[0]))
	for p := range nodes {
		nodes[p] = sched.NodeSpec{Name: fmt.Sprintf("p%d", p), CPU: 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited, NetworkMbps: 8}
	}
	var rows []traces.Row
	for i, costs := range g.cost {
		r := inJob(cores(0, g.mean(i), 1), fmt.Sprint(i))
		for p, c := range costs {
			r.RunOn = append(r.RunOn, sched.CostOn{On: nodes[p].Name, Run: time.Duration(c) * time.Second})
		}
		for q := range i {
			if c := g.comm[q][i]; c >= 0 {
				r.After, r.AfterBytes = append(r.After, fmt.Sprint(q)), append(r.AfterBytes, int64(c)*1e6)
			}
		}
		rows = append(rows, r)
	}
	res := simulate(t, config(workload(t, rows...), nodes, build(t, policy)(), nil))
	var out []placed
	for i := range rows {
		o := res.Outcome(sched.TaskID(i))
		out = append(out, placed{int(o.Node), int(o.Start / 1e9), int(o.End / 1e9)})
	}
	return out
}

// TestPlansAreThoseOfThePapers holds HEFT, CPOP and PEFT against plain implementations from the papers' definitions, run time and transfers as estimated:
// what is carried out, with the plan made anew or not, is the schedule that the algorithm gives before anything runs.
func TestPlansAreThoseOfThePapers(t *testing.T) {
	none := func(int, int) float64 { return 0 }
	rapid.Check(t, func(rt *rapid.T) {
		g := drawDAG(rt)
		n := len(g.cost)
		if got, want := g.run(t, "heft"), g.schedule(g.up, none, nil); !slices.Equal(got, want) {
			rt.Fatalf("heft: %v, want %v of %+v", got, want, g)
		}
		octs := func(t int) float64 {
			sum := 0.0
			for p := range g.cost[t] {
				sum += g.oct(t, p)
			}
			return math.Round(sum / float64(len(g.cost[t])) * 1e9)
		}
		if got, want := g.run(t, "peft"), g.schedule(octs, g.oct, nil); !slices.Equal(got, want) {
			rt.Fatalf("peft: %v, want %v of %+v", got, want, g)
		}
		both := func(t int) float64 { return g.up(t) + g.down(t) }
		critical := map[int]bool{}
		for at := -1; ; {
			next := -1
			for u := range n {
				entry := true
				for p := range n {
					entry = entry && g.comm[p][u] < 0
				}
				if (at < 0 && entry || at >= 0 && g.comm[at][u] >= 0) && (next < 0 || both(u) > both(next)) {
					next = u
				}
			}
			if next < 0 {
				break
			}
			critical[next], at = true, next
		}
		on, least, ties := -1, math.MaxInt, false
		for p := range g.cost[0] {
			sum := 0
			for u := range critical {
				sum += g.cost[u][p]
			}
			if ties = sum == least || sum > least && ties; sum < least {
				on, least, ties = p, sum, false
			}
		}
		if ties || n == 1 {
			return // the paper does not say which processor
		}
		only := func(t int) int {
			if critical[t] {
				return on
			}
			return -1
		}
		if got, want := g.run(t, "cpop"), g.schedule(both, none, only); !slices.Equal(got, want) {
			rt.Fatalf("cpop: %v, want %v of %+v", got, want, g)
		}
	})
}

// TestMinMinAndMaxMinMapIndependentTasksAsTheirPapersDo maps tasks that are all there at once: what starts first, and where, is what one mapping of all says.
func TestMinMinAndMaxMinMapIndependentTasksAsTheirPapersDo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := drawDAG(rt)
		for i := range g.comm {
			g.comm[i] = slices.Repeat([]int{-1}, len(g.comm))
		}
		for name, sign := range map[string]int{"min-min": 1, "max-min": -1} {
			free := make([]int, len(g.cost[0]))
			left := map[int]bool{}
			for i := range g.cost {
				left[i] = true
			}
			makespan, first := 0, map[int]int{} // what is mapped to the first moment, and where
			for len(left) > 0 {
				pick, proc, key := -1, 0, math.MaxInt
				for i := range g.cost {
					if !left[i] {
						continue
					}
					p := 0
					for q := range free {
						if free[q]+g.cost[i][q] < free[p]+g.cost[i][p] {
							p = q
						}
					}
					if k := sign * (free[p] + g.cost[i][p]); k < key {
						pick, proc, key = i, p, k
					}
				}
				if free[proc] == 0 {
					first[pick] = proc
				}
				free[proc] += g.cost[pick][proc]
				makespan = max(makespan, free[proc])
				delete(left, pick)
			}
			got, started := 0, 0
			for i, pl := range g.run(t, name) {
				got = max(got, pl.end)
				if p, ok := first[i]; pl.start == 0 {
					started++
					if !ok || p != pl.proc {
						rt.Fatalf("%s: task %d starts first on %d, want %v of %v", name, i, pl.proc, first, g.cost)
					}
				}
			}
			if started != len(first) {
				rt.Fatalf("%s: %d tasks start first, want %v of %v", name, started, first, g.cost)
			}
			if name == "min-min" && got != makespan { // mapped anew, the rest stays as it was
				rt.Fatalf("%s: makespan %d, want %d of %v", name, got, makespan, g.cost)
			}
		}
	})
}

func TestAPlanCountsOnNoGPUThatOthersHoldToo(t *testing.T) {
	for _, milli := range []int32{sched.Whole, sched.Whole / 2} {
		row := with(devices(0, 10, 1), func(r *traces.Row) { r.Need.GPUMilli = milli })
		w := workload(t, row, row, row)
		for _, name := range []string{"heft", "cpop", "peft", "lookahead"} {
			k, err := sched.New(sched.Config{Table: w.Table, Nodes: machines(1, 8, 1), Policy: build(t, name)()})
			if err != nil {
				t.Fatal(err)
			}
			k.Step(0, []sched.Event{{Kind: sched.JobArrived, Task: 0, N: 1}, {Kind: sched.JobArrived, Task: 1, N: 1}, {Kind: sched.JobArrived, Task: 2, N: 1}})
			k.Step(second(5), []sched.Event{{Kind: sched.NodeProfile, Node: 0, Task: sched.Nobody, More: &sched.Detail{Profile: &sched.Profile{OtherGPUs: 1}}}})
			k.Step(second(10), []sched.Event{{Kind: sched.Finished, Task: 0, Attempt: 1}})
			if at, ok := k.NextWake(); ok || k.Phase(1) != sched.Ready || k.Phase(2) != sched.Ready {
				t.Errorf("%s, %d/1000 of a GPU: tasks %v and %v, wakes at %g s for a GPU that is others'", name, milli, k.Phase(1), k.Phase(2), at.Seconds())
			}
		}
	}
}

func TestARestoredCPOPKeepsTheNodeOfACriticalPathThatBeginsWithAGang(t *testing.T) {
	// The gang fits on no one node, so the critical path has the lowest-numbered of equal nodes, whatever the gang runs on.
	gang := with(cores(1, 1, 2), func(r *traces.Row) { r.Gang = 2 })
	w := workload(t, cores(0, 30, 2), inJob(gang, "gang"), inJob(cores(1, 1, 1), "then", "gang"))
	newPolicy := build(t, "cpop")
	c := sched.Config{Table: w.Table, Nodes: machines(3, 2, 0), Policy: newPolicy()}
	k, err := sched.New(c)
	if err != nil {
		t.Fatal(err)
	}
	k.Step(0, []sched.Event{{Kind: sched.JobArrived, Task: 0, N: 1}})
	k.Step(second(1), []sched.Event{{Kind: sched.JobArrived, Task: 1, N: 2}})
	c.Policy = newPolicy()
	again := restore(t, k, c)
	for _, k := range []*sched.Kernel{k, again} {
		k.Step(second(2), []sched.Event{{Kind: sched.Finished, Task: 1, Attempt: 1}})
		if at, _ := k.NextWake(); k.Phase(2) != sched.Ready || at != second(30) {
			t.Errorf("at 2 s what comes after the gang is %v, wakes at %g s", k.Phase(2), at.Seconds())
		}
	}
}
