package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/benchmarks/report"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/graph"
	"github.com/schedlab/schedlab/traces/metrics"
)

// asked is what a child is to do.
type asked struct {
	policy, load, file string
	cpuprofile         string // where a CPU profile of what is measured goes
	tasks, times       int
	named, progress    bool
	paused             bool // say when the workload is there, and go on when told to
}

// told is what a child reports, as JSON.
type told struct {
	UserNS      float64 // of what is measured, once
	BuildNS     float64 // of making the workload
	ProgressNS  float64 // spent in the progress bar, of wall time
	Utilization float64
	WaitMeanS   float64
	Starts      float64 // a task, those again after a preemption counted
}

func userNS() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano())
}

// simulate runs one policy on a workload as `schedlab run` does, all metrics and the lower bound included.
func (a *asked) simulate() (told, error) {
	l, ok := loads[a.load]
	if !ok {
		return told{}, fmt.Errorf("unknown load %q", a.load)
	}
	nodes, err := cluster.Parse(l.nodes)
	if err != nil {
		return told{}, err
	}
	began := userNS()
	w := l.make(a.tasks)
	spec, err := policies.Parse(a.policy)
	if err != nil {
		return told{}, err
	}
	var m told
	m.BuildNS = userNS() - began
	if a.paused {
		fmt.Println("ready")
		if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
			return told{}, err
		}
	}
	m.UserNS, err = a.measured(func() error {
		return a.once(w, spec, experiment.Options{Nodes: nodes, Estimates: experiment.Estimates{Kind: "trace"}}, &m)
	})
	return m, err
}

// measured does something as often as asked and returns what once took, in ns of user CPU. For a profile it is done until there is enough to see.
func (a *asked) measured(do func() error) (ns float64, err error) {
	var b bytes.Buffer
	if a.cpuprofile != "" {
		if err := pprof.StartCPUProfile(&b); err != nil {
			return 0, err
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, os.WriteFile(a.cpuprofile, b.Bytes(), 0o666))
		}()
	}
	before, n := userNS(), 0
	for n < max(a.times, 1) || a.cpuprofile != "" && userNS()-before < profiledFor {
		if err := do(); err != nil {
			return 0, err
		}
		n++
	}
	return (userNS() - before) / float64(n), nil
}

func (a *asked) once(w *traces.Workload, spec policies.Spec, o experiment.Options, m *told) error {
	c, err := o.Config(w, spec, 1)
	if err != nil {
		return err
	}
	c.FragMix = metrics.NewFragMix(w.Table)
	if a.progress { // the real bar, on a terminal that shows nothing
		bar := report.NewBar(io.Discard)
		c.Progress = func(done, total int) {
			at := time.Now()
			bar.At(float64(done), float64(total))
			m.ProgressNS += float64(time.Since(at))
		}
	}
	res, err := sim.Run(context.Background(), c)
	if err != nil {
		return err
	}
	if res.Unfinished > 0 {
		return fmt.Errorf("%s left %d tasks unfinished", spec, res.Unfinished)
	}
	bound, err := graph.LowerBound(w.Table, w.Run, w.RunOn, c.Nodes)
	if err != nil {
		return err
	}
	r := experiment.Measure(c, res, experiment.WarmUp{}, &bound)
	m.WaitMeanS, m.Utilization = r.WaitMean, r.UtilizationGPU
	m.Starts = 1 + float64(r.Preemptions)/float64(len(w.Tasks))
	if math.IsNaN(m.Utilization) {
		m.Utilization = r.UtilizationCPU
	}
	return nil
}

// read reads a trace of so many rows.
func (a *asked) read() (told, error) {
	var w *traces.Workload
	ns, err := a.measured(func() (err error) {
		w, err = traces.Open(a.file, "")
		return err
	})
	if err == nil && w.Len() != a.tasks {
		err = fmt.Errorf("%s: %d rows read, not %d", a.file, w.Len(), a.tasks)
	}
	return told{UserNS: ns}, err
}

// child does what the runner asks of this process.
func (a *asked) child(what string) error {
	var m told
	var err error
	switch what {
	case "floors":
		return serveFloor(os.Stdin, os.Stdout)
	case "make":
		return makers[extension(a.file)](a.file, a.tasks, a.named)
	case "simulate":
		m, err = a.simulate()
	case "read":
		m, err = a.read()
	default:
		err = fmt.Errorf("unknown child %q", what)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}
