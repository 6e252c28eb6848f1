package verify

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shared returns the folder of public references beside the module, and skips the test where there is none.
func shared(t testing.TB) string {
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
			if dir == filepath.Dir(dir) {
				t.Skip("no module root above the test")
			}
			dir = filepath.Dir(dir)
		}
		root = filepath.Join(dir, "..", "shared")
	}
	if _, err := os.Stat(filepath.Join(root, "references")); err != nil {
		t.Skipf("no reference data: %v (SCHEDLAB_SHARED names its folder)", err)
	}
	return root
}

func runShort(t testing.TB, data string, groups ...string) []Check {
	t.Helper()
	checks, err := Run(context.Background(), data, nil, Options{Short: true, Groups: groups})
	if err != nil {
		t.Fatal(err)
	}
	return checks
}

func TestTheReferencesAgree(t *testing.T) {
	data := shared(t)
	// What each group must have looked at, so that an empty file passes nothing: part of the name and what was expected.
	must := map[string][][2]string{
		"backfill": {
			{"pyss' fcfs", "412 jobs"},
			{"pyss' easy ", "612 jobs"},
			{"pyss' easy_sjbf", "352 jobs"},
			{"pyss' easy_reverse_order", "284 jobs"},
			{"pyss' easy_perfect_estimates", "323 jobs"},
			{"pyss' easy_lookahead", "236 jobs"},
			{"pyss' conservative", "390 jobs"},
			{"start of every job of SDSC", "4961 jobs"},
			{"easy: start of every job of medium_late", "801 jobs"},
			{"conservative: start of every job of medium_late", "801 jobs"},
		},
		"gpu": {
			{"start and end of Tiresias' jobs (n4g4_60_job_fifo)", "60 jobs"},
			{"start and end of Tiresias' jobs (n4g4_60_job_fjf)", "60 jobs"},
			{"start and end of Tiresias' jobs (n4g4_60_job_shortest)", "60 jobs"},
			{"start and end of Tiresias' jobs (n4g4_60x2_job_fifo)", "60 jobs"},
			{"start and end of Tiresias' jobs (n4g4_60x2_job_fjf)", "60 jobs"},
			{"start and end of Tiresias' jobs (n4g4_60x2_job_shortest)", "60 jobs"},
			{"drf{skip=false}: who runs", "A 3, B 2 tasks; dominant shares 0.666667, 0.666667"},
			{"fair-share: next turn after 3600 s alone", "2105.9"},
			{"weights 3:1", "0.75"},
			{"themis: ends of 2 jobs", "70 80"},
			{"JCT of every job of Muri's trace3 under SRTF", "992 jobs"},
			{"JCT of every job of Muri's trace3_pr under SRSF", "992 jobs"},
			{"JCT of every job of Muri's trace4 under SRSF", "2638 jobs"},
			{"JCT of every job of Muri's trace3 under DLAS", "992 jobs"},
			{"mean JCT of Pollux' workload-6", "3469.6937"},
		},
		"fgd": {
			{"default: fgd: allocated and fragmented GPUs at 27 arrived loads", "108 values"},
			{"default: gpu-packing: allocated and fragmented", "108 values"},
			{"fgd: allocated GPUs at arrived load 130 %", "95.31"},
			{"random: fragmented GPUs at arrived load 80 %", "15.83"},
			{"order by allocated GPUs", "fgd > best-fit > gpu-packing, gpu-clustering > dot-product > random"},
			{"multigpu20: best-fit{by=sum}, gpu-packing", "216 values"},
			{"multigpu20: order by allocated GPUs at arrived load 130 %", "fgd first, random last"},
		},
		"realtime": {
			{"T1, T2, T3: response times by analysis", "2 7 17 ms"},
			{"T1, T2, T3: first and longest responses", "2 7 17 ms"},
			{"Burns-Wellings A: first and longest responses", "10 20 52 s"},
			{"DM constrained deadlines: first and longest responses of 467 jobs under dm", "1 2 4 10 s"},
			{"Liu-Layland", "10 sizes"},
		},
		"dag": {
			{"upward ranks of Topcuoglu", "10 tasks"},
			{"order on one processor", "T0 T1 T3 T4 T2 T5 T8 T6 T7 T9"},
			{"Graham", "4 instances"},
			{"longest first", "4 instances"},
			{"lower bound of standard task graphs", "68 cases"},
			{"critical-path: makespans", "68 cases in 1 .. 2 - 1/m"},
			{"heft: makespan of Topcuoglu", "80"},
			{"heft: processor, start and end of every task", "10 tasks"},
			{"cpop: makespan of Topcuoglu", "86"},
			{"cpop: critical path of Topcuoglu", "0 on 1, 1 on 1, 8 on 1, 9 on 1"},
			{"peft: makespan of Topcuoglu", "85"},
			{"heft: makespan of dslab's chain", "195.2"},
			{"fjf: makespan of dslab's fork", "44.2"},
			{"fit by TaskID: makespan of inspiral-100", "2021.9726"},
			{"fit by TaskID: machine of every task", "100 tasks"},
			{"lookahead{depth=all}: makespan of inspiral-100", "977.28327"},
			{"lpt: makespan of the worst jobs", "4 instances"},
			{"heft: makespans of standard task graphs", "68 cases in 1 .. 2 - 1/m"},
		},
		"optimum": {
			{"lower bound of job shops", "9 cases of at most 1"},
			{"conservative: makespan of job shops", "9 cases of at least 1"},
			{"blevel: makespan of standard task graphs", "36 cases of 1 .. 2 - 1/m"},
			{"easy: makespan of small instances of sequential tasks", "40 cases of 1 .. 2 - 1/m"},
			{"easy{scan=lookahead}: makespan of small instances of parallel tasks", "40 cases of at least 1"},
		},
		"hetero": {
			{"shares of time of the worked example", "6 shares"},
			{"least normalised throughput of the worked example", "1.0909"},
			{"gavel{aware=false}: mean completion time at 0.2 jobs an hour / mean run time on a V100", "1.3970905"},
			{"gavel{objective=fifo}: mean completion time at 1 jobs an hour / at 0.2", "1.0254287"},
			{"gavel{round=2m}: mean completion time of Shockwave", "11274"},
			{"allox: makespan of Shockwave", "32489"},
		},
		"logs": {
			{"easy: mean wait, s, of 27992 jobs", "6419"},
			{"fifo: mean wait, s, of 27992 jobs", "218980.6"},
			{"easy: mean wait, s, of 202876 jobs", "11259.8"},
		},
		"checkpoint": {
			{"intervals of Young and Daly", "20 intervals"},
			{"mean makespan, C 1m0s, MTBF 1h0m0s, 58 segments", "44189.637"},
			{"interval at the minimum of a sweep, C 5m0s, MTBF 24h0m0s: the exact optimum", "7001.404"},
		},
		"scale": {
			{"HPA: 50 replicas at 90 % of 75 %", "60"},
			{"HPA: 80 replicas on their way to 10", "[72 64 57 51 45 40 36 32 28 24 20 16 12 10]"},
		},
		"queueing": {
			{"M/M/64, load 0.95, fifo: wait of every job, by recursion", "50000 jobs"},
			{"M/M/1, load 0.5, fifo: mean wait", "1"},
			{"M/M/8, load 0.7, fifo: share that waits", "0.270603"},
			{"M/H2/1, load 0.5, fifo: mean wait", "2.5"},
			{"M/H2/1, load 0.5, sjf: mean response", "2.575376"},
			{"M/H2/1, load 0.5, srtf: mean response", "1.406431"},
			{"hrrn: finish times of Stallings' processes", "3 9 13 20 15"},
			{"M/H2/1, load 0.5, sjf{preempt=true}: mean response", "1.482773"},
			{"M/H2/1, load 0.5, rr{quantum=50ms}: mean response", "2"},
			{"M/H2/1, load 0.5, las{quantum=50ms}: mean response", "1.780311"},
			{"M/H2/1, load 0.5, gittins{distribution=h2:1/4}: mean response", "1.780311"},
			{"priority{preempt=false}: mean wait of class 2", "5.7142857"},
			{"priority{preempt=true}: mean wait of class 2", "6.1428571"},
		},
	}
	if len(must) != len(Groups()) {
		t.Errorf("groups are %v", Groups())
	}
	for _, g := range Groups() {
		t.Run(g, func(t *testing.T) {
			checks := runShort(t, data, g)
			for _, c := range checks {
				if !c.OK {
					t.Errorf("%s %s: expected %s (%s), got %s", c.Name, c.Verdict(), c.Expected, c.Tolerance, c.Got)
				}
			}
			for _, m := range must[g] {
				if !slices.ContainsFunc(checks, func(c Check) bool { return strings.Contains(c.Name, m[0]) && c.Expected == m[1] }) {
					t.Errorf("no check %q with %q expected", m[0], m[1])
				}
			}
		})
	}
}

// only copies the references that match into a folder of their own, changed: old is replaced once by text in the file that changed names. Of a
// table of queues it keeps just the line of old, which saves the simulation of the others.
func only(t *testing.T, data string, files []string, changed, old, text string) string {
	t.Helper()
	to := t.TempDir()
	for _, pattern := range files {
		names, err := filepath.Glob(filepath.Join(data, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		for _, name := range names {
			body, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			rel, err := filepath.Rel(data, name)
			if err != nil {
				t.Fatal(err)
			}
			if rel == filepath.FromSlash(changed) {
				if !bytes.Contains(body, []byte(old)) {
					t.Fatalf("%s does not contain %q", rel, old)
				}
				if strings.Contains(rel, "queueing") {
					lines := bytes.SplitAfter(body, []byte("\n"))
					i := slices.IndexFunc(lines, func(l []byte) bool { return bytes.Contains(l, []byte(old)) })
					body = slices.Concat(lines[0], lines[i])
				}
				body = bytes.Replace(body, []byte(old), []byte(text), 1)
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, rel), body, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

func TestAWrongValueFailsItsCheckAndNoOther(t *testing.T) {
	data := shared(t)
	for _, c := range []struct {
		folder, files, changed, old, text string
		fails                             string // names of the failing checks contain it
	}{
		{"backfill", "pyss_unit_cases.csv", "pyss_unit_cases.csv", "\neasy,basic_input.0,0,1,1,1,1,2", "\neasy,basic_input.0,0,1,1,1,1,3", "pyss' easy cases"},
		{"backfill", "sdsc_*.csv", "sdsc_sp2_5k_fcfs_starts.csv", "\n2,316932,", "\n2,316933,", "start of every job of SDSC"},
		{"backfill", "pyss_unit_cases.csv", "pyss_unit_cases.csv", "\nconservative,basic_input.0,0,1,1,1,1,2", "\nconservative,basic_input.0,0,1,1,1,1,3", "pyss' conservative cases"},
		{"gpu_cluster", "tiresias_*.csv", "tiresias_60job_expected.csv", "192.1167", "192.1168", "srtf: mean JCT"},
		{"gpu_cluster", "tiresias_*.csv", "tiresias_60job_perjob.csv", "\nn4g4_60_job_fifo,1,30,177", "\nn4g4_60_job_fifo,1,31,177", "start and end"},
		{"gpu_cluster", "drf_example.json", "drf_example.json", `"B": 2`, `"B": 3`, "example of DRF"},
		{"fgd", "*.csv", "expected_allo_pct_by_arrived_load.csv", "default,06-FGD,1.3,42,6212,0.25,", "default,06-FGD,1.3,42,6212,0.27,", "default: fgd: allocated and fragmented"},
		{"hetero:gpu_cluster", "drf_example.json", "drf_example.json", "0.0909,", "0.0919,", "shares of time"},
		{"hetero:gpu_cluster", "gavel_*.csv", "gavel_multi_gpu_load_curves.csv", "1.0,fifo_perf,17.34", "1.0,fifo_perf,27.34", "mean completion time at 1 jobs"},
		{"gpu_cluster", "pollux_*.csv", "pollux_tiresias_expected.csv", "workload-2,160,5144.9625", "workload-2,160,5044.9625", "Pollux' workload-2"},
		{"realtime", "rta_cases.json", "rta_cases.json", "58", "57", "Burns-Wellings B"},
		{"realtime", "*.csv", "rm_acceptance_curves.csv", "0.8541", "0.9041", "sets of 20 tasks that pass: exact"},
		{"dag", "*.*", "expected.json", "63.333", "63.332", "upward ranks"},
		{"dag", "*.*", "expected.json", `"LPT": 11`, `"LPT": 10`, "longest first"},
		{"queueing", "mmc.csv", "mmc.csv", "0.357212", "0.39", "M/M/4, load 0.7, fifo: mean wait"},
		{"queueing", "mmc.csv", "mmc.csv", "0.270603", "0.25", "M/M/8, load 0.7, fifo: share that waits"},
		{"queueing", "mg1.csv", "mg1.csv", "1.406431", "1.482773", "M/H2/1, load 0.5, srtf"},
		{"queueing", "mg1.csv", "mg1.csv", "1.482773", "1.712686", "M/H2/1, load 0.5, sjf{preempt=true}"},
	} {
		t.Run(c.changed+" "+c.fails, func(t *testing.T) {
			group, at, ok := strings.Cut(c.folder, ":")
			if !ok {
				group, at = strings.TrimSuffix(c.folder, "_cluster"), c.folder
			}
			folder := "references/" + at
			files := []string{folder + "/" + c.files}
			if c.folder == "fgd" {
				files = append(files, "traces/gpu/openb/openb_*")
			}
			dir := only(t, data, files, folder+"/"+c.changed, c.old, c.text)
			failed := 0
			for _, k := range runShort(t, dir, group) {
				switch hit := strings.Contains(k.Name, c.fails); {
				case k.Skipped:
				case !k.OK && hit:
					failed++
				case !k.OK:
					t.Errorf("%s fails too: expected %s, got %s", k.Name, k.Expected, k.Got)
				}
			}
			if failed == 0 {
				t.Error("no check failed")
			}
		})
	}
}

func TestAMissingReferenceIsSkippedAndNeverPasses(t *testing.T) {
	for _, c := range runShort(t, t.TempDir()) {
		needsNone := []string{"T1, T2, T3", "by recursion", "fair-share: ", "themis: ", "Stallings", "wait x service", "Audsley", "late deadlines", "utilization 0.9", "Dhall", "of small instances", "HPA: "}
		if slices.ContainsFunc(needsNone, func(s string) bool { return strings.Contains(c.Name, s) }) {
			if !c.OK {
				t.Errorf("%s: %s", c.Name, c.Got)
			}
			continue
		}
		if !c.Skipped || c.OK || c.Verdict() != "skipped" || !strings.Contains(c.Got, "no such file") && !strings.Contains(c.Got, "not exist") {
			t.Errorf("%s: %s: %s", c.Name, c.Verdict(), c.Got)
		}
	}
}

func TestAReferenceThatCannotBeReadFailsAndNamesThePlace(t *testing.T) {
	for file, body := range map[string]string{
		"references/queueing/mmc.csv":             "c,rho\n1,0.5\n",
		"references/queueing/mg1.csv":             "dist,rho\nweibull,0.5\n",
		"references/backfill/pyss_unit_cases.csv": "policy,case,submit,estimate,procs,runtime,expected_finish\nfcfs,a,1,1,-1,1,2\n",
		"references/realtime/rta_cases.json":      `{"LL_bound":{"1":1},"cases":[{"name":"x","tasks":[[1,2,2]],"R":[]}]}`,
		"references/dag/expected.json":            "{",
		"references/dag/stg_graphs/a.stg":         "x",
	} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(body), 0o666); err != nil {
				t.Fatal(err)
			}
			found := false
			for _, c := range runShort(t, dir, strings.Split(file, "/")[1]) {
				if c.OK || c.Skipped {
					continue
				}
				found = true
				if !strings.Contains(c.Got, filepath.Base(file)) {
					t.Errorf("%s: %s", c.Name, c.Got)
				}
			}
			if !found {
				t.Error("no check failed")
			}
		})
	}
}

// A run of another simulator that lacks a job is not one that agrees on the others.
func TestAReferenceThatLacksAJobFailsAndNamesIt(t *testing.T) {
	name := "traces/hpc/batsim/medium_late.easy.out_jobs.csv.gz"
	dir := only(t, shared(t), []string{"traces/hpc/batsim/medium_late.*"}, "", "", "")
	path := filepath.Join(dir, filepath.FromSlash(name))
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	var less bytes.Buffer
	packed := gzip.NewWriter(&less)
	_, err = packed.Write(text[:1+bytes.LastIndexByte(text[:len(text)-1], '\n')])
	if err := errors.Join(err, packed.Close(), os.WriteFile(path, less.Bytes(), 0o666)); err != nil {
		t.Fatal(err)
	}
	for _, c := range runShort(t, dir, "backfill") {
		if strings.Contains(c.Name, "Batsim") && !c.OK && !c.Skipped && strings.Contains(c.Got, name+": no job ") {
			return
		}
	}
	t.Error("no check fails")
}

func TestTheVerdictsDoNotDependOnTheWorkers(t *testing.T) {
	data := only(t, shared(t), []string{"references/queueing/mg1.csv"}, "references/queueing/mg1.csv", "1.406431", "1.406431")
	var got [2]string
	for i, workers := range []int{1, 3} {
		checks, err := Run(context.Background(), data, nil, Options{Short: true, Groups: []string{"queueing"}, Workers: workers})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range checks {
			got[i] += c.Name + c.Got + "\n"
		}
	}
	if got[0] != got[1] || !strings.Contains(got[0], "srtf") {
		t.Errorf("with 1 worker\n%s\nwith 3\n%s", got[0], got[1])
	}
}

func TestRunStopsWithItsContextAndKnowsItsGroups(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, t.TempDir(), nil, Options{Short: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run says %v", err)
	}
	if _, err := Run(context.Background(), t.TempDir(), nil, Options{Groups: []string{"astrology"}}); err == nil || !strings.Contains(err.Error(), "astrology") {
		t.Errorf("an unknown group says %v", err)
	}
}
