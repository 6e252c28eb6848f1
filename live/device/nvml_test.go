//go:build cgo && linux && !nonvml

package device

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"

	"github.com/schedlab/schedlab/live/device/fakenvml"
)

// A library stays in its process, so each test with one runs this program again with what to do in the environment.
func TestMain(m *testing.M) {
	if use := os.Getenv("DEVICE_TEST_USE"); use != "" {
		os.Exit(child(use))
	}
	os.Exit(m.Run())
}

// childSaw is what the child prints.
type childSaw struct {
	Err     string
	Tried   []Tried
	GPUs    []GPU
	Samples [][]Sample
	Again   string // after Close and a second Open
	Other   string // of a second library in the same process
}

// child opens the driver, and samples it once per file of values that is named, the file being replaced in between.
func child(use string) int {
	var saw childSaw
	f, err := Open(Options{Use: use})
	if err != nil {
		saw.Err = err.Error()
	} else {
		saw.Tried, saw.GPUs = f.Tried, f.List()
		for _, next := range append([]string{""}, filepath.SplitList(os.Getenv("DEVICE_TEST_THEN"))...) {
			if next != "" {
				if err := os.Rename(next, os.Getenv(fakenvml.FileEnv)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return 1
				}
			}
			saw.Samples = append(saw.Samples, f.Sample(nil))
		}
		if err := f.Close(); err != nil {
			saw.Err = err.Error()
		}
		if s := f.Sample(nil); len(s) > 0 && s[0].State != Failed {
			saw.Err = "a closed driver samples"
		}
		g, err := Open(Options{Use: use})
		if err != nil {
			saw.Again = err.Error()
		} else {
			saw.Again = fmt.Sprint(len(g.List()))
			_ = g.Close()
		}
		if _, err = Open(Options{Use: "nvml", Library: "/other/libnvidia-ml.so"}); err != nil {
			saw.Other = err.Error()
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(saw); err != nil {
		return 1
	}
	return 0
}

// runFake runs a child upon a fake library with the values, and then with each of those in then.
func runFake(t *testing.T, kind fakenvml.Kind, use string, values []string, then ...[]string) childSaw {
	t.Helper()
	dir := t.TempDir()
	lib, err := fakenvml.Build(dir, kind)
	if errors.Is(err, fakenvml.ErrNoCompiler) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "values")
	if err := fakenvml.Write(file, values...); err != nil {
		t.Fatal(err)
	}
	var next []string
	for i, v := range then {
		next = append(next, fmt.Sprintf("%s.%d", file, i))
		if err := fakenvml.Write(next[i], v...); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DEVICE_TEST_USE="+use, LibraryEnv+"="+lib, fakenvml.FileEnv+"="+file,
		"DEVICE_TEST_THEN="+strings.Join(next, string(os.PathListSeparator)))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.Bytes(), stderr.Bytes())
	}
	var saw childSaw
	if err := json.Unmarshal(stdout.Bytes(), &saw); err != nil {
		t.Fatalf("%v: %s", err, stdout.Bytes())
	}
	return saw
}

func TestTheFakeLibraryIsSampledAtEachCall(t *testing.T) {
	values := fakenvml.Machine(2, "NVIDIA A100-SXM4-80GB", 80<<30)
	then := append(fakenvml.Machine(2, "NVIDIA A100-SXM4-80GB", 80<<30), "1 proc 4000000 1024", "1 proc 77 2048", "1 proc 99", "1 draws 77 2048", "1 draws 5 10")
	for i, l := range then {
		then[i] = strings.NewReplacer("1 util 0", "1 util 37", "1 used 0", "1 used 5368709120", "1 temp 30", "1 temp 71", "1 power 60000", "1 power 312500").Replace(l)
	}
	saw := runFake(t, fakenvml.New, "auto", values, then)
	if saw.Err != "" || len(saw.GPUs) != 2 || len(saw.Samples) != 2 {
		t.Fatalf("%+v", saw)
	}
	if want := (GPU{
		Index: 1, Ordinal: 1, Vendor: NVIDIA, UUID: "GPU-fake-1", Model: "A100", Name: "NVIDIA A100-SXM4-80GB", Bus: "0000:08:00.0",
		VRAM: 80 << 30, Files: []string{"/dev/nvidia1"},
	}); !reflect.DeepEqual(saw.GPUs[1], want) {
		t.Errorf("%+v, wanted %+v", saw.GPUs[1], want)
	}
	if tr := saw.Tried[0]; len(saw.Tried) != 1 || tr.Version != "550.54.15" || tr.Why != "" || len(tr.Notes) != 0 || tr.GPUs != 2 {
		t.Errorf("%+v", saw.Tried)
	}
	if want := (Sample{Index: 1, TempC: 30, PowerW: 60, Counted: true, Processes: []Process{}}); !sameSample(saw.Samples[0][1], want) {
		t.Errorf("%+v, wanted %+v", saw.Samples[0][1], want)
	}
	if want := (Sample{
		Index: 1, Utilization: 0.37, Used: 5 << 30, TempC: 71, PowerW: 312.5, Counted: true,
		Processes: []Process{{5, 10}, {77, 2048}, {99, Unknown}, {4000000, 1024}},
	}); !sameSample(saw.Samples[1][1], want) {
		t.Errorf("%+v, wanted %+v", saw.Samples[1][1], want)
	}
	if saw.Again != "2" {
		t.Errorf("opened again: %s GPUs", saw.Again)
	}
	if !strings.Contains(saw.Other, "cannot change to /other/") {
		t.Errorf("a second library: %q", saw.Other)
	}
}

func TestAnOldDriverIsUsedWithoutWhatItLacks(t *testing.T) {
	log := filepath.Join(t.TempDir(), "calls")
	values := append(fakenvml.Machine(1, "Tesla K80", 12<<30), "0 proc 12 4096", "0 proc 11 8192", "- log "+log)
	saw := runFake(t, fakenvml.Old, "nvml", values)
	if saw.Err != "" || len(saw.GPUs) != 1 {
		t.Fatalf("%+v", saw)
	}
	if g := saw.GPUs[0]; g.Model != "K80" || g.UUID != "GPU-fake-0" || g.Bus != "" || g.Files != nil || g.VRAM != 12<<30 {
		t.Errorf("%+v", g)
	}
	if want := (Sample{
		Utilization: Unknown, TempC: Unknown, PowerW: Unknown, Counted: true, Processes: []Process{{11, 8192}, {12, 4096}},
	}); !sameSample(saw.Samples[0][0], want) {
		t.Errorf("%+v, wanted %+v", saw.Samples[0][0], want)
	}
	if notes := strings.Join(saw.Tried[0].Notes, "; "); !strings.Contains(notes, "utilization") || !strings.Contains(notes, "power") || strings.Contains(notes, "processes") {
		t.Errorf("%q", notes)
	}
	calls, err := os.ReadFile(log)
	if err != nil || !bytes.Contains(calls, []byte("nvmlDeviceGetComputeRunningProcesses\n")) {
		t.Errorf("the first version was not called: %s, %v", calls, err)
	}
}

func TestALibraryThatLacksWhatIsNeededIsNotCalled(t *testing.T) {
	log := filepath.Join(t.TempDir(), "calls")
	values := append(fakenvml.Machine(1, "Tesla K80", 12<<30), "- log "+log)
	saw := runFake(t, fakenvml.Broken, "auto", values)
	if saw.Err != "" || len(saw.GPUs) != 0 || !strings.Contains(saw.Tried[0].Why, "lacks nvmlDeviceGetHandleByIndex_v2") {
		t.Errorf("%+v", saw)
	}
	if saw = runFake(t, fakenvml.Broken, "nvml", values); !strings.Contains(saw.Err, "lacks nvmlDeviceGetHandleByIndex_v2") {
		t.Errorf("%+v", saw)
	}
	if calls, err := os.ReadFile(log); err == nil {
		t.Errorf("called: %s", calls)
	}
}

func TestALostGPUIsLostAndTheOthersGoOn(t *testing.T) {
	fine := append(fakenvml.Machine(3, "NVIDIA H100 80GB HBM3", 80<<30), "1 proc 7 100")
	lost := append(slices.Clone(fine), "1 fail 15", "2 fail 999")
	saw := runFake(t, fakenvml.New, "nvml", fine, lost, fine)
	s := saw.Samples
	if s[0][1].State != OK || len(s[0][1].Processes) != 1 {
		t.Errorf("before: %+v", s[0])
	}
	if g := s[1][1]; g.State != Lost || g.Why != "the GPU is lost" || g.Counted || len(g.Processes) != 0 || g.Used != Unknown || g.Utilization != Unknown {
		t.Errorf("lost: %+v", g)
	}
	if g := s[1][2]; g.State != Failed || g.Why != "NVML error 999" {
		t.Errorf("failed: %+v", g)
	}
	if s[1][0].State != OK || s[2][1].State != OK || s[2][2].State != OK {
		t.Errorf("%+v\n%+v", s[1][0], s[2])
	}

	// One that is lost from the start is left out, and the others keep the number under which CUDA knows them.
	saw = runFake(t, fakenvml.New, "nvml", append(slices.Clone(fine), "0 fail 15"))
	if len(saw.GPUs) != 2 || saw.GPUs[0].Ordinal != 1 || saw.GPUs[0].Index != 0 || saw.GPUs[1].Ordinal != 2 {
		t.Errorf("%+v", saw.GPUs)
	}
	if n := saw.Tried[0].Notes; len(n) != 1 || n[0] != "GPU 0 is left out: the GPU is lost" {
		t.Errorf("%q", n)
	}
}

func TestADriverThatDoesNotStartIsZeroGPUs(t *testing.T) {
	values := append(fakenvml.Machine(1, "Tesla T4", 16<<30), "- init 9")
	saw := runFake(t, fakenvml.New, "auto", values)
	if saw.Err != "" || len(saw.GPUs) != 0 || saw.Tried[0].Why != "NVML does not start: the NVIDIA driver is not loaded" {
		t.Errorf("%+v", saw)
	}
	if saw = runFake(t, fakenvml.New, "auto", fakenvml.Machine(0, "", 0)); saw.Err != "" || len(saw.GPUs) != 0 || !strings.Contains(saw.Tried[0].Why, "no usable GPU") {
		t.Errorf("%+v", saw)
	}
}

func TestAFileThatIsNoLibraryIsZeroGPUs(t *testing.T) {
	lib := filepath.Join(t.TempDir(), "libnvidia-ml.so")
	if err := os.WriteFile(lib, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(Options{Library: lib, Root: t.TempDir()})
	if err != nil || f.Name() != "none" || !strings.Contains(f.Tried[0].Why, lib) {
		t.Errorf("%+v, %v", f, err)
	}
}

// mocked returns go-nvml's mock of eight A100, with the functions that it leaves open.
func mocked() (*dgxa100.Server, []*dgxa100.Device) {
	server := dgxa100.New()
	var devices []*dgxa100.Device
	for i, d := range server.Devices {
		d := d.(*dgxa100.Device)
		d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: uint32(10 * i)}, nvml.SUCCESS }
		d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 40, nvml.SUCCESS }
		d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
		d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
			return []nvml.ProcessInfo{{Pid: uint32(100 + i), UsedGpuMemory: 1 << 30}}, nvml.SUCCESS
		}
		d.GetGraphicsRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.ERROR_NOT_SUPPORTED }
		devices = append(devices, d)
	}
	return server, devices
}

func TestGoNVMLsMockIsAMachineOfEightA100(t *testing.T) {
	server, devices := mocked()
	d, tried := FromNVML(server)
	if d == nil || tried.GPUs != 8 || tried.Version != server.DriverVersion {
		t.Fatalf("%+v", tried)
	}
	gpus := d.List()
	if ModelOf(gpus) != "A100" || VRAMOf(gpus) != 40<<30 || gpus[7].UUID != devices[7].UUID {
		t.Errorf("%+v", gpus)
	}
	s := d.Sample(nil)
	if want := (Sample{Index: 3, Utilization: 0.3, TempC: 40, PowerW: Unknown, Counted: true, Processes: []Process{{103, 1 << 30}}}); !sameSample(s[3], want) {
		t.Errorf("%+v, wanted %+v", s[3], want)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestASampleIntoOldSamplesAllocatesNothingOfItsOwn(t *testing.T) {
	server, _ := mocked()
	for _, d := range server.Devices { // moq notes each call, and its slices grow
		d.(*dgxa100.Device).GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.SUCCESS }
	}
	d, _ := FromNVML(server)
	s := d.Sample(nil)
	before := &s[0]
	if s = d.Sample(s); &s[0] != before || len(s) != 8 {
		t.Error("the samples were not used again")
	}
}

func TestAnEntryOfEachCallIsLookedUpBefore(t *testing.T) {
	// With no optional symbol the mock would be asked for nothing but these; a call of another has no function and panics.
	server, devices := mocked()
	must := map[string]bool{}
	for _, names := range needed {
		for _, n := range names {
			must[n] = true
		}
	}
	server.LookupSymbolFunc = func(name string) error {
		if must[name] {
			return nil
		}
		return errors.New("no such symbol")
	}
	for _, d := range devices {
		bare := func() { panic("called without a look") }
		d.GetUUIDFunc = func() (string, nvml.Return) { bare(); return "", 0 }
		d.GetPciInfoFunc = func() (nvml.PciInfo, nvml.Return) { bare(); return nvml.PciInfo{}, 0 }
		d.GetMinorNumberFunc = func() (int, nvml.Return) { bare(); return 0, 0 }
		d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { bare(); return nvml.Utilization{}, 0 }
		d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { bare(); return 0, 0 }
		d.GetPowerUsageFunc = func() (uint32, nvml.Return) { bare(); return 0, 0 }
		d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { bare(); return nil, 0 }
		d.GetGraphicsRunningProcessesFunc = d.GetComputeRunningProcessesFunc
	}
	server.SystemGetDriverVersionFunc = func() (string, nvml.Return) { panic("called without a look") }
	d, tried := FromNVML(server)
	if d == nil || len(d.List()) != 8 || len(tried.Notes) != 3 {
		t.Fatalf("%+v", tried)
	}
	if s := d.Sample(nil); s[0].Counted || s[0].Utilization != Unknown || s[0].Used != 0 {
		t.Errorf("%+v", s[0])
	}
}

func BenchmarkSampleOfTheFakeLibrary(b *testing.B) {
	dir := b.TempDir()
	lib, err := fakenvml.Build(dir, fakenvml.New)
	if err != nil {
		b.Skip(err)
	}
	file := filepath.Join(dir, "values")
	if err := fakenvml.Write(file, fakenvml.Machine(8, "NVIDIA H100 80GB HBM3", 80<<30)...); err != nil {
		b.Fatal(err)
	}
	b.Setenv(fakenvml.FileEnv, file)
	f, err := Open(Options{Use: "nvml", Library: lib})
	if err != nil {
		b.Skip(err)
	}
	b.ReportAllocs()
	var s []Sample
	for b.Loop() {
		s = f.Sample(s)
	}
}
