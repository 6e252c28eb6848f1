package sched

import (
	"bytes"
	"flag"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what the stories in testdata came to into their files")

// TestStories plays testdata/*.txt: facts in, what the policy saw and the orders out. A story is a list of blocks; each is some
// input lines, a line of ----, and the output up to an empty line. `go test ./policies/sched -run Stories -rewrite` writes the outputs anew.
//
//	node NAME cpu=.. mem=.. gpus=.. type=.. vram=..       the cluster and the tasks, in the first block
//	task T job=.. cpu=.. gpus=.. milli=.. gang=.. retries=.. backoff=.. tenant=.. est=.. after=0,1
//	step TIME                                             one batch; then its facts, then
//	? start T NODE[*REPLICAS][{GPUS}] ...                 what the policy does in Decide
//	? claim T NODE... victims=1,2 | evict T | skip T CAUSE | reject T CAUSE | checkpoint T | wake TIME
//	restore                                               snapshot, and go on with a kernel restored from it
//	causes                                                the books by cause
//	room                                                  what is free on each node
//	task-state T                                          outcome, estimate and work left
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { playStory(t, f) })
	}
}

func playStory(t *testing.T, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{t: t}
	var out strings.Builder
	var input []string
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		out.WriteString(line + "\n")
		switch {
		case line == "----":
			s.where = fmt.Sprintf("%s:%d", file, i+1)
			got := s.play(input)
			input = nil
			var want []string
			for i+1 < len(lines) && lines[i+1] != "" {
				i++
				want = append(want, lines[i])
			}
			for _, g := range got {
				out.WriteString(g + "\n")
			}
			if !*rewrite && !slices.Equal(got, want) {
				t.Fatalf("%s: got\n  %s\nwant\n  %s", s.where, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
		case line == "", strings.HasPrefix(line, "#"):
		default:
			input = append(input, line)
		}
	}
	if len(input) > 0 {
		t.Fatalf("%s: the last block has no ----", file)
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

type story struct {
	t      *testing.T
	where  string
	c      Config
	k      *Kernel
	seen   []string
	acts   []string
	result []string
	late   int64
	refuse int64
	at     Time
	given  map[TaskID]bool // tasks with a submit time of their own; the others are submitted when they arrive
}

func (s *story) fail(format string, args ...any) {
	s.t.Fatalf(s.where+": "+format, args...)
}

func (s *story) Observe(_ *State, e Event) {
	text := e.Kind.String()
	switch e.Kind {
	case JobArrived:
		text += fmt.Sprintf(" %d+%d", e.Task, e.N)
	case NodeUp, NodeDown, NodeProfile:
		text += " " + s.k.room.specs[e.Node].Name
	case EdgeAdded:
		text += fmt.Sprintf(" %d->%d", e.Task, e.Other)
	case Wake, QuotaSet, DependencyUp, DependencyDown:
	default:
		text += fmt.Sprintf(" %d", e.Task)
	}
	s.seen = append(s.seen, text)
}

func (s *story) Decide(r *Round) {
	for _, act := range s.acts {
		f := strings.Fields(act)
		var ok bool
		id := func() TaskID { return TaskID(s.int(f[1])) }
		switch f[0] {
		case "start", "claim":
			var on []Placement
			var victims []TaskID
			for _, a := range f[2:] {
				if v, is := strings.CutPrefix(a, "victims="); is {
					for x := range strings.SplitSeq(v, ",") {
						victims = append(victims, TaskID(s.int(x)))
					}
					continue
				}
				on = append(on, s.placement(a))
			}
			if f[0] == "start" {
				ok = r.Start(id(), on...)
			} else {
				ok = r.Claim(id(), on, victims...)
			}
		case "evict":
			ok = r.Evict(id())
		case "checkpoint":
			ok = r.Checkpoint(id())
		case "skip":
			r.Skip(id(), s.cause(f[2]))
			continue
		case "reject":
			ok = r.Reject(id(), s.cause(f[2]))
		case "wake":
			r.WakeAt(Time(s.duration(f[1])))
			continue
		default:
			s.fail("unknown act %q", act)
		}
		s.result = append(s.result, fmt.Sprintf("%s: %v", act, ok))
	}
}

func (s *story) cause(name string) Cause {
	i := slices.Index(causeNames[:], strings.ReplaceAll(name, "-", " "))
	if i < 0 {
		s.fail("unknown cause %q", name)
	}
	return Cause(i)
}

func (s *story) int(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		s.fail("%v", err)
	}
	return n
}

func (s *story) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.fail("%v", err)
	}
	return d
}

func (s *story) node(name string) NodeID {
	if s.k == nil {
		s.fail("no cluster yet")
	}
	for i := range s.k.room.specs {
		if s.k.room.specs[i].Name == name {
			return NodeID(i)
		}
	}
	return NodeID(s.int(name))
}

func (s *story) placement(text string) Placement {
	p := Placement{Replicas: 1}
	if i := strings.IndexByte(text, '{'); i >= 0 {
		for g := range strings.SplitSeq(strings.Trim(text[i:], "{}"), ",") {
			p.GPUs |= 1 << s.int(g)
		}
		text = text[:i]
	}
	if name, n, ok := strings.Cut(text, "*"); ok {
		text, p.Replicas = name, int32(s.int(n))
	}
	p.Node = s.node(text)
	return p
}

func (s *story) print(p Placement) string {
	text := s.k.room.specs[p.Node].Name
	if p.Replicas != 1 {
		text += fmt.Sprintf("*%d", p.Replicas)
	}
	return text + devicesText(p.GPUs)
}

func devicesText(d Devices) string {
	if d == 0 {
		return ""
	}
	var list []string
	for set := d; set != 0; set &= set - 1 {
		list = append(list, strconv.Itoa(bits.TrailingZeros64(uint64(set))))
	}
	return "{" + strings.Join(list, ",") + "}"
}

// pairs reads key=value words.
func (s *story) pairs(words []string) map[string]string {
	m := map[string]string{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok {
			s.fail("%q is not key=value", w)
		}
		m[k] = v
	}
	return m
}

func (s *story) nodeSpec(f []string) NodeSpec {
	n := NodeSpec{Name: f[0], CPU: Unlimited, Mem: Unlimited, VRAM: Unlimited}
	for k, v := range s.pairs(f[1:]) {
		switch k {
		case "cpu":
			n.CPU = int64(s.int(v)) * 1000
		case "mem":
			n.Mem = int64(s.int(v)) << 30
		case "gpus":
			n.GPUs = int32(s.int(v))
		case "vram":
			n.VRAM = int64(s.int(v)) << 30
		case "type":
			n.GPUType = v
		case "speed":
			n.SpeedMilli = int64(s.int(v))
		default:
			s.fail("unknown key %q", k)
		}
	}
	return n
}

func (s *story) setup(input []string) []string {
	tb := &Table{Tenants: []string{""}, Queues: []string{""}, Kinds: []string{""}}
	s.c, s.given = Config{Table: tb, Policy: s, Waits: true}, map[TaskID]bool{}
	succ := map[int][]TaskID{}
	var preds [][]TaskID
	name := func(list *[]string, v string) int {
		if i := slices.Index(*list, v); i >= 0 {
			return i
		}
		*list = append(*list, v)
		return len(*list) - 1
	}
	for _, line := range input {
		f := strings.Fields(line)
		if f[0] == "node" {
			s.c.Nodes = append(s.c.Nodes, s.nodeSpec(f[1:]))
			continue
		}
		t := s.int(f[1])
		if t != len(tb.Tasks) {
			s.fail("task %d out of order", t)
		}
		task := Task{Job: JobID(t), Class: ClassID(t)}
		cl, d := Class{Demand: DemandID(t)}, Demand{Gang: 1}
		est := 10 * time.Second
		preds = append(preds, nil)
		for k, v := range s.pairs(f[2:]) {
			switch k {
			case "job":
				task.Job = JobID(s.int(v))
			case "submit":
				task.Submit = Time(s.duration(v))
				s.given[TaskID(t)] = true
			case "cpu":
				d.Need.CPU = int64(s.int(v)) * 1000
			case "mem":
				d.Need.Mem = int64(s.int(v)) << 30
			case "gpus":
				d.Need.GPUs = int32(s.int(v))
				if d.Need.GPUMilli == 0 {
					d.Need.GPUMilli = Whole
				}
			case "milli":
				d.Need.GPUs, d.Need.GPUMilli = 1, int32(s.int(v))
			case "vram":
				d.Need.VRAM = int64(s.int(v)) << 30
			case "gang":
				d.Gang = int32(s.int(v))
			case "retries":
				cl.Retries = int32(s.int(v))
			case "backoff":
				cl.Backoff = s.duration(v)
			case "tenant":
				cl.Tenant = TenantID(name(&tb.Tenants, v))
			case "queue":
				cl.Queue = QueueID(name(&tb.Queues, v))
			case "est":
				est = s.duration(v)
			case "after":
				for p := range strings.SplitSeq(v, ",") {
					preds[t] = append(preds[t], TaskID(s.int(p)))
					succ[s.int(p)] = append(succ[s.int(p)], TaskID(t))
				}
			default:
				s.fail("unknown key %q", k)
			}
		}
		tb.Tasks, tb.Estimates = append(tb.Tasks, task), append(tb.Estimates, est)
		tb.Classes, tb.Demands = append(tb.Classes, cl), append(tb.Demands, d)
		tb.Jobs = max(tb.Jobs, int32(task.Job)+1)
	}
	if len(succ) > 0 {
		tb.SuccOff, tb.PredOff = []int32{0}, []int32{0}
		for t := range tb.Tasks {
			tb.Succ, tb.Pred = append(tb.Succ, succ[t]...), append(tb.Pred, preds[t]...)
			tb.SuccOff, tb.PredOff = append(tb.SuccOff, int32(len(tb.Succ))), append(tb.PredOff, int32(len(tb.Pred)))
		}
	}
	k, err := New(s.c)
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	s.k = k
	return []string{"ok"}
}

func (s *story) play(input []string) []string {
	if s.k == nil {
		return s.setup(input)
	}
	f := strings.Fields(input[0])
	switch f[0] {
	case "step":
		return s.step(Time(s.duration(f[1])), input[1:])
	case "restore":
		var b bytes.Buffer
		if err := s.k.Snapshot(&b); err != nil {
			s.fail("%v", err)
		}
		s.seen = s.seen[:0]
		k, err := Restore(&b, s.c)
		if err != nil {
			s.fail("%v", err)
		}
		s.k = k
		return []string{"sees " + strings.Join(s.seen, ", ")}
	case "causes":
		var out []string
		for c, sec := range s.k.Books().CauseSeconds {
			if sec != 0 {
				out = append(out, fmt.Sprintf("%v %gs", Cause(c), sec))
			}
		}
		return out
	case "room":
		var out []string
		for i := range s.k.room.nodes {
			n := &s.k.room.nodes[i]
			line := s.k.room.specs[i].Name
			if !n.up {
				line += " down"
			}
			if s.k.room.specs[i].CPU < Unlimited {
				line += fmt.Sprintf(" cpu=%g", float64(n.cpu)/1000)
			}
			if s.k.room.specs[i].Mem < Unlimited {
				line += fmt.Sprintf(" mem=%g", float64(n.mem)/(1<<30))
			}
			if s.k.room.specs[i].GPUs > 0 {
				line += fmt.Sprintf(" gpus=%d%s free=%d", n.gpus, devicesText(n.whole), s.k.room.FreeGPUMilli(NodeID(i)))
			}
			out = append(out, line)
		}
		return out
	case "task-state":
		t := TaskID(s.int(f[1]))
		o := s.k.Outcome(t)
		at := func(x Time) string {
			if x == Never {
				return "never"
			}
			return time.Duration(x).String()
		}
		return []string{fmt.Sprintf("%v attempts=%d ready=%s start=%s end=%s held=%s est=%s left=%s cause=%v", o.Phase, o.Attempts, at(o.Ready), at(o.Start), at(o.End), o.Held, s.k.Estimate(t), s.k.Remaining(t), s.k.CauseOf(t))}
	}
	s.fail("unknown block %q", input[0])
	return nil
}

func (s *story) step(now Time, input []string) []string {
	s.at = now
	var in []Event
	s.seen, s.acts, s.result = nil, nil, nil
	for _, line := range input {
		if act, ok := strings.CutPrefix(line, "? "); ok {
			s.acts = append(s.acts, act)
			continue
		}
		in = append(in, s.fact(strings.Fields(line)))
	}
	cmds := s.k.Step(now, in)
	s.k.checkInvariants()
	var out []string
	if len(s.seen) > 0 {
		out = append(out, "sees "+strings.Join(s.seen, ", "))
	}
	for _, r := range s.result {
		out = append(out, "? "+r)
	}
	for _, c := range cmds {
		line := fmt.Sprintf("-> %v %d#%d", c.Kind, c.Task, c.Attempt)
		for _, p := range c.On {
			line += " " + s.print(p)
		}
		if c.Kind == Reject {
			line += " " + c.Cause.String()
		}
		out = append(out, line)
	}
	var phases []string
	for t := range s.k.rows {
		phases = append(phases, fmt.Sprintf("%d %v", t, s.k.rows[t].phase))
	}
	state := "= " + strings.Join(phases, ", ")
	if at, ok := s.k.NextWake(); ok {
		state += ", wake " + time.Duration(at).String()
	}
	out = append(out, state)
	if n := s.k.Late() - s.late; n > 0 {
		out = append(out, fmt.Sprintf("late %d", n))
	}
	if n := s.k.Refused() - s.refuse; n > 0 {
		out = append(out, fmt.Sprintf("refused %d", n))
	}
	s.late, s.refuse = s.k.Late(), s.k.Refused()
	return out
}

func (s *story) fact(f []string) Event {
	kind, ok := EventKindOf(f[0])
	if !ok {
		s.fail("unknown fact %q", f[0])
	}
	e := Event{Kind: kind, Node: NoNode, Task: Nobody}
	rest := f[min(len(f), 2):]
	switch kind {
	case Finished, FailedAttempt, Killed, Stopped, CheckpointDone, Started:
		t, a, _ := strings.Cut(f[1], "#")
		e.Task, e.Attempt = TaskID(s.int(t)), int32(s.int(a))
		if d, ok := s.pairs(rest)["done"]; ok {
			e.Done = s.duration(d)
		}
		if d, ok := s.pairs(rest)["value"]; ok {
			e.Value = int64(s.duration(d))
		}
		if n, ok := s.pairs(rest)["n"]; ok {
			e.N = int32(s.int(n))
		}
	case NodeDown, NodeDrain:
		e.Node = s.node(f[1])
	case NodeUp:
		if len(rest) > 0 {
			spec := s.nodeSpec(f[1:])
			e.More = &Detail{Spec: &spec}
		} else {
			e.Node = s.node(f[1])
		}
	case NodeProfile:
		e.Node = s.node(f[1])
		p := &Profile{}
		for k, v := range s.pairs(rest) {
			switch k {
			case "at":
				p.SampledAt = Time(s.duration(v))
			case "cpu":
				p.OtherCPU = int64(s.int(v)) * 1000
			case "mem":
				p.OtherMem = int64(s.int(v)) << 30
			}
		}
		e.More = &Detail{Profile: p}
	case DependencyUp, DependencyDown:
		e.More = &Detail{Name: f[1]}
	case Cancelled, Hold, Release:
		e.Task = TaskID(s.int(f[1]))
	case Updated:
		e.Task, e.Value = TaskID(s.int(f[1])), int64(s.duration(f[2]))
	case QuotaSet:
		q := &Quota{CPU: -1, GPUMilli: -1}
		for k, v := range s.pairs(f[1:]) {
			switch k {
			case "tenant":
				q.Tenant = v
			case "queue":
				q.Queue = v
			case "cpu":
				q.CPU = int64(s.int(v)) * 1000
			case "gpus":
				q.GPUMilli = int64(s.int(v)) * Whole
			case "tasks":
				q.Tasks = int64(s.int(v))
			case "cohort":
				q.Cohort = v
			case "borrow":
				q.BorrowGPUMilli, q.BorrowCPU = int64(s.int(v))*Whole, int64(s.int(v))*1000
			case "reclaim":
				q.Reclaim = v == "yes"
			}
		}
		e.More = &Detail{Quota: q}
	case PolicySet:
		s.seen = append(s.seen, "(a new policy)")
		e.More = &Detail{Policy: s}
	case EdgeAdded:
		a, b, _ := strings.Cut(f[1], "->")
		e.Task, e.Other = TaskID(s.int(a)), TaskID(s.int(b))
	case JobArrived:
		t, n, _ := strings.Cut(f[1], "+")
		e.Task, e.N = TaskID(s.int(t)), int32(s.int(n))
		for i := e.Task; i-e.Task < TaskID(e.N) && i >= 0 && int(i) < len(s.c.Table.Tasks); i++ {
			if !s.given[i] && s.k.Phase(i) == Unknown {
				s.c.Table.Tasks[i].Submit = s.at
			}
		}
	default:
		s.fail("no driver sends %v", kind)
	}
	return e
}
