package sim_test

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest/check"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

func of(r traces.Row, tenant string) traces.Row {
	r.Tenant = tenant
	return r
}

// TestBorrowedQuotaIsGivenBackAtEndsOrByPreemption is worked by hand. Four GPUs, two a tenant. Red has four tasks of 100 s at 0 and borrows blue's half. At 10 s
// blue brings two tasks of 10 s. By preemption they start at once; else they wait for red's ends; without borrowing red never had more than two.
func TestBorrowedQuotaIsGivenBackAtEndsOrByPreemption(t *testing.T) {
	w := workload(
		t, of(gpus(0, 100*s, 1), "red"), of(gpus(0, 100*s, 1), "red"), of(gpus(0, 100*s, 1), "red"), of(gpus(0, 100*s, 1), "red"),
		of(gpus(10, 10*s, 1), "blue"), of(gpus(10, 10*s, 1), "blue"),
	)
	for _, c := range []struct {
		name, borrow, reclaim string
		blue, end             float64 // start of blue's tasks, end of all
		stopped               int64
	}{
		{"hard quotas", "", "", 10, 200, 0},
		{"borrowing, back at ends", "all", "end", 100, 110, 0},
		{"borrowing, back by preemption", "all", "preempt", 10, 110, 2}, // tasks 2 and 3 have run 10 s and go on at 20 s
	} {
		q := func(tenant string) sim.TenantQuota {
			return sim.TenantQuota{Tenant: tenant, GPUs: 2, Borrow: c.borrow, Reclaim: c.reclaim}
		}
		res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 0, 4), Policy: &policies.List{Skip: true}, Tenants: &sim.Tenants{Quotas: []sim.TenantQuota{q("red"), q("blue")}}})
		if got := res.Outcome(5).Start.Seconds(); got != c.blue {
			t.Errorf("%s: blue starts at %v s, want %v", c.name, got, c.blue)
		}
		if got := res.Last.Seconds(); got != c.end {
			t.Errorf("%s: all ends at %v s, want %v", c.name, got, c.end)
		}
		if res.Preemptions != c.stopped {
			t.Errorf("%s: %d preemptions, want %d", c.name, res.Preemptions, c.stopped)
		}
	}
	// A limit: red may hold three.
	limit := &sim.Tenants{Quotas: []sim.TenantQuota{{Tenant: "red", GPUs: 2, Borrow: "50%"}, {Tenant: "blue", GPUs: 2, Reclaim: "preempt"}}}
	res := run(t, sim.Config{Workload: w, Nodes: nodes(1, 0, 4), Policy: &policies.List{Skip: true}, Tenants: limit})
	if a, b := res.Outcome(4).Start, res.Outcome(5).Start; a != at(10) || b != at(10) || res.Preemptions != 1 {
		t.Errorf("blue starts at %v and %v s after %d preemptions, want both at 10 after 1", a.Seconds(), b.Seconds(), res.Preemptions)
	}
}

func TestTenantsAndQuotasKeepTheirPromisesUnderEveryPolicy(t *testing.T) {
	names := policies.Names()
	rapid.Check(t, func(t *rapid.T) {
		b := traces.NewBuilder("case", "test")
		for range rapid.IntRange(1, 30).Draw(t, "tasks") {
			r := gpus(float64(rapid.IntRange(0, 60).Draw(t, "submit")), time.Duration(rapid.IntRange(1, 40).Draw(t, "run"))*s, int32(rapid.IntRange(1, 2).Draw(t, "gpus")))
			r.Tenant = rapid.SampledFrom([]string{"red", "blue", "green"}).Draw(t, "tenant")
			r.Gang = int32(rapid.IntRange(1, 2).Draw(t, "gang"))
			r.Priority = int32(rapid.IntRange(0, 2).Draw(t, "priority"))
			if err := b.Add(&r); err != nil {
				t.Fatal(err)
			}
		}
		w, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		c := sim.Config{Workload: w, Nodes: nodes(3, 0, 4), Policy: build(t, rapid.SampledFrom(names).Draw(t, "policy")), Tenants: &sim.Tenants{}}
		for _, tenant := range []string{"red", "blue", "green"} {
			c.Tenants.Quotas = append(c.Tenants.Quotas, sim.TenantQuota{
				Tenant: tenant, GPUs: 4, Borrow: rapid.SampledFrom([]string{"", "all", "50%"}).Draw(t, "borrow"), Reclaim: rapid.SampledFrom([]string{"end", "preempt"}).Draw(t, "reclaim"),
			})
		}
		var faults []check.Fault
		for n := range rapid.IntRange(0, len(c.Nodes)).Draw(t, "nodes lost") {
			down := at(float64(rapid.IntRange(0, 60).Draw(t, "down")))
			up := down.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "for")) * s)
			faults = append(faults, check.Fault{At: down, Node: sched.NodeID(n)}, check.Fault{At: up, Node: sched.NodeID(n), Up: true})
		}
		for _, f := range faults {
			c.Faults = append(c.Faults, sim.Fault{At: f.At, Node: f.Node, Up: f.Up})
		}
		q := check.Quotas{Table: w.Table}
		rec := check.Recorder{}
		c.Tap = func(now sched.Time, in []sched.Event, out []sched.Command) error {
			q.Tap(now, in, out)
			rec.Tap(now, in, out)
			return nil
		}
		res, err := runErr(c)
		if err != nil {
			t.Fatal(err)
		}
		if bad := append(q.Check(), rec.Check(check.Case{Table: w.Table, Run: w.Run, Nodes: c.Nodes, Faults: faults}, res.Outcome)...); len(bad) > 0 {
			t.Fatalf("%v", bad[0])
		}
		if res.Unfinished > 0 {
			t.Fatalf("%d tasks were left waiting", res.Unfinished)
		}
	})
}

func TestQuotasThatCannotBeAreRefused(t *testing.T) {
	w := workload(t, cpus(0, 1*s, 1))
	for what, q := range map[string][]sim.TenantQuota{
		"names no tenant":             {{GPUs: 1}},
		"has two":                     {{Tenant: "a", GPUs: 1}, {Tenant: "a", GPUs: 1}},
		"a has no bound: say gpus":    {{Tenant: "a", Borrow: "all", Reclaim: "preempt"}},
		"a: gpus must be a number":    {{Tenant: "a", GPUs: math.NaN()}},
		"a: cpus must be a number":    {{Tenant: "a", CPUs: 1e30}},
		"reclaim must be end or":      {{Tenant: "a", Reclaim: "never"}},
		"borrow must be all or a sha": {{Tenant: "a", Borrow: "half"}},
	} {
		_, err := runErr(sim.Config{Workload: w, Nodes: nodes(1, 1, 0), Policy: &policies.List{}, Tenants: &sim.Tenants{Quotas: q}})
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want an error with %q", err, what)
		}
	}
}

func TestQuotasOfTenantsWithoutTasksAreNamed(t *testing.T) {
	q := &sim.Tenants{Quotas: []sim.TenantQuota{{Tenant: "nobody", GPUs: 4}, {Tenant: "red", GPUs: 1}, {Tenant: "late", GPUs: 1}, {Tenant: "Red", GPUs: 1}}}
	w := workload(t, of(gpus(0, 1*s, 1), "red"), of(gpus(0, 1*s, 1), "blue"), of(gpus(9, 1*s, 1), "late"))
	if got := q.Absent(w); !slices.Equal(got, []string{"nobody", "Red"}) {
		t.Errorf("%q, want nobody and Red", got)
	}
	if got := (*sim.Tenants)(nil).Absent(w); got != nil {
		t.Errorf("without quotas %q", got)
	}
}

// A task above what its tenant may ever hold would wait until all else is over: it is refused at once, and one that just fits is not.
func TestATaskThatItsTenantMayNeverHoldIsRefused(t *testing.T) {
	for _, c := range []struct {
		red, blue sim.TenantQuota
		want      string
	}{
		{sim.TenantQuota{GPUs: 3}, sim.TenantQuota{GPUs: 4}, "asks for 4 GPUs, and tenant red may hold 3"},
		{sim.TenantQuota{GPUs: 3, Borrow: "30%"}, sim.TenantQuota{GPUs: 4}, "may hold 3.9"},
		{sim.TenantQuota{GPUs: 2, Borrow: "all"}, sim.TenantQuota{GPUs: 1}, "may hold 3"},
		{sim.TenantQuota{GPUs: 2, Borrow: "100%"}, sim.TenantQuota{GPUs: 1}, "may hold 3"},
		{sim.TenantQuota{CPUs: -1}, sim.TenantQuota{CPUs: 1}, "asks for 4 cores, and tenant red may hold 0"},
		{sim.TenantQuota{GPUs: 4}, sim.TenantQuota{GPUs: 1}, ""},
		{sim.TenantQuota{GPUs: 2, Borrow: "100%"}, sim.TenantQuota{GPUs: 2}, ""},
		{sim.TenantQuota{GPUs: 2, Borrow: "all"}, sim.TenantQuota{CPUs: 1}, "may hold 2"}, // blue has no GPUs to lend: its own are not bound
		{sim.TenantQuota{GPUs: 3, Borrow: "100%"}, sim.TenantQuota{CPUs: 1}, "may hold 3"},
		{sim.TenantQuota{GPUs: 4, Borrow: "all"}, sim.TenantQuota{CPUs: 1}, ""},
		{sim.TenantQuota{CPUs: 4}, sim.TenantQuota{GPUs: 1}, ""},
	} {
		big := of(gpus(0, 10*s, 4), "red")
		if c.red.CPUs != 0 {
			big.Need.CPU = 4000
		}
		c.red.Tenant, c.blue.Tenant = "red", "blue"
		res, err := sim.Run(t.Context(), sim.Config{
			Workload: workload(t, big, of(gpus(0, 10*s, 1), "blue")), Nodes: nodes(1, 64000, 8), Policy: &policies.List{Skip: true},
			Tenants: &sim.Tenants{Quotas: []sim.TenantQuota{c.red, c.blue}},
		})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v, %+v: error %v, want %q", c.red, c.blue, err, c.want)
		}
		if err == nil && res.Unfinished > 0 {
			t.Errorf("%+v, %+v: %d tasks were left waiting", c.red, c.blue, res.Unfinished)
		}
	}
}
