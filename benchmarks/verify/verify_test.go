package verify

import (
	"bytes"
	"context"
	"errors"
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
			{"start of every job of SDSC", "4961 jobs"},
		},
		"gpu": {
			{"start and end of Tiresias' jobs (n4g4_60_job_fifo)", "60 jobs"},
			{"start and end of Tiresias' jobs (n4g4_60_job_fjf)", "60 jobs"},
			{"start and end of Tiresias' jobs (n4g4_60_job_shortest)", "60 jobs"},
			{"start and end of Tiresias' jobs (n4g4_60x2_job_fifo)", "60 jobs"},
			{"start and end of Tiresias' jobs (n4g4_60x2_job_fjf)", "60 jobs"},
			{"start and end of Tiresias' jobs (n4g4_60x2_job_shortest)", "60 jobs"},
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
		"logs": {
			{"easy: mean wait, s, of 27992 jobs", "6419"},
			{"fifo: mean wait, s, of 27992 jobs", "218980.6"},
			{"easy: mean wait, s, of 202876 jobs", "11259.8"},
		},
		"queueing": {
			{"M/M/64, load 0.95, fifo: wait of every job, by recursion", "50000 jobs"},
			{"M/M/1, load 0.5, fifo: mean wait", "1"},
			{"M/M/8, load 0.7, fifo: share that waits", "0.270603"},
			{"M/H2/1, load 0.5, fifo: mean wait", "2.5"},
			{"M/H2/1, load 0.5, sjf: mean response", "2.575376"},
			{"M/H2/1, load 0.5, srtf: mean response", "1.406431"},
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
		{"gpu_cluster", "tiresias_*.csv", "tiresias_60job_expected.csv", "192.1167", "192.1168", "srtf: mean JCT"},
		{"gpu_cluster", "tiresias_*.csv", "tiresias_60job_perjob.csv", "\nn4g4_60_job_fifo,1,30,177", "\nn4g4_60_job_fifo,1,31,177", "start and end"},
		{"realtime", "rta_cases.json", "rta_cases.json", "58", "57", "Burns-Wellings B"},
		{"dag", "*.*", "expected.json", "63.333", "63.332", "upward ranks"},
		{"dag", "*.*", "expected.json", `"LPT": 11`, `"LPT": 10`, "longest first"},
		{"queueing", "mmc.csv", "mmc.csv", "0.357212", "0.39", "M/M/4, load 0.7, fifo: mean wait"},
		{"queueing", "mmc.csv", "mmc.csv", "0.270603", "0.25", "M/M/8, load 0.7, fifo: share that waits"},
		{"queueing", "mg1.csv", "mg1.csv", "1.406431", "1.482773", "M/H2/1, load 0.5, srtf"},
	} {
		t.Run(c.changed+" "+c.fails, func(t *testing.T) {
			folder := "references/" + c.folder
			dir := only(t, data, []string{folder + "/" + c.files}, folder+"/"+c.changed, c.old, c.text)
			failed := 0
			for _, k := range runShort(t, dir, strings.TrimSuffix(c.folder, "_cluster")) {
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
		if strings.HasPrefix(c.Name, "T1, T2, T3") || strings.HasSuffix(c.Name, "by recursion") { // they need no file
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
