//go:build cgo && linux && !nonvml

package device

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/dl"
	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// NVMLBuilt tells whether this program can load NVML.
const NVMLBuilt = true

const defaultLibrary = "libnvidia-ml.so.1"

// needed are the entry points without which NVML is of no use. A call of one that the library lacks ends the process (the linker leaves
// them to be resolved at the call), so every name is looked up before. A group is satisfied by any of its names.
var needed = [][]string{
	{"nvmlInit_v2", "nvmlInit"},
	{"nvmlShutdown"},
	{"nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"},
	{"nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"},
	{"nvmlDeviceGetName"},
	{"nvmlDeviceGetMemoryInfo"},
	{"nvmlErrorString"}, // go-nvml calls it for the text of any error
}

// loaded is the one library of this process. go-nvml's calls are bound by the dynamic linker at their first use and stay bound: a second
// library, or the same one unloaded and loaded elsewhere, would be called at the first one's addresses. So it is opened once and kept.
var loaded struct {
	sync.Mutex
	path   string
	handle *dl.DynamicLibrary
}

func load(path string) error {
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.handle != nil {
		if loaded.path != path {
			return fmt.Errorf("this process uses %s already and cannot change to %s", loaded.path, path)
		}
		return nil
	}
	h := dl.New(path, dl.RTLD_LAZY|dl.RTLD_GLOBAL)
	if err := h.Open(); err != nil {
		if path == defaultLibrary && strings.Contains(err.Error(), "No such file") {
			return errNoLibrary
		}
		return err
	}
	for _, names := range needed {
		if !slices.ContainsFunc(names, func(n string) bool { return h.Lookup(n) == nil }) {
			_ = h.Close() // nothing of it was called
			return fmt.Errorf("%s lacks %s: its driver is too old", path, names[0])
		}
	}
	loaded.path, loaded.handle = path, h
	return nil
}

func openNVML(o Options) (Driver, Tried) {
	path := o.library()
	if path == "" {
		path = defaultLibrary
	}
	if err := load(path); err != nil {
		return nil, Tried{Driver: "nvml", Why: err.Error()}
	}
	return FromNVML(nvml.New(nvml.WithLibraryPath(path)))
}

// FromNVML makes the driver upon go-nvml's interface, which it initializes: the library, or a mock of it in a test. The driver is nil where
// that fails, and Tried says why.
func FromNVML(lib nvml.Interface) (Driver, Tried) {
	t := Tried{Driver: "nvml"}
	if ret := lib.Init(); ret != nvml.SUCCESS {
		t.Why = "NVML does not start: " + said(ret)
		return nil, t
	}
	d := &nvmlDriver{lib: lib}
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return lib.Extensions().LookupSymbol(n) == nil })
	}
	d.can.uuid = has("nvmlDeviceGetUUID")
	d.can.pci = has("nvmlDeviceGetPciInfo_v3", "nvmlDeviceGetPciInfo_v2", "nvmlDeviceGetPciInfo")
	d.can.minor = has("nvmlDeviceGetMinorNumber")
	d.can.utilization = has("nvmlDeviceGetUtilizationRates")
	d.can.compute = has("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2", "nvmlDeviceGetComputeRunningProcesses")
	d.can.graphics = has("nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2", "nvmlDeviceGetGraphicsRunningProcesses")
	d.can.temperature = has("nvmlDeviceGetTemperature")
	d.can.power = has("nvmlDeviceGetPowerUsage")
	for _, miss := range []struct {
		has  bool
		what string
	}{{d.can.utilization, "utilization"}, {d.can.compute, "processes"}, {d.can.power, "power"}} {
		if !miss.has {
			t.Notes = append(t.Notes, "this driver is too old to tell "+miss.what)
		}
	}
	if has("nvmlSystemGetDriverVersion") {
		if v, ret := lib.SystemGetDriverVersion(); ret == nvml.SUCCESS {
			t.Version = v
		}
	}
	count, ret := lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		t.Why = "NVML cannot count the GPUs: " + said(ret)
		_ = lib.Shutdown()
		return nil, t
	}
	for i := range count {
		if err := d.add(i); err != nil {
			t.Notes = append(t.Notes, fmt.Sprintf("GPU %d is left out: %v", i, err))
		}
	}
	if t.GPUs = len(d.gpus); t.GPUs == 0 {
		t.Why = "the driver is there and has no usable GPU"
	}
	return d, t
}

// said is NVML's text for an error; not Return.Error, which needs a library even under a mock.
func said(ret nvml.Return) string {
	switch ret {
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return "its library cannot be loaded"
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return "the NVIDIA driver is not loaded"
	case nvml.ERROR_NO_PERMISSION:
		return "no permission"
	case nvml.ERROR_GPU_IS_LOST:
		return "the GPU is lost"
	case nvml.ERROR_RESET_REQUIRED:
		return "the GPU needs a reset"
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return "library and driver have different versions (reboot, or load the module again)"
	case nvml.ERROR_NOT_SUPPORTED:
		return "not supported"
	}
	return fmt.Sprintf("NVML error %d", int32(ret))
}

type nvmlDriver struct {
	lib     nvml.Interface
	gpus    []GPU
	handles []nvml.Device
	can     struct{ uuid, pci, minor, utilization, compute, graphics, temperature, power bool }
	closed  bool
}

// add takes the GPU of NVML's index i into the list.
func (d *nvmlDriver) add(i int) error {
	h, ret := d.lib.DeviceGetHandleByIndex(i)
	if ret != nvml.SUCCESS {
		return fmt.Errorf("%s", said(ret))
	}
	g := GPU{Index: int32(len(d.gpus)), Ordinal: i, Vendor: NVIDIA}
	if g.Name, ret = h.GetName(); ret != nvml.SUCCESS {
		return fmt.Errorf("%s", said(ret))
	}
	g.Model = Model(g.Name)
	m, ret := h.GetMemoryInfo()
	switch {
	case ret == nvml.SUCCESS:
		g.VRAM = int64(min(m.Total, 1<<60))
	case ret != nvml.ERROR_NOT_SUPPORTED: // unified memory has none of its own
		return fmt.Errorf("%s", said(ret))
	}
	if d.can.uuid {
		if u, ret := h.GetUUID(); ret == nvml.SUCCESS {
			g.UUID = u
		}
	}
	if d.can.pci {
		if p, ret := h.GetPciInfo(); ret == nvml.SUCCESS {
			g.Bus = busOf(p)
		}
	}
	if d.can.minor {
		if n, ret := h.GetMinorNumber(); ret == nvml.SUCCESS {
			g.Files = []string{fmt.Sprintf("/dev/nvidia%d", n)}
		}
	}
	d.gpus, d.handles = append(d.gpus, g), append(d.handles, h)
	return nil
}

// busOf writes the PCI address as Linux does, lower case with a domain of four digits.
func busOf(p nvml.PciInfo) string {
	var b []byte
	for _, c := range p.BusId {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	s := strings.ToLower(string(b))
	if domain, rest, ok := strings.Cut(s, ":"); ok && len(domain) == 8 && strings.HasPrefix(domain, "0000") {
		s = domain[4:] + ":" + rest
	}
	return s
}

func (d *nvmlDriver) Name() string { return "nvml" }
func (d *nvmlDriver) List() []GPU  { return d.gpus }

func (d *nvmlDriver) Sample(dst []Sample) []Sample {
	dst = blank(dst, len(d.gpus))
	if d.closed {
		for i := range dst {
			dst[i].State, dst[i].Why = Failed, "the driver is closed"
		}
		return dst
	}
	for i := range dst {
		d.one(&dst[i], d.handles[i])
	}
	return dst
}

func (d *nvmlDriver) one(s *Sample, h nvml.Device) {
	// note keeps the worst that is said; it reports whether there is a value.
	note := func(ret nvml.Return) bool {
		switch ret {
		case nvml.SUCCESS:
			return true
		case nvml.ERROR_NOT_SUPPORTED, nvml.ERROR_NO_DATA, nvml.ERROR_NO_PERMISSION, nvml.ERROR_FUNCTION_NOT_FOUND:
		case nvml.ERROR_GPU_IS_LOST, nvml.ERROR_RESET_REQUIRED, nvml.ERROR_GPU_NOT_FOUND:
			s.State, s.Why = Lost, said(ret)
		default:
			if s.State == OK {
				s.State, s.Why = Failed, said(ret)
			}
		}
		return false
	}
	m, ret := h.GetMemoryInfo()
	if note(ret) {
		s.Used = int64(min(m.Used, 1<<60))
	}
	if s.State == Lost {
		return // each further call of a lost GPU may take a second to fail
	}
	if d.can.utilization {
		if u, ret := h.GetUtilizationRates(); note(ret) {
			s.Utilization = min(float64(u.Gpu)/100, 1)
		}
	}
	if d.can.temperature {
		if c, ret := h.GetTemperature(nvml.TEMPERATURE_GPU); note(ret) {
			s.TempC = float64(c)
		}
	}
	if d.can.power {
		if mw, ret := h.GetPowerUsage(); note(ret) {
			s.PowerW = float64(mw) / 1000
		}
	}
	if d.can.compute {
		list, ret := h.GetComputeRunningProcesses()
		if note(ret) {
			s.Counted = true
			s.take(list)
		}
	}
	if d.can.graphics && s.Counted {
		if list, ret := h.GetGraphicsRunningProcesses(); note(ret) {
			s.take(list)
		}
	}
	if s.State == Lost {
		s.Processes, s.Counted = s.Processes[:0], false
	}
}

func (s *Sample) take(list []nvml.ProcessInfo) {
	for _, p := range list {
		vram := int64(Unknown)
		if p.UsedGpuMemory < 1<<60 { // all ones where the driver cannot tell
			vram = int64(p.UsedGpuMemory)
		}
		s.Processes = addProcess(s.Processes, Process{PID: int32(p.Pid), VRAM: vram})
	}
}

// Close ends NVML's use; the library stays loaded (see loaded).
func (d *nvmlDriver) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	if ret := d.lib.Shutdown(); ret != nvml.SUCCESS {
		return fmt.Errorf("NVML does not shut down: %s", said(ret))
	}
	return nil
}
