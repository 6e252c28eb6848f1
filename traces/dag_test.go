package traces

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// dagFile finds a file of the shared traces, and skips the test where they are absent.
func dagFile(t testing.TB, path string) string {
	t.Helper()
	root := os.Getenv("SCHEDLAB_SHARED")
	for dir, _ := os.Getwd(); root == ""; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			root = filepath.Join(dir, "..", "shared")
		} else if dir == filepath.Dir(dir) {
			t.Skip("no module root above the test")
		}
	}
	file := filepath.Join(root, path)
	if _, err := os.Stat(file); err != nil {
		t.Skipf("the shared traces are not here: %v", err)
	}
	return file
}

// text reads a workload from a string.
func fromText(text, name, format string) (*Workload, error) {
	return Read(strings.NewReader(text), name, format)
}

// preds lists the ids of a task's predecessors.
func preds(w *Workload, t sched.TaskID) []string {
	var r Row
	w.RowOf(t, &r)
	return r.After
}

// byID returns the task of that id.
func byID(t *testing.T, w *Workload, id string) sched.TaskID {
	t.Helper()
	for i := range w.Tasks {
		if w.TaskNames.At(i) == id {
			return sched.TaskID(i)
		}
	}
	t.Fatalf("no task %q", id)
	return 0
}

func sumRun(w *Workload) (s time.Duration) {
	for _, r := range w.Run {
		s += r
	}
	return s
}

func TestWfInstancesAreReadAsTheirTableSays(t *testing.T) {
	readme, err := os.ReadFile(dagFile(t, "traces/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (\S+\.json\.gz) \| \d+ \| (\d+) tasks, (\d+) edges, (\d+) machines, sum run (\d+) s,`).FindAllStringSubmatch(string(readme), -1)
	if len(rows) < 19 {
		t.Fatalf("%d instances in the table, expected 19", len(rows))
	}
	for _, row := range rows {
		w, err := Open(dagFile(t, "traces/dag/wfinstances/"+row[1]), "")
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		want := make([]int, 5)
		for i := 2; i < 6; i++ {
			want[i-1], _ = strconv.Atoi(row[i])
		}
		sum := sumRun(w).Seconds()
		if w.Format != "wfformat" || w.Len() != want[1] || len(w.Succ) != want[2] || len(w.Cluster) != want[3] || math.Abs(sum-float64(want[4])) > 0.5001 {
			t.Errorf("%s: %s, %d tasks, %d edges, %d machines, sum run %.3f s; the table says %v", row[1], w.Format, w.Len(), len(w.Succ), len(w.Cluster), sum, want[1:])
		}
		if w.Jobs != 1 || w.MissingEstimates != w.Len() && sumRun(w) == 0 {
			t.Errorf("%s: %d jobs, %d missing estimates", row[1], w.Jobs, w.MissingEstimates)
		}
		for d := range w.Demands {
			if !sched.CouldEverFit(w.Cluster, &w.Demands[d]) {
				t.Errorf("%s: a task does not fit the machines that the trace names: %+v", row[1], w.Demands[d])
			}
		}
	}
}

func TestOlderWfFormatsAreRead(t *testing.T) {
	for file, want := range map[string][2]int{
		"1000genome-chameleon-16ch-250k-001.json":      {656, 848},
		"epigenomics-chameleon-ilmn-2seq-50k-001.json": {515, 639},
		"montage-chameleon-dss-125d-001.json":          {1066, 3012},
	} {
		w, err := Open(dagFile(t, "references/dag/wf_graphs/"+file), "")
		if err != nil {
			t.Error(err)
			continue
		}
		if w.Len() != want[0] || len(w.Succ) != want[1] {
			t.Errorf("%s: %d tasks, %d edges, want %v", file, w.Len(), len(w.Succ), want)
		}
		// 131795984 kB in 1.3 is what 1.5 writes as 131795984000 bytes.
		if n := w.Cluster[0]; n.CPU < 48000 || n.Mem < 100e9 || n.Mem > 300e9 {
			t.Errorf("%s: machine %+v", file, n)
		}
	}
	// 1.4 has jobs or tasks, runtimeInSeconds, and may name only children.
	w, err := fromText(`{"name":"w","schemaVersion":1.4,"workflow":{"jobs":[
		{"name":"a_1","children":["b_2"],"runtimeInSeconds":1.5,"cores":2,"memoryInBytes":1000,"category":"first","files":[{"link":"output","name":"f","size":7},{"link":"input","name":"g","size":5}]},
		{"name":"b_2","runtime":2,"files":[{"link":"input","name":"f","size":7}]}]}}`, "w.json", "")
	if err != nil {
		t.Fatal(err)
	}
	a, b := byID(t, w, "a_1"), byID(t, w, "b_2")
	da := w.DemandOf(a)
	if w.Run[a] != 1500*time.Millisecond || w.Run[b] != 2*time.Second || da.Need.CPU != 2000 || da.Need.Mem != 1000 || w.DemandOf(b).Need.CPU != 1000 {
		t.Errorf("runs %v, demand %+v", w.Run, da)
	}
	if got := preds(w, b); !reflect.DeepEqual(got, []string{"a_1"}) {
		t.Errorf("b comes after %v", got)
	}
	if d := w.Data[a]; d.Input != 5 || d.Output != 7 || w.Data[b].Input != 0 {
		t.Errorf("data %+v", w.Data)
	}
	if k := w.Kinds[w.ClassOf(a).Kind] + " " + w.Kinds[w.ClassOf(b).Kind]; k != "first b" {
		t.Errorf("kinds %q", k)
	}
}

func TestWfFormatDemandsBeyondTheMachinesAreMended(t *testing.T) {
	w, err := fromText(`{"name":"w","workflow":{"specification":{"tasks":[{"id":"a","name":"a"},{"id":"b","name":"b"},{"id":"c","name":"c"}]},
		"execution":{"tasks":[{"id":"a","runtimeInSeconds":1,"coreCount":64,"memoryInBytes":3e9},{"id":"b","runtimeInSeconds":1,"coreCount":0.25}],
		"machines":[{"nodeName":"m","cpu":{"coreCount":4},"memoryInBytes":1e9}]}}}`, "w.json", "")
	if err != nil {
		t.Fatal(err)
	}
	if d := w.DemandOf(byID(t, w, "a")); d.Need.CPU != 4000 || d.Need.Mem != 0 {
		t.Errorf("a asks for %+v", d.Need)
	}
	if d := w.DemandOf(byID(t, w, "b")); d.Need.CPU != 250 {
		t.Errorf("b asks for %+v", d.Need)
	}
	notes := fmt.Sprint(w.Notes)
	for _, want := range []string{"more cores than any machine", "more memory than any machine", "no run time"} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes %s lack %q", notes, want)
		}
	}
	if n := w.Cluster; len(n) != 1 || n[0].Name != "m" || n[0].CPU != 4000 || n[0].Mem != 1e9 {
		t.Errorf("cluster %+v", n)
	}
}

func TestWfFormatErrorsNameThePlace(t *testing.T) {
	for text, want := range map[string]string{
		"{\"workflow\":{\"tasks\":[\n{\"name\":5}]}}":                                                                     `w.json:2: `,
		"{\"workflow\":{\n\"tasks\":[}":                                                                                   `w.json:2: `,
		`{"workflow":{"tasks":[{"name":"a","runtime":-1}]}}`:                                                              `w.json:1: task "a": negative run time`,
		`{"workflow":{"tasks":[{"name":"a","runtime":1e18}]}}`:                                                            `w.json:1: task "a": a run time of more than`,
		`{"workflow":{"tasks":[{"name":"a"},{"name":"b","parents":["c"]}]}}`:                                              `w.json:2: parents: no task "c"`,
		`{"workflow":{"tasks":[{"name":"a"},{"name":"a"}]}}`:                                                              `"a" stands twice`,
		`{"workflow":{"tasks":[{"runtime":1}]}}`:                                                                          `w.json:1: a task without id and name`,
		`{"workflow":{"tasks":[{"name":"a","runtime":1,"cores":-1}]}}`:                                                    `negative coreCount`,
		`{"workflow":{"tasks":[{"name":"a","runtime":1,"memory":-1}]}}`:                                                   `negative memory`,
		`{"workflow":{"tasks":[{"name":"a","runtime":1,"files":[{"link":"input","name":"f","size":-4}]}]}}`:               `size of its files`,
		`{"workflow":{"tasks":[{"name":"a","parents":["b"]},{"name":"b","parents":["c"]},{"name":"c","parents":["a"]}]}}`: `cycle a -> c -> b -> a`,
		`{"workflow":{"tasks":[]}}`:                                                                                       `no task in it`,
		`{"schemaVersion":"1.5"}`:                                                                                         `no "workflow"`,
		`{"workflow":{"tasks":[{"name":"a"}],"machines":[{"cpu":{"count":-4}}]}}`:                                         `-4 cores`,
	} {
		_, err := fromText(text, "w.json", "wfformat")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%v, want %q", text, err, want)
		}
	}
}

func TestRobotSTGIsReadWhole(t *testing.T) {
	w, err := Open(dagFile(t, "traces/dag/stg/robot.stg"), "")
	if err != nil {
		t.Fatal(err)
	}
	// The file's header counts edges without those of the dummies: 131 + 4.
	dummy := 0
	for i := range w.Tasks {
		if id := w.TaskNames.At(i); id == "0" || id == "89" {
			dummy += len(w.Succs(sched.TaskID(i))) + len(w.Preds(sched.TaskID(i)))
		}
	}
	if w.Len() != 88+2 || len(w.Succ)-dummy != 131 || dummy != 4 || sumRun(w) != 2483*time.Second || w.Jobs != 1 || w.JobName.At(0) != "robot" {
		t.Errorf("%d tasks, %d edges, %d of dummies, work %v, %d jobs, %q", w.Len(), len(w.Succ), dummy, sumRun(w), w.Jobs, w.JobName.At(0))
	}
}

func TestEverySharedSTGIsRead(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(dagFile(t, "references/dag/stg_graphs/rand0000.stg")), "*.stg"))
	for _, f := range files {
		w, err := Open(f, "")
		if err != nil {
			t.Error(err)
			continue
		}
		// Each file's last id is the number of its tasks less one, or its ids begin at 1.
		if last := w.TaskNames.At(w.Len() - 1); last != strconv.Itoa(w.Len()-1) && last != strconv.Itoa(w.Len()) {
			t.Errorf("%s: %d tasks, the last is %s", f, w.Len(), last)
		}
	}
}

func TestSTGTakesCommentsAndCommunication(t *testing.T) {
	w, err := fromText("# a comment\n\n 3\n0 0 0\n1 2.5 1 0\n2 4 2 0 7 1 9 # pairs\n# end\n", "g.stg", "")
	if err != nil {
		t.Fatal(err)
	}
	if w.Len() != 3 || w.Run[1] != 2500*time.Millisecond || !reflect.DeepEqual(preds(w, 2), []string{"0", "1"}) {
		t.Errorf("%d tasks, runs %v, 2 after %v", w.Len(), w.Run, preds(w, 2))
	}
	if sent := w.Sends(0, 2); len(w.Notes) != 0 || sent != 7e6 || w.Sends(1, 2) != 9e6 || w.Sends(0, 1) != 0 {
		t.Errorf("notes %+v; 0 sends %d bytes to 2", w.Notes, sent)
	}
	for text, want := range map[string]string{
		"3\n0 0 0\n":                    "g.stg:2: the file ends after 1 of 3",
		"1\n0 0 0\n1 1 0\n2 1 0\n3 1 0": "g.stg:5: more tasks than the 1",
		"1\n0 -1 0\n":                   "g.stg:2: negative processing time",
		"1\n0 x 0\n":                    "g.stg:2: processing time",
		"1\n0 1 2 0\n":                  "g.stg:2: says 2 predecessors and lists 1",
		"1\n0 1 1 5\n":                  `g.stg:2: after: no task "5"`,
		"1\n0 1\n":                      "g.stg:2: a task is",
		"2\n0 1 1 1\n1 1 1 0\n":         "g.stg:2: cycle 0 -> 1 -> 0",
		"a b c\n":                       "g.stg:1: ",
		"# nothing\n":                   "g.stg: no number of tasks",
		"99999999999999\n":              "g.stg:1: number of tasks",
	} {
		if _, err := fromText(text, "g.stg", "stg"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// readDOTText reads DOT whether or not the format is registered.
func readDOTText(text, name string) (*Workload, error) {
	b := NewBuilder(name, "dot")
	if err := readDOT(strings.NewReader(text), b); err != nil {
		return nil, err
	}
	return b.Build()
}

func TestDaggenDOTIsRead(t *testing.T) {
	for file, want := range map[string][2]int{
		"daggen-100-0.25-0.9-0.3-2.dot": {102, 130}, "daggen-100-0.5-0.9-0.10-2.dot": {102, 142}, "daggen-100-0.75-0.9-0.03-2.dot": {102, 159},
	} {
		text, err := os.ReadFile(dagFile(t, "traces/dag/dslab/"+file))
		if err != nil {
			t.Fatal(err)
		}
		w, err := readDOTText(string(text), file)
		if err != nil {
			t.Error(err)
			continue
		}
		if w.Len() != want[0] || len(w.Succ) != want[1] || w.Jobs != 1 || w.JobName.At(0) != strings.TrimSuffix(file, ".dot") {
			t.Errorf("%s: %d tasks, %d edges, %d jobs", file, w.Len(), len(w.Succ), w.Jobs)
		}
		if file == "daggen-100-0.5-0.9-0.10-2.dot" && w.Run[byID(t, w, "task_1")] != 579842100000 {
			t.Errorf("task_1 of 5.798421e+11 flops runs for %v", w.Run[byID(t, w, "task_1")])
		}
	}
}

const dotText = `/* c */ strict digraph "my graph" { rankdir=LR; node [shape=box]
	a [size="2e9", alpha=0.1]; "b \"x\"" [run_s=1.5, gpus=2, tenant="t"] // c
	subgraph cluster_0 { c [job=j, run_s=3]; label = "L" }
	a -> "b \"x\"" -> c [size="5"]; a->c
}`

func TestDOTAttributesMeanTheNativeColumns(t *testing.T) {
	w, err := readDOTText(dotText, "g.dot")
	if err != nil {
		t.Fatal(err)
	}
	b := byID(t, w, `b "x"`)
	if w.Run[byID(t, w, "a")] != 2*time.Second || w.Run[b] != 1500*time.Millisecond || w.DemandOf(b).Need.GPUs != 2 || w.Tenants[w.ClassOf(b).Tenant] != "t" {
		t.Errorf("runs %v, demand %+v", w.Run, w.DemandOf(b))
	}
	if got := preds(w, byID(t, w, "c")); len(got) != 2 || len(w.Succ) != 3 {
		t.Errorf("c after %v, %d edges", got, len(w.Succ))
	}
	for text, want := range map[string]string{
		"digraph {\n a -> b;\n b -> a }": "g.dot:2: cycle a -> b -> a",
		"digraph {\n a -> }":             `g.dot:2: "}" where a name`,
		"digraph { a":                    "not closed",
		"digraph { a [x=1":               "g.dot:1: ",
		"graph { a -- b }":               "not a digraph",
		"digraph { a -- b }":             "undirected",
		"digraph {\n a [run_s=x] }":      "g.dot:2: run_s: ",
		"digraph {\n a [gpus=-1] }":      "g.dot:2: gpus: negative GPU count",
		"digraph { a [label=<b>] }":      "HTML",
		"digraph { \"a":                  "quote",
		"digraph { /* a":                 "comment",
		"digraph { a:b -> c }":           "ports",
		"digraph { a [size=-1] }":        "not a size",
	} {
		if _, err := readDOTText(text, "g.dot"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// same compares what two workloads say of each task, by name.
func same(t *testing.T, a, b *Workload) {
	t.Helper()
	if a.Len() != b.Len() || len(a.Succ) != len(b.Succ) || a.Jobs != b.Jobs {
		t.Fatalf("%d tasks, %d edges, %d jobs; %d, %d, %d", a.Len(), len(a.Succ), a.Jobs, b.Len(), len(b.Succ), b.Jobs)
	}
	var x, y Row
	for i := range a.Tasks {
		a.RowOf(sched.TaskID(i), &x)
		b.RowOf(sched.TaskID(i), &y)
		x.Line, y.Line = 0, 0
		if fmt.Sprintf("%+v", x) != fmt.Sprintf("%+v", y) {
			t.Fatalf("task %d:\n%+v\n%+v", i, x, y)
		}
	}
}

func TestDOTWritesWhatItReadsBack(t *testing.T) {
	bld := NewBuilder("made", "made")
	for j := range 3 {
		for i := range 4 {
			r := Row{
				ID: fmt.Sprintf("t%d", i), Job: fmt.Sprintf("job %d", j), Kind: "k", Tenant: "a \"b\"\\", Submit: sched.Time(j) * 1e9, Run: time.Duration(i+1) * 1234567891,
				Estimate: -1, Line: 4*j + i + 1, Gang: int32(i), Criticality: 0.25, Need: sched.Need{CPU: 500, Mem: 1 << 20, GPUs: 1, GPUMilli: int32(250 * (i + 1))},
				GPUTypes: []string{"A100", "V100"}, Labels: []sched.Label{{Key: "zone", Value: "a"}}, Deadline: 7 * time.Second,
			}
			if i > 0 {
				r.After = []string{fmt.Sprintf("t%d", i-1)}
			} else if j > 0 {
				r.After = []string{fmt.Sprintf("job %d/t3", j-1)}
			}
			if err := bld.Add(&r); err != nil {
				t.Fatal(err)
			}
		}
	}
	w, err := bld.Build()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []*Workload{w, mustOpen(t, "traces/dag/wfinstances/rnaseq-dirt02-001.json.gz")} {
		var out bytes.Buffer
		if err := Write(&out, w, "dot"); err != nil {
			t.Fatal(err)
		}
		if !detectDOT(out.Bytes(), "") {
			t.Error("what is written is not recognised")
		}
		back, err := readDOTText(out.String(), "g.dot")
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String()[:min(out.Len(), 2000)])
		}
		same(t, w, back)
	}
}

func mustOpen(t *testing.T, path string) *Workload {
	t.Helper()
	w, err := Open(dagFile(t, path), "")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// fuzzed checks what every reader promises of any input: an error that names the file, or a sound workload.
func fuzzed(t *testing.T, text, name string, read func() (*Workload, error)) {
	w, err := read()
	if err != nil {
		if !strings.Contains(err.Error(), name) {
			t.Fatalf("an error without the place: %v", err)
		}
		return
	}
	for i := range w.Tasks {
		d := w.DemandOf(sched.TaskID(i))
		if w.Run[i] < 0 || w.Estimates[i] < 0 || d.Gang < 1 || d.Need.CPU < 0 || d.Need.Mem < 0 || d.Need.GPUs < 0 {
			t.Fatalf("%q: task %d: run %v, %+v", text, i, w.Run[i], d)
		}
	}
}

func FuzzWfFormat(f *testing.F) {
	f.Add(`{"name":"w","workflow":{"specification":{"tasks":[{"id":"a","name":"a","children":["b"]},{"id":"b","parents":["a"],"inputFiles":["f"]}],"files":[{"id":"f","sizeInBytes":3}]},"execution":{"tasks":[{"id":"a","runtimeInSeconds":1,"coreCount":2.5}],"machines":[{"nodeName":"m","cpu":{"coreCount":4}}]}}}`)
	f.Add(`{"workflow":{"jobs":[{"name":"a","runtime":1,"memory":3,"files":[{"link":"input","name":"x","size":1}]}],"machines":[{"cpu":{"count":4},"memory":5}]}}`)
	f.Fuzz(func(t *testing.T, s string) {
		fuzzed(t, s, "fuzz", func() (*Workload, error) { return fromText(s, "fuzz", "wfformat") })
	})
}

func FuzzSTG(f *testing.F) {
	f.Add("3\n0 0 0\n1 2.5 1 0\n2 4 2 0 7 1 9 # pairs\n")
	f.Add("# c\n 1 16\n 1 5 0\n")
	f.Fuzz(func(t *testing.T, s string) {
		fuzzed(t, s, "fuzz", func() (*Workload, error) { return fromText(s, "fuzz", "stg") })
	})
}

func TestNamesThatDifferInWhatCannotBePrintedAreDifferentNodesInDOT(t *testing.T) {
	ids := []string{"a b", "a\tb", "a\u00a0b", "a\nb", `a\nb`, `a\`, `a"`, "a\x1bb"}
	rows := make([]Row, len(ids))
	for i, id := range ids {
		rows[i] = Row{ID: id, Job: "j\t1", Run: 1, Estimate: 1, Name: "x\ty"}
		if i > 0 {
			rows[i].After = []string{ids[i-1]}
		}
	}
	w := build(t, rows)
	text := write(t, w, "dot")
	back, err := readDOTText(text, "g.dot")
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if got := write(t, back, "jsonl"); got != write(t, w, "jsonl") {
		t.Errorf("%s\nreads as\n%s", text, got)
	}
	if !strings.Contains(text, `[label="x y\n`) {
		t.Errorf("what is shown is not cleaned:\n%s", text)
	}
}

func FuzzDOT(f *testing.F) {
	f.Add(dotText)
	f.Add("digraph G { a -> b -> c; d }")
	f.Fuzz(func(t *testing.T, s string) {
		fuzzed(t, s, "fuzz", func() (*Workload, error) { return readDOTText(s, "fuzz") })
	})
}

func TestDAXIsReadWithTheFilesThatJobsSend(t *testing.T) {
	for file, want := range map[string][3]int{ // jobs and edges by traces/README.md; MB that the first edge of the paper's graph carries
		"pegasus-dax/CyberShake_30.xml": {30, 52}, "pegasus-dax/Epigenomics_24.xml": {24, 27}, "pegasus-dax/HEFT_paper.xml": {10, 15}, "pegasus-dax/Montage_100.xml.gz": {100, 233},
		"pegasus-dax/Montage_25.xml": {25, 45}, "dslab/inspiral-100.xml": {100, 119},
	} {
		w, err := Open(dagFile(t, "traces/dag/"+file), "")
		if err != nil {
			t.Error(err)
			continue
		}
		if w.Format != "dax" || w.Len() != want[0] || len(w.Succ) != want[1] || w.Jobs != 1 || w.EdgeBytes == nil {
			t.Errorf("%s: %s, %d jobs, %d edges", file, w.Format, w.Len(), len(w.Succ))
		}
	}
	w, err := fromText(`<adag><job id="a" name="n" runtime="1.5"><uses file="x" link="input" size="5"/><uses file="y" link="output" size="7"/><uses file="z" link="output" size="1"/></job>
		<job id="b" runtime="2" numcores="2"><uses file="y" link="input" size="7"/></job><child ref="b"><parent ref="a"/></child></adag>`, "g.xml", "")
	if err != nil {
		t.Fatal(err)
	}
	if w.Sends(0, 1) != 7 || w.Data[0] != (sched.Data{Input: 5, Output: 8}) || w.Data[1] != (sched.Data{}) || w.Run[0] != 1500*time.Millisecond || w.DemandOf(1).Need.CPU != 2000 {
		t.Errorf("a sends %d, data %+v, runs %v", w.Sends(0, 1), w.Data, w.Run)
	}
	for text, want := range map[string]string{
		`<adag><job id="a" runtime="-1"/></adag>`:                                        `g.xml:1: job "a": a run time of -1 s`,
		`<adag><job id="a" runtime="1"/><child ref="b"><parent ref="a"/></child></adag>`: `g.xml: child: no job "b"`,
		`<adag><job id="a"`:                            "g.xml:1: not XML: unexpected EOF",
		"<adag>\n<job id=\"a\" runtime=\"x\"/></adag>": `g.xml:2: runtime: "x" is not a number`,
	} {
		if _, err := fromText(text, "g.xml", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestWhatEdgesCarryComesThroughEveryFormatThatHasIt(t *testing.T) {
	const text = "id,run_s,after,after_gb\na,1,,\nb,2,a,0.5\nc,3,a;b,0;2\nd,1,c,\n"
	w, err := fromText(text, "g.csv", "")
	if err != nil {
		t.Fatal(err)
	}
	if w.Sends(0, 1) != 1<<29 || w.Sends(0, 2) != 0 || w.Sends(1, 2) != 2<<30 || w.Sends(2, 3) != 0 {
		t.Fatalf("edges carry %v", w.EdgeBytes)
	}
	for _, format := range []string{"csv", "jsonl", "parquet", "dot"} {
		var b strings.Builder
		if err := Write(&b, w, format); err != nil {
			t.Fatal(err)
		}
		again, err := fromText(b.String(), "g", format)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again.EdgeBytes, w.EdgeBytes) {
			t.Errorf("%s: %v, want %v", format, again.EdgeBytes, w.EdgeBytes)
		}
	}
	if _, err := fromText("id,run_s,after,after_gb\na,1,,\nb,2,a,0.5;1\n", "g.csv", ""); err == nil || !strings.Contains(err.Error(), "g.csv:3: after_gb: 2 sizes for 1 predecessors") {
		t.Errorf("two sizes for one edge: %v", err)
	}
	if d, err := readDOTText(dotText, "g.dot"); err != nil || d.Sends(0, 1) != 5 || d.Sends(1, 2) != 5 || d.Sends(0, 2) != 0 {
		t.Errorf("edges of DOT carry %v, %v", d.EdgeBytes, err)
	}
}
