package sim

import (
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// Memory is the model of tasks that use another amount of memory than they ask for (S12). A task's peak is what the trace says (mem_used_gb,
// gpu_mem_used_gb), else, of what it asks for, a share that is drawn once a task from a lognormal distribution with the median Median and the shape
// Sigma, for RAM and VRAM apart; with neither it is what it asks for. What is asked for is the limit, as a control group's or a GPU partition's: an attempt
// whose peak is above it fails, out of memory, when the share Peak of its work is done, and is tried again, from the beginning, as often as
// the task's retries say; the peak is the same then. A task that asks for no RAM (or VRAM) has no limit.
//
// With unified memory, VRAM above the limit lies in RAM and the task runs on, slower. With u the peak, v the VRAM asked for and f = (u - v)/u the
// share of the accesses that go over the bus, each Slowdown times as long as one that does not,
//
//	run time = run x (1 - f + f x Slowdown)
//
// It fails only where RAM cannot hold it: its own peak of RAM and its GPUs' (u - v) above the RAM asked for. This is the two-level
// model of Amdahl's law, for accesses spread evenly; NVIDIA's oversubscription measurements (Sakharnykh, "Improving GPU memory oversubscription
// performance", 2021) lie between Slowdown 3, streamed, and above 100, at random. Estimates stay what they are: policies see neither.
type Memory struct {
	Median   float64 `yaml:"median,omitempty"`   // of the peak, as a share of what is asked for; 0 is 1
	Sigma    float64 `yaml:"sigma,omitempty"`    // shape of the lognormal distribution; 0: all use the median
	Peak     float64 `yaml:"peak,omitempty"`     // share of the work after which the peak comes; 0 is 0.5
	Slowdown float64 `yaml:"slowdown,omitempty"` // with unified memory, at least 1; 0: VRAM does not spill
}

// Check reports what cannot be.
func (m *Memory) Check() error {
	switch {
	case m == nil:
		return nil
	case !(m.Median >= 0 && m.Median <= 1000):
		return errors.New("memory: median must be a share from 0 to 1000 of what is asked for")
	case !(m.Sigma >= 0 && m.Sigma <= 10):
		return errors.New("memory: sigma must be from 0 to 10")
	case !(m.Peak >= 0 && m.Peak <= 1):
		return errors.New("memory: peak must be from 0 to 1")
	case m.Slowdown != 0 && !(m.Slowdown >= 1 && m.Slowdown <= 1e6):
		return errors.New("memory: slowdown must be 0 or at least 1")
	}
	return nil
}

// MemoryUsage says how the text is written that ParseMemory reads.
const MemoryUsage = "median=0.8,sigma=0.2,peak=0.5,slowdown=4"

// ParseMemory reads median=0.8,sigma=0.2.
func ParseMemory(text string) (*Memory, error) {
	m := &Memory{}
	if err := parseFields("memory", text, MemoryUsage, m.fields()); err != nil {
		return nil, err
	}
	return m, m.Check()
}

// String is how ParseMemory reads it.
func (m *Memory) String() string { return printFields(m.fields()) }

func (m *Memory) fields() []field {
	return []field{{"median", &m.Median}, {"sigma", &m.Sigma}, {"peak", &m.Peak}, {"slowdown", &m.Slowdown}}
}

// Use returns the true peak of a task's replica.
func (m *Memory) Use(w *traces.Workload, t sched.TaskID, seed uint64) traces.Used {
	need := w.DemandOf(t).Need
	used := traces.Used{Mem: need.Mem, VRAM: need.VRAM}
	if m.Median > 0 || m.Sigma > 0 {
		median := m.Median
		if median == 0 {
			median = 1
		}
		rng := rand.New(rand.NewPCG(seed^0x6d656d6f7279, uint64(t))) // a stream of the task's own: the same under every policy
		draw := func(asked int64) int64 {
			return int64(math.Min(math.Round(float64(asked)*median*math.Exp(m.Sigma*rng.NormFloat64())), 1<<62))
		}
		used.Mem, used.VRAM = draw(need.Mem), draw(need.VRAM)
	}
	if x, ok := w.Used[t]; ok {
		if x.Mem > 0 {
			used.Mem = x.Mem
		}
		if x.VRAM > 0 {
			used.VRAM = x.VRAM
		}
	}
	return used
}

// Fate returns what becomes of a task: whether its attempts run out of memory, and by how much its run is longer.
func (m *Memory) Fate(w *traces.Workload, t sched.TaskID, seed uint64) (oom bool, slower float64) {
	need, used := w.DemandOf(t).Need, m.Use(w, t, seed)
	slower = 1
	if need.VRAM > 0 && used.VRAM > need.VRAM {
		if m.Slowdown == 0 {
			return true, 1
		}
		spilled := used.VRAM - need.VRAM
		f := float64(spilled) / float64(used.VRAM)
		slower = 1 - f + f*m.Slowdown
		if used.Mem > math.MaxInt64/2-spilled*int64(need.GPUs) {
			return true, 1
		}
		used.Mem += spilled * int64(need.GPUs)
	}
	if need.Mem > 0 && used.Mem > need.Mem {
		return true, 1
	}
	return false, slower
}

// apply returns which tasks run out of memory (nil: none), and the workload with the run times of those that spill.
func (m *Memory) apply(w *traces.Workload, seed uint64) (*traces.Workload, []bool) {
	var ooms []bool
	out := w
	for i := range w.Tasks {
		t := sched.TaskID(i)
		oom, slower := m.Fate(w, t, seed)
		if oom {
			if ooms == nil {
				ooms = make([]bool, len(w.Tasks))
			}
			ooms[i] = true
		}
		if slower == 1 {
			continue
		}
		if out == w {
			c := *w
			out = &c
			out.Run = append([]time.Duration(nil), w.Run...)
			if w.RunOn != nil {
				out.RunOn = make(map[sched.TaskID][]sched.CostOn, len(w.RunOn))
				for t, on := range w.RunOn {
					out.RunOn[t] = append([]sched.CostOn(nil), on...)
				}
			}
		}
		out.Run[i] = stretch(w.Run[i], slower)
		for j := range out.RunOn[t] {
			out.RunOn[t][j].Run = stretch(out.RunOn[t][j].Run, slower)
		}
	}
	return out, ooms
}

func stretch(d time.Duration, by float64) time.Duration {
	return time.Duration(math.Min(math.Round(float64(d)*by), math.MaxInt64/4))
}

// Truth returns the workload with the run times that its tasks really have: those that spill are longer.
func (c *Config) Truth() *traces.Workload {
	if c.Memory == nil {
		return c.Workload
	}
	w, _ := c.Memory.apply(c.Workload, c.Seed)
	return w
}

// peak returns the share of the work after which the peak comes.
func (m *Memory) peak() float64 {
	if m.Peak == 0 {
		return 0.5
	}
	return m.Peak
}
