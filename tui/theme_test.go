package tui

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// linear returns a colour's parts of red, green and blue light, 0..1: of the hexadecimal form, or of a number of xterm's palette.
func linear(t *testing.T, name string) [3]float64 {
	t.Helper()
	hex := strings.TrimPrefix(name, "#")
	if n, err := strconv.Atoi(name); err == nil && len(name) < 4 {
		levels := [6]int{0, 95, 135, 175, 215, 255}
		switch {
		case n < 16:
			hex = strings.Fields("000000 cd0000 00cd00 cdcd00 0000ee cd00cd 00cdcd e5e5e5 7f7f7f ff0000 00ff00 ffff00 5c5cff ff00ff 00ffff ffffff")[n]
		case n < 232:
			n -= 16
			hex = fmt.Sprintf("%02x%02x%02x", levels[n/36], levels[n/6%6], levels[n%6])
		default:
			v := 8 + 10*(n-232)
			hex = fmt.Sprintf("%02x%02x%02x", v, v, v)
		}
	}
	var out [3]float64
	for i := range out {
		v, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		if c := float64(v) / 255; c <= 0.04045 {
			out[i] = c / 12.92
		} else {
			out[i] = math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return out
}

// contrast is WCAG's, 1 to 21.
func contrast(a, b [3]float64) float64 {
	l := func(c [3]float64) float64 { return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2] + 0.05 }
	return math.Max(l(a)/l(b), l(b)/l(a))
}

// forms are the three ways in which a colour of the palette is sent.
func forms(c colour) [3]string {
	p := palette[c]
	return [3]string{p.TrueColor, p.ANSI256, p.ANSI}
}

var depths = [3]string{"true colour", "256 colours", "16 colours"}

// What is written in a colour can be read, on a dark ground (4.5 : 1 is WCAG's AA; 3 : 1 its least, for large or bold text), and what is written on a
// colour as well.
func TestColoursCanBeRead(t *testing.T) {
	texts := []colour{accent, faint, colRunning, colQueued, colDone, colFailed, colPreempted, colBlocked, colHeld}
	for c := firstOwner; c < firstOwner+owners; c++ {
		texts = append(texts, c)
	}
	for i, depth := range depths {
		for _, c := range texts {
			least := 4.0
			if r := contrast(linear(t, forms(c)[i]), linear(t, "#000000")); r < least {
				t.Errorf("%s: colour %d, %s, has a contrast of %.1f on black", depth, c, forms(c)[i], r)
			}
		}
		for c := firstOwner; c < firstOwner+owners; c++ {
			if r := contrast(linear(t, forms(c)[i]), linear(t, forms(ink)[i])); r < 4 {
				t.Errorf("%s: a name on colour %d, %s, has a contrast of %.1f", depth, c, forms(c)[i], r)
			}
		}
		for c := firstHeat; c <= lastHeat; c++ {
			if r := contrast(linear(t, forms(c)[i]), linear(t, "#000000")); r < 3 {
				t.Errorf("%s: heat %d, %s, has a contrast of %.1f on black", depth, c-firstHeat, forms(c)[i], r)
			}
		}
		if r := contrast(linear(t, forms(choseInk)[i]), linear(t, forms(chose)[i])); r < 3.5 {
			t.Errorf("%s: the chosen line has a contrast of %.1f", depth, r)
		}
	}
}

// What people see who lack one kind of cones: Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
// Deficiency", IEEE TVCG 2009, at full severity.
var blindness = map[string][3][3]float64{
	"normal":       {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
	"protanopia":   {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
	"deuteranopia": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
}

// seen is a colour in CIELAB as it is seen.
func seen(c [3]float64, by [3][3]float64) [3]float64 {
	mul := func(m [3][3]float64, v [3]float64) (out [3]float64) {
		for i := range m {
			for k := range v {
				out[i] += m[i][k] * v[k]
			}
			out[i] = math.Min(math.Max(out[i], 0), 1)
		}
		return out
	}
	xyz := mul([3][3]float64{{0.4124, 0.3576, 0.1805}, {0.2126, 0.7152, 0.0722}, {0.0193, 0.1192, 0.9505}}, mul(by, c))
	f := func(v float64) float64 {
		if v > 0.008856 {
			return math.Cbrt(v)
		}
		return 7.787*v + 16.0/116
	}
	x, y, z := f(xyz[0]/0.9505), f(xyz[1]), f(xyz[2]/1.089)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}

// The colours of states, and those of owners, are told apart also by those who see few of them (a difference of 2.3 in CIELAB is just seen). What
// the 16 colours look like is up to the terminal.
func TestColoursAreToldApartByThoseWhoSeeFew(t *testing.T) {
	states := []colour{colRunning, colQueued, colDone, colFailed, colPreempted, colBlocked, colHeld}
	var jobs []colour
	for c := firstOwner; c < firstOwner+owners; c++ {
		jobs = append(jobs, c)
	}
	for who, by := range blindness {
		for i, depth := range depths[:2] {
			for _, set := range [][]colour{states, jobs} {
				for k, a := range set {
					for _, b := range set[:k] {
						x, y := seen(linear(t, forms(a)[i]), by), seen(linear(t, forms(b)[i]), by)
						if d := math.Hypot(math.Hypot(x[0]-y[0], x[1]-y[1]), x[2]-y[2]); d < 9 {
							t.Errorf("%s, %s: colours %s and %s differ by %.1f", who, depth, forms(a)[i], forms(b)[i], d)
						}
					}
				}
			}
		}
	}
}

// Without colours the chosen line, the header and what is important are told by reverse and bold, and states and owners by their signs.
func TestWithoutColours(t *testing.T) {
	s := newSession(t, Options{Sources: exampleSources(t)[:1], Colour: "none"}, 100, 30).at(0.4)
	colours := regexp.MustCompile(`\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m`)
	for _, keys := range [][]string{{"1"}, {"2", "down"}, {"2", "m"}, {"m", "3", "down"}, {"enter"}, {"4"}, {"4", "c", "c"}, {"3", "t"}, {"6"}, {"6", "m"}, {"7"}, {"?"}, {"esc", ":"}, {"esc"}} {
		s.keys(keys...)
		if c := colours.FindString(s.coloured()); c != "" {
			t.Fatalf("after %v a colour is sent: %q", keys, c)
		}
	}
	s.keys("2", "down")
	c, reversed, bars := s.m.draw(), 0, 0
	y := bodyTop + 1 + s.m.cur().cursor[viewCluster]
	for _, v := range c.cells[y*c.w : (y+1)*c.w] {
		switch {
		case filled(v.r):
			bars++
			if v.s.reverse { // a full one would look empty
				t.Fatalf("bars of the chosen line are in reverse")
			}
		case v.s.reverse:
			reversed++
		}
	}
	if bars == 0 || reversed < c.w/2 {
		t.Errorf("of the chosen line %d cells are in reverse and %d are bars", reversed, bars)
	}
	raw := strings.Split(s.coloured(), "\n")
	if !strings.HasPrefix(raw[0], "\x1b[1;7m") || !strings.Contains(raw[y], "\x1b[7m") {
		t.Errorf("header and chosen line do not stand out: %q, %q", raw[0], raw[y])
	}
	wants(t, s, " II II BB") // one letter an owner
	s.keys("1")
	if bar := strings.Split(s.screen(), "\n")[bodyTop+1]; !strings.ContainsRune(bar, '▶') || !strings.ContainsRune(bar, '✓') || !strings.ContainsRune(bar, '○') {
		t.Errorf("the bar of all tasks does not tell their states apart: %s", bar)
	}
}

// In 16 colours not every two of them can be read on each other: the chosen line has one of its own.
func TestTheChosenLineIsReadIn16Colours(t *testing.T) {
	s := newSession(t, Options{Sources: exampleSources(t)[:1], Colour: "16"}, 100, 30).at(0.4)
	s.keys("2", "down")
	c := s.m.draw()
	y := bodyTop + 1 + s.m.cur().cursor[viewCluster]
	for x, v := range c.cells[y*c.w : (y+1)*c.w] {
		if x > 0 && v.r > ' ' && !filled(v.r) && (v.s.fg != choseInk || v.s.bg != chose) {
			t.Fatalf("%q in column %d has colour %d on %d", v.r, x, v.s.fg, v.s.bg)
		}
	}
}
