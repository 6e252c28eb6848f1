package policies_test

import (
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// A Go program sets the exported fields, or calls the constructor, and gets the policy that the catalogue makes of the same parameters.
func TestAPolicyMadeByHandIsThatOfTheCatalogue(t *testing.T) {
	row := func(submit int, run time.Duration, gpus int32, cores int64, tenant string) traces.Row {
		r := traces.Row{Submit: sched.Time(submit) * 1e9, Run: run, Estimate: run, Tenant: tenant, Need: sched.Need{CPU: cores * 1000}}
		if gpus > 0 {
			r.Need.GPUs, r.Need.GPUMilli = gpus, sched.Whole
		}
		return r
	}
	var rows []traces.Row
	for i := range 60 { // of three tenants; every second task needs no GPU, and some of these all cores of a node
		gpus, cores := int32(i%2*(1+i%3)), int64(1+i%4)
		rows = append(rows, row(i/4, time.Duration(3+i*7%11)*time.Second, gpus, cores, []string{"red", "blue", "green"}[i%3]))
	}
	weights := []policies.TenantWeight{{Tenant: "red", Weight: 3}, {Tenant: "blue", Weight: 0.5}}
	for name, p := range map[string]sched.Policy{
		"allox{head=4,patience=10}":                       &policies.AlloX{Head: 4, Patience: 10},
		"allox{head=1,patience=10}":                       &policies.AlloX{Patience: 10},
		"gavel{round=6s}":                                 &policies.Gavel{Objective: "max-min", Round: 6 * time.Second},
		"drf{weights=red:3/blue:0.5}":                     policies.NewDRF(nil, true, weights),
		"fair-share{half-life=7s,weights=red:3/blue:0.5}": policies.NewFairShare(nil, true, weights, 7*time.Second),
		"easy": &policies.Easy{}, "conservative": &policies.Conservative{}, "fjf": &policies.List{Skip: true},
	} {
		t.Run(name, func(t *testing.T) {
			starts := func(p sched.Policy) (out []sched.Time) {
				w := workload(t, rows...)
				res := simulate(t, config(w, machines(2, 4, 4), p, nil))
				for i := range w.Tasks {
					out = append(out, res.Outcome(sched.TaskID(i)).Start)
				}
				return out
			}
			want, got := starts(build(t, name)()), starts(p)
			for i := range want {
				if want[i] != got[i] {
					t.Fatalf("task %d starts at %g s, and at %g s under that of the catalogue", i, got[i].Seconds(), want[i].Seconds())
				}
			}
		})
	}
}
