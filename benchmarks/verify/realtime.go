package verify

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/realtime"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

var realtimeParts = []part{
	{group: "realtime", name: "T1, T2, T3", source: "worked example: periods 10, 25, 50 ms, run times 2, 5, 8", run: threeTasks},
	{group: "realtime", name: "response times", source: "references/realtime/rta_cases.json", run: responseTimes},
}

// threeTasks is the reference set T1 (period 10 ms, C 2), T2 (25, 5), T3 (50, 8).
func threeTasks(b *bench) error {
	const ms = time.Millisecond
	set := realtime.Set{{Name: "T1", C: 2 * ms, T: 10 * ms}, {Name: "T2", C: 5 * ms, T: 25 * ms}, {Name: "T3", C: 8 * ms, T: 50 * ms}}
	r, err := realtime.Analyze(set, realtime.RM)
	if err != nil {
		return err
	}
	b.add(Check{
		Name: "T1, T2, T3: utilization and Liu-Layland bound", Expected: "0.5600 <= 0.7798, passes", Tolerance: "4 decimals",
		Got: fmt.Sprintf("%.4f <= %.4f, %s", r.Utilization, r.LiuLayland.Limit, map[bool]string{true: "passes", false: "fails"}[r.LiuLayland.Passes]),
		OK:  fmt.Sprintf("%.4f %.4f", r.Utilization, r.LiuLayland.Limit) == "0.5600 0.7798" && r.LiuLayland.Passes && r.Schedulable != nil && *r.Schedulable,
	})
	return b.responses("T1, T2, T3", set, []time.Duration{2 * ms, 7 * ms, 17 * ms}, ms)
}

// responseTimes takes the published task sets, highest priority first, and the table of Liu and Layland's bound.
func responseTimes(b *bench) error {
	var ref struct {
		Bounds map[string]float64 `json:"LL_bound"`
		Cases  []struct {
			Name  string
			Tasks [][3]int64 // C, T, D
			R     []int64
		}
	}
	if err := b.json(b.source, &ref); err != nil {
		return err
	}
	var t tally
	for n := 1; len(ref.Bounds) > t.all; n++ {
		want, ok := ref.Bounds[strconv.Itoa(n)]
		if !ok {
			if n > 1_000_000 {
				return fmt.Errorf("%s: LL_bound has a key that is no number of tasks", b.source)
			}
			continue
		}
		got := realtime.LiuLayland(n)
		t.see(abs(got-want) <= 1e-6, "%d tasks: %.6f, not %.6f", n, got, want)
	}
	b.exact("Liu-Layland bound, 6 decimals", "sizes", &t)
	for _, c := range ref.Cases {
		if len(c.R) != len(c.Tasks) {
			return fmt.Errorf("%s: %s: %d tasks, %d response times", b.source, c.Name, len(c.Tasks), len(c.R))
		}
		var set realtime.Set
		var want []time.Duration
		for i, k := range c.Tasks {
			set = append(set, realtime.Task{
				Name: fmt.Sprintf("t%d", i+1), C: time.Duration(k[0]) * time.Second, T: time.Duration(k[1]) * time.Second,
				D: time.Duration(k[2]) * time.Second, Priority: int32(-i),
			})
			want = append(want, time.Duration(c.R[i])*time.Second)
		}
		if err := b.responses(c.Name, set, want, time.Second); err != nil {
			return fmt.Errorf("%s: %s: %w", b.source, c.Name, err)
		}
	}
	return nil
}

// responses compares response times by analysis and by simulation. The set stands in the order of priority, which must be that of its
// periods or of its deadlines. All tasks are released at once, which is the worst case (Liu and Layland 1973, theorem 1), so that
// the first job's response is R and no later one's is longer.
func (b *bench) responses(name string, set realtime.Set, want []time.Duration, unit time.Duration) error {
	order, policy := realtime.RM, "rms"
	for _, k := range set {
		if k.Deadline() < k.T {
			order, policy = realtime.DM, "dm"
		}
	}
	ranks := set.Ranks(order)
	for i, r := range ranks {
		if r != i {
			return fmt.Errorf("the tasks are not in the order of %s", order)
		}
	}
	got, err := set.ResponseTimes(ranks)
	if err != nil {
		return err
	}
	b.add(Check{
		Name: name + ": response times by analysis", Expected: list(want, unit), Got: list(got, unit), Tolerance: "all equal", OK: list(got, unit) == list(want, unit),
	})

	build := traces.NewBuilder(name, "csv")
	for _, k := range set {
		if err := build.Add(&traces.Row{ID: k.Name, Run: k.C, Estimate: k.C, Need: sched.Need{CPU: 1000}, Period: k.T, Deadline: k.Deadline()}); err != nil {
			return err
		}
	}
	w, err := build.Build()
	if err != nil {
		return err
	}
	horizon, ok := set.Hyperperiod()
	if !ok {
		return fmt.Errorf("the hyperperiod does not fit")
	}
	if w, err = w.Expand(sched.Time(horizon)); err != nil {
		return err
	}
	res, err := b.run(w, "pool:1cpu", policy)
	if err != nil {
		return err
	}
	first, worst := make([]time.Duration, len(set)), make([]time.Duration, len(set))
	for t := range w.Tasks {
		id, release, ok := strings.Cut(w.TaskNames.At(t), "#")
		n, err := strconv.Atoi(strings.TrimPrefix(id, set[0].Name[:1]))
		if !ok || err != nil || n < 1 || n > len(set) {
			return fmt.Errorf("unexpected release %q", w.TaskNames.At(t))
		}
		r := res.Outcome(sched.TaskID(t)).End.Sub(w.Tasks[t].Submit)
		if release == "1" {
			first[n-1] = r
		}
		worst[n-1] = max(worst[n-1], r)
	}
	g := list(first, unit)
	if w := list(worst, unit); w != g {
		g += ", later up to " + w
	}
	b.add(Check{
		Name: fmt.Sprintf("%s: first and longest responses of %d jobs under %s", name, len(w.Tasks), policy), Expected: list(want, unit), Got: g,
		Tolerance: "all equal", OK: g == list(want, unit),
	})
	return nil
}

// list prints durations in a unit.
func list(ds []time.Duration, unit time.Duration) string {
	var out []string
	for _, d := range ds {
		out = append(out, num(float64(d)/float64(unit)))
	}
	return strings.Join(out, " ") + " " + strings.TrimPrefix(unit.String(), "1")
}
