package sim

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Failures says what breaks by itself, at random; nil is nothing. Times are exponential unless a shape says otherwise: with shape k they are Weibull, of
// density k/s (x/s)^(k-1) e^-(x/s)^k and mean s Gamma(1+1/k), where what fails is more likely to fail again soon for k < 1 (Schroeder & Gibson, "A
// large-scale study of failures in high-performance computing systems", IEEE TDSC 7(4), 2010, section 5: k of 0.7 to 0.8 between failures of a
// node). Every node has its own stream of random numbers and lives as new after each repair, whatever runs on it: with one seed the nodes fail at
// the same times under every policy. The first life of a node begins with the first submission.
type Failures struct {
	MTBF   time.Duration `yaml:"mtbf,omitempty"`   // mean time that a node is up; 0: nodes do not fail
	Scale  time.Duration `yaml:"scale,omitempty"`  // instead of MTBF: the scale of the Weibull distribution
	Shape  float64       `yaml:"shape,omitempty"`  // of the time that a node is up; 0 is 1, exponential
	Repair time.Duration `yaml:"repair,omitempty"` // time that a node is down
	// RepairShape makes Repair the mean of a Weibull distribution; 0: every repair takes as long.
	RepairShape float64 `yaml:"repair_shape,omitempty"`

	TaskMTBF  time.Duration `yaml:"task_mtbf,omitempty"`  // mean time that an attempt holds its room before it fails by itself; 0: none does
	TaskScale time.Duration `yaml:"task_scale,omitempty"` // instead of TaskMTBF
	TaskShape float64       `yaml:"task_shape,omitempty"`
	Retries   int32         `yaml:"retries,omitempty"` // of every task; 0: what the trace says. The loss of a node costs none

	StorageMTBF   time.Duration `yaml:"storage_mtbf,omitempty"`   // mean time that the storage of checkpoints is up, exponential; 0: always
	StorageRepair time.Duration `yaml:"storage_repair,omitempty"` // mean time that it is down, exponential

	Trace string `yaml:"trace,omitempty"` // a file of failures, see ReadFaults; Run does not open it: its content is Config.Faults
}

// Checkpoint says how running tasks save their work; nil: they do not, and what an attempt has done is lost where it fails or its node is lost, and kept
// where it is preempted (or lost, with Config.Restart).
//
// A checkpoint is taken when an attempt has worked for Every since its last one, and not at its end. It holds the attempt up for Cost. Every attempt
// but the first holds its room for Restart before it works: it reads its last checkpoint, or begins again. Only what was saved is kept.
type Checkpoint struct {
	Every   Interval      `yaml:"every,omitempty"`   // "" is 5s
	Cost    time.Duration `yaml:"cost,omitempty"`    // of a checkpoint
	Restart time.Duration `yaml:"restart,omitempty"` // of each attempt but the first
	MTBF    time.Duration `yaml:"mtbf,omitempty"`    // of one node, for young and daly; 0: what the Failures say
	Stop    string        `yaml:"stop,omitempty"`    // "save" (or ""): a task that is preempted saves its work first; "lose": it stops at once
	// Outage says what a checkpoint does while the storage is down: "fail" (or ""): it holds the task up and saves nothing; "wait": it holds
	// the task up until the storage is back.
	Outage string `yaml:"outage,omitempty"`
}

// Interval is the time between two checkpoints: a duration, "young" or "daly" (the optimum for the failure rate of an attempt: that of its nodes
// together and its own; see sched.YoungInterval and sched.CheckpointInterval), or "never" (only when it is preempted).
type Interval string

// DefaultInterval is the time between two checkpoints where nothing else is said.
const DefaultInterval = 5 * time.Second

const (
	young = "young"
	daly  = "daly"
	never = "never"
)

// Setup returns what an attempt takes before its work gets on, where the task was preempted before. Where a stop loses what is not saved, the first
// checkpoint belongs to it, and where nothing is saved, the longest run.
func (c *Config) Setup() time.Duration {
	d, p := c.Overhead, c.Checkpoint
	if p != nil {
		d += p.Restart
	}
	switch {
	case p != nil && p.Stop == "lose" && p.Every != never:
		d += p.onOneNode(c.Failures) + p.Cost
	case p != nil && p.Stop == "lose" || c.Restart:
		d += c.longest()
	}
	return d
}

// longest returns the longest run of a task by its estimate, on the node on which it takes longest.
func (c *Config) longest() (d time.Duration) {
	type kind struct {
		name, gpu string
		speed     int64
	}
	tb, seen := c.Table(), map[kind]bool{}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		k := kind{gpu: n.GPUType, speed: n.SpeedMilli}
		if len(tb.EstimateOn) > 0 {
			k.name = n.Name
		}
		if seen[k] {
			continue
		}
		seen[k] = true
		for t := range tb.Tasks {
			d = max(d, sched.EstimateOn(tb, sched.TaskID(t), n))
		}
	}
	return d
}

// onOneNode returns the time between checkpoints of an attempt on one node, on more of which it is shorter; 0 if there are none.
func (c *Checkpoint) onOneNode(f *Failures) time.Duration {
	every, _, node, own := c.For(f)
	rate := 0.0
	for _, mtbf := range [2]time.Duration{node, own} {
		if mtbf > 0 {
			rate += 1 / float64(mtbf)
		}
	}
	if every == 0 {
		every = c.optimum(rate)
	}
	return every
}

// optimum returns the time between checkpoints by the rule, where failures come at a rate a ns; 0 if there are none.
func (c *Checkpoint) optimum(rate float64) time.Duration {
	if c.Every == never || rate <= 0 {
		return 0
	}
	mtbf := time.Duration(min(1/rate, math.MaxInt64/4))
	if c.Every == young {
		return max(sched.YoungInterval(c.Cost, mtbf), 1)
	}
	return max(sched.CheckpointInterval(c.Cost, mtbf), 1)
}

// fixed returns the duration that it says, 0 if it is another rule.
func (i Interval) fixed() (time.Duration, error) {
	switch i {
	case "":
		return DefaultInterval, nil
	case young, daly, never:
		return 0, nil
	}
	d, err := time.ParseDuration(string(i))
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("every must be a duration above 0, young, daly or never, not %q", string(i))
	}
	return d, nil
}

// maxDelay bounds the times that are paid again and again in a run: of more, few would be beyond the end of time, 292 years.
const maxDelay = 365 * 24 * time.Hour

// delay is such a time, by its name.
type delay struct {
	name string
	d    time.Duration
}

// checkDelays reports the first that is negative or too long.
func checkDelays(delays ...delay) error {
	for _, x := range delays {
		switch {
		case x.d < 0:
			return fmt.Errorf("%s must not be negative", x.name)
		case x.d > maxDelay:
			return fmt.Errorf("%s must be at most %s, a year, not %s", x.name, sched.ShortDuration(maxDelay), sched.ShortDuration(x.d))
		}
	}
	return nil
}

// Check reports what cannot be.
func (f *Failures) Check() error {
	if f == nil {
		return nil
	}
	err := checkDelays(delay{"failures: repair", f.Repair}, delay{"failures: storage-repair", f.StorageRepair})
	for name, d := range map[string]time.Duration{"mtbf": f.MTBF, "scale": f.Scale, "task-mtbf": f.TaskMTBF, "task-scale": f.TaskScale, "storage-mtbf": f.StorageMTBF} {
		if d < 0 {
			err = fmt.Errorf("failures: %s must not be negative", name)
		}
	}
	for name, k := range map[string]float64{"shape": f.Shape, "repair-shape": f.RepairShape, "task-shape": f.TaskShape} {
		if k != 0 && !(k >= 0.1 && k <= 100) {
			err = fmt.Errorf("failures: %s must be from 0.1 to 100, not %g", name, k)
		}
	}
	switch {
	case err != nil:
		return err
	case *f == (Failures{}):
		return errors.New("failures: nothing fails: give mtbf, scale, task-mtbf, task-scale, storage-mtbf or trace")
	case f.MTBF > 0 && f.Scale > 0 || f.TaskMTBF > 0 && f.TaskScale > 0:
		return errors.New("failures: give a mean (mtbf) or a scale, not both")
	case f.Shape != 0 && f.MTBF == 0 && f.Scale == 0 || f.TaskShape != 0 && f.TaskMTBF == 0 && f.TaskScale == 0:
		return errors.New("failures: a shape without mtbf or scale")
	case (f.Repair != 0 || f.RepairShape != 0) && f.MTBF == 0 && f.Scale == 0:
		return errors.New("failures: repair without mtbf or scale: nothing fails")
	case f.RepairShape != 0 && f.Repair == 0:
		return errors.New("failures: repair-shape without repair")
	case (f.StorageMTBF > 0) != (f.StorageRepair > 0):
		return errors.New("failures: storage-mtbf and storage-repair go together")
	case f.Retries < 0 || f.Retries > 255:
		return errors.New("failures: retries must be from 0 to 255")
	}
	return nil
}

// Random reports whether the seed changes anything.
func (f *Failures) Random() bool {
	return f != nil && (f.MTBF > 0 || f.Scale > 0 || f.TaskMTBF > 0 || f.TaskScale > 0 || f.StorageMTBF > 0)
}

// Check reports what cannot be.
func (c *Checkpoint) Check(f *Failures) error {
	if c == nil {
		return nil
	}
	every, err := c.Every.fixed()
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := checkDelays(delay{"checkpoint: cost", c.Cost}, delay{"checkpoint: restart", c.Restart}); err != nil {
		return err
	}
	switch {
	case every > maxDelay:
		return fmt.Errorf("checkpoint: every must be at most %s, a year, or never, not %s", sched.ShortDuration(maxDelay), c.Every)
	case c.MTBF < 0:
		return errors.New("checkpoint: mtbf must not be negative")
	case c.Stop != "" && c.Stop != "save" && c.Stop != "lose":
		return fmt.Errorf("checkpoint: stop must be save or lose, not %q", c.Stop)
	case c.Outage != "" && c.Outage != "fail" && c.Outage != "wait":
		return fmt.Errorf("checkpoint: outage must be fail or wait, not %q", c.Outage)
	}
	if c.Every == young || c.Every == daly {
		switch {
		case c.Cost == 0:
			return fmt.Errorf("checkpoint: every=%s needs a cost: what costs nothing is best done all the time", c.Every)
		case c.MTBF == 0 && (f == nil || f.MTBF == 0 && f.Scale == 0 && f.TaskMTBF == 0 && f.TaskScale == 0):
			return fmt.Errorf("checkpoint: every=%s needs mtbf, or failures that have one", c.Every)
		}
	}
	return nil
}

// For returns what decides the interval: a fixed one, or the rule with the mean times between failures of a node and of an attempt by itself, 0 if there
// are none.
func (c *Checkpoint) For(f *Failures) (every time.Duration, rule string, node, own time.Duration) {
	every, _ = c.Every.fixed()
	if c.MTBF > 0 {
		return every, string(c.Every), c.MTBF, 0
	}
	if f == nil {
		return every, string(c.Every), 0, 0
	}
	mean := func(l lifetime) time.Duration {
		if l.scale <= 0 {
			return 0
		}
		return time.Duration(min(l.mean(), math.MaxInt64/4))
	}
	return every, string(c.Every), mean(weibull(f.MTBF, f.Scale, f.Shape)), mean(weibull(f.TaskMTBF, f.TaskScale, f.TaskShape))
}

// FailuresUsage, CheckpointUsage and ProfilesUsage say how the texts are written that ParseFailures, ParseCheckpoint and ParseProfiles read.
const (
	FailuresUsage   = "mtbf=720h,repair=10m; also shape, scale, repair-shape, task-mtbf, task-shape, task-scale, retries, storage-mtbf, storage-repair, trace"
	CheckpointUsage = "every=10m,cost=30s,restart=1m; every: a duration, young, daly or never; also mtbf, stop=save|lose, outage=fail|wait"
	ProfilesUsage   = "every=1s,delay=5s,noise=0.1"
)

// ParseFailures reads mtbf=720h,shape=0.7,repair=10m: the fields of Failures by their YAML names, with - or _.
func ParseFailures(text string) (*Failures, error) {
	f := &Failures{}
	if err := parseFields("failures", text, FailuresUsage, f.fields()); err != nil {
		return nil, err
	}
	return f, f.Check()
}

// ParseCheckpoint reads every=10m,cost=30s,restart=1m. What depends on the failures is left for Check.
func ParseCheckpoint(text string) (*Checkpoint, error) {
	c := &Checkpoint{}
	if err := parseFields("checkpoint", text, CheckpointUsage, c.fields()); err != nil {
		return nil, err
	}
	return c, c.Check(&Failures{MTBF: 1})
}

// ParseProfiles reads every=1s,delay=5s,noise=0.1.
func ParseProfiles(text string) (*Profiles, error) {
	p := &Profiles{}
	if err := parseFields("profiles", text, ProfilesUsage, p.fields()); err != nil {
		return nil, err
	}
	return p, p.Check()
}

// String is how ParseFailures reads it.
func (f *Failures) String() string { return printFields(f.fields()) }

// String is how ParseCheckpoint reads it.
func (c *Checkpoint) String() string { return printFields(c.fields()) }

// String is how ParseProfiles reads it.
func (p *Profiles) String() string { return printFields(p.fields()) }

// field is a name and where its value stands.
type field struct {
	name string
	at   any
}

func (f *Failures) fields() []field {
	return []field{
		{"mtbf", &f.MTBF},
		{"scale", &f.Scale},
		{"shape", &f.Shape},
		{"repair", &f.Repair},
		{"repair-shape", &f.RepairShape},
		{"task-mtbf", &f.TaskMTBF},
		{"task-scale", &f.TaskScale},
		{"task-shape", &f.TaskShape},
		{"retries", &f.Retries},
		{"storage-mtbf", &f.StorageMTBF},
		{"storage-repair", &f.StorageRepair},
		{"trace", &f.Trace},
	}
}

func (c *Checkpoint) fields() []field {
	return []field{
		{"every", (*string)(&c.Every)}, {"cost", &c.Cost}, {"restart", &c.Restart}, {"mtbf", &c.MTBF}, {"stop", &c.Stop}, {"outage", &c.Outage},
	}
}

func (p *Profiles) fields() []field {
	return []field{{"every", &p.Every}, {"delay", &p.Delay}, {"noise", &p.Noise}}
}

func parseFields(what, text, usage string, fields []field) error {
	seen := map[string]bool{}
	for _, part := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		name = strings.ReplaceAll(name, "_", "-")
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		switch {
		case !ok:
			return fmt.Errorf("%s must be written %s, not %q", what, usage, text)
		case i < 0:
			return fmt.Errorf("%s: there is no %q; it is written %s", what, name, usage)
		case seen[name]:
			return fmt.Errorf("%s: %s is said twice in %q", what, name, text)
		}
		seen[name] = true
		var err error
		switch at := fields[i].at.(type) {
		case *time.Duration:
			*at, err = time.ParseDuration(value)
		case *float64:
			*at, err = strconv.ParseFloat(value, 64)
		case *int32:
			var n int64
			n, err = strconv.ParseInt(value, 10, 32)
			*at = int32(n)
		case *int64:
			*at, err = strconv.ParseInt(value, 10, 64)
		case *string:
			*at = value
		}
		if err != nil {
			return fmt.Errorf("%s: %s=%s is not %s", what, name, value, cmp.Or(kindOf(fields[i].at), "a text"))
		}
	}
	return nil
}

func kindOf(at any) string {
	switch at.(type) {
	case *time.Duration:
		return "a duration such as 10m"
	case *float64, *int32, *int64:
		return "a number"
	}
	return ""
}

func printFields(fields []field) string {
	var parts []string
	for _, f := range fields {
		switch at := f.at.(type) {
		case *time.Duration:
			if *at != 0 {
				parts = append(parts, f.name+"="+sched.ShortDuration(*at))
			}
		case *float64:
			if *at != 0 {
				parts = append(parts, f.name+"="+strconv.FormatFloat(*at, 'g', -1, 64))
			}
		case *int32:
			if *at != 0 {
				parts = append(parts, f.name+"="+strconv.Itoa(int(*at)))
			}
		case *int64:
			if *at != 0 {
				parts = append(parts, f.name+"="+strconv.FormatInt(*at, 10))
			}
		case *string:
			if *at != "" {
				parts = append(parts, f.name+"="+*at)
			}
		}
	}
	return strings.Join(parts, ",")
}
