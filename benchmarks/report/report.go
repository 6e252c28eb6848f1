// Package report prints what a comparison found: a table for the terminal, CSV, and JSON.
package report

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/schedlab/schedlab/benchmarks/stats"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/metrics"
)

// Schema is the schema of the JSON.
const Schema = "schedlab/compare/v1"

// Comparison is what a comparison of policies found.
type Comparison struct {
	Trace   Trace
	Cluster Cluster
	Runs    []Run     // one a policy, seed and load
	Summary []Summary // one a policy and load, in the order of the policies; the first policy is what the others are compared with
	Notes   []string  // for people, below the table
	Files   []string  // that were written beside the JSON, in it alone; nil: none
}

// Trace says what was replayed.
type Trace struct {
	Source           string `json:"source"`
	Format           string `json:"format"`
	Recorded         bool   `json:"recorded"`
	Tasks            int    `json:"tasks"`
	Jobs             int    `json:"jobs"`
	MissingEstimates int    `json:"missing_estimates"`
}

// Cluster says on what.
type Cluster struct {
	Spec  string   `json:"spec"`
	Nodes int      `json:"nodes"`
	GPUs  int64    `json:"gpus"`
	CPUs  *float64 `json:"cpus"` // nil: a node does not state its CPUs
}

// ClusterOf sums nodes up; spec is how the user named them.
func ClusterOf(spec string, nodes []sched.NodeSpec) Cluster {
	c := Cluster{Spec: spec, Nodes: len(nodes)}
	cpus := 0.0
	limited := true
	for i := range nodes {
		c.GPUs += int64(nodes[i].GPUs)
		limited = limited && nodes[i].CPU < sched.Unlimited
		cpus += float64(nodes[i].CPU) / 1000
	}
	if limited {
		c.CPUs = &cpus
	}
	return c
}

// Run is one policy on one seed and load.
type Run struct {
	Policy string
	Seed   int64
	Load   float64 // NaN: the trace's own
	metrics.Row
}

// Summary is one policy on one load, over all seeds.
type Summary struct {
	Policy string
	Load   float64     // NaN: the trace's own
	Runs   int         // seeds
	Mean   metrics.Row // mean over the seeds
	// CI holds 95 % intervals by metric, where there are any: over seeds (Student's t, or see Bootstrap), or batch means of one recorded trace.
	CI map[string]stats.Interval
	// Versus holds the paired differences to the first policy, over the same seeds, by metric. nil for the first policy.
	Versus map[string]stats.Difference
}

// Level is the level of all intervals.
const Level = 0.95

// Summarise makes the summary of runs: means, t intervals over the seeds, and paired differences to the first policy of the same load.
// Policies and loads keep the order in which they first occur. With one seed there are no intervals.
func Summarise(runs []Run) []Summary {
	type key struct {
		policy string
		load   uint64 // bits, since NaN is a load
	}
	var order []key
	group := map[key][]*Run{}
	for i := range runs {
		k := key{runs[i].Policy, math.Float64bits(runs[i].Load)}
		if group[k] == nil {
			order = append(order, k)
		}
		group[k] = append(group[k], &runs[i])
	}
	base := map[uint64]key{}
	out := make([]Summary, 0, len(order))
	for _, k := range order {
		first, known := base[k.load]
		if !known {
			base[k.load], first = k, k
		}
		rs := group[k]
		s := Summary{Policy: k.policy, Load: rs[0].Load, Runs: len(rs)}
		for m := range metrics.Metrics {
			metric := &metrics.Metrics[m]
			values := make([]float64, 0, len(rs))
			var a, b []float64
			for _, r := range rs {
				v := metric.Of(&r.Row)
				if !math.IsNaN(v) {
					values = append(values, v)
				}
				if i := slices.IndexFunc(group[first], func(x *Run) bool { return x.Seed == r.Seed }); i >= 0 {
					a, b = append(a, metric.Of(&group[first][i].Row)), append(b, v)
				}
			}
			interval := stats.T(values, Level)
			interval.Low = max(interval.Low, 0) // no metric is negative; NaN stays
			mean := interval.Mean
			if metric.Count() && math.IsNaN(mean) {
				mean = 0
			}
			metric.Set(&s.Mean, mean)
			if metric.Better == metrics.Neither || !interval.Known() {
				continue
			}
			if s.CI == nil {
				s.CI = map[string]stats.Interval{}
			}
			s.CI[metric.Name] = interval
			if k != first {
				if s.Versus == nil {
					s.Versus = map[string]stats.Difference{}
				}
				if d, err := stats.Paired(a, b, Level, resampling); err == nil && d.N > 1 {
					s.Versus[metric.Name] = d
				}
			}
		}
		for c := range s.Mean.CauseSeconds {
			for _, r := range rs {
				s.Mean.CauseSeconds[c] += r.CauseSeconds[c] / float64(len(rs))
			}
		}
		out = append(out, s)
	}
	return out
}

// Bootstrap puts BCa bootstrap intervals in the place of Student's t over the seeds. It reports the fewest seeds that one rests on, 0 if there
// is none. The resamples are the same at each call.
func Bootstrap(all []Summary, runs []Run) (seeds int) {
	for i := range all {
		s := &all[i]
		for name, ci := range s.CI {
			if ci.Method != "t" {
				continue
			}
			metric := metrics.Lookup(name)
			values := make([]float64, 0, s.Runs)
			for r := range runs {
				if x := &runs[r]; x.Policy == s.Policy && math.Float64bits(x.Load) == math.Float64bits(s.Load) && !math.IsNaN(metric.Of(&x.Row)) {
					values = append(values, metric.Of(&x.Row))
				}
			}
			s.CI[name] = stats.BCa(values, Level, resampling)
			if seeds == 0 || len(values) < seeds {
				seeds = len(values)
			}
		}
	}
	return seeds
}

// resampling is the seed of the bootstrap.
const resampling = 1

// CSV writes one line a run: policy, seed, load and every metric by its name. What has no meaning is empty.
func (c *Comparison) CSV(w io.Writer) error {
	cw := csv.NewWriter(w)
	head := []string{"policy", "seed", "load"}
	for i := range metrics.Metrics {
		head = append(head, metrics.Metrics[i].Name)
	}
	for _, cause := range metrics.CauseKeys {
		head = append(head, "wait_cause_"+cause+"_s")
	}
	if err := cw.Write(head); err != nil {
		return err
	}
	for i := range c.Runs {
		r := &c.Runs[i]
		line := []string{r.Policy, strconv.FormatInt(r.Seed, 10), plain(r.Load)}
		for m := range metrics.Metrics {
			line = append(line, plain(metrics.Metrics[m].Of(&r.Row)))
		}
		for _, s := range r.CauseSeconds {
			line = append(line, plain(s))
		}
		if err := cw.Write(line); err != nil {
			return err
		}
	}
	cw.Flush()
	return cw.Error()
}

func plain(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	return string(metrics.AppendNumber(nil, v))
}

// JSON writes the comparison as one object, schema schedlab/compare/v1: trace, cluster, runs and summary. The metrics' names are keys of
// each run and of each summary, where they hold the mean over the seeds; a summary has besides
//
//	"ci95":     {"wait_mean_s": {"low": 1.5, "high": 2.5, "n": 10, "method": "t"}}
//	"vs_first": {"wait_mean_s": {"ratio": 0.5, "difference": -2, "low": -2.5, "high": -1.5, "p": 0.001, "n": 10, "method": "t"}}
//
// with the paired difference to the first policy; p is that of the paired t test. What has no meaning is null, or absent in these two.
func (c *Comparison) JSON(w io.Writer) error {
	b := bufio.NewWriter(w)
	trace, err := json.Marshal(c.Trace)
	if err != nil {
		return err
	}
	cluster, err := json.Marshal(c.Cluster)
	if err != nil {
		return err
	}
	put := func(parts ...[]byte) {
		for _, p := range parts {
			_, _ = b.Write(p) // Flush tells
		}
	}
	put([]byte(`{"schema":"`+Schema+"\",\n\"trace\":"), trace, []byte(",\n\"cluster\":"), cluster, []byte(",\n\"runs\":["))
	var line []byte
	for i := range c.Runs {
		r := &c.Runs[i]
		line = append(line[:0], `{"policy":`...)
		line = appendText(line, r.Policy)
		line = append(line, `,"seed":`...)
		line = strconv.AppendInt(line, r.Seed, 10)
		line = append(line, `,"load":`...)
		line = metrics.AppendNumber(line, r.Load)
		line = append(line, ',')
		line = append(r.AppendFields(line), '}')
		put(between(i), line)
	}
	put([]byte("\n],\n\"summary\":["))
	for i := range c.Summary {
		put(between(i), c.appendSummary(line[:0], &c.Summary[i]))
	}
	put([]byte("\n]"))
	if len(c.Files) > 0 {
		files, err := json.Marshal(c.Files)
		if err != nil {
			return err
		}
		put([]byte(",\n\"files\":"), files)
	}
	put([]byte("}\n"))
	return b.Flush()
}

func between(i int) []byte {
	if i == 0 {
		return []byte("\n")
	}
	return []byte(",\n")
}

func appendText(b []byte, s string) []byte {
	text, _ := json.Marshal(s) // a string always can be
	return append(b, text...)
}

// first returns the summary that s is compared with: the first policy's on the same load.
func (c *Comparison) first(s *Summary) *Summary {
	for i := range c.Summary {
		if x := &c.Summary[i]; x.Load == s.Load || math.IsNaN(x.Load) && math.IsNaN(s.Load) {
			return x
		}
	}
	return s
}

func (c *Comparison) appendSummary(b []byte, s *Summary) []byte {
	number := func(key string, v float64) {
		b = append(append(b, key...), metrics.AppendNumber(nil, v)...)
	}
	b = appendText(append(b, `{"policy":`...), s.Policy)
	number(`,"load":`, s.Load)
	number(`,"runs":`, float64(s.Runs))
	b = append(b, ',')
	b = s.Mean.AppendFields(b)
	b = append(b, `,"ci95":{`...)
	comma := ""
	for i := range metrics.Metrics {
		name := metrics.Metrics[i].Name
		if ci, ok := s.CI[name]; ok && ci.Known() {
			b = appendText(append(b, comma...), name)
			number(`:{"low":`, ci.Low)
			number(`,"high":`, ci.High)
			number(`,"n":`, float64(ci.N))
			b = append(appendText(append(b, `,"method":`...), ci.Method), '}')
			comma = ","
		}
	}
	b = append(b, `},"vs_first":{`...)
	comma = ""
	first := c.first(s)
	for i := range metrics.Metrics {
		m := &metrics.Metrics[i]
		if m.Better == metrics.Neither || first == s {
			continue
		}
		ratio := m.Of(&s.Mean) / m.Of(&first.Mean)
		d, paired := s.Versus[m.Name]
		if !paired && (math.IsNaN(ratio) || math.IsInf(ratio, 0)) {
			continue
		}
		b = appendText(append(b, comma...), m.Name)
		number(`:{"ratio":`, ratio)
		if paired {
			number(`,"difference":`, d.T.Mean)
			ci := d.T
			if s.CI[m.Name].Method == d.Bootstrap.Method {
				ci = d.Bootstrap
			}
			number(`,"low":`, ci.Low)
			number(`,"high":`, ci.High)
			number(`,"p":`, d.P)
			number(`,"n":`, float64(d.N))
			b = appendText(append(b, `,"method":`...), ci.Method)
		}
		b = append(b, '}')
		comma = ","
	}
	return append(b, `}}`...)
}
