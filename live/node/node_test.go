package node

import (
	"encoding/json"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/cluster"
)

const (
	stat1 = "cpu  1000 50 250 8000 200 0 10 90 500 0\ncpu0 500 25 125 4000 100 0 5 45 0 0\ncpu1 500 25 125 4000 100 0 5 45 0 0\nintr 1 2 3\nctxt 9\n"
	// Of 200 ticks more, 150 are busy: 100 user, 30 system, 20 stolen.
	stat2    = "cpu  1100 50 280 8040 210 0 10 110 500 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 1 2 3\n"
	meminfo1 = "MemTotal:       16777216 kB\nMemFree:         1048576 kB\nMemAvailable:   12582912 kB\nBuffers: 1 kB\nCached: 2 kB\n"
	netdev1  = "Inter-|   Receive |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n" +
		"    lo: 9999999 58 0 0 0 0 0 0 9999999 58 0 0 0 0 0 0\n  eth0:1000000 11428 0 0 0 0 0 0 500000 7827 0 0 0 0 0 0\ndocker0: 777 1 0 0 0 0 0 0 777 1 0 0 0 0 0 0\n"
	snmp1  = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs\nTcp: 1 200 120000 -1 41 4 1 0 17 11427\n"
	disks1 = "   7       0 loop0 5 0 5 900 0 0 0 0 0 0 0\n 259       0 nvme0n1 100 2 3 200 300 5 6 600 0 1 2\n 259       1 nvme0n1p1 100 2 3 200 300 5 6 600 0 1 2\n"
)

func put(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for path, text := range files {
		p := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func fake(t testing.TB) string {
	root := t.TempDir()
	put(t, root, map[string]string{
		"proc/stat": stat1, "proc/meminfo": meminfo1, "proc/loadavg": "3.07 1.00 0.50 1/93 20652\n", "proc/net/dev": netdev1,
		"proc/net/snmp": snmp1, "proc/diskstats": disks1,
		"sys/class/net/eth0/device/vendor": "0x15b3\n", "sys/class/net/eth0/speed": "25000\n", "sys/class/net/docker0/speed": "-1\n",
		"sys/block/nvme0n1/device/model": "x\n", "sys/block/loop0/size": "5\n",
	})
	return root
}

// fakeGPUs is a driver whose samples a test sets.
type fakeGPUs struct {
	list []device.GPU
	now  []device.Sample
}

func (f *fakeGPUs) Name() string                               { return "fake" }
func (f *fakeGPUs) List() []device.GPU                         { return f.list }
func (f *fakeGPUs) Sample(dst []device.Sample) []device.Sample { return append(dst[:0], f.now...) }
func (f *fakeGPUs) Close() error                               { return nil }

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestAMachineIsSampledFromProc(t *testing.T) {
	root := fake(t)
	now := time.Unix(1000, 0)
	s, err := Open(Options{ID: "n1", Root: root, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := s.Sample(Own{})
	// Since boot: 1400 of 9600 ticks on two CPUs.
	if !near(r.CPU, 2) || !near(r.CPUUsed, 1400.0/9600*2) || r.Mem != 16<<30 || r.MemUsed != 4<<30 || r.Load != 3.07 || r.Connections != 17 {
		t.Errorf("%+v", r)
	}
	if r.NetMbps != 25000 || r.RxMbps != 0 || r.Storage != 2*time.Millisecond || r.Latency != 0 || r.OtherMem != 4<<30 || !near(r.OtherCPU, r.CPUUsed) {
		t.Errorf("%+v", r)
	}
	now = now.Add(2 * time.Second)
	put(t, root, map[string]string{
		"proc/stat":      stat2,
		"proc/net/dev":   strings.NewReplacer("eth0:1000000", "eth0: 3500000", " 500000 7827", " 1500000 7827", "9999999", "19999999").Replace(netdev1),
		"proc/diskstats": strings.Replace(disks1, "nvme0n1 100 2 3 200", "nvme0n1 110 2 3 205", 1),
	})
	other := r.OtherCPU
	// Ours took 1 s of CPU in the 2 s: half a core of the 1.5 in use.
	r = s.Sample(Own{CPUTime: time.Second, Mem: 1 << 30})
	if !near(r.CPUUsed, 1.5) || !near(r.RxMbps, 10) || !near(r.TxMbps, 4) || r.Storage != 500*time.Microsecond || r.OtherMem != 3<<30 {
		t.Errorf("%+v", r)
	}
	if want := other + (1-other)*(1-math.Exp(-0.2)); !near(r.OtherCPU, want) {
		t.Errorf("others use %v CPUs, wanted %v", r.OtherCPU, want)
	}
	// The files of a container come and go; the last values stay.
	now = now.Add(time.Second)
	put(t, root, map[string]string{"proc/stat": "", "proc/meminfo": "MemTotal: x", "proc/net/snmp": "Tcp: a\n"})
	if r = s.Sample(Own{}); !near(r.CPUUsed, 1.5) || r.Mem != 16<<30 || r.Connections != 17 {
		t.Errorf("%+v", r)
	}
}

func TestAContainersLimitsAreTheNodesCapacity(t *testing.T) {
	s, err := Open(Options{Root: fake(t), CPU: 0.5, Mem: 2 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r := s.Sample(Own{}); r.CPU != 0.5 || r.Mem != 2<<30 || r.MemUsed != 2<<30 || r.CPUUsed > 0.5 {
		t.Errorf("%+v", r)
	}
	if _, err := Open(Options{Root: t.TempDir()}); err == nil {
		t.Error("a machine without /proc is sampled")
	}
}

func TestProcessesOfOthersOnGPUsAreOccupancy(t *testing.T) {
	d := &fakeGPUs{
		list: []device.GPU{{Model: "A100", VRAM: 80 << 30}, {Index: 1, Model: "A100", VRAM: 80 << 30}, {Index: 2, Model: "A100", VRAM: 80 << 30}, {Index: 3, Model: "A100", VRAM: 80 << 30}},
		now: []device.Sample{
			{Utilization: 0.5, Used: 48 << 30, TempC: 50, PowerW: device.Unknown, Counted: true, Processes: []device.Process{{PID: 10, VRAM: 8 << 30}, {PID: 11, VRAM: 40 << 30}}},
			{Index: 1, Utilization: 0.25, Used: 80 << 30, TempC: device.Unknown, PowerW: 300.04, Counted: true, Processes: []device.Process{{PID: 12, VRAM: 60 << 30}, {PID: 10, VRAM: 8 << 30}}},
			{Index: 2, Utilization: device.Unknown, Used: device.Unknown, TempC: device.Unknown, PowerW: device.Unknown, Counted: true, Processes: []device.Process{{PID: 13, VRAM: device.Unknown}}},
			{Index: 3, State: device.Lost, Utilization: device.Unknown, Used: device.Unknown, TempC: device.Unknown, PowerW: device.Unknown},
		},
	}
	epoch := time.Unix(990, 0)
	s, err := Open(Options{ID: "n1", Root: fake(t), Driver: d, Now: func() time.Time { return epoch.Add(10 * time.Second) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := s.Sample(Own{PID: func(pid int32) bool { return pid == 10 }})
	if o := r.Others; len(o) != 4 || o[0] != (Occupancy{VRAM: 40 << 30, Processes: 1}) || o[1].VRAM != 60<<30 || !o[2].Unsized || o[3].Processes != 0 {
		t.Errorf("%+v", o)
	}
	f := r.Fact(epoch)
	// 0.5 of each: 0.5 utilized (others hold 40 of 80), 0.75 held, 1 of unknown size, 1 lost.
	if want := (0.5 + 0.75 + 1 + 1) / 4; !near(f.GPULoad, math.Round(want*1000)/1000) || f.SampledAt != sched.Time(10*time.Second) || f.Connections != 17 || f.OtherMem != 4<<30 {
		t.Errorf("%+v", f)
	}
	if want := int64(math.Round(1400.0 / 9600 * 2 * 1000)); f.OtherCPU != want {
		t.Errorf("others' CPU %d, wanted %d", f.OtherCPU, want)
	}
	p := r.Profile("n1", epoch)
	if p.GPUType != "A100" || p.GPUCount != 4 || p.GPUMemory.Capacity != 80 || p.GPUMemory.Used != 64 || *p.GPUs[0].Utilization != 0.5 || p.GPUs[2].Utilization != nil {
		t.Errorf("%+v", p)
	}
	if g := p.GPUs[1]; g.OthersMemoryGB != 60 || g.OthersProcesses != 1 || g.PowerW != 300 || g.TemperatureC != 0 || p.GPUs[3].State != "lost" {
		t.Errorf("%+v", g)
	}
	// It is the JSON that the rest of the program reads.
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	back, err := cluster.ReadProfiles(strings.NewReader(string(text)), "profile")
	if err != nil || len(back) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	spec, err := back[0].Spec()
	if err != nil || spec.Name != "n1" || spec.CPU != 2000 || spec.Mem != 16<<30 || spec.GPUs != 4 || spec.GPUType != "A100" || spec.VRAM != 80<<30 || spec.NetworkMbps != 25000 || spec.StorageLatency != 2*time.Millisecond {
		t.Errorf("%+v, %v", spec, err)
	}
	if again := back[0].Sample(); again.SampledAt != f.SampledAt || again.Connections != f.Connections {
		t.Errorf("%+v", again)
	}
}

func TestADeclaredSetIsInTheProfileAndNothingOfItsUse(t *testing.T) {
	d, err := device.Declare("2xH100:80gb")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{ID: "n", Root: fake(t), Driver: d})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := s.Sample(Own{})
	if p := r.Profile("n", time.Time{}); p.GPUCount != 2 || p.GPUMemory.Capacity != 80 || p.GPUs != nil || p.SampledAtSeconds != 0 {
		t.Errorf("%+v", p)
	}
	if f := r.Fact(time.Time{}); f.GPULoad != 0 {
		t.Errorf("%+v", f)
	}
}

func TestALittleUseDoesNotKeepATaskForAllCPUsAway(t *testing.T) {
	r := Reading{CPU: 8, OtherCPU: 0.39}
	if f := r.Fact(time.Time{}); f.OtherCPU != 0 {
		t.Errorf("%+v", f)
	}
	if r.OtherCPU = 0.4; r.Fact(time.Time{}).OtherCPU != 400 {
		t.Error("5 % are not told")
	}
}

func TestOneConnectionMoreIsCounted(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads Linux's /proc")
	}
	s, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	// Others come and go on this machine; within some tries the difference is just ours.
	var diff int32
	for range 50 {
		before := s.Sample(Own{}).Connections
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		diff = s.Sample(Own{}).Connections - before
		c.Close()
		a.Close()
		if diff == 2 { // both ends
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("one connection on this machine counts as %d", diff)
}

func TestThisMachineIsPlausible(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads Linux's /proc")
	}
	s, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Sample(Own{})
	end := time.Now().Add(300 * time.Millisecond)
	for time.Now().Before(end) { // busy
	}
	r := s.Sample(Own{})
	if r.CPU < 1 || r.CPUUsed < 0.3 || r.CPUUsed > r.CPU || r.Mem < 64<<20 || r.MemUsed <= 0 || r.MemUsed > r.Mem {
		t.Errorf("%+v", r)
	}
}

func TestChangeTellsTheFirstAndThenWhatDiffers(t *testing.T) {
	var c Change
	p := sched.Profile{OtherCPU: 1000, OtherMem: 100 << 20, GPULoad: 0.5, Latency: 10 * time.Millisecond, Connections: 10}
	const cpu, mem = 10000, 1000 << 20
	if !c.Tell(p, cpu, mem) || c.Tell(p, cpu, mem) {
		t.Fatal("the first is told, and once")
	}
	for name, f := range map[string]func(q *sched.Profile, far bool){
		"cpu":         func(q *sched.Profile, far bool) { q.OtherCPU = pick[int64](far, 1500, 1499) },
		"mem":         func(q *sched.Profile, far bool) { q.OtherMem = pick[int64](far, 50<<20, 51<<20) },
		"gpu":         func(q *sched.Profile, far bool) { q.GPULoad = pick(far, 0.56, 0.54) },
		"latency":     func(q *sched.Profile, far bool) { q.Latency = pick(far, 11*time.Millisecond, 10*time.Millisecond+999) },
		"connections": func(q *sched.Profile, far bool) { q.Connections = pick[int32](far, 15, 14) },
		"time": func(q *sched.Profile, far bool) {
			q.SampledAt = pick(far, sched.Time(5*time.Second), sched.Time(4*time.Second))
		},
		"no more cpu": func(q *sched.Profile, far bool) { q.OtherCPU = pick[int64](far, 0, 1000) },
	} {
		for _, far := range []bool{false, true} {
			c := Change{Refresh: 5 * time.Second}
			c.Tell(p, cpu, mem)
			q := p
			f(&q, far)
			if got := c.Tell(q, cpu, mem); got != far {
				t.Errorf("%s: %v, wanted %v", name, got, far)
			}
		}
	}
}

func pick[T any](far bool, a, b T) T {
	if far {
		return a
	}
	return b
}

func TestWhatTheKernelKnowsIsNeverAStepAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Change{Step: rapid.Float64Range(0.01, 0.3).Draw(t, "step")}
		const cpu, mem = 64000, 1 << 38
		var told sched.Profile
		tells := 0
		for i := range rapid.IntRange(1, 50).Draw(t, "n") {
			p := sched.Profile{
				SampledAt: sched.Time(i), OtherCPU: rapid.Int64Range(0, cpu).Draw(t, "cpu"), OtherMem: rapid.Int64Range(0, mem).Draw(t, "mem"),
				GPULoad: rapid.Float64Range(0, 1).Draw(t, "gpu"),
			}
			if rapid.Bool().Draw(t, "near") { // a small move, so that both outcomes are common
				p.OtherCPU, p.OtherMem, p.GPULoad = told.OtherCPU+rapid.Int64Range(0, 50).Draw(t, "d"), told.OtherMem, told.GPULoad
			}
			if c.Tell(p, cpu, mem) {
				told = p
				tells++
			}
			if math.Abs(float64(p.OtherCPU-told.OtherCPU)) >= c.Step*cpu || math.Abs(float64(p.OtherMem-told.OtherMem)) >= c.Step*mem || math.Abs(p.GPULoad-told.GPULoad) >= c.Step {
				t.Fatalf("%+v is not told over %+v", p, told)
			}
		}
		if tells == 0 {
			t.Fatal("the first is not told")
		}
	})
}

// plain are the same readings by the slow ways of the standard library.
func plainStat(text string) (busy, total uint64, cpus int) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || !strings.HasPrefix(f[0], "cpu") {
			break
		}
		if f[0] != "cpu" {
			cpus++
			continue
		}
		for i, s := range f[1:min(len(f), 9)] {
			v, _ := json.Number(s).Int64()
			total += uint64(v)
			if i != 3 && i != 4 {
				busy += uint64(v)
			}
		}
	}
	return busy, total, cpus
}

func TestStatIsReadAsTheSlowWayReadsIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		num := rapid.Uint64Range(0, 1<<40)
		line := func(name string) {
			b.WriteString(name)
			for range 10 {
				b.WriteString(" ")
				b.WriteString(json.Number(itoa(num.Draw(t, "v"))).String())
			}
			b.WriteString("\n")
		}
		line("cpu ")
		for i := range rapid.IntRange(1, 9).Draw(t, "cpus") {
			line("cpu" + itoa(uint64(i)))
		}
		b.WriteString("intr 5\n")
		c, ok := parseStat([]byte(b.String()))
		busy, total, cpus := plainStat(b.String())
		if !ok || c != (cpuTicks{busy, total, cpus}) {
			t.Fatalf("%+v, wanted %d %d %d of\n%s", c, busy, total, cpus, b.String())
		}
	})
}

func itoa(v uint64) string { b, _ := json.Marshal(v); return string(b) }

func FuzzProc(f *testing.F) {
	for _, s := range []string{stat1, stat2, meminfo1, netdev1, snmp1, disks1, "3.07 1.00", "cpu 99999999999999999999 1 1 1\ncpu0 1\n", "Tcp: CurrEstab\nTcp: -1\n", "MemTotal: 18446744073709551615 kB\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, ok := parseStat(b); ok && (c.busy > c.total || c.cpus < 1) {
			t.Errorf("stat: %+v", c)
		}
		if total, available, ok := parseMeminfo(b); ok && (total <= 0 || available < 0 || available > total) {
			t.Errorf("meminfo: %d %d", total, available)
		}
		if centi, ok := parseLoad(b); ok && centi < 0 {
			t.Errorf("load: %d", centi)
		}
		parseNetDev(b, func(name []byte, rx, tx uint64) {
			if len(name) > len(b) {
				t.Error("name")
			}
		})
		if n, ok := parseEstablished(b); ok && (n < 0 || n > math.MaxInt32) {
			t.Errorf("connections: %d", n)
		}
		parseDisks(b, func([]byte) bool { return true })
	})
}

func BenchmarkSample(b *testing.B) {
	s, err := Open(Options{})
	if err != nil {
		b.Skip(err)
	}
	defer s.Close()
	s.Sample(Own{})
	b.ReportAllocs()
	for b.Loop() {
		s.Sample(Own{})
	}
}

func TestASampleAllocatesNothing(t *testing.T) {
	now := time.Unix(1000, 0)
	s, err := Open(Options{Root: fake(t), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Sample(Own{})
	if n := testing.AllocsPerRun(100, func() { now = now.Add(time.Second); s.Sample(Own{}) }); n > 0 {
		t.Errorf("%v allocations a sample", n)
	}
}
