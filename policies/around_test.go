package policies_test

import (
	"testing"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
)

// onTheHour lets the policy that it stands around decide at whole multiples of 3 s only.
type onTheHour struct{ sched.Policy }

func (p onTheHour) Decide(r *sched.Round) {
	const hour = 3e9
	if past := (r.Now()%hour + hour) % hour; past > 0 {
		r.WakeAt(r.Now() - past + hour)
		return
	}
	p.Policy.Decide(r)
}

func TestAPolicyOfTheCatalogueMayBeLetDecideAtSomeTimesOnly(t *testing.T) {
	for _, name := range policies.Names() {
		policytest.Conform(t, name, func() sched.Policy {
			spec, err := policies.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			p, err := policies.Build(spec, policies.Hints{MeanEstimate: 10e9})
			if err != nil {
				t.Fatal(err)
			}
			return onTheHour{p}
		}, inSim, policytest.Slices)
	}
}
