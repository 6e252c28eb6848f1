package watch

import (
	"math"
	"strings"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui"
	"github.com/schedlab/schedlab/tui/history"
)

// Summary is one look at runs, for programs. Keys of metrics are those of schedlab compare; what has no meaning is null.
type Summary struct {
	Schema string    `json:"schema"`
	Runs   []OneLook `json:"runs"`
}

// OneLook is a run at an instant.
type OneLook struct {
	Mode       string           `json:"mode"`
	Title      string           `json:"title"`
	Policy     string           `json:"policy"`
	Cluster    string           `json:"cluster"`
	Note       string           `json:"note,omitempty"`
	At         float64          `json:"at_s"`
	End        float64          `json:"end_s"` // of what is recorded
	Complete   bool             `json:"complete"`
	Tasks      int              `json:"tasks"` // of the whole workload, as far as it is known
	States     map[string]int32 `json:"states"`
	Held       Held             `json:"held"`
	Metrics    Metrics          `json:"metrics"`
	LowerBound *float64         `json:"lower_bound_s"`
}

// Held is what tasks hold of what the nodes that are up have.
type Held struct {
	Nodes   int32   `json:"nodes_up"`
	GPUs    float64 `json:"gpus"`
	GPUsOf  float64 `json:"gpus_of"`
	Cores   float64 `json:"cores"`
	CoresOf float64 `json:"cores_of"`
	MemGB   float64 `json:"mem_gb"`
	MemGBOf float64 `json:"mem_gb_of"`
}

// Metrics are over what has ended by the instant.
type Metrics struct {
	WaitMean       *float64 `json:"wait_mean_s"`
	WaitP50        *float64 `json:"wait_p50_s"`
	WaitP99        *float64 `json:"wait_p99_s"`
	JobWaitMean    *float64 `json:"job_wait_mean_s"`
	JCTMean        *float64 `json:"jct_mean_s"`
	UtilizationGPU *float64 `json:"utilization_gpu"`
	UtilizationCPU *float64 `json:"utilization_cpu"`
	Throughput     *float64 `json:"throughput_per_min"`
	Makespan       *float64 `json:"makespan_s"`
	Finished       int      `json:"finished"`
	FinishedJobs   int      `json:"finished_jobs"`
	Preemptions    int      `json:"preemptions"`
	Restarts       int      `json:"restarts"`
}

func number(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

// Summarise looks at the runs once.
func Summarise(sources []tui.Source, q history.Query) Summary {
	s := Summary{Schema: "schedlab/tui/v1", Runs: []OneLook{}}
	q.Exact = true // a program cannot see a mark
	for _, src := range sources {
		f, i := src.Look(q), src.Info()
		m, u := &f.Metrics, &f.Use
		x := OneLook{
			Mode: strings.ToLower(i.Mode.String()), Title: i.Title, Policy: i.Policy, Cluster: i.Cluster, Note: i.Note, At: f.At.Seconds(), End: f.End.Seconds(),
			Complete: f.Closed && f.At >= f.End, Tasks: f.Tasks, States: map[string]int32{},
			Held: Held{
				u.Up, float64(u.GPU) / sched.Whole, float64(u.GPUs) / sched.Whole, float64(u.CPU) / 1000, float64(u.CPUs) / 1000,
				float64(u.Mem) / gib, float64(u.Mems) / gib,
			},
			Metrics: Metrics{
				number(m.WaitMean), number(m.WaitP50), number(m.WaitP99), number(m.JobWaitMean), number(m.JCTMean), number(m.Utilization),
				number(m.UtilizationCPU), number(m.Throughput), number(m.Makespan), m.Finished, m.FinishedJobs, m.Preemptions, m.Restarts,
			},
		}
		for p := sched.Blocked; p <= sched.Rejected; p++ {
			x.States[p.String()] = f.Counts[p]
		}
		if i.LowerBound > 0 {
			x.LowerBound = number(i.LowerBound.Seconds())
		}
		s.Runs = append(s.Runs, x)
	}
	return s
}
