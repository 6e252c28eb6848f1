package traces

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/graph"
)

// writeDOT writes the workload for Graphviz. What a task is stands in attributes named as the native columns, so that readDOT (and no
// Graphviz program) sees them. Where several jobs have tasks of one id, nodes are called JOB/ID.
func writeDOT(w io.Writer, wl *Workload) error {
	s := newShape(wl)
	s.used[colAfter], s.used[colAfterGB], s.used[colID] = false, false, false
	twice := false
	seen := make(map[string]struct{}, wl.Len())
	tasks := make([]sched.TaskID, 0, wl.Len())
	_ = inInputOrder(wl, func(t sched.TaskID) error {
		id := wl.TaskNames.At(int(t))
		_, again := seen[id]
		twice = twice || again
		seen[id] = struct{}{}
		tasks = append(tasks, t)
		return nil
	})
	s.used[colID], s.used[colJob] = twice, s.used[colJob] || twice || wl.Jobs > 1
	var r Row
	var cell []byte
	return graph.DOT(w, wl.Table, tasks, graph.Picture{
		Title: wl.Source,
		Run:   wl.Run,
		Name: func(t sched.TaskID) string {
			if wl.Names == nil {
				return ""
			}
			return wl.Names.At(int(t))
		},
		ID: func(t sched.TaskID) string {
			id := wl.TaskNames.At(int(t))
			if twice {
				id = wl.JobName.At(int(wl.Tasks[t].Job)) + "/" + id
			}
			return id
		},
		Attr: func(t sched.TaskID, put func(k, v string)) {
			s.row(t, &r)
			for _, col := range writeOrder {
				if !s.used[col] {
					continue
				}
				value, ok := textOf(&r, col)
				if col == colJob { // also where it is the id, unlike in CSV: without it all nodes are one job
					value = wl.JobName.At(int(wl.Tasks[t].Job))
				}
				if list := listOf(&r, col); len(list) > 0 {
					value = strings.Join(list, ";")
				} else if !ok {
					cell = appendScalar(cell[:0], &r, col)
					value = string(cell)
				}
				if value != "" {
					put(columnNames[col], value)
				}
			}
		},
	})
}

// detectDOT: the text begins as a digraph.
func detectDOT(head []byte, _ string) bool {
	head = bytes.TrimSpace(head)
	for {
		switch {
		case bytes.HasPrefix(head, []byte("//")) || bytes.HasPrefix(head, []byte("#")):
			_, head, _ = bytes.Cut(head, []byte("\n"))
		case bytes.HasPrefix(head, []byte("/*")):
			_, head, _ = bytes.Cut(head, []byte("*/"))
		default:
			head = bytes.TrimPrefix(head, []byte("strict"))
			head = bytes.TrimSpace(head)
			return len(head) > 7 && bytes.EqualFold(head[:7], []byte("digraph")) && bytes.IndexByte(head, '{') > 0
		}
		head = bytes.TrimSpace(head)
	}
}

// dotNode is a node as far as it is read.
type dotNode struct {
	row    Row
	after  []int   // nodes
	sent   []int64 // bytes, by predecessor
	size   int64   // run time from a size, -1 if it has none
	id     string  // from an attribute; it counts where a job is named too
	hasRun bool
}

// readDOT reads a DAG in DOT as one job, or those that its "job" attributes say. Attributes named as the native columns mean what
// they mean there. A size (daggen: the flops of a task) is a run time at 1 Gflop/s where there is no run_s; that
// of an edge is what it carries, in bytes; alpha is not modelled. A task asks for one CPU where it does not say. Subgraphs are read as if their braces
// were not there; edges of subgraphs, ports and HTML labels are refused.
func readDOT(in io.Reader, b *Builder) error {
	data, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err != nil {
		return b.Errorf(0, "%w", err)
	}
	if len(data) > maxDocument {
		return b.Errorf(0, "a DOT file of more than %d MiB", maxDocument>>20)
	}
	d := dotReader{s: bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), line: 1, b: b}
	d.job = strings.TrimSuffix(filepath.Base(strings.TrimSuffix(strings.TrimSuffix(b.source, ".gz"), ".zst")), ".dot")
	d.index = map[string]int{}
	if err := d.graph(); err != nil {
		return err
	}
	jobs := false // a file that names jobs means them all: a task without one is its own
	for i := range d.nodes {
		jobs = jobs || d.nodes[i].row.Job != ""
	}
	for i := range d.nodes {
		n := &d.nodes[i]
		if n.id != "" && n.row.Job != "" {
			n.row.ID = n.id
		}
		if !jobs {
			n.row.Job = d.job
		}
	}
	for i := range d.nodes {
		n := &d.nodes[i]
		for _, p := range n.after {
			before := &d.nodes[p].row
			id := before.ID
			if before.Job != n.row.Job && before.Job != "" {
				id = before.Job + "/" + id
			}
			n.row.After = append(n.row.After, id)
		}
		n.row.AfterBytes = n.sent
		switch {
		case n.row.Run == 0 && n.size > 0:
			n.row.Run = time.Duration(n.size)
			b.Mend("a size is a run time at 1 Gflop/s", n.row.Line)
		case n.row.Run == 0 && n.size < 0 && !n.hasRun && len(n.row.RunOn) == 0:
			b.Mend("no run time: taken as 0", n.row.Line)
		}
		if err := b.Add(&n.row); err != nil {
			return err
		}
	}
	return nil
}

type dotReader struct {
	s     []byte
	line  int
	b     *Builder
	job   string
	nodes []dotNode
	index map[string]int

	tok    string // the token that next read
	quoted bool
	at     int // its line
}

func (d *dotReader) errorf(format string, args ...any) error {
	return d.b.Errorf(d.at, format, args...)
}

// next reads a token: an id (quoted or not), "->", or one of { } [ ] ; , = :. At the end it is "" and not quoted.
func (d *dotReader) next() error {
	for len(d.s) > 0 {
		switch c := d.s[0]; {
		case c == '\n':
			d.line++
			d.s = d.s[1:]
		case c == ' ' || c == '\t' || c == '\r':
			d.s = d.s[1:]
		case c == '#' || bytes.HasPrefix(d.s, []byte("//")):
			i := bytes.IndexByte(d.s, '\n')
			if i < 0 {
				i = len(d.s)
			}
			d.s = d.s[i:]
		case bytes.HasPrefix(d.s, []byte("/*")):
			i := bytes.Index(d.s, []byte("*/"))
			d.at = d.line
			if i < 0 {
				return d.errorf("a comment is not closed")
			}
			d.line += bytes.Count(d.s[:i], []byte{'\n'})
			d.s = d.s[i+2:]
		default:
			d.at = d.line
			return d.token()
		}
	}
	d.at, d.tok, d.quoted = d.line, "", false
	return nil
}

func (d *dotReader) token() error {
	d.quoted = false
	switch c := d.s[0]; {
	case c == '"':
		var text []byte
		for i := 1; i < len(d.s); i++ {
			switch c := d.s[i]; {
			case c == '"':
				d.s, d.tok, d.quoted = d.s[i+1:], string(text), true
				return nil
			case c == '\\' && i+1 < len(d.s) && (d.s[i+1] == '"' || d.s[i+1] == '\\'):
				i++
				text = append(text, d.s[i])
			case c == '\\' && i+1 < len(d.s) && d.s[i+1] == 'n':
				i++
				text = append(text, '\n')
			case c == '\n':
				d.line++
				text = append(text, c)
			default:
				text = append(text, c)
			}
			if len(text) > maxLine {
				return d.errorf("a text of more than 1 MiB")
			}
		}
		return d.errorf("a quote is not closed")
	case bytes.HasPrefix(d.s, []byte("->")):
		d.tok, d.s = "->", d.s[2:]
	case bytes.HasPrefix(d.s, []byte("--")):
		return d.errorf("an undirected edge")
	case bytes.IndexByte([]byte("{}[];,=:"), c) >= 0:
		d.tok, d.s = string(d.s[:1]), d.s[1:]
	case c == '<':
		return d.errorf("HTML labels are not read")
	default:
		i := 0
		for i < len(d.s) && (d.s[i] == '_' || d.s[i] == '.' || d.s[i] == '-' && !bytes.HasPrefix(d.s[i:], []byte("->")) && !bytes.HasPrefix(d.s[i:], []byte("--")) || d.s[i] >= 0x80 ||
			d.s[i] >= '0' && d.s[i] <= '9' || d.s[i] >= 'a' && d.s[i] <= 'z' || d.s[i] >= 'A' && d.s[i] <= 'Z') {
			i++
		}
		if i == 0 {
			return d.errorf("%q is not DOT", c)
		}
		d.tok, d.s = string(d.s[:i]), d.s[i:]
		d.quoted = false
	}
	return nil
}

// is reports whether the token is that sign, not a quoted text of the same letters.
func (d *dotReader) is(sign string) bool { return !d.quoted && d.tok == sign }

func (d *dotReader) id() (string, error) {
	if !d.quoted && (d.tok == "" || strings.Contains("{}[];,=:->", d.tok)) {
		if d.tok == "" {
			return "", d.errorf("the file ends in the middle")
		}
		return "", d.errorf("%q where a name should stand", d.tok)
	}
	id := d.tok
	return id, d.next()
}

// graph reads the whole file.
func (d *dotReader) graph() error {
	if err := d.next(); err != nil {
		return err
	}
	if strings.EqualFold(d.tok, "strict") {
		if err := d.next(); err != nil {
			return err
		}
	}
	if !strings.EqualFold(d.tok, "digraph") {
		return d.errorf("not a digraph")
	}
	if err := d.next(); err != nil {
		return err
	}
	if !d.is("{") {
		if _, err := d.id(); err != nil {
			return err
		}
	}
	if !d.is("{") {
		return d.errorf("%q where { should stand", d.tok)
	}
	depth := 0
	for {
		switch {
		case d.is("{"):
			depth++
		case d.is("}"):
			if depth--; depth == 0 {
				return nil
			}
		case d.is(";"), d.is(","):
		case d.tok == "" && !d.quoted:
			return d.errorf("the graph is not closed")
		default:
			if err := d.statement(); err != nil {
				return err
			}
			continue // it has read the token after it
		}
		if err := d.next(); err != nil {
			return err
		}
	}
}

// statement reads a node, a chain of edges, or attributes of the graph or of all nodes, which are skipped.
func (d *dotReader) statement() error {
	line, plain := d.at, !d.quoted
	first, err := d.id()
	if err != nil {
		return err
	}
	skip := func(string, string) error { return nil }
	if d.is("=") { // an attribute of the graph
		if err := d.next(); err != nil {
			return err
		}
		_, err := d.id()
		return err
	}
	if plain {
		switch strings.ToLower(first) {
		case "graph", "node", "edge":
			return d.attributes(skip)
		case "subgraph":
			if !d.is("{") {
				_, err := d.id()
				return err
			}
			return nil
		}
	}
	from := d.node(first, line)
	if !d.is("->") {
		if d.is(":") {
			return d.errorf("ports are not read")
		}
		n := &d.nodes[from]
		return d.attributes(func(k, v string) error { return n.set(k, v) })
	}
	var edges []int // nodes: the last of their predecessors is an edge of this statement
	for d.is("->") {
		if err := d.next(); err != nil {
			return err
		}
		line := d.at
		name, err := d.id()
		if err != nil {
			return err
		}
		to := d.node(name, line)
		n := &d.nodes[to]
		n.after, n.sent = append(n.after, from), append(n.sent, 0)
		edges = append(edges, to)
		n.row.Line = line // where a cycle, if any, stands
		from = to
	}
	return d.attributes(func(k, v string) error {
		if k != "size" {
			return nil
		}
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || !(f >= 0 && f < 1<<60) {
			return fmt.Errorf("%q is not a size", clip(v))
		}
		for _, to := range edges { // a chain of one size
			n := &d.nodes[to]
			n.sent[len(n.sent)-1] = int64(math.Round(f))
		}
		return nil
	})
}

// node returns the index of the node of that name, new if need be.
func (d *dotReader) node(name string, line int) int {
	i, ok := d.index[name]
	if !ok {
		i = len(d.nodes)
		d.index[name] = i
		d.nodes = append(d.nodes, dotNode{row: Row{ID: name, Estimate: -1, Line: line}, size: -1})
	}
	return i
}

// attributes reads [k=v, ...] lists, if there are any.
func (d *dotReader) attributes(set func(k, v string) error) error {
	for d.is("[") {
		if err := d.next(); err != nil {
			return err
		}
		for !d.is("]") {
			line := d.at
			k, err := d.id()
			if err != nil {
				return err
			}
			v := "true"
			if d.is("=") {
				if err := d.next(); err != nil {
					return err
				}
				if v, err = d.id(); err != nil {
					return err
				}
			}
			if err := set(k, v); err != nil {
				return d.b.Errorf(line, "%s: %w", k, err)
			}
			if d.is(",") || d.is(";") {
				if err := d.next(); err != nil {
					return err
				}
			}
		}
		if err := d.next(); err != nil {
			return err
		}
	}
	return nil
}

// set takes an attribute of a node. Those that mean nothing here are for Graphviz.
func (n *dotNode) set(k, v string) error {
	switch k {
	case "size":
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || !(f >= 0 && f <= float64(maxDuration)) {
			return fmt.Errorf("%q is not a size", clip(v))
		}
		n.size = int64(math.Round(f)) // flops at 1 Gflop/s are ns
		return nil
	case "after", "after_gb":
		return nil // the edges say so
	case "id":
		n.id = v
		return nil
	}
	if col := columnOf(k); col >= 0 {
		n.hasRun = n.hasRun || col == colRun
		return setColumn(&n.row, col, []byte(v))
	}
	return nil
}
