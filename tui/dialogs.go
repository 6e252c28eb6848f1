package tui

import "fmt"

// box draws an empty frame in the middle and returns its inside.
func (m *model) box(a area, w, h int, title string) area {
	w, h = min(w+4, a.w), min(h+2, a.h)
	b := a.sub((a.w-w)/2, (a.h-h)/2, w, h)
	st := style{fg: accent}
	for y := range b.h {
		for x := range b.w {
			b.put(x, y, style{}, ' ', 1)
		}
		b.text(0, y, st, m.theme.glyph("│", "|"))
		b.text(b.w-1, y, st, m.theme.glyph("│", "|"))
	}
	for x := range b.w {
		for _, y := range []int{0, b.h - 1} {
			g := m.theme.glyph("─", "-")
			switch {
			case x == 0 && y == 0:
				g = m.theme.glyph("╭", "+")
			case x == 0:
				g = m.theme.glyph("╰", "+")
			case x == b.w-1 && y == 0:
				g = m.theme.glyph("╮", "+")
			case x == b.w-1:
				g = m.theme.glyph("╯", "+")
			}
			b.text(x, y, st, g)
		}
	}
	b.text(2, 0, style{fg: accent, bold: true}, " "+title+" ")
	return b.sub(2, 1, b.w-4, b.h-2)
}

// helpLine is a line of the help: a heading, or keys and what they do.
type helpLine struct {
	keys, desc string
	head       bool
}

func (m *model) helpLines() []helpLine {
	var out []helpLine
	group := ""
	for _, b := range keyMap {
		if b.group == "" {
			continue
		}
		if b.group != group {
			group = b.group
			out = append(out, helpLine{keys: group, head: true})
		}
		desc := b.Help().Desc
		if b.acts && !m.canAct() {
			desc += " (not here)"
		}
		out = append(out, helpLine{keys: b.Help().Key, desc: desc})
	}
	out = append(out, helpLine{keys: "mouse", head: true}, helpLine{"click", "choose; again: details", false}, helpLine{"on a branch", "fold, unfold", false}, helpLine{"wheel", "move", false}, helpLine{"ctrl-wheel", "zoom", false},
		helpLine{keys: "filter", head: true}, helpLine{"word", "part of a name or job", false}, helpLine{"state:queued", "part of a field", false},
		helpLine{"wait>60s", "also run gpus attempts", false}, helpLine{"!word", "not", false})
	out = append(out, helpLine{keys: "commands", head: true})
	for _, c := range m.available() {
		if c.name != c.desc && !(len(c.desc) > 5 && c.desc[:5] == "show ") {
			out = append(out, helpLine{":" + c.name + " " + c.args, c.desc, false})
		}
	}
	return out
}

func (m *model) drawHelp(a area) {
	lines := m.helpLines()
	const colWidth = 38
	cols := max(min((a.w-4)/colWidth, 4), 1)
	rows := (len(lines) + cols - 1) / cols
	h := min(rows, a.h-4)
	m.helpTop = max(min(m.helpTop, rows-h), 0)
	title := "keys"
	if rows > h {
		title = "keys, j and k move, any other key closes"
	}
	in := m.box(a, cols*colWidth, h, title)
	w := in.w / cols
	for c := range cols {
		for y := range h {
			i := c*rows + m.helpTop + y
			if m.helpTop+y >= rows || i >= len(lines) {
				break
			}
			l := lines[i]
			if l.head {
				in.fit(c*w, y, w-1, style{bold: true, fg: accent, underline: true}, l.keys)
				continue
			}
			kw := 13
			k := max(kw, width(l.keys))
			in.fit(c*w, y, k, style{bold: true}, l.keys)
			in.fit(c*w+k+1, y, w-k-2, style{}, l.desc)
		}
	}
}

func (m *model) drawQuestion(a area) {
	q := m.asking
	hint := "y does it, any other key does not"
	w := min(max(width(q.text), width(hint)), a.w-6)
	in := m.box(a, w, 3, "sure?")
	in.fit(0, 0, in.w, style{bold: true}, q.text)
	in.fit(0, 2, in.w, style{fg: faint}, hint)
}

// drawCandidates lists above the command line what tab would complete.
func (m *model) drawCandidates(a area) {
	cs := m.candidates()
	most := max(a.h-9, 5)
	more := 0
	if len(cs) > most {
		more, cs = len(cs)-most, cs[:most]
	}
	w := 24
	text := make([]string, len(cs))
	for i, c := range cs {
		text[i] = c
		if k := m.commandNamed(c); k != nil && k.name == c {
			text[i] = fmt.Sprintf("%-10s %-15s %s", c, k.args, k.desc)
		}
		w = min(max(w, width(text[i])+2), a.w)
	}
	if more > 0 {
		text = append(text, fmt.Sprintf("and %d more", more))
	}
	for i, t := range text {
		y := a.h - 1 - len(text) + i
		for x := range w {
			a.put(x, y, style{bg: chose}, ' ', 1)
		}
		a.fit(1, y, w-1, style{bg: chose}, t)
	}
}
