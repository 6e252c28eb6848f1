package sched

import "testing"

// Two demands that differ in nothing but the labels that a node must not have go to different nodes.
func TestLabelsNotToHaveTellDemandsApart(t *testing.T) {
	var demands []Demand
	for _, text := range []string{"", "disk!=hdd", "!disk", "disk!=ssd", "zone!=a"} {
		d := Demand{Gang: 1, Need: Need{CPU: 1000}}
		if text != "" && !d.ParseLabel(text) {
			t.Fatal(text)
		}
		demands = append(demands, d)
	}
	specs := []NodeSpec{
		{Name: "hdd", CPU: 1000, Mem: Unlimited, Labels: []Label{{"disk", "hdd"}}},
		{Name: "ssd", CPU: 1000, Mem: Unlimited, Labels: []Label{{"disk", "ssd"}}},
		{Name: "none", CPU: 1000, Mem: Unlimited},
	}
	r := NewRoom(specs, &demands)
	for d, want := range [][]int32{{1, 1, 1}, {0, 1, 1}, {0, 0, 1}, {1, 0, 1}, {1, 1, 1}} {
		for n, fits := range want {
			if got := r.FitsOn(DemandID(d), NodeID(n), 1); got != fits {
				t.Errorf("%s on %s: %d fit, want %d", demands[d].String(), specs[n].Name, got, fits)
			}
		}
	}
}
