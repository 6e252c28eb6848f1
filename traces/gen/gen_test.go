package gen

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/traces/cluster"
	"github.com/schedlab/schedlab/traces/graph"
)

func sharedFile(t testing.TB, path string) string {
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

func nodesOf(t testing.TB, spec string) []sched.NodeSpec {
	t.Helper()
	nodes, err := cluster.Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func generate(t testing.TB, spec string, seed uint64, nodes []sched.NodeSpec) *traces.Workload {
	t.Helper()
	s, err := Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Generate(seed, nodes)
	if err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return w
}

func meanVar(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, variance
}

// The mean of 200,000 samples lies within 4 standard errors of the closed form (a right generator fails one seed in 16,000), and so does
// the mean square of those whose fourth moment is tame enough for a test.
func TestDurationsHaveTheirMoments(t *testing.T) {
	const n = 200_000
	for _, c := range []struct {
		text string
		scv  float64 // closed form of variance / mean^2, computed here by hand; < 0: not tested
		mean float64
		tame bool
	}{
		{"lognormal(mean=600,sigma=0.5)", math.Exp(0.25) - 1, 600, true},
		{"lognormal(mean=600,sigma=1.5)", math.Exp(2.25) - 1, 600, false},
		{"exponential(mean=10)", 1, 10, true},
		{"hyperexp(mean=1,cv2=4)", 4, 1, true},
		{"pareto(alpha=1.1,min=10,max=10000)", -1, 1.1 * math.Pow(10, 1.1) / (1 - math.Pow(0.001, 1.1)) * (math.Pow(1e4, -0.1) - math.Pow(10, -0.1)) / -0.1, false},
		{"pareto(alpha=1,min=1,max=100)", -1, math.Log(100) / 0.99, true},
		{"weibull(mean=60,shape=2)", 4/math.Pi - 1, 60, true},
		{"uniform(min=60,max=600)", 540 * 540 / 12.0 / (330 * 330), 330, true},
		{"fixed(mean=7)", 0, 7, true},
	} {
		s := MustParse("duration=" + c.text)
		d := s.duration()
		if math.Abs(d.mean-c.mean) > 1e-9*c.mean || c.scv >= 0 && math.Abs(d.variance/d.mean/d.mean-c.scv) > 1e-9 {
			t.Errorf("%s: states mean %v, scv %v; want %v, %v", c.text, d.mean, d.variance/d.mean/d.mean, c.mean, c.scv)
		}
		r := stream(1, "test")
		x, sq := make([]float64, n), make([]float64, n)
		for i := range x {
			x[i] = d.sample(r)
			sq[i] = x[i] * x[i]
		}
		mean, variance := meanVar(x)
		if math.Abs(mean-d.mean) > 4*math.Sqrt(d.variance/n) && d.variance > 0 || d.variance == 0 && math.Abs(mean-d.mean) > 1e-9 {
			t.Errorf("%s: mean %v, want %v within %v", c.text, mean, d.mean, 4*math.Sqrt(d.variance/n))
		}
		if m2, v2 := meanVar(sq); c.tame && math.Abs(m2-(d.variance+d.mean*d.mean)) > 4*math.Sqrt(v2/n)+1e-9 {
			t.Errorf("%s: variance %v, want %v", c.text, variance, d.variance)
		}
	}
}

// Balanced means as the queueing references state them: C2 = 4: p = .88729833, m1 = .56350833, m2 = 4.43649167.
func TestHyperexpIsTheReferencesOne(t *testing.T) {
	r := stream(3, "h2")
	d := hyperexp(1, 4)
	const n = 200_000
	tail := 0
	for range n {
		if d.sample(r) > 3 {
			tail++
		}
	}
	want := .88729833*math.Exp(-3/.56350833) + (1-.88729833)*math.Exp(-3/4.43649167)
	if got := float64(tail) / n; math.Abs(got-want) > 4*math.Sqrt(want*(1-want)/n) {
		t.Errorf("P(X > 3) = %v, want %v", got, want)
	}
}

// The Kolmogorov distance to the bounded Pareto's distribution function stays below 1.95/sqrt(n) (0.1 % level).
func TestBoundedParetoHasItsDistribution(t *testing.T) {
	const n, alpha, low, high = 100_000, 1.1, 10.0, 86400.0
	d := boundedPareto(alpha, low, high)
	r := stream(5, "pareto")
	x := make([]float64, n)
	for i := range x {
		x[i] = d.sample(r)
	}
	sort.Float64s(x)
	if x[0] < low || x[n-1] > high {
		t.Fatalf("range %v..%v", x[0], x[n-1])
	}
	worst := 0.0
	for i, v := range x {
		cdf := (1 - math.Pow(low/v, alpha)) / (1 - math.Pow(low/high, alpha))
		worst = max(worst, math.Abs(cdf-float64(i)/n), math.Abs(cdf-float64(i+1)/n))
	}
	if worst > 1.95/math.Sqrt(n) {
		t.Errorf("distance %v", worst)
	}
}

// Counts of arrivals against their rate: the mean rate within 4 standard errors (dispersion of counts by hand).
func TestArrivalsHaveTheirRate(t *testing.T) {
	const n, rate = 100_000, 0.1
	for _, c := range []struct {
		text string
		se   float64 // relative standard error of the time of the n-th arrival
	}{
		{"poisson", 1 / math.Sqrt(n)},
		{"fixed", 1.0 / n},
		{"weibull(shape=0.5)", math.Sqrt(5.0 / n)}, // scv of a gap: 24/4 - 1
		{"diurnal(amplitude=0.8,period=1h,peak=30m)", 1 / math.Sqrt(n)},
		// 278 cycles of an hour, each share exponential: mostly the number of bursts varies.
		{"bursty(factor=10,share=0.1,cycle=1h)", 0.05},
	} {
		at := MustParse("arrival="+c.text).arrivals(stream(2, "a"), n, rate)
		if !sort.Float64sAreSorted(at) {
			t.Errorf("%s: not ascending", c.text)
		}
		if got := n / at[n-1]; math.Abs(got-rate) > 4*c.se*rate {
			t.Errorf("%s: rate %v, want %v within %v", c.text, got, rate, 4*c.se*rate)
		}
	}
}

// Diurnal: the share of arrivals in the half period about the peak is 1/2 + amplitude/pi.
func TestDiurnalPeaksWhereItSays(t *testing.T) {
	at := MustParse("arrival=diurnal(amplitude=0.8,period=1h,peak=15m)").arrivals(stream(2, "a"), 100_000, 1)
	in, n := 0, 0
	for _, v := range at {
		if v > 27*3600 { // whole cycles
			break
		}
		n++
		if phase := math.Mod(v, 3600); phase < 1800 { // the peak at 900 s, more or less a quarter
			in++
		}
	}
	want := 0.5 + 0.8/math.Pi
	if got := float64(in) / float64(n); math.Abs(got-want) > 4*math.Sqrt(want*(1-want)/float64(n)) {
		t.Errorf("share %v, want %v", got, want)
	}
}

// Bursty gaps vary more than exponential ones; Poisson's scv is 1.
func TestBurstyIsBurstierThanPoisson(t *testing.T) {
	scv := func(text string) float64 {
		at := MustParse("arrival="+text).arrivals(stream(4, "a"), 50_000, 0.1)
		gaps := make([]float64, len(at)-1)
		for i := range gaps {
			gaps[i] = at[i+1] - at[i]
		}
		m, v := meanVar(gaps)
		return v / m / m
	}
	// 4 standard errors of an exponential's scv: sqrt(8/n) each.
	if p := scv("poisson"); math.Abs(p-1) > 4*math.Sqrt(8.0/50_000) {
		t.Errorf("poisson: scv %v", p)
	}
	if b := scv("bursty"); b < 2 {
		t.Errorf("bursty: scv %v", b)
	}
}

func csvColumn(t *testing.T, path string, f func(get func(string) string)) {
	file, err := os.Open(sharedFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	r := csv.NewReader(z)
	head, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	head = slices.Clone(head)
	for {
		rec, err := r.Read()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		f(func(name string) string { return rec[slices.Index(head, name)] })
	}
}

// The mixes are counted anew from the traces they are said to come from.
func TestMixesAreThoseOfTheTraces(t *testing.T) {
	num := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		path string
		size func(get func(string) string) float64
		mix  []share
	}{
		{"traces/gpu/philly/philly.csv.gz", func(get func(string) string) float64 { return num(get("num_gpus")) }, phillyMix},
		{"traces/gpu/openb/openb_pod_list_default.csv.gz", func(get func(string) string) float64 { return num(get("num_gpu")) * num(get("gpu_milli")) / 1000 }, openbMix},
	} {
		count := map[float64]float64{}
		csvColumn(t, c.path, func(get func(string) string) { count[c.size(get)]++ })
		for _, m := range c.mix {
			if count[m.size] != m.weight {
				t.Errorf("%s: %v GPUs: %v in the trace, %v here", c.path, m.size, count[m.size], m.weight)
			}
			delete(count, m.size)
		}
		if len(count) > 0 {
			t.Errorf("%s: not in the mix: %v", c.path, count)
		}
	}
}

func TestGPUDemandsFollowTheMix(t *testing.T) {
	const n = 50_000
	for text, mix := range map[string][]share{"philly": phillyMix, "openb": openbMix, "pai": openbMix, "mix(0.5=1,16=3)": {{0.5, 1}, {16, 3}}, "fixed(n=12)": {{12, 1}}, "none": {{0, 1}}} {
		w := generate(t, fmt.Sprintf("jobs=%d,gpus=%s", n, text), 7, nil)
		count := map[int64]float64{}
		for i := range w.Tasks {
			count[w.DemandOf(sched.TaskID(i)).GPUTotal()]++
		}
		total := 0.0
		for _, m := range mix {
			total += m.weight
		}
		for _, m := range mix {
			p := m.weight / total
			got := count[int64(math.Round(m.size*1000))] / n
			if math.Abs(got-p) > 4*math.Sqrt(p*(1-p)/n)+1e-12 && got*n > 5 {
				t.Errorf("%s: %v GPUs: share %v, want %v", text, m.size, got, p)
			}
			delete(count, int64(math.Round(m.size*1000)))
		}
		if len(count) > 0 {
			t.Errorf("%s: sizes outside the mix: %v", text, count)
		}
	}
	w := generate(t, "jobs=1,gpus=fixed(n=12)", 1, nil)
	if d := w.DemandOf(0); d.Need.GPUs != 4 || d.Gang != 3 {
		t.Errorf("12 GPUs are %+v", d)
	}
}

func TestUUniFastAddsUpAndIsUniform(t *testing.T) {
	r := stream(1, "u")
	const sets, n, total = 20_000, 5, 0.8
	var first []float64
	for range sets {
		u, ok := uunifast(r, n, total)
		if !ok {
			t.Fatal("none found")
		}
		sum := 0.0
		for _, v := range u {
			if v < 0 || v > 1 {
				t.Fatalf("utilization %v", v)
			}
			sum += v
		}
		if math.Abs(sum-total) > 1e-9 {
			t.Fatalf("sum %v", sum)
		}
		first = append(first, u[0])
	}
	// A coordinate of a uniform point of the simplex is total x Beta(1, n-1): P(u > x) = (1 - x/total)^(n-1).
	sort.Float64s(first)
	worst := 0.0
	for i, v := range first {
		worst = max(worst, math.Abs(1-math.Pow(1-v/total, n-1)-float64(i)/sets))
	}
	if worst > 1.95/math.Sqrt(sets) {
		t.Errorf("distance %v", worst)
	}
	w := generate(t, "periodic=uunifast(tasks=8,utilization=3.5,min=10ms,max=1s)", 5, nil)
	sum := 0.0
	for i := range w.Tasks {
		p := w.ClassOf(sched.TaskID(i)).Period
		if p < 10*time.Millisecond || p > time.Second || w.ClassOf(sched.TaskID(i)).RelDeadline != p || w.Run[i] > p {
			t.Errorf("task %d: period %v, run %v", i, p, w.Run[i])
		}
		sum += w.Run[i].Seconds() / p.Seconds()
	}
	if w.Len() != 8 || sum > 3.5 || sum < 3.49 {
		t.Errorf("%d tasks of utilization %v", w.Len(), sum)
	}
}

func TestShapesAreWhatTheySay(t *testing.T) {
	for _, c := range []struct {
		dag                   string
		tasks, edges, entries int
		longest               int // in tasks
	}{
		{"none", 1, 0, 1, 1},
		{"chain(tasks=5)", 5, 4, 1, 5},
		{"forkjoin(width=8)", 10, 16, 1, 3},
		{"forkjoin(width=3,stages=2)", 9, 12, 1, 5},
		// 8 images: 13 overlaps; 26 + 13 + 1 + 16 + 8 + 9 + 1 + 1 edges.
		{"montage(images=8)", 8 + 13 + 2 + 8 + 4, 26 + 13 + 1 + 16 + 8 + 9 + 1 + 1, 8, 9},
	} {
		w := generate(t, "jobs=3,duration=fixed(mean=1),dag="+c.dag, 1, nil)
		entries := 0
		for i := range w.Tasks {
			if len(w.Preds(sched.TaskID(i))) == 0 {
				entries++
			}
		}
		_, longest, err := graph.CriticalPath(w.Table, 0, w.Run)
		if err != nil || w.Len() != 3*c.tasks || len(w.Succ) != 3*c.edges || entries != 3*c.entries || longest != time.Duration(c.longest)*time.Second || w.Jobs != 3 {
			t.Errorf("%s: %d tasks, %d edges, %d entries of 3 jobs, longest path %v, %v; want %+v each", c.dag, w.Len(), len(w.Succ), entries, longest, err, c)
		}
	}
	w := generate(t, "jobs=200,dag=layered(tasks=30,width=4,density=0.2)", 1, nil)
	if w.Len() != 6000 {
		t.Errorf("%d tasks", w.Len())
	}
	order, err := graph.Order(w.Table)
	if err != nil {
		t.Fatal(err)
	}
	level := make([]int, w.Len())
	var width [201][40]int
	for _, task := range order {
		for _, p := range w.Preds(task) {
			level[task] = max(level[task], level[p]+1)
		}
		for _, p := range w.Preds(task) {
			if level[p] != level[task]-1 {
				t.Fatal("an edge passes a layer")
			}
		}
		width[w.Tasks[task].Job][level[task]]++
	}
	for j := range width {
		for _, n := range width[j] {
			if n > 7 {
				t.Fatalf("a layer of %d tasks, at most 7 are asked for", n)
			}
		}
	}
}

func TestLoadIsExactAndStreamsAreApart(t *testing.T) {
	nodes := nodesOf(t, "8x(8xA100,64cpu)")
	base := "jobs=500,gpus=philly,dag=layered,tenants=3,estimates=lognormal,deadlines=slack,critical=0.3"
	a := generate(t, base+",load=0.8", 1, nodes)
	if load, err := a.Load(nodes); err != nil || math.Abs(load-0.8) > 1e-6 {
		t.Errorf("load %v, %v", load, err)
	}
	b := generate(t, base+",load=1.6,arrival=bursty", 1, nodes)
	for i := range a.Tasks {
		if a.Run[i] != b.Run[i] || a.Estimates[i] != b.Estimates[i] || !reflect.DeepEqual(a.DemandOf(sched.TaskID(i)), b.DemandOf(sched.TaskID(i))) || a.Estimates[i] < a.Run[i] {
			t.Fatalf("task %d: load and arrivals changed what it is", i)
		}
	}
	if slices.EqualFunc(a.Tasks, b.Tasks, func(x, y sched.Task) bool { return x.Submit == y.Submit }) {
		t.Error("load and arrivals changed nothing")
	}
}

func TestSameSeedSameWorkload(t *testing.T) {
	text := func(w *traces.Workload) string {
		var b strings.Builder
		if err := traces.Write(&b, w, "csv"); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	nodes := nodesOf(t, "8x(8xA100,64cpu)")
	for _, spec := range []string{"jobs=50,gpus=openb,dag=layered,arrival=bursty,tenants=3,deadlines=slack,estimates=lognormal", "periodic=uunifast(tasks=9)"} {
		a, b, c := text(generate(t, spec, 1, nodes)), text(generate(t, spec, 1, nodes)), text(generate(t, spec, 2, nodes))
		if a != b {
			t.Errorf("%s: two runs differ", spec)
		}
		if a == c {
			t.Errorf("%s: two seeds agree", spec)
		}
	}
	e1, _ := Example(1)
	e1b, _ := Example(1)
	e2, _ := Example(2)
	if text(e1) != text(e1b) || text(e1) == text(e2) {
		t.Error("the example does not follow its seed")
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"jobs":                                     `"jobs" is not key=value`,
		"job=3":                                    `unknown key "job" (keys: jobs, arrival,`,
		"jobs=3,jobs=4":                            "jobs is stated twice",
		"jobs=0":                                   "jobs: 0 is not from 1 to",
		"jobs=1.5":                                 "jobs: 1.5 is not whole",
		"jobs=many":                                `jobs: "many" is not a number`,
		"arrival=sometimes":                        `arrival: unknown "sometimes" (one of: poisson, fixed,`,
		"arrival=bursty(size=3)":                   `arrival: bursty has no parameter "size" (bursty(factor=10,`,
		"arrival=poisson(x=1)":                     "it has none",
		"duration=lognormal(mean=soon)":            `duration: lognormal: mean: "soon" is not a time`,
		"duration=lognormal(mean=NaN)":             "is not from",
		"duration=fixed(mean=1,mean=2)":            "mean is stated twice",
		"duration=pareto(min=5,max=5)":             "duration: min must be below max",
		"duration=fixed(mean=1)x":                  "text after the bracket",
		"duration=fixed(mean=1":                    "a bracket is not closed",
		"gpus=mix()":                               "mix names no sizes",
		"gpus=mix(1.5=3)":                          `"1.5" is no number of GPUs`,
		"gpus=mix(1=-3)":                           "weight",
		"gpus=mix(1=0)":                            "all weights of the mix are 0",
		"load=0.8,interval=60":                     "exclude each other",
		"arrival=batch,load=1":                     "leave load and interval out",
		"periodic=uunifast,jobs=3":                 "a periodic task set has no jobs",
		"periodic=uunifast(tasks=2,utilization=3)": "cannot have a utilization of 3",
		"jobs=50000000,dag=layered":                "more than 50000000 tasks",
		"jobs=3,,load=1":                           "an empty item",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := MustParse("load=0.5").Generate(1, nil); err == nil || !strings.Contains(err.Error(), "--cluster") {
		t.Errorf("load without a cluster: %v", err)
	}
	if _, err := MustParse("periodic=uunifast(tasks=3,utilization=2.9999)").Generate(1, nil); err == nil || !strings.Contains(err.Error(), "take more tasks") {
		t.Errorf("UUniFast without a solution: %v", err)
	}
}

// What String prints, Parse reads back to the same text, for any settings.
func TestStringParsesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var parts []string
		for f := range fields {
			if f == fPeriodic || f == fInterval || !rapid.Bool().Draw(t, "set") {
				continue
			}
			c := rapid.IntRange(0, len(fields[f].choices)-1).Draw(t, "choice")
			ch := &fields[f].choices[c]
			var args []string
			for _, p := range ch.params {
				v := p.min + (p.max-p.min)*rapid.Float64Range(0, 0.001).Draw(t, "v")
				if p.unit == whole {
					v = math.Ceil(v)
				}
				args = append(args, p.key+"="+strconv.FormatFloat(v, 'g', -1, 64))
			}
			switch {
			case ch.name == "":
				parts = append(parts, fields[f].key+args[0])
			case ch.free:
				parts = append(parts, "gpus=mix(8=1,0.125=2,1=0.5)")
			case len(args) > 0:
				parts = append(parts, fields[f].key+"="+ch.name+"("+strings.Join(args, ",")+")")
			default:
				parts = append(parts, fields[f].key+"="+ch.name)
			}
		}
		s, err := Parse(strings.Join(parts, ","))
		if err != nil {
			t.Skip(err.Error())
		}
		back, err := Parse(s.String())
		if err != nil || back.String() != s.String() || fmt.Sprint(back) != fmt.Sprint(s) {
			t.Fatalf("%v\n%s\n%s", err, s, back)
		}
	})
	const full = "jobs=1000,arrival=poisson,load=0.8,duration=lognormal(mean=10m,sigma=1.5),gpus=philly,dag=layered(tasks=12,width=4)"
	if got, want := MustParse(full).String(), "jobs=1000,arrival=poisson,load=0.8,duration=lognormal(mean=600,sigma=1.5),gpus=philly,dag=layered(tasks=12,width=4,density=0.3)"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestHelpNamesEveryChoice(t *testing.T) {
	help := Help()
	for f := range fields {
		for _, c := range fields[f].choices {
			if !strings.Contains(help, c.name) || !strings.Contains(help, fields[f].key) {
				t.Errorf("%s %s is missing", fields[f].key, c.name)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("jobs=10,arrival=bursty(factor=3),load=0.8,duration=pareto(alpha=1.1,min=1,max=10),gpus=mix(0.5=1,8=2),dag=montage(images=4),deadlines=slack")
	f.Add("periodic=uunifast(tasks=5,utilization=0.7,min=10ms,max=1s),tenants=2")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		back, err := Parse(s.String())
		if err != nil || back.String() != s.String() {
			t.Fatalf("%q prints as %q: %v", text, s, err)
		}
		if s.values[fJobs].num[0]*s.tasksPerJob() > 2000 || s.values[fTenants].num[0] > 100 || s.values[fPeriodic].set && s.arg(fPeriodic, "tasks") > 50 {
			return
		}
		w, err := s.Generate(1, nil)
		if err == nil && w.Len() == 0 {
			t.Fatal("no tasks")
		}
	})
}

// The example keeps what its comment says, for several seeds.
func TestExampleIsWhatItSays(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		w, nodes := Example(seed)
		load, err := w.Load(nodes)
		span := w.Tasks[w.Len()-1].Submit.Sub(w.Tasks[0].Submit)
		if err != nil || math.Abs(load-exampleLoad) > 1e-6 {
			t.Errorf("seed %d: load %v, %v", seed, load, err)
		}
		if w.Len() < 1500 || w.Len() > 3300 || w.Jobs != exampleJobs || len(w.Tenants) != 5 || span < 2*time.Hour || span > 24*time.Hour {
			t.Errorf("seed %d: %d tasks, %d jobs, tenants %v, span %v", seed, w.Len(), w.Jobs, w.Tenants, span)
		}
		gangs := map[int64]int{}
		late := 0
		for i := range w.Tasks {
			d := w.DemandOf(sched.TaskID(i))
			gangs[d.GPUTotal()]++
			if !sched.CouldEverFit(nodes, d) {
				t.Fatalf("seed %d: task %s fits no node: %+v", seed, w.TaskNames.At(i), d)
			}
			if w.DeadlineOf(sched.TaskID(i)) != sched.Never {
				late++
			}
			if w.Estimates[i] < w.Run[i] {
				t.Fatalf("an estimate below the run time")
			}
		}
		for _, g := range []int64{0, 250, 500, 1000, 2000, 4000, 8000, 16000} {
			if gangs[g] == 0 {
				t.Errorf("seed %d: no task of %d GPU-milli", seed, g)
			}
		}
		if late == 0 || late == w.Len() {
			t.Errorf("seed %d: %d of %d tasks have a deadline", seed, late, w.Len())
		}
		b, err := graph.LowerBound(w.Table, w.Run, w.RunOn, nodes)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("seed %d: %d tasks, %d edges, span %v, lower bound %v by %s, GPU %v", seed, w.Len(), len(w.Succ), span, b.Makespan, b.By, gangs)
	}
}
