package metrics

import (
	"compress/gzip"
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/policies/sched"
	"pgregory.net/rapid"
)

func TestFragmentationOfSmallNodesWorkedOutByHand(t *testing.T) {
	half := MixOf([]FragKind{{CPU: 1000, GPUs: 1, GPUMilli: 500, Share: 1}})
	mixed := MixOf([]FragKind{
		{CPU: 1000, GPUs: 1, GPUMilli: 500, Share: 3}, // 0.75
		{CPU: 8000, GPUs: 2, GPUMilli: 1000, Types: []string{"A100"}, Share: 1},
	})
	for _, c := range []struct {
		what string
		m    *FragMix
		cpu  int64
		free []int32
		typ  string
		want float64
	}{
		{"all fits", half, 4000, []int32{1000, 500}, "T4", 0},
		{"the small rest", half, 4000, []int32{1000, 300}, "T4", 0.3},
		{"no CPU left", half, 900, []int32{1000, 300}, "T4", 1.3},
		{"full", half, 0, []int32{0, 0}, "T4", 0},
		{"only the share runs there", mixed, 9000, []int32{1000, 1000}, "T4", 0.25 * 2},
		{"both run there", mixed, 9000, []int32{1000, 1000}, "A100", 0},
		{"one GPU is too few for the pair", mixed, 9000, []int32{1000, 400}, "A100", 0.75*0.4 + 0.25*1.4},
	} {
		want(t, c.what, c.m.NodeFrag(c.cpu, c.free, c.typ), c.want)
	}
	want(t, "pool", mixed.PoolFrag(9000, 100, "A100"), 75)
	want(t, "a CPU task uses no GPU", MixOf([]FragKind{{CPU: 1, Share: 1}}).NodeFrag(9000, []int32{1000}, ""), 1)
}

func TestTheMixTakesTheMostFrequentKindsUntil95Percent(t *testing.T) {
	w := newWorld()
	w.wl.Demands, w.wl.Classes = nil, nil
	for i, n := range []int{60, 30, 5, 3, 2} {
		w.wl.Demands = append(w.wl.Demands, sched.Demand{Gang: 1, Need: sched.Need{CPU: int64(i), GPUs: 1, GPUMilli: 1000}, GPUTypes: []string{"b", "a"}})
		w.wl.Classes = append(w.wl.Classes, sched.Class{Demand: sched.DemandID(i)}, sched.Class{Demand: sched.DemandID(i), Priority: 1})
		for k := range n {
			id := w.add(0, 0, 1, sched.Outcome{})
			w.wl.Tasks[id].Class = sched.ClassID(2*i + k%2)
		}
	}
	kinds := NewFragMix(w.wl.Table).Kinds()
	if len(kinds) != 3 || !slices.Equal(kinds[0].Types, []string{"a", "b"}) {
		t.Fatalf("kinds %+v", kinds)
	}
	want(t, "share", kinds[0].Share, 60.0/95)
	w.wl.Demands = []sched.Demand{{Gang: 1, Need: sched.Need{CPU: 1}}}
	for i := range w.wl.Classes {
		w.wl.Classes[i].Demand = 0
	}
	if NewFragMix(w.wl.Table) != nil {
		t.Error("a mix for a trace without GPUs")
	}
}

func TestNodeFragAllocatesNothing(t *testing.T) {
	m := MixOf([]FragKind{{CPU: 1000, GPUs: 1, GPUMilli: 500, Types: []string{"x", "y"}, Share: 1}})
	free := []int32{1000, 200, 0, 500}
	if n := testing.AllocsPerRun(100, func() { m.NodeFrag(2000, free, "y") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFragmentationLiesBetweenNothingAndAllThatIsFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.Custom(func(t *rapid.T) FragKind {
			k := FragKind{CPU: rapid.Int64Range(0, 9).Draw(t, "cpu"), GPUs: int32(rapid.IntRange(0, 3).Draw(t, "gpus")), GPUMilli: 1000, Share: 1}
			if k.GPUs == 1 {
				k.GPUMilli = int32(rapid.IntRange(1, 1000).Draw(t, "milli"))
			}
			if rapid.Bool().Draw(t, "typed") {
				k.Types = []string{"a"}
			}
			return k
		})
		m := MixOf(rapid.SliceOfN(kind, 1, 5).Draw(t, "mix"))
		free := rapid.SliceOfN(rapid.Int32Range(0, 1000), 0, 8).Draw(t, "free")
		cpu := rapid.Int64Range(0, 9).Draw(t, "cpu")
		typ := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "type")
		idle := 0.0
		for _, f := range free {
			idle += float64(f) / 1000
		}
		got := m.NodeFrag(cpu, free, typ)
		if got < 0 || got > idle+1e-9 {
			t.Fatalf("%v of %v", got, idle)
		}
		if more := m.NodeFrag(cpu+5, free, typ); more > got+1e-9 {
			t.Fatalf("more CPU, more fragments: %v > %v", more, got)
		}
	})
}

// TestOpenbHas35TypicalTasks: the number that the ATC'23 artifact finds in the default pod list.
func TestOpenbHas35TypicalTasks(t *testing.T) {
	f, err := os.Open(filepath.Join(shared(t), "traces/gpu/openb/openb_pod_list_default.csv.gz"))
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	w.wl.Demands, w.wl.Classes = nil, nil
	for _, r := range rows[1:] {
		num := func(i int) int64 { v, _ := strconv.ParseFloat("0"+r[i], 64); return int64(v) }
		d := sched.Demand{Gang: 1, Need: sched.Need{CPU: num(1), GPUs: int32(num(3)), GPUMilli: int32(num(4))}}
		if r[5] != "" {
			d.GPUTypes = strings.Split(r[5], "|")
		}
		id := w.add(0, 0, 1, sched.Outcome{})
		w.wl.Tasks[id].Class = sched.ClassID(len(w.wl.Classes))
		w.wl.Classes = append(w.wl.Classes, sched.Class{Demand: sched.DemandID(len(w.wl.Demands))})
		w.wl.Demands = append(w.wl.Demands, d)
	}
	kinds := NewFragMix(w.wl.Table).Kinds()
	if len(kinds) != 35 {
		t.Errorf("%d typical tasks, want 35", len(kinds))
	}
	total := 0.0
	for _, k := range kinds {
		total += k.Share
	}
	if math.Abs(total-1) > 1e-9 {
		t.Errorf("shares add up to %v", total)
	}
}

// shared finds the traces that lie beside the repository.
func shared(t *testing.T) string {
	if dir := os.Getenv("SCHEDLAB_SHARED"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if filepath.Dir(dir) == dir {
			t.Skip("no module root above the test")
		}
		dir = filepath.Dir(dir)
	}
	dir = filepath.Join(filepath.Dir(dir), "shared")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no traces beside the repository")
	}
	return dir
}

func TestTypesThatAreSpelledDifferentlyAreOneKind(t *testing.T) {
	w := newWorld()
	w.wl.Demands, w.wl.Classes = nil, nil
	for i, types := range [][]string{{"A100", "T4"}, {"t4", "NVIDIA a100", "A100"}} {
		w.wl.Demands = append(w.wl.Demands, sched.Demand{Gang: 1, Need: sched.Need{GPUs: 1, GPUMilli: 1000}, GPUTypes: types})
		w.wl.Classes = append(w.wl.Classes, sched.Class{Demand: sched.DemandID(i)})
		w.wl.Tasks[w.add(0, 0, 1, sched.Outcome{})].Class = sched.ClassID(i)
	}
	m := NewFragMix(w.wl.Table)
	if kinds := m.Kinds(); len(kinds) != 1 || !slices.Equal(kinds[0].Types, []string{"A100", "T4"}) {
		t.Errorf("kinds %+v", kinds)
	}
	want(t, "on its type", m.NodeFrag(1000, []int32{1000}, "nvidia t4"), 0)
	want(t, "on another", m.NodeFrag(1000, []int32{1000}, "V100"), 1)
}
