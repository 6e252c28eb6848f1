package plots

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestGrowthIsDrawnFromZeroOverWholeDecades(t *testing.T) {
	f, err := Growth("title", "tasks", "ns a task", []Line{{"a", []float64{1e4, 1e5, 2e6}, []float64{200, 210, 205}}, {"b", []float64{1e4}, []float64{500}}})
	if err != nil {
		t.Fatal(err)
	}
	if f.plot.X.Min != 1e4 || f.plot.X.Max != 1e7 || f.plot.Y.Min != 0 || f.plot.Y.Max < 500 {
		t.Errorf("x %g..%g, y %g..%g", f.plot.X.Min, f.plot.X.Max, f.plot.Y.Min, f.plot.Y.Max)
	}
	f.Note("a note")
	var b bytes.Buffer
	if err := f.Write(&b, "svg"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"title", "ns a task", "a note", ">1M<", ">10k<"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
	for _, bad := range [][]Line{nil, {{"a", []float64{0}, []float64{1}}}, {{"a", []float64{1}, []float64{0}}}} {
		if _, err := Growth("", "", "", bad); !errors.Is(err, ErrNoData) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
