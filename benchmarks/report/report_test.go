package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/charmbracelet/lipgloss"
	"github.com/schedlab/schedlab/benchmarks/stats"
	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces/metrics"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -rewrite makes it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -rewrite accepts it); got\n%s\nwant\n%s", name, got, want)
	}
}

func row(wait, jct, util, tput float64) metrics.Row {
	return metrics.Row{
		WaitMean: wait, WaitP50: wait / 2, WaitP99: wait * 8, ResponseMean: wait * 0.9, JobWaitMean: wait, JCTMean: jct, SlowdownMean: 1 + wait/100,
		UtilizationGPU: util, UtilizationCPU: math.NaN(), Goodput: util, ThroughputPerMin: tput, Makespan: 600 / tput * 60, LowerBound: 500,
		DeadlineMiss: math.NaN(), Fairness: 0.9, FragmentationGPUs: math.NaN(), Tasks: 600, Finished: 600, SimWall: 0.25,
	}
}

func example(loads ...float64) *Comparison {
	nodes := []sched.NodeSpec{{CPU: sched.Unlimited, GPUs: 8}, {CPU: sched.Unlimited, GPUs: 8}}
	c := &Comparison{
		Trace: Trace{Source: "demo", Format: "csv", Tasks: 600, Jobs: 120}, Cluster: ClusterOf("2x8xA100", nodes),
		Notes: []string{"12 tasks had no estimate: policies see their true run time."},
	}
	for _, load := range loads {
		for seed := range 3 {
			d := float64(seed)
			c.Runs = append(c.Runs,
				Run{"fifo", int64(seed + 1), load, row(128+10*d, 900, 0.61, 23)},
				Run{"rr{quantum=30s}", int64(seed + 1), load, row(97+10*d, 820+d, 0.69, 28)},
				Run{"critical-path{weight=0.25,heat=0.1,ageing=1h}", int64(seed + 1), load, row(46+10*d, 610, 0.87, 45)})
			c.Runs[len(c.Runs)-2].Preemptions = 1234
		}
	}
	c.Summary = Summarise(c.Runs)
	return c
}

func (c *Comparison) table(t *testing.T, opt TableOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := c.Table(&b, opt); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTableGolden(t *testing.T) {
	c := example(math.NaN())
	golden(t, "table-wide.txt", c.table(t, TableOptions{}))
	golden(t, "table-80.txt", c.table(t, TableOptions{Width: 80}))
	golden(t, "table-50.txt", c.table(t, TableOptions{Width: 50}))
	golden(t, "table-colour.txt", c.table(t, TableOptions{Width: 80, Color: true}))
	golden(t, "table-loads.txt", example(0.7, 0.9).table(t, TableOptions{Width: 100}))
}

func TestTheTableFitsTheTerminal(t *testing.T) {
	for width := 40; width < 220; width += 7 {
		for _, line := range strings.Split(string(example(math.NaN()).table(t, TableOptions{Width: width})), "\n") {
			if got := lipgloss.Width(line); got > width {
				t.Errorf("%d columns wide where %d fit: %s", got, width, line)
			}
		}
	}
}

func TestWithoutColourThereIsNoEscapeAndTheBestIsStillMarked(t *testing.T) {
	b := string(example(math.NaN()).table(t, TableOptions{Width: 80}))
	if strings.Contains(b, "\x1b") || !strings.Contains(b, "56*") {
		t.Error(b)
	}
	if b := string(example(math.NaN()).table(t, TableOptions{Width: 80, Color: true})); !strings.Contains(b, "\x1b") {
		t.Error("no style with colours allowed")
	}
	t.Setenv("NO_COLOR", "1")
	if ColorWanted(true) {
		t.Error("NO_COLOR is set")
	}
	t.Setenv("NO_COLOR", "")
	if !ColorWanted(true) || ColorWanted(false) {
		t.Error("an empty NO_COLOR means nothing; a file gets no colours")
	}
}

func TestTheTableSaysWhenNobodyWaitedAndMarksNoBestAmongEquals(t *testing.T) {
	c := example(math.NaN())
	for i := range c.Summary {
		c.Summary[i].Mean = row(0, 10, 0.1, 5)
		c.Summary[i].CI = nil
	}
	b := string(c.table(t, TableOptions{Width: 80}))
	if !strings.Contains(b, "nobody waited under any policy") || strings.Contains(b, Best) {
		t.Error(b)
	}
	if !strings.Contains(strings.Join(strings.Fields(b), " "), "(try a smaller one, or --load)") {
		t.Error(b)
	}
	for i := range c.Summary { // who has taken that advice is not given it again
		c.Summary[i].Load = 1.5
	}
	if b := string(c.table(t, TableOptions{})); !strings.Contains(b, "(try a smaller one, or a --load above 1.5)") {
		t.Error(b)
	}
	c.Summary[0].Mean.WaitMean = 1
	if b := string(c.table(t, TableOptions{})); !strings.Contains(b, "nobody waited under rr{quantum=30s}, critical-path") {
		t.Error(b)
	}
}

func TestUnfinishedTasksShowAlsoInANarrowTable(t *testing.T) {
	c := example(math.NaN())
	c.Summary[1].Mean.Finished = 590
	if b := string(c.table(t, TableOptions{Width: 60})); !strings.Contains(b, "unfinished") {
		t.Error(b)
	}
}

// A task that was not finished under one of three seeds must not vanish in the mean.
func TestTheMeanOfCountsIsNotRounded(t *testing.T) {
	c := example(math.NaN())
	c.Runs[1].Finished, c.Runs[1].Failed, c.Runs[1].Restarts = 599, 1, 1
	c.Summary = Summarise(c.Runs)
	if m := c.Summary[1].Mean; m.Finished != 599+2.0/3 || m.Failed != 1.0/3 || m.Restarts != 1.0/3 {
		t.Errorf("%g finished, %g failed, %g restarts, wanted the means of three runs", m.Finished, m.Failed, m.Restarts)
	}
	if b := string(c.table(t, TableOptions{})); !strings.Contains(b, "unfinished") || !strings.Contains(b, "restarts") {
		t.Error(b)
	}
}

func TestJSONGolden(t *testing.T) {
	var b bytes.Buffer
	if err := example(0.9).JSON(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.json", b.Bytes())
	var doc struct {
		Schema  string
		Trace   map[string]any
		Cluster map[string]any
		Runs    []map[string]any
		Summary []map[string]any
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != "schedlab/compare/v1" || len(doc.Runs) != 9 || len(doc.Summary) != 3 || doc.Trace["source"] != "demo" || doc.Cluster["gpus"] != 16.0 {
		t.Errorf("%+v", doc)
	}
	for i := range metrics.Metrics {
		name := metrics.Metrics[i].Name
		if _, ok := doc.Runs[0][name]; !ok {
			t.Errorf("runs lack %s", name)
		}
		if _, ok := doc.Summary[0][name]; !ok {
			t.Errorf("summary lacks %s", name)
		}
	}
	if doc.Runs[0]["utilization_cpu"] != nil || doc.Summary[1]["wait_mean_s"] != 107.0 {
		t.Error("null or mean is wrong")
	}
	versus := doc.Summary[1]["vs_first"].(map[string]any)["wait_mean_s"].(map[string]any)
	if versus["difference"] != -31.0 || versus["low"] != -31.0 { // the same in each seed: certain
		t.Errorf("%v", versus)
	}
}

func TestCSVGoldenHasOneLineARunAndEveryMetric(t *testing.T) {
	var b bytes.Buffer
	if err := example(math.NaN()).CSV(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.csv", b.Bytes())
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) != 10 || len(rows[0]) != 3+len(metrics.Metrics)+int(sched.NumCauses) {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestOneSeedGivesNoIntervalAndOneFromElsewhereIsShown(t *testing.T) {
	c := example(math.NaN())
	c.Runs = c.Runs[:3]
	c.Summary = Summarise(c.Runs)
	if c.Summary[0].CI != nil || c.Summary[1].Versus != nil {
		t.Errorf("%+v", c.Summary)
	}
	if b := string(c.table(t, TableOptions{})); strings.Contains(b, "interval") {
		t.Error(b)
	}
	c.Summary[0].CI = map[string]stats.Interval{"wait_mean_s": {Mean: 128, Low: 100, High: 150, N: 20, Method: "batch means"}}
	if b := string(c.table(t, TableOptions{})); !strings.Contains(b, "100..150") {
		t.Error(b)
	}
}

// Intervals by bootstrap take the place of those over seeds, in the JSON too, each with its method; the mean and batch means stay.
func TestBootstrapTakesThePlaceOfT(t *testing.T) {
	c := &Comparison{}
	for seed, wait := range []float64{94, 197, 16, 38, 99, 141, 23} {
		for _, load := range []float64{0.7, math.NaN()} {
			c.Runs = append(c.Runs, Run{"fifo", int64(seed), load, row(wait, 900, 0.6, 23)}, Run{"sjf", int64(seed), load, row(wait/2, 900, 0.6, 23)})
		}
	}
	c.Summary = Summarise(c.Runs)
	c.Summary[3].CI["wait_mean_s"] = stats.Interval{Mean: 1, Low: 0.5, High: 2, N: 20, Method: "batch means"}
	if n := Bootstrap(c.Summary, c.Runs); n != 7 {
		t.Errorf("over %d seeds", n)
	}
	for i, s := range c.Summary[:3] {
		half := math.Pow(2, -float64(i%2)) // sjf waits half as long
		ci := s.CI["wait_mean_s"]
		if want := stats.BCa([]float64{94 * half, 197 * half, 16 * half, 38 * half, 99 * half, 141 * half, 23 * half}, 0.95, 1); ci != want || ci.Method != "bca" {
			t.Errorf("%s at %v: %+v, want %+v", s.Policy, s.Load, ci, want)
		}
	}
	if ci := c.Summary[3].CI["wait_mean_s"]; ci.Method != "batch means" || ci.Low != 0.5 {
		t.Errorf("%+v", ci)
	}
	var b bytes.Buffer
	if err := c.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Summary []struct {
			CI     map[string]struct{ Method string } `json:"ci95"`
			Versus map[string]struct {
				Low, High, Difference float64
				Method                string
			} `json:"vs_first"`
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	d := c.Summary[1].Versus["wait_mean_s"].Bootstrap
	if v := got.Summary[1].Versus["wait_mean_s"]; v.Method != "bca" || v.Low != d.Low || v.High != d.High || v.Low == 0 || got.Summary[1].CI["wait_mean_s"].Method != "bca" {
		t.Errorf("%+v of %+v", got.Summary[1], d)
	}
	one := Summarise(c.Runs[:1])
	if n := Bootstrap(one, c.Runs[:1]); n != 0 {
		t.Errorf("one run, and intervals over %d", n)
	}
}

// What a trace's tasks are called may say anything: no terminal is to obey it.
func TestTablesHaveNoControlCharactersButTheirOwn(t *testing.T) {
	c := &Comparison{Runs: []Run{{"fifo", 1, math.NaN(), row(1, 900, 0.6, 23)}}, Notes: []string{"task \x1b[31mred\a and \xff asks for much"}}
	c.Trace.Source = "a\x1b]0;title\x07.csv"
	c.Summary = Summarise(c.Runs)
	var b strings.Builder
	if err := c.Table(&b, TableOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.String() {
		if r != '\n' && unicode.IsControl(r) {
			t.Errorf("%q is in %q", r, b.String())
		}
	}
	if !strings.Contains(b.String(), `task \u001b[31mred\u0007 and `+"\uFFFD asks") {
		t.Error(b.String())
	}
}

func TestHumanNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234567: "1,234,567", -1234: "-1,234", -123: "-123", 0.01234: "0.0123", math.Inf(1): "-",
		999.6: "1,000", 10: "10", 1e18: "1e+18",
	} {
		if got := Human(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
