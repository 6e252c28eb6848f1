// Package gen makes workloads by seed: arrivals, run times, DAG shapes, GPU demands and periodic task sets from published
// distributions, said in one line of text, and the example that `schedlab compare` runs by default.
//
// Every purpose (arrivals, run times, GPUs, ...) draws from a stream of its own, one number a decision, so that changing one part of a
// description leaves the others' numbers as they were (common random numbers). The same description and seed give the same
// workload on every machine: times are rounded to the microsecond.
package gen

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

// MaxTasks bounds what one description generates.
const MaxTasks = 50_000_000

// Spec describes a workload. Make one with Parse; String prints it so that Parse reads it back.
type Spec struct {
	values [len(fields)]value
}

// value is what a field was set to: one of its choices with its parameters, or a number (choice 0, one parameter).
type value struct {
	set    bool
	choice int
	num    []float64
	mix    []share // of the choice "mix"
}

type share struct{ size, weight float64 }

type unit uint8

const (
	plain   unit = iota // any number
	whole               // an integer
	seconds             // 600, 10m, 1h30m
)

type param struct {
	key      string
	unit     unit
	def      float64
	min, max float64
}

type choice struct {
	name, about string
	params      []param
	free        bool // mix(SIZE=WEIGHT,...)
}

// A field is a key of the description. Without choices it is a number, the parameter of its only choice.
type field struct {
	key, about string
	choices    []choice
}

const (
	fJobs = iota
	fArrival
	fLoad
	fInterval
	fDuration
	fGPUs
	fCPU
	fMem
	fVRAM
	fDAG
	fTenants
	fEstimates
	fDeadlines
	fCritical
	fPeriodic
)

const year = 365 * 24 * 3600.0

var fields = [...]field{
	fJobs: {"jobs", "number of jobs", number(whole, 1000, 1, MaxTasks)},
	fArrival: {"arrival", "when jobs are submitted", []choice{
		{name: "poisson", about: "independent arrivals: exponential gaps"},
		{name: "fixed", about: "equal gaps"},
		{name: "batch", about: "all at time 0"},
		{name: "weibull", about: "independent Weibull gaps; shape < 1 is bursty", params: []param{{"shape", plain, 0.5, 0.1, 100}}},
		{name: "diurnal", about: "Poisson with the rate x (1 + amplitude x cos(2 pi (t - peak) / period))", params: []param{
			{"amplitude", plain, 0.6, 0, 1}, {"period", seconds, 86400, 1, year}, {"peak", seconds, 50400, 0, year},
		}},
		{name: "bursty", about: "two-state Markov-modulated Poisson: bursts take the share of the time, at a rate factor times the calm one", params: []param{
			{"factor", plain, 10, 1, 1e6}, {"share", plain, 0.1, 0.001, 0.999}, {"cycle", seconds, 3600, 1e-3, year},
		}},
	}},
	fLoad:     {"load", "work / (capacity x span of submits) on the cluster given, exactly", number(plain, 0.8, 1e-6, 1e6)},
	fInterval: {"interval", "mean time between jobs, instead of load", number(seconds, 60, 1e-6, year)},
	fDuration: {"duration", "run time of a task", []choice{
		{name: "lognormal", params: []param{{"mean", seconds, 600, 1e-6, year}, {"sigma", plain, 1.5, 0, 10}}, about: "sigma is that of the logarithm"},
		{name: "exponential", params: []param{{"mean", seconds, 600, 1e-6, year}}},
		{name: "hyperexp", params: []param{{"mean", seconds, 600, 1e-6, year}, {"cv2", plain, 4, 1, 1e6}}, about: "two phases of balanced means; cv2 = variance / mean^2"},
		{name: "pareto", params: []param{{"alpha", plain, 1.1, 0.01, 100}, {"min", seconds, 10, 1e-6, year}, {"max", seconds, 86400, 1e-6, year}}, about: "bounded Pareto"},
		{name: "weibull", params: []param{{"mean", seconds, 600, 1e-6, year}, {"shape", plain, 0.5, 0.1, 100}}},
		{name: "uniform", params: []param{{"min", seconds, 60, 0, year}, {"max", seconds, 600, 1e-6, year}}},
		{name: "fixed", params: []param{{"mean", seconds, 600, 1e-6, year}}},
	}},
	fGPUs: {"gpus", "GPUs of a task", []choice{
		{name: "none", about: "CPU tasks"},
		{name: "fixed", params: []param{{"n", whole, 1, 1, 4096}}},
		{name: "philly", about: "shares of the Philly trace (Jeon et al., ATC 2019), measured from its public reduction"},
		{name: "openb", about: "shares of the Alibaba trace of 2023 (Weng et al., ATC 2023), fractions of a GPU included"},
		{name: "mix", free: true, about: "mix(0.5=20,1=60,8=20): sizes and weights"},
	}},
	fCPU:  {"cpu", "CPUs of a task, gang replica by replica", number(plain, 1, 0, 4096)},
	fMem:  {"mem", "GiB of RAM of a task", number(plain, 0, 0, 65536)},
	fVRAM: {"gpu_mem", "GiB of memory on each GPU of a task", number(plain, 0, 0, 4096)},
	fDAG: {"dag", "shape of a job", []choice{
		{name: "none", about: "one task"},
		{name: "chain", params: []param{{"tasks", whole, 5, 1, 1e6}}},
		{name: "forkjoin", params: []param{{"width", whole, 8, 1, 1e6}, {"stages", whole, 1, 1, 1e4}}, about: "a task, width tasks, a task, and again"},
		{name: "layered", params: []param{{"tasks", whole, 12, 1, 1e6}, {"width", whole, 4, 1, 1e5}, {"density", plain, 0.3, 0, 1}}, about: "layers of 1 to 2 x width - 1 tasks; each task comes after at least one of the layer before, and each other one with probability density"},
		{name: "montage", params: []param{{"images", whole, 8, 2, 1e5}}, about: "the astronomy mosaic: project, difference, fit, background, add"},
	}},
	fTenants: {"tenants", "number of tenants, the k-th with weight 1/k", number(whole, 1, 1, 10000)},
	fEstimates: {"estimates", "what policies see of run times", []choice{
		{name: "exact"},
		{name: "lognormal", params: []param{{"sigma", plain, 0.8, 0, 10}}, about: "run time x exp(|z|), z normal with that sigma: never too short"},
	}},
	fDeadlines: {"deadlines", "which jobs have one", []choice{
		{name: "none"},
		{name: "slack", params: []param{{"share", plain, 0.2, 0, 1}, {"min", plain, 1.5, 0.01, 1e6}, {"max", plain, 4, 0.01, 1e6}}, about: "a share of the jobs, at min to max times the job's longest path"},
	}},
	fCritical: {"critical", "share of jobs with criticality 1", number(plain, 0, 0, 1)},
	fPeriodic: {"periodic", "a periodic task set instead of jobs", []choice{
		{name: "uunifast", params: []param{
			{"tasks", whole, 5, 1, 10000}, {"utilization", plain, 0.7, 1e-6, 10000}, {"min", seconds, 0.01, 1e-6, year}, {"max", seconds, 1, 1e-6, year},
		}, about: "utilizations by UUniFast, periods log-uniform from min to max, deadline = period"},
	}},
}

func number(u unit, def, low, high float64) []choice {
	return []choice{{params: []param{{"", u, def, low, high}}}}
}

// Parse reads a description: key=value pairs joined by commas, as in
//
//	jobs=1000,arrival=poisson,load=0.8,duration=lognormal(mean=600,sigma=1.5),gpus=philly,dag=layered(tasks=12,width=4)
//
// What is left out has its default; Help lists everything. Times are seconds, or like 10m.
func Parse(text string) (*Spec, error) {
	s := &Spec{}
	for f := range fields {
		s.values[f] = defaultValue(f, 0)
	}
	parts, err := split(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	for _, part := range parts {
		key, val, ok := strings.Cut(part, "=")
		key, val = strings.TrimSpace(key), strings.TrimSpace(val)
		if !ok {
			return nil, fmt.Errorf("%q is not key=value, as in jobs=1000 (keys: %s)", part, keys())
		}
		f := fieldOf(key)
		if f < 0 {
			return nil, fmt.Errorf("unknown key %q (keys: %s)", key, keys())
		}
		if s.values[f].set {
			return nil, fmt.Errorf("%s is stated twice", key)
		}
		if s.values[f], err = parseValue(f, val); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return s, s.check()
}

// MustParse is Parse for descriptions in programs; it panics on an error.
func MustParse(text string) *Spec {
	s, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return s
}

func fieldOf(key string) int {
	for f := range fields {
		if fields[f].key == key {
			return f
		}
	}
	return -1
}

func keys() string {
	var k []string
	for f := range fields {
		k = append(k, fields[f].key)
	}
	return strings.Join(k, ", ")
}

func defaultValue(f, c int) value {
	v := value{choice: c}
	for _, p := range fields[f].choices[c].params {
		v.num = append(v.num, p.def)
	}
	return v
}

// split splits at commas outside brackets, and drops empty parts at the ends.
func split(text string) ([]string, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var parts []string
	depth, from := 0, 0
	for i := 0; i <= len(text); i++ {
		switch {
		case i == len(text) || text[i] == ',' && depth == 0:
			part := strings.TrimSpace(text[from:i])
			if part == "" {
				return nil, fmt.Errorf("an empty item")
			}
			parts = append(parts, part)
			from = i + 1
		case text[i] == '(':
			depth++
		case text[i] == ')':
			if depth--; depth < 0 {
				return nil, fmt.Errorf("a bracket is closed that was not opened")
			}
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("a bracket is not closed")
	}
	return parts, nil
}

func parseValue(f int, text string) (value, error) {
	fd := &fields[f]
	if fd.choices[0].name == "" {
		p := fd.choices[0].params[0]
		n, err := p.parse(text)
		return value{set: true, num: []float64{n}}, err
	}
	name, args, has := strings.Cut(text, "(")
	name = strings.TrimSpace(name)
	if has {
		if !strings.HasSuffix(args, ")") {
			return value{}, fmt.Errorf("%q: text after the bracket", text)
		}
		args = args[:len(args)-1]
	}
	if f == fGPUs && name == "pai" {
		name = "openb" // the cluster of Alibaba's PAI
	}
	at := -1
	var names []string
	for c := range fd.choices {
		names = append(names, fd.choices[c].name)
		if fd.choices[c].name == name {
			at = c
		}
	}
	if at < 0 {
		return value{}, fmt.Errorf("unknown %q (one of: %s)", name, strings.Join(names, ", "))
	}
	v := defaultValue(f, at)
	v.set = true
	parts, err := split(args)
	if err != nil {
		return v, fmt.Errorf("%q: %w", text, err)
	}
	ch := &fd.choices[at]
	seen := map[string]bool{}
	for _, part := range parts {
		key, val, ok := strings.Cut(part, "=")
		key, val = strings.TrimSpace(key), strings.TrimSpace(val)
		if !ok {
			return v, fmt.Errorf("%q is not name=value", part)
		}
		if seen[key] {
			return v, fmt.Errorf("%s: %s is stated twice", name, key)
		}
		seen[key] = true
		if ch.free {
			if err := v.addShare(key, val); err != nil {
				return v, err
			}
			continue
		}
		i := 0
		for i < len(ch.params) && ch.params[i].key != key {
			i++
		}
		if i == len(ch.params) {
			return v, fmt.Errorf("%s has no parameter %q (%s)", name, key, ch.usage())
		}
		if v.num[i], err = ch.params[i].parse(val); err != nil {
			return v, fmt.Errorf("%s: %s: %w", name, key, err)
		}
	}
	if ch.free {
		if len(v.mix) == 0 {
			return v, fmt.Errorf("mix names no sizes: write mix(1=60,8=40)")
		}
		sort.Slice(v.mix, func(i, j int) bool { return v.mix[i].size < v.mix[j].size })
	}
	return v, nil
}

func (v *value) addShare(key, val string) error {
	size, err := strconv.ParseFloat(key, 64)
	bad := err != nil || !(size >= 0 && size <= 4096) || size > 1 && size != math.Trunc(size) || size > 0 && size < 1 && math.Round(size*1000) != size*1000
	if bad {
		return fmt.Errorf("mix: %q is no number of GPUs (0, a share in steps of 0.001, or whole up to 4096)", key)
	}
	weight, err := strconv.ParseFloat(val, 64)
	if err != nil || !(weight >= 0 && weight <= 1e12) {
		return fmt.Errorf("mix: the weight %q is not a number from 0 to 1e12", val)
	}
	for _, m := range v.mix {
		if m.size == size {
			return fmt.Errorf("mix: %s is stated twice", key)
		}
	}
	v.mix = append(v.mix, share{size, weight})
	return nil
}

func (c *choice) usage() string {
	if len(c.params) == 0 {
		return "it has none"
	}
	var k []string
	for _, p := range c.params {
		k = append(k, p.key+"="+p.print(p.def))
	}
	return c.name + "(" + strings.Join(k, ",") + ")"
}

func (p *param) parse(text string) (float64, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil && p.unit == seconds {
		d, derr := time.ParseDuration(text)
		n, err = d.Seconds(), derr
		if err != nil {
			return 0, fmt.Errorf("%q is not a time (600, 10m, 1h30m)", text)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	if p.unit == whole && n != math.Trunc(n) {
		return 0, fmt.Errorf("%s is not whole", text)
	}
	if !(n >= p.min && n <= p.max) {
		return 0, fmt.Errorf("%s is not from %s to %s", text, p.print(p.min), p.print(p.max))
	}
	return n, nil
}

func (p *param) print(n float64) string { return printNumber(n) }

func printNumber(n float64) string {
	if math.Abs(n) >= 1e-4 && math.Abs(n) < 1e9 {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	return strconv.FormatFloat(n, 'g', -1, 64)
}

// check refuses what does not go together.
func (s *Spec) check() error {
	switch {
	case s.values[fLoad].set && s.values[fInterval].set:
		return fmt.Errorf("load and interval exclude each other")
	case s.is(fArrival, "batch") && (s.values[fLoad].set || s.values[fInterval].set):
		return fmt.Errorf("arrival=batch submits all at once: leave load and interval out")
	}
	for _, f := range []int{fDuration, fPeriodic, fDeadlines} {
		v := &s.values[f]
		low, high := -1.0, -1.0
		for i, p := range fields[f].choices[v.choice].params {
			switch p.key {
			case "min":
				low = v.num[i]
			case "max":
				high = v.num[i]
			}
		}
		if low >= 0 && low > high || low >= 0 && low == high && s.is(f, "pareto") {
			return fmt.Errorf("%s: min must be below max", fields[f].key)
		}
	}
	if v := &s.values[fGPUs]; s.is(fGPUs, "mix") {
		sum := 0.0
		for _, m := range v.mix {
			sum += m.weight
		}
		if sum == 0 {
			return fmt.Errorf("gpus: all weights of the mix are 0")
		}
	}
	if s.values[fPeriodic].set {
		for f := range fields {
			if f != fPeriodic && f != fTenants && s.values[f].set {
				return fmt.Errorf("a periodic task set has no %s: leave it out", fields[f].key)
			}
		}
		if v := &s.values[fPeriodic]; v.num[1] > v.num[0] {
			return fmt.Errorf("periodic: %v tasks cannot have a utilization of %v", v.num[0], v.num[1])
		}
		return nil
	}
	if tasks := s.values[fJobs].num[0] * s.tasksPerJob(); tasks > MaxTasks {
		return fmt.Errorf("%.0f jobs of about %.0f tasks are more than %d tasks", s.values[fJobs].num[0], s.tasksPerJob(), MaxTasks)
	}
	return nil
}

func (s *Spec) is(f int, name string) bool { return fields[f].choices[s.values[f].choice].name == name }

// arg returns a parameter of the field's choice.
func (s *Spec) arg(f int, key string) float64 {
	v := &s.values[f]
	for i, p := range fields[f].choices[v.choice].params {
		if p.key == key {
			return v.num[i]
		}
	}
	panic("gen: no parameter " + key)
}

// String prints what was set, each choice with all its parameters; Parse reads it back.
func (s *Spec) String() string {
	var b strings.Builder
	for f := range fields {
		v := &s.values[f]
		if !v.set {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(fields[f].key)
		b.WriteByte('=')
		ch := &fields[f].choices[v.choice]
		if ch.name == "" {
			b.WriteString(ch.params[0].print(v.num[0]))
			continue
		}
		b.WriteString(ch.name)
		var args []string
		for i, p := range ch.params {
			args = append(args, p.key+"="+p.print(v.num[i]))
		}
		for _, m := range v.mix {
			args = append(args, printNumber(m.size)+"="+printNumber(m.weight))
		}
		if len(args) > 0 {
			b.WriteString("(" + strings.Join(args, ",") + ")")
		}
	}
	return b.String()
}

// Help explains every key, for the command line.
func Help() string {
	var b strings.Builder
	for f := range fields {
		fd := &fields[f]
		if fd.choices[0].name == "" {
			p := &fd.choices[0].params[0]
			fmt.Fprintf(&b, "%-10s %s (default %s)\n", fd.key, fd.about, p.print(p.def))
			continue
		}
		fmt.Fprintf(&b, "%-10s %s\n", fd.key, fd.about)
		for c := range fd.choices {
			ch := &fd.choices[c]
			use := ch.name
			if len(ch.params) > 0 {
				use = ch.usage()
			}
			if ch.about != "" {
				use += ": " + ch.about
			}
			fmt.Fprintf(&b, "             %s\n", use)
		}
	}
	return b.String()
}
