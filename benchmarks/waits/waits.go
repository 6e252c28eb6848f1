// Package waits writes who waited for what as a pprof profile, so that `go tool pprof -http=: FILE` shows a flame graph of waiting.
package waits

import (
	"fmt"
	"io"
	"math"
	"time"

	"github.com/google/pprof/profile"
	"github.com/schedlab/schedlab/policies/sched"
)

// Row is how long the tasks of one kind waited for one thing.
type Row struct {
	Cause   sched.Cause
	Blocker string // the task or the resource that they waited for
	Queue   string
	Tenant  string
	Kind    string  // of the job's task
	Wait    float64 // ns, summed over the tasks
	GPUWait float64 // GPU-ns: the wait times the GPUs that the task asks for
	Tasks   int64
}

// FromKernel names the kernel's rows by the table of tasks: a blocking task as job/task (the task alone where it is a job of its own), a
// resource by its name.
func FromKernel(tb *sched.Table, rows []sched.WaitRow) []Row {
	out := make([]Row, len(rows))
	for i, r := range rows {
		class := &tb.Classes[r.Class]
		out[i] = Row{
			Cause: r.Cause, Queue: tb.Queues[class.Queue], Tenant: tb.Tenants[class.Tenant], Kind: tb.Kinds[class.Kind], Wait: r.Wait,
			GPUWait: r.Wait * float64(tb.Demands[class.Demand].GPUTotal()) / sched.Whole, Tasks: r.Count,
		}
		switch {
		case r.Blocker != sched.Nobody:
			job, task := tb.JobName.At(int(tb.Tasks[r.Blocker].Job)), tb.TaskNames.At(int(r.Blocker))
			out[i].Blocker = task
			if job != task {
				out[i].Blocker = job + "/" + task
			}
		case r.Lack != sched.NoResource:
			out[i].Blocker = r.Lack.String()
		}
	}
	return out
}

// Sample types of the profile, in this order. pprof shows the first unless told otherwise (-sample_index=gpu-wait).
const (
	Wait    = "wait"     // nanoseconds
	GPUWait = "gpu-wait" // nanoseconds of one GPU
	Tasks   = "tasks"    // count
)

// Profile builds the profile. Stacks read from the root: cause, blocker, queue, tenant, kind; a level without a name is written as
// "queue: (none)". span is the time that the run covers (0 = unknown).
func Profile(rows []Row, span time.Duration) (*profile.Profile, error) {
	p := &profile.Profile{
		SampleType:        []*profile.ValueType{{Type: Wait, Unit: "nanoseconds"}, {Type: GPUWait, Unit: "nanoseconds"}, {Type: Tasks, Unit: "count"}},
		DefaultSampleType: Wait,
		PeriodType:        &profile.ValueType{Type: Wait, Unit: "nanoseconds"},
		Period:            1,
		DurationNanos:     int64(span),
	}
	// One mapping that claims to be symbolised, so that pprof looks for no binary.
	mapping := &profile.Mapping{ID: 1, Start: 1, Limit: math.MaxUint32, File: "schedlab", HasFunctions: true}
	p.Mapping = []*profile.Mapping{mapping}
	byName := map[string]*profile.Location{}
	location := func(name string) *profile.Location {
		if l := byName[name]; l != nil {
			return l
		}
		id := uint64(len(p.Function) + 1)
		f := &profile.Function{ID: id, Name: name, SystemName: name}
		l := &profile.Location{ID: id, Mapping: mapping, Address: id, Line: []profile.Line{{Function: f}}}
		p.Function, p.Location = append(p.Function, f), append(p.Location, l)
		byName[name] = l
		return l
	}
	level := func(what, name string) *profile.Location {
		if name == "" {
			name = "(none)"
		}
		return location(what + ": " + name)
	}
	for i := range rows {
		r := &rows[i]
		if r.Cause >= sched.NumCauses {
			return nil, fmt.Errorf("wait profile: row %d has the unknown cause %d", i, r.Cause)
		}
		values := [2]int64{}
		for k, v := range [2]float64{r.Wait, r.GPUWait} {
			v = math.Round(v)
			if !(v >= 0) || v >= math.MaxInt64 {
				return nil, fmt.Errorf("wait profile: row %d (%s, %s): a wait of %v ns does not fit", i, r.Cause, r.Blocker, v)
			}
			values[k] = int64(v)
		}
		p.Sample = append(p.Sample, &profile.Sample{
			Location: []*profile.Location{ // the leaf first
				level("kind", r.Kind), level("tenant", r.Tenant), level("queue", r.Queue), level("for", r.Blocker), location(r.Cause.String()),
			},
			Value: []int64{values[0], values[1], r.Tasks},
		})
	}
	if err := p.CheckValid(); err != nil {
		return nil, fmt.Errorf("wait profile: %w", err)
	}
	return p, nil
}

// Write writes the rows as a gzipped profile.proto.
func Write(w io.Writer, rows []Row, span time.Duration) error {
	p, err := Profile(rows, span)
	if err != nil {
		return err
	}
	return p.Write(w)
}
