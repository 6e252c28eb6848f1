package traces

import (
	"bytes"
	"strings"
	"testing"
)

// fuzzReader feeds a reader; whatever it takes must be a sound workload, and must survive a round trip in JSON lines.
func fuzzReader(f *testing.F, format string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := Read(bytes.NewReader(data), "t", format)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "t:") && !strings.HasPrefix(err.Error(), "unknown") {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		checkWorkload(t, w)
		_ = w.Info(w.Cluster)
		_ = w.Check(w.Cluster)
		if w.Len() > 1000 {
			return
		}
		text := write(t, w, "jsonl")
		again, err := Read(strings.NewReader(text), "t", "jsonl")
		if err != nil {
			return // an id that holds a slash may no longer be found
		}
		if again.Len() != w.Len() || len(again.Succ) != len(w.Succ) {
			t.Fatalf("%d tasks and %d edges became %d and %d", w.Len(), len(w.Succ), again.Len(), len(again.Succ))
		}
	})
}

func FuzzCSV(f *testing.F) {
	fuzzReader(f, "csv", "id,run_s\na,1\n", "id,job,submit_s,run_s,gpus,after,every\na,J,1,2.5,0.5,,24h\n\"b\"\"\",J,-1,3,8,a,\n",
		"run_on,labels,tolerations,gpu_types\nA=1;B=2,k=v,t=v:NoSchedule;u,A|B\n", "id,run_s,period_s,criticality\nx,1,0.01,0.5\n")
}

func FuzzJSONL(f *testing.F) {
	fuzzReader(f, "jsonl", `{"id":"a","run_s":1}`, `{"run_s":"1.5","after":["1"],"labels":{"a":"b"},"run_on":{"A":2}}`)
}

func FuzzSWF(f *testing.F) {
	fuzzReader(f, "swf", "; MaxProcs: 4\n1 0 -1 10 4 -1 -1 4 20 -1 1 7 -1 3 2 -1 -1 -1\n", "1 0 -1 1e3 -1 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 2 5\n")
}

func FuzzOpenb(f *testing.F) {
	fuzzReader(f, "openb", "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\na,6000,12288,1,460,A|B,LS,Running,10,100,40\n")
}

func FuzzPhilly(f *testing.F) {
	fuzzReader(f, "philly", "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,66.0,12,792.0,x\n2017-10-09 06:01:55,6.5,1,6.5,y\n")
}

func FuzzGavel(f *testing.F) {
	fuzzReader(f, "gavel", "A3C\tpython\tx\t-n\t1\t5\t2\tstatic\t3\t1.2\t7\t0.5\n", "A3C\tpython\t-n\t1\t5\t0\t1\n")
}

func FuzzMuri(f *testing.F) {
	fuzzReader(f, "muri-upstream", "job_id,num_gpu,submit_time,iterations,model_name,iteration_time\n0,32,100,1000,bert,886\n")
}

func FuzzTiresias(f *testing.F) {
	fuzzReader(f, "tiresias", "job_id,num_gpu,submit_time,iterations,model_name,duration,interval\n0,1,0,606,vgg19,164,30\n")
}

func FuzzBatsim(f *testing.F) {
	fuzzReader(f, "batsim", `{"nb_res":4,"jobs":[{"id":"1","subtime":1.5,"res":4,"walltime":30,"profile":"d"}],"profiles":{"d":{"type":"delay","delay":2}}}`)
}

func FuzzRead(f *testing.F) {
	fuzzReader(f, "", "id,run_s\na,1\n", "\x1f\x8b\x08\x00", "\x28\xb5\x2f\xfd\x04\x00", "{}", "1\n0 1 0\n")
}

func FuzzCron(f *testing.F) {
	f.Add("*/5 1,2 * jan-mar mon", int64(0))
	f.Fuzz(func(t *testing.T, line string, from int64) {
		c, err := parseCron(line)
		if err != nil {
			return
		}
		from %= 1 << 36
		if at, ok := c.next(from); ok && (at <= from || at%60 != 0) {
			t.Fatalf("%q after %d: %d", line, from, at)
		}
	})
}
