package realtime

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

const ms = time.Millisecond

// shared opens a file of the reference data beside the module, and skips the test where there is none.
func shared(t *testing.T, path string) []byte {
	t.Helper()
	root := os.Getenv("SCHEDLAB_SHARED")
	if root == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			if dir == filepath.Dir(dir) {
				t.Skip("no module root above the test")
			}
			dir = filepath.Dir(dir)
		}
		root = filepath.Join(dir, "..", "shared")
	}
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no reference data: %v (SCHEDLAB_SHARED names its folder)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReferenceSetOfThreeTasks(t *testing.T) {
	s := Set{{Name: "T1", C: 2 * ms, T: 10 * ms}, {Name: "T2", C: 5 * ms, T: 25 * ms}, {Name: "T3", C: 8 * ms, T: 50 * ms}}
	r, err := Analyze(s, RM)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Duration{2 * ms, 7 * ms, 17 * ms} {
		if k := r.Tasks[i]; k.Name != s[i].Name || k.response != want || !*k.Meets {
			t.Errorf("rank %d: %s %s, want %s %s", i+1, k.Name, k.response, s[i].Name, want)
		}
	}
	if math.Abs(r.Utilization-0.56) > 1e-12 || fmt.Sprintf("%.4f", r.LiuLayland.Limit) != "0.7798" || !r.LiuLayland.Passes || !r.Hyperbolic.Passes || !*r.Schedulable || !*r.EDF {
		t.Errorf("%+v", r)
	}
	if *r.HyperperiodS != 0.05 {
		t.Errorf("hyperperiod %v", *r.HyperperiodS)
	}
	// The verdicts agree whatever the order of the input.
	s[0], s[2] = s[2], s[0]
	if r2, err := Analyze(s, RM); err != nil || r2.Tasks[2].Name != "T3" || r2.Tasks[2].response != 17*ms {
		t.Errorf("%+v %v", r2, err)
	}
}

func TestResponseTimesEqualTheReferenceCases(t *testing.T) {
	var ref struct {
		Bounds map[string]float64 `json:"LL_bound"`
		Cases  []struct {
			Name        string
			Tasks       [][3]int64
			R           []int64
			Schedulable []int
			U           float64
			Note        string
		}
	}
	if err := json.Unmarshal(shared(t, "references/realtime/rta_cases.json"), &ref); err != nil {
		t.Fatal(err)
	}
	if len(ref.Cases) != 7 || len(ref.Bounds) != 10 {
		t.Fatalf("%d cases, %d bounds", len(ref.Cases), len(ref.Bounds))
	}
	for n, want := range ref.Bounds {
		i, _ := strconv.Atoi(n)
		if math.Abs(LiuLayland(i)-want) > 1e-6 {
			t.Errorf("bound of %s tasks: %f, want %f", n, LiuLayland(i), want)
		}
	}
	for _, c := range ref.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var s Set
			for i, k := range c.Tasks {
				s = append(s, Task{C: time.Duration(k[0]), T: time.Duration(k[1]), D: time.Duration(k[2]), Priority: int32(-i)})
			}
			got, err := s.ResponseTimes(s.Ranks(Given))
			if err != nil {
				t.Fatal(err)
			}
			all := true
			for i, r := range got {
				all = all && c.Schedulable[i] == 1
				if int64(r) != c.R[i] || (r <= s[i].Deadline()) != (c.Schedulable[i] == 1) {
					t.Errorf("task %d: R = %d, want %d", i+1, r, c.R[i])
				}
			}
			if ok, err := s.Schedulable(s.Ranks(Given)); err != nil || ok != all {
				t.Errorf("schedulable %v %v, want %v", ok, err, all)
			}
			if math.Abs(s.Utilization()-c.U) > 1e-6 {
				t.Errorf("U = %f, want %f", s.Utilization(), c.U)
			}
			if strings.Contains(c.Note, "passes LL") != s.PassesLiuLayland() {
				t.Errorf("Liu-Layland %v, note %q", s.PassesLiuLayland(), c.Note)
			}
		})
	}
}

func TestResponseTimesAndVerdictsEqualTheKnownSets(t *testing.T) {
	var ref struct {
		Sets []struct {
			Name, Policy string
			Tasks        []struct{ C, T, D, B, J, R int64 }
			Schedulable  bool
			Sorted       []int64 `json:"expected_R_sorted"`
		}
	}
	if err := json.Unmarshal(shared(t, "traces/realtime/rta_known.json"), &ref); err != nil {
		t.Fatal(err)
	}
	fixed, edf := 0, 0
	for _, c := range ref.Sets {
		t.Run(c.Name, func(t *testing.T) {
			var s Set
			for i, k := range c.Tasks {
				s = append(s, Task{C: time.Duration(k.C), T: time.Duration(k.T), D: time.Duration(k.D), B: time.Duration(k.B), J: time.Duration(k.J), Priority: int32(-i)})
			}
			if strings.HasPrefix(c.Policy, "FP") {
				fixed++
				got, err := s.ResponseTimes(s.Ranks(Given))
				if err != nil {
					t.Fatal(err)
				}
				for i, r := range got {
					if int64(r) != c.Tasks[i].R {
						t.Errorf("task %d: R = %d, want %d", i+1, r, c.Tasks[i].R)
					}
				}
				if ok, err := s.Schedulable(s.Ranks(Given)); err != nil || ok != c.Schedulable {
					t.Errorf("schedulable %v %v", ok, err)
				}
				return
			}
			edf++
			if ok, err := s.EDFSchedulable(); err != nil || ok != c.Schedulable {
				t.Errorf("schedulable %v %v, want %v", ok, err, c.Schedulable)
			}
			got, err := s.EDFResponseTimes()
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range got {
				if r > s[i].Deadline() {
					t.Errorf("task %d: R = %d beyond its deadline in a schedulable set", i+1, r)
				}
			}
			if c.Sorted != nil {
				byDeadline := s.Ranks(DM)
				for n, want := range c.Sorted {
					if r := got[byDeadline[n]]; int64(r) != want {
						t.Errorf("task %d: R = %d, want %d", byDeadline[n]+1, r, want)
					}
				}
			}
		})
	}
	if fixed != 3 || edf != 3 {
		t.Errorf("%d fixed-priority and %d EDF sets checked", fixed, edf)
	}
}

// uunifast draws n utilizations that add up to u, uniformly (E. Bini and G. Buttazzo, Real-Time Systems 30, 2005).
func uunifast(r *rand.Rand, n int, u float64) []float64 {
	out := make([]float64, n)
	for i := range n - 1 {
		next := u * math.Pow(r.Float64(), 1/float64(n-1-i))
		out[i] = u - next
		u = next
	}
	out[n-1] = u
	return out
}

func TestAcceptanceCurvesAgreeWithTheReference(t *testing.T) {
	rows, err := csv.NewReader(bytes.NewReader(shared(t, "references/realtime/rm_acceptance_curves.csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	// Sets a point. The reference is itself an estimate from 20000 sets (its standard error is up to 0.0035, which the tolerance leaves
	// out), so that with few sets a chance deviation here fails sooner than it should.
	const n = 8000
	for _, row := range rows[1:] {
		tasks, _ := strconv.Atoi(row[0])
		u, _ := strconv.ParseFloat(row[1], 64)
		r := rand.New(rand.NewSource(int64(tasks*100000) + int64(u*100)))
		var accepted [4]int
		for range n {
			var s Set
			for _, share := range uunifast(r, tasks, u) {
				period := math.Floor(10 * math.Pow(100, r.Float64()) * 1e9)
				s = append(s, Task{C: time.Duration(share * period), T: time.Duration(period)})
			}
			exact, err := s.Schedulable(s.Ranks(RM))
			if err != nil {
				t.Fatal(err)
			}
			edf, err := s.EDFSchedulable()
			if err != nil {
				t.Fatal(err)
			}
			for i, ok := range []bool{s.PassesLiuLayland(), s.PassesHyperbolic(), exact, edf} {
				if ok {
					accepted[i]++
				}
			}
			if s.PassesLiuLayland() && !s.PassesHyperbolic() || s.PassesHyperbolic() && !exact || exact && !edf {
				t.Fatalf("the tests contradict each other on %+v", s)
			}
		}
		for i, name := range []string{"Liu-Layland", "hyperbolic", "exact", "EDF"} {
			p, _ := strconv.ParseFloat(row[2+i], 64)
			got := float64(accepted[i]) / float64(n)
			if math.Abs(got-p) > 3*math.Sqrt(p*(1-p)/float64(n))+0.002 {
				t.Errorf("n=%d U=%s %s: %.4f accepted of %d sets, want %.4f", tasks, row[1], name, got, n, p)
			}
		}
	}
}

// smallSet draws sets whose hyperperiod is small enough to be played through.
func smallSet(t *rapid.T, constrained, arbitrary, jitter bool) Set {
	periods := []int64{4, 5, 6, 8, 10, 12, 15, 20}
	n := rapid.IntRange(1, 4).Draw(t, "n")
	var s Set
	for i := range n {
		k := Task{T: time.Duration(rapid.SampledFrom(periods).Draw(t, "T")), Priority: int32(-i)}
		k.C = time.Duration(rapid.Int64Range(1, min(int64(k.T), max(1, 3*int64(k.T)/int64(2*n)))).Draw(t, "C"))
		k.D = k.T
		if constrained {
			k.D = time.Duration(rapid.Int64Range(int64(k.C), int64(k.T)).Draw(t, "D"))
		}
		if arbitrary {
			k.D = time.Duration(rapid.Int64Range(int64(k.C), 3*int64(k.T)).Draw(t, "D"))
		}
		if jitter {
			k.J = time.Duration(rapid.Int64Range(0, 2).Draw(t, "J"))
		}
		s = append(s, k)
	}
	return s
}

// play runs the set tick by tick from a synchronous release and returns the worst response of each task among jobs released before the
// horizon. key orders pending jobs (task, release); ties to the smaller task.
func play(s Set, horizon int64, key func(task int, release int64) int64) []int64 {
	type job struct {
		task          int
		release, left int64
	}
	var pending []job
	worst := make([]int64, len(s))
	for now := int64(0); now < horizon || len(pending) > 0; now++ {
		if now < horizon {
			for i := range s {
				if now%int64(s[i].T) == 0 && s[i].C > 0 {
					pending = append(pending, job{i, now, int64(s[i].C)})
				}
			}
		}
		if len(pending) == 0 {
			continue
		}
		best := 0
		for i := range pending {
			a, b := key(pending[i].task, pending[i].release), key(pending[best].task, pending[best].release)
			if a < b || (a == b && pending[i].task < pending[best].task) {
				best = i
			}
		}
		if pending[best].left--; pending[best].left == 0 {
			j := pending[best]
			worst[j.task] = max(worst[j.task], now+1-j.release)
			pending = slices.Delete(pending, best, best+1)
		}
		if now > 100000 {
			return nil
		}
	}
	return worst
}

func TestResponseTimesEqualASimulatedSynchronousRelease(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := smallSet(rt, false, true, false)
		if s.load(s.all()) > 0 {
			rt.Skip("overload")
		}
		h, _ := s.Hyperperiod()
		got, err := s.ResponseTimes(s.Ranks(Given))
		if err != nil {
			rt.Fatal(err)
		}
		want := play(s, int64(h), func(task int, release int64) int64 { return int64(task)*1000000 + release })
		sched := true
		for i := range s {
			if int64(got[i]) != want[i] {
				rt.Fatalf("task %d of %+v: R = %d, played %d", i, s, got[i], want[i])
			}
			sched = sched && got[i] <= s[i].Deadline()
		}
		if ok, err := s.Schedulable(s.Ranks(Given)); err != nil || ok != sched {
			rt.Fatalf("%+v: schedulable %v %v, response times say %v", s, ok, err, sched)
		}
	})
}

func TestTheQuickVerdictIsThatOfTheResponseTimes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := smallSet(rt, rapid.Bool().Draw(rt, "constrained"), rapid.Bool().Draw(rt, "arbitrary"), true)
		for i := range s {
			s[i].B = time.Duration(rapid.Int64Range(0, 2).Draw(rt, "B"))
		}
		for _, o := range []Order{RM, DM, Given} {
			ranks := s.Ranks(o)
			got, err := s.ResponseTimes(ranks)
			if err != nil {
				rt.Fatal(err)
			}
			want := true
			for i := range s {
				want = want && got[i] <= s[i].Deadline()
			}
			if ok, err := s.Schedulable(ranks); err != nil || ok != want {
				rt.Fatalf("%s of %+v: %v %v, response times %v", o, s, ok, err, got)
			}
		}
	})
}

func TestFullLoadWithJitterAndBlockingEnds(t *testing.T) {
	// The busy period of the second task never ends, since there is always a backlog of the blocking; one hyperperiod of jobs says all.
	s := Set{{C: 2, T: 4}, {C: 4, T: 8, B: 1, D: 100}}
	got, err := s.ResponseTimes(s.Ranks(RM))
	if err != nil || got[0] != 2 || got[1] != 11 { // 1 + 4 + three jobs of 2, released at 0, 4 and 8
		t.Errorf("%v %v", got, err)
	}
}

func TestEDFVerdictEqualsPlainDemandAndSimulation(t *testing.T) {
	yes, no := 0, 0 // of the sets that do not overload the processor
	rapid.Check(t, func(rt *rapid.T) {
		arbitrary := rapid.Bool().Draw(rt, "arbitrary")
		s := smallSet(rt, !arbitrary, arbitrary, rapid.Bool().Draw(rt, "jitter"))
		got, err := s.EDFSchedulable()
		if err != nil {
			rt.Fatal(err)
		}
		if got {
			yes++
		} else if s.load(s.all()) <= 0 {
			no++
		}
		h, _ := s.Hyperperiod()
		longest, jitter := time.Duration(0), false
		for i := range s {
			longest = max(longest, s[i].Deadline())
			jitter = jitter || s[i].J > 0
		}
		want := s.load(s.all()) <= 0
		for at := int64(0); want && at <= 2*int64(h)+int64(longest); at++ {
			var sum int64
			for i := range s { // job by job
				for n := int64(0); ; n++ {
					release := n*int64(s[i].T) - int64(s[i].J)
					if release+int64(s[i].Deadline()) > at {
						break
					}
					sum += int64(s[i].C)
				}
			}
			want = sum <= at
		}
		if got != want {
			rt.Fatalf("%+v: %v, plain demand says %v", s, got, want)
		}
		if jitter || s.load(s.all()) > 0 {
			return
		}
		played := play(s, 2*int64(h), func(task int, release int64) int64 { return release + int64(s[task].Deadline()) })
		r, err := s.EDFResponseTimes()
		if err != nil {
			rt.Fatal(err)
		}
		meets, exact := true, true
		for i := range s {
			meets = meets && played[i] <= int64(s[i].Deadline())
			exact = exact && r[i] <= s[i].Deadline()
			if int64(r[i]) < played[i] {
				rt.Fatalf("%+v: task %d has R = %d and takes %d", s, i, r[i], played[i])
			}
		}
		if meets != got || exact != got {
			rt.Fatalf("%+v: demand %v, played %v, response times %v", s, got, meets, exact)
		}
	})
	t.Logf("%d schedulable, %d not, the others overload", yes, no)
	if (yes < 5 || no < 5) && !testing.Short() { // -short draws a fifth of the cases
		t.Errorf("%d schedulable sets and %d others: one side is not tested", yes, no)
	}
}

// With every offset tried, the simulation reaches the worst response under EDF.
func TestEDFResponseTimesAreReached(t *testing.T) {
	for _, s := range []Set{
		{{C: 2, T: 4}, {C: 3, T: 12}},
		{{C: 1, T: 4, D: 3}, {C: 2, T: 6, D: 6}},
		{{C: 2, T: 5, D: 7}, {C: 3, T: 6, D: 5}},
	} {
		want, err := s.EDFResponseTimes()
		if err != nil {
			t.Fatal(err)
		}
		h, _ := s.Hyperperiod()
		best := make([]int64, len(s))
		for offset := range int64(s[1].T) {
			for shift := range int64(s[0].T) {
				for tie := range 2 {
					type job struct{ task, release, left int64 }
					var pending []job
					for now := int64(0); now < 4*int64(h); now++ {
						for i, o := range []int64{shift, offset} {
							if now >= o && (now-o)%int64(s[i].T) == 0 {
								pending = append(pending, job{int64(i), now, int64(s[i].C)})
							}
						}
						pick := -1
						for i, j := range pending {
							due := j.release + int64(s[j.task].Deadline())
							if pick < 0 {
								pick = i
								continue
							}
							other := pending[pick].release + int64(s[pending[pick].task].Deadline())
							if due < other || (due == other && int(j.task) == tie && int(pending[pick].task) != tie) {
								pick = i
							}
						}
						if pick < 0 {
							continue
						}
						if pending[pick].left--; pending[pick].left == 0 {
							best[pending[pick].task] = max(best[pending[pick].task], now+1-pending[pick].release)
							pending = slices.Delete(pending, pick, pick+1)
						}
					}
				}
			}
		}
		for i := range s {
			if best[i] != int64(want[i]) {
				t.Errorf("%+v: task %d reaches %d, analysis says %d", s, i, best[i], want[i])
			}
		}
	}
}

func TestBoundsAreExactAtTheEdge(t *testing.T) {
	if s := (Set{{C: 5, T: 5}}); !s.PassesLiuLayland() || !s.PassesHyperbolic() {
		t.Error("one task at full load is schedulable")
	}
	if s := (Set{{C: 1, T: 2}, {C: 1, T: 3}}); !s.PassesHyperbolic() { // 3/2 x 4/3 = 2
		t.Error("a product of exactly 2 passes")
	}
	big := Set{{C: 1<<40 + 1, T: 1 << 41}, {C: 1 << 40, T: 3 << 40}}
	if big.PassesHyperbolic() {
		t.Error("a product just above 2 passes")
	}
	over := Set{{C: 1 << 40, T: 1 << 41}, {C: 1<<40 + 1, T: 1 << 41}}
	if ok, err := over.EDFSchedulable(); ok || err != nil {
		t.Errorf("just above full load: %v %v", ok, err)
	}
	if r, err := over.ResponseTimes(over.Ranks(RM)); err != nil || r[1] != Unbounded {
		t.Errorf("just above full load: %v %v", r, err)
	}
}

func TestTimesBeyondTheLimitAreErrorsAndDoNotWrapAround(t *testing.T) {
	huge := time.Duration(math.MaxInt64)
	for _, s := range []Set{
		nil,
		{{C: huge, T: huge}},
		{{C: 1, T: 0}},
		{{C: -1, T: 5}},
		{{C: 1, T: 5, J: -1}},
		{{C: Limit, T: Limit}, {C: Limit, T: Limit}},
	} {
		if _, err := s.ResponseTimes(s.Ranks(RM)); err == nil {
			t.Errorf("%+v: no error", s)
		}
		if _, err := s.EDFSchedulable(); err == nil {
			t.Errorf("%+v: no error for EDF", s)
		}
		if _, err := Analyze(s, RM); err == nil {
			t.Errorf("%+v: no error for the report", s)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.Custom(func(rt *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(1, int64(Limit)).Draw(rt, "v") >> rapid.IntRange(0, 60).Draw(rt, "shift"))
		})
		var s Set
		for range rapid.IntRange(1, 3).Draw(rt, "n") {
			s = append(s, Task{C: v.Draw(rt, "C"), T: max(1, v.Draw(rt, "T")), D: v.Draw(rt, "D"), J: v.Draw(rt, "J") / 2, B: v.Draw(rt, "B") / 2})
		}
		if s.Validate() != nil {
			return
		}
		var c counter = Steps - 100_000 // do not wait for the slow ones
		for n, i := range s.Ranks(DM) {
			if r, err := s.response(i, s.Ranks(DM)[:n], &c); err == nil && r < s[i].C {
				rt.Fatalf("%+v: R = %d", s, r)
			}
		}
	})
}

func TestReportSaysWhatWasFound(t *testing.T) {
	s := Set{{Name: "a", C: 52 * ms, T: 100 * ms}, {Name: "b", C: 52 * ms, T: 140 * ms, J: ms}}
	r, err := Analyze(s, RM)
	if err != nil {
		t.Fatal(err)
	}
	var text, js bytes.Buffer
	if err := r.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"priority", "jitter", "0.5200", "does not apply", "not schedulable: b can miss a deadline", "edf"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if err := r.JSON(&js); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(js.Bytes(), &back); err != nil || back["schema"] != "schedlab/analyze-rt/v1" || back["schedulable"] != false {
		t.Errorf("%v %v", back, err)
	}
	over, err := Analyze(Set{{Name: "a", C: 2 * ms, T: ms}}, RM)
	if err != nil || over.Tasks[0].ResponseS != nil || *over.Schedulable {
		t.Errorf("%+v %v", over, err)
	}
}

func TestReadNamesTheLine(t *testing.T) {
	s, err := Read(strings.NewReader("name,c,t,d,priority\nT1,2ms,10ms,,3\nT2,0.005,0.025,20ms,\n"), "x.csv")
	if err != nil || len(s) != 2 || s[0] != (Task{Name: "T1", C: 2 * ms, T: 10 * ms, Priority: 3}) || s[1] != (Task{Name: "T2", C: 5 * ms, T: 25 * ms, D: 20 * ms}) {
		t.Errorf("%+v %v", s, err)
	}
	for text, want := range map[string]string{
		"":                     "x.csv:1",
		"name,c\n":             `no column "t"`,
		"c,t,x\n":              `unknown column "x"`,
		"c,t\n1ms,2ms\n1ms,0s": "x.csv:3",
		"c,t\n1ms,soon\n":      `x.csv:2: t: "soon"`,
		"c,t\n-1ms,2ms\n":      "x.csv:2",
		"c,t\n1e30,2\n":        "x.csv:2",
		"c,t\n1,NaN\n":         "x.csv:2",
		"c,t\n":                "no tasks",
	} {
		if _, err := Read(strings.NewReader(text), "x.csv"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadNeverPanics(f *testing.F) {
	f.Add("name,c,t,d,j,b,priority\nT1,2ms,10ms,,1ms,1ms,3\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Read(strings.NewReader(text), "fuzz")
		if err == nil && s.Validate() != nil {
			t.Errorf("read a set that is none: %v", s)
		}
	})
}

func TestPeriodicTasksOfATable(t *testing.T) {
	tb := &sched.Table{
		Tasks:     []sched.Task{{Class: 0}, {Class: 1}, {Class: 2}, {Class: 0}},
		Estimates: []time.Duration{2 * ms, 5 * ms, 8 * ms, 3 * ms},
		Classes:   []sched.Class{{Period: 10 * ms, Priority: 7}, {Period: 25 * ms, RelDeadline: 20 * ms}, {}},
		Demands:   []sched.Demand{{Gang: 1}},
	}
	for _, n := range []string{"T1", "T2", "once", "T1"} {
		tb.TaskNames.Append(n)
	}
	got := FromTable(tb)
	want := Set{{Name: "T1", C: 3 * ms, T: 10 * ms, Priority: 7}, {Name: "T2", C: 5 * ms, T: 25 * ms, D: 20 * ms}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}
