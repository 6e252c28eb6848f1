package check

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// Columns is the header of the tasks CSV. One row a task, in input order.
//
//   - task, job: the names of the task and its job
//   - submit_s, ready_s, start_s, end_s, wait_s: seconds on the trace's axis in decimal, to the nanosecond, without an exponent
//     (12, 0.5, -3.000000001); start is the first start; empty = never
//   - node: where the last attempt ran, one entry for each placement, joined with ";"; an entry is the node's name, and "*2" after it for
//     two replicas there; empty if it never started
//   - gpus: an entry for each entry of node, joined with ";". "0-3+6" are the GPUs 0, 1, 2, 3 and 6, whole; "0:500" is 500/1000 of
//     GPU 0 (several are joined with "+"); "#8" are 8 GPUs of a pool, whose GPUs have no index; "" is none. The whole field is empty
//     for a task without GPUs.
//   - attempts: how often it was started
//   - state (may be missing, as in files of before it was written): done, failed, dropped or rejected; of a run that was stopped also where
//     the task stood, by the names of sched.Phase
var Columns = []string{"task", "job", "submit_s", "ready_s", "start_s", "end_s", "wait_s", "node", "gpus", "attempts"}

// phases are the states of a task, those that are final last.
var phases, final = func() (all, final []string) {
	for p := sched.Unknown; p <= sched.Rejected; p++ {
		all = append(all, p.String())
	}
	return all, all[sched.Done:]
}()

// CSVSummary says how much of a tasks CSV was checked.
type CSVSummary struct {
	Rows     int
	Started  int // rows with at least one attempt
	Repeated int // of them with more than one: their earlier attempts are not in the CSV, so capacity and service are not checked, only order and waits
}

// row is one task as the CSV says.
type row struct {
	line             int
	ready, start     sched.Time
	end              sched.Time
	attempts         int32
	done             bool   // as far as the row tells, but for its state
	state            string // "" where there is no such column
	wait             time.Duration
	hasWait, present bool
	node             sched.NodeID // the first of the last attempt; NoNode if none
}

// CheckCSV checks a run from the trace and its tasks CSV alone. task and node find ids by name. The error is about a file that is not a
// tasks CSV; everything else that is wrong is a Violation. Rows with several attempts give only some checks, see CSVSummary.
func CheckCSV(c Case, tasks io.Reader, task func(job, name string) (sched.TaskID, bool), node func(name string) (sched.NodeID, bool)) (CSVSummary, []Violation, error) {
	var sum CSVSummary
	r := csv.NewReader(tasks)
	r.ReuseRecord = true
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		return sum, nil, errors.New("line 1: the file is empty")
	}
	if err != nil {
		return sum, nil, fmt.Errorf("line 1: no header: %w", err)
	}
	var col [10]int
	for i, name := range Columns {
		col[i] = slices.Index(head, name)
		if col[i] < 0 {
			return sum, nil, fmt.Errorf("line 1: no column %s", name)
		}
	}
	states := slices.Index(head, "state")
	k := &checker{c: c}
	rows := make([]row, len(c.Table.Tasks))
	var spans []Span
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil { // a csv.ParseError, which names the line
			return sum, k.found, err
		}
		line, _ := r.FieldPos(0)
		sum.Rows++
		f := func(i int) string { return rec[col[i]] }
		id, ok := task(f(1), f(0))
		if !ok || id < 0 || int(id) >= len(rows) {
			k.bad("csv", sched.Nobody, 0, "line %d: no task %q of job %q in the trace", line, f(0), f(1))
			continue
		}
		w := &rows[id]
		if w.present {
			k.bad("csv", id, 0, "line %d: the task is on line %d already", line, w.line)
			continue
		}
		w.present, w.line, w.node = true, line, sched.NoNode
		var when [4]sched.Time
		for i := range when {
			if when[i], err = parseSeconds(f(2 + i)); err != nil {
				return sum, k.found, fmt.Errorf("line %d: %s: %w", line, Columns[2+i], err)
			}
		}
		if when[0] != c.Table.Tasks[id].Submit {
			k.bad("csv", id, when[0], "line %d: submitted at %s by the CSV and at %s by the trace", line, stamp(when[0]), stamp(c.Table.Tasks[id].Submit))
		}
		w.ready, w.start, w.end = when[1], when[2], when[3]
		if f(6) != "" {
			v, err := parseSeconds(f(6))
			if err != nil {
				return sum, k.found, fmt.Errorf("line %d: wait_s: %w", line, err)
			}
			w.wait, w.hasWait = time.Duration(v), true
		}
		n, err := strconv.ParseInt(f(9), 10, 32)
		if err != nil || n < 0 {
			return sum, k.found, fmt.Errorf("line %d: attempts: %q is not a count", line, f(9))
		}
		w.attempts = int32(n)
		if states >= 0 {
			if w.state = rec[states]; !slices.Contains(phases, w.state) {
				return sum, k.found, fmt.Errorf("line %d: state: %q is none of %s", line, w.state, strings.Join(phases, ", "))
			}
		}
		if n == 0 {
			if w.start != sched.Never || f(7) != "" {
				k.bad("csv", id, w.start, "line %d: has a start or a node and no attempt", line)
			}
			continue
		}
		sum.Started++
		if w.start == sched.Never || w.ready == sched.Never {
			k.bad("csv", id, w.start, "line %d: has %d attempts and no start or no ready time", line, n)
			continue
		}
		on, err := ParsePlacements(f(7), f(8), &c.Table.DemandOf(id).Need, c.Nodes, node)
		if err != nil {
			k.bad("csv", id, w.start, "line %d: %v", line, err)
			continue
		}
		if len(on) > 0 {
			w.node = on[0].Node
		}
		s := Span{Task: id, Attempt: int32(n), Start: w.start, End: w.end, On: on}
		if n > 1 {
			sum.Repeated++
			k.placements(&s) // the last attempt's own shape can still be checked
			w.done = w.end != sched.Never && (w.state == "" || w.state == "done")
			continue
		}
		if w.end == sched.Never {
			s.How = Open
		}
		spans = append(spans, s)
	}
	ok := make([]*Span, 0, len(spans))
	for i := range spans {
		if k.placements(&spans[i]) {
			ok = append(ok, &spans[i])
		}
		k.rowService(rows, &spans[i])
	}
	k.capacity(ok)
	k.nodesUp(ok)
	for t := range rows {
		k.row(sched.TaskID(t), rows)
	}
	return sum, k.found, nil
}

// until returns when a run with a horizon was stopped.
func (c *Case) until() sched.Time { return c.Table.Tasks[0].Submit.Add(c.Horizon) }

// rowService checks the service of a task with one attempt and notes whether it was completed.
func (k *checker) rowService(rows []row, s *Span) {
	w := &rows[s.Task]
	if s.How == Open && k.c.Horizon == 0 {
		return
	}
	c, t, held := &k.c, s.Task, s.End.Sub(s.Start)
	lo, hi := c.duration(c.Run[t], c.by(t, c.Run[t], c.RunOn[t]), s.On)
	elo, ehi := c.duration(c.Table.Estimates[t], c.by(t, c.Table.Estimates[t], c.Table.EstimateOn[t]), s.On)
	cut := c.KillAtEstimate && ehi < lo
	if cut {
		lo, hi = elo, ehi
	}
	staged := c.staging(t, s.Start, s.On, func(p sched.TaskID) (sched.Time, sched.NodeID) { return rows[p].end, rows[p].node })
	lo, hi = lo+staged, hi+staged
	if s.How == Open {
		if until := c.until(); until.Sub(s.Start) > hi {
			k.bad("service", t, s.Start, "line %d: has not ended at %s, and its run time there is %s", w.line, stamp(until), lo)
		}
		return
	}
	if held >= lo && held <= hi {
		w.done = !cut
		k.doneOrNot(t, w)
		return
	}
	if held >= 0 && held <= hi {
		downs := c.downs()
		for _, p := range s.On {
			for _, d := range downs[p.Node] {
				if d.from == s.End {
					k.doneOrNot(t, w)
					return
				}
			}
		}
		for _, f := range c.Faults {
			if f.Attempt == 1 && f.Task == t && f.After == held {
				k.doneOrNot(t, w)
				return
			}
		}
	}
	k.bad("service", t, s.End, "line %d: ran for %s, its run time there is %s", w.line, held, lo)
}

// doneOrNot checks the state of a task of which the row tells whether it was completed.
func (k *checker) doneOrNot(t sched.TaskID, w *row) {
	switch {
	case w.state == "" || w.done == (w.state == "done"):
	case w.done:
		k.bad("outcome", t, w.end, "line %d: is %s, and was completed by its times", w.line, w.state)
	default:
		k.bad("outcome", t, w.end, "line %d: is done, and was not completed by its times", w.line)
	}
}

// row checks what one row says of order and waits.
func (k *checker) row(t sched.TaskID, rows []row) {
	w := &rows[t]
	submit := k.c.Table.Tasks[t].Submit
	if !w.present {
		k.bad("end", t, submit, "is not in the CSV")
		return
	}
	switch {
	case k.c.Horizon > 0:
		if until := k.c.until(); w.end != sched.Never && w.end > until {
			k.bad("end", t, w.end, "line %d: ended after the run, which was stopped at %s", w.line, stamp(until))
		}
	case w.end == sched.Never:
		k.bad("end", t, submit, "line %d: neither finished nor reported", w.line)
	}
	if w.end < submit || (w.start != sched.Never && (w.end < w.start || w.start < submit)) {
		k.bad("outcome", t, w.end, "line %d: times are out of order", w.line)
	}
	switch {
	case w.state == "":
	case slices.Contains(final, w.state) && w.end == sched.Never:
		k.bad("outcome", t, submit, "line %d: is %s and has no end", w.line, w.state)
	case !slices.Contains(final, w.state) && w.end != sched.Never:
		k.bad("outcome", t, w.end, "line %d: is %s and has an end", w.line, w.state)
	case w.attempts == 0:
		k.doneOrNot(t, w)
	}
	ready, free := submit, true
	for _, p := range k.c.Table.Preds(t) {
		q := &rows[p]
		if !q.present || !q.done {
			free = false
			if w.attempts > 0 {
				k.bad("precedence", t, w.start, "line %d: starts though its predecessor %d (line %d) is not done", w.line, p, q.line)
			}
			continue
		}
		ready = max(ready, q.end)
	}
	if w.attempts == 0 || w.start == sched.Never {
		return
	}
	if w.start < ready {
		k.bad("precedence", t, w.start, "line %d: starts before it is ready at %s", w.line, stamp(ready))
	}
	if free && w.ready != ready {
		k.bad("outcome", t, w.ready, "line %d: is said to be ready at %s and was at %s", w.line, stamp(w.ready), stamp(ready))
	}
	if w.end == sched.Never || w.ready == sched.Never {
		return
	}
	switch {
	case !w.hasWait:
		k.bad("outcome", t, w.end, "line %d: ended and has no wait", w.line)
	case w.wait < 0:
		k.bad("outcome", t, w.end, "line %d: waited %s", w.line, w.wait)
	case w.attempts == 1 && w.wait != w.start.Sub(w.ready):
		k.bad("outcome", t, w.end, "line %d: waited %s by the CSV and %s by its times", w.line, w.wait, w.start.Sub(w.ready))
	case w.attempts > 1 && w.wait > w.end.Sub(w.ready):
		k.bad("outcome", t, w.end, "line %d: waited %s of %s", w.line, w.wait, w.end.Sub(w.ready))
	case w.attempts > 1 && w.wait < w.start.Sub(w.ready):
		k.bad("outcome", t, w.end, "line %d: waited %s, and %s before the first start", w.line, w.wait, w.start.Sub(w.ready))
	}
}

// parseSeconds reads decimal seconds exactly; "" is Never.
func parseSeconds(s string) (sched.Time, error) {
	if s == "" {
		return sched.Never, nil
	}
	bad := fmt.Errorf("%q is not a time in decimal seconds", s)
	digits, neg := s, false
	if digits[0] == '-' || digits[0] == '+' {
		neg, digits = digits[0] == '-', digits[1:]
	}
	whole, frac, _ := strings.Cut(digits, ".")
	if whole == "" && frac == "" || len(frac) > 9 {
		return 0, bad
	}
	var v int64
	for _, ch := range []byte(whole + frac + strings.Repeat("0", 9-len(frac))) {
		digit := int64(ch - '0')
		if ch < '0' || ch > '9' || v > (math.MaxInt64-digit)/10 {
			return 0, bad
		}
		v = v*10 + digit
	}
	if neg {
		v = -v
	}
	return sched.Time(v), nil
}

// FormatSeconds writes an instant or a duration in ns as Columns says; Never is "".
func FormatSeconds(ns int64) string {
	if ns == int64(sched.Never) {
		return ""
	}
	u, sign := uint64(ns), ""
	if ns < 0 {
		u, sign = -u, "-"
	}
	s := sign + strconv.FormatUint(u/1e9, 10)
	if f := u % 1e9; f != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%09d", f), "0")
	}
	return s
}

// FormatPlacements writes the columns node and gpus as Columns says.
func FormatPlacements(on []sched.Placement, need *sched.Need, nodes []sched.NodeSpec) (node, gpus string) {
	var a, b strings.Builder
	for i, p := range on {
		if i > 0 {
			a.WriteByte(';')
			b.WriteByte(';')
		}
		a.WriteString(nodes[p.Node].Name)
		if p.Replicas > 1 {
			fmt.Fprintf(&a, "*%d", p.Replicas)
		}
		switch {
		case need.GPUs == 0:
		case nodes[p.Node].GPUs > sched.MaxDevices:
			fmt.Fprintf(&b, "#%d", int64(p.Replicas)*int64(need.GPUs))
		default:
			b.WriteString(formatDevices(p.GPUs, need.GPUMilli))
		}
	}
	if need.GPUs == 0 {
		return a.String(), ""
	}
	return a.String(), b.String()
}

func formatDevices(set sched.Devices, milli int32) string {
	var parts []string
	for i := 0; i < 64; i++ {
		if set>>i&1 == 0 {
			continue
		}
		if milli != sched.Whole {
			parts = append(parts, fmt.Sprintf("%d:%d", i, milli))
			continue
		}
		from := i
		for i+1 < 64 && set>>(i+1)&1 == 1 {
			i++
		}
		if i == from {
			parts = append(parts, strconv.Itoa(i))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", from, i))
		}
	}
	return strings.Join(parts, "+")
}

// ParsePlacements reads the columns node and gpus. A share must be the one that the task asks for.
func ParsePlacements(node, gpus string, need *sched.Need, nodes []sched.NodeSpec, find func(string) (sched.NodeID, bool)) ([]sched.Placement, error) {
	if node == "" {
		return nil, errors.New("no node")
	}
	var on []sched.Placement
	for entry := range strings.SplitSeq(node, ";") {
		p := sched.Placement{Replicas: 1}
		id, ok := find(entry)
		if !ok {
			if i := strings.LastIndexByte(entry, '*'); i >= 0 {
				if n, err := strconv.ParseInt(entry[i+1:], 10, 32); err == nil && n > 0 {
					p.Replicas = int32(n)
					id, ok = find(entry[:i])
				}
			}
		}
		if !ok || id < 0 || int(id) >= len(nodes) {
			return nil, fmt.Errorf("no node %q in the cluster", entry)
		}
		p.Node = id
		on = append(on, p)
	}
	if gpus == "" && (need.GPUs == 0 || len(on) > 1) {
		if need.GPUs > 0 {
			return nil, errors.New("no GPUs")
		}
		return on, nil
	}
	sets := strings.Split(gpus, ";")
	if len(sets) != len(on) {
		return nil, fmt.Errorf("%d nodes and %d GPU sets", len(on), len(sets))
	}
	for i, set := range sets {
		p := &on[i]
		if nodes[p.Node].GPUs > sched.MaxDevices {
			n, err := strconv.ParseInt(strings.TrimPrefix(set, "#"), 10, 64)
			if want := int64(p.Replicas) * int64(need.GPUs); !strings.HasPrefix(set, "#") || err != nil || n != want {
				return nil, fmt.Errorf("%q instead of #%d GPUs of a pool", set, want)
			}
			continue
		}
		var err error
		if p.GPUs, err = parseDevices(set, need.GPUMilli); err != nil {
			return nil, err
		}
	}
	return on, nil
}

func parseDevices(text string, milli int32) (sched.Devices, error) {
	var set sched.Devices
	if text == "" {
		return 0, nil
	}
	for part := range strings.SplitSeq(text, "+") {
		bad := fmt.Errorf("%q is not a set of GPUs", text)
		dev, share, shared := strings.Cut(part, ":")
		if shared {
			if v, err := strconv.ParseInt(share, 10, 32); err != nil || int32(v) != milli {
				return 0, fmt.Errorf("a share of %s/1000 of GPU %s instead of %d", share, dev, milli)
			}
		} else if milli != sched.Whole {
			return 0, fmt.Errorf("%q is whole instead of a share of %d/1000", text, milli)
		}
		a, b, ranged := strings.Cut(dev, "-")
		from, err := strconv.ParseUint(a, 10, 8)
		to := from
		if ranged && err == nil {
			to, err = strconv.ParseUint(b, 10, 8)
		}
		if err != nil || from > to || to >= 64 {
			return 0, bad
		}
		for i := from; i <= to; i++ {
			if set>>i&1 == 1 {
				return 0, fmt.Errorf("GPU %d twice in %q", i, text)
			}
			set |= 1 << i
		}
	}
	return set, nil
}
