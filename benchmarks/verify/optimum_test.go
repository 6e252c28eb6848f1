package verify

import (
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var writeOptima = flag.Bool("write-optima", false, "write optima.csv anew")

// solve returns the optimal makespan: some order of the tasks, each started as early as its predecessors and the earlier ones in the order let it, is
// optimal (Kolisch 1996), so all orders are tried, but for those whose beginning cannot lead below the best found.
func solve(m int, jobs []smallJob) int {
	n := len(jobs)
	tail := make([]int, n) // the longest path from the start of a task to the end
	for i := n - 1; i >= 0; i-- {
		tail[i] += jobs[i].run
		for _, p := range jobs[i].after {
			tail[p] = max(tail[p], tail[i])
		}
	}
	best := 0
	for _, j := range jobs {
		best += j.run
	}
	free := make([]int, best)
	for t := range free {
		free[t] = m
	}
	ends := make([]int, n)
	var extend func(placed, end int)
	extend = func(placed, end int) {
		if placed == n {
			best = min(best, end)
			return
		}
		for i, j := range jobs {
			ready := slices.IndexFunc(j.after, func(p int) bool { return ends[p] == 0 }) < 0
			if ends[i] > 0 || !ready {
				continue
			}
			at := 0
			for _, p := range j.after {
				at = max(at, ends[p])
			}
			for k := at; k < at+j.run; k++ {
				if free[k] < j.procs {
					at = k + 1
				}
			}
			if at+tail[i] >= best {
				continue
			}
			for k := at; k < at+j.run; k++ {
				free[k] -= j.procs
			}
			ends[i] = at + j.run
			extend(placed+1, max(end, ends[i]))
			ends[i] = 0
			for k := at; k < at+j.run; k++ {
				free[k] += j.procs
			}
		}
	}
	extend(0, 0)
	return best
}

func TestOptimaAreProven(t *testing.T) {
	const instances = 80
	var b strings.Builder
	b.WriteString("seed,processors,tasks,optimum_s\n")
	for seed := range instances {
		m, jobs := smallInstance(seed)
		fmt.Fprintf(&b, "%d,%d,%d,%d\n", seed, m, len(jobs), solve(m, jobs))
	}
	if *writeOptima {
		if err := os.WriteFile("optima.csv", []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != optima {
		t.Errorf("optima.csv is not what branch and bound finds (go test ./benchmarks/verify -run TestOptimaAreProven -write-optima):\n%s", b.String())
	}
}

func TestAConstraintSolverProvesTheSameOptima(t *testing.T) {
	solver, err := exec.LookPath("minizinc")
	if err != nil {
		t.Skip("minizinc is not installed (Debian: minizinc)")
	}
	rows, err := csv.NewReader(strings.NewReader(optima)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows[1:13] {
		seed, _ := strconv.Atoi(r[0])
		m, jobs := smallInstance(seed)
		var run, procs []string
		var order strings.Builder
		sum := 0
		for i, j := range jobs {
			run, procs = append(run, strconv.Itoa(j.run)), append(procs, strconv.Itoa(j.procs))
			sum += j.run
			for _, p := range j.after {
				fmt.Fprintf(&order, "constraint s[%d] + d[%d] <= s[%d];\n", p+1, p+1, i+1)
			}
		}
		n := len(jobs)
		model := fmt.Sprintf("include \"cumulative.mzn\";\narray[1..%d] of int: d = [%s];\narray[1..%d] of int: q = [%s];\narray[1..%d] of var 0..%d: s;\n"+
			"constraint cumulative(s, d, q, %d);\n%svar 0..%d: end = max(i in 1..%d)(s[i] + d[i]);\nsolve minimize end;\noutput [\"\\(end)\\n\"];\n",
			n, strings.Join(run, ","), n, strings.Join(procs, ","), n, sum, m, order.String(), sum, n)
		file := filepath.Join(t.TempDir(), "m.mzn")
		if err := os.WriteFile(file, []byte(model), 0o666); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), solver, "--solver", "gecode", file).CombinedOutput()
		if err != nil {
			t.Skipf("minizinc does not solve with gecode: %v\n%s", err, out)
		}
		text := string(out)
		if !strings.Contains(text, "==========") {
			t.Fatalf("instance %d: nothing is proven:\n%s", seed, text)
		}
		lines := strings.Fields(text[:strings.Index(text, "==========")])
		if got := lines[len(lines)-2]; got != r[3] { // before the last ----------
			t.Errorf("instance %d: the solver's optimum is %s, optima.csv says %s", seed, got, r[3])
		}
	}
}

func TestNoPolicyIsLeftOutOfTheOptimaInSilence(t *testing.T) {
	checks := runShort(t, shared(t), "optimum")
	for _, policy := range schedules() {
		i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == policy+": makespan of job shops / optimum" })
		if i < 0 {
			t.Errorf("%s has no row on the job shops", policy)
			continue
		}
		if c := checks[i]; c.Shown != strings.HasPrefix(c.Got, "nothing to compare") || c.Verdict() == "FAILS" {
			t.Errorf("%s: %+v", policy, c)
		}
	}
}
