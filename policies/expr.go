package policies

import (
	"fmt"
	"slices"
	"strings"

	"github.com/schedlab/schedlab/policies/internal/priority"
	"github.com/schedlab/schedlab/policies/sched"
)

// Expression is list scheduling in the order of a priority expression, as a user writes it on the command line: the larger value runs first,
// ties go to the lower TaskID, what is not a number comes last. Where no variable that changes while a task waits is used, the value is taken
// once, when the task becomes ready; where all values change by the same with the time (wait, with the same factor for all), their order is
// taken once. Else the values of all tasks that might start are taken anew at the beginning of each decision: linear time in the tasks that
// wait. A change of the order alone is no reason for a decision: something else must happen.
//
// Make one with NewExpression.
type Expression struct {
	BLevel // its Observe keeps upward ranks; used only if the expression names upward_rank

	program *priority.Program
	ranked  bool
	jobs    []int32 // by JobID: tasks that have arrived; kept if the expression names job_tasks
	sized   bool
	stale   bool // a job has grown: the values of its tasks are old
	scope   priority.Scope
}

// NewExpression compiles an expression (its language is that of the package policies/internal/priority, `schedlab policy show expr`). place may
// be nil: first fit. skip says whether what does not fit is passed over. Errors show where in the text.
func NewExpression(text string, place Place, skip bool) (*Expression, error) {
	p, err := priority.Compile(text)
	if err != nil {
		return nil, err
	}
	e := &Expression{program: p, ranked: p.Uses("upward_rank"), sized: p.Uses("job_tasks")}
	e.List = List{Key: e.key, Place: place, Skip: skip}
	return e, nil
}

// key is the value of a task as a key, at the present time, or at time 0 where that makes no difference.
func (e *Expression) key(s *sched.State, t sched.TaskID) int64 {
	c := &e.scope
	*c = priority.Scope{State: s, Task: t}
	if e.program.Order() == priority.Shifts {
		c.Now = s.Now()
	}
	if e.ranked {
		c.Rank = e.ranks[t]
	}
	if e.sized {
		c.Tasks = e.jobs[s.Task(t).Job]
	}
	return priority.Key(e.program.Value(c))
}

// Observe keeps the lines, and what the variables need.
func (e *Expression) Observe(s *sched.State, ev sched.Event) {
	if e.sized && ev.Kind == sched.JobArrived {
		job := s.Task(ev.Task).Job
		if grow := int(job) + 1 - len(e.jobs); grow > 0 {
			e.jobs = slices.Grow(e.jobs, max(int(s.Table().Jobs)-len(e.jobs), grow))[:int(job)+1]
		}
		e.stale = e.stale || e.jobs[job] > 0
		e.jobs[job] += ev.N
	}
	if e.ranked {
		e.BLevel.Observe(s, ev)
	} else {
		e.List.observe(s, &ev)
	}
}

// Decide takes the values anew where they may have changed, and starts tasks in their order.
func (e *Expression) Decide(r *sched.Round) {
	if e.stale || e.program.Order() == priority.Shifts {
		e.rekey(r.State, e.stale)
		e.stale = false
	}
	e.List.Decide(r)
}

// Changes says when the order of waiting tasks changes.
func (e *Expression) Changes() string {
	names := strings.Join(e.program.Changing(), ", ")
	switch e.program.Order() {
	case priority.Once:
		return "None of its variables changes while a task waits: its value is taken once, when the task becomes ready."
	case priority.Steady:
		return fmt.Sprintf("All values change alike with the time (%s), so that the order of two tasks does not: it is taken once, when a task becomes ready.", names)
	}
	return fmt.Sprintf("The values change while tasks wait (%s): they are taken anew for each decision.", names)
}

// rekey gives waiting tasks their values as of now. Unless all is set, those need none that no node has room for: which of them comes first
// is the same for all decisions of this moment.
func (l *List) rekey(s *sched.State, all bool) {
	key := func(t sched.TaskID) int64 { return l.Key(s, t) }
	switch {
	case !l.Skip:
		l.line.Rekey(key)
		l.stuck = false
	case all:
		l.lines.Rekey(key)
	default:
		l.openVacant(s)
		l.lines.RekeyOpen(s.Room().Roomy, key)
	}
}

// VariableHelp is a variable of expressions for people.
type VariableHelp struct{ Name, About string }

// ExpressionVariables lists what an expression may name, with units.
func ExpressionVariables() []VariableHelp {
	var out []VariableHelp
	for i := range priority.Variables {
		v := &priority.Variables[i]
		about := v.About
		if v.Change != priority.Fixed {
			about += "; changes while a task waits"
		}
		out = append(out, VariableHelp{v.Name, about})
	}
	return out
}

// exprEntry stands beside the catalogue: it is a policy only with an expression.
var exprEntry = Entry{
	Name: exprName, Summary: "A priority expression of your own: the task with the larger value runs first.", Placed: true, Starves: true,
	About: "Written `expr: wait/estimate + 2*critical`, with parameters and placement before the colon. Arithmetic (+ - * / **), comparisons, and or not, " +
		"`x ? a : b`, text compared with == != in startsWith endsWith contains, and the functions " + strings.Join(priority.Functions, ", ") + ". Ties go to the lower " +
		"task number; values that are not a number come last; values are rounded to 44 bits. No task is stopped for another, and one may starve where the values let it.",
	Source: "The user. Examples: WFP3 of Tang et al., Cluster 2009; F1 of Carastan-Santos & de Camargo, SC 2017. Language: github.com/expr-lang/expr.",
	Params: []Param{skipParam},
	New: func(a Args) (sched.Policy, error) {
		p, err := NewExpression(a.expr, a.Place, a.Bool("skip"))
		if err != nil {
			return nil, err
		}
		p.alone = true
		return p, nil
	},
}

const exprName = "expr"

// cutExpression cuts `expr{...}+placement: text` into what stands before the colon and the text.
func cutExpression(s string) (head, text string, ok bool) {
	rest, is := strings.CutPrefix(strings.TrimSpace(s), exprName)
	if !is {
		return "", "", false
	}
	rest = strings.TrimLeft(rest, " \t")
	if rest == "" || !strings.ContainsRune("{+:", rune(rest[0])) {
		return "", "", false
	}
	depth := 0
	for i, c := range rest {
		switch c {
		case '{':
			depth++
		case '}':
			depth--
		case ':':
			if depth == 0 {
				return exprName + rest[:i], strings.TrimSpace(rest[i+1:]), true
			}
		}
	}
	return "", "", false
}
