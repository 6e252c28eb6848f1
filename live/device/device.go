// Package device lists and samples the accelerators of this machine behind one small interface. Below it are drivers: NVML for NVIDIA
// (through go-nvml, where the program is built with cgo and a libnvidia-ml.so is found when it runs), sysfs for AMD and Intel, a declared set
// for test machines, and none.
//
// A machine without accelerators, or without the library that knows them, has zero GPUs: that is said once, when the driver is opened,
// and is never an error. What a driver does not know it says with Unknown instead of zero.
package device

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Unknown is the value of a measurement that the driver cannot take.
const Unknown = -1

// GPU is one accelerator, as found when its driver was opened.
type GPU struct {
	Index   int32    // dense from 0 by bus address: what a placement's device set counts
	Ordinal int      // the number under which the vendor's runtime knows it (CUDA_VISIBLE_DEVICES)
	Vendor  Vendor   //
	UUID    string   // "" if the driver tells none
	Model   string   // as cluster descriptions call it: "A100"
	Name    string   // as the driver calls it: "NVIDIA A100-SXM4-80GB"
	Bus     string   // PCI address "0000:07:00.0"; "" if none
	VRAM    int64    // bytes; 0 if not known
	Files   []string // device files that belong to it alone: what a device cgroup allows or denies
}

// Vendor tells whose runtime drives a GPU.
type Vendor string

// The vendors. A declared GPU has none.
const (
	NVIDIA Vendor = "nvidia"
	AMD    Vendor = "amd"
	Intel  Vendor = "intel"
)

// State tells whether a GPU can be used.
type State uint8

// The states of a GPU.
const (
	OK     State = iota
	Lost         // fallen off the bus, or in need of a reset: what ran on it is gone
	Failed       // the driver gives an error of another kind; it may pass
)

func (s State) String() string { return [...]string{"ok", "lost", "failed"}[min(s, Failed)] }

// Sample is what a driver saw of one GPU at one moment.
type Sample struct {
	Index       int32
	State       State
	Why         string    // of Lost and Failed, in the driver's words
	Utilization float64   // 0..1, of the time since the driver's last own sample (NVML: 1/6 to 1 s); or Unknown
	Used        int64     // bytes of VRAM in use, by whomever; or Unknown
	TempC       float64   // or Unknown
	PowerW      float64   // or Unknown
	Counted     bool      // Processes is complete; false where the driver cannot tell
	Processes   []Process // by PID; reused by the next Sample into the same slice
}

// Process is one process that holds memory of a GPU.
type Process struct {
	PID  int32 // as the driver tells: in a container this may be the host's number
	VRAM int64 // bytes, or Unknown
}

// Driver knows the accelerators of one vendor. List is fixed when it is opened. Sample and Close may be called from one goroutine at a time.
type Driver interface {
	// Name is "nvml", "sysfs", "declared" or "none".
	Name() string
	// List returns the GPUs by Index. Do not modify.
	List() []GPU
	// Sample writes one Sample a GPU, by Index, into dst, which it returns; the slices in dst are used again. It never fails as a
	// whole: a GPU that cannot be read says so in its State.
	Sample(dst []Sample) []Sample
	Close() error
}

// Options say what to open. The zero value finds what there is.
type Options struct {
	// Use is "auto" (or ""), "nvml", "sysfs", "none", or a declaration such as "8xH100". Only a driver that is named may fail to open.
	Use string
	// Library is the path of libnvidia-ml.so; "" takes $SCHEDLAB_NVML, else what the dynamic loader finds as libnvidia-ml.so.1.
	Library string
	// Root is where /sys and /dev lie; "" is "/".
	Root string
}

// LibraryEnv is the environment variable that names the NVML library.
const LibraryEnv = "SCHEDLAB_NVML"

// Tried is what became of one driver that Open looked at.
type Tried struct {
	Driver  string
	GPUs    int
	Version string   // of the vendor's driver, "" if none tells
	Why     string   // why it has no GPUs, or "" if it has
	Notes   []string // what it cannot do here, GPUs left out
}

// Found is an open driver and how it was chosen, so that a user can be told once.
type Found struct {
	Driver
	Tried []Tried
}

// Open opens the driver that the options name, or the first of NVML and sysfs that has GPUs, or else the driver of no GPUs. The caller
// closes it. It fails only where the options name a driver or a set that cannot be had.
func Open(o Options) (*Found, error) {
	switch o.Use {
	case "", "auto":
		f := &Found{Driver: none{}}
		for _, open := range []func(Options) (Driver, Tried){openNVML, openSysfs} {
			d, t := open(o)
			f.Tried = append(f.Tried, t)
			if d == nil {
				continue
			}
			if len(d.List()) > 0 {
				f.Driver = d
				return f, nil
			}
			_ = d.Close() // of a driver without GPUs nothing can be lost
		}
		return f, nil
	case "none":
		return &Found{Driver: none{}, Tried: []Tried{{Driver: "none", Why: "asked for no GPUs"}}}, nil
	case "nvml", "sysfs":
		open := openNVML
		if o.Use == "sysfs" {
			open = openSysfs
		}
		d, t := open(o)
		if d == nil {
			return nil, fmt.Errorf("GPU driver %s: %s", o.Use, t.Why)
		}
		return &Found{Driver: d, Tried: []Tried{t}}, nil
	}
	d, err := Declare(o.Use)
	if err != nil {
		return nil, err
	}
	return &Found{Driver: d, Tried: []Tried{{Driver: "declared", GPUs: len(d.List())}}}, nil
}

// Says returns one line on the outcome for a log: which driver has how many GPUs, and why the others have none.
func (f *Found) Says() string {
	var b strings.Builder
	if gpus := f.List(); len(gpus) > 0 {
		fmt.Fprintf(&b, "%d %s (%s)", len(gpus), ModelOf(gpus), f.Name())
	} else {
		b.WriteString("no GPUs")
	}
	for _, t := range f.Tried {
		if t.Why != "" {
			fmt.Fprintf(&b, "; %s: %s", t.Driver, t.Why)
		}
		for _, n := range t.Notes {
			fmt.Fprintf(&b, "; %s: %s", t.Driver, n)
		}
	}
	return b.String()
}

// ModelOf names the model of a node with these GPUs: a node has one GPU type, so where they differ it is the types joined by "+", which no
// task that asks for a type by name will match; one that asks for none may still start there.
func ModelOf(gpus []GPU) string {
	var names []string
	seen := map[string]bool{}
	for i := range gpus {
		if m := gpus[i].Model; !seen[m] {
			seen[m] = true
			if m != "" {
				names = append(names, m)
			}
		}
	}
	if len(names) == 0 {
		return "GPU"
	}
	return strings.Join(names, "+")
}

// VRAMOf returns the bytes of VRAM that each of the GPUs has at least; 0 where one is not known.
func VRAMOf(gpus []GPU) int64 {
	if len(gpus) == 0 {
		return 0
	}
	least := gpus[0].VRAM
	for i := range gpus {
		least = min(least, gpus[i].VRAM)
	}
	return least
}

// Visible returns the environment, KEY=value, that shows a process exactly the GPUs of the given indexes, of all that the machine has. With
// no index it hides them all. CUDA_VISIBLE_DEVICES is set for every vendor, declared GPUs included: it is what programs and tests
// read. An index out of range is an error.
func Visible(all []GPU, indexes []int32) ([]string, error) {
	numbers := make([]string, 0, len(indexes))
	vendor := Vendor("")
	if len(all) > 0 {
		vendor = all[0].Vendor
	}
	for _, i := range indexes {
		if i < 0 || int(i) >= len(all) {
			return nil, fmt.Errorf("GPU %d: the machine has GPUs 0 to %d", i, len(all)-1)
		}
		numbers = append(numbers, strconv.Itoa(all[i].Ordinal))
	}
	list := strings.Join(numbers, ",")
	// Without the order, CUDA puts the fastest card first and the numbers would mean others than NVML's.
	env := []string{"CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES=" + list}
	switch vendor {
	case AMD:
		// ROCm numbers its cards by its own topology, so a card that has an identity is named by it.
		names := make([]string, len(indexes))
		for k, i := range indexes {
			if names[k] = all[i].UUID; names[k] == "" {
				names[k] = numbers[k]
			}
		}
		hidden := strings.Join(names, ",")
		if hidden == "" {
			hidden = "-1" // empty means all to ROCm
		}
		env = append(env, "ROCR_VISIBLE_DEVICES="+hidden)
		if list != "" { // CUDA's list counts again within what ROCR shows
			for i := range numbers {
				numbers[i] = strconv.Itoa(i)
			}
			env[1] = "CUDA_VISIBLE_DEVICES=" + strings.Join(numbers, ",")
		}
	case Intel:
		if list == "" {
			env = append(env, "ONEAPI_DEVICE_SELECTOR=opencl:cpu")
		} else {
			env = append(env, "ZE_AFFINITY_MASK="+list, "ZE_ENABLE_PCI_ID_DEVICE_ORDER=1")
		}
	}
	return env, nil
}

// none is the driver of a machine without GPUs.
type none struct{}

func (none) Name() string                 { return "none" }
func (none) List() []GPU                  { return nil }
func (none) Sample(dst []Sample) []Sample { return dst[:0] }
func (none) Close() error                 { return nil }

// blank gives dst n samples in which nothing is known, keeping the slices in it.
func blank(dst []Sample, n int) []Sample {
	for cap(dst) < n {
		dst = append(dst[:cap(dst)], Sample{})
	}
	dst = dst[:n]
	for i := range dst {
		dst[i] = Sample{
			Index: int32(i), Utilization: Unknown, Used: Unknown, TempC: Unknown, PowerW: Unknown,
			Processes: dst[i].Processes[:0],
		}
	}
	return dst
}

// addProcess keeps the list sorted and a PID once: a process that computes and draws is told twice, with the same memory.
func addProcess(list []Process, p Process) []Process {
	i := len(list)
	for i > 0 && list[i-1].PID >= p.PID {
		i--
	}
	if i < len(list) && list[i].PID == p.PID {
		list[i].VRAM = max(list[i].VRAM, p.VRAM)
		return list
	}
	list = append(list, Process{})
	copy(list[i+1:], list[i:])
	list[i] = p
	return list
}

func (o *Options) library() string {
	if o.Library != "" {
		return o.Library
	}
	return os.Getenv(LibraryEnv)
}

var errNoLibrary = errors.New("no libnvidia-ml.so.1 on this machine")
