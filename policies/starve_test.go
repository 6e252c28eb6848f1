package policies_test

import (
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/policytest"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// starves returns the sieges on which a policy keeps the victim waiting for longer than a policy may that starves nothing.
func starves(t *testing.T, name string, sieges []policytest.Siege) (found []string) {
	t.Helper()
	spec, err := policies.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sieges {
		var sum time.Duration
		for _, e := range s.Case.Table.Estimates {
			sum += e
		}
		p, err := policies.Build(spec, policies.Hints{MeanEstimate: sum / time.Duration(len(s.Case.Run))})
		if err != nil {
			t.Fatal(err)
		}
		wait := s.Wait(t, p, inSim)
		if wait > s.Bound {
			found = append(found, s.Name)
		}
		t.Logf("%s: waits %v at a stretch, bound %v", s.Name, wait, s.Bound)
	}
	return found
}

// TestAPolicyStarvesATaskExactlyIfItSaysSo besieges a task under every policy. The variants are what the entries say of their parameters.
func TestAPolicyStarvesATaskExactlyIfItSaysSo(t *testing.T) {
	sieges := policytest.Sieges()
	claims := map[string]bool{"drf{skip=false}": false, "themis{skip=false}": true, "hrrn{skip=false}": true, "fair-share{skip=false}": false, "fair-share{skip=false,half-life=6h}": false, "critical-path{patience=20h}": false, "allox{patience=1}": false}
	for _, e := range policies.Catalogue {
		claims[e.Name] = e.Starves
		about := strings.ToLower(e.About)
		may, never := strings.Contains(about, "may starve"), strings.Contains(about, "never starves") || strings.Contains(about, "nothing starves")
		switch {
		case e.Starves && !may:
			t.Errorf("%s starves tasks, and About does not say which may starve", e.Name)
		case !e.Starves && (may || !never):
			t.Errorf("%s is said to starve nothing, and About does not say that it never starves a task, or says that one may starve", e.Name)
		}
	}
	for name, claim := range claims {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := starves(t, name, sieges)
			switch {
			case claim && len(found) == 0:
				t.Error("it is said to starve tasks, and does so nowhere")
			case !claim && len(found) > 0:
				t.Errorf("it is said to starve nothing, and does: %s", strings.Join(found, "; "))
			}
		})
	}
}

// TestASiegeStarvesWhatComesLastAndNothingInTheOrderOfArrival says that the sieges tell policies apart: in the order of arrival no victim waits a
// fifth of the bound, and where it comes last each starves.
func TestASiegeStarvesWhatComesLastAndNothingInTheOrderOfArrival(t *testing.T) {
	for _, s := range policytest.Sieges() {
		if wait := s.Wait(t, build(t, "fifo")(), inSim); wait > s.Bound/5 {
			t.Errorf("%s: fifo lets it wait %v, the bound is %v", s.Name, wait, s.Bound)
		}
		last := &policies.List{Skip: true, Key: func(_ *sched.State, u sched.TaskID) int64 {
			if u == s.Victim {
				return 1
			}
			return 0
		}}
		if wait := s.Wait(t, last, inSim); wait <= s.Bound {
			t.Errorf("%s: it waits %v where it comes last, within the bound of %v", s.Name, wait, s.Bound)
		}
	}
}

// Where estimates are too short, whoever loses a promise, or the reservation of the head, is not passed by for ever: a stream of small tasks that keeps the nodes full lets
// the wide ones start. Behind all the promises of others each waited for the whole stream.
func TestEstimatesThatAreTooShortStarveNobodyUnderBackfilling(t *testing.T) {
	for _, factor := range []float64{0.5, 0.9} {
		var rows []traces.Row
		for i := range 4000 {
			r := cores(float64(i)*2.4, 10, 1)
			if i%100 == 50 {
				r.Need.CPU = 4000
			}
			r.Estimate = time.Duration(float64(r.Run) * factor)
			rows = append(rows, r)
		}
		w := workload(t, rows...)
		longest := func(name string) (wait float64) {
			res := simulate(t, config(w, machines(1, 4, 0), build(t, name)(), nil))
			for i := range w.Tasks {
				o := res.Outcome(sched.TaskID(i))
				wait = max(wait, o.Start.Sub(o.Ready).Seconds())
			}
			return wait
		}
		fifo := longest("fifo")
		for _, name := range []string{"conservative", "easy"} {
			if wait := longest(name); wait > 1.5*fifo {
				t.Errorf("%s, estimates of %g times the run: the longest wait is %g s, under fifo %g", name, factor, wait, fifo)
			}
		}
	}
}
