package traces

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

func TestNativeFormatsReadBackWhatTheyWrite(t *testing.T) {
	for _, format := range []string{"csv", "jsonl", "parquet"} {
		t.Run(format, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				rows, _ := drawRows(t)
				w := build(t, rows)
				var text bytes.Buffer
				if err := Write(&text, w, format); err != nil {
					t.Fatal(err)
				}
				back, err := Read(bytes.NewReader(text.Bytes()), "t", "")
				if err != nil {
					t.Fatalf("%v\n%s", err, text.String())
				}
				if back.Format != format {
					t.Fatalf("detected as %s", back.Format)
				}
				if d := diff(w, back); d != "" {
					t.Fatalf("%s\n%s", d, text.String())
				}
			})
		})
	}
}

func TestColumnsComeInAnyOrderAndAnySubset(t *testing.T) {
	a := read(t, "id,submit_s,run_s,gpus,tenant\na,1,2,3,x\nb,2,2,0.5,\n", "")
	b := read(t, "\xef\xbb\xbftenant, gpus ,run_s,id,submit_s\r\nx,3,2,a,1\r\n,0.5,2,b,2", "")
	if d := diff(a, b); d != "" {
		t.Fatal(d)
	}
	c := read(t, "run_s\n5\n", "")
	if c.Tasks[0].Submit != 0 || c.TaskNames.At(0) != "1" {
		t.Fatal("wrong defaults")
	}
}

func TestSecondsAreExactToTheNanosecond(t *testing.T) {
	w := read(t, "submit_s,run_s\n-0.000000001,1234567890.123456789\n.5,1.0000000005\n1.,1e-3\n+2,007\n", "csv")
	want := [][2]int64{{-1, 1234567890123456789}, {5e8, 1000000001}, {1e9, 1e6}, {2e9, 7e9}}
	for i, x := range want {
		if int64(w.Tasks[i].Submit) != x[0] || int64(w.Run[i]) != x[1] {
			t.Errorf("row %d: %d %d, want %v", i, w.Tasks[i].Submit, w.Run[i], x)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Int64Range(-(1<<61), 1<<61).Draw(t, "v")
		digits := rapid.IntRange(0, 9).Draw(t, "digits")
		text := appendFixed(nil, v, digits)
		if back, err := parseFixed(text, digits); err != nil || back != v {
			t.Fatalf("%d -> %s -> %d, %v", v, text, back, err)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		cell := rapid.StringMatching(`[0-9]{0,9}(\.[0-9]{0,10})?|[-+0-9.e ]{0,18}`).Draw(t, "cell")
		row := []byte(rapid.StringMatching(`[0-9.,]{0,12}`).Draw(t, "before") + cell + ",7")
		from := len(row) - 2 - len(cell)
		if cell == "" {
			return // the reader asks for it by itself
		}
		after := rapid.IntRange(0, 7).Draw(t, "after")
		v, ok := quickSeconds(row, from, len(row)-2, &after)
		if want, err := parseFixed([]byte(cell), 9); ok && (err != nil || v != want) {
			t.Fatalf("%q: %d, want %d (%v)", row, v, want, err)
		} else if plain := regexp.MustCompile(`^[0-9]{1,8}(\.[0-9]{1,9})?$`).MatchString(cell); !ok && plain && from >= 8 {
			t.Fatalf("%q is not taken", row)
		}
	})
	for _, bad := range []string{"", "-", ".", "+.", "1..2", "0x10", "1_0", "inf", "NaN", "1 2", "--1", "9e99", "5e18", "2305843009213693953"} {
		if v, err := parseFixed([]byte(bad), 0); err == nil {
			t.Errorf("%q is taken as %d", bad, v)
		}
	}
}

func TestAGigabyteIs2To30Bytes(t *testing.T) {
	w := read(t, "run_s,mem_gb,gpus,gpu_mem_gb\n1,1.5,1,80\n", "csv")
	if n := w.Demands[0].Need; n.Mem != 3<<29 || n.VRAM != 80<<30 {
		t.Fatalf("%+v", n)
	}
}

// The hand-written splitter must agree with encoding/csv on whatever both take.
func TestCSVRecordsAgreeWithTheStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab,,\"\"\n\r é")), 0, 40, -1).Draw(t, "text")
		std := csv.NewReader(strings.NewReader(text))
		std.FieldsPerRecord = -1
		want, err := std.ReadAll()
		if err != nil {
			return // it refuses a quote inside an unquoted cell, which is text here
		}
		mine := newRecords(&trickle{r: strings.NewReader(text), n: rapid.IntRange(1, 50).Draw(t, "chunk")})
		for i := 0; ; i++ {
			err := mine.next()
			if err == io.EOF {
				if i != len(want) {
					t.Fatalf("%q: %d records, want %d", text, i, len(want))
				}
				return
			}
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			var got []string
			for k := range mine.spans {
				got = append(got, string(mine.cell(k)))
			}
			if i >= len(want) || !slices.Equal(got, want[i]) {
				t.Fatalf("%q: record %d is %q, want %q", text, i, got, want)
			}
		}
	})
}

// trickle gives at most n bytes a call.
type trickle struct {
	r io.Reader
	n int
}

func (t *trickle) Read(p []byte) (int, error) { return t.r.Read(p[:min(t.n, len(p))]) }

func TestCompressedTracesAreToldByContent(t *testing.T) {
	const text = "id,run_s\na,1\nb,2\n"
	var gz, zst bytes.Buffer
	z := gzip.NewWriter(&gz)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	s, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = s.Write([]byte(text))
	_ = s.Close()
	for _, data := range [][]byte{[]byte(text), gz.Bytes(), zst.Bytes()} {
		w, err := Read(bytes.NewReader(data), "t", "")
		if err != nil || w.Len() != 2 || w.Format != "csv" {
			t.Errorf("%.10q: %v", data, err)
		}
	}
	for want, data := range map[string][]byte{
		"the gzip data is cut short":    gz.Bytes()[:gz.Len()-9],
		"t: the gzip data is cut short": gz.Bytes()[:5],
		"the zstd data is cut short":    zst.Bytes()[:zst.Len()-3],
		"t: zstd: ":                     append([]byte("(\xb5/\xfd"), "garbage"...),
	} {
		if _, err := Read(bytes.NewReader(data), "t", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", data, err, want)
		}
	}
}

// Affinity and anti-affinity stand in one column, as in Kubernetes' selectors, and are the same in every native format.
func TestLabelsNotToHaveAreReadAndWritten(t *testing.T) {
	want := []sched.NotLabel{{Key: "disk", Value: "hdd"}, {Key: "spot", Any: true}, {Key: "zone", Value: ""}}
	csv := read(t, "id,run_s,labels\na,1,accelerator=npu;disk!=hdd;!spot;zone!=\nb,1,disk!=hdd\nc,1,!disk\nd,1,disk=hdd\n", "")
	lines := read(t, `{"id":"a","run_s":1,"labels":["accelerator=npu","disk!=hdd","!spot","zone!="]}`, "")
	object := read(t, `{"id":"a","run_s":1,"labels":{"accelerator":"npu","disk!":"hdd","!spot":"","zone!":""}}`, "")
	for _, w := range []*Workload{csv, lines, object} {
		d := w.Demands[0]
		sorted := slices.SortedFunc(slices.Values(d.NotLabels), func(a, b sched.NotLabel) int { return strings.Compare(a.Key, b.Key) })
		if !slices.Equal(sorted, want) || !slices.Equal(d.Labels, []sched.Label{{Key: "accelerator", Value: "npu"}}) {
			t.Errorf("%s: %+v", w.Format, d)
		}
	}
	if len(csv.Demands) != 4 {
		t.Errorf("%d demands of four rows that all ask for something else", len(csv.Demands))
	}
	for _, format := range []string{"csv", "jsonl", "parquet"} {
		var out bytes.Buffer
		if err := Write(&out, csv, format); err != nil {
			t.Fatal(err)
		}
		if again := read(t, out.String(), format); !reflect.DeepEqual(again.Demands, csv.Demands) {
			t.Errorf("%s: %+v, written were %+v", format, again.Demands, csv.Demands)
		}
	}
	for _, bad := range []string{"!", "!=", "!=x", "=x", "a!", "!a=b", "!a!=b", "!!a"} {
		if _, err := Read(strings.NewReader("id,run_s,labels\na,1,"+bad+"\n"), "t", "csv"); err == nil || !strings.Contains(err.Error(), "KEY!=VALUE") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
	// A key that has another value will do, as NotIn in Kubernetes; what no node offers is said.
	nodes := []sched.NodeSpec{{Name: "old", CPU: 9000, Mem: sched.Unlimited, Labels: []sched.Label{{Key: "disk", Value: "hdd"}}}}
	for i, fits := range []bool{false, false, false, true} {
		if sched.CouldEverFit(nodes, &csv.Demands[i]) != fits || misfit(&csv.Demands[i], nodes) == "" != fits {
			t.Errorf("row %d fits a node with disk=hdd: %v, want %v", i, !fits, fits)
		}
	}
	nodes[0].Labels[0].Value = "ssd"
	if !sched.CouldEverFit(nodes, &csv.Demands[1]) || sched.CouldEverFit(nodes, &csv.Demands[2]) {
		t.Error("disk!=hdd must take disk=ssd, and !disk must not")
	}
}

// A GPU type with a slash is what a vendor may call it; one with an = is somebody's own.
func TestRunTimesTakeNamesWithASlashAndAnEqualsSign(t *testing.T) {
	for _, c := range []struct{ format, text string }{
		{"csv", "id,run_on\na,MI300A/X=10;k=v=20;a=b/c=30\n"},
		{"jsonl", `{"id":"a","run_on":{"MI300A/X":10,"a=b/c":30,"k=v":20}}`},
	} {
		on := read(t, c.text, c.format).RunOn[0]
		got := map[string]time.Duration{}
		for _, x := range on {
			got[x.On] = x.Run
		}
		if len(got) != 3 || got["MI300A/X"] != 10*time.Second || got["k=v"] != 20*time.Second || got["a=b/c"] != 30*time.Second {
			t.Errorf("%s: %v", c.format, on)
		}
	}
}

func TestJSONLinesTakeObjectsArraysAndText(t *testing.T) {
	w := read(t, `{"id":7,"run_s":"1.5","labels":{"zone":"b","accelerator":"npu"},"gpus":0.5,"gpu_types":["A100","V100"],"run_on":{"A100":1,"V100":2.5}}

{"id":"x","run_s":2,"after":["7"],"tolerations":"a=b:NoSchedule;c","name":null}
`, "")
	d := w.Demands[0]
	if w.Format != "jsonl" || w.TaskNames.At(0) != "7" || w.Run[0] != 15e8 || len(d.Labels) != 2 || d.Labels[0].Key != "accelerator" ||
		d.Need.GPUMilli != 500 || len(d.GPUTypes) != 2 || w.RunOn[0][1].Run != 25e8 || len(w.Preds(1)) != 1 || len(w.Demands[1].Tolerations) != 2 {
		t.Fatalf("%+v %+v", w.Table, w.RunOn)
	}
	for _, c := range []struct{ text, want string }{
		{`{"id":"a","run_s":1,"colour":2}`, `t:1: unknown column "colour"`},
		{"{\"run_s\":1}\n{\"run_s\":1,", "t:2: "},
		{`{"run_s":true}`, "t:1: run_s: must be a number"},
		{`{"run_s":[1]}`, "t:1: run_s: must be a number"},
		{`{"run_s":1,"id":{"a":3}}`, "t:1: id: must be text or a number"},
		{`{"run_s":1,"after":{"a":3}}`, "t:1: after: must be a list or text"},
		{`{"run_s":1,"labels":true}`, "t:1: labels: must be a list, an object or text"},
		{`{"run_s":1,"labels":{"a":{"b":3}}}`, `t:1: labels: "a" must be text or a number`},
		{`{"run_s":1`, "t:1: not JSON: "},
		{`3`, "t:1: not a JSON object"},
		{`null`, "t:1: not a JSON object"},
		{`{"run_s":1,"after":[["a"]]}`, "t:1: after: an item"},
		{`{"id":"a"}`, "t:1: neither run_s nor run_on"},
		{`{"run_on":["A100=1/V100=2"]}`, "t:1: run_on: "},
		{`[1]`, "t:1: not a JSON object"},
	} {
		if _, err := Read(strings.NewReader(c.text), "t", "jsonl"); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}

func TestRowsAreReadWithoutAllocation(t *testing.T) {
	text := func(n int) string {
		var b strings.Builder
		b.WriteString("id,submit_s,run_s,estimate_s,cpu,mem_gb,gpus,tenant,queue\n")
		for i := range n {
			fmt.Fprintf(&b, "j%d,%d.5,%d,%d,4,16,%d,user%d,batch\n", i, i, i%100+1, i%200+1, i%8+1, i%50)
		}
		return b.String()
	}
	allocs := func(n int) float64 {
		s := text(n)
		return testing.AllocsPerRun(1, func() {
			b := NewBuilder("t", "csv")
			if err := readCSV(strings.NewReader(s), b); err != nil {
				t.Fatal(err)
			}
		})
	}
	if each := (allocs(40_000) - allocs(20_000)) / 20_000; each > 0.01 {
		t.Errorf("%.3f allocations a row", each)
	}
}

func TestACellWithASeparatorIsNotTakenForTwo(t *testing.T) {
	for _, text := range []string{
		"id,run_s,tenant,queue\na,1,\"x,\",y\nb,1,x,\",y\"\nc,1,x,\",y\"\nd,1,\"x,\",y\n",
		"id,tenant,run_s,queue\na,\"x\nz\",1,y\nb,x,1,\"z\ny\"\nc,x,1,\"z\ny\"\nd,\"x\nz\",1,y\n",
	} {
		w := read(t, text, "csv")
		if len(w.Classes) != 2 || w.Tenants[w.ClassOf(1).Tenant] != "x" || w.Tasks[2].Class != w.Tasks[1].Class || w.Tasks[3].Class != w.Tasks[0].Class {
			t.Fatalf("%q %q", w.Tenants, w.Queues)
		}
	}
}

func TestTolerationsPrintAndParseBack(t *testing.T) {
	for _, x := range []sched.Toleration{
		{Key: "a", Value: "b", Effect: "NoSchedule"},
		{Key: "a", Exists: true},
		{Exists: true},
		{Exists: true, Effect: "NoExecute"},
		{Key: "a", Value: "b:c"},
		{Key: "a"},
		{Value: "v"},
	} {
		if back, ok := parseToleration(tolerationText(x)); !ok || back != x {
			t.Errorf("%+v -> %s -> %+v", x, tolerationText(x), back)
		}
	}
}

// benchCSV is a trace of n rows as benchmarks read it.
func benchCSV(n int) string {
	var s strings.Builder
	s.WriteString("id,submit_s,run_s,estimate_s,cpu,mem_gb,gpus,tenant\n")
	for i := range n {
		fmt.Fprintf(&s, "%d,%d.125,%d,%d,4,16,%d,user%d\n", i+1, i, i%1000+1, i%2000+1, i%8+1, i%50)
	}
	return s.String()
}

func BenchmarkReadCSV(b *testing.B) {
	const n = 200_000
	text := benchCSV(n)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(strings.NewReader(text), "t", "csv"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
}

// The true peaks of memory are a driver's: no class and no demand has them.
func TestTrueUseOfMemoryComesBackFromEveryFormat(t *testing.T) {
	w := read(t, "id,run_s,mem_gb,gpus,gpu_mem_gb,mem_used_gb,gpu_mem_used_gb,submit_s\nb,1,4,1,8,5.5,,1\na,1,4,1,8,,7.25,0\nc,1,4,1,8,,,2\n", "csv")
	want := map[sched.TaskID]Used{0: {VRAM: 29 << 28}, 1: {Mem: 11 << 29}}
	for _, format := range []string{"csv", "jsonl", "parquet"} {
		back := read(t, write(t, w, format), format)
		if len(back.Used) != 2 || back.Used[0] != want[0] || back.Used[1] != want[1] || len(back.Classes) != 1 {
			t.Errorf("%s: %v of %d classes, want %v of one", format, back.Used, len(back.Classes), want)
		}
	}
}
