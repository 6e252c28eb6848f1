// Package traces reads and writes workloads: recorded traces in the formats of the field, and the project's own CSV and JSON
// lines. A reader turns each record into a Row and gives it to a Builder, which interns, sorts, numbers and links. Every reader
// says what it dropped or mended and why (Workload.Notes), and refuses with file:line what cannot be right.
//
// Units: times in files are seconds unless a format says otherwise, a GB is 2^30 bytes, a CPU is 1000 milli-CPU. Lines (JSON: records)
// are at most 1 MiB, a trace has at most 2^31-1 tasks, and files are read as streams, compressed (gzip, zstd) or not (Parquet, which must
// be read from its end, is first copied to a temporary file where it comes packed or through a pipe).
package traces

import (
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Workload is a trace as loaded: what policies may know (Table) and what only the driver of a simulation may (Run, RunOn).
// It is read-only once built and may be shared.
type Workload struct {
	*sched.Table
	Run   []time.Duration                 // true run time per task on a node of reference speed; hidden from policies
	RunOn map[sched.TaskID][]sched.CostOn // true run time by node name or GPU type, where given; nil if nowhere
	Used  map[sched.TaskID]Used           // true peak of the memory, where given; nil if nowhere
	Input []int32                         // TaskID -> position in the input (0-based, dropped records not counted); nil when they are the same
	Names *sched.Names                    // names for people, per task ("" = none); nil if no task has one. TaskNames are the ids
	Every map[sched.JobID]Recurrence      // recurring jobs; nil if none. Periodic tasks are those of a class with a Period

	Source, Format   string
	Recorded         bool             // a recorded trace; false for a generated one
	Expanded         bool             // periodic tasks and recurring jobs have been turned into releases
	Cluster          []sched.NodeSpec // what the trace itself names (SWF MaxProcs, WfFormat machines, Batsim nb_res); nil if nothing
	Notes            []Note           // what was dropped or mended, and why, in order of first occurrence
	MissingEstimates int              // tasks whose estimate was missing and is the true run time
}

// Used is what a replica really uses of memory at its peak, in bytes; 0 is not known.
type Used struct{ Mem, VRAM int64 }

// Note says what a reader dropped or mended.
type Note struct {
	Reason    string `json:"reason"`
	Count     int    `json:"count"`
	FirstLine int    `json:"first_line"` // first line (or record, where a format has no lines) that it concerns; 0 if none
	Dropped   bool   `json:"dropped"`    // the records are not in the workload; otherwise they are, mended
}

// Recurrence says when a job recurs after its first release, its submit: every Every, or at the times of a cron line.
type Recurrence struct {
	Every time.Duration // 0 if Cron is set
	Cron  string        // five fields, read with time 0 of the trace's axis as Thursday 1970-01-01 00:00 UTC
}

// Len returns the number of tasks.
func (w *Workload) Len() int { return len(w.Tasks) }

// Row is one task as a reader sees it.
type Row struct {
	ID                  string // unique in its job; "" = the 1-based number of the record
	Job                 string // "" = a job of its own, of the same name
	Name                string // for people; "" = none
	Kind, Tenant, Queue string

	Submit   sched.Time
	Run      time.Duration // true run time at reference speed
	Estimate time.Duration // negative, or 0 with a positive Run = missing: then Run, and counted

	Need        sched.Need      // GPUs without GPUMilli are whole; neither CPU nor GPUs = 1 CPU
	Gang        int32           // 0 = 1
	SpeedOn     []sched.SpeedOn // throughput table of its kind: one for all rows that say the same
	GPUTypes    []string
	Labels      []sched.Label
	NotLabels   []sched.NotLabel
	Tolerations []sched.Toleration

	Priority, Retries int32
	Criticality       float64       // 0..1
	Deadline          time.Duration // relative to submit; 0 = none
	Period            time.Duration // 0 = not periodic
	Every             time.Duration // the job recurs; 0 = not by duration
	Cron              string        // the job recurs by a cron line; "" = not
	Backoff           time.Duration // wait before the first retry

	After       []string // ids of predecessors anywhere in the file; the same job is looked up first
	AfterBytes  []int64  // what each of After sends; nil = nothing
	InputBytes  int64
	OutputBytes int64
	InputAt     string         // where the input lies: a node's name, or ""
	RunOn       []sched.CostOn // run time by node name or GPU type; Run then serves all other nodes
	UsedMem     int64          // true peak of one replica's memory; 0 = not known
	UsedVRAM    int64          // of the memory on each of its GPUs; 0 = not known
	Line        int            // 1-based line (or record) in the source, for errors
}

// RowOf writes task t as a Row into r, whose slices are reused. Estimate is never missing in it.
func (w *Workload) RowOf(t sched.TaskID, r *Row) {
	task, class := &w.Tasks[t], w.ClassOf(t)
	d := &w.Demands[class.Demand]
	after, sent := r.After[:0], r.AfterBytes[:0]
	var speeds []sched.SpeedOn
	if class.Speeds > 0 {
		speeds = w.Speeds[class.Speeds]
	}
	*r = Row{
		ID: w.TaskNames.At(int(t)), Job: w.JobName.At(int(task.Job)),
		Kind: w.Kinds[class.Kind], Tenant: w.Tenants[class.Tenant], Queue: w.Queues[class.Queue],
		Submit: task.Submit, Run: w.Run[t], Estimate: w.Estimates[t],
		Need: d.Need, Gang: d.Gang, GPUTypes: d.GPUTypes, Labels: d.Labels, NotLabels: d.NotLabels, Tolerations: d.Tolerations, SpeedOn: speeds,
		Priority: class.Priority, Retries: class.Retries, Criticality: class.Criticality,
		Deadline: class.RelDeadline, Period: class.Period, Backoff: class.Backoff,
	}
	if w.Names != nil {
		r.Name = w.Names.At(int(t))
	}
	if rec, ok := w.Every[task.Job]; ok {
		r.Every, r.Cron = rec.Every, rec.Cron
	}
	if x, ok := w.Data[t]; ok {
		r.InputBytes, r.OutputBytes, r.InputAt = x.Input, x.Output, x.At
	}
	r.RunOn = w.RunOn[t]
	if x, ok := w.Used[t]; ok {
		r.UsedMem, r.UsedVRAM = x.Mem, x.VRAM
	}
	for _, p := range w.Preds(t) {
		after = append(after, w.TaskNames.At(int(p)))
	}
	r.After = after
	if w.EdgeBytes != nil {
		for _, p := range w.Preds(t) {
			sent = append(sent, w.Sends(p, t))
		}
		if slices.ContainsFunc(sent, func(v int64) bool { return v != 0 }) {
			r.AfterBytes = sent
		}
	}
}
