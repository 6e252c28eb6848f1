package gen

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
)

// Mix describes many small DAG jobs of several kinds of task on GPUs of several types, for scenarios. All of it is stratified: each
// seed has the same numbers of tasks by kind and by GPUs, and the same quantiles of work, in another order, so that seeds differ little.
type Mix struct {
	Jobs        int       `yaml:"jobs"`
	TasksPerJob [2]int    `yaml:"tasks_per_job,flow"` // least, most
	Width       int       `yaml:"width"`              // most tasks of a level of a job
	Span        float64   `yaml:"span_s"`             // from the first submit to the last, s
	Sigma       float64   `yaml:"sigma"`              // of the logarithm of the run time
	GPUs        []MixGPUs `yaml:"gpus"`               // how many GPUs tasks ask for
	Kinds       []MixKind `yaml:"kinds"`
	MemGB       float64   `yaml:"mem_gb"` // a GPU, RAM
}

// MixGPUs is a number of GPUs and the share of the tasks that ask for it.
type MixGPUs struct {
	GPUs  int32   `yaml:"gpus"`
	Share float64 `yaml:"share"`
}

// MixKind is a kind of task.
type MixKind struct {
	Name    string             `yaml:"name"`
	Share   float64            `yaml:"share"`
	MeanS   float64            `yaml:"mean_s"`   // on the reference type
	Speeds  map[string]float64 `yaml:"speeds"`   // by GPU type; the reference is 1
	InputGB float64            `yaml:"input_gb"` // of each task, GB of 2^30 bytes
	At      []string           `yaml:"at"`       // nodes on one of which the input lies; none: remote
}

// deck returns n indexes, each as often as its weight says, in random order.
func deck(r *rand.Rand, n int, weights []float64) []int {
	total := 0.0
	for _, w := range weights {
		total += w
	}
	out := make([]int, 0, n)
	sum := 0.0
	for i, w := range weights {
		sum += w
		for len(out) < int(math.Round(float64(n)*sum/total)) {
			out = append(out, i)
		}
	}
	r.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// quantiles returns n standard normal numbers, one of each n-th, in random order.
func quantiles(r *rand.Rand, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		u := (float64(i) + open(r)) / float64(n)
		out[i] = math.Sqrt2 * math.Erfinv(2*u-1)
	}
	r.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// Generate makes the workload of a seed.
func (m *Mix) Generate(seed uint64, source string) (*traces.Workload, error) {
	r := stream(seed, "mix")
	sizes := make([]int, m.Jobs)
	n := 0
	lo, hi := m.TasksPerJob[0], m.TasksPerJob[1]
	even := make([]float64, hi-lo+1)
	for i := range even {
		even[i] = 1
	}
	for j, k := range deck(r, m.Jobs, even) {
		sizes[j] = lo + k
		n += sizes[j]
	}
	// A card a task: its GPUs, its kind and its quantile of the work, one deck of quantiles for each number of GPUs.
	weights := make([]float64, 0, len(m.GPUs)*len(m.Kinds))
	for _, g := range m.GPUs {
		for _, k := range m.Kinds {
			weights = append(weights, g.Share*k.Share)
		}
	}
	cards := deck(r, n, weights)
	decks := make([][]float64, len(m.GPUs))
	for i := range decks {
		count := 0
		for _, c := range cards {
			if c/len(m.Kinds) == i {
				count++
			}
		}
		decks[i] = quantiles(r, count)
	}
	b := traces.NewBuilder(source, "generated")
	i := 0
	for j := range m.Jobs {
		at := 0.0
		if j > 0 {
			at = m.Span * (float64(j) + open(r)) / float64(m.Jobs)
		}
		job := fmt.Sprintf("job-%03d", j+1)
		var level, before []string
		left := sizes[j]
		for left > 0 {
			width := min(1+int(open(r)*float64(m.Width)), left)
			level = level[:0]
			for range width {
				size := cards[i] / len(m.Kinds)
				k, g := &m.Kinds[cards[i]%len(m.Kinds)], m.GPUs[size].GPUs
				run := math.Exp(m.Sigma*decks[size][0] - m.Sigma*m.Sigma/2)
				decks[size] = decks[size][1:]
				row := traces.Row{
					ID: fmt.Sprintf("%s-%d", k.Name, i), Job: job, Kind: k.Name, Submit: sched.Time(microseconds(at)), Run: microseconds(run * k.MeanS),
					Need: sched.Need{GPUs: g, GPUMilli: sched.Whole, Mem: int64(m.MemGB * float64(g) * (1 << 30))}, After: slices.Clone(before),
				}
				if at == 0 {
					row.Submit = 0
				}
				for _, typ := range sortedKeys(k.Speeds) {
					row.SpeedOn = append(row.SpeedOn, sched.SpeedOn{GPUType: typ, Nano: int64(math.Round(k.Speeds[typ] * sched.ReferenceNano))})
				}
				if k.InputGB > 0 {
					row.InputBytes = int64(math.Round(k.InputGB * (1 << 30)))
					if len(k.At) > 0 {
						row.InputAt = k.At[int(open(r)*float64(len(k.At)))]
					}
				}
				row.Estimate = row.Run
				row.Line = b.Len() + 1
				if err := b.Add(&row); err != nil {
					return nil, err
				}
				level = append(level, row.ID)
				i++
			}
			before = append(before[:0], level...)
			left -= width
		}
	}
	w, err := b.Build()
	if err == nil {
		w.Recorded = false
	}
	return w, err
}

func sortedKeys(m map[string]float64) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Check reports what cannot be.
func (m *Mix) Check() error {
	const most = 1_000_000
	switch {
	case m.Jobs < 1 || m.Jobs > most:
		return fmt.Errorf("jobs must be from 1 to %d, not %d", most, m.Jobs)
	case m.TasksPerJob[0] < 1 || m.TasksPerJob[1] < m.TasksPerJob[0] || m.TasksPerJob[1] > 1000:
		return fmt.Errorf("tasks_per_job must be [least, most], from 1 to 1000, not %v", m.TasksPerJob)
	case m.Width < 1:
		return fmt.Errorf("width must be at least 1, not %d", m.Width)
	case !(m.Span >= 0 && m.Span <= 1e9):
		return fmt.Errorf("span_s must be from 0 to 1e9, not %g", m.Span)
	case !(m.Sigma >= 0 && m.Sigma <= 5):
		return fmt.Errorf("sigma must be from 0 to 5, not %g", m.Sigma)
	case !(m.MemGB >= 0 && m.MemGB <= 1e6):
		return fmt.Errorf("mem_gb must be from 0 to 1e6, not %g", m.MemGB)
	case len(m.GPUs) == 0 || len(m.Kinds) == 0:
		return fmt.Errorf("a mix needs gpus and kinds")
	}
	total := 0.0
	for _, g := range m.GPUs {
		if g.GPUs < 1 || g.GPUs > 1024 || !(g.Share >= 0 && g.Share <= 1e6) {
			return fmt.Errorf("gpus: from 1 to 1024, each with a share, not %d of share %g", g.GPUs, g.Share)
		}
		total += g.Share
	}
	kinds := 0.0
	for _, k := range m.Kinds {
		if k.Name == "" || !(k.Share >= 0 && k.Share <= 1e6) || !(k.MeanS > 0 && k.MeanS <= 1e8) || !(k.InputGB >= 0 && k.InputGB <= 1e6) {
			return fmt.Errorf("kinds: each needs a name, a share, mean_s above 0 and input_gb of at least 0 (kind %q)", k.Name)
		}
		for typ, v := range k.Speeds {
			if !(v >= 1e-6 && v <= 1e6) {
				return fmt.Errorf("kind %s: speed on %s must be from 1e-6 to 1e6, not %g", k.Name, typ, v)
			}
		}
		kinds += k.Share
	}
	if !(total > 0) || !(kinds > 0) {
		return fmt.Errorf("the shares of gpus and of kinds must not all be 0")
	}
	return nil
}
