package traces

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestTasksAreNumberedBySubmitThenJobThenInput(t *testing.T) {
	w := read(t, "id,job,submit_s,run_s\nc,J,5,1\nx,K,1,1\na,J,1,1\ny,K,1,1\nb,J,1,1\n", "csv")
	var got []string
	for i := range w.Tasks {
		got = append(got, w.TaskNames.At(i)+w.JobName.At(int(w.Tasks[i].Job)))
	}
	if want := "aJ bJ xK yK cJ"; strings.Join(got, " ") != want {
		t.Fatalf("%v, want %s", got, want)
	}
	if want := []int32{2, 4, 1, 3, 0}; !slices.Equal(w.Input, want) {
		t.Fatalf("input %v, want %v", w.Input, want)
	}
}

func TestNumberedPlainTasksKeepNoNames(t *testing.T) {
	w := read(t, "id,run_s\n1,5\n2,6\n3,7\n", "csv")
	if w.TaskNames.Len() != 0 || w.JobName.Len() != 0 || w.Input != nil {
		t.Fatal("names are kept")
	}
	if w.TaskNames.At(2) != "3" || w.JobName.At(2) != "3" {
		t.Fatal("wrong names")
	}
}

func TestAMillionPlainTasksStayNear24BytesEach(t *testing.T) {
	const n = 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b := NewBuilder("t", "csv")
	b.Grow(n)
	r := Row{Run: time.Second, Estimate: -1}
	for i := range n {
		r.Submit = sched.Time(i)
		if err := b.Add(&r); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	b = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := float64(after.HeapAlloc-before.HeapAlloc) / n; each > 28 {
		t.Errorf("%.1f bytes a task", each)
	}
	runtime.KeepAlive(w)
}

func TestBadRowsAreRefusedWithTheirPlace(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"id,run_s\na,-1", "t:2: run_s: -1 is negative"},
		{"id,run_s,speed_on\na,1,A100=2;nvidia a100=3", `t:2: speed_on: "nvidia a100" stands twice`},
		{"id,run_s\na,NaN", `t:2: run_s: "NaN" is not a number`},
		{"id,run_s\na,1e300", `t:2: run_s: "1e300" is beyond 2305843009`},
		{"id,run_s\na,99999999999", `t:2: run_s: "99999999999" is beyond 2305843009`},
		{"id,run_s\na,4000000000", `t:2: run_s: "4000000000" is beyond 2305843009`},
		{"id,run_s\na,0x10", `t:2: run_s: "0x10" is not a number`},
		{"id,run_s,submit_s\na,1,-3e9", `t:2: submit_s: "-3e9" is below -2305843009`},
		{"id,run_s\na,x", `t:2: run_s: "x" is not a number`},
		{"id,run_s\na,1\na,1", `t:3: task id "a" stands twice, first at line 2`},
		{"id,run_s\nb,1\n\nc,1\n\"a\n\",1\n\nd,1\n\"a\n\",1\n", `t:9: task id "a" stands twice, first at line 5`},
		{"id,submit_s,run_s,gpus\n1,0,1,1\n2,0,1,1\n3,0,1,1\n\n4,0,1,1\n5,0,1,1\n2,0,1,1\n", `t:8: task id "2" stands twice, first at line 3`},
		{"id,run_s\na,", "t:2: neither run_s nor run_on"},
		{"id,run_s,colour\na,1,red", `t:1: unknown column "colour"`},
		{"id,submit_s\na,1", "t:1: no column run_s or run_on"},
		{"id,run_s,run_s\na,1,1", `t:1: column "run_s" stands twice`},
		{"id,run_s\na,1,2", "t:2: 3 cells in the row, 2 in the header"},
		{"id,run_s,gpus\na,1,1.5", "t:2: gpus: 1.5 is neither whole nor a share from 0.001 to 1"},
		{"id,run_s,gpus\na,1,-2", "t:2: gpus: negative GPU count"},
		{"id,run_s,cpu\na,1,-2", "t:2: negative CPU"},
		{"id,run_s,mem_gb\na,1,-2", "t:2: mem_gb: -2 is negative"},
		{"id,run_s,mem_gb\na,1,3e9", `t:2: mem_gb: "3e9" is beyond 2147483648`},
		{"id,run_s,gang\na,1,-2", "t:2: negative gang"},
		{"id,run_s,gang\na,1,1.5", `t:2: gang: "1.5" is not a whole number`},
		{"id,run_s,gang\na,1,3e9", `t:2: gang: "3e9" is beyond 2147483647`},
		{"id,run_s,gpu_mem_gb\na,1,4", "t:2: a GPU share or GPU memory without a GPU"},
		{"id,run_s,criticality\na,1,2", "t:2: criticality:"},
		{"id,run_s,deadline_s\na,1,-2", "t:2: deadline_s: -2 is negative"},
		{"id,run_s,retries\na,1,-2", "t:2: negative retries"},
		{"id,run_s,every\na,1,often", "t:2: every: neither a duration such as 24h nor a cron line"},
		{"id,run_s,every\na,1,-1h", "t:2: every: not a positive duration"},
		{"id,run_s,after\na,1,z", `t:2: after: no task "z"`},
		{"id,run_s,after\na,1,a", "t:2: cycle a -> a"},
		{"id,run_s,after\na,1,c\nb,1,a\nc,1,b", "t:2: cycle a -> b -> c -> a"},
		{"id,job,run_s,after\na,J,1,\na,K,1,\nb,L,1,a", `t:4: after: several jobs have a task "a"; say JOB/a`},
		{"id,run_s,labels\na,1,x", `t:2: labels: "x" is not KEY=VALUE, KEY!=VALUE or !KEY`},
		{"id,run_s,tolerations\na,1,x:Sometimes", "t:2: tolerations:"},
		{"id,run_s,run_on\na,1,A100", "t:2: run_on:"},
		{"id,run_s,run_on\na,1,A100=-1", "t:2: run_on:"},
		{"id,run_s,run_on\na,1,A100=12.5/V100=20", `t:2: run_on: "A100=12.5/V100=20" is more than one NAME=SECONDS: part them with ;`},
		{"id,run_s,run_on\na,1,A100=12 V100=20", "t:2: run_on:"},
		{"id,run_s,speed_on\na,1,A100=2|V100=1", "t:2: speed_on:"},
		{"id,run_s\n\"a,1", "t:2: a quote that is not closed"},
		{"id,run_s\n\"a\"b,1", "t:2: a quote that is not closed"},
		{"id,run_s\n", "t: no task in it"},
		{"", "t: the file is empty"},
		{"id,run_s\n" + strings.Repeat("x", maxLine+1) + ",1", "t:2: the line is longer than 1 MiB"},
		{"id,run_s\n\"" + strings.Repeat("x\n", maxLine/2+1) + "\",1", "t:2: the line is longer than 1 MiB"},
	} {
		_, err := Read(strings.NewReader(c.text), "t", "csv")
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.60q:\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestATraceWithoutRunTimesIsToldWhatItLacks(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"t.csv", "id,submit_s,runtime,gpus\na,0,50,1\n", "t.csv:1: no column run_s or run_on, which native CSV has; of another format say it with --format (csv, "},
		{"t", "\ufeffid,submit_s\r\na,0\r\n", "t:1: no column run_s or run_on, "},
		{"t.jsonl", `{"id":"a","submit_s":1}` + "\n", "t.jsonl:1: no run_s or run_on, which native JSON lines have; of another format say it with --format (csv, "},
		{"t.csv", "a,0,50,1\n", "t.csv: cannot tell the trace's format; say it with --format (csv, "},
		{"t.csv", "name,pod\na,0\n", "t.csv:1: no column run_s or run_on, "},
		{"t", "one two three\n", "t: cannot tell the trace's format; "},
		{"t.json", `{"a":1}`, "t.json: cannot tell the trace's format; "},
	} {
		_, err := Read(strings.NewReader(c.text), c.name, "")
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.60q:\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestADuplicateIDHasItsLineInEveryFormat(t *testing.T) {
	swf := func(id int) string { return fmt.Sprintf("%d 0 0 10 1 -1 -1 1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1\n", id) }
	for _, c := range []struct{ text, want string }{
		{`{"id":"a","run_s":1}` + "\n\n" + `{"id":"a","run_s":1}`, `t:3: task id "a" stands twice, first at line 1`},
		{"; MaxProcs: 4\n" + swf(1) + swf(2) + "; a comment\n" + swf(3) + swf(2), `t:6: task id "2" stands twice, first at line 3`},
	} {
		_, err := Read(strings.NewReader(c.text), "t", "")
		if err == nil || err.Error() != c.want {
			t.Errorf("%.60q:\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
	// Rows that come from no file have no lines.
	b := NewBuilder("gen", "gen")
	for range 2 {
		if err := b.Add(&Row{ID: "a", Run: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Build(); err == nil || err.Error() != `gen: task id "a" stands twice (records 1 and 2)` {
		t.Error(err)
	}
}

func TestALongCycleIsSpelledOutInPart(t *testing.T) {
	s := "id,run_s,after\n"
	for i := range 1000 {
		s += fmt.Sprintf("t%d,1,t%d\n", i, (i+999)%1000)
	}
	_, err := Read(strings.NewReader(s), "t", "csv")
	if err == nil || !strings.HasPrefix(err.Error(), "t:2: cycle t0 -> t1 -> ") || !strings.HasSuffix(err.Error(), "(984 more) -> t0") {
		t.Fatal(err)
	}
}

func TestPredecessorsAreFoundInTheSameJobFirst(t *testing.T) {
	w := read(t, "id,job,run_s,after\na,J,1,\nb,J,1,a\na,K,1,\nb,K,1,a;J/b\nz,,1,K/b\ny,,1,z\nx,J,1,y/y\n", "csv")
	got := ""
	for i := range w.Tasks {
		got += w.JobName.At(int(w.Tasks[i].Job)) + w.TaskNames.At(i)
		for _, p := range w.Preds(sched.TaskID(i)) {
			got += "<" + w.JobName.At(int(w.Tasks[p].Job)) + w.TaskNames.At(int(p))
		}
		got += " "
	}
	if want := "Ja Jb<Ja Jx<yy Ka Kb<Jb<Ka zz<Kb yy<zz "; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
}

func TestATaskWithoutJobJoinsTheJobOfItsName(t *testing.T) {
	for _, text := range []string{"id,job,run_s\na,,1\nb,a,1\nc,,1\n", "id,job,run_s\nb,a,1\na,,1\nc,,1\n"} {
		if w := read(t, text, "csv"); w.Jobs != 2 || w.Tasks[0].Job != w.Tasks[1].Job {
			t.Errorf("%q: %d jobs", text, w.Jobs)
		}
	}
}

func TestATaskThatAsksForNothingAsksForOneCPU(t *testing.T) {
	w := read(t, "id,run_s,cpu,gpus\na,1,,\nb,1,0,0\nc,1,,2\nd,1,0.5,0.25\n", "csv")
	for i, want := range []sched.Need{{CPU: 1000}, {CPU: 1000}, {GPUs: 2, GPUMilli: 1000}, {CPU: 500, GPUs: 1, GPUMilli: 250}} {
		if got := w.DemandOf(sched.TaskID(i)).Need; got != want {
			t.Errorf("task %d: %+v, want %+v", i, got, want)
		}
	}
}

func TestMissingEstimatesAreTheTrueRunTimeAndCounted(t *testing.T) {
	w := read(t, "id,run_s,estimate_s\na,5,\nb,5,9\nc,5,0\n", "csv")
	if w.MissingEstimates != 2 || !slices.Equal(w.Estimates, []time.Duration{5e9, 9e9, 5e9}) {
		t.Fatal(w.MissingEstimates, w.Estimates)
	}
}

func TestCostsByNodeSetTheMeanRunTimeAndScaleTheEstimate(t *testing.T) {
	w := read(t, "id,run_s,estimate_s,run_on\na,,,A=10;B=20\nb,4,8,A=3\n", "csv")
	if w.Run[0] != 15e9 || w.EstimateOn[0][1].Run != 20e9 || w.RunOn[1][0].Run != 3e9 || w.EstimateOn[1][0].Run != 6e9 {
		t.Fatal(w.Run, w.RunOn, w.EstimateOn)
	}
}

// The index of a workload must agree with a plain reading of the rows.
func TestBuildAgreesWithAPlainReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, after := drawRows(t)
		w := build(t, rows)
		checkWorkload(t, w)
		type key struct{ job, id string }
		at := map[key]int{}
		for i := range w.Tasks {
			at[key{w.JobName.At(int(w.Tasks[i].Job)), w.TaskNames.At(i)}] = i
		}
		if len(at) != len(rows) {
			t.Fatalf("%d names for %d rows", len(at), len(rows))
		}
		edges := 0
		firstOf := map[string]int{}
		for i, r := range rows {
			job := r.Job
			if job == "" {
				job = r.ID
			}
			if _, ok := firstOf[job]; !ok {
				firstOf[job] = i
			}
			n, ok := at[key{job, r.ID}]
			if !ok {
				t.Fatalf("row %d is lost", i)
			}
			input := n
			if w.Input != nil {
				input = int(w.Input[n])
			}
			if input != i || w.Tasks[n].Submit != r.Submit || w.Run[n] != r.Run {
				t.Fatalf("row %d became %d: input %d", i, n, input)
			}
			due := sched.Never
			if r.Deadline > 0 {
				due = r.Submit.Add(r.Deadline)
			}
			if got := w.DeadlineOf(sched.TaskID(n)); got != due {
				t.Fatalf("row %d: due at %v, want %v", i, got, due)
			}
			seen := map[int]bool{}
			for _, p := range after[i] {
				job := rows[p].Job
				if job == "" {
					job = rows[p].ID
				}
				seen[at[key{job, rows[p].ID}]] = true
			}
			for _, p := range w.Preds(sched.TaskID(n)) {
				if !seen[int(p)] {
					t.Fatalf("row %d: an edge nobody asked for", i)
				}
			}
			if len(seen) != len(w.Preds(sched.TaskID(n))) {
				t.Fatalf("row %d: %d predecessors, %d asked for", i, len(w.Preds(sched.TaskID(n))), len(seen))
			}
			edges += len(seen)
		}
		if edges != len(w.Succ) {
			t.Fatalf("%d edges, want %d", len(w.Succ), edges)
		}
		for i := 1; i < len(w.Tasks); i++ {
			x, y := w.Tasks[i-1], w.Tasks[i]
			if x.Submit == y.Submit && firstOf[w.JobName.At(int(x.Job))] > firstOf[w.JobName.At(int(y.Job))] {
				t.Fatalf("tasks %d and %d: the later job first", i-1, i)
			}
		}
	})
}

func build(t failer, rows []Row) *Workload {
	b := NewBuilder("t", "csv")
	for i := range rows {
		if err := b.Add(&rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// drawRows draws rows with all fields, and each row's predecessors as positions.
func drawRows(t *rapid.T) ([]Row, [][]int) {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab, \"é\n1同")), 0, 5, -1)
	trimmed := rapid.Custom(func(t *rapid.T) string { return strings.TrimSpace(text.Draw(t, "text")) })
	word := rapid.StringMatching(`[a-c=:]{0,2}[a-c]`)
	key := rapid.StringMatching(`[a-c][a-c/.]{0,3}`)
	dur := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.OneOf(rapid.Int64Range(0, 3), rapid.Map(rapid.Int64Range(0, 100), func(v int64) int64 { return v * 1e9 }), rapid.Int64Range(0, 1<<60)).Draw(t, "ns"))
	})
	size := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1<<52))
	missing := rapid.Bool().Draw(t, "estimates missing")
	plain := rapid.Bool().Draw(t, "numbered ids")
	n := rapid.IntRange(1, 12).Draw(t, "n")
	rows := make([]Row, 0, n)
	after := make([][]int, 0, n)
	type full struct{ job, id string }
	have := map[full]bool{}
	count := map[string]int{}
	every := map[string]Recurrence{}
	for i := range n {
		r := Row{Line: i + 2}
		switch {
		case plain:
			r.ID = fmt.Sprint(i + 1)
		default:
			r.ID = rapid.OneOf(rapid.StringMatching(`[a-d]`), rapid.StringMatching(`[0-9]{1,2}`), trimmed).Draw(t, "id")
		}
		r.Job = rapid.SampledFrom([]string{"", "", "J", "K", "a", "1"}).Draw(t, "job")
		if r.ID == "" || strings.ContainsAny(r.ID, ";") {
			r.ID = fmt.Sprint("id", i)
		}
		k := full{r.Job, r.ID}
		if r.Job == "" {
			k.job = r.ID
		}
		if have[k] {
			r.ID = fmt.Sprint("again", i)
			k.id = r.ID
			if r.Job == "" {
				k.job = r.ID
			}
		}
		have[k] = true
		count[r.ID]++
		r.Name = text.Draw(t, "name")
		r.Kind, r.Tenant, r.Queue = trimmed.Draw(t, "kind"), trimmed.Draw(t, "tenant"), trimmed.Draw(t, "queue")
		r.Submit = sched.Time(rapid.OneOf(rapid.Int64Range(-2, 2), rapid.Int64Range(-(1<<60), 1<<60)).Draw(t, "submit"))
		r.Run = dur.Draw(t, "run")
		r.Estimate = -1
		if !missing {
			if r.Estimate = dur.Draw(t, "estimate"); r.Estimate == 0 {
				r.Estimate = 1
			}
		}
		r.Need.CPU = rapid.Int64Range(0, 1<<40).Draw(t, "cpu")
		r.Need.Mem = size.Draw(t, "mem")
		switch rapid.IntRange(0, 2).Draw(t, "gpu") {
		case 1:
			r.Need.GPUs, r.Need.GPUMilli = 1, rapid.Int32Range(1, 1000).Draw(t, "share")
		case 2:
			r.Need.GPUs = rapid.Int32Range(1, 100).Draw(t, "gpus")
		}
		if r.Need.GPUs > 0 {
			r.Need.VRAM = size.Draw(t, "vram")
			r.GPUTypes = rapid.SliceOfN(word, 0, 2).Draw(t, "types")
		}
		r.Gang = rapid.Int32Range(0, 3).Draw(t, "gang")
		r.Priority = rapid.Int32Range(-9, 9).Draw(t, "priority")
		r.Retries = rapid.Int32Range(0, 2).Draw(t, "retries")
		r.Criticality = rapid.Float64Range(0, 1).Draw(t, "criticality")
		r.Backoff = dur.Draw(t, "backoff")
		for _, l := range rapid.SliceOfN(key, 0, 2).Draw(t, "labels") {
			r.Labels = append(r.Labels, sched.Label{Key: l, Value: word.Draw(t, "value")})
		}
		for _, l := range rapid.SliceOfN(key, 0, 2).Draw(t, "labels not to have") {
			not := sched.NotLabel{Key: l, Any: rapid.Bool().Draw(t, "any value")}
			if !not.Any {
				not.Value = word.Draw(t, "value")
			}
			r.NotLabels = append(r.NotLabels, not)
		}
		for range rapid.IntRange(0, 2).Draw(t, "tolerations") {
			tol := sched.Toleration{Key: key.Draw(t, "taint"), Effect: rapid.SampledFrom([]string{"", "NoSchedule", "NoExecute"}).Draw(t, "effect")}
			if tol.Exists = rapid.Bool().Draw(t, "exists"); !tol.Exists {
				tol.Value = word.Draw(t, "value")
			} else if rapid.Bool().Draw(t, "any") {
				tol.Key = ""
			}
			r.Tolerations = append(r.Tolerations, tol)
		}
		if rapid.Bool().Draw(t, "periodic") {
			r.Period, r.Deadline = dur.Draw(t, "period"), dur.Draw(t, "deadline")
		}
		if rec := (Recurrence{Every: dur.Draw(t, "every")}); rapid.Bool().Draw(t, "recurs") && every[k.job] == (Recurrence{}) && rec.Every > 0 {
			if rapid.Bool().Draw(t, "cron") {
				rec = Recurrence{Cron: "*/5 1,2 * jan-mar mon"}
			}
			every[k.job] = rec
			r.Every, r.Cron = rec.Every, rec.Cron
		}
		r.InputBytes, r.OutputBytes = size.Draw(t, "input"), size.Draw(t, "output")
		r.InputAt = trimmed.Draw(t, "at")
		for _, on := range rapid.SliceOfN(word, 0, 2).Draw(t, "on") {
			r.RunOn = append(r.RunOn, sched.CostOn{On: on, Run: dur.Draw(t, "run on")})
		}
		for j := range rapid.IntRange(0, 2).Draw(t, "speeds") {
			r.SpeedOn = append(r.SpeedOn, sched.SpeedOn{GPUType: []string{"A100", "K80"}[j], Nano: rapid.SampledFrom([]int64{1, 5e8, 2.5e9, 1e9}).Draw(t, "speed")})
		}
		var preds []int
		if i > 0 {
			preds = rapid.SliceOfNDistinct(rapid.IntRange(0, i-1), 0, min(i, 3), rapid.ID[int]).Draw(t, "after")
		}
		after = append(after, preds)
		rows = append(rows, r)
	}
	job := func(i int) string {
		if rows[i].Job == "" {
			return rows[i].ID
		}
		return rows[i].Job
	}
	for i := range rows {
		for _, p := range after[i] {
			id := rows[p].ID
			if job(p) != job(i) && count[id] > 1 {
				id = job(p) + "/" + id
			}
			rows[i].After = append(rows[i].After, id)
			if i%3 == 0 {
				rows[i].AfterBytes = append(rows[i].AfterBytes, int64(p%4)<<20)
			}
		}
	}
	return rows, after
}

func TestARowThatIsRefusedHalfwayIsInNoWorkload(t *testing.T) {
	for _, r := range []Row{
		{Run: 1, RunOn: []sched.CostOn{{On: "A", Run: -1}}},
		{Run: 1, AfterBytes: []int64{4}},
		{Run: 1, InputBytes: -1},
		{Run: 1, Cron: "never"},
		{Run: 1, UsedMem: -1},
		{Run: 1, After: []string{""}},
	} {
		b := NewBuilder("mine", "test")
		if err := b.Add(&Row{Run: 1}); err != nil {
			t.Fatal(err)
		}
		refused := b.Add(&r)
		if w, err := b.Build(); refused == nil || err == nil || err.Error() != refused.Error() {
			t.Errorf("%+v: %v, and then %v with %v", r, refused, err, w)
		}
	}
}
