package tui

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// save writes what is on the screen as SVG and as text beside each other, in the folder of the options.
func (m *model) save() tea.Cmd {
	c := m.draw()
	if c.w < minWidth || c.h < minHeight {
		return nil
	}
	base := filepath.Join(m.opt.SaveDir, fmt.Sprintf("schedlab-%s-%d", m.view, int64(m.clock.at)/1e9))
	svg, text := c.svg(m.theme), c.plain()
	return func() tea.Msg {
		for _, f := range []struct{ name, what string }{{base + ".svg", svg}, {base + ".txt", text}} {
			if err := writeWhole(f.name, f.what); err != nil {
				return saidMsg{err: err}
			}
		}
		return saidMsg{text: "saved " + base + ".svg and .txt"}
	}
}

// writeWhole writes a file under a temporary name first, so that none is there half.
func writeWhole(name, what string) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".schedlab-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.WriteString(what)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	return err
}

// The picture's measures in px: a column, a line, the text.
const (
	svgCell, svgLine, svgFont = 8.4, 18, 14
	svgGround, svgInk         = "#171717", "#d0d0d0"
)

// svg draws the canvas as a picture of a terminal.
func (c *canvas) svg(t *theme) string {
	var b strings.Builder
	w, h := float64(c.w)*svgCell+16, c.h*svgLine+16
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" viewBox="0 0 %.0f %d" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="%d">`+"\n", w, h, w, h, svgFont)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n", svgGround)
	for y := range c.h {
		line := c.cells[y*c.w : (y+1)*c.w]
		for x := 0; x < c.w; {
			st := line[x].s
			from := x
			var s strings.Builder
			for ; x < c.w && line[x].s == st; x++ {
				if line[x].r != 0 {
					s.WriteRune(line[x].r)
				}
			}
			c.svgRun(&b, st, from, x, y, s.String(), line[from:x])
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (c *canvas) svgRun(b *strings.Builder, st style, from, to, y int, text string, cells []cell) {
	fg, bg := svgInk, ""
	if st.fg != own {
		fg = palette[st.fg].TrueColor
	}
	if st.bg != own {
		bg = palette[st.bg].TrueColor
	}
	if st.reverse {
		if bg == "" {
			bg = svgGround
		}
		fg, bg = bg, fg
	}
	px, py := 8+float64(from)*svgCell, 8+y*svgLine
	if bg != "" {
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" shape-rendering="crispEdges"/>`+"\n", px, py, float64(to-from)*svgCell, svgLine, bg)
	}
	if blocks(b, cells, fg, px, py) || braille(b, cells, fg, px, py) || strings.TrimSpace(text) == "" {
		return
	}
	more := ""
	if st.bold {
		more += ` font-weight="bold"`
	}
	if st.underline {
		more += ` text-decoration="underline"`
	}
	lead := len(text) - len(strings.TrimLeft(text, " "))
	px += float64(lead) * svgCell
	text = strings.TrimSpace(text)
	fmt.Fprintf(b, `<text x="%.1f" y="%d" fill="%s" textLength="%.1f" lengthAdjust="spacingAndGlyphs" xml:space="preserve"%s>%s</text>`+"\n",
		px, py+svgLine-5, fg, float64(width(text))*svgCell, more, html.EscapeString(text))
}

// blocks draws a run of block elements as rectangles, which join where a font's would not. It reports whether the run is only such.
func blocks(b *strings.Builder, cells []cell, fill string, px float64, py int) bool {
	any := false
	for _, v := range cells {
		if v.r != ' ' && (v.r < '▁' || v.r > '█') {
			return false
		}
		any = any || v.r != ' '
	}
	if !any {
		return false
	}
	for x := 0; x < len(cells); {
		from, r := x, cells[x].r
		for x < len(cells) && cells[x].r == r {
			x++
		}
		if r == ' ' {
			continue
		}
		h := float64(svgLine) * float64(r-'▁'+1) / 8
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" shape-rendering="crispEdges"/>`+"\n",
			px+float64(from)*svgCell, float64(py)+svgLine-h, float64(x-from)*svgCell, h, fill)
	}
	return true
}

// braille draws a run of braille patterns as dots in exact places.
func braille(b *strings.Builder, cells []cell, fill string, px float64, py int) bool {
	for _, v := range cells {
		if v.r < 0x2800 || v.r > 0x28ff {
			return false
		}
	}
	fmt.Fprintf(b, `<path fill="%s" d="`, fill)
	for x, v := range cells {
		for i, bit := range []rune{0x01, 0x02, 0x04, 0x40, 0x08, 0x10, 0x20, 0x80} {
			if (v.r-0x2800)&bit != 0 {
				fmt.Fprintf(b, "M%.1f %.1fh2.4v2.4h-2.4z", px+float64(x)*svgCell+float64(i/4)*svgCell/2+0.9, float64(py)+float64(i%4)*svgLine/4+1)
			}
		}
	}
	b.WriteString(`"/>` + "\n")
	return true
}
