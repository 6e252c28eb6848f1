package plots

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image"
	_ "image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"pgregory.net/rapid"
)

var policies = []string{"fifo", "rr{quantum=30s}", "critical-path", "sjf", "easy", "srtf", "fjf", "edf", "critical-path{weight=0.25,heat=0.1,ageing=1h}+fgd"}

// figures are pictures of made-up runs, by name. PLOTS_DIR=dir go test writes them there, to be looked at.
func figures(t *testing.T) map[string]*Figure {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	out := map[string]*Figure{}
	add := func(name string, f *Figure, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = f
	}
	var cdfs, none []CDF
	for i, p := range policies[:6] {
		var waits []float64
		for range 5000 {
			w := 0.0
			if rng.Float64() > 0.1*float64(i) {
				w = math.Exp(rng.NormFloat64()*2 + 8 - float64(i))
			}
			waits = append(waits, w)
		}
		cdfs = append(cdfs, NewCDF(p, waits))
		none = append(none, NewCDF(p, make([]float64, 10)))
	}
	f, err := WaitCDF("Waiting time on philly.csv, 80x8xV100", cdfs)
	add("wait-cdf", f, err)
	f, err = WaitCDF("Nobody waited", none[:3])
	add("wait-cdf-none", f, err)

	var bars, many []Bar
	for i, p := range policies {
		v := 15711.5 / float64(i+1)
		b := Bar{p, v, v * 0.8, v * 1.3}
		if i == 4 {
			b.Low, b.High = math.NaN(), math.NaN()
		}
		if i < 4 {
			bars = append(bars, b)
		}
		many = append(many, b)
	}
	f, err = Bars("Mean wait", "mean wait (s)", "95 % interval over 10 seeds", bars)
	add("bars", f, err)
	for i := range 12 {
		many = append(many, Bar{fmt.Sprint("policy-", i), float64(i) * 100, math.NaN(), math.NaN()})
	}
	many[12].Value = math.NaN()
	f, err = Bars("Throughput", "throughput (tasks/min)", "95 % interval over 10 seeds", many)
	add("bars-many", f, err)
	f, err = Bars("Mean wait", "mean wait (s)", "", []Bar{{"fifo", 0, math.NaN(), math.NaN()}, {"sjf", 0, math.NaN(), math.NaN()}})
	add("bars-zero", f, err)

	var util, queue []Series
	for i, p := range policies[:4] {
		u, q := Series{Name: p}, Series{Name: p}
		level, length := 0.7, 0.0
		for k := range 1024 {
			level = min(max(level+rng.NormFloat64()*0.05, 0), 1)
			length = max(0, length+rng.NormFloat64()*100)
			u.Seconds, u.Value = append(u.Seconds, float64(k)*600), append(u.Value, level*(1-0.1*float64(i)))
			q.Seconds, q.Value = append(q.Seconds, float64(k)*600), append(q.Value, math.Round(length))
		}
		util, queue = append(util, u), append(queue, q)
	}
	f, err = OverTime("GPU utilization", "GPUs in use", true, util)
	add("utilization", f, err)
	f, err = OverTime("Queue length", "ready tasks waiting (tasks)", false, queue)
	add("queue", f, err)

	small := &Gantt{Groups: []string{"ann", "bob", "cleo"}, What: "tenant"}
	for r := range 8 {
		small.Rows = append(small.Rows, fmt.Sprintf("node-001/%d", r))
		for at := 0.0; at < 100; {
			d := 2 + 10*rng.Float64()
			small.Spans = append(small.Spans, Span{r, at, at + d, rng.IntN(3)})
			at += d + 5*rng.Float64()*rng.Float64()
		}
	}
	f, err = small.Figure("fifo")
	add("gantt", f, err)
	shared := &Gantt{Rows: []string{"node-001", "node-002"}, Groups: []string{"a", "b"}, What: "job"}
	for i := range 24 {
		shared.Spans = append(shared.Spans, Span{i % 2, float64(i), float64(i + 6), i / 2 % 2})
	}
	f, err = shared.Figure("nodes that several tasks share")
	add("gantt-shared", f, err)
	big := &Gantt{What: "tenant"}
	for i := range 15 {
		big.Groups = append(big.Groups, fmt.Sprint("vc-", i))
	}
	for r := range 320 {
		big.Rows = append(big.Rows, fmt.Sprintf("node-%03d/%d", r/8, r%8))
		at := 0.0
		for range 250 {
			d := 3000 * rng.ExpFloat64()
			big.Spans = append(big.Spans, Span{r, at, at + d, rng.IntN(1 + rng.IntN(15))})
			at += d + 200*rng.ExpFloat64()
		}
	}
	f, err = big.Figure("80,000 tasks")
	add("gantt-big", f, err)

	nodes, edges := montage(6)
	f, err = DAG("Montage, 23 tasks", nodes, edges)
	add("dag", f, err)
	nodes, edges = montage(150)
	f, err = DAG("Montage, large", nodes, edges)
	add("dag-big", f, err)
	return out
}

// montage is a graph in the shape of the Montage workflow for w images.
func montage(w int) (nodes []Node, edges [][2]int) {
	add := func(kind string, s float64, preds ...int) int {
		id := len(nodes)
		nodes = append(nodes, Node{fmt.Sprintf("%s_%02d", kind, id), kind, s})
		for _, p := range preds {
			edges = append(edges, [2]int{p, id})
		}
		return id
	}
	var project, diff, back []int
	for range w {
		project = append(project, add("mProject", 12))
	}
	for i := range w - 1 {
		diff = append(diff, add("mDiffFit", 3, project[i], project[i+1]))
	}
	model := add("mBgModel", 20, add("mConcatFit", 8, diff...))
	for i := range w {
		back = append(back, add("mBackground", 4, project[i], model))
	}
	add("mShrink", 3, add("mAdd", 30, add("mImgtbl", 2, back...)))
	return nodes, edges
}

func TestEveryFigureComesAsSVGPNGAndPDFOfTheStatedSize(t *testing.T) {
	dir := os.Getenv("PLOTS_DIR")
	for name, f := range figures(t) {
		for _, format := range Formats {
			if format == "pdf" && dir == "" && name != "bars" {
				continue // slow: once is enough
			}
			var b bytes.Buffer
			if err := f.Write(&b, format); err != nil {
				t.Fatalf("%s.%s: %v", name, format, err)
			}
			switch format {
			case "png":
				c, _, err := image.DecodeConfig(bytes.NewReader(b.Bytes()))
				if err != nil || c.Width != Width || c.Height != Height {
					t.Errorf("%s.png: %+v, %v", name, c, err)
				}
			case "svg":
				if d := xml.NewDecoder(bytes.NewReader(b.Bytes())); !wellFormed(d) {
					t.Errorf("%s.svg is not well-formed", name)
				}
				if b.Len() > 6<<20 {
					t.Errorf("%s.svg takes %d bytes", name, b.Len())
				}
			case "pdf":
				if !bytes.HasPrefix(b.Bytes(), []byte("%PDF")) {
					t.Errorf("%s.pdf is none", name)
				}
			}
			if dir != "" {
				if err := os.WriteFile(filepath.Join(dir, name+"."+format), b.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var f Figure
	if err := f.Write(io.Discard, "bmp"); err == nil || !strings.Contains(err.Error(), "svg, png, pdf") {
		t.Errorf("bmp: %v", err)
	}
}

func wellFormed(d *xml.Decoder) bool {
	for {
		if _, err := d.Token(); err != nil {
			return err == io.EOF
		}
	}
}

func svg(t *testing.T, f *Figure) string {
	t.Helper()
	var b bytes.Buffer
	if err := f.Write(&b, "svg"); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPicturesSayWhatTheyShow(t *testing.T) {
	all := figures(t)
	for name, parts := range map[string][]string{
		"wait-cdf":      {"wait (s)", "fifo", "50 % did not wait"},
		"wait-cdf-none": {"nobody waited"},
		"bars":          {"mean wait (s)", "whiskers: 95 % interval over 10 seeds", "critical-path"},
		"bars-many":     {"no value"},
		"utilization":   {"time (days)", "100 %"},
		"queue":         {"ready tasks waiting (tasks)"},
		"gantt":         {"time (s)", "ann", "node-001/0"},
		"gantt-big":     {"50 of 320 rows shown", "8 other tenants", "vc-0"},
		"dag":           {"longest path, 82.0 s", "mProject (6)"},
	} {
		s := svg(t, all[name])
		for _, part := range parts {
			if !strings.Contains(s, part) {
				t.Errorf("%s.svg does not say %q", name, part)
			}
		}
	}
}

func TestTheLegendStandsBelowTheAxes(t *testing.T) {
	s := svg(t, figures(t)["queue"])
	place := regexp.MustCompile(`<text x="[^"]*" y="([^"]*)"[^>]*>([^<]*)</text>`)
	var axis, legend float64
	for _, m := range place.FindAllStringSubmatch(s, -1) {
		var y float64
		if _, err := fmt.Sscan(m[1], &y); err != nil {
			t.Fatal(err)
		}
		switch m[2] { // y is counted upwards, negative, in the mirrored picture
		case "time (days)":
			axis = y
		case "fifo":
			legend = y
		}
	}
	if axis == 0 || legend == 0 || legend <= axis {
		t.Errorf("axis label at %v, legend at %v", axis, legend)
	}
}

func TestACDFKeepsTheShareOfZerosAndEndsAtOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		waits := rapid.SliceOfN(rapid.SampledFrom([]float64{0, 0, 1, 2, 2.5, 1000}), 1, 900).Draw(t, "waits")
		c := NewCDF("x", slices.Clone(waits))
		upTo := func(v float64) float64 {
			n := 0
			for _, w := range waits {
				if w <= v {
					n++
				}
			}
			return float64(n) / float64(len(waits))
		}
		if c.Zero != upTo(0) {
			t.Fatalf("%v did not wait, want %v", c.Zero, upTo(0))
		}
		for i, x := range c.Seconds {
			if c.Share[i] != upTo(x) || x <= 0 || i > 0 && x <= c.Seconds[i-1] {
				t.Fatalf("share %v up to %v, want %v", c.Share[i], x, upTo(x))
			}
		}
		if c.Zero < 1 && c.Share[len(c.Share)-1] != 1 {
			t.Fatal("the longest wait is missing")
		}
	})
}

func TestThinningASeriesKeepsItsMean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Series{}
		area := 0.0
		for i := range rapid.IntRange(2, 900).Draw(t, "n") {
			at := float64(i) * 3
			if i > 0 {
				at = s.Seconds[i-1] + rapid.Float64Range(0.1, 5).Draw(t, "step")
				area += (at - s.Seconds[i-1]) * s.Value[i-1]
			}
			s.Seconds, s.Value = append(s.Seconds, at), append(s.Value, rapid.Float64Range(0, 1).Draw(t, "value"))
		}
		thin := s.thin(s.Seconds[0], s.Seconds[len(s.Seconds)-1])
		got := 0.0
		for k := range timePoints {
			got += thin.Value[k] * (thin.Seconds[k+1] - thin.Seconds[k])
		}
		if math.Abs(got-area) > 1e-6*(1+area) {
			t.Fatalf("area %v became %v", area, got)
		}
	})
}

func TestTickLabelsAreFewAndDifferent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.Float64Range(-1e6, 1e6).Draw(t, "lo")
		hi := lo + math.Pow(10, rapid.Float64Range(-3, 9).Draw(t, "span"))
		checkTicks(t, linear(9, 1, "").Ticks(lo, hi), lo, hi, 11)
		from := math.Pow(10, rapid.Float64Range(-6, 6).Draw(t, "from"))
		to := from * math.Pow(10, rapid.Float64Range(1, 10).Draw(t, "decades"))
		checkTicks(t, decades(8).Ticks(from, to), from, to, 9)
	})
}

func checkTicks(t *rapid.T, ticks []plot.Tick, lo, hi float64, most int) {
	seen := map[string]bool{}
	n := 0
	for _, k := range ticks {
		if k.Value < lo-1e-9*(hi-lo) || k.Value > hi+1e-9*math.Abs(hi) {
			t.Fatalf("tick %v outside %v..%v", k.Value, lo, hi)
		}
		if k.Label != "" {
			n++
			if seen[k.Label] {
				t.Fatalf("label %s twice in %v..%v: %v", k.Label, lo, hi, ticks)
			}
			seen[k.Label] = true
		}
	}
	if n > most || n == 0 {
		t.Fatalf("%d labels in %v..%v", n, lo, hi)
	}
}

func TestSpansThatOverlapLieInDifferentLanes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var spans []Span
		for range rapid.IntRange(1, 12).Draw(t, "n") {
			from := float64(rapid.IntRange(0, 20).Draw(t, "from"))
			spans = append(spans, Span{From: from, To: from + float64(rapid.IntRange(1, 9).Draw(t, "d"))})
		}
		slices.SortFunc(spans, func(a, b Span) int { return int(a.From - b.From) })
		lane, n := stack(spans)
		for i := range spans {
			for j := range i {
				if lane[i] == lane[j] && spans[j].To > spans[i].From {
					t.Fatalf("%v and %v share lane %d", spans[i], spans[j], lane[i])
				}
			}
			if lane[i] >= n {
				t.Fatalf("lane %d of %d", lane[i], n)
			}
		}
	})
}

func TestImpossibleInputIsAnErrorAndNoPicture(t *testing.T) {
	if _, err := DAG("", []Node{{}, {}}, [][2]int{{0, 1}, {1, 0}}); err == nil {
		t.Error("a cycle was drawn")
	}
	if _, err := DAG("", []Node{{}}, [][2]int{{0, 7}}); err == nil {
		t.Error("an edge to nowhere was drawn")
	}
	if _, err := (&Gantt{Rows: []string{"a"}, Groups: []string{"g"}, Spans: []Span{{Row: 3}}}).Figure(""); err == nil {
		t.Error("a span in no row was drawn")
	}
	for name, err := range map[string]error{
		"gantt": second((&Gantt{}).Figure("")), "dag": second(DAG("", nil, nil)), "bars": second(Bars("", "", "", nil)), "time": second(OverTime("", "", false, nil)),
		"cdf": second(WaitCDF("", nil)),
	} {
		if err == nil {
			t.Errorf("%s: nothing was drawn without an error", name)
		}
	}
}

func second(_ *Figure, err error) error { return err }
