// Package match solves the assignment problem with integer costs: each row gets a column of its own so that the sum of the costs is least. It is the
// Hungarian method by shortest augmenting paths (Kuhn 1955; Jonker & Volgenant, Computing 1987), O(rows^2 x columns), and reuses its memory.
package match

import "math"

// Forbidden is the cost of a pair that must not be, and the largest that may be given.
const Forbidden = 1 << 52

// Solver keeps the memory. The zero value is ready.
type Solver struct {
	u, v, slack  []int64
	row, way, to []int32 // row of each column, the column before it on the path; column of each row
	used         []bool
}

// Solve returns the column of each row. costs has rows x columns numbers from 0 to Forbidden, row by row; there must be no more rows than columns,
// or rows are left at -1. Where a row can only have a Forbidden column, it gets one. Valid until the next call.
func (s *Solver) Solve(costs []int64, rows, columns int) []int32 {
	s.to = s.to[:0]
	for range rows {
		s.to = append(s.to, -1)
	}
	if rows > columns {
		rows = columns
	}
	n := columns + 1 // column 0 is where a new row starts
	s.u, s.v, s.slack = zero(s.u, rows+1), zero(s.v, n), zero(s.slack, n)
	s.row, s.way, s.used = zero(s.row, n), zero(s.way, n), zero(s.used, n)
	for i := 1; i <= rows; i++ {
		s.row[0] = int32(i)
		for j := range n {
			s.slack[j], s.used[j] = math.MaxInt64, false
		}
		at := int32(0)
		for s.row[at] != 0 {
			s.used[at] = true
			r := s.row[at]
			line := costs[int(r-1)*columns:]
			least, next := int64(math.MaxInt64), int32(0)
			for j := 1; j < n; j++ {
				if s.used[j] {
					continue
				}
				if c := line[j-1] - s.u[r] - s.v[j]; c < s.slack[j] {
					s.slack[j], s.way[j] = c, at
				}
				if s.slack[j] < least {
					least, next = s.slack[j], int32(j)
				}
			}
			for j := range n {
				if s.used[j] {
					s.u[s.row[j]] += least
					s.v[j] -= least
				} else if j > 0 {
					s.slack[j] -= least
				}
			}
			at = next
		}
		for at != 0 {
			s.row[at] = s.row[s.way[at]]
			at = s.way[at]
		}
	}
	for j := 1; j < n; j++ {
		if r := s.row[j]; r > 0 {
			s.to[r-1] = int32(j - 1)
		}
	}
	return s.to
}

func zero[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, 2*n)
	}
	s = s[:n]
	clear(s)
	return s
}
