package experiment

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/schedlab/schedlab/benchmarks/report"
	"github.com/schedlab/schedlab/benchmarks/stats"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/metrics"
	"github.com/schedlab/schedlab/traces/mismatch"
)

// PartialSchema is the schema of a shard's result.
const PartialSchema = "schedlab/partial/v1"

// maxPartial bounds the bytes of a partial result that ReadPartial takes in: half a million runs.
const maxPartial = 1 << 30

// Partial is the result of one shard, with all that the whole experiment's report needs besides.
type Partial struct {
	Schema  string         `json:"schema"`
	Shard   int            `json:"shard"`  // from 1
	Shards  int            `json:"shards"` // parts in all
	Setup   Setup          `json:"setup"`  // the same in all parts
	Trace   report.Trace   `json:"trace"`
	Notes   []string       `json:"notes"` // on the trace
	Cluster report.Cluster `json:"cluster"`
	Checked int            `json:"checked"` // schedules that the checkers looked at
	Runs    []PartialRun   `json:"runs"`
}

// Setup is what decides the results of an experiment; two parts belong together only if theirs are equal.
type Setup struct {
	Program        string     `json:"program"`      // the revision of schedlab, as far as it knows it
	TraceHash      string     `json:"trace_hash"`   // of the first seed's workload as loaded
	ClusterHash    string     `json:"cluster_hash"` // of the nodes
	Fixed          bool       `json:"fixed"`        // the seed changes nothing
	Policies       []string   `json:"policies"`
	Seeds          []int64    `json:"seeds"`
	Loads          []float64  `json:"loads"` // empty: the trace's own
	Estimates      string     `json:"estimates"`
	WarmUp         warmUpJSON `json:"warm_up"`
	KillAtEstimate bool       `json:"kill_at_estimate"`
	Restart        bool       `json:"restart"`
	OverheadNS     int64      `json:"overhead_ns"`
	HorizonNS      int64      `json:"horizon_ns"`
	Check          bool       `json:"check"`
	Models         []string   `json:"models,omitempty"`      // of failures, checkpoints and profiles that are on
	FaultsHash     string     `json:"faults_hash,omitempty"` // of the trace of failures
}

type warmUpJSON struct {
	AfterNS int64   `json:"after_ns"`
	Share   float64 `json:"share"`
}

// PartialRun is one run: its place in the whole experiment, from 0, which policy, seed and load that is, and all metrics.
type PartialRun struct {
	Index int
	report.Run
	Batch *stats.Interval // the mean wait's interval by batch means, where the whole experiment has one run a policy
}

type partialRunHead struct {
	Index  int        `json:"index"`
	Policy string     `json:"policy"`
	Seed   int64      `json:"seed"`
	Load   *float64   `json:"load"` // nil: the trace's own
	Batch  *batchJSON `json:"batch_means,omitempty"`
}

type batchJSON struct {
	Mean *float64 `json:"mean"` // nil: NaN, and so on
	Low  *float64 `json:"low"`
	High *float64 `json:"high"`
	N    int      `json:"n"`
}

func orNil(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

func orNaN(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

// MarshalJSON writes the run as one object; the metrics' names are keys of it. Numbers are written so that they read back to the bit.
func (r PartialRun) MarshalJSON() ([]byte, error) {
	head := partialRunHead{Index: r.Index, Policy: r.Policy, Seed: r.Seed, Load: orNil(r.Load)}
	if r.Batch != nil {
		head.Batch = &batchJSON{orNil(r.Batch.Mean), orNil(r.Batch.Low), orNil(r.Batch.High), r.Batch.N}
	}
	b, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	b[len(b)-1] = ','
	return append(r.AppendFields(b), '}'), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *PartialRun) UnmarshalJSON(data []byte) error {
	var head partialRunHead
	if err := json.Unmarshal(data, &head); err != nil {
		return err
	}
	var row metrics.Row
	if err := row.UnmarshalJSON(data); err != nil {
		return err
	}
	*r = PartialRun{Index: head.Index, Run: report.Run{Policy: head.Policy, Seed: head.Seed, Load: orNaN(head.Load), Row: row}}
	if b := head.Batch; b != nil {
		r.Batch = &stats.Interval{Mean: orNaN(b.Mean), Low: orNaN(b.Low), High: orNaN(b.High), N: b.N, Method: "batch means"}
	}
	return nil
}

// NewPartial makes the partial result of the shard o.Shard that gave res. c describes trace and cluster; loaded is the first seed's
// workload as the source gave it, notes what is to be said of it.
func NewPartial(o *Options, res *Result, loaded *traces.Workload, trace report.Trace, cluster report.Cluster, notes []string) *Partial {
	p := &Partial{
		Schema: PartialSchema, Shard: o.Shard.Number, Shards: o.Shard.Of, Trace: trace, Notes: notes, Cluster: cluster, Checked: res.Checked,
		Setup: Setup{
			Program: program(), TraceHash: Fingerprint(loaded), ClusterHash: fingerprintNodes(o.Nodes), Fixed: o.fixed(),
			Seeds: o.Seeds, Loads: o.Loads, Estimates: o.Estimates.String(), WarmUp: warmUpJSON{int64(o.Sim.WarmUp.After), o.Sim.WarmUp.Share},
			KillAtEstimate: o.Sim.KillAtEstimate, Restart: o.Sim.Restart, OverheadNS: int64(o.Sim.Overhead), HorizonNS: int64(o.Sim.Horizon),
			Check: o.Check, Models: o.Sim.Models(),
		},
		Runs: make([]PartialRun, len(res.Runs)),
	}
	if o.Sim.Faults != nil {
		p.Setup.FaultsHash = fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, o.Sim.Faults)))
	}
	for _, policy := range o.Policies {
		p.Setup.Policies = append(p.Setup.Policies, policy.String())
	}
	for i, run := range res.Runs {
		p.Runs[i] = PartialRun{Index: res.index[i], Run: run}
		if res.waits != nil {
			p.Runs[i].Batch = &res.waits[i]
		}
	}
	return p
}

// Total returns the runs of the whole experiment.
func (p *Partial) Total() int {
	plan := p.Setup.plan()
	return plan.len()
}

// Write writes the partial result as JSON, one line a run.
func (p *Partial) Write(w io.Writer) error {
	head := *p
	head.Runs = nil
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	_, _ = b.Write(bytes.TrimSuffix(text, []byte("null}"))) // Flush tells
	_ = b.WriteByte('[')
	for i := range p.Runs {
		line, err := json.Marshal(p.Runs[i])
		if err != nil {
			return err
		}
		if i > 0 {
			_ = b.WriteByte(',')
		}
		_ = b.WriteByte('\n')
		_, _ = b.Write(line)
	}
	_, _ = b.WriteString("\n]}\n")
	return b.Flush()
}

// ReadPartial reads what Write writes, up to 1 GiB of it, and checks that it is the whole of its shard. Errors begin with name.
func ReadPartial(r io.Reader, name string) (*Partial, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPartial+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxPartial {
		return nil, fmt.Errorf("%s: larger than 1 GiB", name)
	}
	var schema struct {
		Schema string `json:"schema"`
	}
	if json.Unmarshal(data, &schema) == nil && schema.Schema != PartialSchema {
		return nil, fmt.Errorf("%s: not a partial result: its schema is %q, not %q", name, schema.Schema, PartialSchema)
	}
	p := &Partial{}
	if err := json.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("%s: not a partial result, or cut short: %w", name, mismatch.JSON(err))
	}
	if err := p.valid(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// valid checks that p holds the runs of its shard. Its work is bounded by the size of p, whatever numbers are in it.
func (p *Partial) valid() error {
	if p.Shards < 1 || p.Shards > MaxShards || p.Shard < 1 || p.Shard > p.Shards {
		return fmt.Errorf("shard %d/%d does not exist", p.Shard, p.Shards)
	}
	if len(p.Setup.Policies) == 0 || len(p.Setup.Seeds) == 0 {
		return errors.New("it names no policies or no seeds")
	}
	plan := p.Setup.plan()
	if float64(plan.policies)*float64(len(plan.seeds))*float64(len(plan.loads)) > 1<<31 {
		return errors.New("it tells of more runs than there can be")
	}
	if n := plan.count(Shard{p.Shard, p.Shards}); n != len(p.Runs) {
		return fmt.Errorf("%d runs, not the %d of shard %d/%d", len(p.Runs), n, p.Shard, p.Shards)
	}
	mine := plan.shard(Shard{p.Shard, p.Shards})
	for i, index := range mine {
		r := &p.Runs[i]
		_, load, seed, policy := plan.at(index)
		if r.Index != index || r.Seed != seed || r.Policy != p.Setup.Policies[policy] || r.Load != load && !(math.IsNaN(r.Load) && math.IsNaN(load)) {
			return fmt.Errorf("run %d of %d should be number %d of the experiment, %s with seed %d", i+1, len(mine), index, p.Setup.Policies[policy], seed)
		}
		if (r.Batch != nil) != plan.single() {
			return fmt.Errorf("run %d of %d: batch means where the experiment has none, or the other way round", i+1, len(mine))
		}
	}
	return nil
}

func (s *Setup) plan() plan { return newPlan(s.Fixed, len(s.Policies), s.Seeds, s.Loads) }

// differs names the first thing in which two setups differ, with both values.
func (s *Setup) differs(other *Setup) (what, mine, theirs string) {
	a, b := reflect.ValueOf(s).Elem(), reflect.ValueOf(other).Elem()
	for i := range a.NumField() {
		x, _ := json.Marshal(a.Field(i).Interface())
		y, _ := json.Marshal(b.Field(i).Interface())
		if !bytes.Equal(x, y) {
			name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
			return name, brief(x), brief(y)
		}
	}
	return "", "", ""
}

func brief(b []byte) string {
	if len(b) > 80 {
		return string(b[:77]) + "..."
	}
	return string(b)
}

// Merge puts the parts of an experiment together; names are the parts' files, for errors. All parts must be there, once, with the same
// setup. The result is that of one process that runs everything, except that SimWall, the simulator's own time, is of the process
// that ran it.
func Merge(parts []*Partial, names []string) (*Result, error) {
	if len(parts) == 0 {
		return nil, errors.New("nothing to merge")
	}
	have := make(map[int]int, len(parts)) // shard -> its place in parts
	for i, p := range parts {
		if p.Shards != parts[0].Shards {
			return nil, fmt.Errorf("%s is shard %d/%d, but %s is shard %d/%d", names[i], p.Shard, p.Shards, names[0], parts[0].Shard, parts[0].Shards)
		}
		if j, twice := have[p.Shard]; twice {
			return nil, fmt.Errorf("%s and %s are both shard %d/%d", names[j], names[i], p.Shard, p.Shards)
		}
		have[p.Shard] = i
		if what, mine, theirs := p.Setup.differs(&parts[0].Setup); what != "" {
			return nil, fmt.Errorf("%s is of another experiment than %s: its %s is %s, not %s", names[i], names[0], what, mine, theirs)
		}
	}
	if len(parts) < parts[0].Shards {
		var missing []string
		for s := 1; s <= parts[0].Shards && len(missing) < 10; s++ {
			if _, ok := have[s]; !ok {
				missing = append(missing, Shard{s, parts[0].Shards}.String())
			}
		}
		if n := parts[0].Shards - len(parts); n > len(missing) {
			missing = append(missing, fmt.Sprintf("and %d more", n-len(missing)))
		}
		return nil, fmt.Errorf("%d of %d parts are there; missing: %s", len(parts), parts[0].Shards, strings.Join(missing, ", "))
	}
	plan := parts[0].Setup.plan()
	res := &Result{Runs: make([]report.Run, plan.len()), Notes: append(plan.notes, parts[0].Setup.Models...)}
	if plan.single() {
		res.waits = make([]stats.Interval, plan.len())
	}
	for _, p := range parts {
		res.Checked += p.Checked
		for i := range p.Runs {
			r := &p.Runs[i]
			res.Runs[r.Index] = r.Run
			if res.waits != nil {
				res.waits[r.Index] = *r.Batch
			}
		}
	}
	res.summarise()
	return res, nil
}

// program names the revision of schedlab that runs, "" if it does not know it.
func program() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+modified"
		}
	}
	return revision + modified
}

// Fingerprint returns the SHA-256 of all in a workload that can change a run, in hexadecimal. Names of files, tasks and jobs are not in it.
func Fingerprint(w *traces.Workload) string {
	h := sha256.New()
	b := bufio.NewWriterSize(h, 1<<16) // a hash never fails
	var buf [8]byte
	number := func(v int64) {
		binary.LittleEndian.PutUint64(buf[:], uint64(v))
		_, _ = b.Write(buf[:])
	}
	number(int64(len(w.Tasks)))
	number(int64(w.Jobs))
	for t := range w.Tasks {
		task := &w.Tasks[t]
		number(int64(task.Submit))
		number(int64(w.DeadlineOf(sched.TaskID(t))))
		number(int64(task.Job)<<32 | int64(task.Class))
		number(int64(w.Run[t]))
		number(int64(w.Estimates[t]))
	}
	number(int64(len(w.Succ)))
	for t := range w.Tasks {
		succs := w.Succs(sched.TaskID(t))
		if len(succs) == 0 {
			continue
		}
		number(int64(t)<<32 | int64(len(succs)))
		for _, u := range succs {
			number(int64(u))
		}
	}
	for _, v := range w.EdgeBytes {
		number(v)
	}
	for _, table := range []any{w.Classes, w.Demands, w.Speeds, w.Tenants, w.Queues, w.Kinds} {
		v := reflect.ValueOf(table)
		number(int64(v.Len()))
		for i := range v.Len() {
			fmt.Fprintf(b, "%#v\n", v.Index(i).Interface())
		}
	}
	sorted(b, "run on", w.RunOn)
	sorted(b, "estimate on", w.EstimateOn)
	sorted(b, "data", w.Data)
	if w.Used != nil {
		sorted(b, "used", w.Used)
	}
	sorted(b, "every", w.Every)
	_ = b.Flush()
	return hex.EncodeToString(h.Sum(nil))
}

// sorted writes a map in the order of its keys.
func sorted[K sched.TaskID | sched.JobID, V any](w io.Writer, name string, m map[K]V) {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	fmt.Fprintf(w, "%s %d\n", name, len(m))
	for _, k := range keys {
		fmt.Fprintf(w, "%d %#v\n", k, m[k])
	}
}

func fingerprintNodes(nodes []sched.NodeSpec) string {
	h := sha256.New()
	for i := range nodes {
		fmt.Fprintf(h, "%#v\n", nodes[i])
	}
	return hex.EncodeToString(h.Sum(nil))
}
