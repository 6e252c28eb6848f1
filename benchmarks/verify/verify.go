// Package verify holds the simulator and the policies against what others published: closed forms of queueing theory, answers of other
// simulators, worked examples of papers. Each comparison is a Check with its source and its tolerance; `schedlab verify` prints them.
//
// The references are read from a folder that the project does not contain; checks whose files are not there count as skipped, never as
// passed. Random numbers are seeded by the row and the replication, so that a verdict is the same every time.
package verify

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/sim"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
)

// Check is one comparison with a reference, in words.
type Check struct {
	Name      string        // what is compared
	Source    string        // the file in the folder of references, or the publication
	Expected  string        // the reference's value
	Got       string        // ours; of a skipped check, why it was skipped
	Tolerance string        // what counts as agreement
	OK        bool          // it agrees; false where skipped
	Shown     bool          // it proves nothing: a difference is known and explained, and the tolerance only guards against change, or there is nothing to compare
	Skipped   bool          // the reference is not there
	Took      time.Duration // wall time
}

// Verdict returns "ok", "FAILS", "skipped", or "shown" of a check that proves nothing.
func (c *Check) Verdict() string {
	switch {
	case c.Skipped:
		return "skipped"
	case c.OK && c.Shown:
		return "shown"
	case c.OK:
		return "ok"
	}
	return "FAILS"
}

// Options say how much to check.
type Options struct {
	Short   bool     // a few rows with fewer jobs and a wider, stated tolerance: seconds instead of minutes
	Groups  []string // of Groups; nil: all
	Workers int      // simulations at a time; 0: one a core
}

// Groups are the names of the groups of checks, in their order.
func Groups() []string {
	var out []string
	for _, p := range parts {
		if !slices.Contains(out, p.group) {
			out = append(out, p.group)
		}
	}
	return out
}

// part is a set of checks that need the same files.
type part struct {
	group, name, source string
	run                 func(b *bench) error
}

var parts = slices.Concat(backfillParts, gpuParts, attainedParts, fgdParts, realtimeParts, dagParts, heteroParts, logParts, queueingParts, fairParts, optimumParts, checkpointParts, scaleParts)

// bench is what the checks of a part share.
type bench struct {
	ctx      context.Context
	data     string
	opt      Options
	source   string // of the part at hand
	checks   []Check
	since    time.Time // end of the check before
	progress io.Writer
	queues   *queues
}

// Run makes the checks with the references in the folder data, which holds references/ and traces/. It writes what it is doing to w as one
// line that is overwritten, if w is not nil. The error is that of the context, or of an unknown group; a reference that cannot be
// read is a failed check.
func Run(ctx context.Context, data string, w io.Writer, opt Options) ([]Check, error) {
	for _, g := range opt.Groups {
		if !slices.Contains(Groups(), g) {
			return nil, fmt.Errorf("unknown group of checks %q (known: %s)", g, strings.Join(Groups(), ", "))
		}
	}
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	b := &bench{ctx: ctx, data: data, opt: opt, progress: w, queues: newQueues(opt.Workers)}
	for _, p := range parts {
		if opt.Groups != nil && !slices.Contains(opt.Groups, p.group) {
			continue
		}
		b.source, b.since = p.source, time.Now()
		b.say(p.name)
		err := p.run(b)
		if ctx.Err() != nil {
			b.wipe()
			return b.checks, ctx.Err()
		}
		if err != nil {
			// Checks that were made before the error stand.
			b.add(Check{Name: p.name, Expected: "-", Tolerance: "-", Got: err.Error(), Skipped: errors.Is(err, fs.ErrNotExist)})
		}
	}
	b.wipe()
	return b.checks, nil
}

// add takes a finished check and stamps its time and, where it says none, its source.
func (b *bench) add(c Check) {
	now := time.Now()
	c.Took = now.Sub(b.since)
	b.since = now
	if c.Source == "" {
		c.Source = b.source
	}
	c.OK = c.OK && !c.Skipped
	b.checks = append(b.checks, c)
}

// say shows what is being done.
func (b *bench) say(what string) {
	if b.progress != nil {
		_, _ = fmt.Fprintf(b.progress, "\r\x1b[K%d checks done, now %s", len(b.checks), what)
	}
}

func (b *bench) wipe() {
	if b.progress != nil {
		_, _ = io.WriteString(b.progress, "\r\x1b[K")
	}
}

// path returns a file of the references.
func (b *bench) path(name string) string { return filepath.Join(b.data, filepath.FromSlash(name)) }

// row is a line of a CSV file by the names of the header.
type row struct {
	file string
	line int
	cell map[string]string
	err  *error // the first error of the file's cells
}

// rows reads a CSV file of the references, which may be compressed (.gz). Errors in cells are kept for bad.
func (b *bench) rows(name string) ([]row, error) {
	f, err := os.Open(b.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var text io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if text, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return table(name, text)
}

// bad returns the first error of the cells read so far.
func bad(rs []row) error { return *rs[0].err }

func (r row) text(col string) string {
	v, ok := r.cell[col]
	if !ok && *r.err == nil {
		*r.err = fmt.Errorf("%s:%d: no column %s", r.file, r.line, col)
	}
	return v
}

func (r row) number(col string) float64 {
	v, err := strconv.ParseFloat(r.text(col), 64)
	if err != nil && *r.err == nil {
		*r.err = fmt.Errorf("%s:%d: %s: %w", r.file, r.line, col, err)
	}
	return v
}

// seconds returns a cell of seconds.
func (r row) seconds(col string) sched.Time {
	v, ok := sched.Seconds(r.number(col))
	if !ok && *r.err == nil {
		*r.err = fmt.Errorf("%s:%d: %s: bad time", r.file, r.line, col)
	}
	return v
}

// json reads a JSON file of the references.
func (b *bench) json(name string, to any) error {
	text, err := os.ReadFile(b.path(name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// run simulates a named policy on a cluster in shorthand.
func (b *bench) run(w *traces.Workload, nodes, policy string, change ...func(*sim.Config)) (*sim.Result, error) {
	ns, err := cluster.Parse(nodes)
	if err != nil {
		return nil, err
	}
	spec, err := policies.Parse(policy)
	if err != nil {
		return nil, err
	}
	c := sim.Config{Workload: w, Nodes: ns}
	switch spec.Estimates {
	case "":
	case "perfect":
		c.Estimates = w.Run
	default:
		return nil, fmt.Errorf("%s: unknown estimates", policy)
	}
	if c.Policy, err = policies.Build(spec, policies.Hints{}); err != nil {
		return nil, err
	}
	for _, f := range change {
		f(&c)
	}
	return sim.Run(b.ctx, c)
}

// inputOrder returns, for each input row, its task.
func inputOrder(w *traces.Workload) []sched.TaskID {
	out := make([]sched.TaskID, len(w.Tasks))
	for t := range out {
		at := t
		if w.Input != nil {
			at = int(w.Input[t])
		}
		out[at] = sched.TaskID(t)
	}
	return out
}

// rigid builds a workload of rigid jobs of processors from the columns submit, estimate, procs and runtime.
func rigid(rows []row) (*traces.Workload, error) {
	b := traces.NewBuilder(rows[0].file, "csv")
	for _, r := range rows {
		err := b.Add(&traces.Row{
			Submit: r.seconds("submit"), Run: time.Duration(r.seconds("runtime")), Estimate: time.Duration(r.seconds("estimate")),
			Need: sched.Need{CPU: 1000}, Gang: int32(r.number("procs")), Line: r.line,
		})
		if err := errors.Join(bad(rows), err); err != nil {
			return nil, err
		}
	}
	return b.Build()
}

// tally counts agreements and keeps the first difference.
type tally struct {
	equal, all int
	first      string
}

func (t *tally) see(ok bool, format string, args ...any) {
	t.all++
	if ok {
		t.equal++
	} else if t.first == "" {
		t.first = fmt.Sprintf(format, args...)
	}
}

func (t *tally) String() string {
	s := fmt.Sprintf("%d of %d", t.equal, t.all)
	if t.first != "" {
		s += "; first: " + t.first
	}
	return s
}

// exact makes the check that all of a tally agree, of which there must be some.
func (b *bench) exact(name, unit string, t *tally) {
	b.add(Check{Name: name, Expected: fmt.Sprintf("%d %s", t.all, unit), Got: t.String(), Tolerance: "all equal", OK: t.all > 0 && t.equal == t.all})
}

// near makes the check of one number within a relative tolerance.
func (b *bench) near(name string, want, got, rel float64) {
	off := 0.0
	if want != 0 {
		off = (got - want) / want
	}
	b.add(Check{
		Name: name, Expected: num(want), Got: fmt.Sprintf("%s (%+.2g %%)", num(got), 100*off),
		Tolerance: fmt.Sprintf("%.4g %%", 100*rel), OK: abs(got-want) <= rel*abs(want),
	})
}

// show puts one number beside the reference's where a known difference keeps them apart. It proves no agreement; it fails if the number moves out of a
// guard that was set when the difference was known.
func (b *bench) show(name string, want, got, guard float64) {
	b.near(name, want, got, guard)
	c := &b.checks[len(b.checks)-1]
	c.Shown, c.Tolerance = true, fmt.Sprintf("none; guard %.4g %%", 100*guard)
}

func num(x float64) string { return strconv.FormatFloat(x, 'g', 8, 64) }

func abs(x float64) float64 { return max(x, -x) }
