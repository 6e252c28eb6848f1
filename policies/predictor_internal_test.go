package policies

import (
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// silent lets a kernel stand still, so that a predictor has a State to look at.
type silent struct{}

func (silent) Observe(*sched.State, sched.Event) {}
func (silent) Decide(*sched.Round)               {}

func TestThePredictorBacksOffFromKindToTenantToAll(t *testing.T) {
	tb := &sched.Table{
		Tenants: []string{"", "red", "blue"}, Queues: []string{""}, Kinds: []string{"", "train", "etl"}, Jobs: 4,
		Demands: []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 1000}}},
		Classes: []sched.Class{{Tenant: 1, Kind: 1}, {Tenant: 1, Kind: 2}, {Tenant: 2, Kind: 1}},
	}
	for i := range 3 {
		tb.Tasks = append(tb.Tasks, sched.Task{Job: sched.JobID(i), Class: sched.ClassID(i)})
		tb.Estimates = append(tb.Estimates, time.Hour)
	}
	k, err := sched.New(sched.Config{Table: tb, Nodes: []sched.NodeSpec{{Name: "n", CPU: 1000}}, Policy: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	const redTrain, redEtl, blueTrain = 0, 1, 2
	p := predictor{samples: 2}
	expect := func(task sched.TaskID, want time.Duration, from level) {
		t.Helper()
		if got, lv := p.predict(&k.State, task); got != want || lv != from {
			t.Errorf("task %d: %v by level %d, wanted %v by %d", task, got, lv, want, from)
		}
	}
	expect(redTrain, 0, unknown)
	p.learn(&k.State, redTrain, 10*time.Second)
	expect(redTrain, 0, unknown) // one sample is too few at any level
	p.learn(&k.State, redEtl, 40*time.Second)
	expect(redTrain, 25*time.Second, ofTenant)
	expect(blueTrain, 25*time.Second, ofAll)
	p.learn(&k.State, redTrain, 13*time.Second)
	expect(redTrain, 11500*time.Millisecond, ofTenantAndKind)
	expect(redEtl, 21*time.Second, ofTenant)
	p.learn(&k.State, blueTrain, 97*time.Second)
	expect(blueTrain, 40*time.Second, ofAll)
	p.learn(&k.State, blueTrain, 99*time.Second)
	expect(blueTrain, 98*time.Second, ofTenantAndKind)
}
