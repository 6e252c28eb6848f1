package sched

import "testing"

func TestADemandSaysMemoryInPlainDigits(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		mem  int64
		want string
	}{{gib / 2, "0.5 GiB"}, {16 * gib, "16 GiB"}, {12346 * gib / 100, "123.5 GiB"}, {99999 * gib, "99999 GiB"}, {16384 * gib, "16384 GiB"}} {
		d := Demand{Gang: 1, Need: Need{Mem: c.mem}}
		if got := d.String(); got != c.want {
			t.Errorf("%d bytes: %q, want %q", c.mem, got, c.want)
		}
	}
}
