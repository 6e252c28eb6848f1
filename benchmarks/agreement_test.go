package benchmarks_test

import (
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

// shared returns a path in the folder of public traces and reference results, and skips the test where that is absent.
func shared(t testing.TB, path string) string {
	root := os.Getenv("SCHEDLAB_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "shared")
	}
	full := filepath.Join(root, path)
	if _, err := os.Stat(full); err != nil {
		t.Skipf("the reference %s is not on this machine (set SCHEDLAB_SHARED)", path)
	}
	return full
}

func rows(t testing.TB, path string) []map[string]string {
	f, err := os.Open(shared(t, path))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for _, rec := range all[1:] {
		m := map[string]string{}
		for i, v := range rec {
			m[all[0][i]] = v
		}
		out = append(out, m)
	}
	return out
}

func number(t testing.TB, s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func seconds(t testing.TB, s string) sched.Time {
	v, ok := sched.Seconds(number(t, s))
	if !ok {
		t.Fatalf("bad time %q", s)
	}
	return v
}

// rigid builds a workload of rigid jobs of processors.
func rigid(t testing.TB, rows []map[string]string) *traces.Workload {
	b := traces.NewBuilder("reference", "test")
	for _, r := range rows {
		if err := b.Add(&traces.Row{
			Submit: seconds(t, r["submit"]), Run: time.Duration(seconds(t, r["runtime"])), Estimate: time.Duration(seconds(t, r["estimate"])),
			Need: sched.Need{CPU: 1000}, Gang: int32(number(t, r["procs"])),
		}); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// simulate runs a named policy.
func simulate(t testing.TB, w *traces.Workload, nodes, policy string) *sim.Result {
	t.Helper()
	ns, err := cluster.Parse(nodes)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := policies.Parse(policy)
	if err != nil {
		t.Fatal(err)
	}
	c := sim.Config{Workload: w, Nodes: ns}
	if spec.Estimates == "perfect" {
		c.Estimates = w.Run
	}
	if c.Policy, err = policies.Build(spec, policies.Hints{}); err != nil {
		t.Fatal(err)
	}
	res, err := sim.Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// inputOrder returns, for each input row, its task.
func inputOrder(w *traces.Workload) []sched.TaskID {
	out := make([]sched.TaskID, len(w.Tasks))
	for t := range out {
		at := t
		if w.Input != nil {
			at = int(w.Input[t])
		}
		out[at] = sched.TaskID(t)
	}
	return out
}

func TestUnitCasesOfPyssAgreeRowByRow(t *testing.T) {
	all := rows(t, "references/backfill/pyss_unit_cases.csv")
	as := map[string]string{
		"fcfs": "fifo", "easy": "easy", "easy_sjbf": "easy{scan=sjbf}", "easy_reverse_order": "easy{scan=reverse}",
		"easy_perfect_estimates": "easy{estimates=perfect}",
	}
	checked := map[string]int{}
	for from := 0; from < len(all); {
		to := from
		for to < len(all) && all[to]["policy"] == all[from]["policy"] && all[to]["case"] == all[from]["case"] {
			to++
		}
		group := all[from:to]
		from = to
		policy, ok := as[group[0]["policy"]]
		if !ok {
			continue
		}
		w := rigid(t, group)
		res := simulate(t, w, "pool:100cpu", policy)
		order := inputOrder(w)
		for i, r := range group {
			if got, want := res.Outcome(order[i]).End, seconds(t, r["expected_finish"]); got != want {
				t.Errorf("%s %s row %d: ends at %v, expected %v", policy, r["case"], i, got.Seconds(), want.Seconds())
			}
			checked[r["policy"]]++
		}
	}
	t.Log("rows checked:", checked)
	if checked["fcfs"] != 412 || checked["easy"] != 612 {
		t.Errorf("expected 412 FCFS and 612 EASY rows, got %v", checked)
	}
}

func TestStartsOfSDSCUnderFCFSAgree(t *testing.T) {
	w := rigid(t, renamed(rows(t, "references/backfill/sdsc_sp2_5k_workload.csv")))
	res := simulate(t, w, "pool:128cpu", "fifo")
	order := inputOrder(w)
	differ := 0
	for i, r := range rows(t, "references/backfill/sdsc_sp2_5k_fcfs_starts.csv") {
		if res.Outcome(order[i]).Start != seconds(t, r["start"]) {
			differ++
		}
	}
	if differ > 0 {
		t.Errorf("%d of %d starts differ", differ, len(order))
	}
}

func renamed(rows []map[string]string) []map[string]string { return rows }

func TestTiresiasSixtyJobsAgreeJobByJob(t *testing.T) {
	perJob := map[string]map[string]map[string]string{}
	for _, r := range rows(t, "references/gpu_cluster/tiresias_60job_perjob.csv") {
		if perJob[r["run"]] == nil {
			perJob[r["run"]] = map[string]map[string]string{}
		}
		perJob[r["run"]][r["job_id"]] = r
	}
	as := map[string]string{"fifo": "fifo", "fjf": "fjf", "shortest": "srtf"}
	for _, e := range rows(t, "references/gpu_cluster/tiresias_60job_expected.csv") {
		policy, ok := as[e["schedule"]]
		if !ok {
			continue
		}
		t.Run(e["run"], func(t *testing.T) {
			jobs := rows(t, "references/gpu_cluster/"+e["trace"]+".csv")
			b := traces.NewBuilder(e["trace"], "test")
			for _, r := range jobs {
				d := time.Duration(seconds(t, r["duration"]))
				gpus := int32(number(t, r["num_gpu"]))
				if err := b.Add(&traces.Row{ID: r["job_id"], Submit: seconds(t, r["submit_time"]), Run: d, Estimate: d,
					Need: sched.Need{GPUs: gpus, GPUMilli: sched.Whole}}); err != nil {
					t.Fatal(err)
				}
			}
			w, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			res := simulate(t, w, "pool:16gpu", policy)
			sum := 0.0
			for i, task := range inputOrder(w) {
				o := res.Outcome(task)
				want := perJob[e["run"]][jobs[i]["job_id"]]
				if o.Start != seconds(t, want["start_time"]) || o.End != seconds(t, want["end_time"]) {
					t.Errorf("job %s: %v..%v, expected %s..%s", jobs[i]["job_id"], o.Start.Seconds(), o.End.Seconds(), want["start_time"], want["end_time"])
				}
				sum += o.End.Sub(w.Tasks[task].Submit).Seconds()
			}
			if got, want := sum/float64(len(jobs)), number(t, e["avg_jct"]); got < want-1e-4 || got > want+1e-4 {
				t.Errorf("mean JCT %.4f, expected %.4f", got, want)
			}
		})
	}
}
