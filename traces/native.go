package traces

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// The columns of the native formats, in any order and any subset; an unknown one is an error. Times are seconds, a GB is 2^30 bytes.
//
//	id            unique in its job; default: the number of the row
//	job           default: a job of its own, called as the id
//	name          for people
//	kind, tenant, queue
//	submit_s      default 0; may be negative
//	run_s         true run time at reference speed; may be left out where run_on is given, and is then its mean
//	estimate_s    what policies see; default: the true run time, and counted as missing
//	cpu           CPUs of one replica; default 1 if no GPU is asked for
//	mem_gb        memory of one replica
//	gpus          GPUs of one replica: a whole number, or a share of one from 0.001 to 1
//	gpu_mem_gb    memory on each of these GPUs
//	gpu_types     the types that will do: A100;V100 (or A100|V100); a100 and NVIDIA A100 name the same
//	gang          replicas that start together; default 1
//	priority      larger is more important
//	deadline_s    relative to submit
//	period_s      the task is periodic
//	criticality   0 to 1
//	after         ids of predecessors, a;b. The task's own job is looked up first, then the file; JOB/ID says which job
//	after_gb      what each of these sends to the task, 0.5;0;2: it goes over the nodes' links (network_mbps) unless both run on one node
//	labels        that a node must have, key=value, or must not have, key!=value or !key (whatever its value); several with ;
//	tolerations   key=value:Effect, key:Effect (any value), key (any effect), * (any key); several with ;
//	retries       of a failed attempt
//	backoff_s     before the first retry
//	every         the job recurs: a Go duration (24h) or a five-field cron line, UTC, with time 0 at 1970-01-01 00:00
//	input_gb, input_at, output_gb  data, and the node where the input lies
//	speed_on      throughput by GPU type, that of a node of reference speed being 1, where run_on does not say: A100=1.6;V100=1. Unlike run_on,
//	              one table serves all tasks that say the same
//	mem_used_gb   true peak of the memory of one replica, which policies do not see; default: as asked for, or by the model of the simulation
//	gpu_mem_used_gb  likewise on each of its GPUs
//	run_on        run time by node name or GPU type: A100=12.5;V100=20
//
// Those up to colOther are a task's own; the others are what tasks have in common (Class).
const (
	colID = iota
	colJob
	colName
	colSubmit
	colRun
	colEstimate
	colAfter
	colAfterGB
	colEvery
	colInput
	colInputAt
	colOutput
	colRunOn
	colMemUsed
	colGPUMemUsed
	colOther
)

const (
	colKind = colOther + iota
	colTenant
	colQueue
	colCPU
	colMem
	colGPUs
	colGPUMem
	colGPUTypes
	colGang
	colPriority
	colDeadline
	colPeriod
	colCriticality
	colLabels
	colTolerations
	colRetries
	colBackoff
	colSpeedOn
	numCols
)

var columnNames = [numCols]string{
	colID: "id", colJob: "job", colName: "name", colSubmit: "submit_s", colRun: "run_s", colEstimate: "estimate_s", colAfter: "after", colAfterGB: "after_gb",
	colEvery: "every", colInput: "input_gb", colInputAt: "input_at", colOutput: "output_gb", colRunOn: "run_on", colMemUsed: "mem_used_gb", colGPUMemUsed: "gpu_mem_used_gb", colKind: "kind",
	colTenant: "tenant", colQueue: "queue", colCPU: "cpu", colMem: "mem_gb", colGPUs: "gpus", colGPUMem: "gpu_mem_gb",
	colGPUTypes: "gpu_types", colGang: "gang", colPriority: "priority", colDeadline: "deadline_s", colPeriod: "period_s",
	colCriticality: "criticality", colLabels: "labels", colTolerations: "tolerations", colRetries: "retries", colBackoff: "backoff_s",
	colSpeedOn: "speed_on",
}

// writeOrder is the order in which the writer puts the columns.
var writeOrder = [numCols]int{
	colID, colJob, colName, colKind, colTenant, colQueue, colSubmit, colRun, colEstimate, colCPU, colMem, colGPUs, colGPUMem, colGPUTypes,
	colGang, colPriority, colDeadline, colPeriod, colCriticality, colAfter, colAfterGB, colLabels, colTolerations, colRetries, colBackoff, colEvery,
	colInput, colInputAt, colOutput, colRunOn, colSpeedOn, colMemUsed, colGPUMemUsed,
}

func columnOf(name string) int { return slices.Index(columnNames[:], name) }

// setColumn reads one cell into r. An empty cell is the default. Errors do not name the place.
func setColumn(r *Row, col int, cell []byte) error {
	if col != colName {
		cell = bytes.TrimSpace(cell)
	}
	if len(cell) == 0 {
		return nil
	}
	fixed := func(digits int) (int64, error) { return parseFixed(cell, digits) }
	duration := func(to *time.Duration) error {
		ns, err := fixed(9)
		if err == nil && ns < 0 {
			err = fmt.Errorf("%s is negative", clip(string(cell)))
		}
		*to = time.Duration(ns)
		return err
	}
	whole := func(to *int32) error {
		v, err := fixed(3)
		switch {
		case err == nil && v%1000 != 0:
			err = fmt.Errorf("%q is not a whole number", clip(string(cell)))
		case err != nil || v/1000 > math.MaxInt32 || v/1000 < math.MinInt32:
			err = numberError(cell, math.MaxInt32)
		}
		*to = int32(v / 1000)
		return err
	}
	size := func(to *int64) (err error) {
		*to, err = parseGiB(cell)
		return err
	}
	switch col {
	case colID:
		r.ID = string(cell)
	case colJob:
		r.Job = string(cell)
	case colName:
		r.Name = string(cell)
	case colKind:
		r.Kind = string(cell)
	case colTenant:
		r.Tenant = string(cell)
	case colQueue:
		r.Queue = string(cell)
	case colInputAt:
		r.InputAt = string(cell)
	case colSubmit:
		ns, err := fixed(9)
		r.Submit = sched.Time(ns)
		return err
	case colRun:
		return duration(&r.Run)
	case colEstimate:
		return duration(&r.Estimate)
	case colDeadline:
		return duration(&r.Deadline)
	case colPeriod:
		return duration(&r.Period)
	case colBackoff:
		return duration(&r.Backoff)
	case colCPU:
		v, err := fixed(3)
		if err == nil && v == 0 && bytes.ContainsAny(cell, "123456789") {
			v = 1 // less than half a milli-CPU is still something
		}
		r.Need.CPU = v
		return err
	case colMem:
		return size(&r.Need.Mem)
	case colGPUMem:
		return size(&r.Need.VRAM)
	case colMemUsed:
		return size(&r.UsedMem)
	case colGPUMemUsed:
		return size(&r.UsedVRAM)
	case colInput:
		return size(&r.InputBytes)
	case colOutput:
		return size(&r.OutputBytes)
	case colGPUs:
		v, err := fixed(3)
		switch {
		case err != nil || v/1000 > math.MaxInt32:
			return numberError(cell, math.MaxInt32)
		case v < 0:
			return errors.New("negative GPU count")
		case v > 1000 && v%1000 != 0 || v == 0 && bytes.ContainsAny(cell, "123456789"):
			return fmt.Errorf("%s is neither whole nor a share from 0.001 to 1", clip(string(cell)))
		case v > 0 && v < sched.Whole:
			r.Need.GPUs, r.Need.GPUMilli = 1, int32(v)
		default:
			r.Need.GPUs = int32(v / 1000)
		}
	case colGang:
		return whole(&r.Gang)
	case colPriority:
		return whole(&r.Priority)
	case colRetries:
		return whole(&r.Retries)
	case colCriticality:
		v, err := strconv.ParseFloat(string(cell), 64)
		if err != nil || !(v >= 0 && v <= 1) {
			return fmt.Errorf("%q is not a number in 0..1", clip(string(cell)))
		}
		r.Criticality = v
	case colEvery:
		return setEvery(r, string(cell))
	case colAfter, colAfterGB, colGPUTypes, colLabels, colTolerations, colRunOn, colSpeedOn:
		list := string(cell)
		if col == colGPUTypes {
			list = strings.ReplaceAll(list, "|", ";")
		}
		for item := range strings.SplitSeq(list, ";") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			if err := addItem(r, col, item); err != nil {
				return err
			}
		}
	}
	return nil
}

// setEvery reads a Go duration or a cron line.
func setEvery(r *Row, s string) error {
	if d, err := time.ParseDuration(s); err == nil {
		if d <= 0 {
			return errors.New("not a positive duration")
		}
		r.Every = d
		return nil
	}
	if _, err := parseCron(s); err != nil {
		return fmt.Errorf("neither a duration such as 24h nor a cron line: %w", err)
	}
	r.Cron = s
	return nil
}

// addItem adds one item of a list column.
func addItem(r *Row, col int, item string) error {
	switch col {
	case colAfter:
		r.After = append(r.After, item)
	case colAfterGB:
		v, err := parseGiB([]byte(item))
		if err != nil {
			return err
		}
		r.AfterBytes = append(r.AfterBytes, v)
	case colGPUTypes:
		r.GPUTypes = append(r.GPUTypes, item)
	case colLabels:
		d := sched.Demand{Labels: r.Labels, NotLabels: r.NotLabels}
		if !d.ParseLabel(item) {
			return fmt.Errorf("%q is not KEY=VALUE, KEY!=VALUE or !KEY", clip(item))
		}
		r.Labels, r.NotLabels = d.Labels, d.NotLabels
	case colTolerations:
		t, ok := parseToleration(item)
		if !ok {
			return fmt.Errorf("%q is not KEY=VALUE:Effect or KEY:Effect", clip(item))
		}
		r.Tolerations = append(r.Tolerations, t)
	case colRunOn:
		c, err := parseCost(item)
		if err != nil {
			return err
		}
		r.RunOn = append(r.RunOn, c)
	case colSpeedOn:
		c, err := parseCost(item)
		if err != nil {
			return err
		}
		r.SpeedOn = append(r.SpeedOn, sched.SpeedOn{GPUType: c.On, Nano: int64(c.Run)})
	}
	return nil
}

// settle fills what follows from the other columns of a native row.
func settle(r *Row, hasRun bool) error {
	if !hasRun {
		if len(r.RunOn) == 0 {
			return errors.New("neither run_s nor run_on")
		}
		sum := 0.0
		for _, c := range r.RunOn {
			sum += float64(c.Run)
		}
		r.Run = time.Duration(math.Round(sum / float64(len(r.RunOn)))) // as HEFT takes a task's mean cost
	}
	return nil
}

// shape says which columns a workload needs and how a row is written, for both native writers.
type shape struct {
	w       *Workload
	used    [numCols]bool
	someEst bool            // some estimates are missing
	repeat  map[string]bool // ids that several jobs have; nil if no edge crosses jobs
}

func newShape(w *Workload) *shape {
	s := &shape{w: w, someEst: w.MissingEstimates > 0}
	crossing := false
	var r Row
	s.used[colID], s.used[colSubmit], s.used[colRun] = true, true, true
	for _, c := range w.Classes {
		d := &w.Demands[c.Demand]
		s.use(colKind, c.Kind != 0)
		s.use(colTenant, c.Tenant != 0)
		s.use(colQueue, c.Queue != 0)
		s.use(colCPU, d.Need.CPU != defaultCPU(&d.Need))
		s.use(colMem, d.Need.Mem != 0)
		s.use(colGPUs, d.Need.GPUs != 0)
		s.use(colGPUMem, d.Need.VRAM != 0)
		s.use(colGPUTypes, len(d.GPUTypes) > 0)
		s.use(colGang, d.Gang != 1)
		s.use(colPriority, c.Priority != 0)
		s.use(colDeadline, c.RelDeadline != 0)
		s.use(colPeriod, c.Period != 0)
		s.use(colCriticality, c.Criticality != 0)
		s.use(colLabels, len(d.Labels)+len(d.NotLabels) > 0)
		s.use(colTolerations, len(d.Tolerations) > 0)
		s.use(colRetries, c.Retries != 0)
		s.use(colBackoff, c.Backoff != 0)
		s.use(colSpeedOn, c.Speeds != 0)
	}
	s.use(colName, w.Names != nil)
	s.use(colAfter, len(w.Pred) > 0)
	s.use(colAfterGB, w.EdgeBytes != nil)
	s.use(colEvery, len(w.Every) > 0)
	for _, x := range w.Data {
		s.use(colInput, x.Input != 0)
		s.use(colInputAt, x.At != "")
		s.use(colOutput, x.Output != 0)
	}
	s.use(colRunOn, len(w.RunOn) > 0)
	for _, x := range w.Used {
		s.use(colMemUsed, x.Mem != 0)
		s.use(colGPUMemUsed, x.VRAM != 0)
	}
	for t := range w.Tasks {
		s.use(colEstimate, !s.someEst || w.Estimates[t] != w.Run[t])
		if !s.used[colJob] {
			w.RowOf(sched.TaskID(t), &r)
			s.use(colJob, r.Job != r.ID)
		}
		for _, p := range w.Preds(sched.TaskID(t)) {
			crossing = crossing || w.Tasks[p].Job != w.Tasks[t].Job
		}
	}
	if crossing {
		seen := make(map[string]bool, len(w.Tasks))
		s.repeat = map[string]bool{}
		for t := range w.Tasks {
			id := w.TaskNames.At(t)
			if seen[id] {
				s.repeat[id] = true
			}
			seen[id] = true
		}
	}
	return s
}

func (s *shape) use(col int, used bool) { s.used[col] = s.used[col] || used }

func defaultCPU(n *sched.Need) int64 {
	if n.GPUs == 0 {
		return 1000
	}
	return 0
}

// row fills r for task t as it is to be written: Job "" where it is the id, Estimate -1 where it is left out, After with the job
// where the id alone would not do.
func (s *shape) row(t sched.TaskID, r *Row) {
	w := s.w
	w.RowOf(t, r)
	if r.Job == r.ID {
		r.Job = ""
	}
	if s.someEst && r.Estimate == r.Run {
		r.Estimate = -1
	}
	for i, p := range w.Preds(t) {
		if job := w.Tasks[p].Job; job != w.Tasks[t].Job && s.repeat[r.After[i]] {
			r.After[i] = w.JobName.At(int(job)) + "/" + r.After[i]
		}
	}
}

// appendScalar appends the cell of a column that is not a list or text; nothing for a default.
func appendScalar(dst []byte, r *Row, col int) []byte {
	seconds := func(d time.Duration) []byte {
		if d == 0 {
			return dst
		}
		return appendFixed(dst, int64(d), 9)
	}
	count := func(v, zero int32) []byte {
		if v == zero {
			return dst
		}
		return strconv.AppendInt(dst, int64(v), 10)
	}
	size := func(v int64) []byte {
		if v == 0 {
			return dst
		}
		return appendGiB(dst, v)
	}
	switch col {
	case colSubmit:
		return appendFixed(dst, int64(r.Submit), 9)
	case colRun:
		return appendFixed(dst, int64(r.Run), 9)
	case colEstimate:
		if r.Estimate < 0 {
			return dst
		}
		return appendFixed(dst, int64(r.Estimate), 9)
	case colDeadline:
		return seconds(r.Deadline)
	case colPeriod:
		return seconds(r.Period)
	case colBackoff:
		return seconds(r.Backoff)
	case colCPU:
		if r.Need.CPU == defaultCPU(&r.Need) {
			return dst
		}
		return appendFixed(dst, r.Need.CPU, 3)
	case colMem:
		return size(r.Need.Mem)
	case colGPUMem:
		return size(r.Need.VRAM)
	case colMemUsed:
		return size(r.UsedMem)
	case colGPUMemUsed:
		return size(r.UsedVRAM)
	case colInput:
		return size(r.InputBytes)
	case colOutput:
		return size(r.OutputBytes)
	case colGPUs:
		if r.Need.GPUs == 0 {
			return dst
		}
		return appendFixed(dst, int64(r.Need.GPUs)*int64(r.Need.GPUMilli), 3)
	case colGang:
		return count(r.Gang, 1)
	case colPriority:
		return count(r.Priority, 0)
	case colRetries:
		return count(r.Retries, 0)
	case colCriticality:
		if r.Criticality == 0 {
			return dst
		}
		return strconv.AppendFloat(dst, r.Criticality, 'g', -1, 64)
	}
	return dst
}

// textOf returns a text column.
func textOf(r *Row, col int) (string, bool) {
	switch col {
	case colID:
		return r.ID, true
	case colJob:
		return r.Job, true
	case colName:
		return r.Name, true
	case colKind:
		return r.Kind, true
	case colTenant:
		return r.Tenant, true
	case colQueue:
		return r.Queue, true
	case colInputAt:
		return r.InputAt, true
	case colEvery:
		if r.Every > 0 {
			return r.Every.String(), true
		}
		return r.Cron, true
	}
	return "", false
}

// listOf returns the items of a list column.
func listOf(r *Row, col int) []string {
	var items []string
	switch col {
	case colAfter:
		return r.After
	case colAfterGB:
		for _, v := range r.AfterBytes {
			items = append(items, string(appendGiB(nil, v)))
		}
	case colGPUTypes:
		return r.GPUTypes
	case colLabels:
		for _, l := range r.Labels {
			items = append(items, l.Key+"="+l.Value)
		}
		for _, l := range r.NotLabels {
			items = append(items, l.String())
		}
	case colTolerations:
		for _, t := range r.Tolerations {
			items = append(items, tolerationText(t))
		}
	case colSpeedOn:
		for _, s := range r.SpeedOn {
			items = append(items, string(appendFixed([]byte(s.GPUType+"="), s.Nano, 9)))
		}
	case colRunOn:
		for _, c := range r.RunOn {
			items = append(items, string(appendFixed([]byte(c.On+"="), int64(c.Run), 9)))
		}
	}
	return items
}

// inInputOrder calls f with every task, in the order of the input.
func inInputOrder(w *Workload, f func(sched.TaskID) error) error {
	place := make([]sched.TaskID, 0)
	if w.Input != nil {
		place = make([]sched.TaskID, len(w.Tasks))
		for t, i := range w.Input {
			place[i] = sched.TaskID(t)
		}
	}
	for i := range w.Tasks {
		t := sched.TaskID(i)
		if w.Input != nil {
			t = place[i]
		}
		if err := f(t); err != nil {
			return err
		}
	}
	return nil
}
