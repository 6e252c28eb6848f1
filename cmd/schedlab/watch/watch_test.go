package watch

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/gen"
	"github.com/schedlab/schedlab/traces/graph"
	"github.com/schedlab/schedlab/traces/journal"
	"github.com/schedlab/schedlab/tui"
	"github.com/schedlab/schedlab/tui/history"
)

func build(name string) (sched.Policy, error) {
	spec, err := policies.Parse(name)
	if err != nil {
		return nil, err
	}
	return policies.Build(spec, policies.Hints{MeanEstimate: time.Minute})
}

func example(t testing.TB, policy string) sim.Config {
	t.Helper()
	w, nodes := gen.Example(1)
	p, err := build(policy)
	if err != nil {
		t.Fatal(err)
	}
	return sim.Config{Workload: w, Nodes: nodes, Policy: p, Overhead: time.Second}
}

// wait waits until nothing comes any more.
func wait(t testing.TB, r *Run) history.Frame {
	t.Helper()
	select {
	case <-r.Done():
	case <-time.After(time.Minute):
		t.Fatal("the recording does not come to its end")
	}
	f := r.Look(history.Query{Latest: true})
	if f.Err != "" || !f.Closed {
		t.Fatalf("closed %v: %s", f.Closed, f.Err)
	}
	return f
}

// record simulates into a journal in memory.
func record(t testing.TB, c sim.Config, policy string) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	start := c.Workload.Tasks[0].Submit
	jw, err := journal.NewWriter(&b, journal.Header{Policy: policy, Nodes: c.Nodes, Config: fmt.Appendf(nil, `{"start_ns":%d}`, start)}, c.Table())
	if err != nil {
		t.Fatal(err)
	}
	c.Tap = jw.Batch
	if _, err := sim.Run(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if err := jw.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

func replay(t testing.TB, src *bytes.Reader) *Run {
	t.Helper()
	return replayed(t, src, ReplaySettings{Build: build})
}

func replayed(t testing.TB, src *bytes.Reader, set ReplaySettings) *Run {
	t.Helper()
	j, err := journal.NewReader(src, src.Size())
	if err != nil {
		t.Fatal(err)
	}
	r, err := Replay(context.Background(), j, tui.Info{}, set)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance*math.Max(1, math.Abs(b)) }

// The ways in which a run can be other than plain: cut, and with facts gathered before each decision.
var ways = []struct {
	name string
	set  func(*sim.Config)
}{
	{"plain", func(*sim.Config) {}},
	{"cut", func(c *sim.Config) { c.Horizon = c.Workload.Tasks[0].Submit.Add(time.Hour) }},
	{"cut after its end", func(c *sim.Config) { c.Horizon = c.Workload.Tasks[0].Submit.Add(100 * time.Hour) }},
	{"fixed window", func(c *sim.Config) { c.Window = &sim.Window{Min: 5 * time.Second, Max: 5 * time.Second} }},
	{"adaptive window", func(c *sim.Config) {
		c.Window = &sim.Window{Min: time.Second, Max: 30 * time.Second, Cost: 200 * time.Millisecond}
	}},
	{"runs cut at estimates", func(c *sim.Config) {
		w, tb := *c.Workload, *c.Workload.Table
		tb.Estimates = slices.Clone(w.Run)
		for t := range tb.Estimates {
			if t%50 == 0 {
				tb.Estimates[t] /= 2
			}
		}
		w.Table = &tb
		c.KillAtEstimate, c.Workload = true, &w
	}},
	{"window, cut", func(c *sim.Config) {
		c.Window = &sim.Window{Min: 20 * time.Second, Max: 20 * time.Second}
		c.Horizon = c.Workload.Tasks[0].Submit.Add(50 * time.Minute)
	}},
}

// eachWay calls f for some policies in all ways. config makes the settings of one run: the policy in them keeps what it has seen.
func eachWay(t *testing.T, f func(t *testing.T, config func() sim.Config, policy string)) {
	t.Helper()
	for _, way := range ways {
		for _, policy := range []string{"fifo", "critical-path", "rr"} {
			t.Run(way.name+"/"+policy, func(t *testing.T) {
				f(t, func() sim.Config {
					c := example(t, policy)
					way.set(&c)
					return c
				}, policy)
			})
		}
	}
}

// What the screen says at the end is what schedlab compare says.
func TestTheMetricsAtTheEndAreThoseOfTheTables(t *testing.T) {
	eachWay(t, func(t *testing.T, config func() sim.Config, policy string) {
		r := Simulate(context.Background(), config(), tui.Info{Policy: policy})
		f := wait(t, r)
		c := config()
		<-Bound(c.Workload, c.Nodes, r)
		res, err := sim.Run(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		bound, err := graph.LowerBound(c.Workload.Table, c.Workload.Run, c.Workload.RunOn, c.Nodes)
		if err != nil {
			t.Fatal(err)
		}
		row := experiment.Measure(c, res, experiment.WarmUp{}, &bound)
		for _, x := range []struct {
			name      string
			got, want float64
		}{
			{"wait_mean_s", f.Metrics.WaitMean, row.WaitMean},
			{"wait_p50_s", f.Metrics.WaitP50, row.WaitP50},
			{"wait_p99_s", f.Metrics.WaitP99, row.WaitP99},
			{"jct_mean_s", f.Metrics.JCTMean, row.JCTMean},
			{"job_wait_mean_s", f.Metrics.JobWaitMean, row.JobWaitMean},
			{"makespan_s", f.Metrics.Makespan, row.Makespan},
			{"utilization_gpu", f.Metrics.Utilization, row.UtilizationGPU},
			{"utilization_cpu", f.Metrics.UtilizationCPU, row.UtilizationCPU},
			{"throughput_per_min", f.Metrics.Throughput, row.ThroughputPerMin},
			{"finished", float64(f.Metrics.Finished), float64(row.Finished)},
			{"preemptions", float64(f.Metrics.Preemptions), float64(row.Preemptions)},
		} {
			if !near(x.got, x.want, 1e-6) {
				t.Errorf("%s is %v, in the tables %v", x.name, x.got, x.want)
			}
		}
		// The tables have no bound for a run that was cut: it is one of the time for all tasks.
		if got := r.Info().LowerBound.Seconds(); math.IsNaN(row.LowerBound) != (got == 0) || got != 0 && !near(got, row.LowerBound, 1e-9) {
			t.Errorf("the lower bound is %v, in the tables %v", got, row.LowerBound)
		}
	})
}

// Why tasks waited adds up, over all tasks, to the kernel's books.
func TestTheCausesOfAllTasksAreTheKernelsBooks(t *testing.T) {
	eachWay(t, func(t *testing.T, config func() sim.Config, policy string) {
		c := config()
		r := Simulate(context.Background(), c, tui.Info{Policy: policy})
		f := wait(t, r)
		c = config()
		res, err := sim.Run(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		var sum [sched.NumCauses]float64
		for id := range c.Workload.Tasks {
			for _, x := range r.waits.causes(sched.TaskID(id), f.At, &history.TaskDetail{}) {
				sum[x.Cause] += x.Time.Seconds()
			}
		}
		for cause, want := range res.CauseSeconds {
			if !near(sum[cause], want, 1e-9) {
				t.Errorf("%v takes %v s, by the books %v", sched.Cause(cause), sum[cause], want)
			}
		}
		if c.Window != nil && sum[sched.Window] == 0 {
			t.Error("nothing waited for the decision window")
		}
	})
}

// At any instant the causes of a task fill the time from its submission, less holding; also where the instant is in the middle of a stretch.
func TestTheCausesOfATaskFillItsWaitAtAnyInstant(t *testing.T) {
	for _, way := range ways {
		c := example(t, "rr")
		way.set(&c)
		t.Run(way.name, func(t *testing.T) { causesFill(t, c) })
	}
}

func causesFill(t *testing.T, c sim.Config) {
	r := Simulate(context.Background(), c, tui.Info{Policy: "rr"})
	f := wait(t, r)
	rng := rand.New(rand.NewPCG(1, 2))
	checked := 0
	for range 1200 {
		at := f.From.Add(time.Duration(rng.Int64N(int64(f.End.Sub(f.From)))))
		id := sched.TaskID(rng.IntN(f.Tasks))
		d := r.Look(history.Query{At: at, Task: &history.TaskQuery{Task: id, Causes: true}}).Task
		if d == nil {
			continue
		}
		end := min(at, d.Row.End)
		want, got := end.Sub(d.Row.Submit)-d.Row.Run, time.Duration(0)
		for _, c := range d.Causes {
			got += c.Time
		}
		if got != want {
			t.Fatalf("task %d at %v: its causes take %v, it has waited for %v (%+v)", id, at, got, want, d.Causes)
		}
		if want > 0 {
			checked++
			if words, err := r.Explain(context.Background(), id, at); err != nil || len(words) < 2 {
				t.Fatalf("task %d at %v has waited for %v, and the explanation is %q, %v", id, at, want, words, err)
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d tasks had waited: the test shows little", checked)
	}
}

// A journal shows what the simulation showed, causes and the lower bound included.
func TestAReplayShowsTheSimulation(t *testing.T) {
	eachWay(t, func(t *testing.T, config func() sim.Config, policy string) {
		s := Simulate(context.Background(), config(), tui.Info{Policy: policy})
		c := config()
		<-Bound(c.Workload, c.Nodes, s)
		want := wait(t, s)
		r := replayed(t, record(t, c, policy), ReplaySettings{Build: build, Horizon: c.Horizon})
		got := wait(t, r)
		if got.Counts != want.Counts || got.Metrics != want.Metrics || got.End != want.End {
			t.Errorf("%+v\nthe simulation had %+v", got, want)
		}
		for id := range c.Workload.Tasks {
			id := sched.TaskID(id)
			a, b := r.waits.of(id, got.At), s.waits.of(id, got.At)
			if fmt.Sprint(strip(a)) != fmt.Sprint(strip(b)) {
				t.Fatalf("task %d waited %+v, in the simulation %+v", id, a, b)
			}
		}
		if a, b := r.Info().LowerBound, s.Info().LowerBound; a != b {
			t.Errorf("the lower bound is %v, of the simulation %v", a, b)
		}
	})
}

// strip leaves the places in the log out.
func strip(list []part) []part {
	for i := range list {
		list[i].prev = 0
	}
	return list
}

func TestAJournalOfAPolicyThatIsNotThereIsShownAllTheSame(t *testing.T) {
	c := example(t, "fifo")
	r := replay(t, record(t, c, "of-another-program"))
	f := wait(t, r)
	if f.Metrics.Finished != len(c.Workload.Tasks) {
		t.Errorf("%d tasks have finished of %d", f.Metrics.Finished, len(c.Workload.Tasks))
	}
}

func TestAJournalThatWasCutShortIsShownUpToThereAndSaysSo(t *testing.T) {
	src := record(t, million(t, 50_000), "fifo")
	b := make([]byte, src.Size()*2/3)
	if _, err := src.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	r := replay(t, bytes.NewReader(b))
	f := wait(t, r)
	if f.Metrics.Finished == 0 || r.Info().Note == "" {
		t.Errorf("%d finished, note %q", f.Metrics.Finished, r.Info().Note)
	}
}

func TestAPanicOfAPolicyClosesTheRecording(t *testing.T) {
	c := example(t, "fifo")
	c.Policy = broken{}
	r := Simulate(context.Background(), c, tui.Info{})
	<-r.Done()
	if f := r.Look(history.Query{Latest: true}); !f.Closed || f.Err == "" {
		t.Errorf("closed %v, %q", f.Closed, f.Err)
	}
}

type broken struct{}

func (broken) Observe(*sched.State, sched.Event) { panic("broken") }
func (broken) Decide(*sched.Round)               {}

// million is a workload of so many tasks on 1000 nodes of 8 GPUs.
func million(t testing.TB, tasks int) sim.Config {
	t.Helper()
	nodes, err := cluster.Parse("1000x(64cpu,512gb,8xH100)")
	if err != nil {
		t.Fatal(err)
	}
	b := traces.NewBuilder("many", "generated")
	rng := rand.New(rand.NewPCG(7, 7))
	at := 0.0
	for i := range tasks {
		at += rng.ExpFloat64() * 0.06
		gpus := int32(1) << rng.IntN(4)
		run := time.Duration(rng.ExpFloat64() * 100 * float64(time.Second))
		submit, _ := sched.Seconds(at)
		err := b.Add(&traces.Row{ID: fmt.Sprint("t", i), Submit: submit, Run: run, Estimate: run, Need: sched.Need{GPUs: gpus, GPUMilli: sched.Whole, CPU: 4000 * int64(gpus)}, Gang: 1})
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	p, err := build("fifo")
	if err != nil {
		t.Fatal(err)
	}
	return sim.Config{Workload: w, Nodes: nodes, Policy: p}
}

// screens are what the UI asks for at once, at their largest.
func screen(at sched.Time, from, to sched.Time) history.Query {
	return history.Query{
		At: at, Curves: &history.CurvesQuery{From: from, To: to, Buckets: 180}, Groups: 8, Waits: true,
		Nodes: &history.NodesQuery{Rows: 50, Heat: true}, Events: &history.EventsQuery{Rows: 50},
		Gantt: &history.GanttQuery{From: from, To: to, Cols: 180, Rows: 50, Lanes: true},
	}
}

// used returns the processor time that this thread has used: what others do on the machine does not count.
func used(t *testing.T) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Skip(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Any point of a journal of 1,000,000 events is on the screen within 100 ms of processor time, whatever point was there before: it takes about 20.
func TestScrubbingALongJournalIsQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	const tasks = 340_000 // an arrival, a start and an end each
	r := replay(t, record(t, million(t, tasks), "fifo"))
	f := wait(t, r)
	rng := rand.New(rand.NewPCG(3, 4))
	var worst time.Duration
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i := range 60 {
		at := f.From.Add(time.Duration(rng.Int64N(int64(f.End.Sub(f.From)))))
		if i < 4 {
			at = [...]sched.Time{f.End, f.From.Add(time.Second), f.End - 1, f.From.Add(time.Minute)}[i] // all the way
		}
		began := used(t)
		g := r.Look(screen(at, f.From, f.End))
		worst = max(worst, used(t)-began)
		if g.At != at || g.Counts.Submitted() == 0 {
			t.Fatalf("asked for %v, got %v with %d tasks", at, g.At, g.Counts.Submitted())
		}
	}
	t.Logf("the slowest of 60 points took %v", worst)
	if worst > 100*time.Millisecond {
		t.Errorf("the slowest of 60 points took %v", worst)
	}
}

func BenchmarkScrub(b *testing.B) {
	r := replay(b, record(b, million(b, 340_000), "fifo"))
	f := wait(b, r)
	rng := rand.New(rand.NewPCG(3, 4))
	var worst time.Duration
	for b.Loop() {
		at := f.From.Add(time.Duration(rng.Int64N(int64(f.End.Sub(f.From)))))
		began := time.Now()
		r.Look(screen(at, f.From, f.End))
		worst = max(worst, time.Since(began))
	}
	b.ReportMetric(float64(worst)/1e6, "worst-ms")
}
