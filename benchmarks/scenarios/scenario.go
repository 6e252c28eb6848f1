// Package scenarios reads scenario files: a cluster, a workload and what happens to them, in YAML, so that an experiment is one name. Those that
// come with schedlab are embedded; `schedlab scenario list|show|run`.
//
// A file (see Scenario for the fields; sizes in GB of 2^30 bytes, times as durations such as 30s):
//
//	version: 1
//	name: two-types
//	about: What it shows.
//	cluster: 1x(8xV100)+1x(4xP100)   # a shorthand or a file, or nodes: [...] as in a cluster file
//	workload:                        # one of: mix, gen, trace (a file); nothing: the built-in example, or the TRACE of the command line
//	  gen: jobs=200,gpus=philly
//	policies: [fifo, critical-path]
//	seeds: 1-5
//	simulation:                      # the models, each off where it is not said
//	  failures: {mtbf: 100h, repair: 10m}
//	  checkpoint: {every: daly, cost: 30s, restart: 1m}
//
// A file that it names, also in a policy's parameter, lies beside it or where the command runs. Fields that are not known are refused with the file
// and the line.
package scenarios

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/schedlab/schedlab/benchmarks/experiment"
	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/gen"
	"github.com/schedlab/schedlab/traces/mismatch"
)

//go:embed *.yaml
var files embed.FS

// Version is the version of the format that is read.
const Version = 1

// Scenario is what a file says.
type Scenario struct {
	Version    int        `yaml:"version"`
	Name       string     `yaml:"name"`
	About      string     `yaml:"about"`             // what it shows, and where its numbers come from
	Cluster    string     `yaml:"cluster,omitempty"` // a shorthand or a file, as --cluster takes it
	NodeList   yaml.Node  `yaml:"nodes,omitempty"`   // or the nodes, as in a cluster file
	Workload   Workload   `yaml:"workload,omitempty"`
	Policies   []string   `yaml:"policies,omitempty"` // default: those of compare
	Seeds      string     `yaml:"seeds,omitempty"`    // N or a-b
	Estimates  string     `yaml:"estimates,omitempty"`
	Simulation Simulation `yaml:"simulation,omitempty"`

	Nodes  []sched.NodeSpec `yaml:"-"` // of the cluster; nil: what the trace names
	Source string           `yaml:"-"` // the file's name
	Text   []byte           `yaml:"-"` // as it was read
}

// Workload is one of its fields, or nothing.
type Workload struct {
	Mix   *gen.Mix `yaml:"mix,omitempty"`   // DAG jobs of several kinds of task, see gen.Mix
	Gen   string   `yaml:"gen,omitempty"`   // as behind gen: on the command line
	Trace string   `yaml:"trace,omitempty"` // a file
}

// Simulation are the simulator's settings and models, as in experiment.Settings.
type Simulation struct {
	KillAtEstimate bool            `yaml:"kill_at_estimate,omitempty"`
	Restart        bool            `yaml:"restart,omitempty"`
	Overhead       time.Duration   `yaml:"overhead,omitempty"`
	Horizon        time.Duration   `yaml:"horizon,omitempty"`
	Failures       *sim.Failures   `yaml:"failures,omitempty"`
	Checkpoint     *sim.Checkpoint `yaml:"checkpoint,omitempty"`
	Profiles       *sim.Profiles   `yaml:"profiles,omitempty"`
	Window         *sim.Window     `yaml:"window,omitempty"`
	Memory         *sim.Memory     `yaml:"memory,omitempty"`
	Tenants        *sim.Tenants    `yaml:"tenants,omitempty"`
	Elastic        *sim.Elastic    `yaml:"elastic,omitempty"`
	Staging        *sim.Staging    `yaml:"staging,omitempty"`
	NodePrice      float64         `yaml:"node_price,omitempty"`
}

// Names returns the scenarios that come with schedlab.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // they are embedded
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}

// ErrUnknown is the error of a name that is neither that of a scenario nor of a file.
var ErrUnknown = errors.New("no scenario")

// Open reads the scenario of that name, or of that file.
func Open(name string) (*Scenario, error) {
	if text, err := files.ReadFile(name + ".yaml"); err == nil {
		return Read(bytes.NewReader(text), name+".yaml")
	}
	f, err := traces.OpenFile(name)
	if errors.Is(err, os.ErrNotExist) && path.Ext(name) == "" && !strings.ContainsAny(name, `/\`) {
		return nil, fmt.Errorf("%w %q; there are %s, or a file", ErrUnknown, name, strings.Join(Names(), ", "))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, name)
}

// findFiles has the files that the scenario names found in its folder.
func (s *Scenario) findFiles() {
	s.Cluster, s.Workload.Trace = s.beside(s.Cluster), s.beside(s.Workload.Trace)
	if f := s.Simulation.Failures; f != nil {
		f.Trace = s.beside(f.Trace)
	}
	for i, list := range s.Policies {
		parts := policies.Split(list)
		for j, text := range parts {
			if p, err := policies.Parse(text); err == nil { // who runs it says what is wrong with it
				was := p.String()
				if p.MapFiles(s.beside); p.String() != was {
					parts[j] = p.String()
				}
			}
		}
		s.Policies[i] = strings.Join(parts, ",")
	}
}

// beside returns the name of a file in the scenario's folder, where it is there; else it is looked for where the command runs.
func (s *Scenario) beside(file string) string {
	at := filepath.Join(filepath.Dir(s.Source), file)
	if _, err := os.Stat(at); err == nil && file != "" && file != "-" && !filepath.IsAbs(file) {
		return at
	}
	return file
}

// maxBytes bounds a scenario file.
const maxBytes = 1 << 20

// Read reads a scenario. Errors name the file and the line; what it names lies in the folder of name, or where the command runs.
func Read(r io.Reader, name string) (*Scenario, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxBytes {
		return nil, fmt.Errorf("%s: a scenario is at most 1 MiB", name)
	}
	s := &Scenario{Source: name, Text: text}
	if err := mismatch.ReadYAML(text, name, s); err == io.EOF {
		return nil, fmt.Errorf("%s: the file is empty", name)
	} else if err != nil {
		return nil, err
	}
	if s.Version != Version {
		return nil, fmt.Errorf("%s: version must be %d, not %d", name, Version, s.Version)
	}
	if s.Name == "" {
		return nil, fmt.Errorf("%s: a scenario needs a name", name)
	}
	s.findFiles()
	switch {
	case s.NodeList.Kind != 0 && s.Cluster != "":
		return nil, fmt.Errorf("%s:%d: give cluster or nodes, not both", name, s.NodeList.Line)
	case s.NodeList.Kind != 0:
		if s.Nodes, err = cluster.FromYAML(&s.NodeList, name); err != nil {
			return nil, err
		}
	case s.Cluster != "":
		if s.Nodes, err = cluster.Parse(s.Cluster); err != nil {
			return nil, fmt.Errorf("%s: cluster: %w", name, err)
		}
	}
	w, given := &s.Workload, 0
	for _, is := range []bool{w.Mix != nil, w.Gen != "", w.Trace != ""} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return nil, fmt.Errorf("%s: a workload is one of mix, gen and trace", name)
	case w.Mix != nil:
		if err := w.Mix.Check(); err != nil {
			return nil, fmt.Errorf("%s: mix: %w", name, err)
		}
	case w.Gen != "":
		if _, err := gen.Parse(w.Gen); err != nil {
			return nil, fmt.Errorf("%s: gen: %w", name, err)
		}
	}
	if s.Estimates != "" {
		if _, err := experiment.ParseEstimates(s.Estimates); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if m := &s.Simulation; m.Overhead < 0 || m.Horizon < 0 {
		return nil, fmt.Errorf("%s: overhead and horizon must not be negative", name)
	} else if !(m.NodePrice >= 0) || math.IsInf(m.NodePrice, 0) {
		return nil, fmt.Errorf("%s: node_price must be a number from 0 on, not %v", name, m.NodePrice)
	}
	var set experiment.Settings
	s.Simulation.Into(&set)
	if err := set.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// Into writes the settings into those of an experiment, where they say nothing yet.
func (m *Simulation) Into(o *experiment.Settings) {
	o.KillAtEstimate, o.Restart = o.KillAtEstimate || m.KillAtEstimate, o.Restart || m.Restart
	if o.Overhead == 0 {
		o.Overhead = m.Overhead
	}
	if o.Horizon == 0 {
		o.Horizon = m.Horizon
	}
	if o.NodePrice == 0 {
		o.NodePrice = m.NodePrice
	}
	or(&o.Failures, m.Failures)
	or(&o.Checkpoint, m.Checkpoint)
	or(&o.Profiles, m.Profiles)
	or(&o.Window, m.Window)
	or(&o.Memory, m.Memory)
	or(&o.Tenants, m.Tenants)
	or(&o.Elastic, m.Elastic)
	or(&o.Staging, m.Staging)
}

func or[T any](p **T, v *T) {
	if *p == nil {
		*p = v
	}
}

// Generated reports whether each seed has a workload of its own.
func (s *Scenario) Generated() bool { return s.Workload.Trace == "" }

// Load makes the workload of a seed, with nodes as its cluster; nil where the scenario names none.
func (s *Scenario) Load(nodes []sched.NodeSpec) func(seed int64) (*traces.Workload, error) {
	switch w := &s.Workload; {
	case w.Mix != nil:
		return func(seed int64) (*traces.Workload, error) { return w.Mix.Generate(uint64(seed), s.Name) }
	case w.Gen != "":
		spec := gen.MustParse(w.Gen)
		return func(seed int64) (*traces.Workload, error) { return spec.Generate(uint64(seed), nodes) }
	case w.Trace != "":
		return func(int64) (*traces.Workload, error) { return traces.Open(w.Trace, "") }
	}
	return nil
}

// Summary is the first sentence of what the scenario is about.
func (s *Scenario) Summary() string {
	text := strings.Join(strings.Fields(s.About), " ")
	if i := strings.Index(text, ". "); i >= 0 {
		text = text[:i+1]
	}
	return text
}

// All returns the scenarios that come with schedlab, by name.
func All() ([]*Scenario, error) {
	var out []*Scenario
	for _, n := range Names() {
		s, err := Open(n)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Scenario) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
