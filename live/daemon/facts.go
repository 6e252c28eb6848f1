package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// A batch in the state file is one JSON object: the facts that the kernel was told, and the orders that it gave. The orders follow from
// the facts; they are kept so that a program whose policy decides otherwise can still take up what an older one began.

// batchRecord is a batch in JSON.
type batchRecord struct {
	In  []factRecord  `json:"in"`
	Out []orderRecord `json:"out,omitempty"`
}

// factRecord is a fact in JSON; members with their zero value are left out.
type factRecord struct {
	K       string          `json:"k"`
	Task    int32           `json:"task,omitempty"`
	Other   int32           `json:"other,omitempty"`
	N       int32           `json:"n,omitempty"`
	Node    int32           `json:"node,omitempty"`
	Attempt int32           `json:"try,omitempty"`
	Done    int64           `json:"done,omitempty"`
	Value   int64           `json:"value,omitempty"`
	Name    string          `json:"name,omitempty"` // a dependency's or a policy's
	Spec    *sched.NodeSpec `json:"spec,omitempty"`
	Profile *sched.Profile  `json:"profile,omitempty"`
	Quota   *sched.Quota    `json:"quota,omitempty"`
}

// orderRecord is an order in JSON.
type orderRecord struct {
	K        string  `json:"k"`
	Task     int32   `json:"task,omitempty"`
	Attempt  int32   `json:"try,omitempty"`
	Cause    uint8   `json:"cause,omitempty"`
	Queue    int32   `json:"queue,omitempty"`
	Replicas int32   `json:"replicas,omitempty"`
	On       []place `json:"on,omitempty"`
}

// place is a placement: node, replicas, GPU set.
type place struct {
	N int32  `json:"n,omitempty"`
	R int32  `json:"r"`
	G uint64 `json:"g,omitempty"`
}

// orderKind returns the kind of order that String calls name.
func orderKind(name string) (sched.CommandKind, bool) {
	for k := sched.Start; k <= sched.Reject; k++ {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// named is a policy with the name under which it can be built again.
type named struct {
	sched.Policy
	name string
}

// String returns the name; the journal writes it.
func (n named) String() string { return n.name }

func encode(in []sched.Event, out []sched.Command) ([]byte, error) {
	var b batchRecord
	b.In = make([]factRecord, len(in))
	for i := range in {
		e := &in[i]
		f := factRecord{
			K: e.Kind.String(), Task: int32(e.Task), Other: int32(e.Other), N: e.N, Node: int32(e.Node), Attempt: e.Attempt,
			Done: int64(e.Done), Value: e.Value,
		}
		if m := e.More; m != nil {
			f.Name, f.Spec, f.Profile, f.Quota = m.Name, m.Spec, m.Profile, m.Quota
			if p, ok := m.Policy.(named); ok {
				f.Name = p.name
			}
		}
		b.In[i] = f
	}
	b.Out = make([]orderRecord, len(out))
	for i := range out {
		c := &out[i]
		o := orderRecord{K: c.Kind.String(), Task: int32(c.Task), Attempt: c.Attempt, Cause: uint8(c.Cause), Queue: int32(c.Queue), Replicas: c.Replicas}
		for _, p := range c.On {
			o.On = append(o.On, place{int32(p.Node), p.Replicas, uint64(p.GPUs)})
		}
		b.Out[i] = o
	}
	return json.Marshal(&b)
}

// decode reads a batch. policy builds the policy of a name.
func decode(text []byte, policy func(string) (sched.Policy, error)) ([]sched.Event, []sched.Command, error) {
	var b batchRecord
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, nil, err
	}
	in := make([]sched.Event, len(b.In))
	for i := range b.In {
		f := &b.In[i]
		kind, ok := sched.EventKindOf(f.K)
		if !ok {
			return nil, nil, fmt.Errorf("unknown fact %q", f.K)
		}
		in[i] = sched.Event{
			Kind: kind, Task: sched.TaskID(f.Task), Other: sched.TaskID(f.Other), N: f.N, Node: sched.NodeID(f.Node), Attempt: f.Attempt,
			Done: time.Duration(f.Done), Value: f.Value,
		}
		switch {
		case kind == sched.PolicySet && f.Name == "":
			return nil, nil, errors.New("a policy without a name")
		case kind == sched.QuotaSet && f.Quota == nil:
			return nil, nil, errors.New("a quota without its bounds")
		}
		if f.Name != "" || f.Spec != nil || f.Profile != nil || f.Quota != nil {
			m := &sched.Detail{Name: f.Name, Spec: f.Spec, Profile: f.Profile, Quota: f.Quota}
			if kind == sched.PolicySet {
				p, err := policy(f.Name)
				if err != nil {
					return nil, nil, err
				}
				m.Policy = named{p, f.Name}
			}
			in[i].More = m
		}
	}
	out := make([]sched.Command, len(b.Out))
	for i := range b.Out {
		o := &b.Out[i]
		kind, ok := orderKind(o.K)
		if !ok {
			return nil, nil, fmt.Errorf("unknown order %q", o.K)
		}
		out[i] = sched.Command{
			Kind: kind, Task: sched.TaskID(o.Task), Attempt: o.Attempt, Cause: sched.Cause(o.Cause), Queue: sched.QueueID(o.Queue), Replicas: o.Replicas,
		}
		for _, p := range o.On {
			out[i].On = append(out[i].On, sched.Placement{Node: sched.NodeID(p.N), Replicas: p.R, GPUs: sched.Devices(p.G)})
		}
	}
	return in, out, nil
}

// knows returns an error if facts or orders are about tasks that are not in the table.
func (b *book) knows(in []sched.Event, out []sched.Command) error {
	n := int64(len(b.tb.Tasks))
	for i := range in {
		e := &in[i]
		first, last := int64(e.Task), int64(e.Task)
		switch {
		case !aboutTask(e.Kind):
			continue
		case e.Kind == sched.JobArrived:
			last += int64(e.N) - 1
		case e.Kind == sched.EdgeAdded:
			first, last = min(first, int64(e.Other)), max(last, int64(e.Other))
		}
		if first < 0 || last < first || last >= n {
			return fmt.Errorf("the fact %s is about tasks %d to %d, of %d", e.Kind, first, last, n)
		}
	}
	for i := range out {
		if c := &out[i]; c.Kind != sched.Scale && (c.Task < 0 || int64(c.Task) >= n) {
			return fmt.Errorf("the order %s is about task %d, of %d", c.Kind, c.Task, n)
		}
	}
	return nil
}

// sameOrders reports whether two lists of orders are equal.
func sameOrders(a, b []sched.Command) bool {
	return slices.EqualFunc(a, b, func(x, y sched.Command) bool {
		return x.Kind == y.Kind && x.Task == y.Task && x.Attempt == y.Attempt && x.Cause == y.Cause && x.Queue == y.Queue &&
			x.Replicas == y.Replicas && slices.Equal(x.On, y.On)
	})
}
