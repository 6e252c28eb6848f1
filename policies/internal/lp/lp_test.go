package lp

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"
	gonum "gonum.org/v1/gonum/optimize/convex/lp"
	"pgregory.net/rapid"
)

// Random programs, many of them degenerate, against gonum's simplex: the same optimum, and a solution that keeps every row.
func TestTheOptimumIsThatOfAnIndependentSolver(t *testing.T) {
	var p Program
	compared := 0
	rapid.Check(t, func(t *rapid.T) {
		vars, rows := rapid.IntRange(1, 8).Draw(t, "vars"), rapid.IntRange(1, 8).Draw(t, "rows")
		number := rapid.SampledFrom([]float64{0, 0, 1, 2, 0.5, 3.25, -1})
		p.Reset(vars, rows+1, 1)
		a := mat.NewDense(rows+1, vars+rows+1, nil)
		b := make([]float64, rows+1)
		for i := range rows + 1 {
			for j := range vars {
				v := 1.0 // the last row bounds all
				if i < rows {
					v = number.Draw(t, "a")
				}
				p.Row(i)[j] = v
				a.Set(i, j, v)
			}
			a.Set(i, vars+i, 1)
			b[i] = rapid.SampledFrom([]float64{0, 0, 1, 4}).Draw(t, "b")
			if i == rows {
				b[i] = 10
			}
			p.Bound(i, b[i])
		}
		c := make([]float64, vars+rows+1)
		for j := range vars {
			v := rapid.SampledFrom([]float64{0, 1, 2.5, -1}).Draw(t, "c")
			p.Objective(0)[j] = v
			c[j] = -v
		}
		rowsOf := mat.DenseCopyOf(a)
		x, ok := p.Solve()
		if !ok {
			t.Fatalf("no optimum after %d steps", p.Pivots)
		}
		got := 0.0
		for j, v := range x {
			if v < 0 {
				t.Fatalf("x = %v", x)
			}
			got -= c[j] * v
		}
		for i := range rows + 1 {
			sum := 0.0
			for j, v := range x {
				sum += rowsOf.At(i, j) * v
			}
			if sum > b[i]+1e-7 {
				t.Fatalf("row %d: %v > %v", i, sum, b[i])
			}
		}
		want, _, err := gonum.Simplex(c, a, b, 1e-10, nil)
		if err != nil {
			return // gonum gives up on some degenerate programs
		}
		compared++
		if math.Abs(got+want) > 1e-6 {
			t.Fatalf("optimum %v, gonum says %v", got, -want)
		}
	})
	if compared < 20 {
		t.Errorf("only %d programs were compared", compared)
	}
}

// Beale's example (1955) cycles for ever under the largest reduced cost with ties to the first row. Its optimum is 1/20.
func TestBealesExampleDoesNotCycle(t *testing.T) {
	var p Program
	p.Reset(4, 3, 1)
	copy(p.Row(0), []float64{0.25, -60, -0.04, 9})
	copy(p.Row(1), []float64{0.5, -90, -0.02, 3})
	copy(p.Row(2), []float64{0, 0, 1, 0})
	p.Bound(2, 1)
	copy(p.Objective(0), []float64{0.75, -150, 0.02, -6})
	x, ok := p.Solve()
	if got := 0.75*x[0] - 150*x[1] + 0.02*x[2] - 6*x[3]; !ok || math.Abs(got-0.05) > 1e-12 {
		t.Fatal(x, ok, got)
	}
}

// The second objective is only followed where the first does not lose.
func TestObjectivesComeInTurn(t *testing.T) {
	var p Program
	p.Reset(3, 2, 2)
	copy(p.Row(0), []float64{1, 1, 0})
	copy(p.Row(1), []float64{0, 0, 1})
	p.Bound(0, 1)
	p.Bound(1, 5)
	copy(p.Objective(0), []float64{1, 1, 0})
	copy(p.Objective(1), []float64{-3, -1, 2})
	x, ok := p.Solve()
	if !ok || x[0] != 0 || x[1] != 1 || x[2] != 5 {
		t.Fatal(x, ok)
	}
	p.Reset(1, 0, 1)
	p.Objective(0)[0] = 1
	if _, ok := p.Solve(); ok {
		t.Fatal("a program without a bound is solved")
	}
}
