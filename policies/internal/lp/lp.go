// Package lp solves small dense linear programs: maximize c.x where A.x <= b, x >= 0 and b >= 0, as many objectives in turn as are given. It
// is a primal simplex on the condensed tableau, starts from x = 0, reuses its memory, and takes the same steps for the same numbers on every
// processor: products are rounded before they are added, so that none is fused. gonum's lp.Simplex, with which the tests compare it, takes one objective
// and equations only, takes new memory for every program, gives up on some degenerate ones, and is open to fused products.
package lp

import "math"

// Program is a linear program. The zero value is empty; Reset begins one.
type Program struct {
	rows, vars int
	a          []float64 // rows x vars, row by row; during Solve by the variables that are not in the basis
	b          []float64
	obj        [][]float64 // reduced costs of every objective
	basis      []int32     // by row: the variable; vars+i is the slack of row i
	out        []int32     // by column: the variable that is not in the basis
	closed     []bool      // by column: may not enter, an earlier objective would fall
	x          []float64
	nonzero    []int32
	Pivots     int // of the last Solve
}

// Reset begins a program of so many variables, rows and objectives, with all numbers 0.
func (p *Program) Reset(vars, rows, objectives int) {
	p.rows, p.vars = rows, vars
	p.a, p.b, p.x = zeros(p.a, rows*vars), zeros(p.b, rows), zeros(p.x, vars)
	for len(p.obj) < objectives {
		p.obj = append(p.obj, nil)
	}
	p.obj = p.obj[:objectives]
	for i := range p.obj {
		p.obj[i] = zeros(p.obj[i], vars)
	}
}

func zeros(s []float64, n int) []float64 {
	if cap(s) < n {
		return make([]float64, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// Row returns the coefficients of a row, to be written.
func (p *Program) Row(i int) []float64 { return p.a[i*p.vars : (i+1)*p.vars] }

// Bound sets the right-hand side of a row, at least 0.
func (p *Program) Bound(i int, b float64) { p.b[i] = b }

// Objective returns the coefficients of an objective, to be written. The k-th is maximized among the solutions that are best by those before.
func (p *Program) Objective(k int) []float64 { return p.obj[k] }

const (
	tiny = 1e-12 // is 0
	tol  = 1e-9  // of reduced costs and pivots, for coefficients of about 1
)

// Solve returns the best x, valid until Reset. It reports false where an objective has no bound, or the steps ran out; x is then a solution that
// need not be the best. The largest reduced cost enters; after as many steps in place as there are rows, the smallest variable enters and
// leaves (Bland 1977), which cannot cycle, until x moves.
func (p *Program) Solve() (x []float64, ok bool) {
	p.basis, p.out, p.closed = p.basis[:0], p.out[:0], p.closed[:0]
	for i := range p.rows {
		p.basis = append(p.basis, int32(p.vars+i))
	}
	for j := range p.vars {
		p.out, p.closed = append(p.out, int32(j)), append(p.closed, false)
	}
	p.Pivots = 0
	limit := 200 + 50*(p.rows+p.vars)
	ok = true
	for k := range p.obj {
		still := 0
		for ok {
			enter := p.entering(k, still > p.rows)
			if enter < 0 {
				break
			}
			leave := p.leaving(enter)
			if leave < 0 || p.Pivots == limit {
				ok = false
				break
			}
			if p.b[leave] > tiny {
				still = 0
			} else {
				still++
			}
			p.pivot(leave, enter)
			p.Pivots++
		}
		for j, c := range p.obj[k] {
			p.closed[j] = p.closed[j] || c < -tol
		}
	}
	clear(p.x)
	for i, v := range p.basis {
		if int(v) < p.vars {
			p.x[v] = p.b[i]
		}
	}
	return p.x, ok
}

func (p *Program) entering(k int, bland bool) int {
	best := -1
	for j, c := range p.obj[k] {
		if c <= tol || p.closed[j] {
			continue
		}
		if best < 0 {
			best = j
			continue
		}
		if bland {
			if p.out[j] < p.out[best] {
				best = j
			}
		} else if most := p.obj[k][best]; c > most || c == most && p.out[j] < p.out[best] {
			best = j
		}
	}
	return best
}

func (p *Program) leaving(enter int) int {
	best, least := -1, math.Inf(1)
	for i := range p.rows {
		a := p.a[i*p.vars+enter]
		if a <= tol {
			continue
		}
		if ratio := p.b[i] / a; best < 0 || ratio < least || ratio == least && p.basis[i] < p.basis[best] {
			best, least = i, ratio
		}
	}
	return best
}

func (p *Program) pivot(leave, enter int) {
	row := p.Row(leave)
	by := 1 / row[enter]
	p.nonzero = p.nonzero[:0]
	for j := range row {
		if j == enter {
			continue
		}
		if row[j] *= by; math.Abs(row[j]) < tiny {
			row[j] = 0
		} else {
			p.nonzero = append(p.nonzero, int32(j))
		}
	}
	row[enter] = by
	p.b[leave] *= by
	for i := range p.rows {
		if i == leave {
			continue
		}
		other := p.Row(i)
		f := other[enter]
		if f == 0 {
			continue
		}
		p.eliminate(other, row, enter, f, by)
		if p.b[i] -= float64(f * p.b[leave]); p.b[i] < tiny {
			p.b[i] = 0 // the leaving row had the least ratio: less than 0 is rounding
		}
	}
	for _, c := range p.obj {
		if f := c[enter]; f != 0 {
			p.eliminate(c, row, enter, f, by)
		}
	}
	p.basis[leave], p.out[enter] = p.out[enter], p.basis[leave]
	p.closed[enter] = false
}

func (p *Program) eliminate(to, row []float64, enter int, f, by float64) {
	for _, j := range p.nonzero {
		to[j] -= float64(f * row[j])
	}
	to[enter] = -float64(f * by)
}
