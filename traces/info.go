package traces

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schedlab/schedlab/policies/sched"
)

// Quantiles describes a distribution over tasks; units as its owner says. A quantile is the smallest value that at least that share
// of the tasks does not exceed.
type Quantiles struct {
	Min    float64 `json:"min"`
	P25    float64 `json:"p25"`
	Median float64 `json:"median"`
	P75    float64 `json:"p75"`
	P90    float64 `json:"p90"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
	Mean   float64 `json:"mean"`
}

func quantiles(values []float64) Quantiles {
	if len(values) == 0 {
		return Quantiles{}
	}
	slices.Sort(values)
	at := func(q float64) float64 { return values[max(0, int(math.Ceil(q*float64(len(values))))-1)] }
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return Quantiles{at(0), at(.25), at(.5), at(.75), at(.9), at(.99), at(1), sum / float64(len(values))}
}

// Share is a tenant, queue or kind and its part of the tasks and of the work.
type Share struct {
	Name       string  `json:"name"`
	Tasks      int     `json:"tasks"`
	GPUSeconds float64 `json:"gpu_s"`
	CPUSeconds float64 `json:"cpu_s"`
}

// Offered is the work that a workload asks for of one resource, and its load on a cluster.
type Offered struct {
	Resource string   `json:"resource"` // gpu (GPU-s), cpu (CPU-s), memory (GiB-s)
	Work     float64  `json:"work"`
	Capacity *float64 `json:"capacity"` // GPUs, CPUs, GiB; null without a cluster or where it is not limited
	Load     *float64 `json:"load"`     // work / (capacity x span of submits); null where it has no meaning
}

// Info is what `schedlab trace info` says of a workload.
type Info struct {
	Schema           string    `json:"schema"` // schedlab/trace-info/v1
	Source           string    `json:"source"`
	Format           string    `json:"format"`
	Cluster          string    `json:"cluster,omitempty"` // the nodes that loads are of, in words; the caller's to set
	Tasks            int       `json:"tasks"`
	Jobs             int       `json:"jobs"`
	Edges            int       `json:"edges"`
	Classes          int       `json:"classes"`
	Periodic         int       `json:"periodic"`
	Recurring        int       `json:"recurring_jobs"`
	Deadlines        int       `json:"deadlines"`
	MissingEstimates int       `json:"missing_estimates"`
	FirstSubmit      float64   `json:"first_submit_s"`
	LastSubmit       float64   `json:"last_submit_s"`
	Span             float64   `json:"span_s"`
	LongestPath      float64   `json:"longest_path_s"` // by true run times along dependencies
	Run              Quantiles `json:"run_s"`
	EstimateRatio    Quantiles `json:"estimate_ratio"` // estimate / run, tasks with a run time
	GPUs             Quantiles `json:"gpus"`           // of the whole task, gang included
	CPUs             Quantiles `json:"cpus"`
	Memory           Quantiles `json:"memory_gib"`
	Offered          []Offered `json:"offered"`
	Tenants          []Share   `json:"tenants"` // by work, largest first
	Queues           []Share   `json:"queues"`
	Kinds            []Share   `json:"kinds"`
	Notes            []Note    `json:"notes"`
}

// Info describes the workload; nodes may be nil.
func (w *Workload) Info(nodes []sched.NodeSpec) *Info {
	first, last := w.span()
	n := len(w.Tasks)
	in := &Info{
		Schema: "schedlab/trace-info/v1", Source: w.Source, Format: w.Format, Tasks: n, Jobs: int(w.Jobs), Edges: len(w.Succ), Classes: len(w.Classes),
		Recurring: len(w.Every), MissingEstimates: w.MissingEstimates, FirstSubmit: first.Seconds(), LastSubmit: last.Seconds(),
		Span: last.Sub(first).Seconds(), Notes: append([]Note{}, w.Notes...), Offered: []Offered{},
	}
	tenants, queues, kinds := make([]Share, len(w.Tenants)), make([]Share, len(w.Queues)), make([]Share, len(w.Kinds))
	run, gpus, cpus, mem := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	ratio := make([]float64, 0, n)
	for t := range n {
		c := w.ClassOf(sched.TaskID(t))
		d := &w.Demands[c.Demand]
		s := w.Run[t].Seconds()
		run[t], gpus[t], cpus[t] = s, float64(d.GPUTotal())/sched.Whole, float64(d.CPUTotal())/1000
		mem[t] = float64(d.Gang) * float64(d.Need.Mem) / gib
		if s > 0 {
			ratio = append(ratio, w.Estimates[t].Seconds()/s)
		}
		if c.Period > 0 && !w.Expanded {
			in.Periodic++
		}
		if w.DeadlineOf(sched.TaskID(t)) != sched.Never {
			in.Deadlines++
		}
		for _, share := range []*Share{&tenants[c.Tenant], &queues[c.Queue], &kinds[c.Kind]} {
			share.Tasks++
			share.GPUSeconds += s * gpus[t]
			share.CPUSeconds += s * cpus[t]
		}
	}
	in.Tenants, in.Queues, in.Kinds = shares(tenants, w.Tenants), shares(queues, w.Queues), shares(kinds, w.Kinds)
	in.Run, in.GPUs, in.CPUs, in.Memory, in.EstimateRatio = quantiles(run), quantiles(gpus), quantiles(cpus), quantiles(mem), quantiles(ratio)
	in.LongestPath = w.longestPath().Seconds()

	want, have := w.work(), capacity(nodes)
	for _, o := range []struct {
		name       string
		want, have float64
	}{{"gpu", want.gpu, have.gpu}, {"cpu", want.cpu, have.cpu}, {"memory", want.mem / gib, have.mem / gib}} {
		if o.want == 0 {
			continue
		}
		offered := Offered{Resource: o.name, Work: o.want}
		if nodes != nil && !math.IsInf(o.have, 0) {
			offered.Capacity = &o.have
			if load := o.want / (o.have * in.Span); in.Span > 0 && o.have > 0 {
				offered.Load = &load
			}
		}
		in.Offered = append(in.Offered, offered)
	}
	return in
}

func shares(list []Share, names []string) []Share {
	out := []Share{}
	for i, s := range list {
		if s.Name = names[i]; s.Tasks > 0 && s.Name != "" {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(x, y Share) int {
		return cmp.Or(cmp.Compare(y.GPUSeconds, x.GPUSeconds), cmp.Compare(y.CPUSeconds, x.CPUSeconds), cmp.Compare(x.Name, y.Name))
	})
	return out
}

// longestPath returns the longest path by true run times, along dependencies.
func (w *Workload) longestPath() time.Duration {
	order, _ := topological(w.Table)
	end := make([]time.Duration, len(w.Tasks))
	longest := time.Duration(0)
	for _, t := range order {
		end[t] = min(end[t], maxDuration) + w.Run[t]
		longest = max(longest, end[t])
		for _, s := range w.Succs(t) {
			end[s] = max(end[s], end[t])
		}
	}
	return longest
}

// Text writes the info for people. It returns the writer's error.
func (in *Info) Text(out io.Writer) error {
	var s strings.Builder
	line := func(key, format string, args ...any) {
		col := 14
		fmt.Fprintf(&s, "%-14s", key)
		for _, word := range strings.Fields(fmt.Sprintf(format, args...)) { // at most 80 columns
			if n := 1 + utf8.RuneCountInString(word); col > 14 && col+n > 79 {
				fmt.Fprintf(&s, "\n%-15s%s", "", word)
				col = 14 + n
			} else {
				s.WriteString(" " + word)
				col += n
			}
		}
		s.WriteByte('\n')
	}
	line("trace", "%s (%s)", in.Source, in.Format)
	if in.Cluster != "" {
		line("cluster", "%s", in.Cluster)
	}
	line("tasks", "%d in %s, %s", in.Tasks, plural(in.Jobs, "job"), strings.Replace(plural(in.Edges, "dependency"), "dependencys", "dependencies", 1))
	line("submitted", "%s to %s s on the trace's axis, span %s", full(in.FirstSubmit), full(in.LastSubmit), people(in.Span))
	if in.Periodic+in.Recurring > 0 {
		line("recurring", "%d periodic tasks, %d recurring jobs", in.Periodic, in.Recurring)
	}
	if in.Deadlines > 0 {
		line("deadlines", "%d tasks have one", in.Deadlines)
	}
	if in.Edges > 0 {
		line("longest path", "%s", people(in.LongestPath))
	}
	fmt.Fprintf(&s, "\n%-14s", "per task")
	for _, name := range []string{"min", "p25", "median", "p75", "p90", "p99", "max", "mean"} {
		fmt.Fprintf(&s, " %7s", name)
	}
	s.WriteByte('\n')
	row := func(name string, q Quantiles) {
		if q.Max == 0 {
			return
		}
		fmt.Fprintf(&s, "%-14s", name)
		for _, v := range []float64{q.Min, q.P25, q.Median, q.P75, q.P90, q.P99, q.Max, q.Mean} {
			fmt.Fprintf(&s, " %7s", short(v))
		}
		s.WriteByte('\n')
	}
	row("run time s", in.Run)
	if in.MissingEstimates < in.Tasks {
		row("estimate / run", in.EstimateRatio)
	}
	row("GPUs", in.GPUs)
	row("CPUs", in.CPUs)
	row("memory GiB", in.Memory)
	s.WriteByte('\n')
	for _, o := range in.Offered {
		unit := map[string]string{"gpu": "GPU-h", "cpu": "CPU-h", "memory": "GiB-h"}[o.Resource]
		text := fmt.Sprintf("%s %s", full(o.Work/3600), unit)
		if o.Capacity != nil {
			text += fmt.Sprintf(" on a capacity of %s", full(*o.Capacity))
		}
		if o.Load != nil {
			text += fmt.Sprintf(": load %.3f", *o.Load)
		}
		line("offered "+o.Resource, "%s", text)
	}
	for _, g := range []struct {
		name string
		list []Share
	}{{"tenants", in.Tenants}, {"queues", in.Queues}, {"kinds", in.Kinds}} {
		if len(g.list) == 0 {
			continue
		}
		var top []string
		for i, x := range g.list {
			if i == 5 {
				top = append(top, "...")
				break
			}
			top = append(top, fmt.Sprintf("%s (%s)", x.Name, plural(x.Tasks, "task")))
		}
		line(g.name, "%d: %s", len(g.list), strings.Join(top, ", "))
	}
	if in.MissingEstimates > 0 {
		line("estimates", "%d of %d are missing; the true run time stands in", in.MissingEstimates, in.Tasks)
	}
	for _, n := range in.Notes {
		line("note", "%s", n)
	}
	_, err := io.WriteString(out, s.String())
	return err
}

// String says the note for people: "dropped 7426: run time is 0 or unknown (first at line 12)".
func (n Note) String() string {
	what := "kept"
	if n.Dropped {
		what = "dropped"
	}
	s := fmt.Sprintf("%s %d: %s", what, n.Count, n.Reason)
	if n.FirstLine > 0 {
		s += fmt.Sprintf(" (first at line %d)", n.FirstLine)
	}
	return s
}

// full prints four significant digits, and never fewer than all before the point.
func full(v float64) string {
	if math.Abs(v) >= 1000 && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// short prints at most seven characters: whole numbers below a million in full, all else to three or four digits.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a == 0 || a >= 0.001 && a < 1e6:
		if a >= 1000 {
			return strconv.FormatFloat(v, 'f', 0, 64)
		}
		if a < 0.1 {
			return strconv.FormatFloat(v, 'g', 3, 64)
		}
		return strconv.FormatFloat(v, 'g', 4, 64)
	case a >= 1e6 && a < 1e9:
		return strconv.FormatFloat(v/1e6, 'g', 4, 64) + "M"
	}
	return strconv.FormatFloat(v, 'e', 1, 64)
}

// people prints seconds in the unit that suits them.
func people(s float64) string {
	switch {
	case s >= 2*86400:
		return full(s) + " s (" + strconv.FormatFloat(s/86400, 'f', 1, 64) + " days)"
	case s >= 2*3600:
		return full(s) + " s (" + strconv.FormatFloat(s/3600, 'f', 1, 64) + " h)"
	}
	return full(s) + " s"
}

// Problem is something that `schedlab trace check` found in a workload that could be read.
type Problem struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
	First string `json:"first"`          // id of the first task that it concerns
	Asks  string `json:"asks,omitempty"` // what that task asks for, where that is the problem
	Fatal bool   `json:"fatal"`          // the workload cannot be run to its end on the cluster
}

func (p Problem) String() string {
	s := fmt.Sprintf("%s: %s, first %s", p.Text, plural(p.Count, "task"), p.First)
	if p.Asks != "" {
		s += ", which asks for " + p.Asks
	}
	return s
}

// Check looks for what is allowed and yet likely to be wrong, and, where nodes are given, for tasks that no node can hold.
func (w *Workload) Check(nodes []sched.NodeSpec) []Problem {
	var list []Problem
	add := func(t int, fatal bool, text string) {
		for i := range list {
			if list[i].Text == text {
				list[i].Count++
				return
			}
		}
		p := Problem{Text: text, Count: 1, First: w.TaskNames.At(t), Fatal: fatal}
		if fatal {
			p.Asks = w.DemandOf(sched.TaskID(t)).String()
		}
		list = append(list, p)
	}
	fits := make([]string, len(w.Demands))
	for i := range w.Demands {
		if nodes != nil {
			fits[i] = misfit(&w.Demands[i], nodes)
		}
	}
	for t := range w.Tasks {
		c := w.ClassOf(sched.TaskID(t))
		if why := fits[c.Demand]; why != "" {
			add(t, true, why)
		}
		if w.Run[t] == 0 {
			add(t, false, "the run time is 0")
		}
		if w.Estimates[t] < w.Run[t] {
			add(t, false, "the estimate is below the run time")
		}
		if c.RelDeadline > 0 && c.RelDeadline < w.Run[t] {
			add(t, false, "the deadline is shorter than the run time")
		}
		if c.Period > 0 && c.Period < w.Run[t] {
			add(t, false, "the period is shorter than the run time")
		}
		for _, p := range w.Preds(sched.TaskID(t)) {
			if w.Tasks[p].Submit > w.Tasks[t].Submit {
				add(t, false, "a predecessor is submitted later than the task")
				break
			}
		}
	}
	if nodes != nil {
		list = append(list, w.Strangers(nodes)...)
	}
	return list
}

// maxStrangers bounds how many names Strangers lists.
const maxStrangers = 5

// Strangers lists the names in run_on, speed_on and input_at that no node bears and no GPU type, which are likely misspelt: they mean nothing. Of a
// throughput table one type must be there, since it may serve many clusters.
func (w *Workload) Strangers(nodes []sched.NodeSpec) []Problem {
	if len(w.RunOn)+len(w.Data)+len(w.Speeds) == 0 {
		return nil
	}
	names, types := make(map[string]bool, len(nodes)), map[string]bool{}
	for i := range nodes {
		names[nodes[i].Name] = true
		if nodes[i].GPUType != "" {
			types[sched.GPUKey(nodes[i].GPUType)] = true
		}
	}
	var list []Problem
	at, more := map[string]int{}, map[string]bool{}
	var rest Problem
	note := func(t sched.TaskID, text string) {
		i, ok := at[text]
		switch {
		case ok:
			list[i].Count++
		case len(list) < maxStrangers:
			at[text] = len(list)
			list = append(list, Problem{Text: text, Count: 1, First: w.TaskNames.At(int(t))})
		default:
			more[text] = true
			if rest.Count++; rest.Count == 1 {
				rest.First = w.TaskNames.At(int(t))
			}
		}
	}
	for _, t := range slices.Sorted(maps.Keys(w.RunOn)) {
		for _, c := range w.RunOn[t] {
			if !names[c.On] && !types[sched.GPUKey(c.On)] {
				note(t, fmt.Sprintf("run_on: no node and no GPU type here is named %q", c.On))
			}
		}
	}
	for _, t := range slices.Sorted(maps.Keys(w.Data)) {
		if on := w.Data[t].At; on != "" && !names[on] {
			note(t, fmt.Sprintf("input_at: no node here is named %q", on))
		}
	}
	strange := make([]string, len(w.Speeds)) // what to say of a throughput table
	for i, table := range w.Speeds {
		if len(table) == 0 || slices.ContainsFunc(table, func(s sched.SpeedOn) bool { return types[sched.GPUKey(s.GPUType)] }) {
			continue
		}
		all := make([]string, len(table))
		for k, s := range table {
			all[k] = s.GPUType
		}
		strange[i] = "speed_on: no GPU here is of type " + strings.Join(all, " or ")
	}
	if slices.ContainsFunc(strange, func(s string) bool { return s != "" }) {
		for t := range w.Tasks {
			if s := strange[w.ClassOf(sched.TaskID(t)).Speeds]; s != "" {
				note(sched.TaskID(t), s)
			}
		}
	}
	if len(more) > 0 {
		rest.Text = plural(len(more), "further such name")
		list = append(list, rest)
	}
	return list
}

// PoolShare says why a node of very many GPUs takes no part of one.
var PoolShare = fmt.Sprintf("a share of a GPU cannot be had on a node of more than %d GPUs", sched.MaxDevices)

// misfit says why the nodes cannot hold the gang together when they are empty, "" if they can as far as replicas of this one
// demand go.
func misfit(d *sched.Demand, nodes []sched.NodeSpec) string {
	room := int64(0)
	why := "no node of an allowed GPU type, with the labels and without a taint"
	if len(d.NotLabels) > 0 {
		why = "no node of an allowed GPU type, with the labels, without those that it must not have and without a taint"
	}
	for i := range nodes {
		n := &nodes[i]
		if !suits(d, n) {
			continue
		}
		if d.Need.GPUs > 0 && d.Need.GPUMilli < sched.Whole && n.GPUs > sched.MaxDevices {
			if room == 0 {
				why = PoolShare
			}
			continue
		}
		k := int64(math.MaxInt32)
		limit := func(have, want int64) {
			if want > 0 && have < sched.Unlimited {
				k = min(k, have/want)
			}
		}
		limit(n.CPU, d.Need.CPU)
		limit(n.Mem, d.Need.Mem)
		if d.Need.GPUs > 0 {
			each := int64(1) // replicas on one device
			if d.Need.GPUMilli < sched.Whole {
				each = int64(sched.Whole / d.Need.GPUMilli)
			}
			if d.Need.VRAM > 0 && n.VRAM < sched.Unlimited {
				each = min(each, n.VRAM/d.Need.VRAM)
			}
			limit(int64(n.GPUs)*each, int64(d.Need.GPUs))
		}
		room += k
		if room >= int64(d.Gang) {
			return ""
		}
		why = "no node holds one replica"
		if room > 0 {
			why = "all nodes together do not hold the gang"
		}
	}
	return why
}

// suits reports whether the node is of the right kind for the demand, whatever its size.
func suits(d *sched.Demand, n *sched.NodeSpec) bool {
	if d.Need.GPUs > 0 && !d.TakesGPU(n.GPUType) {
		return false
	}
	for _, l := range d.Labels {
		if !slices.Contains(n.Labels, l) {
			return false
		}
	}
	for _, l := range d.NotLabels {
		if slices.ContainsFunc(n.Labels, l.Forbids) {
			return false
		}
	}
	for _, taint := range n.Taints {
		if taint.Effect != "PreferNoSchedule" && !slices.ContainsFunc(d.Tolerations, func(t sched.Toleration) bool { return t.Tolerates(taint) }) {
			return false
		}
	}
	return true
}
