package tui

import (
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

// colour is an index into palette; 0 is the terminal's own.
type colour uint8

// The colours with a meaning. Those of states and owners are Okabe and Ito's ("Color Universal Design", 2008), which people who see few colours tell
// apart; the heat ramp grows lighter from blue to yellow as cividis does. Beside each of them stands a glyph or a word.
const (
	own colour = iota
	accent
	faint
	colRunning
	colQueued
	colDone
	colFailed
	colPreempted
	colBlocked
	colHeld
	track
	ink      // on coloured ground
	bar      // ground of the header
	chose    // ground of the selected line
	choseInk // on it, where there are 16 colours
	firstOwner
	firstHeat = firstOwner + owners
	lastHeat  = firstHeat + heats - 1
)

const (
	owners = 8
	heats  = 9
)

var palette = [...]lipgloss.CompleteColor{
	accent:         {TrueColor: "#56b4e9", ANSI256: "74", ANSI: "14"},
	faint:          {TrueColor: "#8a8a8a", ANSI256: "245", ANSI: "8"},
	colRunning:     {TrueColor: "#56b4e9", ANSI256: "74", ANSI: "14"},
	colQueued:      {TrueColor: "#e69f00", ANSI256: "178", ANSI: "3"},
	colDone:        {TrueColor: "#00a87a", ANSI256: "36", ANSI: "2"},
	colFailed:      {TrueColor: "#e8702a", ANSI256: "166", ANSI: "9"},
	colPreempted:   {TrueColor: "#cc79a7", ANSI256: "175", ANSI: "13"},
	colBlocked:     {TrueColor: "#787878", ANSI256: "243", ANSI: "7"},
	colHeld:        {TrueColor: "#d8cc3a", ANSI256: "185", ANSI: "11"},
	track:          {TrueColor: "#585858", ANSI256: "240", ANSI: "8"},
	ink:            {TrueColor: "#101010", ANSI256: "233", ANSI: "0"},
	bar:            {TrueColor: "#1f4e79", ANSI256: "24", ANSI: "4"},
	chose:          {TrueColor: "#3a3a3a", ANSI256: "237", ANSI: "8"},
	choseInk:       {TrueColor: "#f0f0f0", ANSI256: "255", ANSI: "15"},
	firstOwner:     {TrueColor: "#56b4e9", ANSI256: "74", ANSI: "14"},
	firstOwner + 1: {TrueColor: "#e69f00", ANSI256: "178", ANSI: "3"},
	firstOwner + 2: {TrueColor: "#00a87a", ANSI256: "36", ANSI: "2"},
	firstOwner + 3: {TrueColor: "#cc79a7", ANSI256: "175", ANSI: "13"},
	firstOwner + 4: {TrueColor: "#d8cc3a", ANSI256: "185", ANSI: "11"},
	firstOwner + 5: {TrueColor: "#3d85c6", ANSI256: "32", ANSI: "12"},
	firstOwner + 6: {TrueColor: "#d5672e", ANSI256: "166", ANSI: "9"},
	firstOwner + 7: {TrueColor: "#bdbdbd", ANSI256: "250", ANSI: "7"},
	firstHeat:      {TrueColor: "#3a5a9a", ANSI256: "25", ANSI: "12"},
	firstHeat + 1:  {TrueColor: "#4a6590", ANSI256: "60", ANSI: "12"},
	firstHeat + 2:  {TrueColor: "#5f708a", ANSI256: "66", ANSI: "12"},
	firstHeat + 3:  {TrueColor: "#757b80", ANSI256: "244", ANSI: "8"},
	firstHeat + 4:  {TrueColor: "#8c8778", ANSI256: "102", ANSI: "8"},
	firstHeat + 5:  {TrueColor: "#a5956f", ANSI256: "137", ANSI: "7"},
	firstHeat + 6:  {TrueColor: "#bfa565", ANSI256: "143", ANSI: "3"},
	firstHeat + 7:  {TrueColor: "#d9b95a", ANSI256: "179", ANSI: "11"},
	lastHeat:       {TrueColor: "#f4dd4f", ANSI256: "221", ANSI: "15"},
}

// sgr is what switches a style on and off.
type sgr struct{ on, off string }

// theme is how the canvas becomes text: the colours that the terminal has, and the glyphs that it can show.
type theme struct {
	ascii    bool
	renderer *lipgloss.Renderer
	made     map[style]sgr
}

func newTheme(r *lipgloss.Renderer, ascii bool) *theme {
	return &theme{ascii: ascii, renderer: r, made: map[style]sgr{}}
}

// colourless reports whether colours are not shown: then what is chosen is told by reverse video.
func (t *theme) colourless() bool { return t.renderer.ColorProfile() == termenv.Ascii }

// letters reports whether owners are told apart by letters.
func (t *theme) letters() bool { return t.ascii || t.colourless() }

// few reports whether there are 16 colours, of which not every two can be read on each other.
func (t *theme) few() bool { return t.renderer.ColorProfile() == termenv.ANSI }

func (t *theme) sgr(st style) sgr {
	if v, ok := t.made[st]; ok {
		return v
	}
	if t.colourless() { // lipgloss leaves out all there, and NO_COLOR forbids colours only
		v := attributes(st)
		t.made[st] = v
		return v
	}
	l := t.renderer.NewStyle()
	if st.fg != own {
		l = l.Foreground(palette[st.fg])
	}
	if st.bg != own {
		l = l.Background(palette[st.bg])
	}
	l = l.Bold(st.bold).Reverse(st.reverse).Underline(st.underline)
	on, off, _ := strings.Cut(l.Render("x"), "x")
	v := sgr{on, off}
	t.made[st] = v
	return v
}

// attributes is a style without its colours; what stands on coloured ground is shown in reverse.
func attributes(st style) sgr {
	var codes []string
	for i, on := range []bool{st.bold, st.underline, st.reverse || st.bg != own} {
		if on {
			codes = append(codes, [...]string{"1", "4", "7"}[i])
		}
	}
	if codes == nil {
		return sgr{}
	}
	return sgr{"\x1b[" + strings.Join(codes, ";") + "m", "\x1b[0m"}
}

// glyph returns the one that the terminal can show.
func (t *theme) glyph(unicode, ascii string) string {
	if t.ascii {
		return ascii
	}
	return unicode
}

func (t *theme) rule() rune {
	if t.ascii {
		return '-'
	}
	return '─'
}

// look is how a state is shown: by a glyph, a word and a colour.
type look struct {
	glyph, ascii, word string
	col                colour
}

var looks = [...]look{
	sched.Unknown:  {"·", ".", "unknown", colBlocked},
	sched.Blocked:  {"◌", ".", "blocked", colBlocked},
	sched.Ready:    {"○", "o", "queued", colQueued},
	sched.Claiming: {"◔", "c", "claiming", colQueued},
	sched.Running:  {"▶", ">", "running", colRunning},
	sched.Stopping: {"◨", "<", "stopping", colPreempted},
	sched.Backoff:  {"↻", "b", "backoff", colFailed},
	sched.Held:     {"‖", "h", "held", colHeld},
	sched.Done:     {"✓", "+", "done", colDone},
	sched.Failed:   {"✗", "x", "failed", colFailed},
	sched.Dropped:  {"⊘", "d", "dropped", colFailed},
	sched.Rejected: {"⊗", "r", "rejected", colFailed},
}

var evictedLook = look{"↺", "p", "preempted", colPreempted}

func lookOf(p sched.Phase, evicted bool) look {
	if evicted && (p == sched.Ready || p == sched.Held) {
		return evictedLook
	}
	return looks[p]
}

// ownerColour gives jobs and tenants one of the owners' colours.
func ownerColour(id int32) colour { return firstOwner + colour(uint32(id)%owners) }

func heatColour(v uint8) colour {
	if v == history.HeatDown {
		return colFailed
	}
	return firstHeat + colour(int(v)*(heats-1)/100)
}

const (
	sparks      = " ▁▂▃▄▅▆▇█"
	asciiSparks = " .,-=+*#@"
)

// level returns the glyph of a height between 0 and 1; anything above 0 shows.
func (t *theme) level(v float64) rune {
	set := []rune(sparks)
	if t.ascii {
		set = []rune(asciiSparks)
	}
	if !(v > 0) {
		return set[0]
	}
	return set[min(1+int(v*float64(len(set)-1)), len(set)-1)]
}

// gauge draws a horizontal bar of v (0..1) in w columns.
func (t *theme) gauge(a area, x, y, w int, v float64, c colour) {
	v = min(max(v, 0), 1)
	full := int(v*float64(w) + 0.5)
	for i := range max(w, 0) {
		switch {
		case i < full:
			a.text(x+i, y, style{fg: c}, t.glyph("█", "#"))
		default:
			a.text(x+i, y, style{fg: track}, t.glyph("░", "."))
		}
	}
}
