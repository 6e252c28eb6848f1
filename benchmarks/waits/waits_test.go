package waits

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/schedlab/schedlab/policies/sched"
)

func rows() []Row {
	return []Row{
		{Cause: sched.NoRoom, Blocker: "gpu", Queue: "prod", Tenant: "ann", Kind: "train", Wait: 90e9, GPUWait: 720e9, Tasks: 3},
		{Cause: sched.NoRoom, Blocker: "gpu", Queue: "prod", Tenant: "bob", Kind: "train", Wait: 30e9, GPUWait: 30e9, Tasks: 1},
		{Cause: sched.Dependency, Blocker: "etl/load", Tenant: "ann", Wait: 60e9, Tasks: 2},
		{Cause: sched.Order, Blocker: "etl/head", Queue: "batch", Tenant: "cleo", Kind: "eval", Wait: 20e9, GPUWait: 5e9, Tasks: 4},
	}
}

func TestTheProfileParsesBackToTheSameStacksAndSums(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, rows(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(b.Bytes(), []byte{0x1f, 0x8b}) {
		t.Error("not gzipped")
	}
	p, err := profile.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.CheckValid(); err != nil {
		t.Error(err)
	}
	var types []string
	for _, s := range p.SampleType {
		types = append(types, s.Type+"/"+s.Unit)
	}
	if got := strings.Join(types, " "); got != "wait/nanoseconds gpu-wait/nanoseconds tasks/count" {
		t.Errorf("sample types %s", got)
	}
	got := map[string][]int64{}
	for _, s := range p.Sample {
		var stack []string
		for i := len(s.Location) - 1; i >= 0; i-- { // from the root
			stack = append(stack, s.Location[i].Line[0].Function.Name)
		}
		got[strings.Join(stack, "; ")] = s.Value
	}
	for stack, want := range map[string][]int64{
		"no room; for: gpu; queue: prod; tenant: ann; kind: train":            {90e9, 720e9, 3},
		"no room; for: gpu; queue: prod; tenant: bob; kind: train":            {30e9, 30e9, 1},
		"dependency; for: etl/load; queue: (none); tenant: ann; kind: (none)": {60e9, 0, 2},
		"order; for: etl/head; queue: batch; tenant: cleo; kind: eval":        {20e9, 5e9, 4},
	} {
		if fmt.Sprint(got[stack]) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", stack, got[stack], want)
		}
	}
	if len(got) != 4 || p.DurationNanos != int64(time.Hour) {
		t.Errorf("%d stacks over %d ns", len(got), p.DurationNanos)
	}
}

func TestPprofPrintsTheSameSums(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command")
	}
	file := filepath.Join(t.TempDir(), "wait.pb.gz")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(f, rows(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for index, want := range map[string]map[string]string{
		Wait:    {"no room": "120s", "tenant: ann": "150s", "for: etl/load": "60s"},
		GPUWait: {"no room": "750s", "queue: prod": "750s"},
		Tasks:   {"no room": "4", "tenant: cleo": "4"},
	} {
		unit := "s"
		if index == Tasks {
			unit = "count"
		}
		out, err := exec.Command("go", "tool", "pprof", "-top", "-cum", "-unit="+unit, "-nodefraction=0", "-sample_index="+index, file).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for name, sum := range want {
			// flat flat% sum% cum cum% name
			if line := regexp.MustCompile(`(?m)^.*\s(\S+)\s+\S+%\s+` + regexp.QuoteMeta(name) + `$`).FindStringSubmatch(string(out)); line == nil || line[1] != sum {
				t.Errorf("%s of %q: %v, want %s, in\n%s", index, name, line, sum, out)
			}
		}
	}
}

func TestTheKernelsRowsAreNamedByTheTable(t *testing.T) {
	tb := &sched.Table{
		Tasks:   []sched.Task{{}, {Class: 1}},
		Classes: []sched.Class{{}, {Demand: 1, Kind: 1, Tenant: 1, Queue: 1}},
		Demands: []sched.Demand{{Gang: 1}, {Gang: 2, Need: sched.Need{GPUs: 1, GPUMilli: 500}}},
		Kinds:   []string{"", "train"}, Tenants: []string{"", "ann"}, Queues: []string{"", "prod"},
	}
	tb.TaskNames.Append("load")
	tb.TaskNames.Append("fit")
	tb.JobName.Append("etl")
	got := FromKernel(tb, []sched.WaitRow{
		{Cause: sched.NoRoom, Lack: sched.GPU, Blocker: sched.Nobody, Class: 1, Wait: 10, Count: 3},
		{Cause: sched.Dependency, Blocker: 0, Class: 1, Wait: 4, Count: 1},
		{Cause: sched.Window, Blocker: sched.Nobody, Wait: 1, Count: 1},
	})
	want := []Row{
		{Cause: sched.NoRoom, Blocker: "gpu", Queue: "prod", Tenant: "ann", Kind: "train", Wait: 10, GPUWait: 10, Tasks: 3},
		{Cause: sched.Dependency, Blocker: "etl/load", Queue: "prod", Tenant: "ann", Kind: "train", Wait: 4, GPUWait: 4, Tasks: 1},
		{Cause: sched.Window, Wait: 1, Tasks: 1},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestAWaitThatDoesNotFitIsRefused(t *testing.T) {
	for _, r := range []Row{{Wait: -1}, {Wait: math.NaN()}, {GPUWait: 1e30}, {Cause: sched.NumCauses}} {
		if err := Write(&bytes.Buffer{}, []Row{r}, 0); err == nil {
			t.Errorf("%+v was written", r)
		}
	}
	if err := Write(&bytes.Buffer{}, nil, 0); err != nil {
		t.Errorf("nobody waited: %v", err)
	}
}
