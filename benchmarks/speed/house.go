package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/schedlab/schedlab/policies"
)

// house is where rows are measured: a folder for files, this program and schedlab to run as children, the floors.
type house struct {
	dir      string
	self     string // this program as it is,
	program  string // and compiled as schedlab is
	schedlab string
	floors   *floors
	quick    bool            // shorter floors
	made     map[string]bool // files that are there
	ew, e    []float64       // the floors measured so far
	floored  unit            // the floor that was measured last,
	at       time.Time       // and when
	fifo     fifoRun
}

// fifoRun is the last run of fifo, and when it ended.
type fifoRun struct {
	tasks  int
	userNS float64
	at     time.Time
}

// soon is how long a measurement may be old to stand for this moment.
const soon = 50 * time.Millisecond

// open builds the programs and starts the floors. close takes the folder away again.
func open(quick bool) (h *house, err error) {
	h = &house{quick: quick, made: map[string]bool{}}
	if h.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if h.dir, err = os.MkdirTemp("", "schedlab-speed-"); err != nil {
		return nil, err
	}
	h.schedlab, h.program = filepath.Join(h.dir, "schedlab"), filepath.Join(h.dir, "speed")
	if err = compile(h.schedlab, "cmd/schedlab"); err == nil {
		err = compile(h.program, "benchmarks/speed")
	}
	if err == nil {
		h.floors, err = startFloors(h.self)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(h.dir))
	}
	return h, nil
}

func (h *house) close() error { return errors.Join(h.floors.stop(), os.RemoveAll(h.dir)) }

// floor measures a floor at this moment.
func (h *house) floor(u unit) (float64, error) {
	all := h.measured(u)
	if h.floored == u && time.Since(h.at) < soon {
		return (*all)[len(*all)-1], nil
	}
	n := 2_000_000
	if h.quick {
		n = 500_000
	}
	if u == inE {
		n /= 2
	}
	ns, err := h.floors.measure(string(u), n)
	*all = append(*all, ns)
	h.floored, h.at = u, time.Now()
	return ns, err
}

// measured are the floors measured so far.
func (h *house) measured(u unit) *[]float64 {
	if u == inE {
		return &h.e
	}
	return &h.ew
}

// floorPair is a floor before and after something.
type floorPair struct {
	unit   unit
	mean   float64 // the machine's speed swings, but not so fast
	larger float64
}

// around runs do between two measurements of a floor.
func (h *house) around(u unit, do func() error) (floorPair, error) {
	before, err := h.floor(u)
	if err != nil {
		return floorPair{}, err
	}
	if err := do(); err != nil {
		return floorPair{}, err
	}
	after, err := h.floor(u)
	return floorPair{u, (before + after) / 2, max(before, after)}, err
}

// quiet is by how much the floors around a run may exceed those of the machine's fastest tenth of the time for the run to count. What others do on the same machine
// slows a simulator by more than its floor, which mostly waits, so a ratio that is measured beside them says how busy the machine was. The choice is made by
// the floors alone.
const quiet = 1.1

// quietRuns returns how many of the runs were at quiet times, as far as is known by now.
func (h *house) quietRuns(all []sample) (n int) {
	for _, s := range all {
		floors := slices.Sorted(slices.Values(*h.measured(s.floors.unit)))
		if s.floors.larger <= quiet*floors[len(floors)/10] {
			n++
		}
	}
	return n
}

// counted returns the runs that count: those at quiet times; where these are fewer than wanted, the quietest.
func (h *house) counted(all []sample, wanted int) []sample {
	if all[0].skip != "" {
		return all
	}
	n := min(max(h.quietRuns(all), wanted), len(all))
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b sample) int { return cmp.Compare(a.floors.larger, b.floors.larger) })
	return all[:n]
}

// process is what a child cost.
type process struct {
	user, wall, peakMB float64 // s, s
	told               told
}

// run runs a child to its end on so many processors. What it prints as JSON, if that is asked for, is in told.
func (h *house) run(processors int, listen bool, name string, args ...string) (process, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", processors))
	cmd.Stderr = os.Stderr
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return process{}, fmt.Errorf("%s: %w", cmd, err)
	}
	p := process{wall: time.Since(began).Seconds()}
	p.ended(cmd)
	if listen {
		err = json.Unmarshal(out, &p.told)
	}
	return p, err
}

// ended takes in what a process cost that has come to its end.
func (p *process) ended(cmd *exec.Cmd) {
	p.user, p.peakMB = cmd.ProcessState.UserTime().Seconds(), math.NaN()
	if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		p.peakMB = float64(u.Maxrss) / 1024
		if runtime.GOOS == "darwin" { // bytes there
			p.peakMB /= 1024
		}
	}
}

// child runs this program.
func (h *house) child(what string, n int, args ...string) (process, error) {
	return h.run(1, what != "make", h.program, append([]string{"-child", what, "-tasks", fmt.Sprint(n)}, args...)...)
}

// timed runs this program to simulate, between two floors that are measured right before and right after it does, not before it makes the workload. How long
// that took by the clock is not told.
func (h *house) timed(n int, args ...string) (p process, floors floorPair, err error) {
	cmd := exec.Command(h.program, append([]string{"-child", "simulate", "-paused", "-tasks", fmt.Sprint(n)}, args...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return p, floors, err
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return p, floors, err
	}
	if err := cmd.Start(); err != nil {
		return p, floors, err
	}
	out := bufio.NewReader(pipe)
	if _, err = out.ReadString('\n'); err == nil { // it is ready
		floors, err = h.around(inEw, func() error {
			if _, err := io.WriteString(in, "\n"); err != nil {
				return err
			}
			return json.NewDecoder(out).Decode(&p.told)
		})
	}
	if err := errors.Join(err, in.Close(), cmd.Wait()); err != nil {
		return p, floors, fmt.Errorf("%s: %w", cmd, err)
	}
	p.ended(cmd)
	return p, floors, nil
}

// file returns a trace file of n tasks, made once.
func (h *house) file(format string, named bool, n int) (string, error) {
	path := filepath.Join(h.dir, fmt.Sprintf("%d-%v.%s", n, named, format))
	if h.made[path] {
		return path, nil
	}
	_, err := h.child("make", n, "-file", path, fmt.Sprintf("-named=%v", named))
	h.made[path] = err == nil
	return path, err
}

// sampleOf is what a process of n tasks cost; without floors, its ratio is for the caller to say.
func sampleOf(p process, n int, floors floorPair) sample {
	ns := p.told.UserNS / float64(n)
	return sample{ns: ns, ratio: ns / floors.mean, bytes: p.peakMB * (1 << 20) / float64(n), wall: math.NaN(), floors: floors}
}

func (h *house) simulate(policy, load string, n int) (sample, error) {
	return h.simulateTimes(policy, load, n, 1)
}

// simulateTimes simulates the same workload so many times in one process: a short run alone is shorter than the clock's tick.
func (h *house) simulateTimes(policy, load string, n, times int) (sample, error) {
	if spec, err := policies.Parse(policy); err != nil {
		return nothing(fmt.Sprintf("there is no policy %s", spec.Name)), nil
	}
	p, floors, err := h.timed(n, "-policy", policy, "-load", load, "-times", fmt.Sprint(times))
	return sampleOf(p, n, floors), err
}

// overFifo simulates the same tasks under fifo, the policy and fifo again; the ratio is of what a start costs, for a task that was stopped is started again.
// Few tasks are simulated several times under fifo, whose run is shorter than the clock's tick.
func (h *house) overFifo(policy string, n int) (sample, error) {
	run := func(policy string, times int) (process, error) {
		return h.child("simulate", n, "-policy", policy, "-load", "gpus", "-times", fmt.Sprint(times))
	}
	fifo := func() (float64, error) {
		if h.fifo.tasks != n || time.Since(h.fifo.at) > time.Second { // else only a floor was measured in between
			p, err := run("fifo", max(1, 200_000/n))
			if err != nil {
				return 0, err
			}
			h.fifo = fifoRun{n, p.told.UserNS, time.Now()}
		}
		return h.fifo.userNS, nil
	}
	before, err := fifo()
	if err != nil {
		return sample{}, err
	}
	p, err := run(policy, 1)
	if err != nil {
		return sample{}, err
	}
	h.fifo = fifoRun{}
	after, err := fifo()
	if err != nil {
		return sample{}, err
	}
	s := sampleOf(p, n, floorPair{})
	s.starts = p.told.Starts
	s.ratio = 2 * p.told.UserNS / (before + after) / s.starts
	return s, nil
}

func (h *house) read(format string, named bool, n int) (sample, error) {
	file, err := h.file(format, named, n)
	if err != nil {
		return sample{}, err
	}
	var p process
	floors, err := h.around(inE, func() (err error) {
		p, err = h.child("read", n, "-file", file)
		return err
	})
	return sampleOf(p, n, floors), err
}

const diurnalCluster = "1000x8xV100"

// onTop is `schedlab run` under fifo with a flag that writes a file, over the same without, both less the reading of the trace.
func (h *house) onTop(n int, flag, name string) (sample, error) {
	file, err := h.file("parquet", false, n)
	if err != nil {
		return sample{}, err
	}
	args := []string{"run", file, "--cluster", diurnalCluster, "--policy", "fifo", "-o", "json"}
	reading, err := h.child("read", n, "-file", file)
	if err != nil {
		return sample{}, err
	}
	plain, err := h.run(1, false, h.schedlab, args...)
	if err != nil {
		return sample{}, err
	}
	out := filepath.Join(h.dir, name)
	with, err := h.run(1, false, h.schedlab, append(args, flag, out)...)
	if err != nil {
		return sample{}, err
	}
	after, err := h.run(1, false, h.schedlab, args...)
	if err != nil {
		return sample{}, err
	}
	read := reading.told.UserNS / 1e9
	s := sampleOf(with, n, floorPair{})
	s.ns = (with.user - read) / float64(n) * 1e9
	s.ratio = (with.user - read) / ((plain.user+after.user)/2 - read)
	return s, os.Remove(out)
}

// progress is the share of a run that is spent in the progress bar.
func (h *house) progress(n int) (sample, error) {
	p, err := h.child("simulate", n, "-policy", "fifo", "-load", "gpus", "-progress")
	s := sampleOf(p, n, floorPair{})
	s.ratio = 1 + p.told.ProgressNS/p.told.UserNS
	return s, err
}

// compare is `schedlab compare` of two policies on two cores over the sum of one each.
func (h *house) compare(n int) (sample, error) {
	if runtime.NumCPU() < 2 {
		return nothing("one processor"), nil
	}
	file, err := h.file("parquet", false, n)
	if err != nil {
		return sample{}, err
	}
	of := func(policies string) (process, error) {
		return h.run(2, false, h.schedlab, "compare", file, "--cluster", diurnalCluster, "--policies", policies, "-o", "csv")
	}
	still := idle()
	a, err := of("fifo")
	if err != nil {
		return sample{}, err
	}
	both, err := of("fifo,sjf")
	if err != nil {
		return sample{}, err
	}
	b, err := of("sjf")
	if err != nil {
		return sample{}, err
	}
	s := sampleOf(both, n, floorPair{})
	s.ns = both.user / float64(n) * 1e9
	s.ratio, s.wall = both.user/(a.user+b.user), both.wall/(a.wall+b.wall)
	s.busy = !still || !idle()
	return s, nil
}

// start is the shortest time, of several, until schedlab's first byte of output, in ms.
func (h *house) start(args ...string) (sample, error) {
	best := math.Inf(1)
	for range 15 {
		cmd := exec.Command(h.schedlab, args...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			return sample{}, err
		}
		began := time.Now()
		if err := cmd.Start(); err != nil {
			return sample{}, err
		}
		_, err = out.Read(make([]byte, 1))
		best = min(best, float64(time.Since(began))/1e6)
		_, _ = io.Copy(io.Discard, out)
		if err := errors.Join(err, cmd.Wait()); err != nil {
			return sample{}, fmt.Errorf("%s: %w", cmd, err)
		}
	}
	s := nothing("")
	s.ratio = best
	return s, nil
}

// swf is `schedlab run` on a batch log against a bare loop in C++ that does the least the same can cost: whole processes, parsing included.
func (h *house) swf(policy, algorithm string, n int) (sample, error) {
	const source = "benchmarks/cxxfloor/floor.cc"
	root, err := moduleRoot()
	if err != nil {
		return sample{}, err
	}
	bare := filepath.Join(h.dir, "floor")
	if !h.made[bare] {
		if _, err := buildCXXFloor(filepath.Join(root, filepath.FromSlash(source)), h.dir); err != nil {
			return nothing(err.Error()), nil
		}
		h.made[bare] = true
	}
	log, err := h.file("swf", false, n)
	if err != nil {
		return sample{}, err
	}
	before, err := h.run(1, false, bare, algorithm, log, fmt.Sprint(swfProcs))
	if err != nil {
		return sample{}, err
	}
	p, err := h.run(1, false, h.schedlab, "run", log, "--policy", policy, "-o", "json")
	if err != nil {
		return sample{}, err
	}
	after, err := h.run(1, false, bare, algorithm, log, fmt.Sprint(swfProcs))
	if err != nil {
		return sample{}, err
	}
	s := sampleOf(p, n, floorPair{})
	s.ns = p.user / float64(n) * 1e9
	s.ratio = p.user / ((before.user + after.user) / 2)
	return s, nil
}
