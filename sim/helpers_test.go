package sim_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

const s = time.Second

// at is n seconds on the trace's axis.
func at(n float64) sched.Time { return sched.Time(n * 1e9) }

// gpus is a row that asks for whole GPUs and nothing else; cpus one that asks for cores.
func gpus(submit float64, run time.Duration, n int32) traces.Row {
	return traces.Row{Submit: at(submit), Run: run, Estimate: run, Need: sched.Need{GPUs: n, GPUMilli: sched.Whole}}
}

func cpus(submit float64, run time.Duration, n int64) traces.Row {
	return traces.Row{Submit: at(submit), Run: run, Estimate: run, Need: sched.Need{CPU: n * 1000}}
}

// with changes a row.
func with(r traces.Row, change func(*traces.Row)) traces.Row {
	change(&r)
	return r
}

func workload(t testing.TB, rows ...traces.Row) *traces.Workload {
	t.Helper()
	b := traces.NewBuilder("case", "test")
	for i := range rows {
		if err := b.Add(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// nodes returns count nodes with that many cores and GPUs each.
func nodes(count int, cores int64, gpus int32) []sched.NodeSpec {
	var out []sched.NodeSpec
	for i := range count {
		out = append(out, sched.NodeSpec{Name: fmt.Sprintf("n%d", i), CPU: cores * 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited, GPUs: gpus})
	}
	return out
}

func named(t tester, name string) sched.Policy {
	t.Helper()
	spec, err := policies.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policies.Build(spec, policies.Hints{MeanEstimate: 20 * s})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t testing.TB, c sim.Config) *sim.Result {
	t.Helper()
	res, err := sim.Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func runErr(c sim.Config) (*sim.Result, error) { return sim.Run(context.Background(), c) }

// evicter is FIFO that also evicts tasks at given times.
type evicter struct {
	policies.List
	evict []eviction // by time
}

type eviction struct {
	at   sched.Time
	task sched.TaskID
}

func (p *evicter) Decide(r *sched.Round) {
	p.List.Decide(r)
	for len(p.evict) > 0 && p.evict[0].at <= r.Now() {
		r.Evict(p.evict[0].task)
		p.evict = p.evict[1:]
	}
	if len(p.evict) > 0 {
		r.WakeAt(p.evict[0].at)
	}
}

// evictAt evicts task 0 at the given seconds; it starts again at once.
func evictAt(seconds ...float64) *evicter {
	p := &evicter{}
	for _, x := range seconds {
		p.evict = append(p.evict, eviction{at(x), 0})
	}
	return p
}

// script prints the batches, one a line.
type script struct{ lines []string }

func (x *script) tap(now sched.Time, in []sched.Event, out []sched.Command) error {
	var facts, orders []string
	for _, e := range in {
		switch e.Kind {
		case sched.NodeDown, sched.NodeUp:
			facts = append(facts, fmt.Sprintf("%v n%d", e.Kind, e.Node))
		default:
			facts = append(facts, fmt.Sprintf("%v %d", e.Kind, e.Task))
		}
	}
	for _, c := range out {
		orders = append(orders, fmt.Sprintf("%v %d#%d", c.Kind, c.Task, c.Attempt))
	}
	x.lines = append(x.lines, strings.TrimSpace(fmt.Sprintf("%g: %s -> %s", now.Seconds(), strings.Join(facts, ", "), strings.Join(orders, ", "))))
	return nil
}

func (x *script) wants(t *testing.T, want ...string) {
	t.Helper()
	got, exp := strings.Join(x.lines, "\n"), strings.Join(want, "\n")
	if got != exp {
		t.Errorf("batches:\n%s\nwanted:\n%s", got, exp)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*(1+math.Abs(a)+math.Abs(b)) }

func wantSeconds(t testing.TB, what string, got, want float64) {
	t.Helper()
	if !near(got, want) {
		t.Errorf("%s: %v, wanted %v", what, got, want)
	}
}

// caseConfig is the configuration of a generated case.
func caseConfig(c policytest.Case, p sched.Policy) sim.Config {
	cfg := sim.Config{
		Workload: &traces.Workload{Table: c.Table, Run: c.Run, RunOn: c.RunOn, Source: "case"},
		Nodes:    c.Nodes, Policy: p, Restart: c.Restart, KillAtEstimate: c.KillAtEstimate, Overhead: c.Overhead,
	}
	for _, f := range c.Faults {
		cfg.Faults = append(cfg.Faults, sim.Fault{At: f.At, Node: f.Node, Up: f.Up, Task: f.Task, Attempt: f.Attempt, After: f.After})
	}
	return cfg
}

// tester is what helpers need of a test or a property.
type tester interface {
	Helper()
	Fatal(...any)
}
