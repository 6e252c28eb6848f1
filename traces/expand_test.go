package traces

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestPeriodicTasksAreReleasedForTwoHyperperiods(t *testing.T) {
	w := read(t, "id,run_s,period_s,deadline_s\nT1,0.002,0.010,\nT2,0.005,0.025,0.02\nT3,0.008,0.050,\nonce,1,,\n", "")
	x, err := w.Expand(0)
	if err != nil {
		t.Fatal(err)
	}
	checkWorkload(t, x)
	count := map[string]int{}
	for i, task := range x.Tasks {
		name := x.TaskNames.At(i)
		series, k, _ := strings.Cut(name, "#")
		count[series]++
		c := x.ClassOf(sched.TaskID(i))
		if series == "once" {
			continue
		}
		if fmt.Sprint(1+int64(task.Submit)/int64(c.Period)) != k {
			t.Errorf("%s is released at %v", name, task.Submit)
		}
		want := c.Period
		if series == "T2" {
			want = 20 * time.Millisecond
		}
		if after := x.DeadlineOf(sched.TaskID(i)).Sub(task.Submit); after != want {
			t.Errorf("%s: deadline after %v", name, after)
		}
	}
	if fmt.Sprint(count) != "map[T1:10 T2:4 T3:2 once:1]" {
		t.Fatal(count)
	}
	if x.TaskNames.At(0) != "T1#1" || x.TaskNames.At(1) != "T2#1" || x.TaskNames.At(2) != "T3#1" {
		t.Error("ties are not in input order")
	}
	if again, err := x.Expand(0); err != nil || again != x {
		t.Error("a second Expand changes something")
	}
}

func TestExpandKeepsWhatDoesNotRecur(t *testing.T) {
	w := read(t, "id,run_s\na,1\n", "")
	if x, err := w.Expand(0); err != nil || x != w {
		t.Fatal(err)
	}
}

func TestRecurringJobsAreReleasedWhole(t *testing.T) {
	w := read(t, "id,job,submit_s,run_s,after,every,run_on\na,J,10,1,,24h,\nb,J,20,1,a,,X=3\nc,K,5,1,,0 6 * * *,\n", "")
	x, err := w.Expand(sched.Time(3 * 24 * time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	checkWorkload(t, x)
	var got []string
	for i, task := range x.Tasks {
		s := fmt.Sprintf("%s/%s@%v", x.JobName.At(int(task.Job)), x.TaskNames.At(i), task.Submit.Seconds())
		for _, p := range x.Preds(sched.TaskID(i)) {
			s += "<" + x.TaskNames.At(int(p))
		}
		got = append(got, s)
	}
	want := "K#1/c#1@5 J#1/a#1@10 J#1/b#1@20<a#1 K#2/c#2@21600 J#2/a#2@86410 J#2/b#2@86420<a#2 K#3/c#3@108000 J#3/a#3@172810 J#3/b#3@172820<a#3 K#4/c#4@194400"
	if strings.Join(got, " ") != want {
		t.Fatalf("\n%s\n%s", strings.Join(got, " "), want)
	}
	if len(x.RunOn) != 3 || x.RunOn[2][0].Run != 3e9 {
		t.Error(x.RunOn)
	}
}

func TestExpansionIsBoundedAndSaysSo(t *testing.T) {
	w := read(t, "id,run_s,period_s\na,0.001,0.000001\nb,1,1000003\n", "")
	x, err := w.Expand(0)
	if err != nil {
		t.Fatal(err)
	}
	if x.Len() != maxReleases || len(x.Notes) != 1 || !strings.Contains(x.Notes[0].Reason, "left out") {
		t.Fatal(x.Len(), x.Notes)
	}
}

func TestEdgesBetweenDifferentRecurrencesAreRefused(t *testing.T) {
	w := read(t, "id,run_s,period_s,after\na,1,10,\nb,1,20,a\n", "")
	if _, err := w.Expand(0); err == nil || !strings.Contains(err.Error(), "task b depends on a") {
		t.Fatal(err)
	}
	w = read(t, "id,submit_s,run_s,period_s,after\na,5,1,10,\nb,0,1,10,a\n", "")
	x, err := w.Expand(sched.Time(12e9))
	if err != nil || x.Len() != 2 {
		t.Fatal("a release without its predecessor", x.Len(), err)
	}
}

// A cron line must agree with a search minute by minute.
func TestCronAgreesWithASearchByMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		field := func(lo, hi int) string {
			a := rapid.IntRange(lo, hi).Draw(t, "a")
			b := rapid.IntRange(a, hi).Draw(t, "b")
			return rapid.SampledFrom([]string{"*", fmt.Sprint(a), fmt.Sprintf("%d-%d", a, b), fmt.Sprintf("*/%d", b-a+1), fmt.Sprintf("%d-%d/3,%d", a, b, b)}).Draw(t, "field")
		}
		line := strings.Join([]string{field(0, 59), field(0, 23), field(1, 28), "*", field(0, 7)}, " ")
		c, err := parseCron(line)
		if err != nil {
			t.Fatal(err)
		}
		from := rapid.Int64Range(-1e9, 4e9).Draw(t, "from")
		got, ok := c.next(from)
		if !ok {
			t.Fatalf("%s: nothing after %d", line, from)
		}
		at := time.Unix(from, 0).UTC().Truncate(time.Minute)
		for range 60 * 24 * 62 {
			at = at.Add(time.Minute)
			dom, dow := c.dom>>at.Day()&1 == 1, c.dow>>int(at.Weekday())&1 == 1
			f := strings.Fields(line)
			day := dom || dow
			if f[2][0] == '*' || f[4][0] == '*' {
				day = dom && dow
			}
			if c.minute>>at.Minute()&1 == 1 && c.hour>>at.Hour()&1 == 1 && day {
				if at.Unix() != got {
					t.Fatalf("%s after %d: %d, want %d", line, from, got, at.Unix())
				}
				return
			}
		}
	})
	for _, bad := range []string{"", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 30 2 *", "*/0 * * * *", "5-1 * * * *", "a * * * *", "* * * * 8", "1,, * * * *"} {
		if _, err := parseCron(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if c, err := parseCron("@daily"); err != nil {
		t.Error(err)
	} else if at, _ := c.next(0); at != 86400 {
		t.Error(at)
	}
	if c, err := parseCron("0 0 29 feb *"); err != nil {
		t.Error(err)
	} else if at, _ := c.next(0); time.Unix(at, 0).UTC().Format(time.DateOnly) != "1972-02-29" {
		t.Error(at)
	}
}

func TestScaleLoadMakesTheOfferedLoadAndKeepsRelativeDeadlines(t *testing.T) {
	w := read(t, "id,submit_s,run_s,gpus,cpu,deadline_s\na,-10,100,2,1,50\nb,90,100,1,1,\n", "")
	nodes := []sched.NodeSpec{{Name: "n", GPUs: 8, CPU: sched.Unlimited}}
	if load, err := w.Load(nodes); err != nil || math.Abs(load-300.0/800) > 1e-12 {
		t.Fatal(load, err)
	}
	x, err := w.ScaleLoad(nodes, 0.75)
	if err != nil {
		t.Fatal(err)
	}
	if load, _ := x.Load(nodes); math.Abs(load-0.75) > 1e-9 {
		t.Error(load)
	}
	if x.Tasks[0].Submit != -5e9 || x.DeadlineOf(0) != 45e9 || x.DeadlineOf(1) != sched.Never || w.Tasks[0].Submit != -10e9 || w.DeadlineOf(0) != 40e9 {
		t.Errorf("%+v, %v", x.Tasks, x.Deadlines)
	}
	nodes[0].CPU = 1000 // now CPUs are the busier
	if load, _ := w.Load(nodes); load != 2 {
		t.Error(load)
	}
	for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if _, err := w.ScaleLoad(nodes, bad); err == nil {
			t.Error(bad, "is taken")
		}
	}
	if _, err := read(t, "id,run_s\na,1\nb,1\n", "").ScaleLoad(nodes, 1); err == nil {
		t.Error("one instant has a load")
	}
	if _, err := w.ScaleLoad([]sched.NodeSpec{{CPU: 1000}}, 1); err == nil {
		t.Error("no GPU has a load")
	}
}

func TestInfoAddsUp(t *testing.T) {
	w := read(t, "id,submit_s,run_s,gpus,cpu,tenant,after\na,0,10,2,,x,\nb,100,30,1,4,y,a\nc,50,5,,2,,\n", "")
	nodes := []sched.NodeSpec{{GPUs: 1, CPU: sched.Unlimited, Mem: sched.Unlimited}}
	in := w.Info(nodes)
	if in.Tasks != 3 || in.Edges != 1 || in.Span != 100 || in.LongestPath != 40 || in.Run.Median != 10 || in.Run.Max != 30 || in.Run.Mean != 15 ||
		in.Tenants[0].Name != "y" || in.Tenants[0].GPUSeconds != 30 || len(in.Offered) != 2 {
		t.Fatalf("%+v", in)
	}
	if o := in.Offered[0]; o.Work != 50 || *o.Capacity != 1 || *o.Load != 0.5 {
		t.Errorf("%+v", o)
	}
	if o := in.Offered[1]; o.Work != 130 || o.Capacity != nil || o.Load != nil {
		t.Errorf("%+v", o)
	}
	var s strings.Builder
	if err := in.Text(&s); err != nil || !strings.Contains(s.String(), "load 0.500") || !strings.Contains(s.String(), "1 dependency\n") {
		t.Error(s.String(), err)
	}
}

func TestCheckFindsWhatFitsNoNode(t *testing.T) {
	w := read(t, "id,run_s,estimate_s,gpus,gang,gpu_types,gpu_mem_gb,cpu\nok,1,1,4,2,,,\nwide,1,1,4,3,,,\nbig,1,1,9,,,,\ntype,1,1,1,,H100,,\nvram,1,1,0.5,,,30,\nlow,9,1,1,,,,\nlower,1,1,1,,a100,,\nmaker,1,1,1,,NVIDIA A100,,\n", "")
	nodes := []sched.NodeSpec{{GPUs: 8, GPUType: "A100", VRAM: 20 << 30, CPU: sched.Unlimited, Mem: sched.Unlimited}}
	got := ""
	for _, p := range w.Check(nodes) {
		got += fmt.Sprintf("%s %v;", p, p.Fatal)
	}
	want := "all nodes together do not hold the gang: 1 task, first wide, which asks for 3x(4 GPU) true;" +
		"no node holds one replica: 2 tasks, first big, which asks for 9 GPU true;" +
		"no node of an allowed GPU type, with the labels and without a taint: 1 task, first type, which asks for 1 GPU of H100 true;" +
		"the estimate is below the run time: 1 task, first low false;"
	if got != want {
		t.Fatalf("\n%s\n%s", got, want)
	}
}

func TestCheckSaysThatAPoolHasNoSharesOfGPUs(t *testing.T) {
	w := read(t, "id,run_s,estimate_s,gpus\nshare,1,1,0.5\nwhole,1,1,2\n", "")
	pool := sched.NodeSpec{GPUs: sched.MaxDevices + 1, CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited}
	got := w.Check([]sched.NodeSpec{pool})
	if len(got) != 1 || !got[0].Fatal || got[0].String() != "a share of a GPU cannot be had on a node of more than 64 GPUs: 1 task, first share, which asks for 0.5 GPU" {
		t.Errorf("%v", got)
	}
	few := pool
	few.GPUs = sched.MaxDevices
	if got := w.Check([]sched.NodeSpec{pool, few}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestNamesThatTheClusterDoesNotHaveAreTold(t *testing.T) {
	w := read(t, "id,run_s,gpus,run_on,speed_on,input_gb,input_at\na,1,1,n1=2;n9=3,,,\nb,1,1,nvidia a100=2;n9=3,T4=2;V100=1,1,n1\nc,1,1,,A100=2;V100=3,1,n7\nd,1,1,,V100=1;T4=2,,\n", "")
	nodes := []sched.NodeSpec{{Name: "n1", GPUs: 8, GPUType: "A100", VRAM: sched.Unlimited, CPU: sched.Unlimited, Mem: sched.Unlimited}, {Name: "n2"}}
	var got []string
	for _, p := range w.Strangers(nodes) {
		got = append(got, p.String())
	}
	want := []string{
		`run_on: no node and no GPU type here is named "n9": 2 tasks, first a`,
		`input_at: no node here is named "n7": 1 task, first c`,
		"speed_on: no GPU here is of type T4 or V100: 1 task, first b",
		"speed_on: no GPU here is of type V100 or T4: 1 task, first d",
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if all := w.Check(nodes); len(all) < len(want) || all[len(all)-1].String() != want[3] || all[len(all)-1].Fatal {
		t.Errorf("%v", all)
	}
	var b strings.Builder
	b.WriteString("id,run_s,run_on\n")
	for i := range 9 {
		fmt.Fprintf(&b, "t%d,1,x%d=1\n", i, i)
	}
	list := read(t, b.String(), "").Strangers(nodes)
	if len(list) != maxStrangers+1 || list[maxStrangers].String() != "4 further such names: 4 tasks, first t5" {
		t.Errorf("%v", list)
	}
}
