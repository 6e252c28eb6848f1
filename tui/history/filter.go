package history

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/schedlab/schedlab/policies/sched"
)

// Filter picks tasks, or events. The zero value takes all.
type Filter struct {
	terms []term
}

type term struct {
	not   bool
	field string // "" = name, job, tenant, queue, kind or node
	op    byte   // ':' contains, '=' is, '<', '>'
	text  string // lower case
	num   float64
	phase map[sched.Phase]bool
}

// FilterFields are the words before a colon.
var FilterFields = []string{"name", "job", "tenant", "queue", "kind", "node", "state", "event", "wait", "run", "gpus", "attempts", "id"}

var numeric = []string{"wait", "run", "gpus", "attempts", "id"}

// phaseWords are what `state:` takes besides the phases' own names.
var phaseWords = map[string][]sched.Phase{
	"queued":  {sched.Ready, sched.Claiming, sched.Backoff, sched.Held},
	"waiting": {sched.Ready, sched.Claiming, sched.Backoff, sched.Held, sched.Blocked},
	"active":  {sched.Ready, sched.Claiming, sched.Backoff, sched.Held, sched.Running, sched.Stopping},
	"running": {sched.Running, sched.Stopping},
	"over":    {sched.Done, sched.Failed, sched.Dropped, sched.Rejected},
	"bad":     {sched.Failed, sched.Dropped, sched.Rejected},
}

// ParseFilter reads words that must all match: `text` is part of a name, job, tenant, queue, kind or node; `tenant:vision`, `state:queued` part of
// that field, `job=a` all of it; `wait>60s`, `run<2h`, `gpus>4`, `attempts>1` compare; `!` in front turns a word round. A name
// with such a sign in it is `name:a=b`.
func ParseFilter(s string) (Filter, error) {
	var f Filter
	for _, w := range strings.Fields(s) {
		t := term{op: ':'}
		if rest, ok := strings.CutPrefix(w, "!"); ok && rest != "" {
			t.not, w = true, rest
		}
		if i := strings.IndexAny(w, ":=<>"); i > 0 && slices.Contains(FilterFields, strings.ToLower(w[:i])) {
			t.field, t.op, w = strings.ToLower(w[:i]), w[i], w[i+1:]
		} else if i > 0 && isWord(w[:i]) {
			return Filter{}, fmt.Errorf("no field %q; there are %s", w[:i], strings.Join(FilterFields, " "))
		}
		t.text = strings.ToLower(w)
		switch {
		case slices.Contains(numeric, t.field):
			v, err := number(t.field, w)
			if err != nil {
				return Filter{}, err
			}
			t.num = v
			if t.op == ':' {
				t.op = '='
			}
		case t.op == '<' || t.op == '>':
			return Filter{}, fmt.Errorf("%s is text: use %s:TEXT; %s compare", t.field, t.field, strings.Join(numeric, " "))
		case t.field == "state":
			t.phase = phasesOf(t.text)
			if len(t.phase) == 0 {
				return Filter{}, fmt.Errorf("no state %q; there are blocked ready running done failed dropped held queued waiting active over bad", w)
			}
		}
		f.terms = append(f.terms, t)
	}
	return f, nil
}

// isWord reports whether a text may be meant as a field: node-3:0 is part of a name.
func isWord(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return !unicode.IsLetter(c) && c != '_' }) < 0
}

func number(field, w string) (float64, error) {
	if v, err := strconv.ParseFloat(w, 64); err == nil {
		return v, nil
	}
	if field == "wait" || field == "run" {
		if d, err := time.ParseDuration(w); err == nil {
			return d.Seconds(), nil
		}
		return 0, fmt.Errorf("%s takes seconds or a duration like 90s or 2h, not %q", field, w)
	}
	return 0, fmt.Errorf("%s takes a number, not %q", field, w)
}

func phasesOf(w string) map[sched.Phase]bool {
	m := map[sched.Phase]bool{}
	for _, p := range phaseWords[w] {
		m[p] = true
	}
	for p := sched.Blocked; len(m) == 0 && p <= sched.Rejected; p++ {
		if p.String() == w {
			m[p] = true
		}
	}
	if len(m) == 0 && w != "" {
		for p := sched.Blocked; p <= sched.Rejected; p++ {
			if strings.HasPrefix(p.String(), w) {
				m[p] = true
			}
		}
	}
	return m
}

// Empty reports whether the filter takes all.
func (f *Filter) Empty() bool { return len(f.terms) == 0 }

// steady reports whether what the filter says of a task never changes while the task is known.
func (f *Filter) steady() bool {
	for _, t := range f.terms {
		switch t.field {
		case "name", "job", "tenant", "queue", "kind", "gpus", "id":
		default:
			return false
		}
	}
	return true
}

// match reports whether a task matches at the instant of the cursor.
func (f *Filter) match(r *Record, t sched.TaskID, at sched.Time) bool {
	for i := range f.terms {
		if f.terms[i].match(r, t, at) == f.terms[i].not {
			return false
		}
	}
	return true
}

func (q *term) match(r *Record, t sched.TaskID, at sched.Time) bool {
	c := r.tb.ClassOf(t)
	switch q.field {
	case "event":
		return true
	case "state":
		return q.phase[sched.Phase(r.cur.phase[t])]
	case "name":
		return q.is(r.name(t))
	case "job":
		return q.is(r.tb.JobName.At(int(r.tb.Tasks[t].Job)))
	case "tenant":
		return q.is(r.tb.Tenants[c.Tenant])
	case "queue":
		return q.is(r.tb.Queues[c.Queue])
	case "kind":
		return q.is(r.tb.Kinds[c.Kind])
	case "node":
		n, _ := r.nodeOf(t)
		return q.is(n)
	case "id":
		return q.compare(float64(t))
	case "gpus":
		return q.compare(float64(r.tb.Demands[c.Demand].GPUTotal()) / sched.Whole)
	case "attempts":
		return q.compare(float64(r.attemptsBy(t)))
	case "wait":
		return q.compare(r.waitBy(t, at).Seconds())
	case "run":
		return q.compare(r.heldBy(t, at).Seconds())
	}
	if n, _ := r.nodeOf(t); q.is(n) {
		return true
	}
	return q.is(r.name(t)) || q.is(r.tb.JobName.At(int(r.tb.Tasks[t].Job))) || q.is(r.tb.Tenants[c.Tenant]) ||
		q.is(r.tb.Queues[c.Queue]) || q.is(r.tb.Kinds[c.Kind])
}

func (q *term) is(s string) bool {
	if q.op == '=' {
		return strings.EqualFold(s, q.text)
	}
	return strings.Contains(strings.ToLower(s), q.text)
}

func (q *term) compare(v float64) bool {
	switch q.op {
	case '<':
		return v < q.num
	case '>':
		return v > q.num
	}
	return v == q.num
}
