package sched

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestGPUTypesAreNamedInSeveralWays(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"A100", "a100", true},
		{"NVIDIA A100", "A100", true},
		{"a100-sxm4", "nvidia A100-SXM4", true},
		{"NVIDIA ", "nvidia ", true},
		{"NVIDIA ", "", false},
		{"NVIDIA", "", false},
		{"A100", "A100-SXM4", false},
		{"A100", "NVIDIA V100", false},
		{"A100", "", false},
	} {
		if SameGPU(c.a, c.b) != c.want || SameGPU(c.b, c.a) != c.want || (GPUKey(c.a) == GPUKey(c.b)) != c.want {
			t.Errorf("%q and %q: not %t", c.a, c.b, c.want)
		}
	}
	if a, b := GPUKeys([]string{"V100", "a100", "NVIDIA A100"}), GPUKeys([]string{"A100", "nvidia v100"}); a != b {
		t.Errorf("%q, %q", a, b)
	}
	names := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"", "NVIDIA ", "nvidia ", "NVIDIA"}).Draw(t, "maker") + rapid.StringOfN(rapid.SampledFrom([]rune("akKs\u017f\u212a1 ")), 0, 2, -1).Draw(t, "model")
	})
	rapid.Check(t, func(t *rapid.T) {
		if a, b := names.Draw(t, "a"), names.Draw(t, "b"); SameGPU(a, b) != (GPUKey(a) == GPUKey(b)) {
			t.Fatalf("%q and %q: same %t, keys %q and %q", a, b, SameGPU(a, b), GPUKey(a), GPUKey(b))
		}
	})
}

func TestNodesOfOneTypeNamedDifferentlyAreOfOneType(t *testing.T) {
	r := NewRoom([]NodeSpec{{GPUs: 4, GPUType: "NVIDIA A100"}, {GPUs: 2, GPUType: "T4"}, {}, {GPUs: 1, GPUType: "a100"}}, new([]Demand))
	if !slices.Equal(r.GPUTypes(), []string{"NVIDIA A100", "T4"}) || r.TypeOf(0) != 0 || r.TypeOf(1) != 1 || r.TypeOf(2) != -1 || r.TypeOf(3) != 0 {
		t.Errorf("types %q", r.GPUTypes())
	}
	if c, _ := r.GPUs(0); c != 5*Whole {
		t.Errorf("%d of 5 GPUs", c)
	}
}
