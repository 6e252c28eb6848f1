package realtime

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is the whole analysis of one set, for people (Text) and programs (JSON).
type Report struct {
	Schema       string       `json:"schema"` // schedlab/analyze-rt/v1
	Order        string       `json:"order"`  // rm, dm, given or opa
	Tasks        []TaskReport `json:"tasks"`  // highest priority first
	Utilization  float64      `json:"utilization"`
	HyperperiodS *float64     `json:"hyperperiod_s"` // null beyond 73 years
	LiuLayland   Bound        `json:"liu_layland"`
	Hyperbolic   Bound        `json:"hyperbolic"`
	Schedulable  *bool        `json:"schedulable"` // by exact response-time analysis; null if undecided
	Problem      string       `json:"problem,omitempty"`
	AnyOrder     *bool        `json:"any_order_schedulable"` // whether some order of fixed priorities meets all deadlines (Audsley); null if undecided
	EDF          *bool        `json:"edf_schedulable"`       // null if undecided
	EDFProblem   string       `json:"edf_problem,omitempty"`
	EDFResponses bool         `json:"edf_responses"` // whether the tasks' edf_response_s were found

	Partition []Processor `json:"partition,omitempty"` // of AddPartition
	Homeless  []string    `json:"homeless,omitempty"`  // tasks that pass the test on no processor
}

// Processor is what a partition gives to one processor.
type Processor struct {
	Tasks       []string `json:"tasks"` // highest priority first
	Utilization float64  `json:"utilization"`
}

// TaskReport is one task of a Report. Times in seconds.
type TaskReport struct {
	Name         string   `json:"name"`
	Rank         int      `json:"rank"` // 1 is the highest priority
	RunS         float64  `json:"run_s"`
	PeriodS      float64  `json:"period_s"`
	DeadlineS    float64  `json:"deadline_s"`
	JitterS      float64  `json:"jitter_s"`
	BlockingS    float64  `json:"blocking_s"`
	Utilization  float64  `json:"utilization"`
	ResponseS    *float64 `json:"response_s"` // null if unbounded or unknown
	Meets        *bool    `json:"meets"`      // null if unknown
	EDFResponseS *float64 `json:"edf_response_s"`

	task     Task
	response time.Duration
	edf      time.Duration
}

// Bound is the result of a sufficient test.
type Bound struct {
	Value   float64 `json:"value"`
	Limit   float64 `json:"limit"`
	Applies bool    `json:"applies"` // rate-monotonic priorities, deadlines not before the periods' ends, no jitter or blocking
	Passes  bool    `json:"passes"`  // passing proves schedulability; failing proves nothing
}

// Analyze runs every analysis on the set. An error means that the set itself is wrong; an analysis that comes to no verdict says so
// in the report.
func Analyze(s Set, o Order) (*Report, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	ranks := s.Ranks(o)
	applies := s.BoundsApply(ranks)
	r := &Report{
		Schema: "schedlab/analyze-rt/v1", Order: o.String(), Utilization: s.Utilization(),
		LiuLayland: Bound{s.Utilization(), LiuLayland(len(s)), applies, applies && s.PassesLiuLayland()},
		Hyperbolic: Bound{s.Hyperbolic(), 2, applies, applies && s.PassesHyperbolic()},
	}
	if h, ok := s.Hyperperiod(); ok {
		v := h.Seconds()
		r.HyperperiodS = &v
	}
	responses, err := s.ResponseTimes(ranks)
	if err != nil {
		r.Problem = err.Error()
	}
	if ok, err := s.Schedulable(ranks); err == nil {
		r.Schedulable = &ok
	} else if r.Problem == "" {
		r.Problem = err.Error()
	}
	if _, ok, err := s.Audsley(); err == nil {
		r.AnyOrder = &ok
	}
	if ok, err := s.EDFSchedulable(); err == nil {
		r.EDF = &ok
	} else {
		r.EDFProblem = err.Error()
	}
	edf, edfErr := s.EDFResponseTimes()
	r.EDFResponses = edfErr == nil
	for n, i := range ranks {
		k := s[i]
		t := TaskReport{
			Name: s.name(i), Rank: n + 1, RunS: k.C.Seconds(), PeriodS: k.T.Seconds(), DeadlineS: k.Deadline().Seconds(), JitterS: k.J.Seconds(),
			BlockingS: k.B.Seconds(), Utilization: float64(k.C) / float64(k.T), task: k, response: -1, edf: -1,
		}
		if err == nil {
			t.response = responses[i]
			meets := t.response <= k.Deadline()
			t.Meets, t.ResponseS = &meets, bounded(t.response)
		}
		if edfErr == nil {
			t.edf = edf[i]
			t.EDFResponseS = bounded(t.edf)
		}
		r.Tasks = append(r.Tasks, t)
	}
	return r, nil
}

// name returns what a task is called.
func (s Set) name(i int) string {
	if s[i].Name != "" {
		return s[i].Name
	}
	return strconv.Itoa(i + 1)
}

// AddPartition adds a partition of the set on m processors, by exact response times under the order.
func (r *Report) AddPartition(s Set, o Order, m int) error {
	on, err := s.Partition(m, o, ByResponse, nil)
	if err != nil {
		return err
	}
	r.Partition = make([]Processor, m)
	for _, i := range s.Ranks(o) {
		if on[i] < 0 {
			r.Homeless = append(r.Homeless, s.name(i))
			continue
		}
		p := &r.Partition[on[i]]
		p.Tasks = append(p.Tasks, s.name(i))
		p.Utilization += float64(s[i].C) / float64(s[i].T)
	}
	return nil
}

func bounded(d time.Duration) *float64 {
	if d == Unbounded {
		return nil
	}
	v := d.Seconds()
	return &v
}

// Verdict sums the report up in a few words.
func (r *Report) Verdict() string {
	switch {
	case r.Schedulable == nil:
		return "undecided: " + r.Problem
	case *r.Schedulable && r.LiuLayland.Passes:
		return "schedulable (Liu-Layland bound, confirmed by exact response times)"
	case *r.Schedulable && r.Hyperbolic.Passes:
		return "schedulable (hyperbolic bound, confirmed by exact response times)"
	case *r.Schedulable:
		return "schedulable (exact response times)"
	}
	var miss []string
	for _, t := range r.Tasks {
		if t.Meets != nil && !*t.Meets {
			miss = append(miss, t.Name)
		}
	}
	if len(miss) == 0 {
		return "not schedulable"
	}
	return "not schedulable: " + strings.Join(miss, ", ") + " can miss a deadline"
}

// Text writes the report as a table.
func (r *Report) Text(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	extra := false
	for _, t := range r.Tasks {
		extra = extra || t.task.J > 0 || t.task.B > 0
	}
	head := "priority\ttask\trun\tperiod\tdeadline"
	if extra {
		head += "\tjitter\tblocking"
	}
	head += "\tutilization\tresponse\tmeets"
	if r.EDFResponses {
		head += "\tunder edf"
	}
	fmt.Fprintln(tw, head)
	for _, t := range r.Tasks {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s", place(t.Rank, len(r.Tasks)), t.Name, t.task.C, t.task.T, t.task.Deadline())
		if extra {
			fmt.Fprintf(tw, "\t%s\t%s", t.task.J, t.task.B)
		}
		fmt.Fprintf(tw, "\t%.4f\t%s\t%s", t.Utilization, words(t.response), yes(t.Meets))
		if r.EDFResponses {
			fmt.Fprintf(tw, "\t%s", words(t.edf))
		}
		fmt.Fprintln(tw)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nutilization    %.4f\n", r.Utilization)
	bound := func(name string, x Bound) {
		op, word := "<=", "passes"
		if x.Value > x.Limit {
			op, word = ">", "fails, which proves nothing"
		}
		if !x.Applies {
			word = "does not apply"
		}
		fmt.Fprintf(&b, "%-14s %.4f %s %.4f: %s\n", name, x.Value, op, x.Limit, word)
	}
	bound("Liu-Layland", r.LiuLayland)
	bound("hyperbolic", r.Hyperbolic)
	fmt.Fprintf(&b, "%-14s %s\n", r.Order, r.Verdict())
	if r.Order != OPA.String() && r.AnyOrder != nil {
		fmt.Fprintf(&b, "%-14s %s\n", "opa", map[bool]string{true: "schedulable", false: "not schedulable by any order of fixed priorities"}[*r.AnyOrder])
	}
	switch {
	case r.EDF == nil:
		fmt.Fprintf(&b, "%-14s undecided: %s\n", "edf", r.EDFProblem)
	case *r.EDF:
		fmt.Fprintf(&b, "%-14s schedulable\n", "edf")
	default:
		fmt.Fprintf(&b, "%-14s not schedulable\n", "edf")
	}
	if !r.LiuLayland.Applies {
		b.WriteString("\nThe two bounds want rate-monotonic priorities, deadlines not before the ends of\nthe periods, and no jitter or blocking.\n")
	}
	if r.Partition != nil {
		fmt.Fprintf(&b, "\nfirst fit by falling utilization, exact response times, %s\n", r.Order)
		for i, p := range r.Partition {
			fmt.Fprintf(&b, "processor %-4d %.4f: %s\n", i+1, p.Utilization, strings.Join(p.Tasks, ", "))
		}
		if len(r.Homeless) > 0 {
			fmt.Fprintf(&b, "%-14s %s\n", "on none", strings.Join(r.Homeless, ", "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// JSON writes the report as one indented object.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// place says a rank of n: "1 highest".
func place(rank, n int) string {
	s := strconv.Itoa(rank)
	switch {
	case n == 1:
	case rank == 1:
		s += " highest"
	case rank == n:
		s += " lowest"
	case n == 3:
		s += " middle"
	}
	return s
}

func words(d time.Duration) string {
	switch d {
	case Unbounded:
		return "unbounded"
	case -1:
		return "?"
	}
	return d.String()
}

func yes(b *bool) string {
	switch {
	case b == nil:
		return "?"
	case *b:
		return "yes"
	}
	return "no"
}

// maxTasks bounds what Read takes.
const maxTasks = 100_000

// Read reads a task set from CSV with a header. Columns: name, c, t, and optionally d, j, b, priority, in any order; times as 2ms, 1.5s, or
// a bare number of seconds. Errors name the file's line.
func Read(r io.Reader, name string) (Set, error) {
	cr := csv.NewReader(r)
	cr.TrimLeadingSpace, cr.ReuseRecord, cr.Comment = true, true, '#'
	head, err := cr.Read()
	if err != nil {
		return nil, fmt.Errorf("%s:1: no header: %w", name, err)
	}
	col := map[string]int{}
	for i, h := range head {
		h = strings.ToLower(strings.TrimSpace(h))
		switch h {
		case "name", "c", "t", "d", "j", "b", "priority":
		default:
			return nil, fmt.Errorf("%s:1: unknown column %q (name, c, t, d, j, b, priority)", name, h)
		}
		if _, twice := col[h]; twice {
			return nil, fmt.Errorf("%s:1: column %q twice", name, h)
		}
		col[h] = i
	}
	for _, need := range []string{"c", "t"} {
		if _, ok := col[need]; !ok {
			return nil, fmt.Errorf("%s:1: no column %q", name, need)
		}
	}
	var s Set
	for {
		rec, err := cr.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			var pe *csv.ParseError
			if errors.As(err, &pe) {
				return nil, fmt.Errorf("%s:%d: %w", name, pe.Line, pe.Err)
			}
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		line, _ := cr.FieldPos(0)
		if len(s) == maxTasks {
			return nil, fmt.Errorf("%s:%d: more than %d tasks", name, line, maxTasks)
		}
		var k Task
		if i, ok := col["name"]; ok {
			k.Name = strings.Clone(rec[i])
		}
		for _, f := range []struct {
			name string
			to   *time.Duration
		}{{"c", &k.C}, {"t", &k.T}, {"d", &k.D}, {"j", &k.J}, {"b", &k.B}} {
			i, ok := col[f.name]
			if !ok || rec[i] == "" && f.name != "c" && f.name != "t" {
				continue
			}
			if *f.to, err = parseTime(rec[i]); err != nil {
				return nil, fmt.Errorf("%s:%d: %s: %w", name, line, f.name, err)
			}
		}
		if i, ok := col["priority"]; ok && rec[i] != "" {
			p, err := strconv.ParseInt(rec[i], 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: priority: %q is not a whole number", name, line, rec[i])
			}
			k.Priority = int32(p)
		}
		if err := (Set{k}).Validate(); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		s = append(s, k)
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func parseTime(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f > -Limit.Seconds() && f < Limit.Seconds()) {
		return 0, fmt.Errorf("%q is not a time (2ms, 1.5s, or seconds)", text)
	}
	if f < 0 {
		return time.Duration(f*1e9 - 0.5), nil
	}
	return time.Duration(f*1e9 + 0.5), nil
}
