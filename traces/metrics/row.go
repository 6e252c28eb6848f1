// Package metrics turns the outcome of one run into the numbers that schedlab shows: one meaning everywhere, in the simulator, live,
// in tables and in plots.
//
// Compute gives one Row: a policy's run in numbers. WriteTasks gives one CSV line a task. FragMix measures how many free GPUs are of
// no use to the trace's task mix.
package metrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/schedlab/schedlab/policies/sched"
)

// Row is one run in numbers. A number that has no meaning for the run (the utilization of a cluster without GPUs) is NaN, and null in
// JSON. All times are in seconds.
type Row struct {
	WaitMean, WaitP50, WaitP99 float64 // s; ready to end less holding, over the tasks that are done
	ResponseMean               float64 // s; ready to first start
	JobWaitMean                float64 // s; submit to the first start of any task of the job
	JCTMean                    float64 // s; submit to the end of the job's last task
	SlowdownMean               float64 // bounded at 10 s

	UtilizationGPU, UtilizationCPU float64 // 0..1
	Goodput                        float64 // 0..1; of the GPUs where the trace asks for GPUs, of the CPU otherwise
	ThroughputPerMin               float64
	Makespan, LowerBound           float64 // s
	DeadlineMiss                   float64 // 0..1 of the tasks with a deadline
	Fairness                       float64 // Jain's index, 1/tenants..1

	Preemptions, Restarts float64 // counts are whole, but in a mean of runs
	LostWorkGPU           float64 // GPU-seconds
	FragmentationGPUs     float64 // GPUs

	Tasks, Finished           float64 // all tasks of the trace; those that are done
	Failed, Dropped, Rejected float64 // failed for good; cancelled, as the successors of a failed one; refused

	Decisions       float64 // times that the policy was asked
	NodeHours, Cost float64 // h that nodes were on; their price, NaN where an hour has none

	SimWall float64 // s of the simulator's own time

	CauseSeconds [sched.NumCauses]float64 // waiting by cause, task-seconds
}

// Better says which of two values of a metric is the better one.
type Better int8

// The directions of a metric.
const (
	Neither Better = 0
	Less    Better = -1
	More    Better = +1
)

// Metric describes one number of a Row: its name in JSON and CSV, its unit, a short title for people, and the better direction.
type Metric struct {
	Name, Unit, Title string
	Better            Better

	num   func(*Row) *float64
	count bool // 0, and not NaN, where it has no meaning
}

// Of returns the metric's value in r, NaN where it has no meaning.
func (m *Metric) Of(r *Row) float64 {
	return *m.num(r)
}

// Set stores v as the metric's value in r.
func (m *Metric) Set(r *Row, v float64) {
	*m.num(r) = v
}

// Count reports whether the metric is a whole number in a run.
func (m *Metric) Count() bool { return m.count }

// Metrics lists every number of a Row except the causes of waiting, in the order in which tables and files show them.
var Metrics = []Metric{
	{"wait_mean_s", "s", "mean wait", Less, func(r *Row) *float64 { return &r.WaitMean }, false},
	{"wait_p50_s", "s", "median wait", Less, func(r *Row) *float64 { return &r.WaitP50 }, false},
	{"wait_p99_s", "s", "p99 wait", Less, func(r *Row) *float64 { return &r.WaitP99 }, false},
	{"response_mean_s", "s", "response", Less, func(r *Row) *float64 { return &r.ResponseMean }, false},
	{"job_wait_mean_s", "s", "job wait", Less, func(r *Row) *float64 { return &r.JobWaitMean }, false},
	{"jct_mean_s", "s", "jct", Less, func(r *Row) *float64 { return &r.JCTMean }, false},
	{"slowdown_mean", "", "slowdown", Less, func(r *Row) *float64 { return &r.SlowdownMean }, false},
	{"utilization_gpu", "", "gpu util", More, func(r *Row) *float64 { return &r.UtilizationGPU }, false},
	{"utilization_cpu", "", "cpu util", More, func(r *Row) *float64 { return &r.UtilizationCPU }, false},
	{"goodput", "", "goodput", More, func(r *Row) *float64 { return &r.Goodput }, false},
	{"throughput_per_min", "1/min", "tasks/min", More, func(r *Row) *float64 { return &r.ThroughputPerMin }, false},
	{"makespan_s", "s", "makespan", Less, func(r *Row) *float64 { return &r.Makespan }, false},
	{"lower_bound_s", "s", "lower bound", Neither, func(r *Row) *float64 { return &r.LowerBound }, false},
	{"deadline_miss", "", "late", Less, func(r *Row) *float64 { return &r.DeadlineMiss }, false},
	{"fairness", "", "fairness", More, func(r *Row) *float64 { return &r.Fairness }, false},
	{"preemptions", "", "preempted", Neither, func(r *Row) *float64 { return &r.Preemptions }, true},
	{"restarts", "", "restarts", Less, func(r *Row) *float64 { return &r.Restarts }, true},
	{"lost_work_gpu_s", "GPU-s", "lost work", Less, func(r *Row) *float64 { return &r.LostWorkGPU }, false},
	{"fragmentation_gpus", "GPUs", "fragments", Less, func(r *Row) *float64 { return &r.FragmentationGPUs }, false},
	{"tasks", "", "tasks", Neither, func(r *Row) *float64 { return &r.Tasks }, true},
	{"finished", "", "finished", More, func(r *Row) *float64 { return &r.Finished }, true},
	{"failed", "", "failed", Less, func(r *Row) *float64 { return &r.Failed }, true},
	{"dropped", "", "dropped", Less, func(r *Row) *float64 { return &r.Dropped }, true},
	{"rejected", "", "rejected", Neither, func(r *Row) *float64 { return &r.Rejected }, true},
	{"decisions", "", "decisions", Neither, func(r *Row) *float64 { return &r.Decisions }, true},
	{"node_hours", "h", "node hours", Less, func(r *Row) *float64 { return &r.NodeHours }, false},
	{"cost", "", "cost", Less, func(r *Row) *float64 { return &r.Cost }, false},
	{"sim_wall_s", "s", "sim time", Neither, func(r *Row) *float64 { return &r.SimWall }, false},
}

// Lookup returns the metric of that name, nil if there is none.
func Lookup(name string) *Metric {
	for i := range Metrics {
		if Metrics[i].Name == name {
			return &Metrics[i]
		}
	}
	return nil
}

// CausesKey is the JSON key of the object of waiting seconds by cause.
const CausesKey = "wait_causes_s"

// CauseKeys are the keys inside that object, by cause.
var CauseKeys = [sched.NumCauses]string{
	sched.Dependency: "dependency", sched.NoRoom: "no_room", sched.Order: "order", sched.Staging: "staging",
	sched.Preempted: "preempted", sched.FailureDelay: "failure", sched.Window: "window",
}

// AppendNumber appends v as JSON, null where it is not a finite number.
func AppendNumber(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, "null"...)
	}
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.AppendInt(b, int64(v), 10)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// AppendFields appends the row's members as JSON without the braces, so that a caller can add its own.
func (r *Row) AppendFields(b []byte) []byte {
	for i := range Metrics {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, Metrics[i].Name...)
		b = append(b, `":`...)
		b = AppendNumber(b, Metrics[i].Of(r))
	}
	b = append(b, `,"`+CausesKey+`":{`...)
	for c, key := range CauseKeys {
		if c > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, key...)
		b = append(b, `":`...)
		b = AppendNumber(b, r.CauseSeconds[c])
	}
	return append(b, '}')
}

// MarshalJSON writes the row as one object, with null for NaN and the keys always in the same order.
func (r Row) MarshalJSON() ([]byte, error) {
	b := append(make([]byte, 0, 1024), '{')
	return append(r.AppendFields(b), '}'), nil
}

// UnmarshalJSON reads what MarshalJSON writes. A number that is absent or null becomes NaN (0 for a count); other members are ignored.
func (r *Row) UnmarshalJSON(data []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	null := []byte("null")
	number := func(raw json.RawMessage, key string) (float64, error) {
		if raw == nil || bytes.Equal(raw, null) {
			return math.NaN(), nil
		}
		var v float64
		if err := json.Unmarshal(raw, &v); err != nil {
			return 0, fmt.Errorf("%s: %w", key, err)
		}
		return v, nil
	}
	var read Row
	for i := range Metrics {
		m := &Metrics[i]
		v, err := number(members[m.Name], m.Name)
		if err != nil {
			return err
		}
		if m.count && math.IsNaN(v) {
			v = 0
		}
		m.Set(&read, v)
	}
	if raw := members[CausesKey]; raw != nil && !bytes.Equal(raw, null) {
		var causes map[string]json.RawMessage
		if err := json.Unmarshal(raw, &causes); err != nil {
			return fmt.Errorf("%s: %w", CausesKey, err)
		}
		for c, key := range CauseKeys {
			v, err := number(causes[key], key)
			if err != nil {
				return err
			}
			read.CauseSeconds[c] = v
		}
	}
	*r = read
	return nil
}
