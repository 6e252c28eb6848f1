package policies_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

// plainQSSF predicts anew before each comparison, from the outcomes of all tasks.
func plainQSSF(skip bool, samples int) sched.Policy {
	predict := func(s *sched.State, t sched.TaskID) time.Duration {
		c := s.Class(t)
		for _, like := range []func(u *sched.Class) bool{
			func(u *sched.Class) bool { return u.Tenant == c.Tenant && u.Kind == c.Kind },
			func(u *sched.Class) bool { return u.Tenant == c.Tenant },
			func(*sched.Class) bool { return true },
		} {
			var sum time.Duration
			n := 0
			for u := range sched.TaskID(s.Known()) {
				if o := s.Outcome(u); o.Phase == sched.Done && o.End < s.FirstReady(t) && like(s.Class(u)) {
					sum += o.Held.Truncate(time.Microsecond)
					n++
				}
			}
			if n >= samples {
				return (sum / time.Duration(n)).Truncate(time.Microsecond)
			}
		}
		return s.Estimate(t)
	}
	service := func(s *sched.State, t sched.TaskID) int64 {
		size := s.Demand(t).GPUTotal()
		if size == 0 {
			size = max(s.Demand(t).CPUTotal(), 1)
		}
		return int64(predict(s, t)) * size / 1000
	}
	return &plainOrder{skip: skip, before: func(s *sched.State, a, b sched.TaskID) int {
		return cmp.Or(cmp.Compare(service(s, a), service(s, b)), cmp.Compare(a, b))
	}}
}

func TestQSSFPredictsTheMeanOfThePast(t *testing.T) {
	agrees(t, "qssf", func() sched.Policy { return plainQSSF(true, 1) })
	agrees(t, "qssf{skip=false,samples=3}", func() sched.Policy { return plainQSSF(false, 3) })
}

// repeated are jobs that users submit again and again: each user has kinds of jobs whose run times are alike, and the estimate of all is a day.
func repeated(t testing.TB, jobs int, load float64) *traces.Workload {
	rng := rand.New(rand.NewPCG(8, 9))
	const users, kinds = 12, 6
	var typical [users][kinds]float64
	for u := range typical {
		for k := range typical[u] {
			typical[u][k] = 30 * float64(int(1)<<rng.IntN(9)) // 30 s to 2 h
		}
	}
	var rows []traces.Row
	area := 0.0
	for range jobs {
		u, k := rng.IntN(users), rng.IntN(kinds)
		r := devices(0, typical[u][k]*(0.7+0.6*rng.Float64()), int32(1)<<rng.IntN(3))
		r.Tenant, r.Kind, r.Estimate = strconv.Itoa(u), strconv.Itoa(k), 24*time.Hour
		area += r.Run.Seconds() * float64(r.Need.GPUs)
		rows = append(rows, r)
	}
	at := 0.0
	for i := range rows { // Poisson, on 64 GPUs
		rows[i].Submit = second(at)
		at += area / float64(jobs) / (64 * load) * rng.ExpFloat64()
	}
	return workload(t, rows...)
}

func meanWait(t testing.TB, w *traces.Workload, nodes []sched.NodeSpec, policy string, perfect bool) float64 {
	c := config(w, nodes, build(t, policy)(), nil)
	if perfect {
		c.Estimates = w.Run
	}
	res := simulate(t, c)
	sum := 0.0
	for id := range w.Tasks {
		o := res.Outcome(sched.TaskID(id))
		sum += o.Wait().Seconds()
	}
	return sum / float64(len(w.Tasks))
}

// TestQSSFPredictsBehindADecisionWindow: a task is told a moment after it was submitted, and its run time is predicted all the same.
// Without predictions the wait is four times as long.
func TestQSSFPredictsBehindADecisionWindow(t *testing.T) {
	w := repeated(t, 3000, 0.95)
	nodes := machines(8, 64, 8)
	c := config(w, nodes, build(t, "qssf")(), nil)
	at := simulate(t, c)
	c = config(w, nodes, build(t, "qssf")(), nil)
	c.Window = &sim.Window{Min: 50 * time.Millisecond, Max: 50 * time.Millisecond}
	behind := simulate(t, c)
	var sums [2]float64
	for id := range w.Tasks {
		sums[0] += at.Outcome(sched.TaskID(id)).Wait().Seconds()
		sums[1] += behind.Outcome(sched.TaskID(id)).Wait().Seconds()
	}
	if math.Abs(sums[1]/sums[0]-1) > 0.2 {
		t.Errorf("tasks wait %.0f s in all, %.0f s behind a window of 50 ms", sums[0], sums[1])
	}
}

func TestOfRepeatedJobsQSSFKnowsNearlyAsMuchAsIfItWereTold(t *testing.T) {
	w := repeated(t, 8000, 0.95)
	nodes := machines(8, 64, 8)
	fifo, fjf := meanWait(t, w, nodes, "fifo", false), meanWait(t, w, nodes, "fjf", false)
	qssf := meanWait(t, w, nodes, "qssf", false)
	blind, told := meanWait(t, w, nodes, "sjf", false), meanWait(t, w, nodes, "sjf", true)
	t.Logf("mean wait, s: fifo %.0f, fjf %.0f, sjf by estimates that say nothing %.0f, qssf %.0f, sjf told the run times %.0f", fifo, fjf, blind, qssf, told)
	if qssf > fifo/5 || qssf > 0.75*fjf || qssf > 0.75*blind {
		t.Errorf("qssf waits %.0f s, fifo %.0f, fjf %.0f, sjf by estimates that say nothing %.0f", qssf, fifo, fjf, blind)
	}
	if qssf > 1.25*told {
		t.Errorf("qssf waits %.0f s, %.0f if it were told the run times", qssf, told)
	}
}
