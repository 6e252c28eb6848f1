package traces

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func dropped(w *Workload) (n, first int) {
	for _, x := range w.Notes {
		if x.Dropped {
			n += x.Count
			if first == 0 || x.FirstLine < first {
				first = x.FirstLine
			}
		}
	}
	return n, first
}

// The counts are those of the shared set's own README, made by another program.
func TestSharedTracesHaveTheCountsOfTheirREADME(t *testing.T) {
	for _, c := range []struct {
		path, format         string
		tasks, drops, noEsts int
		capacity             float64 // CPUs that the trace names
	}{
		{"traces/gpu/philly/philly.csv.gz", "philly", 82247, 0, 82247, 0},
		{"traces/gpu/openb/openb_pod_list_default.csv.gz", "openb", 8152, 0, 8152, 0},
		{"traces/gpu/openb/openb_pod_list_cpu050.csv.gz", "openb", 7439, 0, 7439, 0},
		{"traces/gpu/openb/openb_pod_list_gpushare40.csv.gz", "openb", 8152, 0, 8152, 0},
		{"traces/gpu/muri/trace3.csv.gz", "muri", 992, 0, 992, 0},
		{"traces/gpu/muri/trace4_pr.csv.gz", "muri", 2638, 0, 2638, 0},
		{"traces/gpu/muri/testbed/cluster_trace.csv", "muri", 400, 0, 400, 0},
		{"traces/gpu/tiresias/60_job.csv", "tiresias", 60, 0, 60, 0},
		{"references/gpu_cluster/tiresias_60_job_x2.csv", "tiresias", 60, 0, 60, 0},
		{"traces/gpu/gavel/msr_seed0_2869ce.trace.gz", "gavel", 533, 0, 533, 0},
		{"traces/gpu/gavel/msr_seed0_e13805.trace.gz", "gavel", 607, 0, 607, 0},
		{"traces/gpu/gavel/physical_max_min_fairness.trace", "gavel", 96, 0, 96, 0},
		{"traces/gpu/gavel/physical_minimize_makespan.trace", "gavel", 100, 0, 100, 0},
		{"traces/gpu/gavel/physical_small_test.trace", "gavel", 20, 0, 20, 0},
		{"traces/gpu/shockwave/120_jobs.trace", "gavel", 120, 0, 120, 0},
		{"traces/hpc/swf/KTH-SP2-1996-2.1-cln.swf.gz", "swf", 27992, 0, 0, 100},
		{"traces/hpc/swf/HPC2N-2002-2.1-cln.swf.gz", "swf", 202876, 0, 0, 240},
		{"traces/hpc/swf/LLNL-Thunder-2007-1.1-cln.swf.gz", "swf", 121039 - 7426, 7426, 80197, 4008},
		{"traces/hpc/swf/alea-hpc2n-3171.swf.gz", "swf", 3170 - 25, 25, 0, 240},
		{"traces/hpc/swf/lublin_256.swf.gz", "swf", 10000, 0, 10000, 256},
		{"traces/hpc/batsim/medium_late.json.gz", "batsim", 801, 0, 0, 32},
		{"traces/hpc/batsim/example_workload_hpc_seed1_jobs250.json", "batsim", 250, 0, 0, 128},
	} {
		t.Run(c.path, func(t *testing.T) {
			w, err := Open(shared(t, c.path), "")
			if err != nil {
				t.Fatal(err)
			}
			checkWorkload(t, w)
			drops, _ := dropped(w)
			if w.Format != c.format || w.Len() != c.tasks || drops != c.drops || w.MissingEstimates != c.noEsts || !w.Recorded {
				t.Errorf("%s: %d tasks, %d dropped, %d without estimate; %v", w.Format, w.Len(), drops, w.MissingEstimates, w.Notes)
			}
			if got := capacity(w.Cluster).cpu; got != c.capacity {
				t.Errorf("the trace names %v CPUs, want %v", got, c.capacity)
			}
		})
	}
}

func TestPhillyJobsAreThosePublished(t *testing.T) {
	w, err := Open(shared(t, "traces/gpu/philly/philly.csv.gz"), "")
	if err != nil {
		t.Fatal(err)
	}
	ones, largest := 0, int64(0)
	for i := range w.Tasks {
		d := w.DemandOf(sched.TaskID(i))
		n := d.GPUTotal() / 1000
		if n == 1 {
			ones++
		}
		largest = max(largest, n)
		if d.Need.GPUs > 8 {
			t.Fatalf("a replica of %d GPUs fits no node of 8", d.Need.GPUs)
		}
	}
	if ones != 76627 || largest != 128 || len(w.Tenants)-1 != 15 || w.Tasks[0].Submit >= 0 {
		t.Fatalf("%d one-GPU jobs, largest %d, %d virtual clusters, first submit %v", ones, largest, len(w.Tenants)-1, w.Tasks[0].Submit)
	}
	for i := range w.Tasks { // the first row of the file is time 0: 66 s on one GPU
		if w.Input[i] == 0 && (w.Tasks[i].Submit != 0 || w.Run[i] != seconds(66)) {
			t.Fatalf("the first row: %+v, %v", w.Tasks[i], w.Run[i])
		}
	}
}

func TestPodsWithoutTimesAreRefused(t *testing.T) {
	_, err := Open(shared(t, "traces/gpu/openb/openb_pod_list_multigpu20.csv.gz"), "")
	if err == nil || !strings.Contains(err.Error(), "cannot be replayed") {
		t.Fatal(err)
	}
}

func TestOpenbPods(t *testing.T) {
	w := read(t, `name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
a,6000,12288,1,460,V100M16|V100M32,LS,Running,10,100,40
b,4000,1024,0,0,,BE,Pending,20,50,
c,4000,1024,2,1000,,BE,Failed,20,,
`, "")
	if w.Len() != 2 || w.Run[0] != seconds(60) || w.Run[1] != seconds(30) || w.Tasks[0].Submit != 10e9 || w.Queues[1] != "LS" {
		t.Fatalf("%+v %v", w.Table, w.Run)
	}
	if d := w.Demands[0]; d.Need != (sched.Need{CPU: 6000, Mem: 12288 << 20, GPUs: 1, GPUMilli: 460}) || len(d.GPUTypes) != 2 {
		t.Fatalf("%+v", d)
	}
	if n, line := dropped(w); n != 1 || line != 4 {
		t.Fatalf("%v", w.Notes)
	}
}

func TestJobsLargerThanANodeBecomeGangsThatSpanNodes(t *testing.T) {
	for n, want := range map[int64][2]int32{0: {0, 1}, 1: {1, 1}, 7: {7, 1}, 8: {8, 1}, 12: {4, 3}, 9: {1, 9}, 10: {2, 5}, 24: {8, 3}, 128: {8, 16}} {
		var r Row
		if wide(&r, n); r.Need.GPUs != want[0] || r.Gang != want[1] {
			t.Errorf("%d GPUs: %d x %d, want %d x %d", n, r.Gang, r.Need.GPUs, want[1], want[0])
		}
	}
}

func TestMuriTimesAreMillisecondsAndUpstreamIsSlower(t *testing.T) {
	const text = "job_id,num_gpu,submit_time,iterations,model_name,batch_size,duration,interval,iteration_time,resource_time_0,resource_time_1,resource_time_2,priority\n" +
		"0,4,1500,1046811,shufflenet_v2_x1_0,128,927475000,11174000,886,703,62,17,0\n"
	w := read(t, text, "")
	if w.Format != "muri" || w.Tasks[0].Submit != 1.5e9 || w.Run[0] != 1046811*886*1e6 || w.Kinds[1] != "shufflenet_v2_x1_0" {
		t.Fatalf("%s %+v %v", w.Format, w.Tasks[0], w.Run)
	}
	if got, want := read(t, text, "muri-upstream").Run[0].Seconds(), 1046811*886*1.015/1000; math.Abs(got-want) > 1e-6 {
		t.Fatalf("%v, want %v", got, want)
	}
}

func TestSWFJobsAreGangsOfOneCPU(t *testing.T) {
	w := read(t, `; MaxNodes: 3
; MaxProcs: 12 (and so on)
1 0 -1 10 4 -1 -1 -1 -1 -1 1 7 -1 3 2 -1 -1 -1
2 5 -1 10 4 -1 -1 8 20 -1 1 -1 -1 -1 -1 -1 1 60
3 5 -1 0 4 -1 -1 8 20 -1 5 -1 -1 -1 -1 -1 -1 -1
4 5 -1 9 -1 -1 -1 -1 20 -1 1 -1 -1 -1 -1 -1 -1 -1
5 4 -1 9 1 -1 -1 -1 20 -1 2 -1 -1 -1 -1 -1 -1 -1
6 4 -1 9 1 -1 -1 -1 20 -1 1 -1 -1 -1 -1 -1 -1 -1
`, "")
	if w.Len() != 3 || w.Demands[0].Gang != 4 || w.DemandOf(2).Gang != 8 || w.Tenants[1] != "user7" || w.Kinds[1] != "app3" || w.Queues[1] != "queue2" {
		t.Fatalf("%+v", w.Table)
	}
	if w.Estimates[0] != seconds(10) || w.Estimates[2] != seconds(20) || w.MissingEstimates != 1 || len(w.Succ) != 0 {
		t.Fatalf("%+v", w)
	}
	if n, line := dropped(w); n != 3 || line != 5 || len(w.Notes) != 5 {
		t.Fatalf("%v", w.Notes)
	}
	if c := w.Cluster; len(c) != 1 || c[0].Name != "pool" || c[0].CPU != 12000 || c[0].Mem != sched.Unlimited || c[0].GPUs != 0 {
		t.Fatalf("%+v", c)
	}
	back := read(t, write(t, w, "swf"), "")
	w.Notes, back.Notes = nil, nil
	if d := diff(w, back); d != "" {
		t.Fatal(d)
	}
}

func TestSWFWritesWhatItCannotSayAsAnError(t *testing.T) {
	for text, want := range map[string]string{
		"id,run_s,gpus\na,1,0.5\n":              "share",
		"id,run_s,gpus\na,1,1\nb,1,0\n":         "GPU and CPU",
		"id,run_s,after\na,1,\nb,1,\nc,1,a;b\n": "2 predecessors",
	} {
		var b strings.Builder
		if err := Write(&b, read(t, text, ""), "swf"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	s := write(t, read(t, "id,run_s,gpus,gang,tenant\na,1.5,8,2,alice\nb,1,1,,bob\n", ""), "swf")
	if !strings.Contains(s, "user 2 is bob") || !strings.Contains(s, "\n1 0 -1 1.5 16 -1 -1 16 -1 -1 1 1 -1 -1 -1 -1 -1 -1\n") {
		t.Fatal(s)
	}
}

// What SWF can say of a workload comes back, and nothing of it is told as lost.
func TestSWFRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBuilder("t", "swf")
		at, name := int64(0), func(prefix string) string {
			if n := rapid.IntRange(-1, 2).Draw(t, prefix); n >= 0 {
				return fmt.Sprint(prefix, n)
			}
			return ""
		}
		kb := rapid.OneOf(rapid.Just[int64](0), rapid.Int64Range(1, 1<<30))
		for i := range rapid.IntRange(1, 8).Draw(t, "tasks") {
			at += rapid.Int64Range(0, 5e9).Draw(t, "gap")
			row := Row{
				ID: fmt.Sprint(10 + i), Submit: sched.Time(at), Run: time.Duration(rapid.Int64Range(1, 1e12).Draw(t, "run")), Estimate: time.Duration(rapid.Int64Range(-1, 1e12).Draw(t, "estimate")),
				Gang: rapid.Int32Range(1, 9).Draw(t, "gang"), Need: sched.Need{CPU: 1000, Mem: kb.Draw(t, "memory") << 10}, UsedMem: kb.Draw(t, "used") << 10,
				Tenant: name("user"), Queue: name("queue"), Kind: name("app"), Line: i + 1,
			}
			if err := b.Add(&row); err != nil {
				t.Fatal(err)
			}
		}
		w, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := Write(&text, w, "swf"); err != nil {
			t.Fatal(err)
		}
		back, err := Read(bytes.NewReader(text.Bytes()), "t", "swf")
		if err != nil {
			t.Fatalf("%v:\n%s", err, &text)
		}
		if lost := Lost(w, "swf"); len(lost) > 0 || len(back.Notes) > 0 || back.Len() != w.Len() {
			t.Fatalf("lost %v, notes %v:\n%s", lost, back.Notes, &text)
		}
		var one, other Row
		for i := range w.Tasks {
			w.RowOf(sched.TaskID(i), &one)
			back.RowOf(sched.TaskID(i), &other)
			if !reflect.DeepEqual(one, other) {
				t.Fatalf("%+v\ncomes back as\n%+v\nfrom\n%s", one, other, &text)
			}
		}
	})
}

func TestWhatSWFLeavesOutIsTold(t *testing.T) {
	for text, want := range map[string]string{
		"id,run_s,mem_gb,mem_used_gb,tenant\n1,1,2,1,ann\n":         "",
		"id,run_s,priority,labels,gpu_mem_gb,gpus\n1,1,2,a=b,4,1\n": "gpu_mem_gb, priority, labels, that processors are GPUs (but in a comment)",
		"id,run_s,gpus,cpu,gang\n1,1,2,3,4\n":                       "cpu, how many GPUs a replica has (their sum is kept), that processors are GPUs (but in a comment)",
		"id,job,run_s,cpu,after\na,j,1,2,\nb,j,0,2,a\n":             "id, job, how many CPUs a replica has (their sum is kept), that tasks wait for others (column 17 names them, and readers do not apply it), tasks whose run time is 0 (readers drop them)",
		"id,run_s,deadline_s,retries,run_on\n1,5,9,1,fast=2\n":      "deadline_s, retries, run_on",
	} {
		w := read(t, text, "")
		if got := strings.Join(Lost(w, "swf"), ", "); got != want {
			t.Errorf("%q: %q, wanted %q", text, got, want)
		}
	}
	if s := write(t, read(t, "id,run_s,cpu,gang,mem_gb\n1,5,4,2,1\n", ""), "swf"); !strings.Contains(s, "\n1 0 -1 5 8 -1 -1 8 -1 262144 1 ") { // 2 GiB on 8 processors
		t.Error(s)
	}
	const line = "1 0 -1 5 8 -1 100 8 -1 200 1 -1 -1 -1 -1 -1 -1 -1\n"
	if w := read(t, line, "swf"); w.Used != nil || w.Demands[0].Need.Mem != 0 {
		t.Error("memory is taken over from a log that does not say its unit")
	}
}

func TestBatsimJobs(t *testing.T) {
	w := read(t, `{"command": {"deep": [1, {"x": "\"}"}]}, "jobs": [
 {"id": "w0!1", "subtime": 1.5, "res": 4, "walltime": 30, "profile": "d"},
 {"id": 2, "subtime": 0, "res": 1, "walltime": -1, "profile": "d"},
 {"id": 3, "subtime": 0, "res": 1, "profile": "p"}
], "nb_res": 4, "profiles": {"d": {"type": "delay", "delay": 20.25}, "p": {"type": "parallel_homogeneous", "cpu": 1}}}`, "")
	if w.Format != "batsim" || w.Len() != 2 || w.Run[0] != seconds(20.25) || w.MissingEstimates != 1 || w.DemandOf(1).Gang != 4 || w.TaskNames.At(1) != "w0!1" ||
		len(w.Cluster) != 4 || w.Cluster[3].CPU != 1000 {
		t.Fatalf("%+v", w)
	}
	if n, line := dropped(w); n != 1 || line != 4 {
		t.Fatal(w.Notes)
	}
	for text, want := range map[string]string{
		`{"jobs":[{"id":1,"subtime":0,"res":1,"profile":"x"}]}`:                `t:1: job 1: no profile "x"`,
		"{\"jobs\":[\n{\"id\":1,\"subtime\":0,\"res\":-1,\"profile\":\"x\"}]}": `t:2: job 1: res: "-1" is not a count`,
		`{"jobs":[{"id":1,"subtime":0,"res":1,"profile":"x"}`:                  "t:1: ",
		`{"nb_res":"x"}`: `t:1: "x" is not a number`,
		`{"jobs":[3]}`:   "t:1: an object ({\"key\": value}) is wanted, not a number",
		`{"jobs":3}`:     "t:1: a list is wanted, not 3",
		`{"jobs":[{"id":1,"subtime":0,"res":1,"profile":3}]}`: "t:1: profile: text is wanted, not a number",
		`{"nb_res":99999999}`:                            "t:1: nb_res",
		`{"profiles":{"d":{"type":"delay","delay":-4}}}`: "t:1: profile d: delay: -4 is negative",
		`{"x":` + strings.Repeat("[", 2000):              "t:1: nested deeper",
		`{"jobs":[{"id":"` + strings.Repeat("x", 3*maxLine) + `","subtime":0,"res":1,"profile":"x"}],"profiles":{}}`: "t:1: a value is larger than 1 MiB",
	} {
		if _, err := Read(strings.NewReader(text), "t", "batsim"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", text, err, want)
		}
	}
}

func TestForeignReadersNameThePlaceOfBadNumbers(t *testing.T) {
	for _, c := range []struct{ format, text, want string }{
		{"philly", "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,66.0,1,66.0,x\n2017-10-09 07:01:55,66.0,-1,66.0,x\n", "t:3: negative GPU count"},
		{"philly", "timestamp,duration,num_gpus\n2017-10-09,66.0,1\n", "t:2: timestamp:"},
		{"philly", "timestamp,duration,num_gpus\n2017-10-09 07:01:55,NaN,1\n", "t:2: duration:"},
		{"philly", "timestamp,duration\n2017-10-09 07:01:55,1\n", `t:1: no column "num_gpus"`},
		{"philly", "timestamp,duration,num_gpus\n2017-10-09 07:01:55,1,1\n0001-01-01 00:00:00,1,1\n", "t:3: timestamp: more than 73 years"},
		{"openb", "name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time\na,1,1,1,2000,0,1\n", "t:2: GPU share 2000 is beyond 1000"},
		{"openb", "name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time\na,1,1,2,500,0,1\n", "t:2: a share of more than one GPU"},
		{"openb", "name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time\na,1,1,1,500,9,1\n", "t:2: deleted before"},
		{"muri", "job_id,num_gpu,submit_time,iterations,iteration_time\n0,1,0,999999999999,999999999999\n", "t:2: iteration_time:"},
		{"tiresias", "job_id,num_gpu,submit_time,duration\n0,1,0,-5\n", "t:2: negative run time"},
		{"gavel", "A3C\tpython\t-n\t1\t5\t0\n", "t:1: 6 fields"},
		{"gavel", "A3C\tpython\t-n\t1\t5\t0\t1\n", "t:1: run times of this trace are steps / throughput"},
		{"gavel", "A3C\tpython\tx\t-n\t1\t5\t-1\tstatic\t1\t-1\t7\t0\n", `t:1: GPU count: "-1"`},
		{"gavel", "A3C\tpython\tx\t-n\t1\t5\t1\tstatic\t1\t-1\tx\t0\n", "t:1: duration:"},
		{"swf", "1 2 3\n", "t:1: SWF has 18 columns, not 3"},
		{"swf", "1 x -1 10 4 -1 -1 -1 -1 -1 1 7 -1 3 2 -1 -1 -1\n", `t:1: column 2: "x"`},
		{"swf", "1 0 -1 10 4 -1 -1 3000000000 -1 -1 1 7 -1 3 2 -1 -1 -1\n", "t:1: 3000000000 processors"},
		{"nosuch", "x", "unknown trace format"},
	} {
		if _, err := Read(strings.NewReader(c.text), "t", c.format); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s %q:\ngot  %v\nwant %s", c.format, c.text, err, c.want)
		}
	}
	if _, err := Read(strings.NewReader("a,b\n1,2\n"), "t", ""); err == nil || !strings.Contains(err.Error(), "--format") {
		t.Error(err)
	}
}

// Throughputs are those of the file; the run time is steps / throughput on a V100 (here by hand from the file's numbers).
func TestAGavelTraceCarriesAThroughputTablePerKind(t *testing.T) {
	w, err := Open(shared(t, "traces/gpu/gavel/physical_small_test.trace"), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Speeds) > 20 || w.RunOn != nil || w.EstimateOn != nil {
		t.Fatalf("%d tables, %v", len(w.Speeds), w.RunOn)
	}
	// Transformer (batch size 128) on 2 GPUs: 346 steps; 10.069238394742342, 5.087428857861381 and 1.6574724675832473 steps a second.
	for _, c := range []struct {
		gpu  string
		want float64
	}{{"V100", 346 / 10.069238394742342}, {"P100", 346 / 5.087428857861381}, {"K80", 346 / 1.6574724675832473}} {
		n := sched.NodeSpec{GPUType: c.gpu, GPUs: 4}
		if got := sched.EstimateOn(w.Table, 0, &n).Seconds(); math.Abs(got-c.want) > 1e-5 {
			t.Errorf("%s: %g s, want %g", c.gpu, got, c.want)
		}
	}
}
