package policies

import (
	"testing"

	"pgregory.net/rapid"
)

// A hope forgets no stretch that would do, and knows of none that is not there unless it had to take two for one.
func TestAHopeIsNeverTooSmall(t *testing.T) {
	merged := 0
	rapid.Check(t, func(rt *rapid.T) {
		var h hope
		all := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) stretch {
			return stretch{rapid.Int64Range(-20, 20).Draw(rt, "first"), rapid.Int64Range(1, 40).Draw(rt, "longest")}
		}), 0, 60).Draw(rt, "stretches")
		for i := range rapid.Int64Range(0, 18).Draw(rt, "worth being kept") {
			all = append(all, stretch{2*i - 18, 2*i + 1})
		}
		exact := true
		for _, s := range all {
			full := len(h.best) == mostHopes
			h.add(s.first, s.longest)
			if exact = exact && !full; len(h.best) > mostHopes {
				rt.Fatalf("%d stretches are kept", len(h.best))
			}
			for i := 1; i < len(h.best); i++ {
				if a, b := h.best[i-1], h.best[i]; a.first > b.first || a.longest >= b.longest {
					rt.Fatalf("%v does not ascend", h.best)
				}
			}
		}
		if !exact {
			merged++
		}
		for at := int64(-21); at <= 21; at++ {
			for long := int64(1); long <= 41; long++ {
				there := false
				for _, s := range all {
					there = there || s.first <= at && s.longest >= long
				}
				if got := h.has(at, long); there && !got || got && !there && exact {
					rt.Fatalf("of %v it says %v of one of %d from %d", all, got, long, at)
				}
			}
		}
	})
	if merged == 0 && !testing.Short() { // -short draws a fifth of the cases
		t.Error("none was full")
	}
}
