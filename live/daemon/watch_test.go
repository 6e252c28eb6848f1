package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/local"
	"github.com/schedlab/schedlab/live/node"
	"github.com/schedlab/schedlab/live/store"
	"github.com/schedlab/schedlab/policies/sched"
)

// cards is a driver of GPUs whose samples a test sets.
type cards struct {
	mu      sync.Mutex
	samples []device.Sample
}

func newCards(n int) *cards {
	c := &cards{samples: make([]device.Sample, n)}
	for i := range c.samples {
		c.samples[i] = device.Sample{Index: int32(i), Utilization: 0, Counted: true}
	}
	return c
}

func (c *cards) Name() string { return "test" }
func (c *cards) Close() error { return nil }

func (c *cards) List() []device.GPU {
	out := make([]device.GPU, len(c.samples))
	for i := range out { // the vendor's numbers go the other way
		out[i] = device.GPU{Index: int32(i), Ordinal: len(out) - 1 - i, Vendor: device.NVIDIA, Model: "A100", VRAM: 1 << 34}
	}
	return out
}

func (c *cards) Sample(dst []device.Sample) []device.Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(dst[:0], c.samples...)
}

func (c *cards) set(i int, f func(*device.Sample)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.samples[i])
}

// proc writes the files of a machine of 4 CPUs and 16 GiB of which so many are free.
func proc(t *testing.T, root string, freeGiB int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"stat":    "cpu  100 0 100 10000 0 0 0 0 0 0\ncpu0 1 0 1 1 0 0 0 0 0 0\ncpu1 1 0 1 1 0 0 0 0 0 0\ncpu2 1 0 1 1 0 0 0 0 0 0\ncpu3 1 0 1 1 0 0 0 0 0 0\n",
		"meminfo": fmt.Sprintf("MemTotal:       %8d kB\nMemAvailable:   %8d kB\n", 16<<20, freeGiB<<20),
	} {
		if err := os.WriteFile(filepath.Join(root, "proc", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// watched makes a daemon's configuration that of a sampled machine.
func watched(t *testing.T, driver device.Driver, root string, groups *cgroup.Manager) func(*Config) {
	return func(c *Config) {
		s, err := node.Open(node.Options{Driver: driver, Root: root})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		c.Sampler, c.Groups, c.watchEvery = s, func() *cgroup.Manager { return groups }, 20*time.Millisecond
		if driver != nil {
			c.Cards = driver.List()
		}
	}
}

func machineGroups(t *testing.T) *cgroup.Manager {
	m := cgroup.Open(cgroup.Options{Name: fmt.Sprintf("schedlab-test-%d", os.Getpid())})
	t.Cleanup(func() {
		for _, name := range m.Names() {
			t.Errorf("group %s is left", name)
		}
		_ = m.Close()
	})
	return m
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// holder returns the process of a task's attempt, which has become a sleep. (While it is forked, its shim may be seen in the group.)
func holder(t *testing.T, d *running, selector string) int32 {
	t.Helper()
	task := mustSelect(t, d, selector)[0]
	var pid int32
	eventually(t, "no process of the attempt is known", func() bool {
		d.runner.Uses(func(u local.Use) {
			for _, p := range u.PIDs {
				if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p)); u.Task == task && string(name) == "sleep\n" {
					pid = int32(p)
				}
			}
		})
		return pid != 0
	})
	return pid
}

func explained(t *testing.T, d *running, selector string) string {
	t.Helper()
	return strings.Join(d.Explain(mustSelect(t, d, selector))[0].Why, " ")
}

func TestAnAttemptBeyondItsGPUMemoryIsWarnedOrStopped(t *testing.T) {
	for _, kill := range []bool{false, true} {
		gpus, root := newCards(4), t.TempDir()
		proc(t, root, 16)
		groups := machineGroups(t)
		d := serve(t, t.TempDir(), watched(t, gpus, root, groups), func(c *Config) { c.KillVRAM = kill })
		d.submit(`{"tasks":[{"id":"t","command":"exec sleep 1000","gpus":1,"gpu_mem_gb":10,"grace_s":1}]}`)
		waitState(t, d, "1", "running")
		pid := holder(t, d, "1")
		gpus.set(0, func(s *device.Sample) { s.Processes = []device.Process{{PID: pid, VRAM: 10 << 30}} })
		time.Sleep(100 * time.Millisecond)
		if text := explained(t, d, "1"); strings.Contains(text, "GPU memory") {
			t.Errorf("within its grant: %s", text)
		}
		gpus.set(0, func(s *device.Sample) { s.Processes = []device.Process{{PID: pid, VRAM: 12 << 30}} })
		const told = "12 GiB of GPU 0 are held, 10 were granted"
		if kill {
			if v := d.wait("1")[0]; v.State != "failed" || v.Reason != "gpu memory: "+told {
				t.Errorf("%+v", v)
			}
			d.close()
			continue
		}
		eventually(t, "it is not warned", func() bool { return strings.Contains(explained(t, d, "1"), told) })
		if v := d.Tasks(mustSelect(t, d, "1"))[0]; v.State != "running" {
			t.Errorf("%+v", v)
		}
		// A GPU that is not its own at all.
		gpus.set(0, func(s *device.Sample) { s.Processes = nil })
		gpus.set(3, func(s *device.Sample) { s.Processes = []device.Process{{PID: pid, VRAM: 1 << 30}} })
		eventually(t, "it is not warned", func() bool {
			return strings.Contains(explained(t, d, "1"), "1 GiB of GPU 3 are held, 0 were granted")
		})
		if _, err := d.Act(t.Context(), Who{0}, Cancel, mustSelect(t, d, "1")); err != nil {
			t.Fatal(err)
		}
		d.close()
	}
}

func TestALostGPUClosesTheMachineToNewStarts(t *testing.T) {
	gpus, root := newCards(4), t.TempDir()
	proc(t, root, 16)
	d := serve(t, t.TempDir(), watched(t, gpus, root, nil))
	flag := filepath.Join(t.TempDir(), "go")
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","command":"while [ ! -e %s ]; do sleep 0.01; done","gpus":1}]}`, flag))
	waitState(t, d, "1", "running")
	gpus.set(2, func(s *device.Sample) { s.State, s.Why = device.Lost, "GPU is lost" })
	eventually(t, "it is not drained", func() bool { return !d.Status().Nodes[0].Up })
	d.submit(`{"tasks":[{"id":"t","command":"true"}]}`)
	if text := explained(t, d, "2"); !strings.Contains(text, "GPU 2 is lost") {
		t.Errorf("explained: %s", text)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v := d.wait("1")[0]; v.State != "done" {
		t.Errorf("what ran did not run on: %+v", v)
	}
	if err := d.Drain(t.Context(), Who{0}, "", false); err != nil { // an operator knows better
		t.Fatal(err)
	}
	if v := d.wait("2")[0]; v.State != "done" {
		t.Errorf("%+v", v)
	}
}

func TestMemoryThatOthersUseIsNotOffered(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	proc(t, root, 4)
	d := serve(t, dir, watched(t, nil, root, nil))
	eventually(t, "the machine is not sampled", func() bool { return d.Seen() != nil && d.Status().Nodes[0].MemFreeGB < 5 })
	if p := d.Seen().Profile; *p.CPUCapacity != 4 || p.Memory.Capacity != 16 || p.Memory.Used != 12 {
		t.Errorf("profile %+v of %+v", p, p.Memory)
	}
	d.submit(`{"tasks":[{"id":"t","command":"true","mem_gb":8}]}`)
	time.Sleep(100 * time.Millisecond)
	if v := d.Tasks(mustSelect(t, d, "1"))[0]; v.State != "ready" || !strings.Contains(explained(t, d, "1"), "4.0 of 16.0 GiB") {
		t.Errorf("%+v: %s", v, explained(t, d, "1"))
	}
	if text := explained(t, d, "1"); !strings.Contains(text, "short of it is memory. Other programs use 12.0 GiB (`live serve --others ignore` offers that too).") {
		t.Errorf("nobody says where the memory is: %s", text)
	}
	d.close()
	proc(t, root, 15) // the fact is in the state; the next sample is news
	d = serve(t, dir, watched(t, nil, root, nil))
	if v := d.wait("1")[0]; v.State != "done" {
		t.Errorf("%+v", v)
	}
	d.close()
	proc(t, root, 1)
	d = serve(t, t.TempDir(), watched(t, nil, root, nil), func(c *Config) { c.IgnoreOthers = true })
	d.submit(`{"tasks":[{"id":"t","command":"true","mem_gb":8}]}`)
	if v := d.wait("1")[0]; v.State != "done" {
		t.Errorf("others are ignored, and yet %+v", v)
	}
}

func TestAGPUThatOthersHoldIsNotOffered(t *testing.T) {
	gpus, root := newCards(4), t.TempDir()
	proc(t, root, 16)
	hold := func(i int, of ...device.Process) {
		gpus.set(i, func(s *device.Sample) { s.Processes = of })
	}
	other := device.Process{PID: 1, VRAM: 8 << 30}
	hold(0, other)
	hold(1, device.Process{PID: 1, VRAM: device.Unknown})
	hold(2, device.Process{PID: 1, VRAM: 100 << 20}) // a desktop
	d := serve(t, t.TempDir(), watched(t, gpus, root, nil))
	free := func() int32 { return int32(d.Status().Nodes[0].GPUsFree) }
	eventually(t, "the GPUs are offered", func() bool { return free() == 2 })
	d.submit(`{"tasks":[{"id":"t","command":"echo $CUDA_VISIBLE_DEVICES; sleep 1000","gpus":2,"grace_s":0}]}`)
	waitState(t, d, "1", "running")
	eventually(t, "no log", func() bool {
		log, _ := os.ReadFile(d.runner.LogPath(0, 1))
		return string(log) == "1,0\n" // the vendor's numbers of 2 and 3
	})
	d.submit(`{"tasks":[{"id":"t","command":"true","gpus":1}]}`)
	time.Sleep(100 * time.Millisecond)
	if v := d.Tasks(mustSelect(t, d, "2"))[0]; v.State != "ready" || !strings.Contains(explained(t, d, "2"), "GPU") {
		t.Errorf("%+v: %s", v, explained(t, d, "2"))
	}
	// Others come to a GPU on which an attempt runs: it runs on, and the GPU is not offered after it.
	hold(2, other)
	time.Sleep(200 * time.Millisecond)
	if v := d.Tasks(mustSelect(t, d, "1"))[0]; v.State != "running" {
		t.Errorf("%+v", v)
	}
	hold(0)
	if v := d.wait("2")[0]; v.State != "done" {
		t.Errorf("%+v", v)
	}
	if _, err := d.Act(t.Context(), Who{0}, Cancel, mustSelect(t, d, "1")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the GPU of the others is offered, or another is not", func() bool { return free() == 2 })
	hold(1)
	hold(2)
	eventually(t, "GPUs that others have left are not offered", func() bool { return free() == 4 })
}

func TestTheVendorsNumbersAreShownToTheCommand(t *testing.T) {
	gpus, root := newCards(4), t.TempDir()
	proc(t, root, 16)
	d := serve(t, t.TempDir(), watched(t, gpus, root, nil))
	out := filepath.Join(t.TempDir(), "out")
	d.submit(fmt.Sprintf(`{"tasks":[{"id":"t","command":"echo $CUDA_DEVICE_ORDER $CUDA_VISIBLE_DEVICES >%[1]s","gpus":2},{"id":"u","command":"echo ${CUDA_VISIBLE_DEVICES-unset}. >>%[1]s","after":["t"]}]}`, out))
	d.wait("1")
	if text, err := os.ReadFile(out); err != nil || string(text) != "PCI_BUS_ID 3,2\n.\n" {
		t.Errorf("%q %v", text, err)
	}
}

func TestWithoutControlGroupsTheWatchBoundsTheMemory(t *testing.T) {
	none := cgroup.Open(cgroup.Options{Name: "no/such/folder"})
	if none.Level() != "processes" {
		t.Fatal(none.Level())
	}
	d := serve(t, t.TempDir(), func(c *Config) {
		c.Groups, c.watchEvery = func() *cgroup.Manager { return none }, 20*time.Millisecond
	})
	d.submit(`{"tasks":[{"id":"t","command":"x=$(head -c 100m /dev/zero | tr '\\0' x); sleep 1000","mem_gb":0.05}]}`)
	if v := d.wait("1")[0]; v.State != "failed" || v.Reason != "memory: killed at 0.05 GiB" {
		t.Errorf("%+v", v)
	}
}

func TestADaemonThatIsRefusedLeavesTheGroupsAloneOfTheOneThatRuns(t *testing.T) {
	dir := t.TempDir()
	opened := 0
	open := func(c *Config) {
		c.Groups = func() *cgroup.Manager { opened++; return nil }
	}
	d := serve(t, dir, open)
	c := d.cfg
	if second, err := Open(t.Context(), c); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second daemon: %v, %v", second, err)
	}
	if opened != 1 {
		t.Errorf("the groups were opened %d times", opened)
	}
	d.close()
	c.Policy, c.Build = "none", func(string) (sched.Policy, error) { return nil, errors.New("no such policy") }
	if second, err := Open(t.Context(), c); err == nil || opened != 1 {
		t.Errorf("%v, %v; opened %d times", second, err, opened)
	}
}

func TestAnAttemptBeyondItsMemoryFailsAndSaysSo(t *testing.T) {
	groups := machineGroups(t)
	for _, c := range groups.Capabilities() {
		if c.Name == "memory" && c.By == "" {
			t.Skip("no control groups bound memory here: ", c.Why)
		}
	}
	d := serve(t, t.TempDir(), func(c *Config) { c.Groups = func() *cgroup.Manager { return groups } })
	d.submit(`{"tasks":[{"id":"t","command":"x=$(head -c 200m /dev/zero | tr '\\0' x); echo ${#x}","mem_gb":0.0625}]}`)
	if v := d.wait("1")[0]; v.State != "failed" || v.Reason != "memory: killed at 0.0625 GiB" || !strings.Contains(explained(t, d, "1"), v.Reason) {
		t.Errorf("%+v: %s", v, explained(t, d, "1"))
	}
	d.close()
}
