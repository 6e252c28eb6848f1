package match

import (
	"testing"

	"pgregory.net/rapid"
)

// Against all assignments of up to 6 rows to up to 7 columns.
func TestNoAssignmentIsCheaper(t *testing.T) {
	var s Solver
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 7).Draw(t, "columns")
		rows := rapid.IntRange(1, min(columns, 6)).Draw(t, "rows")
		costs := rapid.SliceOfN(rapid.SampledFrom([]int64{0, 1, 2, 3, 7, 50, 1 << 40, Forbidden}), rows*columns, rows*columns).Draw(t, "costs")
		best := int64(1) << 62
		var try func(i int, sum int64, taken int)
		try = func(i int, sum int64, taken int) {
			if i == rows {
				best = min(best, sum)
				return
			}
			for j := range columns {
				if taken>>j&1 == 0 {
					try(i+1, sum+costs[i*columns+j], taken|1<<j)
				}
			}
		}
		try(0, 0, 0)
		sum, taken := int64(0), map[int32]bool{}
		for i, j := range s.Solve(costs, rows, columns) {
			if j < 0 || taken[j] {
				t.Fatalf("row %d has column %d", i, j)
			}
			taken[j] = true
			sum += costs[i*columns+int(j)]
		}
		if sum != best {
			t.Fatalf("costs %d, and %d is possible", sum, best)
		}
	})
}
