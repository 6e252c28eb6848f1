// Package doctor looks at what of this machine the live mode can use: control groups, GPUs, the state folder, limits. Each check tries
// what it speaks of and undoes it.
package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/schedlab/schedlab/live/cgroup"
	"github.com/schedlab/schedlab/live/device"
	"github.com/schedlab/schedlab/live/folders"
	"github.com/schedlab/schedlab/live/node"
)

// State is the outcome of a check.
type State string

// The outcomes.
const (
	OK      State = "ok"      // as good as it gets
	Limited State = "limited" // it works, with less than other machines offer
	Missing State = "missing" // not to be had
)

// Check is one line of the report.
type Check struct {
	Name  string `json:"check"`
	State State  `json:"state"`
	Why   string `json:"why"`
	Fix   string `json:"fix,omitempty"`   // what to do for a better state; "" if nothing is to be done
	Stops bool   `json:"stops,omitempty"` // the daemon cannot run like this
}

// Options say what to look at.
type Options struct {
	GPUs   device.Options
	Folder folders.Folders
	// FolderErr is why there is no Folder.
	FolderErr error
}

// Look makes all checks. It takes some tens of milliseconds, most of them for the disk.
func Look(o Options) []Check {
	var out []Check
	out = append(out, groups()...)
	out = append(out, gpus(o.GPUs)...)
	out = append(out, state(o)...)
	out = append(out, sampling())
	out = append(out, system()...)
	return out
}

// Stops reports whether a check says that the daemon cannot run.
func Stops(checks []Check) bool {
	return slices.ContainsFunc(checks, func(c Check) bool { return c.Stops })
}

func groups() []Check {
	// As the daemon does: where this process is alone in a delegated unit, it steps aside.
	m := cgroup.Open(cgroup.Options{Name: fmt.Sprintf("schedlab-doctor-%d", os.Getpid()), MoveSelf: true})
	defer func() { _ = m.Close() }() // a folder that stays is empty
	var out []Check
	what := map[string]string{
		"memory": "RAM of an attempt is not limited: one that takes too much is noticed by the watcher only",
		"cpu":    "an attempt can take more CPU than it asked for",
		"pids":   "an attempt can fork without bound",
		"devices": "an attempt is shown its GPUs by environment variables and can open others; " +
			"only programs that ignore the variables do",
		"freeze": "attempts are stopped by signals",
		"kill":   "attempts are found by their place in the tree of processes",
	}
	for _, c := range m.Capabilities() {
		check := Check{Name: "group: " + c.Name, State: OK}
		switch c.By {
		case "v2", "v1":
			check.Why = "control groups " + c.By + ", tried"
		case "processes":
			check.State, check.Why = Limited, what[c.Name]+" ("+c.Why+")"
		default:
			check.State, check.Why = Missing, what[c.Name]+" ("+c.Why+")"
		}
		if check.State != OK {
			switch {
			case c.Name == "devices" && os.Geteuid() != 0:
				check.Fix = "run as root on a machine with control groups of version 1, or trust the programs"
			case c.Name == "devices":
				check.Fix = "trust the programs, or boot with systemd.unified_cgroup_hierarchy=0"
			default:
				check.Fix = "run under systemd with Delegate=yes (systemd-run --user --scope -p Delegate=yes schedlab live serve), or as root"
			}
		}
		out = append(out, check)
	}
	return out
}

func gpus(o device.Options) []Check {
	f, err := device.Open(o)
	if err != nil {
		return []Check{{Name: "GPUs", State: Missing, Why: err.Error(), Fix: "name another driver or set"}}
	}
	defer func() { _ = f.Close() }() // only read
	var out []Check
	for _, t := range f.Tried {
		c := Check{Name: "GPUs: " + t.Driver, State: OK}
		switch {
		case t.Why != "":
			c.State, c.Why = Missing, t.Why
			switch {
			case t.Driver == "nvml" && !device.NVMLBuilt:
				c.Fix = "use a program built with cgo, if this machine has NVIDIA GPUs"
			case t.Driver == "nvml":
				c.Fix = "install the NVIDIA driver, or set $" + device.LibraryEnv + " to its libnvidia-ml.so.1, if this machine has such GPUs"
			case t.Driver == "sysfs":
				c.Fix = "load amdgpu, xe or i915, if this machine has such GPUs"
			}
		default:
			c.Why = fmt.Sprintf("%d %s", t.GPUs, device.ModelOf(f.List()))
			if v := device.VRAMOf(f.List()); v > 0 {
				c.Why += fmt.Sprintf(" of %.0f GiB", float64(v)/(1<<30))
			}
			if t.Version != "" {
				c.Why += ", driver " + t.Version
			}
			if len(t.Notes) > 0 {
				c.State = Limited
			}
		}
		for _, n := range t.Notes {
			c.Why += "; " + n
		}
		out = append(out, c)
	}
	if len(f.List()) == 0 {
		return out
	}
	begin := time.Now()
	samples := f.Sample(nil)
	took := time.Since(begin)
	c := Check{Name: "GPUs: sample", State: OK, Why: fmt.Sprintf("%d GPUs in %v", len(samples), took.Round(time.Microsecond))}
	for i := range samples {
		if s := &samples[i]; s.State != device.OK {
			c.State, c.Fix = Limited, "reset the GPU or reboot"
			c.Why += fmt.Sprintf("; GPU %d: %s", s.Index, s.Why)
		}
	}
	if c.State == OK && !slices.ContainsFunc(samples, func(s device.Sample) bool { return s.Counted }) {
		c.State = Limited
		c.Why += "; the driver tells no processes, so that VRAM is reserved and not watched"
	}
	return append(out, c)
}

func state(o Options) []Check {
	if o.FolderErr != nil {
		return []Check{{Name: "state folder", State: Missing, Why: o.FolderErr.Error(), Fix: "set $" + folders.HomeEnv + " to a folder on a local disk", Stops: true}}
	}
	return []Check{stateFolder(o.Folder.State), socket(o.Folder.Run)}
}

// nearest returns the folder itself or the first above it that is there.
func nearest(path string) string {
	for at := path; ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			return at
		}
	}
}

func stateFolder(path string) Check {
	c := Check{Name: "state folder", State: OK, Why: path}
	at := nearest(path)
	if at != path {
		c.Why += " (to be made)"
	}
	refuse := func(err error) Check {
		c.State, c.Stops, c.Fix = Missing, true, "set $"+folders.HomeEnv+" to a folder that you can write, on a local disk"
		c.Why += ": " + plain(err)
		return c
	}
	kind, free, err := fileSystem(at)
	if err == nil {
		c.Why += fmt.Sprintf(", %s, %.1f GiB free", kind.name, float64(free)/(1<<30))
	}
	median, most, err := syncs(at)
	if err != nil {
		return refuse(err)
	}
	c.Why += fmt.Sprintf(", written and synced in %v (median of %d; slowest %v)", round(median), syncTries, round(most))
	switch {
	case kind.remote:
		c.State, c.Fix = Limited, "set $"+folders.HomeEnv+" to a local disk: the store's locks are not safe on network file systems"
	case kind.memory:
		c.State, c.Fix = Limited, "set $"+folders.HomeEnv+" to a disk: this one loses all jobs when the machine stops"
	case free > 0 && free < 1<<30:
		c.State, c.Fix = Limited, "make room: less than 1 GiB is free"
	case median > 50*time.Millisecond:
		c.State, c.Fix = Limited, "set $"+folders.HomeEnv+" to a faster disk: each accepted job waits for a sync"
	}
	return c
}

const syncTries = 9

// syncs writes and syncs a file in the folder some times, and returns the median and the slowest.
func syncs(folder string) (median, most time.Duration, err error) {
	f, err := os.CreateTemp(folder, ".schedlab-doctor-*")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	page := make([]byte, 4096)
	var took []time.Duration
	for range syncTries {
		begin := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, 0, err
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)-1], nil
}

func round(d time.Duration) time.Duration {
	if d >= 10*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

func socket(folder string) Check {
	c := Check{Name: "socket", State: OK, Why: filepath.Join(folder, folders.SocketFile)}
	at := nearest(folder)
	f, err := os.CreateTemp(at, ".schedlab-doctor-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		c.State, c.Stops, c.Fix = Missing, true, "set $"+folders.HomeEnv+" or $XDG_RUNTIME_DIR to a folder that you can write"
		c.Why += ": " + plain(err)
	}
	return c
}

// plain is an error of the file system without a temporary name.
func plain(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

func sampling() Check {
	c := Check{Name: "node profile", State: OK}
	s, err := node.Open(node.Options{})
	if err != nil {
		return Check{Name: c.Name, State: Missing, Why: err.Error(), Fix: "mount /proc"}
	}
	defer func() { _ = s.Close() }() // only read
	s.Sample(node.Own{})
	begin := time.Now()
	r := s.Sample(node.Own{})
	took := time.Since(begin)
	c.Why = fmt.Sprintf("%g CPUs, %.1f GiB, sampled in %v", r.CPU, float64(r.Mem)/(1<<30), took.Round(time.Microsecond))
	if cpu, mem := cgroup.Own(); cpu > 0 || mem > 0 {
		var of []string
		if cpu > 0 {
			of = append(of, fmt.Sprintf("%g CPUs", cpu))
		}
		if mem > 0 {
			of = append(of, fmt.Sprintf("%.1f GiB", float64(mem)/(1<<30)))
		}
		c.Why += "; its control group has " + strings.Join(of, " and ")
	}
	return c
}
