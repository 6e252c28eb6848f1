package tui

import (
	"strings"
	"testing"
	"unicode/utf8"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/traces"
	"github.com/schedlab/schedlab/tui/history"
)

// wideNames is a workload whose names are Chinese, mixed, with joined marks and control characters.
func wideNames(tb testing.TB, w *traces.Workload) *traces.Workload {
	tb.Helper()
	names := []string{"训练-大模型", "数据迁移", "eval", "日本語タスク", "한국어작업", "e\u0301tude", "a\tb\x1b[31m", "x", "混合mixed名前", "🚀launch"}
	t := *w.Table
	t.TaskNames = sched.Names{}
	for i := range t.Tasks {
		t.TaskNames.Append(names[i%len(names)])
	}
	out := *w
	out.Table = &t
	return &out
}

var randomKeys = func() []string {
	var ks []string
	for _, b := range keyMap {
		if b.does != quit && b.does != save {
			ks = append(ks, b.Keys()...)
		}
	}
	return append(ks, "a", "z", ":", "训", "state:run", "ctrl+d", "y", "n", "%", "Q", "enter", "esc", "tab")
}()

// Whatever is typed and however the window is drawn, nothing panics, and every line fits the screen.
func TestNoKeyAndNoSizeBreaksTheScreen(t *testing.T) {
	nodes := manyNodes(6)
	nodes = append(nodes, sched.NodeSpec{Name: "池", GPUs: 100, GPUType: "V100", CPU: sched.Unlimited, Mem: sched.Unlimited, VRAM: sched.Unlimited}, sched.NodeSpec{Name: "cpu-only", CPU: 64_000, Mem: 256 << 30})
	w := wideNames(t, generated(t, "jobs=60,arrival=poisson,gpus=philly", 3, nodes))
	var sources []Source
	for i := range 2 {
		rec := simulate(t, w, nodes, &line{shortest: i == 1, evicts: true})
		sources = append(sources, &acted{Source: Recording{rec, Info{Policy: "规则{键=值}", Title: "标题 with a very long name that does not fit", Note: "注意"}}})
	}
	empty := Recording{history.New(w.Table, nodes), Info{Mode: Live, Policy: "fifo"}}
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{Sources: sources[:rapid.IntRange(1, 2).Draw(rt, "sources")], ASCII: rapid.Bool().Draw(rt, "ascii"), ReadOnly: rapid.Bool().Draw(rt, "read-only")}
		if rapid.IntRange(0, 9).Draw(rt, "empty") == 0 {
			o.Sources = []Source{empty}
		}
		if rapid.Bool().Draw(rt, "plain") {
			o.Colour = "none"
		}
		s := newSession(t, o, 80, 24)
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				s.send(tea.WindowSizeMsg{Width: rapid.IntRange(0, 230).Draw(rt, "w"), Height: rapid.IntRange(0, 70).Draw(rt, "h")})
			case 1:
				b := rapid.SampledFrom([]tea.MouseButton{tea.MouseButtonLeft, tea.MouseButtonWheelUp, tea.MouseButtonWheelDown, tea.MouseButtonWheelLeft}).Draw(rt, "button")
				s.send(tea.MouseMsg{X: rapid.IntRange(-1, 230).Draw(rt, "x"), Y: rapid.IntRange(-1, 70).Draw(rt, "y"), Button: b, Action: tea.MouseActionPress})
			case 2:
				s.at(rapid.Float64Range(0, 1).Draw(rt, "at"))
			default:
				s.send(keyMsg(rapid.SampledFrom(randomKeys).Draw(rt, "key")))
				s.tick()
			}
			fits(rt, s)
		}
	})
}

func fits(rt *rapid.T, s *session) {
	lines := strings.Split(s.coloured(), "\n")
	if len(lines) > max(s.m.h, 1) {
		rt.Fatalf("%d lines on a screen of %d", len(lines), s.m.h)
	}
	for _, l := range lines {
		if !utf8.ValidString(l) {
			rt.Fatalf("%q is not text", l)
		}
		if lipgloss.Width(l) > s.m.w {
			rt.Fatalf("a line of %d columns on a screen of %d: %q", lipgloss.Width(l), s.m.w, l)
		}
		if strings.ContainsAny(strings.ReplaceAll(l, "\x1b[", ""), "\x1b\t\r\x07") {
			rt.Fatalf("a name's control character reaches the terminal: %q", l)
		}
	}
}

// Columns stay where they are whatever the names are.
func TestWideNamesAlign(t *testing.T) {
	a := newCanvas(40, 5).all()
	for i, n := range []string{"train", "训练任务训练任务训练任务", "e\u0301tude", "训", "🚀launch pad number nine"} {
		x := a.fit(0, i, 12, style{}, n)
		if x != 12 {
			t.Errorf("%q takes %d columns of 12", n, x)
		}
		a.text(x, i, style{}, "|")
	}
	for i, l := range strings.Split(strings.TrimRight(a.c.plain(), "\n"), "\n") {
		if lipgloss.Width(l) != 13 {
			t.Errorf("line %d is %d columns wide: %q", i, lipgloss.Width(l), l)
		}
	}
	// One that would stick out of its area becomes a blank.
	b := newCanvas(10, 2).all()
	b.sub(0, 0, 5, 1).text(4, 0, style{}, "训")
	b.text(9, 0, style{}, "训")
	b.text(-1, 1, style{}, "训")
	if got := b.c.plain(); got != "\n\n" {
		t.Errorf("cut in half: %q", got)
	}
	// Half a wide rune that is overwritten becomes a blank.
	a.text(0, 0, style{}, "训练")
	a.text(1, 0, style{}, "x")
	if got := a.c.plain(); !strings.HasPrefix(got, " x练") {
		t.Errorf("overwritten in the middle: %q", got[:8])
	}
}
