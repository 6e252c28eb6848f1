//go:build cgo && linux && !nonvml

package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"

	"github.com/schedlab/schedlab/live/api"
	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/daemon"
	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/device/fakenvml"
	"github.com/schedlab/schedlab/live/job"
	"github.com/schedlab/schedlab/live/node"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// These tests close the loop between the real and the simulated: 200 tasks of a recorded workflow (1000genome, of WfCommons) run as real
// processes, scaled down so that the mean takes 8 ms, on a machine of eight GPUs; what was run is exported and simulated, and what was
// decided is decided again.
//
// Where do run times decide nothing? (1) Where one task at a time fits: the order of the ends is that of the starts, so what is ready when
// is the same however long each took. All 200 starts must be in the simulator's order. (2) Where eight fit: up to the first end, so the
// first eight starts must be the simulator's. What comes after depends on milliseconds of the machine, and the replay of the journal
// checks it: told the same facts, the policy must decide the same.

// dagPolicies are what is run. The quantum is longer than any of the tasks.
var dagPolicies = []string{"fifo", "rr{quantum=60s}", "critical-path"}

const dagTasks = 200

// home is a $SCHEDLAB_HOME and the commands on it, run by this test's own program.
type home struct {
	t     *testing.T
	dir   string
	notes string // what the tasks write
	env   []string
}

func newHome(t *testing.T, env ...string) *home {
	t.Helper()
	if sharedFolder() == "" {
		t.Skip("the recorded traces are not there")
	}
	if testing.Short() {
		t.Skip("it runs 200 processes one after the other")
	}
	if _, err := exec.LookPath("flock"); err != nil {
		t.Skip("flock, by which the tasks find out that they are alone, is not on this machine")
	}
	h := &home{t: t, dir: t.TempDir(), notes: filepath.Join(t.TempDir(), "notes")}
	h.env = append(append(os.Environ(), "SCHEDLAB_HOME="+h.dir), env...)
	return h
}

func (h *home) command(args ...string) *exec.Cmd {
	h.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	return &exec.Cmd{Path: exe, Args: append([]string{"schedlab"}, args...), Env: h.env, Dir: h.dir}
}

// run returns what a command prints.
func (h *home) run(in []byte, args ...string) []byte {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Minute)
	defer cancel()
	c := h.command(args...)
	full := exec.CommandContext(ctx, c.Path)
	full.Args, full.Env, full.Dir = c.Args, c.Env, c.Dir
	var out, bad bytes.Buffer
	full.Stdin, full.Stdout, full.Stderr = bytes.NewReader(in), &out, &bad
	if err := full.Run(); err != nil {
		h.t.Fatalf("schedlab %s: %v\n%s%s", strings.Join(args, " "), err, out.Bytes(), bad.Bytes())
	}
	return out.Bytes()
}

// workflow returns the first 200 tasks of the recorded workflow, in an order in which none comes before what it needs, each asking for so many
// GPUs.
func workflow(t *testing.T, gpus float64, notes string) []byte {
	t.Helper()
	shared := sharedFolder()
	w, err := traces.Open(filepath.Join(shared, "traces/dag/wfinstances/1000genome-chameleon-8ch-100k-001.json.gz"), "")
	if err != nil {
		t.Fatal(err)
	}
	left := make([]int, w.Len()) // predecessors
	for from := range left {
		for _, to := range w.Succs(sched.TaskID(from)) {
			left[to]++
		}
	}
	name := func(id sched.TaskID) string { return "t" + strconv.Itoa(int(id)) }
	after := map[sched.TaskID][]string{}
	var ready []sched.TaskID
	for id := range left {
		if left[id] == 0 {
			ready = append(ready, sched.TaskID(id))
		}
	}
	j := job.Job{Name: "1000genome", Env: map[string]string{"NOTES": notes}}
	cpu, edges := 0.1, 0
	for len(ready) > 0 && len(j.Tasks) < dagTasks {
		id := ready[0]
		ready = ready[1:]
		run := w.Run[id].Seconds() / 10000
		j.Tasks = append(j.Tasks, job.Task{
			ID: name(id), After: after[id], CPU: &cpu, GPUs: gpus, GPUMemGB: 1, EstimateS: run, Dir: "/",
			Command: job.Command{"/bin/sh", "-c", `exec 9>>"$NOTES.$CUDA_VISIBLE_DEVICES"; flock -n 9 || echo "two on $CUDA_VISIBLE_DEVICES" >>"$NOTES"
				echo "$SCHEDLAB_TASK $CUDA_VISIBLE_DEVICES" >>"$NOTES"; exec sleep ` + strconv.FormatFloat(run, 'f', 6, 64)},
		})
		edges += len(after[id])
		for _, to := range w.Succs(id) {
			after[to] = append(after[to], name(id))
			if left[to]--; left[to] == 0 {
				ready = append(ready, to)
			}
		}
	}
	if len(j.Tasks) != dagTasks || edges < dagTasks {
		t.Fatalf("%d tasks and %d edges", len(j.Tasks), edges)
	}
	text, err := json.Marshal(&j)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// closeTheLoop runs the workflow under the policy and returns the order in which its tasks started, and that of the simulator for what was exported.
func (h *home) closeTheLoop(policy string, gpus float64) (real, simulated []string) {
	h.t.Helper()
	h.until("the machine is sampled", func() bool { return len(h.nodes()) > 0 })
	h.run(workflow(h.t, gpus, h.notes), "live", "submit", "-f", "-")
	h.run(nil, "live", "wait", "last")
	var listed struct {
		Tasks []daemon.Task `json:"tasks"`
	}
	text := h.run(nil, "live", "list", "--limit", "0", "-o", "json")
	if err := json.Unmarshal(text, &listed); err != nil {
		if err := json.Unmarshal(text, &listed.Tasks); err != nil {
			h.t.Fatalf("%v: %.200s", err, text)
		}
	}
	slices.SortStableFunc(listed.Tasks, func(a, b daemon.Task) int {
		switch {
		case *a.Start < *b.Start:
			return -1
		case *a.Start > *b.Start:
			return 1
		}
		return 0
	})
	for _, v := range listed.Tasks {
		if v.State != "done" || v.Attempts != 1 {
			h.t.Errorf("%+v", v)
		}
		real = append(real, v.Task)
	}

	cluster := filepath.Join(h.dir, "me.json")
	if err := os.WriteFile(cluster, h.nodes(), 0o600); err != nil {
		h.t.Fatal(err)
	}
	trace := h.run(nil, "live", "export")
	if out := h.run(trace, "compare", "-", "--cluster", cluster, "--policies", strings.Join(dagPolicies, ",")); bytes.Count(out, []byte("\n")) < 3 {
		h.t.Errorf("compare prints\n%s", out)
	}
	h.run(trace, "run", "-", "--policy", policy, "--cluster", cluster, "--tasks-csv", filepath.Join(h.dir, "tasks.csv"))
	rows, err := os.Open(filepath.Join(h.dir, "tasks.csv"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	table, err := csv.NewReader(rows).ReadAll()
	if err != nil {
		h.t.Fatal(err)
	}
	at := slices.Index(table[0], "start_s")
	slices.SortStableFunc(table[1:], func(a, b []string) int {
		x, _ := strconv.ParseFloat(a[at], 64)
		y, _ := strconv.ParseFloat(b[at], 64)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	for _, row := range table[1:] {
		simulated = append(simulated, row[0])
	}

	h.run(nil, "live", "journal", "live.journal")
	if out := h.run(nil, "replay", "live.journal"); !bytes.Contains(out, []byte("all equal")) {
		h.t.Errorf("replay: %s", out)
	}
	if len(real) != dagTasks || len(simulated) != dagTasks {
		h.t.Fatalf("%d tasks have run, and %d were simulated", len(real), len(simulated))
	}
	return real, simulated
}

// nodes returns the node's profile as the daemon tells it; nothing while it tells none.
func (h *home) nodes() []byte {
	nodes, err := api.NewClient(filepath.Join(h.dir, "run")).Nodes(h.t.Context())
	if err != nil || len(nodes) != 1 {
		return nil
	}
	text, err := json.Marshal(&nodes[0])
	if err != nil || nodes[0].GPUCount != 8 || nodes[0].GPUType != "A100" {
		h.t.Fatalf("%v: %+v", err, nodes[0])
	}
	return append(text, '\n')
}

func (h *home) until(what string, f func() bool) {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// noted returns which GPUs each task was shown, and fails where two were on one at a time.
func (h *home) noted() map[string]string {
	h.t.Helper()
	text, err := os.ReadFile(h.notes)
	if err != nil {
		h.t.Fatal(err)
	}
	shown := map[string]string{}
	for line := range strings.Lines(string(text)) {
		task, gpus, _ := strings.Cut(strings.TrimSpace(line), " ")
		if task == "two" || shown[task] != "" {
			h.t.Errorf("noted: %s", line)
		}
		shown[task] = gpus
	}
	if len(shown) != dagTasks {
		h.t.Errorf("%d tasks have noted something", len(shown))
	}
	return shown
}

func firstDifference(a, b []string) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// mockedGPUs is go-nvml's mock of eight A100, with the functions that it leaves open.
func mockedGPUs(t *testing.T) device.Driver {
	t.Helper()
	server := dgxa100.New()
	for _, d := range server.Devices {
		d := d.(*dgxa100.Device)
		d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, nvml.SUCCESS }
		d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 40, nvml.SUCCESS }
		d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
		d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.SUCCESS }
		d.GetGraphicsRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.SUCCESS }
	}
	driver, tried := device.FromNVML(server)
	if driver == nil {
		t.Fatal(tried.Why)
	}
	return driver
}

func TestARealWorkflowOnMockedGPUsStartsInTheSimulatorsOrder(t *testing.T) {
	orders := map[string][]string{}
	defer func() {
		if a, b := orders["fifo"], orders["critical-path"]; a != nil && slices.Equal(a, b) {
			t.Error("fifo and critical-path start alike: the workflow tells no policy from another")
		}
	}()
	for _, policy := range dagPolicies {
		t.Run(policy, func(t *testing.T) {
			h := newHome(t)
			driver := mockedGPUs(t)
			defer func() { _ = driver.Close() }()
			s, err := node.Open(node.Options{Driver: driver})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			p := s.Sample(node.Own{}).Profile(s.ID(), time.Time{})
			spec, err := p.Spec()
			if err != nil {
				t.Fatal(err)
			}
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			header, err := json.Marshal(journalSettings{Driver: "live", MeanEstimate: int64(liveMeanEstimate)})
			if err != nil {
				t.Fatal(err)
			}
			state := filepath.Join(h.dir, "state")
			if err := os.Mkdir(state, 0o700); err != nil {
				t.Fatal(err)
			}
			groups := cgroup.Open(cgroup.Options{Name: groupsOf(state)})
			defer func() { _ = groups.Close() }()
			ctx, stop := context.WithCancel(context.Background())
			d, err := daemon.Open(ctx, daemon.Config{
				Dir: state, Node: spec, Policy: policy, Build: buildLive, Exe: exe, Header: header, Groups: func() *cgroup.Manager { return groups }, Cards: driver.List(), Sampler: s, IgnoreOthers: true,
			})
			if err != nil {
				stop()
				t.Fatal(err)
			}
			done := make(chan error, 2)
			go func() { done <- d.Run(ctx) }()
			go func() { done <- api.Serve(ctx, d, filepath.Join(h.dir, "run"), api.Options{}) }()
			defer func() {
				stop()
				if err := errors.Join(<-done, <-done); err != nil {
					t.Error(err)
				}
			}()
			real, simulated := h.closeTheLoop(policy, 8)
			orders[policy] = real
			if i := firstDifference(real, simulated); i < len(real) {
				t.Errorf("start %d is %s, and %s where it is simulated", i, real[i], simulated[i])
			}
			for task, gpus := range h.noted() {
				if gpus != "0,1,2,3,4,5,6,7" {
					t.Errorf("%s was shown GPUs %s", task, gpus)
				}
			}
		})
	}
}

func TestARealWorkflowOnTheFakeLibraryClosesTheLoop(t *testing.T) {
	lib, err := fakenvml.Build(t.TempDir(), fakenvml.New) // the scripts' one goes with them
	if errors.Is(err, fakenvml.ErrNoCompiler) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	values := filepath.Join(t.TempDir(), "values")
	if err := fakenvml.Write(values, fakenvml.Machine(8, "NVIDIA A100-SXM4-80GB", 80<<30)...); err != nil {
		t.Fatal(err)
	}
	for _, policy := range dagPolicies {
		t.Run(policy, func(t *testing.T) {
			h := newHome(t, device.LibraryEnv+"="+lib, fakenvml.FileEnv+"="+values)
			serve := h.command("live", "serve", "--gpus", "nvml", "--others", "ignore", "--policy", policy)
			var log bytes.Buffer
			serve.Stderr = &log
			if err := serve.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = serve.Process.Signal(syscall.SIGTERM)
				timer := time.AfterFunc(20*time.Second, func() { _ = serve.Process.Kill() })
				defer timer.Stop()
				if err := serve.Wait(); err != nil {
					t.Errorf("the daemon: %v\n%s", err, log.Bytes())
				}
			}()
			real, simulated := h.closeTheLoop(policy, 1)
			if i := firstDifference(real, simulated); i < 8 {
				t.Errorf("start %d is %s, and %s where it is simulated", i, real[i], simulated[i])
			}
			used := map[string]int{}
			for _, gpus := range h.noted() {
				used[gpus]++
			}
			for i := range 8 {
				if used[strconv.Itoa(i)] == 0 || len(used) != 8 {
					t.Errorf("GPUs were shown so often: %v", fmt.Sprint(used))
					break
				}
			}
		})
	}
}
