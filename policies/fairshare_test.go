package policies_test

import (
	"cmp"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// plainFairShare adds up what every task has used anew before each attempt, by the definition and in the unit of the policy's docstring.
func plainFairShare(skip bool, halfLife time.Duration, weights map[string]float64) sched.Policy {
	p := &plainOrder{skip: skip}
	rank := map[sched.TenantID]int64{}
	p.begin = func(s *sched.State) {
		type line struct{ gpu, cpu map[int64]int64 }
		split := func(t sched.Time) (int64, float64) { // half-life, and how much a use at t has grown in it
			if halfLife == 0 {
				return 0, 1
			}
			n := math.Floor(float64(t) / float64(halfLife))
			return int64(n), math.Exp2((float64(t) - n*float64(halfLife)) / float64(halfLife))
		}
		used := map[sched.TenantID]line{}
		now, _ := split(s.Now())
		var capGPU, capCPU float64
		for n := range s.Room().Len() {
			spec := s.Room().Spec(sched.NodeID(n))
			capGPU += float64(spec.GPUs) * sched.Whole
			if spec.CPU < sched.Unlimited {
				capCPU += float64(spec.CPU)
			}
		}
		for t := range sched.TaskID(s.Known()) {
			o := s.Outcome(t)
			u, ok := used[s.Class(t).Tenant]
			if !ok {
				u = line{map[int64]int64{}, map[int64]int64{}}
				used[s.Class(t).Tenant] = u
			}
			book := func(at sched.Time, ms float64) {
				e, g := split(at)
				u.gpu[e] += int64(math.Round(ms*g)) * s.Demand(t).GPUTotal()
				u.cpu[e] += int64(math.Round(ms*g)) * s.Demand(t).CPUTotal()
			}
			if o.Held > 0 && halfLife == 0 {
				book(0, float64(o.Held)/1e6)
			} else if o.Held > 0 {
				book(o.Start.Add(o.Held), float64(halfLife)/1e6/math.Ln2)
				book(o.Start, -float64(halfLife)/1e6/math.Ln2)
			}
			if o.Phase == sched.Running || o.Phase == sched.Stopping {
				book(s.StartedAt(t), float64(s.EstimatedEnd(t).Sub(s.StartedAt(t)))/1e6)
			}
		}
		clear(rank)
		for tenant, u := range used {
			gpu, cpu := 0.0, 0.0
			for e := now - 63; e <= now; e++ {
				gpu, cpu = gpu/2+float64(u.gpu[e]), cpu/2+float64(u.cpu[e])
			}
			w := weights[s.Table().Tenants[tenant]]
			if w == 0 {
				w = 1
			}
			use := 0.0
			if capGPU > 0 {
				use = max(use, gpu/capGPU)
			}
			if capCPU > 0 {
				use = max(use, cpu/capCPU)
			}
			rank[tenant] = int64(math.Round(use / w * (1 << 16)))
		}
	}
	p.before = func(s *sched.State, a, b sched.TaskID) int {
		return cmp.Or(cmp.Compare(rank[s.Class(a).Tenant], rank[s.Class(b).Tenant]), cmp.Compare(s.FirstReady(a), s.FirstReady(b)))
	}
	return p
}

func TestFairShareServesWhoHasUsedLeastAddedUpPlainly(t *testing.T) {
	agrees(t, "fair-share", func() sched.Policy { return plainFairShare(true, 168*time.Hour, nil) })
	agrees(t, "fair-share{half-life=0s,skip=false}", func() sched.Policy { return plainFairShare(false, 0, nil) })
	agrees(t, "fair-share{half-life=1s}", func() sched.Policy { return plainFairShare(true, time.Second, nil) })
	agrees(t, "fair-share{half-life=7s,weights=red:3/blue:0.5}", func() sched.Policy {
		return plainFairShare(true, 7*time.Second, map[string]float64{"red": 3, "blue": 0.5})
	})
}

// of makes a row of a tenant.
func of(tenant string, r traces.Row) traces.Row {
	r.Tenant = tenant
	return r
}

// heldBy returns the GPU-seconds that tenants hold before a time.
func heldBy(w *traces.Workload, outcome func(sched.TaskID) sched.Outcome, until sched.Time) map[string]float64 {
	held := map[string]float64{}
	for t := range w.Tasks {
		id := sched.TaskID(t)
		if o := outcome(id); o.Start < until {
			held[w.Tenants[w.ClassOf(id).Tenant]] += float64(w.DemandOf(id).GPUTotal()) / sched.Whole * min(o.End, until).Sub(o.Start).Seconds()
		}
	}
	return held
}

func TestSharesOfBusyTenantsGoToTheirWeights(t *testing.T) {
	// Both have more to do all the time than the cluster can: each gets its weight, whatever the sizes and run times of its tasks.
	var rows []traces.Row
	for i := range 4000 {
		rows = append(rows, of("red", devices(0, 100+float64(i%7)*30, 1)), of("blue", devices(0, 40+float64(i%11)*20, int32(1+i%2))))
	}
	w := workload(t, rows...)
	for text, want := range map[string]float64{"red:3": 0.75, "red:1": 0.5, "blue:4": 0.2, "red:2/blue:3": 0.4} {
		for _, halfLife := range []string{"0s", "1h", "168h"} {
			res := simulate(t, config(w, machines(2, 64, 8), build(t, fmt.Sprintf("fair-share{half-life=%s,weights=%s}", halfLife, text))(), nil))
			held := heldBy(w, res.Outcome, second(15000))
			if got := held["red"] / (held["red"] + held["blue"]); math.Abs(got-want) > 0.01 {
				t.Errorf("weights %s, half-life %s: red holds %.4f, wanted %.4f", text, halfLife, got, want)
			}
		}
	}
}

func TestATenantComesBackAfterAsLongAsTheDecayedUsesSay(t *testing.T) {
	// Red has the only GPU alone for L, then blue comes with as much to do. Decayed uses are equal, and red gets its next turn, after x with
	// (1 - 2^(-L/H)) 2^(-x/H) = 1 - 2^(-x/H), that is x = H log2(2 - 2^(-L/H)); x goes to H as L grows.
	const h, slice = 3600.0, 1.0
	for _, l := range []float64{600, 3600, 36000} {
		var rows []traces.Row
		for range int(l/slice) + 3*int(h) {
			rows = append(rows, of("red", devices(0, slice, 1)))
		}
		for range 3 * int(h) {
			rows = append(rows, of("blue", devices(l, slice, 1)))
		}
		w := workload(t, rows...)
		c := config(w, machines(1, 4, 1), build(t, "fair-share{half-life=1h}")(), nil)
		c.Horizon = second(l + 2*h)
		res := simulate(t, c)
		back := sched.Never
		for id := range w.Tasks {
			o := res.Outcome(sched.TaskID(id))
			if w.Tenants[w.ClassOf(sched.TaskID(id)).Tenant] == "red" && o.Start >= second(l+slice) {
				back = min(back, o.Start)
			}
		}
		want := h * math.Log2(2-math.Exp2(-l/h))
		if got := back.Seconds() - l; math.Abs(got-want) > 2*slice {
			t.Errorf("after %g s alone red comes back after %g s, wanted %g s", l, got, want)
		}
	}
}

func TestWithOneTenantFairnessIsTheOrderOfArrival(t *testing.T) {
	var rows []traces.Row
	for i := range 2000 {
		rows = append(rows, devices(float64(i)*6+float64(i*i%13), 10+float64(i*i%200), 1<<(i*i%5%4)))
	}
	w := workload(t, rows...)
	for fair, plain := range map[string]string{"drf": "fjf", "drf{skip=false}": "fifo", "fair-share": "fjf", "fair-share{skip=false}": "fifo", "drf+best-fit": "fjf+best-fit"} {
		tap, got := orders()
		simulate(t, config(w, machines(6, 32, 8), build(t, fair)(), tap))
		tap, want := orders()
		simulate(t, config(w, machines(6, 32, 8), build(t, plain)(), tap))
		if got() != want() {
			t.Errorf("%s with one tenant is not %s", fair, plain)
		}
	}
}

func TestATenantThatAsksForMuchLeavesTheOtherItsHalf(t *testing.T) {
	// Red asks for nine times as much as blue, and both always have more to do. In the order of arrival they hold 9 to 1.
	var rows []traces.Row
	for i := range 6000 {
		tenant := "red"
		if i%10 == 9 {
			tenant = "blue"
		}
		rows = append(rows, of(tenant, devices(float64(i)*2, 60+float64(i*i%120), 1)))
	}
	w := workload(t, rows...)
	jain := func(policy string) float64 {
		held := heldBy(w, simulate(t, config(w, machines(1, 64, 8), build(t, policy)(), nil)).Outcome, second(6000))
		a, b := held["red"], held["blue"]
		return (a + b) * (a + b) / (2 * (a*a + b*b))
	}
	fifo := jain("fifo")
	t.Logf("Jain's index of the GPU time held: fifo %.3f, drf %.3f, fair-share %.3f", fifo, jain("drf"), jain("fair-share"))
	if fifo > 0.65 {
		t.Errorf("Jain's index is %.3f under fifo: the case says nothing", fifo)
	}
	for _, policy := range []string{"drf", "drf{skip=false}", "fair-share", "fair-share{skip=false}", "fair-share{half-life=1h}"} {
		if got := jain(policy); got < 0.99 {
			t.Errorf("Jain's index of the GPU time held is %.3f under %s, %.3f under fifo", got, policy, fifo)
		}
	}
}

func TestARestoredFairShareForgetsWhatIsLongPast(t *testing.T) {
	tb := &sched.Table{
		Tasks:     []sched.Task{{}, {Submit: second(100), Job: 1}},
		Estimates: []time.Duration{time.Second, time.Second}, Jobs: 2,
		Classes: []sched.Class{{Tenant: 1}}, Demands: []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 1000}}},
		Tenants: []string{"", "red"}, Queues: []string{""}, Kinds: []string{""},
	}
	policy := build(t, "fair-share{half-life=1s}")
	c := sched.Config{Table: tb, Nodes: machines(1, 1, 0), Policy: policy()}
	k, err := sched.New(c)
	if err != nil {
		t.Fatal(err)
	}
	arrived := func(u sched.TaskID) []sched.Event {
		return []sched.Event{{Kind: sched.JobArrived, Task: u, N: 1, Node: sched.NoNode}}
	}
	k.Step(0, arrived(0))
	k.Step(second(1), []sched.Event{{Kind: sched.Finished, Task: 0, Attempt: 1, Node: sched.NoNode}})
	k.Step(second(99), nil) // 98 half-lives later
	c.Policy = policy()
	if out := restore(t, k, c).Step(second(100), arrived(1)); len(out) != 1 || out[0].Kind != sched.Start {
		t.Errorf("orders %v, wanted one start", out)
	}
}
