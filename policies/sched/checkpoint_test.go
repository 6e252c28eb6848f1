package sched

import (
	"bytes"
	"math"
	"testing"
	"time"
)

// The judge is Daly's exact expression for the expected time to the end (his equation 20, restarts free), searched for its minimum.
func TestTheCheckpointIntervalIsWhereTheExpectedTimeIsShortest(t *testing.T) {
	for _, c := range []struct{ cost, mtbf time.Duration }{
		{time.Second, 24 * time.Hour}, {5 * time.Minute, 24 * time.Hour}, {5 * time.Minute, time.Hour}, {30 * time.Second, 10 * time.Minute},
	} {
		expected := func(tau float64) float64 {
			d, m := c.cost.Seconds(), c.mtbf.Seconds()
			return m * math.Expm1((tau+d)/m) / tau
		}
		best, at := math.Inf(1), 0.0
		for tau := c.cost.Seconds() / 100; tau < 3*c.mtbf.Seconds(); tau *= 1.0005 {
			if e := expected(tau); e < best {
				best, at = e, tau
			}
		}
		got := CheckpointInterval(c.cost, c.mtbf).Seconds()
		if math.Abs(got/at-1) > 0.005 {
			t.Errorf("cost %v, MTBF %v: %.1f s, and the minimum is at %.1f s", c.cost, c.mtbf, got, at)
		}
	}
	if got := CheckpointInterval(3*time.Hour, time.Hour); got != time.Hour {
		t.Errorf("a checkpoint that costs more than two failures: %v, want the MTBF", got)
	}
	// Young (1974) by hand: sqrt(2 x 60 s x 3600 s) = 657.267 s.
	if got := YoungInterval(time.Minute, time.Hour).Seconds(); math.Abs(got-657.267) > 0.001 {
		t.Errorf("Young's interval: %v", got)
	}
	if got := CheckpointInterval(0, time.Hour); got != 0 {
		t.Errorf("a free checkpoint: %v", got)
	}
}

// One task on a node of half the speed: it restores for 2 s, works 10 s, saves for 1 s, works again.
func TestWhatIsAtRiskIsTheWorkSinceTheLastCheckpoint(t *testing.T) {
	tb := &Table{Tasks: []Task{{}}, Estimates: []time.Duration{time.Hour}, Demands: []Demand{{Gang: 1}}, Classes: make([]Class, 1), Jobs: 1}
	c := Config{Table: tb, Policy: greedy{}, Nodes: []NodeSpec{{CPU: 1000, SpeedMilli: 500}}}
	k, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	second := func(n float64) Time { return Time(n * 1e9) }
	want := func(now float64, facts []Event, risk, loss, cost float64, at Time) {
		t.Helper()
		k.Step(second(now), facts)
		var b bytes.Buffer
		if err := k.Snapshot(&b); err != nil {
			t.Fatal(err)
		}
		again, err := Restore(&b, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*State{&k.State, &again.State} {
			if got := s.AtRisk(0).Seconds(); got != risk {
				t.Errorf("at %v s: %v s at risk, wanted %v", now, got, risk)
			}
			if got := s.StopLoss(0).Seconds(); got != loss {
				t.Errorf("at %v s: a stop costs %v s, wanted %v", now, got, loss)
			}
			if s.CheckpointCost(0).Seconds() != cost || s.CheckpointedAt(0) != at {
				t.Errorf("at %v s: the last checkpoint cost %v at %v, wanted %v at %v", now, s.CheckpointCost(0), s.CheckpointedAt(0), cost, at)
			}
		}
	}
	want(0, []Event{{Kind: JobArrived, N: 1}}, 0, 0, 0, Never)
	want(2, []Event{{Kind: Started, Attempt: 1, Value: 2e9}}, 0, 0, 0, Never)
	want(12, nil, 5, 5, 0, Never)
	saved := []Event{{Kind: CheckpointDone, Attempt: 1, Done: 5 * time.Second, Value: 1e9}}
	want(13, saved, 0, 0, 1, second(13))
	want(14, nil, 0.5, 0.5, 1, second(13))
	want(23, nil, 5, 1, 1, second(13))
	down := &Detail{Name: CheckpointStorage}
	want(24, []Event{{Kind: DependencyDown, More: down}}, 5.5, 5.5, 1, second(13))
	want(25, []Event{{Kind: DependencyUp, More: down}}, 6, 1, 1, second(13))
	// Its node is lost: the next attempt has nothing at risk, and what the checkpoint cost is remembered.
	want(26, []Event{{Kind: NodeDown}, {Kind: NodeUp}}, 0, 0, 1, second(13))
	want(28, nil, 1, 1, 1, second(13))
	if got := k.Kept(0); got != 5*time.Second {
		t.Errorf("%v is kept", got)
	}
}
