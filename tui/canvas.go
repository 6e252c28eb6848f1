package tui

import (
	"strings"

	"github.com/mattn/go-runewidth"
)

// canvas is the screen before it becomes text: a grid of cells. Everything is drawn on one, so no line can be wider than the screen, and what is
// saved is what was seen.
type canvas struct {
	w, h  int
	cells []cell
}

// cell is one column of one line. The second column of a wide rune has the rune 0.
type cell struct {
	r rune
	s style
}

// style is how a cell looks. Colours are indexes into the palette, 0 the terminal's own.
type style struct {
	fg, bg        colour
	bold, reverse bool
	underline     bool
}

func newCanvas(w, h int) *canvas {
	c := &canvas{}
	c.reset(w, h)
	return c
}

// reset makes it an empty one of a size, reusing its memory.
func (c *canvas) reset(w, h int) {
	w, h = max(w, 0), max(h, 0)
	c.w, c.h = w, h
	if cap(c.cells) < w*h {
		c.cells = make([]cell, w*h)
	}
	c.cells = c.cells[:w*h]
	for i := range c.cells {
		c.cells[i] = cell{r: ' '}
	}
}

// narrow counts runes whose width is ambiguous as one column, as terminals do unless told otherwise.
var narrow = &runewidth.Condition{}

func runeWidth(r rune) int {
	if r >= ' ' && r < 0x7f {
		return 1
	}
	return narrow.RuneWidth(r)
}

// width returns the columns that a text takes as drawn here.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// area is a rectangle of a canvas. What is drawn outside of it is cut off.
type area struct {
	c          *canvas
	x, y, w, h int
}

func (c *canvas) all() area { return area{c, 0, 0, c.w, c.h} }

// sub returns a part of the area, cut to it.
func (a area) sub(x, y, w, h int) area {
	x0, y0 := min(max(x, 0), a.w), min(max(y, 0), a.h)
	w, h = max(min(x+w, a.w)-x0, 0), max(min(y+h, a.h)-y0, 0)
	return area{a.c, a.x + x0, a.y + y0, w, h}
}

// text draws s from a column on and returns the column after it. Wide runes that would be cut in half become a blank.
func (a area) text(x, y int, st style, s string) int {
	for _, r := range s {
		w := runeWidth(r)
		if r < ' ' || r == 0x7f {
			r, w = '?', 1
		}
		if w == 0 {
			continue
		}
		a.put(x, y, st, r, w)
		x += w
	}
	return x
}

func (a area) put(x, y int, st style, r rune, w int) {
	if y < 0 || y >= a.h || x < 0 && x+w <= 0 || x >= a.w {
		return
	}
	if x < 0 || x+w > a.w {
		for i := max(x, 0); i < min(x+w, a.w); i++ {
			a.set(i, y, cell{' ', st})
		}
		return
	}
	a.set(x, y, cell{r, st})
	if w == 2 {
		a.c.cells[(a.y+y)*a.c.w+a.x+x+1] = cell{0, st}
	}
}

// set writes one cell, and blanks the other half of a wide rune that it covers.
func (a area) set(x, y int, v cell) {
	i := (a.y+y)*a.c.w + a.x + x
	old := a.c.cells[i].r
	if old == 0 && a.x+x > 0 {
		a.c.cells[i-1].r = ' '
	}
	if a.x+x+1 < a.c.w && a.c.cells[i+1].r == 0 {
		a.c.cells[i+1].r = ' '
	}
	a.c.cells[i] = v
}

// fit draws s in exactly w columns: cut with a mark, or filled up with blanks.
func (a area) fit(x, y, w int, st style, s string) int {
	return a.text(x, y, st, fitText(s, w, false))
}

// right draws s at the right end of w columns.
func (a area) right(x, y, w int, st style, s string) int {
	return a.text(x, y, st, fitText(s, w, true))
}

// fitText cuts or fills s to exactly w columns.
func fitText(s string, w int, right bool) string {
	if w <= 0 {
		return ""
	}
	n := width(s)
	if n > w {
		var b strings.Builder
		n = 0
		for _, r := range s {
			if k := runeWidth(r); n+k <= w-1 {
				b.WriteRune(r)
				n += k
			} else {
				break
			}
		}
		b.WriteByte('~')
		s, n = b.String(), n+1
	}
	if pad := strings.Repeat(" ", w-n); right {
		return pad + s
	} else {
		return s + pad
	}
}

// wrapped breaks s into lines of at most w columns, between words where it can. What is longer than a line is broken anywhere.
func wrapped(s string, w int) []string {
	if width(s) <= w {
		return []string{s}
	}
	var lines []string
	line, n := []rune(nil), 0 // n columns
	for _, r := range s {
		k := runeWidth(r)
		for n+k > w && len(line) > 0 {
			cut, rest := len(line), len(line)
			if r != ' ' {
				for i := len(line) - 1; i > 0; i-- {
					if line[i] == ' ' {
						cut, rest = i, i+1
						break
					}
				}
			}
			lines = append(lines, string(line[:cut]))
			line = append([]rune(nil), line[rest:]...)
			n = width(string(line))
		}
		if len(line) == 0 && r == ' ' && len(lines) > 0 {
			continue
		}
		line, n = append(line, r), n+k
	}
	return append(lines, string(line))
}

// restyle changes how a stretch of a line looks, not what stands there.
func (a area) restyle(x, y, w int, f func(*style, rune)) {
	if y < 0 || y >= a.h {
		return
	}
	for i := max(x, 0); i < min(x+w, a.w); i++ {
		v := &a.c.cells[(a.y+y)*a.c.w+a.x+i]
		f(&v.s, v.r)
	}
}

// line draws a horizontal rule with a title in it.
func (a area) line(y int, st style, rule rune, title string) {
	for x := range a.w {
		a.put(x, y, st, rule, 1)
	}
	if title != "" {
		title = " " + title + " "
		a.fit(2, y, min(width(title), a.w-2), style{bold: true, fg: st.fg}, title)
	}
}

// plain returns the text of a canvas without styles, lines ended by newlines, blanks at their ends cut off.
func (c *canvas) plain() string {
	var b strings.Builder
	for y := range c.h {
		line := make([]rune, 0, c.w)
		for _, v := range c.cells[y*c.w : (y+1)*c.w] {
			if v.r != 0 {
				line = append(line, v.r)
			}
		}
		b.WriteString(strings.TrimRight(string(line), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// render returns the canvas as the terminal wants it, lines joined by newlines.
func (c *canvas) render(t *theme, b *strings.Builder) string {
	b.Reset()
	for y := range c.h {
		if y > 0 {
			b.WriteByte('\n')
		}
		line := c.cells[y*c.w : (y+1)*c.w]
		end := len(line)
		for end > 0 && line[end-1] == (cell{r: ' '}) {
			end--
		}
		for x := 0; x < end; {
			st := line[x].s
			sgr := t.sgr(st)
			b.WriteString(sgr.on)
			for ; x < end && line[x].s == st; x++ {
				if line[x].r != 0 {
					b.WriteRune(line[x].r)
				}
			}
			b.WriteString(sgr.off)
		}
	}
	return b.String()
}
