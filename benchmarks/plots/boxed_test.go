package plots

import (
	"testing"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/recorder"
)

func TestWhatTheFontCannotDrawIsABox(t *testing.T) {
	var rec recorder.Canvas
	sty := style(10)
	face := sty.Handler.Cache().Lookup(sty.Font, sty.Font.Size)
	boxed{&rec}.FillString(face, vg.Point{}, "a 同步é…🚀")
	for _, a := range rec.Actions {
		if s, ok := a.(*recorder.FillString); ok && s.String == "a □□é…□" {
			return
		}
	}
	t.Errorf("drawn: %v", rec.Actions)
}
