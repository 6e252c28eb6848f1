package sim

import (
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

func TestSetupIsWhatAStartAfterAPreemptionTakesBeforeWorkGetsOn(t *testing.T) {
	w := &traces.Workload{Table: &sched.Table{
		Tasks: make([]sched.Task, 2), Estimates: []time.Duration{30 * time.Second, 20 * time.Second}, Classes: make([]sched.Class, 1), Demands: make([]sched.Demand, 1),
	}}
	two := []sched.NodeSpec{{Name: "fast", SpeedMilli: 2000}, {Name: "slow", SpeedMilli: 500}}
	for _, c := range []struct {
		config Config
		want   time.Duration
	}{
		{Config{}, 0},
		{Config{Overhead: 20 * time.Second}, 20 * time.Second},
		{Config{Overhead: time.Second, Checkpoint: &Checkpoint{Every: "10m", Cost: 30 * time.Second, Restart: time.Minute}}, 61 * time.Second},
		{Config{Checkpoint: &Checkpoint{Every: "10m", Cost: 30 * time.Second, Restart: time.Minute, Stop: "lose"}}, 11*time.Minute + 30*time.Second},
		{Config{Workload: w, Nodes: two, Checkpoint: &Checkpoint{Every: "never", Cost: 30 * time.Second, Restart: time.Minute}}, time.Minute},
		{Config{Workload: w, Nodes: two, Checkpoint: &Checkpoint{Every: "never", Cost: 30 * time.Second, Restart: time.Minute, Stop: "lose"}}, 2 * time.Minute},
		{Config{Workload: w, Nodes: two, Overhead: time.Second, Restart: true}, 61 * time.Second},
		{Config{Checkpoint: &Checkpoint{Every: "young", Cost: 2 * time.Second, Restart: time.Minute, MTBF: 100 * time.Second}}, time.Minute},
		{Config{Checkpoint: &Checkpoint{Every: "young", Cost: 2 * time.Second, Restart: time.Minute, MTBF: 100 * time.Second, Stop: "lose"}}, 82 * time.Second}, // sqrt(2 x 2 x 100) = 20
		{Config{Failures: &Failures{MTBF: 200 * time.Second, TaskMTBF: 200 * time.Second}, Checkpoint: &Checkpoint{Every: "young", Cost: 2 * time.Second, Stop: "lose"}}, 22 * time.Second},
	} {
		if got := c.config.Setup(); got != c.want {
			t.Errorf("%+v: %v, wanted %v", c.config, got, c.want)
		}
	}
}
