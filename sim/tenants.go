package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// Tenants are the tenants' quotas, in force from the first batch on. With Borrow or Reclaim said of any of them they form a cohort: what one does
// not use of its quota others may hold, and it gets that back, at their ends or by preemption (sched.Quota and the kernel's cohort.go have the rule).
type Tenants struct {
	Quotas []TenantQuota `yaml:"quotas"`
}

// TenantQuota is the quota of one tenant. An amount of 0 is no bound, and both must not be: a tenant that is to have nothing has -1.
type TenantQuota struct {
	Tenant string  `yaml:"tenant"`
	GPUs   float64 `yaml:"gpus,omitempty"`
	CPUs   float64 `yaml:"cpus,omitempty"` // cores
	// Borrow says how much may be held above that: "" nothing, "all" whatever is idle, or a share of the quota such as 50%.
	Borrow  string `yaml:"borrow,omitempty"`
	Reclaim string `yaml:"reclaim,omitempty"` // "end" (or ""): borrowers may end; "preempt": they are stopped
}

// TenantsUsage says how the text is written that ParseTenants reads.
const TenantsUsage = "tenant=red,gpus=4,borrow=all;tenant=blue,gpus=8,cpus=64,borrow=50%,reclaim=preempt"

// ParseTenants reads tenant=red,gpus=4,borrow=all;tenant=blue,gpus=8.
func ParseTenants(text string) (*Tenants, error) {
	t := &Tenants{}
	for _, part := range strings.Split(text, ";") {
		var q TenantQuota
		if err := parseFields("quotas", part, TenantsUsage, q.fields()); err != nil {
			return nil, err
		}
		t.Quotas = append(t.Quotas, q)
	}
	return t, t.Check()
}

func (q *TenantQuota) fields() []field {
	return []field{{"tenant", &q.Tenant}, {"gpus", &q.GPUs}, {"cpus", &q.CPUs}, {"borrow", &q.Borrow}, {"reclaim", &q.Reclaim}}
}

// String is how ParseTenants reads it.
func (t *Tenants) String() string {
	var parts []string
	for i := range t.Quotas {
		parts = append(parts, printFields(t.Quotas[i].fields()))
	}
	return strings.Join(parts, ";")
}

// Check reports what cannot be.
func (t *Tenants) Check() error {
	if t == nil {
		return nil
	}
	for i, q := range t.Quotas {
		switch {
		case q.Tenant == "":
			return fmt.Errorf("quotas: number %d names no tenant", i+1)
		case slices.ContainsFunc(t.Quotas[:i], func(o TenantQuota) bool { return o.Tenant == q.Tenant }):
			return fmt.Errorf("quotas: tenant %s has two", q.Tenant)
		case q.Reclaim != "" && q.Reclaim != "end" && q.Reclaim != "preempt":
			return fmt.Errorf("quotas: reclaim must be end or preempt, not %q", q.Reclaim)
		}
		if _, err := q.share(); err != nil {
			return err
		}
		switch {
		case !(q.GPUs <= maxQuota):
			return fmt.Errorf("quotas: tenant %s: gpus must be a number up to %g", q.Tenant, maxQuota)
		case !(q.CPUs <= maxQuota):
			return fmt.Errorf("quotas: tenant %s: cpus must be a number up to %g", q.Tenant, maxQuota)
		case q.GPUs == 0 && q.CPUs == 0:
			return fmt.Errorf("quotas: tenant %s has no bound: say gpus or cpus, -1 where it is to have nothing", q.Tenant)
		}
	}
	return nil
}

// maxQuota is the largest amount, of which many add up to a number of milli-GPUs.
const maxQuota = 1e12

// Absent names the tenants that have a quota and no task.
func (t *Tenants) Absent(w *traces.Workload) (out []string) {
	if t == nil {
		return nil
	}
	has := make([]bool, len(w.Tenants))
	for i := range w.Tasks {
		has[w.ClassOf(sched.TaskID(i)).Tenant] = true
	}
	for _, q := range t.Quotas {
		if i := slices.Index(w.Tenants, q.Tenant); i < 0 || !has[i] {
			out = append(out, q.Tenant)
		}
	}
	return out
}

// share returns the share of the quota that may be borrowed, negative for all that is idle.
func (q *TenantQuota) share() (float64, error) {
	var p float64
	switch {
	case q.Borrow == "":
		return 0, nil
	case q.Borrow == "all":
		return -1, nil
	}
	if n, err := fmt.Sscanf(q.Borrow, "%g%%", &p); n != 1 || err != nil || !(p >= 0 && p <= 1e6) || q.Borrow[len(q.Borrow)-1] != '%' {
		return 0, fmt.Errorf("quotas: borrow must be all or a share of the quota such as 50%%, not %q", q.Borrow)
	}
	return p / 100, nil
}

// facts returns the facts that set the quotas.
func (t *Tenants) facts() (out []sched.Event) {
	cohort := ""
	for _, q := range t.Quotas {
		if q.Borrow != "" || q.Reclaim != "" {
			cohort = "tenants"
		}
	}
	amount := func(v, unit float64) int64 {
		switch {
		case v == 0:
			return -1
		case v < 0:
			return 0
		}
		return int64(v*unit + 0.5)
	}
	for _, q := range t.Quotas {
		set := &sched.Quota{Tenant: q.Tenant, CPU: amount(q.CPUs, 1000), GPUMilli: amount(q.GPUs, sched.Whole), Cohort: cohort, Reclaim: q.Reclaim == "preempt"}
		if share, _ := q.share(); share < 0 {
			set.BorrowCPU, set.BorrowGPUMilli = -1, -1
		} else {
			set.BorrowCPU, set.BorrowGPUMilli = int64(share*float64(max(set.CPU, 0))), int64(share*float64(max(set.GPUMilli, 0)))
		}
		out = append(out, sched.Event{Kind: sched.QuotaSet, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Quota: set}})
	}
	return out
}

// holds refuses a task that its tenant may never hold, all others idle: it would wait for ever.
func (t *Tenants) holds(w *traces.Workload) error {
	quotas := map[string]*sched.Quota{}
	sum := [2]int64{} // what a cohort may hold: CPU, GPUs; whose own is not bound lends nothing of it, and does not count against it
	for _, ev := range t.facts() {
		q := ev.More.Quota
		quotas[q.Tenant] = q
		for r, n := range [2]int64{q.CPU, q.GPUMilli} {
			sum[r] += max(n, 0)
		}
	}
	for i := range w.Tasks {
		class, d := w.ClassOf(sched.TaskID(i)), w.DemandOf(sched.TaskID(i))
		q := quotas[w.Tenants[class.Tenant]]
		if q == nil {
			continue
		}
		for r, x := range [2]struct {
			asks, has, borrow int64
			unit              float64
			of                string
		}{{d.CPUTotal(), q.CPU, q.BorrowCPU, 1000, "cores"}, {d.GPUTotal(), q.GPUMilli, q.BorrowGPUMilli, sched.Whole, "GPUs"}} {
			most := x.has
			if q.Cohort != "" && most >= 0 {
				if most += x.borrow; x.borrow < 0 || most > sum[r] {
					most = sum[r]
				}
			}
			if x.has >= 0 && x.asks > most {
				return fmt.Errorf("quotas: task %s asks for %g %s, and tenant %s may hold %g with what it may borrow", w.TaskNames.At(i), float64(x.asks)/x.unit, x.of, q.Tenant, float64(most)/x.unit)
			}
		}
	}
	return nil
}
