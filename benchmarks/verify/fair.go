package verify

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

var fairParts = []part{
	{group: "gpu", name: "the example of DRF", source: "references/gpu_cluster/drf_example.json", run: drfExample},
	{group: "gpu", name: "decayed fair share", source: "closed form: uses halved each half-life", run: fairShare},
	{group: "gpu", name: "finish-time fairness", source: "closed form: two like jobs on one GPU", run: finishTime},
	{group: "queueing", name: "one processor by hand", source: "Stallings, Operating Systems, tables 9.4 and 9.5", run: onProcessor},
	{group: "queueing", name: "the conservation law", source: "Kleinrock, Naval Research Logistics Quarterly 12, 1965", run: conservation},
}

// drfExample is the worked example of the DRF paper (NSDI 2011, section 4.1): 9 CPUs and 18 GB, tasks of (1 CPU, 4 GB) and (3 CPU, 1 GB).
func drfExample(b *bench) error {
	var ref struct {
		Example struct {
			Cluster struct{ CPU, Mem int64 }
			DemandA [2]int64
			DemandB [2]int64
			Tasks   struct{ A, B int }
			Shares  []float64 `json:"dominant_shares"`
		} `json:"DRF_NSDI11_example"`
	}
	if err := b.json(b.source, &ref); err != nil {
		return err
	}
	x := ref.Example
	if len(x.Shares) != 2 || x.Cluster.CPU <= 0 || x.Cluster.Mem <= 0 {
		return fmt.Errorf("%s: no example of two tenants", b.source)
	}
	build := traces.NewBuilder("drf", "json")
	demands := map[string][2]int64{"A": x.DemandA, "B": x.DemandB}
	for range 20 { // more than fit
		for _, tenant := range []string{"A", "B"} {
			d := demands[tenant]
			row := traces.Row{Tenant: tenant, Run: time.Hour, Estimate: time.Hour, Need: sched.Need{CPU: d[0] * 1000, Mem: d[1] << 30}}
			if err := build.Add(&row); err != nil {
				return err
			}
		}
	}
	w, err := build.Build()
	if err != nil {
		return err
	}
	for _, policy := range []string{"drf{skip=false}", "drf"} {
		res, err := b.run(w, fmt.Sprintf("1x(%dcpu,%dgb)", x.Cluster.CPU, x.Cluster.Mem), policy)
		if err != nil {
			return err
		}
		tasks := map[string]int{}
		for t := range w.Tasks {
			if res.Outcome(sched.TaskID(t)).Start == 0 {
				tasks[w.Tenants[w.ClassOf(sched.TaskID(t)).Tenant]]++
			}
		}
		var shares []float64
		for _, tenant := range []string{"A", "B"} {
			d, n := demands[tenant], float64(tasks[tenant])
			shares = append(shares, max(n*float64(d[0])/float64(x.Cluster.CPU), n*float64(d[1])/float64(x.Cluster.Mem)))
		}
		say := func(a, b int, s []float64) string {
			return fmt.Sprintf("A %d, B %d tasks; dominant shares %.6f, %.6f", a, b, s[0], s[1])
		}
		want, got := say(x.Tasks.A, x.Tasks.B, x.Shares), say(tasks["A"], tasks["B"], shares)
		b.add(Check{Name: policy + ": who runs in the example of DRF", Expected: want, Got: got, Tolerance: "equal", OK: got == want})
	}
	return nil
}

// fairShare holds decayed fair share against two closed forms. A tenant that has had a GPU alone for L and then competes gets its next turn when
// the decayed uses are equal, after H log2(2 - 2^(-L/H)). Tenants that always have more to do hold shares in proportion to their weights.
func fairShare(b *bench) error {
	const h, slice = 3600, 1
	row := func(tenant string, submit, run float64, gpus int32) *traces.Row {
		d := time.Duration(run * 1e9)
		return &traces.Row{Tenant: tenant, Submit: sched.Time(submit * 1e9), Run: d, Estimate: d, Need: sched.Need{GPUs: gpus, GPUMilli: sched.Whole}}
	}
	for _, l := range []float64{600, 3600, 36000} {
		build := traces.NewBuilder("alone", "check")
		for range int(l) + 3*h {
			if err := build.Add(row("red", 0, slice, 1)); err != nil {
				return err
			}
		}
		for range 3 * h {
			if err := build.Add(row("blue", l, slice, 1)); err != nil {
				return err
			}
		}
		w, err := build.Build()
		if err != nil {
			return err
		}
		res, err := b.run(w, "pool:1gpu", "fair-share{half-life=1h}", func(c *sim.Config) { c.Horizon = sched.Time((l + 2*h) * 1e9) })
		if err != nil {
			return err
		}
		back := sched.Never
		for t := range w.Tasks {
			o := res.Outcome(sched.TaskID(t))
			if w.Tenants[w.ClassOf(sched.TaskID(t)).Tenant] == "red" && o.Start > sched.Time(l*1e9) {
				back = min(back, o.Start)
			}
		}
		want, got := h*math.Log2(2-math.Exp2(-l/h)), back.Seconds()-l
		b.add(Check{
			Name:     fmt.Sprintf("fair-share: next turn after %g s alone, half-life 3600 s, s", l),
			Expected: fmt.Sprintf("%.1f", want), Got: fmt.Sprintf("%.0f", got), Tolerance: "2 tasks of 1 s", OK: abs(got-want) <= 2*slice,
		})
	}
	build := traces.NewBuilder("busy", "check")
	for i := range 4000 {
		if err := errors.Join(build.Add(row("red", 0, 100+float64(i%7)*30, 1)), build.Add(row("blue", 0, 40+float64(i%11)*20, int32(1+i%2)))); err != nil {
			return err
		}
	}
	w, err := build.Build()
	if err != nil {
		return err
	}
	const until = sched.Time(15_000 * 1e9)
	for _, weights := range []string{"1:1", "3:1", "2:3"} {
		red, blue, _ := strings.Cut(weights, ":")
		res, err := b.run(w, "2x8xA100", fmt.Sprintf("fair-share{weights=red:%s/blue:%s}", red, blue))
		if err != nil {
			return err
		}
		held := map[string]float64{}
		for t := range w.Tasks {
			id := sched.TaskID(t)
			if o := res.Outcome(id); o.Start < until {
				held[w.Tenants[w.ClassOf(id).Tenant]] += float64(w.DemandOf(id).GPUTotal()) * min(o.End, until).Sub(o.Start).Seconds()
			}
		}
		var r, bl float64
		if _, err := fmt.Sscan(red, &r); err != nil {
			return err
		}
		if _, err := fmt.Sscan(blue, &bl); err != nil {
			return err
		}
		b.near("fair-share: GPU time of red of two busy tenants with weights "+weights, r/(r+bl), held["red"]/(held["red"]+held["blue"]), 0.01)
	}
	return nil
}

// finishTime is the smallest example of finish-time fairness: n like jobs of E on one GPU share it by leases of L, and the i-th ends at
// n E - (n - i) L.
func finishTime(b *bench) error {
	const e, lease = 40, 10
	for _, n := range []int{2, 3, 4} {
		build := traces.NewBuilder("alike", "check")
		var want []string
		for i := range n {
			row := traces.Row{Run: e * time.Second, Estimate: e * time.Second, Need: sched.Need{GPUs: 1, GPUMilli: sched.Whole}}
			if err := build.Add(&row); err != nil {
				return err
			}
			want = append(want, fmt.Sprint(n*e-(n-1-i)*lease))
		}
		w, err := build.Build()
		if err != nil {
			return err
		}
		res, err := b.run(w, "pool:1gpu", fmt.Sprintf("themis{lease=%ds}", lease))
		if err != nil {
			return err
		}
		var ends []sched.Time
		for t := range w.Tasks {
			ends = append(ends, res.Outcome(sched.TaskID(t)).End)
		}
		slices.Sort(ends)
		var got []string
		for _, at := range ends {
			got = append(got, fmt.Sprint(at.Seconds()))
		}
		b.add(Check{
			Name: fmt.Sprintf("themis: ends of %d jobs of %d s on one GPU, leases of %d s, s", n, e, lease), Expected: strings.Join(want, " "),
			Got: strings.Join(got, " "), Tolerance: "equal", OK: slices.Equal(got, want),
		})
	}
	return nil
}

// onProcessor is the process set of Stallings' textbook, by which schedulers of one processor are explained; its finish times are worked out by
// hand in a minute.
func onProcessor(b *bench) error {
	build := traces.NewBuilder("Stallings", "check")
	for i, service := range []time.Duration{3, 6, 4, 5, 2} {
		row := traces.Row{Submit: sched.Time(2*i) * 1e9, Run: service * time.Second, Estimate: service * time.Second, Need: sched.Need{CPU: 1000}}
		if err := build.Add(&row); err != nil {
			return err
		}
	}
	w, err := build.Build()
	if err != nil {
		return err
	}
	for _, x := range []struct{ policy, name, ends string }{
		{"fifo", "FCFS", "3 9 13 18 20"},
		{"sjf", "SPN", "3 9 15 20 11"},
		{"srtf", "SRT", "3 15 8 20 10"},
		{"hrrn", "HRRN", "3 9 13 20 15"},
	} {
		res, err := b.run(w, "pool:1cpu", x.policy)
		if err != nil {
			return err
		}
		var ends []string
		for t := range w.Tasks {
			ends = append(ends, fmt.Sprint(res.Outcome(sched.TaskID(t)).End.Seconds()))
		}
		got := strings.Join(ends, " ")
		b.add(Check{
			Name: x.policy + ": finish times of Stallings' processes A to E under " + x.name, Expected: x.ends, Got: got, Tolerance: "equal", OK: got == x.ends,
		})
	}
	return nil
}

// conservation holds a single server against Kleinrock's conservation law: the order in which a server that does not preempt and does not idle
// takes its jobs changes no wait but at the cost of others, so that the sum of wait x service over the jobs is that of fifo, on the same random
// numbers exactly. (Its mean in M/G/1 is rho x the mean wait of Pollaczek and Khinchine, which the rows of M/G/1 look at.)
func conservation(b *bench) error {
	jobs := 200_000
	if b.opt.Short {
		jobs = 20_000
	}
	w := b.queues.workers[0]
	for _, kind := range []law{exponential, h2} {
		title := map[law]string{exponential: "M/M/1", h2: "M/H2/1"}[kind]
		fifo := 0.0
		for _, policy := range []string{"fifo", "sjf", "hrrn", "qssf"} {
			res, err := w.simulate(b.ctx, queue{law: kind, servers: 1, rho: 0.9, policy: policy}, jobs, 0)
			if err != nil {
				return err
			}
			sum := 0.0
			for t := range jobs {
				sum += res.Outcome(sched.TaskID(t)).Wait().Seconds() * w.run[t].Seconds()
			}
			if policy == "fifo" {
				fifo = sum
				continue
			}
			b.near(fmt.Sprintf("%s, load 0.9, %s: wait x service of %d jobs, s2", title, policy, jobs), fifo, sum, 1e-9)
		}
	}
	return nil
}
