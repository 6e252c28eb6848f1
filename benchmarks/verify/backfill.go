package verify

import (
	"errors"
	"fmt"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
)

var backfillParts = []part{
	{group: "backfill", name: "unit cases of pyss", source: "references/backfill/pyss_unit_cases.csv", run: pyss},
	{group: "backfill", name: "SDSC SP2 under FCFS", source: "references/backfill/sdsc_sp2_5k_*.csv", run: sdsc},
	{group: "backfill", name: "medium_late of Batsim", source: "traces/hpc/batsim/medium_late.*", run: batsched},
}

// batsched compares with what Batsim's own schedulers made of a workload of 801 jobs on 32 nodes of one processor, job by job: EASY that keeps the
// lowest-numbered nodes for the head of the line, and conservative backfilling. Its clock rounds to some microseconds, so starts count as equal within 20 us.
func batsched(b *bench) error {
	w, err := traces.Open(b.path("traces/hpc/batsim/medium_late.json.gz"), "batsim")
	if err != nil {
		return err
	}
	for _, c := range []struct {
		policy, file    string
		relMean, relMax float64
	}{{"easy", "easy", 1e-6, 1e-6}, {"conservative", "conservative", 0.001, 0}} {
		res, err := b.run(w, "32x1cpu", c.policy, func(c *sim.Config) { c.KillAtEstimate = true })
		if err != nil {
			return err
		}
		totals, err := b.rows("traces/hpc/batsim/medium_late." + c.file + ".out_schedule.csv")
		if err != nil {
			return err
		}
		jobs, err := b.rows("traces/hpc/batsim/medium_late." + c.file + ".out_jobs.csv.gz")
		if err != nil {
			return err
		}
		starts := map[string]row{}
		for _, r := range jobs {
			starts[r.text("job_id")] = r
		}
		var t tally
		wait, longest := 0.0, 0.0
		for i := range w.Tasks {
			o, id := res.Outcome(sched.TaskID(i)), w.TaskNames.At(i)
			wait += o.Wait().Seconds()
			longest = max(longest, o.Wait().Seconds())
			r, ok := starts[id]
			if !ok {
				return fmt.Errorf("%s: no job %s", jobs[0].file, id)
			}
			want := r.number("starting_time")
			t.see(abs(o.Start.Seconds()-want) <= 2e-5, "job %s starts at %.6f s, not %.6f", id, o.Start.Seconds(), want)
		}
		if err := errors.Join(bad(totals), bad(jobs)); err != nil {
			return err
		}
		b.exact(c.policy+": start of every job of medium_late on 32x1cpu", "jobs", &t)
		b.near(c.policy+": mean wait of medium_late on 32x1cpu, s", totals[0].number("mean_waiting_time"), wait/float64(len(w.Tasks)), c.relMean)
		if c.relMax > 0 {
			b.near(c.policy+": longest wait of medium_late on 32x1cpu, s", totals[0].number("max_waiting_time"), longest, c.relMax)
		}
	}
	return nil
}

// pyss compares the finish of every job of the unit tests of pyss, the simulator of D. Feitelson's group, 100 processors each.
func pyss(b *bench) error {
	all, err := b.rows(b.source)
	if err != nil {
		return err
	}
	for _, as := range [][2]string{
		{"fcfs", "fifo"},
		{"easy", "easy"},
		{"easy_sjbf", "easy{scan=sjbf}"},
		{"easy_reverse_order", "easy{scan=reverse}"},
		{"easy_perfect_estimates", "easy{estimates=perfect}"},
		{"easy_lookahead", "easy{scan=lookahead}"},
		{"conservative", "conservative"},
	} {
		var t tally
		for from := 0; from < len(all); {
			to := from
			for to < len(all) && all[to].text("policy") == all[from].text("policy") && all[to].text("case") == all[from].text("case") {
				to++
			}
			group := all[from:to]
			from = to
			if group[0].text("policy") != as[0] {
				continue
			}
			w, err := rigid(group)
			if err != nil {
				return err
			}
			res, err := b.run(w, "pool:100cpu", as[1])
			if err != nil {
				return err
			}
			for i, task := range inputOrder(w) {
				got, want := res.Outcome(task).End, group[i].seconds("expected_finish")
				t.see(got == want, "line %d ends at %g s, not %g", group[i].line, got.Seconds(), want.Seconds())
			}
		}
		if err := bad(all); err != nil {
			return err
		}
		b.exact(fmt.Sprintf("%s: finish of every job of pyss' %s cases", as[1], as[0]), "jobs", &t)
	}
	return nil
}

// sdsc compares the start of each of 4961 jobs of SDSC SP2 and the summary of the run.
func sdsc(b *bench) error {
	jobs, err := b.rows("references/backfill/sdsc_sp2_5k_workload.csv")
	if err != nil {
		return err
	}
	starts, err := b.rows("references/backfill/sdsc_sp2_5k_fcfs_starts.csv")
	if err != nil {
		return err
	}
	summary, err := b.rows("references/backfill/sdsc_sp2_5k_fcfs_summary.csv")
	if err != nil {
		return err
	}
	w, err := rigid(jobs)
	if err != nil {
		return err
	}
	if len(starts) != len(w.Tasks) {
		return fmt.Errorf("%d starts for %d jobs", len(starts), len(w.Tasks))
	}
	res, err := b.run(w, "pool:128cpu", "fifo")
	if err != nil {
		return err
	}
	var t tally
	wait, slow, last := 0.0, 0.0, sched.Time(0)
	for i, task := range inputOrder(w) {
		o, want := res.Outcome(task), starts[i].seconds("start")
		t.see(o.Start == want, "job %s starts at %g s, not %g", starts[i].text("job_id"), o.Start.Seconds(), want.Seconds())
		wait += o.Wait().Seconds()
		slow += boundedSlowdown(o)
		last = max(last, o.End)
	}
	n, s := float64(t.all), summary[0]
	b.exact("fifo: start of every job of SDSC SP2", "jobs", &t)
	b.near("fifo: mean wait on SDSC SP2, s", s.number("mean_wait_s"), wait/n, 1e-6)
	b.near("fifo: mean bounded slowdown on SDSC SP2", s.number("mean_bounded_slowdown10"), slow/n, 1e-6)
	b.near("fifo: last finish on SDSC SP2, s", s.number("last_finish"), last.Seconds(), 0)
	span := last.Sub(w.Tasks[0].Submit).Seconds()
	b.near("fifo: utilization on SDSC SP2", s.number("utilization"), res.CPUSeconds/span/128, 1e-5)
	if err := bad(starts); err != nil {
		return err
	}
	return bad(summary)
}

// boundedSlowdown is Feitelson's, with 10 s, of what a job held.
func boundedSlowdown(o sched.Outcome) float64 {
	run := o.Held.Seconds()
	return max(1, (o.Wait().Seconds()+run)/max(run, 10))
}
