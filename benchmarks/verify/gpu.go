package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

var gpuParts = []part{
	{group: "gpu", name: "60 jobs of Tiresias", source: "references/gpu_cluster/tiresias_60job_*.csv", run: tiresias},
}

// tiresias compares start and end of each of the 60 jobs that the Tiresias simulator (Gu et al., NSDI 2019) comes with, 16 GPUs in one
// pool, at its load and at twice of it. The references hold no run of its dlas-gpu schedule: Muri's and Pollux' simulators have one, in attained.go.
func tiresias(b *bench) error {
	each, err := b.rows("references/gpu_cluster/tiresias_60job_perjob.csv")
	if err != nil {
		return err
	}
	perJob := map[[2]string]row{}
	for _, r := range each {
		perJob[[2]string{r.text("run"), r.text("job_id")}] = r
	}
	runs, err := b.rows("references/gpu_cluster/tiresias_60job_expected.csv")
	if err != nil {
		return err
	}
	as := map[string]string{"fifo": "fifo", "fjf": "fjf", "shortest": "srtf"}
	for _, e := range runs {
		policy, ok := as[e.text("schedule")]
		if !ok {
			continue
		}
		jobs, err := b.rows("references/gpu_cluster/" + e.text("trace") + ".csv")
		if err != nil {
			return err
		}
		build := traces.NewBuilder(e.text("trace"), "csv")
		for _, r := range jobs {
			d := time.Duration(r.seconds("duration"))
			err := build.Add(&traces.Row{
				ID: r.text("job_id"), Submit: r.seconds("submit_time"), Run: d, Estimate: d,
				Need: sched.Need{GPUs: int32(r.number("num_gpu")), GPUMilli: sched.Whole}, Line: r.line,
			})
			if err := errors.Join(bad(jobs), err); err != nil {
				return err
			}
		}
		w, err := build.Build()
		if err != nil {
			return err
		}
		res, err := b.run(w, "pool:16gpu", policy)
		if err != nil {
			return err
		}
		var t tally
		sum := 0.0
		for i, task := range inputOrder(w) {
			id, o := jobs[i].text("job_id"), res.Outcome(task)
			want, ok := perJob[[2]string{e.text("run"), id}]
			if !ok {
				return fmt.Errorf("%s: no job %s of run %s", each[0].file, id, e.text("run"))
			}
			t.see(o.Start == want.seconds("start_time") && o.End == want.seconds("end_time"),
				"job %s runs %g..%g s, not %s..%s", id, o.Start.Seconds(), o.End.Seconds(), want.text("start_time"), want.text("end_time"))
			sum += o.End.Sub(w.Tasks[task].Submit).Seconds()
		}
		if err := errors.Join(bad(each), bad(runs)); err != nil {
			return err
		}
		b.exact(fmt.Sprintf("%s: start and end of Tiresias' jobs (%s)", policy, e.text("run")), "jobs", &t)
		want, got := e.number("avg_jct"), sum/float64(t.all)
		b.add(Check{
			Name:     fmt.Sprintf("%s: mean JCT of Tiresias' jobs (%s), s", policy, e.text("run")),
			Expected: e.text("avg_jct"), Got: fmt.Sprintf("%.4f", got), Tolerance: "its 4 decimals", OK: abs(got-want) <= 1e-4,
		})
	}
	return bad(runs)
}
