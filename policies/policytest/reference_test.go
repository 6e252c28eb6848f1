package policytest

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// shared returns a path in the folder of reference data beside the module, and skips the test where there is none.
func shared(t *testing.T, path string) string {
	t.Helper()
	root := os.Getenv("SCHEDLAB_SHARED")
	if root == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			up := filepath.Dir(dir)
			if up == dir {
				t.Skip("no module root above the test")
			}
			dir = up
		}
		root = filepath.Join(dir, "..", "shared")
	}
	p := filepath.Join(root, filepath.FromSlash(path))
	if _, err := os.Stat(p); err != nil {
		t.Skipf("no reference data at %s (SCHEDLAB_SHARED names its folder)", p)
	}
	return p
}

// table reads a CSV into one map a row.
func table(t *testing.T, path string) []map[string]string {
	t.Helper()
	f, err := os.Open(shared(t, path))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	recs, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for _, rec := range recs[1:] {
		m := map[string]string{}
		for i, v := range rec {
			m[recs[0][i]] = v
		}
		out = append(out, m)
	}
	if len(out) == 0 {
		t.Fatalf("%s is empty", path)
	}
	return out
}

func num(t *testing.T, s string) int64 {
	t.Helper()
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestReferenceFCFSAndEASYEqualPyssUnitCases(t *testing.T) {
	sims := map[string]func(int64, []RefJob) []RefResult{
		"fcfs": RefFCFS, "easy": RefEASY, "easy_sjbf": RefEASYSJBF, "easy_perfect_estimates": RefEASYPerfect,
	}
	rows := map[string]int{"fcfs": 412, "easy": 612, "easy_sjbf": 352, "easy_perfect_estimates": 323}
	type key struct{ policy, name string }
	jobs, want := map[key][]RefJob{}, map[key][]int64{}
	var keys []key
	for _, m := range table(t, "references/backfill/pyss_unit_cases.csv") {
		if sims[m["policy"]] == nil {
			continue
		}
		k := key{m["policy"], m["case"]}
		if jobs[k] == nil {
			keys = append(keys, k)
		}
		jobs[k] = append(jobs[k], RefJob{num(t, m["submit"]), num(t, m["procs"]), num(t, m["estimate"]), num(t, m["runtime"])})
		want[k] = append(want[k], num(t, m["expected_finish"]))
	}
	seen := map[string]int{}
	for _, k := range keys {
		for i, r := range sims[k.policy](100, jobs[k]) {
			seen[k.policy]++
			if r.Finish != want[k][i] {
				t.Errorf("%s %s row %d: finish %d, want %d", k.policy, k.name, i, r.Finish, want[k][i])
			}
		}
	}
	for p, n := range rows {
		if seen[p] != n {
			t.Errorf("%s: %d rows checked, want %d", p, seen[p], n)
		}
	}
}

func TestReferenceFCFSEqualsSDSCStarts(t *testing.T) {
	var jobs []RefJob
	for _, m := range table(t, "references/backfill/sdsc_sp2_5k_workload.csv") {
		jobs = append(jobs, RefJob{num(t, m["submit"]), num(t, m["procs"]), num(t, m["estimate"]), num(t, m["runtime"])})
	}
	want := table(t, "references/backfill/sdsc_sp2_5k_fcfs_starts.csv")
	if len(jobs) != 4961 || len(want) != len(jobs) {
		t.Fatalf("%d jobs, %d starts", len(jobs), len(want))
	}
	differ := 0
	for i, r := range RefFCFS(128, jobs) {
		if r.Start != num(t, want[i]["start"]) || r.Finish != num(t, want[i]["finish"]) {
			if differ++; differ <= 5 {
				t.Errorf("job %s: %+v, want start %s, finish %s", want[i]["job_id"], r, want[i]["start"], want[i]["finish"])
			}
		}
	}
	t.Logf("%d of %d starts differ", differ, len(jobs))
}

func TestReferenceSimulatorsEqualTiresias(t *testing.T) {
	sims := map[string]func(int64, []RefJob) []RefResult{"fifo": RefFCFS, "fjf": RefFJF, "shortest": RefSRTF}
	perJob := map[string]map[string]map[string]string{}
	for _, m := range table(t, "references/gpu_cluster/tiresias_60job_perjob.csv") {
		if perJob[m["run"]] == nil {
			perJob[m["run"]] = map[string]map[string]string{}
		}
		perJob[m["run"]][m["job_id"]] = m
	}
	for _, m := range table(t, "references/gpu_cluster/tiresias_60job_expected.csv") {
		sim, want := sims[m["schedule"]], perJob[m["run"]]
		if sim == nil || want == nil {
			continue
		}
		t.Run(m["run"], func(t *testing.T) {
			var jobs []RefJob
			var ids []string
			for _, j := range table(t, "references/gpu_cluster/"+m["trace"]+".csv") {
				run := num(t, j["duration"])
				jobs = append(jobs, RefJob{num(t, j["submit_time"]), num(t, j["num_gpu"]), run, run})
				ids = append(ids, j["job_id"])
			}
			var sum int64
			for i, r := range sim(num(t, m["gpus"]), jobs) {
				w := want[ids[i]]
				if r.Start != num(t, w["start_time"]) || r.Finish != num(t, w["end_time"]) {
					t.Errorf("job %s: %+v, want start %s, end %s", ids[i], r, w["start_time"], w["end_time"])
				}
				sum += r.Finish - jobs[i].Submit
			}
			if got := fmt.Sprintf("%.4f", float64(sum)/float64(len(jobs))); got != strconv.FormatFloat(mustFloat(t, m["avg_jct"]), 'f', 4, 64) {
				t.Errorf("mean completion time %s, want %s", got, m["avg_jct"])
			}
		})
	}
}

func mustFloat(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestReferenceSimulatorsNeverOverfillAndAgreeOnOneProcessor(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		procs := rapid.Int64Range(1, 8).Draw(rt, "procs")
		job := rapid.Custom(func(rt *rapid.T) RefJob {
			run := rapid.Int64Range(0, 20).Draw(rt, "run")
			return RefJob{rapid.Int64Range(0, 50).Draw(rt, "submit"), rapid.Int64Range(1, procs).Draw(rt, "procs"), run + rapid.Int64Range(0, 10).Draw(rt, "over"), run}
		})
		jobs := rapid.SliceOfN(job, 1, 20).Draw(rt, "jobs")
		for name, sim := range map[string]func(int64, []RefJob) []RefResult{"fcfs": RefFCFS, "fjf": RefFJF, "sjf": RefSJF, "easy": RefEASY, "sjbf": RefEASYSJBF, "perfect": RefEASYPerfect} {
			res := sim(procs, jobs)
			for _, at := range res {
				var used int64
				for j, r := range res {
					if r.Start <= at.Start && at.Start < r.Finish {
						used += jobs[j].Procs
					}
					if r.Start < jobs[j].Submit || r.Finish != r.Start+jobs[j].Run {
						rt.Fatalf("%s: job %d %+v: %+v", name, j, jobs[j], r)
					}
				}
				if used > procs {
					rt.Fatalf("%s: %d of %d processors at %d", name, used, procs, at.Start)
				}
			}
		}
		// With every job as wide as the pool nothing can be passed over, and the order of arrival is all.
		for j := range jobs {
			jobs[j].Procs = procs
		}
		fcfs, fjf := RefFCFS(procs, jobs), RefFJF(procs, jobs)
		for j := range jobs {
			if fcfs[j] != fjf[j] {
				rt.Fatalf("job %d: fcfs %+v, fjf %+v", j, fcfs[j], fjf[j])
			}
		}
	})
}
