// Command speed measures how fast and how lean the simulator is: `make bench`. Each row runs in a process of its own, whose user CPU time
// and peak memory the operating system reports. Costs are stated as ratios to the floor Ew, measured in the same run: a heap pop and a push
// among 8000 running tasks and the reading and writing of a 64-byte record, the least that one task can cost. Readers are measured against E, the
// same with the records in random order.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/metrics"
)

// row is one measurement.
type row struct {
	name   string
	policy string
	read   string // instead of a policy: the format of the trace that is read
	named  bool   // its tasks have names instead of numbers
	tasks  int
	budget float64 // in Ew, for readers in E; 0 = none yet
	userS  float64 // bound on user seconds of the process; 0 = none
	peakMB float64 // bound on its peak memory; 0 = none
}

var table = []row{
	{name: "fifo, 1e6 tasks, 1000 nodes x 8 GPUs", policy: "fifo", tasks: 1_000_000, userS: 3, peakMB: 150},
	{name: "fjf", policy: "fjf", tasks: 1_000_000},
	{name: "sjf", policy: "sjf", tasks: 1_000_000},
	{name: "critical-path", policy: "critical-path", tasks: 1_000_000},
	{name: "rr", policy: "rr", tasks: 100_000},
	{name: "srtf", policy: "srtf", tasks: 20_000},
	{name: "easy, inexact estimates", policy: "easy", tasks: 1_000_000},
	{name: "read csv, 1e6 rows", read: "csv", tasks: 1_000_000, budget: 0.4, peakMB: 90},
	{name: "read csv, named ids", read: "csv", named: true, tasks: 1_000_000, peakMB: 120},
	{name: "read parquet, 1e6 rows", read: "parquet", tasks: 1_000_000, budget: 0.15, peakMB: 90},
	{name: "read parquet, named ids", read: "parquet", named: true, tasks: 1_000_000, peakMB: 120},
}

// measured is what a child reports.
type measured struct{ UserNS, BuildNS, WaitMeanS, PeakMB float64 }

func main() {
	child := flag.String("child", "", "measure one policy (used by the command itself)")
	tasks := flag.Int("tasks", 0, "tasks of the child")
	file := flag.String("file", "", "trace that the child reads or makes")
	named := flag.Bool("named", false, "give the tasks of the trace names")
	runs := flag.Int("runs", 3, "runs a row; the median counts")
	match := flag.String("match", "", "only the rows whose name holds this text")
	flag.Parse()
	if *child == "floor" {
		fmt.Println(floor())
		return
	}
	if *child == "read" || *child == "make" {
		do := func() error { return measureRead(*file) }
		if *child == "make" {
			do = func() error { return makeTrace(*file, *tasks, *named) }
		}
		if err := do(); err != nil {
			fmt.Fprintln(os.Stderr, "speed:", err)
			os.Exit(1)
		}
		return
	}
	if *child != "" {
		if err := measure(*child, *tasks); err != nil {
			fmt.Fprintln(os.Stderr, "speed:", err)
			os.Exit(1)
		}
		return
	}
	ok, err := bench(*runs, *match)
	if err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

func bench(runs int, match string) (bool, error) {
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	fmt.Printf("%s, %d processors, %s/%s\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	// In a process of its own: a child's peak memory is never below its parent's.
	out, err := exec.Command(self, "-child", "floor").Output()
	if err != nil {
		return false, fmt.Errorf("floor: %w", err)
	}
	var ew, e float64
	if _, err := fmt.Sscan(string(out), &ew, &e); err != nil {
		return false, fmt.Errorf("floor: %w", err)
	}
	fmt.Printf("floors: Ew %.0f, E %.0f ns of user CPU a task\n\n", ew, e)
	fmt.Printf("%-40s %9s %8s %9s %9s %8s  %s\n", "workload", "tasks", "ns/task", "ratio", "user s", "peak MB", "verdict")
	dir, err := os.MkdirTemp("", "schedlab-speed-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	all := true
	for _, r := range table {
		if !strings.Contains(r.name, match) {
			continue
		}
		var ns, user, peak []float64
		floor, unit := ew, "Ew"
		args := []string{"-child", r.policy, "-tasks", fmt.Sprint(r.tasks)}
		if r.read != "" {
			floor, unit = e, "E"
			file := filepath.Join(dir, "trace."+r.read)
			made := exec.Command(self, "-child", "make", "-file", file, "-tasks", fmt.Sprint(r.tasks), fmt.Sprintf("-named=%v", r.named))
			made.Stderr = os.Stderr
			if err := made.Run(); err != nil {
				return false, fmt.Errorf("%s: %w", r.name, err)
			}
			args = []string{"-child", "read", "-file", file}
		}
		for range runs {
			cmd := exec.Command(self, args...)
			cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				return false, fmt.Errorf("%s: %w", r.name, err)
			}
			var m measured
			if err := json.Unmarshal(out, &m); err != nil {
				return false, err
			}
			ns = append(ns, m.UserNS/float64(r.tasks))
			user = append(user, cmd.ProcessState.UserTime().Seconds())
			peak = append(peak, m.PeakMB)
		}
		n, u, p := median(ns), median(user), median(peak)
		var broken, kept []string
		judge := func(what string, got, bound float64) {
			switch {
			case bound == 0:
			case got > bound:
				broken = append(broken, fmt.Sprintf("%s above %g", what, bound))
			default:
				kept = append(kept, fmt.Sprintf("%s within %g", what, bound))
			}
		}
		judge("ratio", n/floor, r.budget)
		judge("user s", u, r.userS)
		judge("MB", p, r.peakMB)
		verdict := strings.Join(append(broken, kept...), ", ")
		if len(broken) > 0 {
			verdict, all = "FAIL: "+verdict, false
		} else if verdict != "" {
			verdict = "ok: " + verdict
		}
		fmt.Printf("%-40s %9d %8.0f %6.2f %-2s %9.2f %8.0f  %s\n", r.name, r.tasks, n, n/floor, unit, u, p, verdict)
	}
	swf, err := benchSWF(dir, runs, match)
	return all && swf, err
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

func userNS() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano())
}

// measure simulates one policy on the diurnal workload, all metrics included, and prints what it cost as JSON.
func measure(policy string, n int) error {
	nodes, err := cluster.Parse("1000x8xV100")
	if err != nil {
		return err
	}
	began := userNS()
	w := diurnal(n)
	built := userNS()
	spec, err := policies.Parse(policy)
	if err != nil {
		return err
	}
	o := experiment.Options{Nodes: nodes, Estimates: experiment.Estimates{Kind: "trace"}}
	c, err := o.Config(w, spec)
	if err != nil {
		return err
	}
	c.FragMix = metrics.NewFragMix(w.Table)
	res, err := sim.Run(context.Background(), c)
	if err != nil {
		return err
	}
	if res.Unfinished > 0 {
		return fmt.Errorf("%s left %d tasks unfinished", policy, res.Unfinished)
	}
	r := experiment.Measure(c, res, experiment.WarmUp{}, math.NaN())
	done := userNS()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(measured{done - built, built - began, r.WaitMean, float64(u.Maxrss) / 1024})
}

// measureRead reads a trace and prints what it cost as JSON.
func measureRead(file string) error {
	before := userNS()
	w, err := traces.Open(file, "")
	if err != nil {
		return err
	}
	done := userNS()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return err
	}
	if w.Len() == 0 {
		return fmt.Errorf("%s: nothing read", file)
	}
	return json.NewEncoder(os.Stdout).Encode(measured{UserNS: done - before, PeakMB: float64(u.Maxrss) / 1024})
}

// makeTrace writes a trace as a cluster's log might be: the diurnal workload with times in milliseconds, two sizes of memory, 50 tenants.
func makeTrace(file string, n int, named bool) error {
	if filepath.Ext(file) == ".swf" {
		return makeSWFFile(file, n, 1)
	}
	w := diurnal(n)
	var b bytes.Buffer
	b.WriteString("id,submit_s,run_s,estimate_s,cpu,mem_gb,gpus,tenant\n")
	for t, task := range w.Tasks {
		id := fmt.Sprint(t + 1)
		if named {
			id = fmt.Sprintf("job-%d", (t*7919)%n)
		}
		ms := func(d time.Duration) float64 { return math.Round(float64(d)/1e6) / 1e3 }
		fmt.Fprintf(&b, "%s,%.3f,%.3f,%.3f,4,%d,%d,user%d\n", id, ms(time.Duration(task.Submit)), ms(w.Run[t]), ms(w.Estimates[t]), 16<<(t%2), w.DemandOf(sched.TaskID(t)).Need.GPUs, t*31%50)
	}
	format := strings.TrimPrefix(filepath.Ext(file), ".")
	if format == "csv" {
		return os.WriteFile(file, b.Bytes(), 0o600)
	}
	w, err := traces.Read(&b, file, "csv")
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(traces.Write(f, w, format), f.Close())
}

// diurnal makes n independent tasks of 1 to 8 GPUs: lognormal run times (median 600 s, sigma 1.5), Poisson arrivals at a rate that swings by
// half over a day, offered load 0.9 on 1000 nodes of 8 GPUs, estimates 1 to e times too long.
func diurnal(n int) *traces.Workload {
	arrivals, sizes := rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(1, 2))
	gpus := []int32{1, 2, 4, 8}
	share := []float64{0.5, 0.75, 0.875, 1}
	const capacity, meanGPUs = 8000.0, 0.5*1 + 0.25*2 + 0.125*4 + 0.125*8
	meanRun := 600 * math.Exp(1.5*1.5/2)
	rate := 0.9 * capacity / (meanGPUs * meanRun) // tasks a second
	tb := &sched.Table{
		Tasks: make([]sched.Task, n), Estimates: make([]time.Duration, n), Jobs: int32(n),
		Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""},
	}
	for i, g := range gpus {
		tb.Demands = append(tb.Demands, sched.Demand{Need: sched.Need{GPUs: g, GPUMilli: sched.Whole}, Gang: 1})
		tb.Classes = append(tb.Classes, sched.Class{Demand: sched.DemandID(i)})
	}
	w := &traces.Workload{Table: tb, Run: make([]time.Duration, n), Source: "diurnal", Format: "generated"}
	at := 0.0
	for t := range n {
		at += arrivals.ExpFloat64() / (rate * (1 + 0.5*math.Sin(2*math.Pi*at/86400)))
		class, u := 0, sizes.Float64()
		for u >= share[class] {
			class++
		}
		run := time.Duration(600e9*math.Exp(1.5*sizes.NormFloat64())) + 1
		tb.Tasks[t] = sched.Task{Submit: sched.Time(at * 1e9), Deadline: sched.Never, Job: sched.JobID(t), Class: sched.ClassID(class)}
		w.Run[t], tb.Estimates[t] = run, time.Duration(float64(run)*math.Exp(sizes.Float64()))
	}
	return w
}
