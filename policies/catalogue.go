// Package policies is the catalogue of scheduling policies, one file a family, all written against the contract of policies/sched. A
// policy is named as `name{key=value,...}`, optionally `+placement{key=value,...}`, and prints as it parses.
//
// # Your own policy
//
// There are three ways, from the shortest to the freest; the examples below run.
//
//   - On the command line, a priority expression, the larger value first: `expr: wait/estimate + 2*critical`. `schedlab policy show expr` lists what
//     it may name. Parse and NewExpression make one in Go.
//   - A Key: a function that orders ready tasks, the smallest value first. List runs it, Preemptive where running tasks may be stopped for it. A
//     Place chooses nodes.
//   - A type of one's own with Observe and Decide, the contract of sched.Policy.
//
// A simulation takes any of them as sim.Config.Policy, and policytest.Conform checks it over random workloads with failures. A line in Catalogue, with an
// Entry beside the type, gives it a name on the command line; benchmarks/experiment has examples that compare it with others and print its metrics.
//
// A policy may stand around one of the catalogue, embed it or hand it facts and rounds, and let it decide at some times only (say with WakeAt when it goes
// on). It gives no orders of its own beside it: those of the catalogue keep in mind what they have started, and what has found no room, and look again only
// where a fact says that this has changed. What has an order of its own is for a List with another Key.
package policies

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/internal/priority"
	"github.com/schedlab/schedlab/policies/sched"
)

// Entry is one policy of the catalogue.
type Entry struct {
	Name    string
	Summary string // one sentence
	About   string // how it decides, and what it does not promise
	Source  string // paper and section
	Params  []Param
	Placed  bool // takes `+placement`
	Starves bool // may leave a task waiting for ever; About says which
	New     func(a Args) (sched.Policy, error)
}

// Param is a parameter of a policy. Default decides its type by its form: a Go duration, a number, true or false, or one of Choices.
// Form, if any, replaces that: it says what is wrong with a value ("must be thresholds such as 3600/7200"), Example one that is right.
// File, if any, reports whether a value is the name of a file, which New reads.
type Param struct {
	Name, Default, About string
	Choices              []string
	Form                 func(value string) error
	Example              string
	File                 func(value string) bool
}

// Estimates is the parameter that every policy takes and no policy sees: the experiment takes it off and sets the estimates.
const Estimates = "estimates"

// Hints are what a policy may be told of the workload before it is built.
type Hints struct {
	MeanEstimate time.Duration // for default quanta; 0 = unknown
	Setup        time.Duration // what an attempt takes before its work gets on, where it was preempted: default quanta come on top of it
	Typical      *sched.Table  // of the tasks that fgd takes as typical; nil = the kernel's, with the tasks to come as far as it has them
}

// slice returns a default quantum: a part of the mean estimate. Slices that set up is not a part of would leave no time for work.
func (h *Hints) slice(part time.Duration) time.Duration {
	return max(h.MeanEstimate/part, time.Millisecond) + h.Setup
}

// Args are the parameters given to a policy, checked for their types.
type Args struct {
	entry *Entry
	set   map[string]string
	Place Place // nil: the policy's own
	Hints Hints
	expr  string
}

// Text returns the parameter's value as it was written, or its default.
func (a Args) Text(name string) string {
	if v, ok := a.set[name]; ok {
		return v
	}
	for _, p := range a.entry.Params {
		if p.Name == name {
			return p.Default
		}
	}
	panic("policies: " + a.entry.Name + " has no parameter " + name)
}

// Float returns a number; Duration and Bool likewise. Parse has checked them.
func (a Args) Float(name string) float64 {
	v, _ := strconv.ParseFloat(a.Text(name), 64)
	return v
}

// Duration returns a duration parameter; 0 where it says auto.
func (a Args) Duration(name string) time.Duration {
	d, _ := time.ParseDuration(a.Text(name))
	return d
}

// Bool returns a parameter that is true or false.
func (a Args) Bool(name string) bool { return a.Text(name) == "true" }

const auto = "auto"

// check says what is wrong with a value.
func (p *Param) check(v string) error {
	switch {
	case p.Form != nil:
		if err := p.Form(v); err != nil {
			return fmt.Errorf("%s %w, not %q", p.Name, err, v)
		}
	case len(p.Choices) > 0:
		if !slices.Contains(p.Choices, v) {
			return fmt.Errorf("%s must be one of %s, not %q", p.Name, strings.Join(p.Choices, ", "), v)
		}
	case p.Default == "true" || p.Default == "false":
		if v != "true" && v != "false" {
			return fmt.Errorf("%s must be true or false, not %q", p.Name, v)
		}
	case p.Default == auto:
		if d, err := time.ParseDuration(v); v != auto && (err != nil || d <= 0) {
			return fmt.Errorf("%s must be a positive duration such as 30s, or auto, not %q", p.Name, v)
		}
	default:
		if f, err := strconv.ParseFloat(v, 64); err != nil || !(f >= 0 && f <= 1e9) {
			return fmt.Errorf("%s must be a number from 0 to 1e9, not %q", p.Name, v)
		}
	}
	return nil
}

// canonical returns the one spelling of values that mean the same: 10m for 600s, 0.5 for .50. The value has been checked.
func (p *Param) canonical(v string) string {
	switch {
	case len(p.Choices) > 0 && p.Form == nil:
		return v
	case p.Default == auto && p.Form != nil: // gittins' distribution may be the name of a file
		return v
	}
	if _, err := strconv.ParseFloat(p.Default, 64); err != nil { // "0" could be both
		if d, err := time.ParseDuration(v); err == nil {
			return sched.ShortDuration(d)
		}
	}
	parts := strings.Split(v, "/")
	for i, part := range parts {
		f, err := strconv.ParseFloat(part, 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return v
		}
		form := byte('f')
		if f != 0 && math.Abs(f) < 1e-6 || math.Abs(f) >= 1e21 {
			form = 'g'
		}
		parts[i] = strings.Replace(strconv.FormatFloat(f, form, -1, 64), "e+", "e", 1) // a + is before a placement
	}
	return strings.Join(parts, "/")
}

// Spec is a parsed policy name. What means the same is the same Spec: values have one spelling, and defaults that are spelled out are left out.
type Spec struct {
	Name      string
	Set       []Setting // in the order of the policy's parameters
	Placement string    // "" = the policy's own
	Placed    []Setting // of the placement, in the order of its parameters
	Estimates string    // "" = as the experiment says
	Expr      string    // of `expr: ...`; "" for all other policies
}

// Setting is one key=value.
type Setting struct{ Key, Value string }

// String prints the spec so that Parse reads it back.
func (s Spec) String() string {
	set := s.Set
	if s.Estimates != "" {
		set = append(slices.Clone(set), Setting{Estimates, s.Estimates})
	}
	text := s.Name + brackets(set)
	if s.Placement != "" {
		text += "+" + s.Placement + brackets(s.Placed)
	}
	if s.Expr != "" {
		text += ": " + s.Expr
	}
	return text
}

// MapFiles puts what f returns in the place of every value that is the name of a file.
func (s *Spec) MapFiles(f func(path string) string) {
	e := Find(s.Name)
	if e == nil {
		return
	}
	s.Set = slices.Clone(s.Set)
	for i, kv := range s.Set {
		for _, p := range e.Params {
			if p.Name == kv.Key && p.File != nil && p.File(kv.Value) {
				s.Set[i].Value = f(kv.Value)
			}
		}
	}
}

// brackets prints settings; nothing where there are none.
func brackets(set []Setting) string {
	var b strings.Builder
	for i, kv := range set {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(kv.Key + "=" + kv.Value)
	}
	if len(set) > 0 {
		b.WriteByte('}')
	}
	return b.String()
}

// Split splits a list of policies at the commas outside brackets and quotes.
func Split(list string) []string {
	var out []string
	depth, from := 0, 0
	quote := rune(0)
	escaped := false
	for i, c := range list {
		if quote != 0 {
			switch {
			case escaped:
				escaped = false
			case c == '\\' && quote != '`':
				escaped = true
			case c == quote:
				quote = 0
			}
			continue
		}
		switch c {
		case '"', '\'', '`':
			quote = c
		case '{', '(', '[':
			depth++
		case '}', ')', ']':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, strings.TrimSpace(list[from:i]))
				from = i + 1
			}
		}
	}
	return append(out, strings.TrimSpace(list[from:]))
}

// Parse reads `name{key=value,...}+placement{key=value,...}`, and `expr{...}+placement{...}: expression`. Errors say what is known instead.
func Parse(text string) (Spec, error) {
	head, expression, ok := cutExpression(text)
	if !ok {
		s, err := parse(text)
		if err == nil && s.Name == exprName {
			err = fmt.Errorf("policy %q: the expression is missing, as in `expr: wait/estimate`", text)
		}
		return s, err
	}
	s, err := parse(head)
	if err != nil {
		return s, err
	}
	if _, err := priority.Compile(expression); err != nil {
		return s, fmt.Errorf("policy %q: %w", text, err)
	}
	s.Expr = expression
	return s, nil
}

func parse(text string) (Spec, error) {
	s := Spec{}
	rest, placed := strings.TrimSpace(text), ""
	if i := lastPlus(rest); i >= 0 {
		rest, placed = strings.TrimSpace(rest[:i]), strings.TrimSpace(rest[i+1:])
		name, args, err := cutBrackets(text, placed)
		if err != nil {
			return s, err
		}
		p := FindPlacement(name)
		if p == nil {
			return s, fmt.Errorf("policy %q: unknown placement %q (known: %s)", text, name, strings.Join(PlacementNames(), ", "))
		}
		s.Placement = name
		if s.Placed, err = parseSettings(text, p.Name, p.Params, args, nil); err != nil {
			return s, err
		}
	}
	name, args, err := cutBrackets(text, rest)
	if err != nil {
		return s, err
	}
	s.Name = name
	e := Find(s.Name)
	switch {
	case e != nil:
	case s.Name == "":
		return s, fmt.Errorf("unknown policy \"\": the name is missing in %q (known: %s, and expr: ...)", text, strings.Join(Names(), ", "))
	case FindPlacement(s.Name) != nil:
		return s, fmt.Errorf("policy %q: %s is a placement: write it behind a policy, as in fifo+%s", text, s.Name, s.Name)
	case strings.Contains(s.Name, "+"):
		return s, fmt.Errorf("policy %q: a policy takes one +placement, and %q has one", text, s.Name)
	default:
		return s, fmt.Errorf("unknown policy %q (known: %s, and expr: ...; `schedlab policy list` explains them)", s.Name, strings.Join(Names(), ", "))
	}
	if s.Placement != "" && !e.Placed {
		return s, fmt.Errorf("policy %q: %s chooses its nodes itself and takes no +placement", text, e.Name)
	}
	if s.Set, err = parseSettings(text, e.Name, e.Params, args, &s.Estimates); err != nil {
		return s, err
	}
	// On nodes thought empty nobody runs; by who runs there now, tasks would change places for ever.
	if repacks := slices.ContainsFunc(s.Set, func(kv Setting) bool { return kv.Key == repackParam.Name && kv.Value == "true" }); repacks && s.Placement != "" && FindPlacement(s.Placement).Company {
		return s, fmt.Errorf("policy %q: %s goes by who runs on a node, and with repack=true all are placed anew", text, s.Placement)
	}
	return s, nil
}

// lastPlus returns where the last + outside brackets is, or -1.
func lastPlus(text string) int {
	depth := 0
	for i := len(text) - 1; i >= 0; i-- {
		switch text[i] {
		case '}':
			depth++
		case '{':
			depth--
		case '+':
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

// cutBrackets cuts `name{args}`.
func cutBrackets(text, part string) (name, args string, err error) {
	name, args, found := strings.Cut(part, "{")
	if found && !strings.HasSuffix(args, "}") {
		return "", "", fmt.Errorf("policy %q: the bracket { is not closed", text)
	}
	return strings.TrimSpace(name), strings.TrimSuffix(args, "}"), nil
}

// parseSettings reads the key=value,... of a policy or a placement and returns them in the order of its parameters. Only where estimates is not
// nil may they be given, and go there.
func parseSettings(text, name string, params []Param, args string, estimates *string) (set []Setting, err error) {
	given := map[string]string{}
	if strings.TrimSpace(args) != "" {
		for _, kv := range Split(args) {
			k, v, ok := strings.Cut(kv, "=")
			k, v = strings.TrimSpace(k), strings.TrimSpace(v)
			if !ok || k == "" || v == "" {
				return nil, fmt.Errorf("policy %q: %q is not key=value", text, kv)
			}
			if _, twice := given[k]; twice {
				return nil, fmt.Errorf("policy %q: %s is given twice", text, k)
			}
			if strings.ContainsAny(v, "{},+") {
				return nil, fmt.Errorf("policy %q: %s has a bad value %q", text, k, v)
			}
			given[k] = v
			if k == Estimates && estimates != nil {
				*estimates = v
				continue
			}
			i := slices.IndexFunc(params, func(p Param) bool { return p.Name == k })
			if i < 0 {
				return nil, fmt.Errorf("policy %q: %s has no parameter %q (%s)", text, name, k, paramNames(params, estimates != nil))
			}
			if err := params[i].check(v); err != nil {
				return nil, fmt.Errorf("policy %q: %w", text, err)
			}
		}
	}
	for _, p := range params {
		if v, ok := given[p.Name]; ok {
			if v = p.canonical(v); v != p.canonical(p.Default) {
				set = append(set, Setting{p.Name, v})
			}
		}
	}
	return set, nil
}

func paramNames(params []Param, estimates bool) string {
	names := []string{}
	for _, p := range params {
		names = append(names, p.Name)
	}
	if estimates {
		names = append(names, Estimates)
	}
	if len(names) == 0 {
		return "it has none"
	}
	return "it has " + strings.Join(names, ", ")
}

// Build makes a new policy of a parsed spec.
func Build(s Spec, h Hints) (sched.Policy, error) {
	e := Find(s.Name)
	if e == nil {
		return nil, fmt.Errorf("unknown policy %q", s.Name)
	}
	if e.Name == exprName && s.Expr == "" {
		return nil, errors.New("policy expr: the expression is missing, as in `expr: wait/estimate`")
	}
	a := Args{entry: e, set: map[string]string{}, Hints: h, expr: s.Expr}
	for _, kv := range s.Set {
		a.set[kv.Key] = kv.Value
	}
	if s.Placement != "" {
		p := FindPlacement(s.Placement)
		if p == nil {
			return nil, fmt.Errorf("unknown placement %q", s.Placement)
		}
		a.Place = p.place(s.Placed, h)
	}
	return e.New(a)
}

// Find returns the entry of a name, or nil. It knows expr, which is in no list of names since it says nothing without an expression.
func Find(name string) *Entry {
	if name == exprName {
		return &exprEntry
	}
	for i := range Catalogue {
		if Catalogue[i].Name == name {
			return &Catalogue[i]
		}
	}
	return nil
}

// Names returns the names of the catalogue in its order.
func Names() []string {
	var out []string
	for _, e := range Catalogue {
		out = append(out, e.Name)
	}
	return out
}

var (
	skipParam    = Param{Name: "skip", Default: "true", About: "pass over a task that does not fit; false: the head of the line blocks"}
	preemptParam = Param{Name: "preempt", Default: "true", About: "stop running tasks that come later in the order; false: they run to their end"}
)

func keyed(key Key) func(a Args) (sched.Policy, error) {
	return func(a Args) (sched.Policy, error) {
		return &List{alone: true, Key: key, Place: a.Place, Skip: a.Bool("skip")}, nil
	}
}

// preemptive is keyed for the policies that take preemptParam. falls: the key is ShortestRemaining.
func preemptive(key Key, falls bool) func(a Args) (sched.Policy, error) {
	return func(a Args) (sched.Policy, error) {
		if !a.Bool(preemptParam.Name) {
			return keyed(key)(a)
		}
		return &Preemptive{Key: key, Falls: falls, Place: a.Place, Skip: a.Bool("skip")}, nil
	}
}

// Catalogue lists every policy that can be named, in the order in which `policy list` shows them. An entry stands with its policy.
var Catalogue = []Entry{
	fifoEntry,
	fjfEntry,
	rrEntry,
	rmsEntry,
	dmEntry,
	edfEntry,
	llfEntry,
	opaEntry,
	sjfEntry,
	priorityEntry,
	lptEntry,
	srtfEntry,
	hrrnEntry,
	qssfEntry,
	srsfEntry,
	lasEntry,
	twoDLASEntry,
	gittinsEntry,
	easyEntry,
	conservativeEntry,
	blevelEntry,
	criticalPathEntry,
	drfEntry,
	fairShareEntry,
	themisEntry,
	gavelEntry,
	alloxEntry,
	heftEntry,
	cpopEntry,
	peftEntry,
	lookaheadEntry,
	dlsEntry,
	etfEntry,
	minMinEntry,
	maxMinEntry,
}

func num(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
