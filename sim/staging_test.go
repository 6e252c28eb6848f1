package sim_test

import (
	"context"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// TestAStartBeforeItsDataHoldsItsRoomAndWorksFromThen sends 10 MB from a task of one node to one that must run on the other, over links of 8 and 16 Mbit/s
// with latencies of 1 s and 2 s: 10 s at the slower bandwidth and the larger latency. A policy that starts it at once holds its room for those 12 s; one
// that waits for them pays nothing; on the same node nothing is sent.
func TestAStartBeforeItsDataHoldsItsRoomAndWorksFromThen(t *testing.T) {
	on := func(r traces.Row, id, node string) traces.Row {
		r.Job, r.ID, r.Labels = "j", id, []sched.Label{{Key: "node", Value: node}}
		return r
	}
	w := workload(
		t, on(cpus(0, 5*s, 1), "a", "0"),
		with(on(cpus(0, 3*s, 1), "b", "1"), func(r *traces.Row) { r.After, r.AfterBytes = []string{"a"}, []int64{10e6} }),
		with(on(cpus(0, 2*s, 1), "c", "0"), func(r *traces.Row) { r.After, r.AfterBytes = []string{"a"}, []int64{10e6} }),
	)
	ns := nodes(2, 1, 0)
	ns[0].Labels, ns[0].NetworkMbps, ns[0].NetworkLatency = []sched.Label{{Key: "node", Value: "0"}}, 16, time.Second
	ns[1].Labels, ns[1].NetworkMbps, ns[1].NetworkLatency = []sched.Label{{Key: "node", Value: "1"}}, 8, 2*time.Second
	for _, c := range []struct {
		policy sched.Policy
		start  sched.Time // of b
		held   float64    // core seconds, all tasks
	}{{&policies.List{}, at(5), 5 + 15 + 2}, {policies.NewHEFT(), at(17), 5 + 3 + 2}} {
		res, err := sim.Run(context.Background(), sim.Config{Workload: w, Nodes: ns, Policy: c.policy})
		if err != nil {
			t.Fatal(err)
		}
		b, same := res.Outcome(1), res.Outcome(2)
		if b.Start != c.start || b.End != at(20) || same.Start != at(5) || same.End != at(7) || res.CPUSeconds != c.held {
			t.Errorf("%T: b from %v to %v, c from %v to %v, %v core seconds; want b from %v to 20 s, c from 5 to 7 s, %v", c.policy, b.Start.Seconds(), b.End.Seconds(), same.Start.Seconds(), same.End.Seconds(), res.CPUSeconds, c.start.Seconds(), c.held)
		}
		if staged := res.CauseSeconds[sched.Staging]; staged != (c.start - at(5)).Seconds() {
			t.Errorf("%T: %v s of waiting for data, want %v", c.policy, staged, (c.start - at(5)).Seconds())
		}
	}
}
