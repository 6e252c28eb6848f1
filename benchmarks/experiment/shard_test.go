package experiment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/benchmarks/report"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/gen"
)

func TestShardsAreReadFromTheFlagAndTheEnvironment(t *testing.T) {
	for _, c := range []struct{ text, env, want string }{
		{"", "", "0/0"},
		{"", "JOB_COMPLETION_INDEX=3", "0/0"}, // only auto asks
		{"1/4", "", "1/4"},
		{"4/4", "JOB_COMPLETION_INDEX=0", "4/4"},
		{"auto", "JOB_COMPLETION_INDEX=0 JOB_COMPLETIONS=8", "1/8"},
		{"auto", "JOB_COMPLETION_INDEX=7 JOB_COMPLETIONS=8", "8/8"},
		{"auto/9", "JOB_COMPLETION_INDEX=7 JOB_COMPLETIONS=8", "8/9"},
		{"auto", "SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=3 SLURM_ARRAY_TASK_COUNT=4", "1/4"},
		{"auto", "SLURM_ARRAY_TASK_ID=4 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=4 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_STEP=1", "4/4"},
		{"auto", "SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=10 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_STEP=3", "3/4"},
		{"auto/16", "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_MAX=3 SLURM_ARRAY_TASK_COUNT=1", "4/16"},
		{"0/4", "", "! i must be from 1 to 4"},
		{"5/4", "", "! i must be from 1 to 4"},
		{"2", "", "! must be i/n"},
		{"1/0", "", "! n from 1 to 1000000"},
		{"1/2/3", "", "! n from 1"},
		{"auto", "", "! neither JOB_COMPLETION_INDEX (Kubernetes) nor SLURM_ARRAY_TASK_ID (Slurm) is set"},
		{"auto", "JOB_COMPLETION_INDEX=2", "! set JOB_COMPLETIONS"},
		{"auto", "JOB_COMPLETION_INDEX=8 JOB_COMPLETIONS=8", "! none of 8 parts"},
		{"auto", "JOB_COMPLETION_INDEX=-1 JOB_COMPLETIONS=8", "! must be a number"},
		{"auto", "JOB_COMPLETION_INDEX=1 JOB_COMPLETIONS=2 SLURM_ARRAY_TASK_ID=1", "! both"},
		{"auto", "SLURM_ARRAY_TASK_ID=1", "! SLURM_ARRAY_TASK_COUNT must be a number"},
		{"auto", "SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=9 SLURM_ARRAY_TASK_COUNT=4", "! has gaps"},
		{"auto/4", "SLURM_ARRAY_TASK_ID=4", "! none of 4 parts"},
	} {
		env := map[string]string{}
		for _, x := range strings.Fields(c.env) {
			k, v, _ := strings.Cut(x, "=")
			env[k] = v
		}
		s, err := ParseShard(c.text, func(k string) string { return env[k] })
		got := s.String()
		if err != nil {
			got = "! " + err.Error()
		}
		if want, bad := strings.CutPrefix(c.want, "! "); bad != (err != nil) || !strings.Contains(got, want) {
			t.Errorf("%q with %s: got %s, want %s", c.text, c.env, got, c.want)
		}
	}
}

func TestEveryRunIsDealtToOneShardAndGroupsStayWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlan(false, rapid.IntRange(1, 5).Draw(t, "policies"), make([]int64, rapid.IntRange(1, 9).Draw(t, "seeds")),
			make([]float64, rapid.IntRange(0, 4).Draw(t, "loads")))
		of := rapid.IntRange(1, 60).Draw(t, "of")
		times := make([]int, p.len())
		home := map[int]int{} // group -> shard
		least, most := math.MaxInt, 0
		for number := 1; number <= of; number++ {
			mine := p.shard(Shard{number, of})
			if len(mine) != p.count(Shard{number, of}) || !slices.IsSorted(mine) {
				t.Fatalf("shard %d/%d: %v, counted %d", number, of, mine, p.count(Shard{number, of}))
			}
			least, most = min(least, len(mine)), max(most, len(mine))
			for _, run := range mine {
				times[run]++
				group, _, _, _ := p.at(run)
				if was, known := home[group]; known && was != number && of <= p.groups() {
					t.Fatalf("group %d is in shards %d and %d", group, was, number)
				}
				home[group] = number
			}
		}
		for run, n := range times {
			if n != 1 {
				t.Fatalf("run %d is in %d shards", run, n)
			}
		}
		if most-least > p.policies {
			t.Fatalf("shards of %d to %d runs of %d policies", least, most, p.policies)
		}
		if whole := p.shard(Shard{}); len(whole) != p.len() {
			t.Fatalf("the whole has %d runs of %d", len(whole), p.len())
		}
	})
}

// drawn is an experiment drawn at random; fixed says as of a recorded trace.
func drawn(t *rapid.T) Options {
	nodes, err := cluster.Parse("2x4xA100")
	if err != nil {
		t.Fatal(err)
	}
	fixed := rapid.Bool().Draw(t, "fixed")
	jobs := rapid.IntRange(2, 40).Draw(t, "jobs")
	spec, err := gen.Parse(fmt.Sprintf("jobs=%d,gpus=fixed", jobs))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Nodes: nodes, Estimates: Estimates{Kind: "trace"}, Check: rapid.Bool().Draw(t, "check")}
	o.Source.Fixed = fixed
	o.Source.Load = func(seed int64) (*traces.Workload, error) {
		if fixed {
			seed = 1
		}
		return spec.Generate(uint64(seed), nodes)
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"fifo", "sjf", "easy", "rr{quantum=1m}"}), 1, 3, rapid.ID).Draw(t, "policies") {
		p, err := policies.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		o.Policies = append(o.Policies, p)
	}
	for seed := range rapid.Int64Range(1, 4).Draw(t, "seeds") {
		o.Seeds = append(o.Seeds, seed+1)
	}
	o.Loads = rapid.SampledFrom([][]float64{nil, {0.9}, {0.5, 2}}).Draw(t, "loads")
	o.Workers = 1
	return o
}

var simWall = regexp.MustCompile(`"sim_wall_s":[^,}]*`)

// printed is a result as JSON and as a table, without the simulator's own time.
func printed(t *rapid.T, res *Result, trace report.Trace) string {
	for i := range res.Runs {
		res.Runs[i].SimWall = 0
	}
	for i := range res.Summary {
		res.Summary[i].Mean.SimWall = 0
	}
	c := report.Comparison{Trace: trace, Runs: res.Runs, Summary: res.Summary, Notes: res.Notes}
	var b bytes.Buffer
	for _, write := range []func() error{
		func() error { return c.JSON(&b) },
		func() error { return c.CSV(&b) },
		func() error { return c.Table(&b, report.TableOptions{}) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(&b, res.Checked)
	return simWall.ReplaceAllString(b.String(), "")
}

// parts runs an experiment in n parts, through files.
func parts(t *rapid.T, o Options, n int) ([]*Partial, []string) {
	var all []*Partial
	var names []string
	loaded, err := o.Source.Load(o.Seeds[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		o.Shard = Shard{i + 1, n}
		res, err := Run(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		if err := NewPartial(&o, res, loaded, report.Trace{Tasks: loaded.Len()}, report.Cluster{}, []string{"a note"}).Write(&file); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("part%d", i+1)
		p, err := ReadPartial(&file, name)
		if err != nil {
			t.Fatal(err)
		}
		all, names = append(all, p), append(names, name)
	}
	return all, names
}

func TestMergedShardsAreTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawn(t)
		whole, err := Run(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		all, names := parts(t, o, rapid.IntRange(1, 9).Draw(t, "n"))
		order := rapid.Permutation(all).Draw(t, "order")
		merged, err := Merge(order, names)
		if err != nil {
			t.Fatal(err)
		}
		trace := report.Trace{Tasks: whole.Workload.Len()}
		if want, got := printed(t, whole, trace), printed(t, merged, trace); want != got {
			t.Fatalf("merged:\n%s\nwhole:\n%s", got, want)
		}
	})
}

func TestPartsThatDoNotBelongTogetherAreRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawn(t)
		o.Estimates = Estimates{Kind: "trace"}
		n := rapid.IntRange(2, 5).Draw(t, "n")
		all, names := parts(t, o, n)
		k := rapid.IntRange(1, n-1).Draw(t, "k")
		refuse := func(ps []*Partial, want string) {
			t.Helper()
			if _, err := Merge(ps, names[:len(ps)]); err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("want an error that says %q, got %v", want, err)
			}
		}
		refuse(nil, "nothing to merge")
		refuse(slices.Delete(slices.Clone(all), k, k+1), fmt.Sprintf("%d of %d parts are there; missing: %d/%d", n-1, n, k+1, n))
		twice := slices.Clone(all)
		twice[k] = all[0]
		refuse(twice, fmt.Sprintf("part1 and part%d are both shard 1/%d", k+1, n))
		for _, c := range []struct {
			want   string
			change func(*Setup)
		}{
			{"its seeds is", func(s *Setup) { s.Seeds = append(slices.Clone(s.Seeds), 77) }},
			{"its loads is", func(s *Setup) { s.Loads = []float64{3} }},
			{"its policies is", func(s *Setup) { s.Policies = []string{"mine"} }},
			{"its trace_hash is", func(s *Setup) { s.TraceHash = "x" }},
			{"its cluster_hash is", func(s *Setup) { s.ClusterHash = "x" }},
			{"its estimates is \"perfect\", not \"trace\"", func(s *Setup) { s.Estimates = "perfect" }},
			{"its warm_up is", func(s *Setup) { s.WarmUp.Share = 0.1 }},
			{"its overhead_ns is 5, not 0", func(s *Setup) { s.OverheadNS = 5 }},
			{"its program is", func(s *Setup) { s.Program += "+modified" }},
		} {
			other := *all[k]
			c.change(&other.Setup)
			mixed := slices.Clone(all)
			mixed[k] = &other
			refuse(mixed, c.want)
		}
		other := *all[k]
		other.Shards++
		mixed := slices.Clone(all)
		mixed[k] = &other
		refuse(mixed, fmt.Sprintf("shard %d/%d, but part1 is shard 1/%d", k+1, n+1, n))
	})
}

// aPart is a small partial result as a file.
func aPart(tb testing.TB) []byte {
	nodes, err := cluster.Parse("2x4xA100")
	if err != nil {
		tb.Fatal(err)
	}
	spec, err := gen.Parse("jobs=3,gpus=fixed")
	if err != nil {
		tb.Fatal(err)
	}
	p, err := policies.Parse("fifo")
	if err != nil {
		tb.Fatal(err)
	}
	o := Options{Nodes: nodes, Policies: []policies.Spec{p, p}, Seeds: []int64{1, 2, 3}, Shard: Shard{1, 2}}
	o.Source.Load = func(seed int64) (*traces.Workload, error) { return spec.Generate(uint64(seed), nodes) }
	res, err := Run(context.Background(), o)
	if err != nil {
		tb.Fatal(err)
	}
	var file bytes.Buffer
	if err := NewPartial(&o, res, res.Workload, report.Trace{}, report.Cluster{}, nil).Write(&file); err != nil {
		tb.Fatal(err)
	}
	return file.Bytes()
}

func TestDamagedPartsAreRefused(t *testing.T) {
	good := string(aPart(t))
	if _, err := ReadPartial(strings.NewReader(good), "good"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{good, "", "x: not a partial result, or cut short: not JSON: unexpected end"},
		{good, good[:len(good)/2], "x: not a partial result, or cut short"},
		{good, good + "{}", "cut short: not JSON: invalid character"},
		{good, `{"schema":"schedlab/compare/v1"}`, `x: not a partial result: its schema is "schedlab/compare/v1"`},
		{good, `[]`, "x: not a partial result"},
		{`"shard":1`, `"shard":3`, "x: shard 3/2 does not exist"},
		{`"shards":2`, `"shards":0`, "x: shard 1/0 does not exist"},
		{`"shard":1`, `"shard":2`, "x: 4 runs, not the 2 of shard 2/2"},
		{`"seeds":[1,2,3]`, `"seeds":[]`, "x: it names no policies or no seeds"},
		{`"seeds":[1,2,3]`, `"seeds":[1,2,3,4,5]`, "x: 4 runs, not the 6 of shard 1/2"},
		{`"index":1`, `"index":7`, "x: run 2 of 4 should be number 1 of the experiment, fifo with seed 1"},
		{`"seed":3`, `"seed":2`, "x: run 3 of 4 should be number 4 of the experiment, fifo with seed 3"},
		{`"load":null`, `"load":1`, "x: run 1 of 4 should be number 0"},
		{`"policy":"fifo"`, `"policy":"sjf"`, "x: run 1 of 4 should be number 0"},
		{`"load":null`, `"batch_means":{"n":1},"load":null`, "x: run 1 of 4: batch means"},
		{`"wait_mean_s":`, `"wait_mean_s":"a","x":`, "x: not a partial result"},
		{`"loads":null`, `"loads":[` + strings.Repeat("1,", 50_000) + `1]`, "x: 4 runs, not the"},
	} {
		if !strings.Contains(good, c.old) {
			t.Fatalf("%s is not in it", c.old)
		}
		if _, err := ReadPartial(strings.NewReader(strings.Replace(good, c.old, c.new, 1)), "x"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("with %.40q: got %v, want %q", c.new, err, c.want)
		}
	}
}

func FuzzReadPartial(f *testing.F) {
	f.Add(aPart(f))
	f.Add([]byte(`{"schema":"schedlab/partial/v1","shard":1,"shards":1000000,"setup":{"policies":["a"],"seeds":[1]},"runs":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ReadPartial(bytes.NewReader(data), "fuzz")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "fuzz: ") {
				t.Errorf("the error does not name its file: %v", err)
			}
			return
		}
		var out bytes.Buffer
		if err := p.Write(&out); err != nil {
			t.Fatal(err)
		}
		again, err := ReadPartial(&out, "again")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Merge([]*Partial{p, again}, []string{"a", "b"}); err == nil {
			t.Error("the same part twice was merged")
		}
		_, _ = Merge([]*Partial{p}, []string{"a"})
	})
}

func TestTheFingerprintIsOfAllThatCanChangeARun(t *testing.T) {
	load := func() *traces.Workload {
		w, _ := gen.Example(1)
		return w
	}
	base := Fingerprint(load())
	w := load()
	w.Source, w.Format = "elsewhere", "copy"
	if Fingerprint(w) != base {
		t.Error("where the trace lies changes its fingerprint")
	}
	for name, change := range map[string]func(*traces.Workload){
		"run":      func(w *traces.Workload) { w.Run[7]++ },
		"estimate": func(w *traces.Workload) { w.Estimates[7]++ },
		"submit":   func(w *traces.Workload) { w.Tasks[len(w.Tasks)-1].Submit++ },
		"deadline": func(w *traces.Workload) { w.SetDeadline(7, w.DeadlineOf(7)-1) },
		"class":    func(w *traces.Workload) { w.Classes[0].Priority++ },
		"demand":   func(w *traces.Workload) { w.Demands[0].Need.CPU++ },
		"types":    func(w *traces.Workload) { w.Demands[0].GPUTypes = []string{"H100"} },
		"edge":     func(w *traces.Workload) { w.Succ[0]++ },
		"tenant":   func(w *traces.Workload) { w.Tenants[1] += "x" },
		"run on":   func(w *traces.Workload) { w.RunOn = map[sched.TaskID][]sched.CostOn{3: {{On: "n", Run: 1}}} },
		"data":     func(w *traces.Workload) { w.Data = map[sched.TaskID]sched.Data{3: {Input: 1}} },
		"every":    func(w *traces.Workload) { w.Every = map[sched.JobID]traces.Recurrence{3: {Every: time.Hour}} },
	} {
		w := load()
		change(w)
		if Fingerprint(w) == base {
			t.Errorf("%s: the fingerprint stays", name)
		}
	}
}

func TestTheFirstWorkloadIsToldBeforeAnythingIsSimulated(t *testing.T) {
	nodes, err := cluster.Parse(gen.ExampleCluster)
	if err != nil {
		t.Fatal(err)
	}
	fifo, err := policies.Parse("fifo")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	told := 0
	_, err = Run(ctx, Options{
		Source: Source{Load: func(seed int64) (*traces.Workload, error) {
			w, _ := gen.Example(uint64(seed))
			return w, nil
		}},
		Nodes: nodes, Policies: []policies.Spec{fifo}, Seeds: []int64{4, 5},
		Begin: func(w *traces.Workload) {
			told += w.Len()
			cancel()
		},
		Progress: func(done, _ float64) {
			if done > 0 {
				t.Error("something was simulated")
			}
		},
	})
	if w, _ := gen.Example(4); told != w.Len() || !errors.Is(err, context.Canceled) {
		t.Errorf("told of %d tasks, and then %v", told, err)
	}
}
