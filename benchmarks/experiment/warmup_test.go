package experiment

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

// queue is a trace of n tasks of 10 s on one GPU, a task a second at first and one in 20 s later: the first half waits, the second soon
// does not.
func queue(t *testing.T, n int) *traces.Workload {
	t.Helper()
	var b strings.Builder
	b.WriteString("id,submit_s,run_s,gpus\n")
	at := 0.0
	for i := range n {
		fmt.Fprintf(&b, "t%d,%g,%g,1\n", i, at, 9+float64(i*7919%100)/50)
		if i < n/4 {
			at++
		} else {
			at += 20
		}
	}
	w, err := traces.Read(strings.NewReader(b.String()), "queue.csv", "")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func options(t *testing.T, w *traces.Workload) Options {
	t.Helper()
	spec, err := policies.Parse("fifo")
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := cluster.Parse("1x1xA100")
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Source: Source{Fixed: true, Load: func(int64) (*traces.Workload, error) { return w, nil }}, Nodes: nodes, Policies: []policies.Spec{spec},
		Seeds: []int64{1}, Estimates: Estimates{Kind: "trace"}, Workers: 1,
	}
}

func TestTheIntervalOfTheMeanWaitIsOfTheTasksThatTheMeanCounts(t *testing.T) {
	w := queue(t, 4000)
	o := options(t, w)
	o.Sim.WarmUp = WarmUp{Share: 0.75}
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ci, ok := res.Summary[0].CI["wait_mean_s"]
	mean := res.Summary[0].Mean.WaitMean
	if !ok || math.Abs(ci.Mean-mean) > 1e-9*math.Max(mean, 1) || ci.Low > mean || mean > ci.High || ci.Low < 0 {
		t.Errorf("mean %g, interval %+v", mean, ci)
	}
}

func TestARunThatAHorizonCutsIsNotCalledCheckedAndHasNoBound(t *testing.T) {
	o := options(t, queue(t, 100))
	o.Check = true
	res, err := Run(t.Context(), o)
	if err != nil || res.Checked != 1 || math.IsNaN(res.Runs[0].Row.LowerBound) {
		t.Fatal(err, res)
	}
	o.Sim.Horizon = 100 * time.Second
	res, err = Run(t.Context(), o)
	if err != nil || res.Checked != 0 || !math.IsNaN(res.Runs[0].Row.LowerBound) || len(res.Notes) != 1 || res.Notes[0] != NothingChecked {
		t.Error(err, res)
	}
}

func TestAWarmUpThatLeavesNoTaskIsAnError(t *testing.T) {
	o := options(t, queue(t, 10))
	o.Sim.WarmUp = WarmUp{After: time.Hour}
	if _, err := Run(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), "queue.csv: a warm-up of 1h0m0s leaves no task") {
		t.Error(err)
	}
}
