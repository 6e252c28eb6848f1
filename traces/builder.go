package traces

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

const (
	maxTasks    = math.MaxInt32
	maxDuration = time.Duration(1) << 61 // 73 years; sums of a submit time and three durations still fit
	maxShown    = 16                     // names shown of a cycle
	maxSlashes  = 64                     // tried as the end of JOB in JOB/ID
)

// Builder makes a Workload from rows in file order. Its memory is that of the result, and 4 bytes a task where names must be
// looked up. Use: NewBuilder, Add (or Drop, Mend) per record, Build once.
type Builder struct {
	source, format string
	size           int64 // of the source in bytes, 0 if unknown: a hint

	tasks  []sched.Task // Job holds the job's number in order of first appearance
	est    []time.Duration
	run    []time.Duration
	ids    nameList
	titles nameList // ends with the last task that has one
	places []placed // where the rows stand; nil if that is not known
	noLine bool     // rows have numbers, which are not those of lines
	half   error    // of the first row that was refused after a part of it had been taken

	nJobs    int32
	jobs     map[string]int32 // named jobs only
	named    []namedJob       // the same, by number
	isNamed  []bool           // by number, once all rows are there; nil if no job is
	every    map[int32]Recurrence
	lastName string // cache of one: tasks of a job stand together
	lastJob  int32

	classes   []sched.Class
	demands   []sched.Demand
	classOf   map[sched.Class]sched.ClassID
	demandOf  map[demandKey]sched.DemandID
	speeds    [][]sched.SpeedOn // 0 is none; nil until a row has some
	speedsOf  map[string]sched.SpeedsID
	kinds     intern
	tenants   intern
	queues    intern
	lastClass sched.ClassID

	data    map[sched.TaskID]sched.Data // by position in the input
	runOn   map[sched.TaskID][]sched.CostOn
	used    map[sched.TaskID]Used
	estOn   map[sched.TaskID][]sched.CostOn
	after   []ref
	sends   []int64 // bytes by index in after; it ends with the last that is not 0
	refs    nameList
	missing int
	notes   []Note
	cluster []sched.NodeSpec
	scratch []byte
}

type namedJob struct {
	number int32
	name   string
}

// placed says that the row at position row, and those after it, stand line - row lines further.
type placed struct{ row, line int32 }

// ref says that the row at position row comes after the task called refs[i].
type ref struct {
	row  int32
	line int32
}

type demandKey struct {
	need sched.Need
	gang int32
	rest string // types, labels, labels not to have and tolerations, each length-prefixed
}

// NewBuilder returns a builder for a recorded trace of that source (for errors) and format.
func NewBuilder(source, format string) *Builder {
	b := &Builder{source: source, format: format, lastJob: -1, lastClass: -1}
	b.classOf = map[sched.Class]sched.ClassID{}
	b.demandOf = map[demandKey]sched.DemandID{}
	return b
}

// Errorf returns an error that names the place: source:line. Line 0 leaves it at the source.
func (b *Builder) Errorf(line int, format string, args ...any) error {
	if line <= 0 {
		return fmt.Errorf("%s: %w", b.source, fmt.Errorf(format, args...))
	}
	return fmt.Errorf("%s:%d: %w", b.source, line, fmt.Errorf(format, args...))
}

// Drop notes that the record at line was left out. Reasons must come from a small set.
func (b *Builder) Drop(reason string, line int) { b.note(reason, line, true) }

// Mend notes that the record at line is kept, changed as the reason says.
func (b *Builder) Mend(reason string, line int) { b.note(reason, line, false) }

func (b *Builder) note(reason string, line int, dropped bool) {
	for i := range b.notes {
		if b.notes[i].Reason == reason && b.notes[i].Dropped == dropped {
			b.notes[i].Count++
			return
		}
	}
	b.notes = append(b.notes, Note{reason, 1, line, dropped})
}

// SetCluster says which nodes the trace itself names.
func (b *Builder) SetCluster(nodes []sched.NodeSpec) { b.cluster = nodes }

// Grow makes room for n more tasks like those so far.
func (b *Builder) Grow(n int) {
	if rows := len(b.ids.end); rows > 0 {
		b.ids.end = slices.Grow(b.ids.end, n)
		b.ids.blob = slices.Grow(b.ids.blob, int(min(float64(len(b.ids.blob))/float64(rows)*float64(n)*1.05+64, math.MaxUint32)))
	}
	b.tasks, b.est, b.run = slices.Grow(b.tasks, n), slices.Grow(b.est, n), slices.Grow(b.run, n)
}

// Len returns the number of tasks so far.
func (b *Builder) Len() int { return len(b.tasks) }

// Add takes one row; it keeps nothing of r's slices. An error names the place. The row is then not in the workload; where it had been taken in part, as its
// dependencies or run times by node are what is wrong, there will be none: Build says the error again.
func (b *Builder) Add(r *Row) error {
	class, err := b.class(r)
	if err != nil {
		return err
	}
	if err := b.push(r.Submit, r.Run, r.Estimate, class, []byte(r.ID), []byte(r.Job), r.Line); err != nil {
		return err
	}
	err = b.extras(r)
	if b.half == nil {
		b.half = err
	}
	return err
}

// extras keeps what few rows have, for the row pushed last.
func (b *Builder) extras(r *Row) error {
	row := int32(len(b.tasks) - 1)
	if r.Name != "" {
		for b.titles.len() < int(row) {
			b.titles.add(nil)
		}
		if !b.titles.add([]byte(r.Name)) {
			return b.Errorf(r.Line, "more than 4 GiB of names")
		}
	}
	if n := len(r.AfterBytes); n > 0 && n != len(r.After) {
		return b.Errorf(r.Line, "after_gb: %d sizes for %d predecessors", n, len(r.After))
	}
	for i, id := range r.After {
		if id == "" {
			return b.Errorf(r.Line, "after: an empty id")
		}
		if len(b.after) >= maxTasks || !b.refs.add([]byte(id)) {
			return b.Errorf(r.Line, "more than 2^31-1 dependencies")
		}
		if i < len(r.AfterBytes) && r.AfterBytes[i] != 0 {
			if r.AfterBytes[i] < 0 {
				return b.Errorf(r.Line, "after_gb: a negative size")
			}
			b.sends = append(append(b.sends, make([]int64, len(b.after)-len(b.sends))...), r.AfterBytes[i])
		}
		b.after = append(b.after, ref{row, int32(min(r.Line, math.MaxInt32))})
	}
	if r.InputBytes != 0 || r.OutputBytes != 0 || r.InputAt != "" {
		if r.InputBytes < 0 || r.OutputBytes < 0 {
			return b.Errorf(r.Line, "negative size of data")
		}
		if b.data == nil {
			b.data = map[sched.TaskID]sched.Data{}
		}
		b.data[sched.TaskID(row)] = sched.Data{Input: r.InputBytes, Output: r.OutputBytes, At: strings.Clone(r.InputAt)}
	}
	if r.Every != 0 || r.Cron != "" {
		if r.Every < 0 || r.Every > maxDuration || r.Every > 0 && r.Cron != "" {
			return b.Errorf(r.Line, "every: not a positive duration or one cron line")
		}
		if r.Cron != "" {
			if _, err := parseCron(r.Cron); err != nil {
				return b.Errorf(r.Line, "every: %w", err)
			}
		}
		job, rec := int32(b.tasks[row].Job), Recurrence{r.Every, strings.Clone(r.Cron)}
		if old, ok := b.every[job]; ok && old != rec {
			return b.Errorf(r.Line, "the tasks of a job disagree about every")
		}
		if b.every == nil {
			b.every = map[int32]Recurrence{}
		}
		b.every[job] = rec
	}
	if r.UsedMem != 0 || r.UsedVRAM != 0 {
		if r.UsedMem < 0 || r.UsedVRAM < 0 {
			return b.Errorf(r.Line, "negative use of memory")
		}
		if b.used == nil {
			b.used = map[sched.TaskID]Used{}
		}
		b.used[sched.TaskID(row)] = Used{r.UsedMem, r.UsedVRAM}
	}
	if len(r.RunOn) > 0 {
		on := make([]sched.CostOn, len(r.RunOn))
		for i, c := range r.RunOn {
			if c.On == "" || c.Run < 0 || c.Run > maxDuration {
				return b.Errorf(r.Line, "run_on: %q: not a run time on a node or GPU type", c.On)
			}
			on[i] = sched.CostOn{On: strings.Clone(c.On), Run: c.Run}
		}
		if b.runOn == nil {
			b.runOn, b.estOn = map[sched.TaskID][]sched.CostOn{}, map[sched.TaskID][]sched.CostOn{}
		}
		b.runOn[sched.TaskID(row)] = on
		// Policies see the same ratios between kinds of nodes; the size is that of the estimate.
		seen := on
		if e, run := b.est[row], b.run[row]; e != run && run > 0 {
			seen = slices.Clone(on)
			for i := range seen {
				seen[i].Run = time.Duration(min(math.Round(float64(seen[i].Run)*(float64(e)/float64(run))), float64(maxDuration)))
			}
		}
		b.estOn[sched.TaskID(row)] = seen
	}
	return nil
}

// push takes the part of a row that every task has.
func (b *Builder) push(submit sched.Time, run, estimate time.Duration, class sched.ClassID, id, job []byte, line int) error {
	n := len(b.tasks)
	switch {
	case n >= maxTasks:
		return b.Errorf(line, "more than 2^31-1 tasks")
	case submit > sched.Time(maxDuration) || submit < -sched.Time(maxDuration):
		return b.Errorf(line, "submit time %v s is out of range", submit.Seconds())
	case run < 0:
		return b.Errorf(line, "negative run time")
	case run > maxDuration || estimate > maxDuration:
		return b.Errorf(line, "a run time or estimate of more than 73 years")
	}
	if estimate < 0 || estimate == 0 && run > 0 {
		estimate = run
		b.missing++
	}
	var number int32
	switch {
	case len(job) == 0:
		number = b.nJobs
		b.nJobs++
	case b.lastJob >= 0 && string(job) == b.lastName:
		number = b.lastJob
	default:
		var ok bool
		if number, ok = b.jobs[string(job)]; !ok {
			number = b.nJobs
			b.nJobs++
			name := string(job)
			if b.jobs == nil {
				b.jobs = map[string]int32{}
			}
			b.jobs[name] = number
			b.named = append(b.named, namedJob{number, name})
		}
		b.lastName, b.lastJob = b.named[b.namedAt(number)].name, number
	}
	if !b.ids.addID(id) {
		return b.Errorf(line, "more than 4 GiB of ids")
	}
	b.nextAt(line)
	b.tasks = append(b.tasks, sched.Task{Submit: submit, Job: sched.JobID(number), Class: class})
	b.run = append(b.run, run)
	b.est = append(b.est, estimate)
	return nil
}

// nextAt says on which line the next row stands, and that those after it stand on the lines after it until something else is said. So
// lines cost memory only where there are others between them.
func (b *Builder) nextAt(line int) {
	if line <= 0 || line > math.MaxInt32 || b.noLine {
		return
	}
	p := placed{int32(len(b.tasks)), int32(line)}
	if n := len(b.places) - 1; n < 0 || b.places[n].line-b.places[n].row != p.line-p.row {
		b.places = append(b.places, p)
	}
}

// lineOf returns the line of a row, 0 if it is not known.
func (b *Builder) lineOf(row int32) int {
	i, found := slices.BinarySearchFunc(b.places, row, func(p placed, row int32) int { return cmp.Compare(p.row, row) })
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	return int(b.places[i].line + row - b.places[i].row)
}

// pushNext is push for a row that is a job of its own and is called by the number of its place, where all before it are so; times
// are in range, there are fewer than maxTasks rows, and the row stands where nextAt has said.
func (b *Builder) pushNext(submit sched.Time, run, estimate time.Duration, class sched.ClassID) {
	if estimate < 0 || estimate == 0 && run > 0 {
		estimate = run
		b.missing++
	}
	b.tasks = append(b.tasks, sched.Task{Submit: submit, Job: sched.JobID(b.nJobs), Class: class})
	b.run = append(b.run, run)
	b.est = append(b.est, estimate)
	b.nJobs++
	b.ids.count++
	b.ids.next = b.ids.next[:0]
}

// pushAll is push for many rows that are jobs of their own and go on counting: submit and run in ns and in range, estimates and ids optional.
// It reports false, having done nothing, when the rows are not so.
func (b *Builder) pushAll(submit, run, estimate, id []int64, class []sched.ClassID) bool {
	n := len(submit)
	if b.ids.end != nil || len(b.tasks)+n > maxTasks {
		return false
	}
	next := int64(len(b.tasks)) + 1
	for i, v := range id {
		if v != next+int64(i) {
			return false
		}
	}
	for i, v := range submit {
		if v < -int64(maxDuration) || v > int64(maxDuration) || run[i] < 0 || run[i] > int64(maxDuration) || estimate != nil && estimate[i] > int64(maxDuration) {
			return false // push says why
		}
	}
	b.tasks, b.run, b.est = slices.Grow(b.tasks, n), slices.Grow(b.run, n), slices.Grow(b.est, n)
	at := len(b.tasks)
	tasks, runs, ests := b.tasks[at:at+n], b.run[at:at+n], b.est[at:at+n]
	for i, v := range submit {
		tasks[i] = sched.Task{Submit: sched.Time(v), Job: sched.JobID(int(b.nJobs) + i), Class: class[i]}
	}
	for i, r := range run {
		est := int64(-1)
		if estimate != nil {
			est = estimate[i]
		}
		if est < 0 || est == 0 && r > 0 {
			est = r
			b.missing++
		}
		runs[i], ests[i] = time.Duration(r), time.Duration(est)
	}
	b.tasks, b.run, b.est = b.tasks[:at+n], b.run[:at+n], b.est[:at+n]
	b.nJobs += int32(n)
	b.ids.count += n
	b.ids.next = b.ids.next[:0]
	return true
}

// namedAt returns the index in b.named of the job of that number, or -1 if it is a task's own job.
func (b *Builder) namedAt(number int32) int {
	if i, ok := slices.BinarySearchFunc(b.named, number, func(j namedJob, n int32) int { return cmp.Compare(j.number, n) }); ok {
		return i
	}
	return -1
}

// class checks and interns what many rows have in common.
func (b *Builder) class(r *Row) (sched.ClassID, error) {
	need, gang := r.Need, r.Gang
	if gang == 0 {
		gang = 1
	}
	if need.GPUs > 0 && need.GPUMilli == 0 {
		need.GPUMilli = sched.Whole
	}
	if need.CPU == 0 && need.GPUs == 0 {
		need.CPU = 1000
	}
	bad := ""
	switch {
	case gang < 0:
		bad = "negative gang"
	case need.CPU < 0:
		bad = "negative CPU"
	case need.Mem < 0:
		bad = "negative memory"
	case need.VRAM < 0:
		bad = "negative GPU memory"
	case need.GPUs < 0:
		bad = "negative GPU count"
	case need.GPUMilli < 0 || need.GPUMilli > sched.Whole:
		bad = "a GPU share outside 0..1"
	case need.GPUMilli < sched.Whole && need.GPUs > 1:
		bad = "a share of more than one GPU"
	case need.GPUs == 0 && (need.GPUMilli != 0 || need.VRAM != 0):
		bad = "a GPU share or GPU memory without a GPU"
	case need.CPU > sched.Unlimited/int64(gang) || need.Mem > sched.Unlimited/int64(gang) || need.VRAM > sched.Unlimited:
		bad = "a demand beyond 2^61"
	case int64(need.GPUs)*int64(gang) > math.MaxInt32:
		bad = "more than 2^31-1 GPUs"
	case !(r.Criticality >= 0 && r.Criticality <= 1):
		bad = "criticality outside 0..1"
	case r.Deadline < 0 || r.Deadline > maxDuration:
		bad = "a deadline that is negative or beyond 73 years"
	case r.Period < 0 || r.Period > maxDuration:
		bad = "a period that is negative or beyond 73 years"
	case r.Backoff < 0 || r.Backoff > maxDuration:
		bad = "a backoff that is negative or beyond 73 years"
	case r.Retries < 0:
		bad = "negative retries"
	}
	if bad != "" {
		return 0, b.Errorf(r.Line, "%s", bad)
	}
	rest := ""
	if len(r.GPUTypes)+len(r.Labels)+len(r.NotLabels)+len(r.Tolerations) > 0 {
		rest = b.rest(r)
	}
	key := demandKey{need, gang, rest}
	demand, ok := b.demandOf[key]
	if !ok {
		demand = sched.DemandID(len(b.demands))
		d := sched.Demand{Need: need, Gang: gang}
		for _, s := range r.GPUTypes {
			d.GPUTypes = append(d.GPUTypes, strings.Clone(s))
		}
		for _, l := range r.Labels {
			d.Labels = append(d.Labels, sched.Label{Key: strings.Clone(l.Key), Value: strings.Clone(l.Value)})
		}
		for _, l := range r.NotLabels {
			l.Key, l.Value = strings.Clone(l.Key), strings.Clone(l.Value)
			d.NotLabels = append(d.NotLabels, l)
		}
		for _, t := range r.Tolerations {
			t.Key, t.Value, t.Effect = strings.Clone(t.Key), strings.Clone(t.Value), strings.Clone(t.Effect)
			d.Tolerations = append(d.Tolerations, t)
		}
		b.demands = append(b.demands, d)
		b.demandOf[key] = demand
	}
	speeds, err := b.speedsID(r)
	if err != nil {
		return 0, err
	}
	c := sched.Class{
		Demand: demand, Speeds: speeds, Kind: sched.KindID(b.kinds.id(r.Kind)), Tenant: sched.TenantID(b.tenants.id(r.Tenant)),
		Queue: sched.QueueID(b.queues.id(r.Queue)), Priority: r.Priority, Retries: r.Retries, Criticality: r.Criticality,
		Period: r.Period, RelDeadline: r.Deadline, Backoff: r.Backoff,
	}
	if b.lastClass >= 0 && b.classes[b.lastClass] == c {
		return b.lastClass, nil
	}
	id, ok := b.classOf[c]
	if !ok {
		id = sched.ClassID(len(b.classes))
		b.classes = append(b.classes, c)
		b.classOf[c] = id
	}
	b.lastClass = id
	return id, nil
}

// speedsID checks and interns a throughput table.
func (b *Builder) speedsID(r *Row) (sched.SpeedsID, error) {
	if len(r.SpeedOn) == 0 {
		return 0, nil
	}
	k := b.scratch[:0]
	for i, s := range r.SpeedOn {
		if s.GPUType == "" || s.Nano <= 0 {
			return 0, b.Errorf(r.Line, "speed_on: %q: not a positive speed on a GPU type", s.GPUType)
		}
		if slices.ContainsFunc(r.SpeedOn[:i], func(o sched.SpeedOn) bool { return sched.SameGPU(o.GPUType, s.GPUType) }) {
			return 0, b.Errorf(r.Line, "speed_on: %q stands twice", s.GPUType)
		}
		k = strconv.AppendInt(append(append(k, s.GPUType...), 0), s.Nano, 36)
		k = append(k, 0)
	}
	b.scratch = k
	if id, ok := b.speedsOf[string(k)]; ok {
		return id, nil
	}
	if b.speeds == nil {
		b.speeds, b.speedsOf = [][]sched.SpeedOn{nil}, map[string]sched.SpeedsID{}
	}
	own := slices.Clone(r.SpeedOn)
	for i := range own {
		own[i].GPUType = strings.Clone(own[i].GPUType)
	}
	id := sched.SpeedsID(len(b.speeds))
	b.speeds = append(b.speeds, own)
	b.speedsOf[string(k)] = id
	return id, nil
}

// rest returns an unambiguous key of a demand's lists.
func (b *Builder) rest(r *Row) string {
	k := b.scratch[:0]
	str := func(s string) {
		k = strconv.AppendInt(k, int64(len(s)), 10)
		k = append(append(k, ':'), s...)
	}
	for _, s := range r.GPUTypes {
		str(s)
	}
	k = append(k, 'L')
	for _, l := range r.Labels {
		str(l.Key)
		str(l.Value)
	}
	k = append(k, 'N')
	for _, l := range r.NotLabels {
		str(l.String())
	}
	k = append(k, 'T')
	for _, t := range r.Tolerations {
		str(t.Key)
		str(t.Value)
		str(t.Effect)
		k = strconv.AppendBool(k, t.Exists)
	}
	b.scratch = k
	return string(k)
}

// Build sorts, numbers and links the tasks. The Builder must not be used afterwards.
func (b *Builder) Build() (*Workload, error) {
	n := len(b.tasks)
	if b.half != nil {
		return nil, b.half
	}
	if err := b.joinJobs(); err != nil {
		return nil, err
	}
	if len(b.named) > 0 {
		b.isNamed = make([]bool, b.nJobs)
		for _, j := range b.named {
			b.isNamed[j.number] = true
		}
	}
	var byID index
	// Ids that count 1..n are unique, and need no table unless somebody refers to them.
	if !b.ids.counts() && !b.ids.rising || len(b.after) > 0 || len(b.named) > 0 && !b.ids.counts() {
		byID.seed = maphash.MakeSeed()
		byID.slots = make([]int32, 1<<bits.Len(uint(2*n)))
		for i := range n {
			if at := byID.put(b, int32(i)); at >= 0 {
				if line := b.lineOf(int32(i)); line > 0 {
					return nil, b.Errorf(line, "task id %q stands twice, first at line %d", b.ids.at(i), b.lineOf(at))
				}
				return nil, b.Errorf(0, "task id %q stands twice (records %d and %d)", b.ids.at(i), at+1, i+1)
			}
		}
	}

	order := b.order()
	place := order // input position -> TaskID
	if order != nil {
		place = make([]int32, n)
		for t, i := range order {
			place[i] = int32(t)
		}
	}
	src, dst, err := b.edges(&byID, place)
	if err != nil {
		return nil, err
	}
	if order != nil {
		b.tasks, b.run, b.est = permuted(b.tasks, order), permuted(b.run, order), permuted(b.est, order)
	}
	if b.run = slices.Clip(b.run); b.missing == n {
		b.est = b.run // nobody writes to either
	}
	tb := &sched.Table{
		Tasks: b.tasks, Estimates: b.est, Classes: b.classes, Demands: b.demands, Speeds: b.speeds,
		Tenants: b.tenants.all(), Queues: b.queues.all(), Kinds: b.kinds.all(), Jobs: b.nJobs,
	}
	// Deadlines follow from class and submit time, so they are set on the tasks in their final order, and nothing is kept of them before.
	if slices.ContainsFunc(tb.Classes, func(c sched.Class) bool { return c.RelDeadline > 0 }) {
		for t := range tb.Tasks {
			if d := tb.Classes[tb.Tasks[t].Class].RelDeadline; d > 0 {
				tb.SetDeadline(sched.TaskID(t), tb.Tasks[t].Submit.Add(d))
			}
		}
	}
	w := &Workload{
		Table: tb, Run: b.run, Source: b.source, Format: b.format, Recorded: true, Cluster: b.cluster, Notes: b.notes,
		MissingEstimates: b.missing, Input: order,
	}
	if err := b.number(w, order); err != nil {
		return nil, err
	}
	w.Used = rekey(b.used, place)
	w.RunOn, tb.EstimateOn, tb.Data = rekey(b.runOn, place), rekey(b.estOn, place), rekey(b.data, place)
	link(tb, src, dst)
	b.send(tb, src, dst)
	if cycle := findCycle(tb); cycle != nil {
		return nil, b.cycleError(w, cycle)
	}
	return w, nil
}

// joinJobs puts a task without a job into the named job of its own id, if there is one.
func (b *Builder) joinJobs() error {
	if len(b.named) == 0 || b.ids.counts() && !slices.ContainsFunc(b.named, func(j namedJob) bool { return digits([]byte(j.name)) }) {
		return nil
	}
	isNamed := make([]bool, b.nJobs)
	for _, j := range b.named {
		isNamed[j.number] = true
	}
	alias := map[int32]int32{}
	for i := range b.tasks {
		own := int32(b.tasks[i].Job)
		if isNamed[own] {
			continue
		}
		number, ok := b.jobs[b.ids.at(i)]
		if !ok {
			continue
		}
		b.tasks[i].Job = sched.JobID(number)
		if rec, ok := b.every[own]; ok {
			if old, ok := b.every[number]; ok && old != rec {
				return b.Errorf(0, "job %s: its tasks disagree about every", b.ids.at(i))
			}
			b.every[number] = rec
			delete(b.every, own)
		}
		if old, ok := alias[number]; !ok || own < old {
			alias[number] = own
		}
	}
	if len(alias) == 0 {
		return nil
	}
	// The job stands in the input where its first task does.
	for i := range b.tasks {
		if own, ok := alias[int32(b.tasks[i].Job)]; ok && own < int32(b.tasks[i].Job) {
			b.tasks[i].Job = sched.JobID(own)
		}
	}
	for i, j := range b.named {
		if own, ok := alias[j.number]; ok && own < j.number {
			if rec, ok := b.every[j.number]; ok {
				b.every[own] = rec
				delete(b.every, j.number)
			}
			b.named[i].number = own
			b.jobs[j.name] = own
		}
	}
	slices.SortFunc(b.named, func(x, y namedJob) int { return cmp.Compare(x.number, y.number) })
	return nil
}

// order returns the input positions in order of TaskID, nil if that is the input order.
func (b *Builder) order() []int32 {
	compare := func(i, j int32) int {
		x, y := &b.tasks[i], &b.tasks[j]
		return cmp.Or(cmp.Compare(x.Submit, y.Submit), cmp.Compare(x.Job, y.Job), cmp.Compare(i, j))
	}
	sorted := true
	for i := 1; i < len(b.tasks) && sorted; i++ {
		x, y := &b.tasks[i-1], &b.tasks[i]
		sorted = x.Submit < y.Submit || x.Submit == y.Submit && x.Job <= y.Job
	}
	if sorted {
		return nil
	}
	order := make([]int32, len(b.tasks))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, compare)
	return order
}

// number gives jobs their final numbers and names.
func (b *Builder) number(w *Workload, order []int32) error {
	input := func(t int) int {
		if order == nil {
			return t
		}
		return int(order[t])
	}
	plain := b.ids.counts() && order == nil
	named := len(b.named) > 0 || !plain
	// Where every job is one task and is called as it, the jobs' names are the tasks' names.
	shared := !plain && len(b.named) == 0
	if !plain {
		var ok bool
		if w.TaskNames, ok = b.ids.inOrder(order); !ok {
			return b.Errorf(0, "more than 4 GiB of ids")
		}
	}
	if shared {
		w.JobName = w.TaskNames
	}
	var final []int32 // by job, + 1; nil = as they stand
	jobs, tasks := b.nJobs, w.Tasks
	if len(b.named) == 0 && order == nil {
		tasks = nil // every job is a task and has its number
	} else {
		final, jobs = make([]int32, b.nJobs), 0
	}
	for t := range tasks {
		old := int32(w.Tasks[t].Job)
		if final[old] == 0 {
			jobs++
			final[old] = jobs
			if named && !shared {
				name := ""
				if i := b.namedAt(old); i >= 0 {
					name = b.named[i].name
				} else {
					name = w.TaskNames.At(t)
				}
				if !w.JobName.Append(name) {
					return b.Errorf(0, "more than 4 GiB of job names")
				}
			}
		}
		w.Tasks[t].Job = sched.JobID(final[old] - 1)
	}
	w.Jobs = jobs // joined jobs leave numbers unused
	if b.titles.len() > 0 {
		w.Names = &sched.Names{}
		for t := range w.Tasks {
			name := ""
			if i := input(t); i < b.titles.len() {
				name = b.titles.at(i)
			}
			if !w.Names.Append(name) {
				return b.Errorf(0, "more than 4 GiB of names")
			}
		}
	}
	if b.every != nil {
		w.Every = make(map[sched.JobID]Recurrence, len(b.every))
		for old, rec := range b.every {
			if final != nil {
				old = final[old] - 1
			}
			w.Every[sched.JobID(old)] = rec
		}
	}
	return nil
}

// edges resolves the predecessors' names; edge i goes from TaskID src[i] to dst[i].
func (b *Builder) edges(byID *index, place []int32) (src, dst []int32, err error) {
	if len(b.after) == 0 {
		return nil, nil, nil
	}
	// The task of an id anywhere, and whether several jobs have one of that id.
	anywhere := index{seed: byID.seed, slots: make([]int32, len(byID.slots)), anywhere: true}
	var twice []int32
	for i := range b.tasks {
		if at := anywhere.put(b, int32(i)); at >= 0 {
			twice = append(twice, at)
		}
	}
	slices.Sort(twice)
	src, dst = make([]int32, 0, len(b.after)), make([]int32, 0, len(b.after))
	for i, a := range b.after {
		id, line := b.refs.at(i), int(a.line)
		from := byID.find(b, b.jobKey(a.row), id)
		if from != a.row && b.jobKey(a.row) == ownJob {
			from = -1 // another's own job is not the same job
		}
		if from < 0 {
			if from = anywhere.find(b, 0, id); from >= 0 {
				if _, ok := slices.BinarySearch(twice, from); ok {
					return nil, nil, b.Errorf(line, "after: several jobs have a task %q; say JOB/%s", id, id)
				}
			}
		}
		for at, tries := 0, 0; from < 0 && tries < maxSlashes; tries++ { // JOB/ID, wherever the slash stands
			slash := strings.IndexByte(id[at:], '/')
			if slash < 0 {
				break
			}
			at += slash + 1
			if job, ok := b.jobs[id[:at-1]]; ok {
				from = byID.find(b, sched.JobID(job), id[at:])
			} else if id[:at-1] == id[at:] {
				from = byID.find(b, ownJob, id[at:])
			}
		}
		if from < 0 {
			return nil, nil, b.Errorf(line, "after: no task %q", id)
		}
		to := a.row
		if from == to {
			return nil, nil, b.Errorf(line, "cycle %s -> %s", id, id)
		}
		if place != nil {
			from, to = place[from], place[to]
		}
		src, dst = append(src, from), append(dst, to)
	}
	return src, dst, nil
}

// link fills the adjacency of tb in both directions, ascending, each edge once. Sorting by counting, source after target and then
// back, leaves both sorted (the double transposition).
func link(tb *sched.Table, src, dst []int32) {
	if len(src) == 0 {
		return
	}
	n := len(tb.Tasks)
	tb.PredOff, tb.Pred = transpose(n, dst, src)
	// Successors from the sorted targets are ascending, but may repeat; so does Pred before it is redone from them.
	from := make([]int32, 0, len(src))
	to := make([]int32, 0, len(src))
	for t := range n {
		for _, p := range tb.Pred[tb.PredOff[t]:tb.PredOff[t+1]] {
			from, to = append(from, int32(p)), append(to, int32(t))
		}
	}
	tb.SuccOff, tb.Succ = transpose(n, from, to)
	from, to = from[:0], to[:0]
	for t := range n {
		last := sched.Nobody
		for _, s := range tb.Succ[tb.SuccOff[t]:tb.SuccOff[t+1]] {
			if s != last {
				from, to = append(from, int32(t)), append(to, int32(s))
			}
			last = s
		}
	}
	tb.SuccOff, tb.Succ = transpose(n, from, to)
	tb.PredOff, tb.Pred = transpose(n, to, from)
}

// send fills what the edges carry. Of an edge that stands twice the larger size counts.
func (b *Builder) send(tb *sched.Table, src, dst []int32) {
	if len(b.sends) == 0 {
		return
	}
	tb.EdgeBytes = make([]int64, len(tb.Succ))
	for i, v := range b.sends {
		at, _ := slices.BinarySearch(tb.Succs(sched.TaskID(src[i])), sched.TaskID(dst[i]))
		at += int(tb.SuccOff[src[i]])
		tb.EdgeBytes[at] = max(tb.EdgeBytes[at], v)
	}
}

// transpose groups the edges by key[i], in input order within a key.
func transpose(n int, key, value []int32) ([]int32, []sched.TaskID) {
	off := make([]int32, n+1)
	for _, k := range key {
		off[k+1]++
	}
	for i := range n {
		off[i+1] += off[i]
	}
	next := slices.Clone(off[:n])
	out := make([]sched.TaskID, len(key))
	for i, k := range key {
		out[next[k]] = sched.TaskID(value[i])
		next[k]++
	}
	return off, out
}

// topological returns the tasks in an order of the edges (Kahn's algorithm), without those on or after a cycle; left[t] > 0 for these.
func topological(tb *sched.Table) (order []sched.TaskID, left []int32) {
	n := len(tb.Tasks)
	left = make([]int32, n)
	order = make([]sched.TaskID, 0, n)
	for t := range n {
		left[t] = int32(len(tb.Preds(sched.TaskID(t))))
		if left[t] == 0 {
			order = append(order, sched.TaskID(t))
		}
	}
	for i := 0; i < len(order); i++ {
		for _, s := range tb.Succs(order[i]) {
			if left[s]--; left[s] == 0 {
				order = append(order, s)
			}
		}
	}
	return order, left
}

// findCycle returns the tasks of a cycle in order of the edges, beginning with the lowest, or nil.
func findCycle(tb *sched.Table) []sched.TaskID {
	if tb.SuccOff == nil {
		return nil
	}
	order, left := topological(tb)
	if len(order) == len(tb.Tasks) {
		return nil
	}
	// Whoever is left has a predecessor that is left: going back must come round.
	t := sched.TaskID(slices.IndexFunc(left, func(l int32) bool { return l > 0 }))
	seen := make(map[sched.TaskID]int)
	var path []sched.TaskID
	for {
		if at, ok := seen[t]; ok {
			path = path[at:]
			break
		}
		seen[t] = len(path)
		path = append(path, t)
		for _, p := range tb.Preds(t) {
			if left[p] > 0 {
				t = p
				break
			}
		}
	}
	slices.Reverse(path)
	low := slices.Index(path, slices.Min(path))
	return append(path[low:len(path):len(path)], path[:low]...)
}

func (b *Builder) cycleError(w *Workload, cycle []sched.TaskID) error {
	line := 0
	rows := make(map[int32]bool, len(cycle))
	for _, t := range cycle {
		if w.Input != nil {
			rows[w.Input[t]] = true
		} else {
			rows[int32(t)] = true
		}
	}
	for _, a := range b.after {
		if rows[a.row] && (line == 0 || int(a.line) < line) {
			line = int(a.line)
		}
	}
	text := make([]string, 0, maxShown+3)
	for i, t := range cycle {
		if i == maxShown {
			text = append(text, fmt.Sprintf("(%d more)", len(cycle)-i))
			break
		}
		text = append(text, w.TaskNames.At(int(t)))
	}
	text = append(text, w.TaskNames.At(int(cycle[0])))
	return b.Errorf(line, "cycle %s", strings.Join(text, " -> "))
}

func permuted[T any](s []T, order []int32) []T {
	out := make([]T, len(s))
	for t, i := range order {
		out[t] = s[i]
	}
	return out
}

func rekey[T any](m map[sched.TaskID]T, place []int32) map[sched.TaskID]T {
	if m == nil || place == nil {
		return m
	}
	out := make(map[sched.TaskID]T, len(m))
	for i, v := range m {
		out[sched.TaskID(place[i])] = v
	}
	return out
}

// intern numbers strings; 0 is "".
type intern struct {
	ids  map[string]int32
	list []string
	last int32
}

func (n *intern) id(s string) int32 {
	if s == "" {
		return 0
	}
	if n.last > 0 && n.list[n.last] == s {
		return n.last
	}
	id, ok := n.ids[s]
	if !ok {
		if n.ids == nil {
			n.ids = map[string]int32{}
			n.list = []string{""}
		}
		s = strings.Clone(s)
		id = int32(len(n.list))
		n.list = append(n.list, s)
		n.ids[s] = id
	}
	n.last = id
	return id
}

// bytesID is id without making a string of a known text.
func (n *intern) bytesID(s []byte) int32 {
	if len(s) == 0 {
		return 0
	}
	if id, ok := n.ids[string(s)]; ok {
		return id
	}
	return n.id(string(s))
}

func (n *intern) all() []string {
	if n.list == nil {
		return []string{""}
	}
	return n.list
}

// nameList holds strings one after the other. As ids it stores nothing while item i is called i+1.
type nameList struct {
	blob   []byte
	end    []uint32
	count  int    // items, where nothing is stored
	next   []byte // what the next id is called if the ids go on counting; empty if that has yet to be written
	rising bool   // ids: all are numbers, each larger than the one before
	last   uint64
}

func (l *nameList) len() int { return max(l.count, len(l.end)) }

// counts reports whether ids are 1..n.
func (l *nameList) counts() bool { return l.end == nil }

func (l *nameList) add(s []byte) bool {
	if len(l.blob)+len(s) > math.MaxUint32 {
		return false
	}
	l.blob = append(l.blob, s...)
	l.end = append(l.end, uint32(len(l.blob)))
	return true
}

// addID adds an id; "" is the 1-based number of the item.
func (l *nameList) addID(s []byte) bool {
	if l.end == nil {
		if len(l.next) == 0 {
			l.next = strconv.AppendInt(l.next, int64(l.count)+1, 10)
		}
		if len(s) == 0 || string(s) == string(l.next) {
			l.count++
			l.next = increment(l.next)
			return true
		}
		l.rising = true
		l.last = uint64(l.count)
		l.end = make([]uint32, 0, l.count+1)
		n := l.count
		l.count = 0
		for i := range n {
			l.blob = strconv.AppendInt(l.blob, int64(i)+1, 10)
			l.end = append(l.end, uint32(len(l.blob)))
		}
	}
	var buf [20]byte
	if len(s) == 0 {
		s = strconv.AppendInt(buf[:0], int64(len(l.end))+1, 10)
	}
	if l.rising {
		v, ok := canonical(s)
		l.rising = ok && (v > l.last || len(l.end) == 0)
		l.last = v
	}
	if len(l.blob)+len(s) > math.MaxUint32 {
		return false
	}
	l.blob = append(l.blob, s...)
	l.end = append(l.end, uint32(len(l.blob)))
	return true
}

// increment adds 1 to a decimal number in place.
func increment(s []byte) []byte {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i]++; s[i] <= '9' {
			return s
		}
		s[i] = '0'
	}
	s = append(s, '0')
	s[0] = '1'
	return s
}

// inOrder turns the list into names in the order given (positions in the list; nil = as they stand). The list must not be used
// afterwards. It reports false when they are too long together.
func (l *nameList) inOrder(order []int32) (sched.Names, bool) {
	if order == nil {
		return sched.NamesOf(l.blob, l.end), true
	}
	end := make([]uint32, len(order))
	var blob []byte
	if l.end == nil {
		blob = make([]byte, 0, 10*len(order))
	} else {
		blob = make([]byte, 0, len(l.blob))
	}
	for i, from := range order {
		if l.end == nil {
			blob = strconv.AppendInt(blob, int64(from)+1, 10)
		} else {
			blob = append(blob, l.bytesAt(int(from))...)
		}
		if len(blob) > math.MaxUint32 {
			return sched.Names{}, false
		}
		end[i] = uint32(len(blob))
	}
	*l = nameList{}
	return sched.NamesOf(blob, end), true
}

// canonical returns the number that s is, if s is how it prints.
func canonical(s []byte) (uint64, bool) {
	if len(s) == 0 || len(s) > 18 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	v := uint64(0)
	for _, c := range s {
		if c -= '0'; c > 9 {
			return 0, false
		}
		v = v*10 + uint64(c)
	}
	return v, true
}

// bytesAt returns item i of a list that stores its items.
func (l *nameList) bytesAt(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = l.end[i-1]
	}
	return l.blob[from:l.end[i]]
}

func (l *nameList) at(i int) string {
	if l.end == nil {
		return strconv.Itoa(i + 1)
	}
	return string(l.bytesAt(i))
}

// ownJob stands for the job of every task that is a job of its own: such tasks must differ in id.
const ownJob sched.JobID = -1

func (b *Builder) jobKey(i int32) sched.JobID {
	if j := b.tasks[i].Job; b.isNamed != nil && b.isNamed[j] {
		return j
	}
	return ownJob
}

// index finds the input position of a task by job and id: open addressing, slots hold position + 1.
type index struct {
	seed     maphash.Seed
	slots    []int32
	anywhere bool // by id alone
}

func (x *index) hash(job sched.JobID, id []byte) int {
	h := maphash.Bytes(x.seed, id)
	if !x.anywhere {
		h ^= uint64(job) * 0x9e3779b97f4a7c15
	}
	return int(h & uint64(len(x.slots)-1))
}

// put adds task i; if its key is taken it returns the position of the task that has it, otherwise -1.
func (x *index) put(b *Builder, i int32) int32 {
	var buf [20]byte
	id := b.idBytes(buf[:0], i)
	job := b.jobKey(i)
	for at := x.hash(job, id); ; at = (at + 1) & (len(x.slots) - 1) {
		other := x.slots[at] - 1
		if other < 0 {
			x.slots[at] = i + 1
			return -1
		}
		if x.equal(b, other, job, id) {
			return other
		}
	}
}

func (x *index) find(b *Builder, job sched.JobID, id string) int32 {
	if len(x.slots) == 0 {
		return -1
	}
	key := []byte(id)
	for at := x.hash(job, key); x.slots[at] != 0; at = (at + 1) & (len(x.slots) - 1) {
		if i := x.slots[at] - 1; x.equal(b, i, job, key) {
			return i
		}
	}
	return -1
}

func (x *index) equal(b *Builder, i int32, job sched.JobID, id []byte) bool {
	if !x.anywhere && b.jobKey(i) != job {
		return false
	}
	var buf [20]byte
	return bytes.Equal(b.idBytes(buf[:0], i), id)
}

func (b *Builder) idBytes(buf []byte, i int32) []byte {
	if b.ids.end == nil {
		return strconv.AppendInt(buf, int64(i)+1, 10)
	}
	return b.ids.bytesAt(int(i))
}

// droppedText says in a few words what was dropped, for an error.
func droppedText(notes []Note) string {
	var s []string
	for _, n := range notes {
		if n.Dropped {
			s = append(s, fmt.Sprintf("%d dropped: %s, first at %d", n.Count, n.Reason, n.FirstLine))
		}
	}
	if s == nil {
		return ""
	}
	return " (" + strings.Join(s, "; ") + ")"
}
