package experiment

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/benchmarks/report"
	"github.com/schedlab/schedlab/benchmarks/stats"
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

func TestAMissingIntervalOfTheMeanWaitIsExplained(t *testing.T) {
	parsed := func(name string) policies.Spec {
		spec, err := policies.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	for _, c := range []struct {
		tasks    int
		warm     WarmUp
		policies []string
		want     string
	}{
		{39, WarmUp{}, []string{"fifo", "sjf"}, "no interval of the mean wait: " + stats.ErrTooShort.Error()},
		// The queue grows and shrinks once.
		{4000, WarmUp{}, []string{"fifo"}, "no interval of the mean wait: " + stats.ErrCorrelated.Error()},
		{4000, WarmUp{}, []string{"fifo", "sjf"}, "no interval of the mean wait: " + stats.ErrCorrelated.Error()},
		{4000, WarmUp{Share: 0.75}, []string{"fifo"}, ""},
	} {
		o := options(t, queue(t, c.tasks))
		o.Sim.WarmUp = c.warm
		o.Policies = nil
		for _, name := range c.policies {
			o.Policies = append(o.Policies, parsed(name))
		}
		res, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Join(res.Notes, "\n"); c.want != "" && said != c.want || c.want == "" && strings.Contains(said, "no interval") {
			t.Errorf("%d tasks under %v: %q, want %q", c.tasks, c.policies, said, c.want)
		}
	}
	// Batch means are of one load alone.
	o := options(t, queue(t, 100))
	o.Loads = []float64{0.5, 0.6}
	res, err := Run(t.Context(), o)
	if err != nil || strings.Join(res.Notes, "\n") != oneRunALoad {
		t.Error(err, res.Notes)
	}
	// Where some policies have one, the note names those that have none.
	unknown := stats.Interval{Low: math.NaN(), High: math.NaN(), N: 4000}
	r := Result{Summary: []report.Summary{{Policy: "fifo"}, {Policy: "sjf"}}}
	r.batchMeans([]stats.Interval{{Low: 1, High: 2, N: 40}, unknown})
	if said := strings.Join(r.Notes, "\n"); !strings.Contains(said, "no interval of the mean wait under sjf: "+stats.ErrCorrelated.Error()) {
		t.Error(said)
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
	if err != nil || res.Checked != 0 || !math.IsNaN(res.Runs[0].Row.LowerBound) || !slices.Contains(res.Notes, NothingChecked) {
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
