// Package policies is the catalogue of scheduling policies, one file a family, all written against the contract of policies/sched. A
// policy is named as `name{key=value,...}`, optionally `+placement`, and prints as it parses.
package policies

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
	New     func(a Args) (sched.Policy, error)
}

// Param is a parameter of a policy. Default decides its type by its form: a Go duration, a number, true or false, or one of Choices.
// Form, if any, replaces that: it says what is wrong with a value ("must be thresholds such as 3600/7200"), Example one that is right.
type Param struct {
	Name, Default, About string
	Choices              []string
	Form                 func(value string) error
	Example              string
}

// Estimates is the parameter that every policy takes and no policy sees: the experiment takes it off and sets the estimates.
const Estimates = "estimates"

// Hints are what a policy may be told of the workload before it is built.
type Hints struct {
	MeanEstimate time.Duration // for default quanta; 0 = unknown
}

// Args are the parameters given to a policy, checked for their types.
type Args struct {
	entry *Entry
	set   map[string]string
	Place Place // nil: the policy's own
	Hints Hints
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

// Spec is a parsed policy name.
type Spec struct {
	Name      string
	Set       []Setting // in the order of the policy's parameters
	Placement string    // "" = the policy's own
	Estimates string    // "" = as the experiment says
}

// Setting is one key=value.
type Setting struct{ Key, Value string }

// String prints the spec so that Parse reads it back.
func (s Spec) String() string {
	var b strings.Builder
	b.WriteString(s.Name)
	set := s.Set
	if s.Estimates != "" {
		set = append(slices.Clone(set), Setting{Estimates, s.Estimates})
	}
	if len(set) > 0 {
		for i, kv := range set {
			b.WriteByte("{,"[min(i, 1)])
			b.WriteString(kv.Key + "=" + kv.Value)
		}
		b.WriteByte('}')
	}
	if s.Placement != "" {
		b.WriteString("+" + s.Placement)
	}
	return b.String()
}

// Split splits a list of policies at the commas outside brackets.
func Split(list string) []string {
	var out []string
	depth, from := 0, 0
	for i, c := range list {
		switch c {
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

// Parse reads `name{key=value,...}+placement`. Errors say what is known instead.
func Parse(text string) (Spec, error) {
	s := Spec{}
	rest := strings.TrimSpace(text)
	if i := strings.LastIndexByte(rest, '+'); i >= 0 && !strings.Contains(rest[i:], "}") {
		s.Placement, rest = strings.TrimSpace(rest[i+1:]), strings.TrimSpace(rest[:i])
		if placements[s.Placement].fn == nil {
			return s, fmt.Errorf("policy %q: unknown placement %q (known: %s)", text, s.Placement, strings.Join(PlacementNames(), ", "))
		}
	}
	args := ""
	if i := strings.IndexByte(rest, '{'); i >= 0 {
		if !strings.HasSuffix(rest, "}") {
			return s, fmt.Errorf("policy %q: the bracket { is not closed", text)
		}
		args, rest = rest[i+1:len(rest)-1], rest[:i]
	}
	s.Name = strings.TrimSpace(rest)
	e := Find(s.Name)
	if e == nil {
		return s, fmt.Errorf("unknown policy %q (known: %s; `schedlab policy list` explains them)", s.Name, strings.Join(Names(), ", "))
	}
	if s.Placement != "" && !e.Placed {
		return s, fmt.Errorf("policy %q: %s chooses its nodes itself and takes no +placement", text, e.Name)
	}
	given := map[string]string{}
	if strings.TrimSpace(args) != "" {
		for _, kv := range Split(args) {
			k, v, ok := strings.Cut(kv, "=")
			k, v = strings.TrimSpace(k), strings.TrimSpace(v)
			if !ok || k == "" || v == "" {
				return s, fmt.Errorf("policy %q: %q is not key=value", text, kv)
			}
			if _, twice := given[k]; twice {
				return s, fmt.Errorf("policy %q: %s is given twice", text, k)
			}
			if strings.ContainsAny(v, "{},+") {
				return s, fmt.Errorf("policy %q: %s has a bad value %q", text, k, v)
			}
			given[k] = v
			if k == Estimates {
				s.Estimates = v
				continue
			}
			i := slices.IndexFunc(e.Params, func(p Param) bool { return p.Name == k })
			if i < 0 {
				return s, fmt.Errorf("policy %q: %s has no parameter %q (%s)", text, e.Name, k, e.paramNames())
			}
			if err := e.Params[i].check(v); err != nil {
				return s, fmt.Errorf("policy %q: %w", text, err)
			}
		}
	}
	for _, p := range e.Params {
		if v, ok := given[p.Name]; ok {
			s.Set = append(s.Set, Setting{p.Name, v})
		}
	}
	return s, nil
}

func (e *Entry) paramNames() string {
	names := []string{}
	for _, p := range e.Params {
		names = append(names, p.Name)
	}
	return "it has " + strings.Join(append(names, Estimates), ", ")
}

// Build makes a new policy of a parsed spec.
func Build(s Spec, h Hints) (sched.Policy, error) {
	e := Find(s.Name)
	if e == nil {
		return nil, fmt.Errorf("unknown policy %q", s.Name)
	}
	a := Args{entry: e, set: map[string]string{}, Hints: h}
	for _, kv := range s.Set {
		a.set[kv.Key] = kv.Value
	}
	if s.Placement != "" {
		a.Place = placements[s.Placement].fn
	}
	return e.New(a)
}

// Find returns the entry of a name, or nil.
func Find(name string) *Entry {
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
		return &List{Key: key, Place: a.Place, Skip: a.Bool("skip")}, nil
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
	sjfEntry,
	lptEntry,
	srtfEntry,
	easyEntry,
	blevelEntry,
	criticalPathEntry,
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
