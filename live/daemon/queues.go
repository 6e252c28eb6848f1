package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/policies/sched/scale"
	"github.com/schedlab/schedlab/traces/mismatch"
)

// Queues that scale (S18): each has workers, of which each runs one task at a time, between Min and Max of them by the rule of package scale
// on its backlog, the tasks that are ready and wait; all workers come from one pool, high tiers first (scale.Share). What is decided is a
// fact, a quota of the queue that bounds its running tasks, so a replay decides equally without any of this. Fewer workers than tasks that
// run: none is stopped, and none is started until there is a worker for it.
//
// After a restart a queue has the workers that the last fact says; what was wished before is forgotten, so the windows begin anew.

// Queues says which queues scale. The form in YAML is that of the simulator's queues.
type Queues struct {
	Pool   int         `yaml:"pool"` // workers of all queues together; 0: the sum of their maxima
	Queues []QueueRule `yaml:"queues"`
}

// QueueRule says how one queue scales. Zero values are the defaults of scale.Rules and of the tier.
type QueueRule struct {
	Name       string        `yaml:"name"`        // "" stands for all queues that have a name and are not named here
	Tier       string        `yaml:"tier"`        // high, normal or low
	Min        int           `yaml:"min"`         // workers; 2
	Max        int           `yaml:"max"`         // 10
	Backlog    int64         `yaml:"backlog"`     // waiting tasks for one worker; 1000
	Tolerance  float64       `yaml:"tolerance"`   // 0.1; negative: none
	Sync       time.Duration `yaml:"sync"`        // between two decisions, 15s; the same for all queues
	UpWindow   time.Duration `yaml:"up_window"`   // stabilization; negative: none
	DownWindow time.Duration `yaml:"down_window"` // likewise
}

func (q *QueueRule) rules() (scale.Rules, scale.Tier, error) {
	tier, err := scale.ParseTier(q.Tier)
	if err != nil {
		return scale.Rules{}, 0, err
	}
	r := scale.Rules{Min: q.Min, Max: q.Max, Target: q.Backlog, ToleranceMilli: int(q.Tolerance*1000 + 0.5), Sync: q.Sync}
	if q.Tolerance < 0 {
		r.ToleranceMilli = -1
	}
	r.Up.Window, r.Down.Window = q.UpWindow, q.DownWindow
	r = tier.Apply(r)
	if q.Min < 0 {
		return r, tier, errors.New("a queue has at least one worker")
	}
	return r, tier, r.Check()
}

// ParseQueues reads the queues from YAML.
func ParseQueues(text []byte, name string) (Queues, error) {
	var q Queues
	if err := mismatch.ReadYAML(text, name, &q); err == io.EOF {
		return q, fmt.Errorf("%s: nothing is in it", name)
	} else if err != nil {
		return q, err
	}
	if err := q.check(); err != nil {
		return q, fmt.Errorf("%s: %w", name, err)
	}
	return q, nil
}

func (q *Queues) check() error {
	if q.Pool < 0 {
		return fmt.Errorf("pool: %d workers", q.Pool)
	}
	seen := map[string]bool{}
	minima := 0
	sync := time.Duration(0)
	for i := range q.Queues {
		r := &q.Queues[i]
		rules, _, err := r.rules()
		if err != nil {
			return fmt.Errorf("queue %q: %w", r.Name, err)
		}
		f := rules.Filled()
		if i == 0 {
			sync = f.Sync
		}
		switch {
		case seen[r.Name]:
			return fmt.Errorf("queue %q stands twice", r.Name)
		case f.Sync != sync:
			return fmt.Errorf("queue %q decides every %s, another every %s: it must be the same for all", r.Name, f.Sync, sync)
		case f.Sync < 10*time.Millisecond:
			return fmt.Errorf("queue %q: sync %s is less than 10ms", r.Name, f.Sync)
		}
		seen[r.Name] = true
		if r.Name != "" {
			minima += f.Min
		}
	}
	if q.Pool > 0 && minima > q.Pool {
		return fmt.Errorf("the queues' minima add up to %d workers, and the pool has %d", minima, q.Pool)
	}
	return nil
}

// scaling is what scales the queues. All of it is under mu.
type scaling struct {
	cfg    Queues
	pool   int
	sync   time.Duration
	bounds bool // the queues have their first workers
	queues []*scaledQueue
}

type scaledQueue struct {
	name     string
	tier     scale.Tier
	ctl      *scale.Controller
	made     bool // by the rule for all others: it takes nothing of the pool while it has no tasks
	told     int  // workers that it has
	wish     int  // that it would have
	backlog  int
	running  int
	scalings int
}

func newScaling(c Queues) (*scaling, error) {
	if len(c.Queues) == 0 {
		return nil, nil
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &scaling{cfg: c, pool: c.Pool}
	for i := range c.Queues {
		if c.Queues[i].Name == "" {
			rules, _, err := c.Queues[i].rules()
			if err != nil {
				return nil, err
			}
			s.sync = rules.Filled().Sync
			continue
		}
		q, err := s.add(c.Queues[i].Name, &c.Queues[i])
		if err != nil {
			return nil, err
		}
		s.sync = q.ctl.Rules.Sync
	}
	return s, nil
}

func (s *scaling) add(name string, r *QueueRule) (*scaledQueue, error) {
	rules, tier, err := r.rules()
	if err != nil {
		return nil, err
	}
	ctl, err := scale.New(rules)
	if err != nil {
		return nil, err
	}
	q := &scaledQueue{name: name, tier: tier, ctl: ctl, made: r.Name == "", told: ctl.Rules.Min, wish: ctl.Rules.Min}
	s.queues = append(s.queues, q)
	return q, nil
}

// of returns the queue of a name; nil where it does not scale. A nil scaling has none.
func (s *scaling) of(name string) *scaledQueue {
	if s == nil || name == "" {
		return nil
	}
	for _, q := range s.queues {
		if q.name == name {
			return q
		}
	}
	for i := range s.cfg.Queues {
		if s.cfg.Queues[i].Name == "" {
			if q, err := s.add(name, &s.cfg.Queues[i]); err == nil { // checked before
				return q
			}
		}
	}
	return nil
}

// takeUp gives the queues the workers that the state says. It is called once the state is brought back.
func (d *Daemon) takeUp(ctx context.Context) error {
	text, err := d.store.Meta(ctx, scaledKey)
	if err == nil && text != nil {
		err = json.Unmarshal(text, &d.scaledBefore)
	}
	if err != nil {
		return err
	}
	for _, name := range d.book.tb.Queues {
		if q := d.scaling.of(name); q != nil {
			if n := d.quotas[[2]string{"", name}].Tasks; n > 0 {
				q.told = int(n)
			}
		}
	}
	return nil
}

// scaleLoop asks the rule, once at the beginning and then each time it is due.
func (d *Daemon) scaleLoop(ctx context.Context) {
	if d.scaling == nil && len(d.scaledBefore) == 0 {
		return
	}
	for {
		err := d.ask(ctx, func(now sched.Time) ([]sched.Event, error) {
			facts := d.rescale(now)
			return facts, d.noteScaled(ctx)
		})
		if err != nil && ctx.Err() == nil {
			d.log.Warn("the queues could not be scaled; it is tried again", "err", err)
		}
		if d.scaling == nil { // what an earlier configuration bounded is lifted
			return
		}
		t := time.NewTimer(d.scaling.sync)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// scaledKey is where the state says which queues scale: what bounds them is lifted when they no longer do, while what an operator has
// bounded stays.
const scaledKey = "scaled-queues"

// noteScaled keeps which queues scale. It is called under mu, by the loop.
func (d *Daemon) noteScaled(ctx context.Context) error {
	var names []string
	if d.scaling != nil {
		for _, q := range d.scaling.queues {
			names = append(names, q.name)
		}
	}
	slices.Sort(names)
	if slices.Equal(names, d.scaledBefore) {
		return nil
	}
	text, err := json.Marshal(names)
	if err == nil {
		err = d.store.SetMeta(ctx, scaledKey, text)
	}
	if err == nil {
		d.scaledBefore = names
	}
	return err
}

// rescale decides how many workers each queue has, and returns what has changed as facts. It is called under mu.
func (d *Daemon) rescale(now sched.Time) []sched.Event {
	s := d.scaling
	want := map[string]int64{}
	if s != nil {
		d.countQueues()
		asks, got := make([]scale.Ask, len(s.queues)), make([]int, len(s.queues))
		pool := s.pool
		for i, q := range s.queues {
			q.wish = q.ctl.Step(int64(now), q.told, scale.Total(int64(q.backlog), q.told))
			asks[i] = scale.Ask{Tier: q.tier, Min: q.ctl.Rules.Min, Want: q.wish}
			if q.made && q.backlog == 0 && q.running == 0 {
				asks[i].Min, asks[i].Want = 0, 0
			}
			if s.pool == 0 {
				pool += q.ctl.Rules.Max
			}
		}
		scale.Share(pool, asks, got)
		for i, q := range s.queues {
			n := max(got[i], 1) // nobody is shut out, whatever comes that nobody has named
			if n != q.told {
				q.scalings++
				d.log.Info("a queue scales", "queue", q.name, "tier", q.tier.String(), "from", q.told, "to", n, "wanted", q.wish, "waiting", q.backlog)
			}
			q.told = n
			want[q.name] = int64(n)
		}
	}
	var facts []sched.Event
	tell := func(q sched.Quota) {
		e := sched.Event{Kind: sched.QuotaSet, Task: sched.Nobody, Node: sched.NoNode, More: &sched.Detail{Quota: &q}}
		d.noteQuota(&e)
		facts = append(facts, e)
	}
	if s != nil {
		for _, q := range s.queues {
			quota, ok := d.quotas[[2]string{"", q.name}]
			if !ok {
				quota = sched.Quota{Queue: q.name, CPU: -1, GPUMilli: -1}
			}
			if quota.Tasks != want[q.name] {
				quota.Tasks = want[q.name]
				tell(quota)
			}
		}
	}
	for _, name := range d.scaledBefore {
		if q := d.quotas[[2]string{"", name}]; q.Tasks > 0 && want[name] == 0 {
			q.Tasks = 0
			tell(q)
		}
	}
	return facts
}

// countQueues counts what waits and runs in each queue. It is called under mu.
func (d *Daemon) countQueues() {
	tb := d.book.tb
	ready, running := make([]int, len(tb.Queues)), make([]int, len(tb.Queues))
	for t := range sched.TaskID(d.kernel.Known()) {
		switch d.kernel.Phase(t) {
		case sched.Ready:
			ready[tb.ClassOf(t).Queue]++
		case sched.Running, sched.Stopping, sched.Claiming:
			running[tb.ClassOf(t).Queue]++
		}
	}
	for _, q := range d.scaling.queues {
		q.backlog, q.running = 0, 0
	}
	for i, name := range tb.Queues {
		if ready[i]+running[i] == 0 {
			continue
		}
		if q := d.scaling.of(name); q != nil {
			q.backlog, q.running = ready[i], running[i]
		}
	}
}

// QueueView is what is shown of a queue.
type QueueView struct {
	Name    string `json:"queue"`
	Ready   int    `json:"ready"`
	Running int    `json:"running"`
	Blocked int    `json:"blocked"`
	Over    int    `json:"over"`

	// Of a queue that scales.
	Tier    string `json:"tier,omitempty"`
	Workers int    `json:"workers,omitempty"` // it has
	Wanted  int    `json:"wanted,omitempty"`  // it would have by its backlog
	Min     int    `json:"min,omitempty"`
	Max     int    `json:"max,omitempty"`
	Backlog int64  `json:"backlog_per_worker,omitempty"`

	Quota *Quota `json:"quota,omitempty"`
}

// QueuesView returns what is shown of the queues that have or had tasks, scale or have a quota, by name; and the size of the pool, 0 where
// nothing scales.
func (d *Daemon) QueuesView() (list []QueueView, pool int) {
	d.mu.Lock() // of may make a queue
	defer d.mu.Unlock()
	tb := d.book.tb
	at := map[string]*QueueView{}
	view := func(name string) *QueueView {
		if at[name] == nil {
			at[name] = &QueueView{Name: name}
		}
		return at[name]
	}
	of := make([]*QueueView, len(tb.Queues))
	for t := range sched.TaskID(d.kernel.Known()) {
		id := tb.ClassOf(t).Queue
		if of[id] == nil {
			of[id] = view(tb.Queues[id])
		}
		v := of[id]
		switch ph := d.kernel.Phase(t); {
		case ph.Over():
			v.Over++
		case ph == sched.Ready:
			v.Ready++
		case ph == sched.Running || ph == sched.Stopping || ph == sched.Claiming:
			v.Running++
		default:
			v.Blocked++
		}
	}
	if d.scaling != nil {
		for _, q := range d.scaling.queues {
			v := view(q.name)
			r := &q.ctl.Rules
			v.Tier, v.Workers, v.Wanted, v.Min, v.Max, v.Backlog = q.tier.String(), q.told, q.wish, r.Min, r.Max, r.Target
			if d.scaling.pool == 0 {
				pool += r.Max
			}
		}
		pool += d.scaling.pool
	}
	for _, key := range d.quotaKeys() {
		if q := d.quotas[key]; q.Queue != "" && (q.CPU >= 0 || q.GPUMilli >= 0 || d.scaling.of(q.Queue) == nil) {
			shown := quotaView(q)
			view(q.Queue).Quota = &shown
		}
	}
	list = []QueueView{}
	for _, v := range at {
		list = append(list, *v)
	}
	slices.SortFunc(list, func(a, b QueueView) int { return strings.Compare(a.Name, b.Name) })
	return list, pool
}

// whyWorkers says that a task waits for a worker of its queue; "" if it does not. It is called under mu.
func (d *Daemon) whyWorkers(t sched.TaskID) string {
	_, name := d.whose(t)
	bound := d.quotas[[2]string{"", name}].Tasks
	if bound == 0 {
		return ""
	}
	running, waiting := int64(0), 0
	id := d.kernel.Class(t).Queue
	for u := range d.kernel.RunningTasks() {
		if d.kernel.Class(u).Queue == id {
			running++
		}
	}
	if running < bound {
		return ""
	}
	for u := range sched.TaskID(d.kernel.Known()) {
		if d.kernel.Phase(u) == sched.Ready && d.kernel.Class(u).Queue == id {
			waiting++
		}
	}
	text := fmt.Sprintf("All %d workers of queue %q are busy, and %d of its tasks wait.", bound, name, waiting)
	if d.scaling != nil {
		for _, q := range d.scaling.queues {
			if q.name == name {
				r := &q.ctl.Rules
				text += fmt.Sprintf(" It scales from %d to %d workers, one for each %d tasks that wait (tier %s).", r.Min, r.Max, r.Target, q.tier)
			}
		}
	}
	return text
}
