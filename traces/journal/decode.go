package journal

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// What the lines look like to encoding/json.

type headerJSON struct {
	Schema string          `json:"schema"`
	Policy string          `json:"policy"`
	Seed   int64           `json:"seed"`
	Config json.RawMessage `json:"config"`
	Nodes  []nodeJSON      `json:"nodes"`
}

type lineJSON struct {
	B    int64         `json:"b"`
	T    sched.Time    `json:"t"`
	In   []eventJSON   `json:"in"`
	Out  []commandJSON `json:"out"`
	More bool          `json:"more"`
}

type eventJSON struct {
	K       string        `json:"k"`
	Task    sched.TaskID  `json:"task"`
	Other   sched.TaskID  `json:"other"`
	N       int32         `json:"n"`
	Node    sched.NodeID  `json:"node"`
	Try     int32         `json:"try"`
	Done    time.Duration `json:"done"`
	Value   int64         `json:"value"`
	Spec    *nodeJSON     `json:"spec"`
	Profile *profileJSON  `json:"profile"`
	Quota   *quotaJSON    `json:"quota"`
	Policy  *string       `json:"policy"`
	Name    *string       `json:"name"`

	Job     sched.JobID `json:"job"`
	JobName *string     `json:"jobname"`
	Classes []classJSON `json:"classes"`
	Tasks   []taskJSON  `json:"tasks"`
}

type classJSON struct {
	ID          int32            `json:"id"`
	Demand      int32            `json:"demand"`
	Kind        interned         `json:"kind"`
	Tenant      interned         `json:"tenant"`
	Queue       interned         `json:"queue"`
	Priority    int32            `json:"priority"`
	Retries     int32            `json:"retries"`
	Criticality number           `json:"criticality"`
	Period      time.Duration    `json:"period"`
	RelDeadline time.Duration    `json:"rel_deadline"`
	Backoff     time.Duration    `json:"backoff"`
	Need        needJSON         `json:"need"`
	Gang        int32            `json:"gang"`
	GPUTypes    []string         `json:"gpu_types"`
	Labels      [][2]string      `json:"labels"`
	Tolerations []tolerationJSON `json:"tolerations"`

	speeds  int32 // version 1 had none
	speedOn []sched.SpeedOn

	notLabels []sched.NotLabel // neither
}

type needJSON struct {
	CPU      int64 `json:"cpu"`
	Mem      int64 `json:"mem"`
	VRAM     int64 `json:"vram"`
	GPUs     int32 `json:"gpus"`
	GPUMilli int32 `json:"gpu_milli"`
}

type tolerationJSON struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
	Exists bool   `json:"exists"`
}

type taskJSON struct {
	Name     *string       `json:"name"`
	Class    int32         `json:"class"`
	Submit   *sched.Time   `json:"submit"`
	Est      time.Duration `json:"est"`
	Deadline *sched.Time   `json:"deadline"`
	After    []int32       `json:"after"`
	Sent     []int64       `json:"sent"` // bytes, by predecessor
	EstOn    []struct {
		On  string        `json:"on"`
		Run time.Duration `json:"run"`
	} `json:"est_on"`
	Data *struct {
		In  int64  `json:"in"`
		Out int64  `json:"out"`
		At  string `json:"at"`
	} `json:"data"`
}

type nodeJSON struct {
	Name           string        `json:"name"`
	CPU            *int64        `json:"cpu_milli"`
	Mem            *int64        `json:"mem"`
	GPUs           int32         `json:"gpus"`
	GPUType        string        `json:"gpu_type"`
	VRAM           *int64        `json:"vram"`
	SpeedMilli     int64         `json:"speed_milli"`
	StorageLatency time.Duration `json:"storage_latency_ns"`
	StorageMBps    number        `json:"storage_mb_s"`
	NetworkMbps    number        `json:"network_mbit_s"`
	NetworkLatency time.Duration `json:"network_latency_ns"`
	Labels         [][2]string   `json:"labels"`
	Taints         [][3]string   `json:"taints"`
}

type profileJSON struct {
	SampledAt   sched.Time    `json:"sampled_at"`
	OtherCPU    int64         `json:"other_cpu"`
	OtherMem    int64         `json:"other_mem"`
	OtherGPUs   sched.Devices `json:"other_gpus"`
	GPULoad     number        `json:"gpu_load"`
	Latency     time.Duration `json:"latency_ns"`
	Connections int32         `json:"connections"`
}

type quotaJSON struct {
	Tenant   string `json:"tenant"`
	Queue    string `json:"queue"`
	CPU      int64  `json:"cpu"`
	GPUMilli int64  `json:"gpu_milli"`
	Tasks    int64  `json:"tasks"`

	Cohort         string `json:"cohort"`
	BorrowCPU      int64  `json:"borrow_cpu"`
	BorrowGPUMilli int64  `json:"borrow_gpu_milli"`
	Reclaim        bool   `json:"reclaim"`
}

type commandJSON struct {
	K        string         `json:"k"`
	Cause    sched.Cause    `json:"cause"`
	Task     sched.TaskID   `json:"task"`
	Try      int32          `json:"try"`
	Queue    sched.QueueID  `json:"queue"`
	Replicas int32          `json:"replicas"`
	On       []placementRaw `json:"on"`
}

// number is a float that may also stand as "NaN", "+Inf" or "-Inf".
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	if len(b) > 1 && b[0] == '"' {
		b = b[1 : len(b)-1]
	}
	v, err := strconv.ParseFloat(string(b), 64)
	*n = number(v)
	return err
}

// interned is a number and the name that it stands for.
type interned struct {
	id   int32
	name string
}

func (x *interned) UnmarshalJSON(b []byte) error {
	pair := [2]any{&x.id, &x.name}
	list := pair[:]
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list) != 2 {
		return fmt.Errorf("a name is [number, text], not %d members", len(list))
	}
	return nil
}

type placementRaw sched.Placement

func (p *placementRaw) UnmarshalJSON(b []byte) error {
	var gpus string
	three := [3]any{&p.Node, &p.Replicas, &gpus}
	list := three[:]
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list) < 2 || len(list) > 3 {
		return fmt.Errorf("a placement is [node, replicas, GPUs], not %d members", len(list))
	}
	if gpus != "" {
		set, err := strconv.ParseUint(gpus, 16, 64)
		if err != nil {
			return fmt.Errorf("a placement's GPUs: %w", err)
		}
		p.GPUs = sched.Devices(set)
	}
	return nil
}

func labelsOf(list [][2]string) []sched.Label {
	if len(list) == 0 {
		return nil
	}
	out := make([]sched.Label, len(list))
	for i, l := range list {
		out[i] = sched.Label{Key: l[0], Value: l[1]}
	}
	return out
}

func capacityOf(v *int64) int64 {
	if v == nil {
		return sched.Unlimited
	}
	return *v
}

func (n *nodeJSON) spec() sched.NodeSpec {
	s := sched.NodeSpec{
		Name: n.Name, CPU: capacityOf(n.CPU), Mem: capacityOf(n.Mem), GPUs: n.GPUs, GPUType: n.GPUType, VRAM: capacityOf(n.VRAM),
		SpeedMilli: n.SpeedMilli, StorageLatency: n.StorageLatency, StorageMBps: float64(n.StorageMBps), NetworkMbps: float64(n.NetworkMbps), NetworkLatency: n.NetworkLatency,
		Labels: labelsOf(n.Labels),
	}
	for _, t := range n.Taints {
		s.Taints = append(s.Taints, sched.Taint{Key: t[0], Value: t[1], Effect: t[2]})
	}
	return s
}

func (c *classJSON) class() (sched.Class, sched.Demand) {
	d := sched.Demand{
		Need: sched.Need(c.Need), Gang: c.Gang, GPUTypes: c.GPUTypes, Labels: labelsOf(c.Labels), NotLabels: c.notLabels,
	}
	for _, t := range c.Tolerations {
		d.Tolerations = append(d.Tolerations, sched.Toleration(t))
	}
	return sched.Class{
		Demand: sched.DemandID(c.Demand), Kind: sched.KindID(c.Kind.id), Tenant: sched.TenantID(c.Tenant.id), Queue: sched.QueueID(c.Queue.id),
		Priority: c.Priority, Retries: c.Retries, Criticality: float64(c.Criticality), Period: c.Period, RelDeadline: c.RelDeadline,
		Backoff: c.Backoff, Speeds: sched.SpeedsID(c.speeds),
	}, d
}

var commandKinds = map[string]sched.CommandKind{
	"start": sched.Start, "stop": sched.Stop, "checkpoint": sched.Checkpoint, "scale": sched.Scale, "reject": sched.Reject,
}

func (c *commandJSON) command() (sched.Command, error) {
	kind, ok := commandKinds[c.K]
	if !ok {
		return sched.Command{}, fmt.Errorf("unknown order %q", c.K)
	}
	out := sched.Command{Kind: kind, Cause: c.Cause, Task: c.Task, Attempt: c.Try, Queue: c.Queue, Replicas: c.Replicas}
	if len(c.On) > 0 {
		out.On = make([]sched.Placement, len(c.On))
		for i, p := range c.On {
			out.On[i] = sched.Placement(p)
		}
	}
	return out, nil
}

func (e *eventJSON) event(policy func(string) (sched.Policy, error)) (sched.Event, error) {
	kind, ok := sched.EventKindOf(e.K)
	if !ok {
		return sched.Event{}, fmt.Errorf("unknown fact %q", e.K)
	}
	out := sched.Event{Kind: kind, Task: e.Task, Other: e.Other, N: e.N, Node: e.Node, Attempt: e.Try, Done: e.Done, Value: e.Value}
	if e.Spec == nil && e.Profile == nil && e.Quota == nil && e.Policy == nil && e.Name == nil {
		return out, nil
	}
	more := &sched.Detail{}
	out.More = more
	if e.Spec != nil {
		s := e.Spec.spec()
		more.Spec = &s
	}
	if p := e.Profile; p != nil {
		more.Profile = &sched.Profile{
			SampledAt: p.SampledAt, OtherCPU: p.OtherCPU, OtherMem: p.OtherMem, OtherGPUs: p.OtherGPUs, GPULoad: float64(p.GPULoad), Latency: p.Latency,
			Connections: p.Connections,
		}
	}
	if q := e.Quota; q != nil {
		s := sched.Quota(*q)
		more.Quota = &s
	}
	if e.Name != nil {
		more.Name = *e.Name
	}
	if e.Policy != nil {
		if policy == nil {
			more.Name = *e.Policy
			return out, nil
		}
		p, err := policy(*e.Policy)
		if err != nil {
			return out, err
		}
		more.Policy = p
	}
	return out, nil
}

// tableBuilder puts a table together from the jobs' arrivals. Numbers of tasks, jobs, classes and names stay what they were, since a
// policy may break ties by them.
type tableBuilder struct {
	tb      *sched.Table
	in      map[int32]bool // the classes of this frame
	classes map[int32]sched.Class
	demands map[int32]sched.Demand
	speeds  map[int32][]sched.SpeedOn
	names   [3]map[int32]string // kinds, tenants, queues
	sent    []int64             // as Pred; it ends with the last that is not 0
	expect  sched.TaskID        // tasks that the open arrival has announced
}

func newTableBuilder() *tableBuilder {
	b := &tableBuilder{
		tb: &sched.Table{PredOff: []int32{0}}, in: map[int32]bool{}, classes: map[int32]sched.Class{}, demands: map[int32]sched.Demand{},
		speeds: map[int32][]sched.SpeedOn{},
	}
	for i := range b.names {
		b.names[i] = map[int32]string{}
	}
	return b
}

func (b *tableBuilder) add(e *eventJSON, now sched.Time) error {
	arrived := e.K == sched.JobArrived.String()
	if !arrived && e.K != "tasks" {
		return nil
	}
	n := sched.TaskID(len(b.tb.Tasks))
	if e.Task != n {
		return fmt.Errorf("task %d arrives where task %d is due", e.Task, n)
	}
	if arrived {
		if b.expect > n {
			return fmt.Errorf("task %d was announced and did not come", n)
		}
		if e.N <= 0 || int64(n)+int64(e.N) > math.MaxInt32 {
			return fmt.Errorf("a job of %d tasks", e.N)
		}
		b.expect = n + sched.TaskID(e.N)
	}
	if int64(n)+int64(len(e.Tasks)) > int64(b.expect) {
		return fmt.Errorf("more tasks than were announced: %d after task %d", len(e.Tasks), n)
	}
	if e.Job < 0 || int32(e.Job) > b.tb.Jobs {
		return fmt.Errorf("job %d arrives where job %d is due", e.Job, b.tb.Jobs)
	}
	if int32(e.Job) == b.tb.Jobs {
		b.tb.Jobs++
		if e.JobName != nil {
			if b.tb.JobName.Len() != int(e.Job) {
				return fmt.Errorf("job %d has a name and earlier ones have none", e.Job)
			}
			b.tb.JobName.Append(*e.JobName)
		}
	}
	for i := range e.Classes {
		if err := b.define(&e.Classes[i]); err != nil {
			return err
		}
	}
	for i := range e.Tasks {
		if err := b.task(&e.Tasks[i], e.Job, now); err != nil {
			return err
		}
	}
	return nil
}

// define takes a class that a frame writes out.
func (b *tableBuilder) define(c *classJSON) error {
	if c.ID < 0 || c.Demand < 0 || c.Kind.id < 0 || c.Tenant.id < 0 || c.Queue.id < 0 || c.speeds < 0 {
		return fmt.Errorf("class %d has a negative number", c.ID)
	}
	class, demand := c.class()
	b.classes[c.ID], b.demands[c.Demand], b.in[c.ID] = class, demand, true
	if c.speeds > 0 {
		b.speeds[c.speeds] = c.speedOn
	}
	b.names[0][c.Kind.id], b.names[1][c.Tenant.id], b.names[2][c.Queue.id] = c.Kind.name, c.Tenant.name, c.Queue.name
	return nil
}

func (b *tableBuilder) task(t *taskJSON, job sched.JobID, now sched.Time) error {
	tb, id := b.tb, sched.TaskID(len(b.tb.Tasks))
	if !b.in[t.Class] {
		return fmt.Errorf("task %d: class %d is not written out in this frame", id, t.Class)
	}
	task := sched.Task{Submit: now, Job: job, Class: sched.ClassID(t.Class)}
	if t.Submit != nil {
		task.Submit = *t.Submit
	}
	if t.Name != nil {
		if tb.TaskNames.Len() != int(id) {
			return fmt.Errorf("task %d has a name and earlier ones have none", id)
		}
		if !tb.TaskNames.Append(*t.Name) {
			return fmt.Errorf("task %d: the names take more than 4 GiB", id)
		}
	} else if tb.TaskNames.Len() > 0 {
		return fmt.Errorf("task %d has no name and earlier ones have", id)
	}
	deadline := sched.Never
	if t.Deadline != nil {
		deadline = *t.Deadline
	}
	tb.Tasks = append(tb.Tasks, task)
	tb.SetDeadline(id, deadline)
	tb.Estimates = append(tb.Estimates, t.Est)
	for _, p := range t.After {
		if p < 0 || p == int32(id) {
			return fmt.Errorf("task %d: predecessor %d", id, p)
		}
		tb.Pred = append(tb.Pred, sched.TaskID(p))
	}
	if len(t.Sent) > 0 {
		if len(t.Sent) != len(t.After) || slices.Min(t.Sent) < 0 {
			return fmt.Errorf("task %d: %d predecessors send %v", id, len(t.After), t.Sent)
		}
		b.sent = append(append(b.sent, make([]int64, len(tb.Pred)-len(t.Sent)-len(b.sent))...), t.Sent...)
	}
	if len(tb.Pred) > math.MaxInt32 {
		return fmt.Errorf("task %d: more than 2^31-1 edges", id)
	}
	tb.PredOff = append(tb.PredOff, int32(len(tb.Pred)))
	if len(t.EstOn) > 0 {
		if tb.EstimateOn == nil {
			tb.EstimateOn = map[sched.TaskID][]sched.CostOn{}
		}
		for _, c := range t.EstOn {
			tb.EstimateOn[id] = append(tb.EstimateOn[id], sched.CostOn{On: c.On, Run: c.Run})
		}
	}
	if t.Data != nil {
		if tb.Data == nil {
			tb.Data = map[sched.TaskID]sched.Data{}
		}
		tb.Data[id] = sched.Data{Input: t.Data.In, Output: t.Data.Out, At: t.Data.At}
	}
	return nil
}

// dense turns numbered things into a slice. Numbers that no arrival named have their zero value, and there may not be far more of
// those than of the others, since a damaged file could name any.
func dense[T any](what string, from map[int32]T, least int) ([]T, error) {
	top := least
	for id := range from {
		top = max(top, int(id)+1)
	}
	if top > 1<<20+16*len(from) {
		return nil, fmt.Errorf("%s %d among only %d", what, top-1, len(from))
	}
	out := make([]T, top)
	for id, v := range from {
		out[id] = v
	}
	return out, nil
}

func (b *tableBuilder) finish() (*sched.Table, error) {
	tb := b.tb
	n := len(tb.Tasks)
	if int(b.expect) > n {
		return nil, fmt.Errorf("task %d was announced and did not come", n)
	}
	var err error
	if tb.Classes, err = dense("class", b.classes, 0); err != nil {
		return nil, err
	}
	if tb.Demands, err = dense("demand", b.demands, 0); err != nil {
		return nil, err
	}
	if len(b.speeds) > 0 {
		if tb.Speeds, err = dense("throughput table", b.speeds, 1); err != nil {
			return nil, err
		}
	}
	for i, to := range []*[]string{&tb.Kinds, &tb.Tenants, &tb.Queues} {
		if *to, err = dense([]string{"kind", "tenant", "queue"}[i], b.names[i], 1); err != nil {
			return nil, err
		}
		(*to)[0] = ""
	}
	for i := range tb.Classes {
		if int(tb.Classes[i].Demand) >= len(tb.Demands) {
			return nil, fmt.Errorf("class %d: demand %d", i, tb.Classes[i].Demand)
		}
	}
	if len(tb.Pred) == 0 {
		tb.PredOff, tb.Pred = nil, nil
		return tb, nil
	}
	tb.SuccOff = make([]int32, n+1)
	for _, p := range tb.Pred {
		if int(p) >= n {
			return nil, fmt.Errorf("a task waits for task %d, which never arrives", p)
		}
		tb.SuccOff[p+1]++
	}
	for i := range n {
		tb.SuccOff[i+1] += tb.SuccOff[i]
	}
	tb.Succ = make([]sched.TaskID, len(tb.Pred))
	next := append([]int32(nil), tb.SuccOff[:n]...)
	if len(b.sent) > 0 {
		tb.EdgeBytes = make([]int64, len(tb.Pred))
	}
	i := 0 // in Pred
	for t := range n {
		for _, p := range tb.Preds(sched.TaskID(t)) {
			tb.Succ[next[p]] = sched.TaskID(t)
			if i < len(b.sent) {
				tb.EdgeBytes[next[p]] = b.sent[i]
			}
			i++
			next[p]++
		}
	}
	return tb, nil
}
