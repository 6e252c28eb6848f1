package tui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

var (
	exampleOnce sync.Once
	exampleBoth []Source
)

func exampleSources(t testing.TB) []Source {
	exampleOnce.Do(func() { exampleBoth = example(t) })
	return exampleBoth
}

func exampleSession(t testing.TB, w, h int) *session {
	return newSession(t, Options{Sources: exampleSources(t)[:1]}, w, h)
}

func wants(t *testing.T, s *session, texts ...string) {
	t.Helper()
	got := s.screen()
	for _, x := range texts {
		if !strings.Contains(got, x) {
			t.Fatalf("the screen does not show %q:\n%s", x, got)
		}
	}
}

func TestTheRunMovesByItself(t *testing.T) {
	s := exampleSession(t, 80, 24)
	from := s.m.clock.at
	for range 90 {
		s.tick()
	}
	if s.m.clock.at <= from {
		t.Fatal("three seconds later the clock stands where it stood")
	}
	if got, want := s.m.clock.at-from, sched.Time(3*s.m.clock.speed*1e9); got < want*9/10 || got > want*11/10 {
		t.Fatalf("the clock moved by %v in 3 s at speed %v", time.Duration(got), s.m.clock.speed)
	}
	wants(t, s, "SIM fifo", "running", "GPU use")
}

func TestPauseStepJumpAndEnd(t *testing.T) {
	s := exampleSession(t, 80, 24)
	s.keys("p", "0")
	at := s.m.clock.at
	for range 30 {
		s.tick()
	}
	if s.m.clock.at != at || !s.m.clock.paused {
		t.Fatal("a paused clock moved")
	}
	wants(t, s, "paused")
	s.typedAfter(":", "goto 1h")
	if s.m.clock.at != 3600e9 {
		t.Fatalf("goto 1h led to %v", time.Duration(s.m.clock.at))
	}
	s.keys("]")
	if s.m.clock.at <= 3600e9 {
		t.Fatal("] did not step on")
	}
	s.keys("[")
	if s.m.clock.at != 3600e9 {
		t.Fatal("[ did not step back to where ] began")
	}
	s.keys("}", "}")
	from, end := s.m.ends()
	if want := 3600e9 + (end-from)/10*2; s.m.clock.at < want-2 || s.m.clock.at > want+2 {
		t.Fatalf("two jumps led to %v, want %v", s.m.clock.at, want)
	}
	s.keys("L")
	if s.m.clock.at != end {
		t.Fatal("L did not lead to the end")
	}
	s.keys("{")
	if s.m.clock.follow || s.m.clock.at >= end {
		t.Fatal("a jump back did not leave the end")
	}
	s.typedAfter("T", "50%")
	if got := s.m.clock.at - from; got != (end-from)/2 {
		t.Fatalf("50%% led to %v of %v", got, end-from)
	}
}

// typedAfter presses a key that asks for a line, and types it.
func (s *session) typedAfter(key, text string) *session {
	s.tb.Helper()
	s.keys(key)
	return s.typed(text)
}

func TestSpeeds(t *testing.T) {
	c := clock{speed: 1}
	for range 100 {
		c.faster(true)
	}
	if !c.follow || c.String() != "max" {
		t.Fatalf("beyond the last speed is the end of the recording, not %v", c)
	}
	c.faster(false)
	if c.follow {
		t.Fatal("slower does not leave max")
	}
	for range 100 {
		c.faster(false)
	}
	if c.speed != speeds[0] {
		t.Fatalf("the slowest speed is %v", c.speed)
	}
	if s := speedFor(4*time.Hour, 90*time.Second); s < 100 || s > 200 {
		t.Fatalf("4 h in 90 s at speed %v", s)
	}
}

func TestTimesAreReadAsPeopleWriteThem(t *testing.T) {
	for _, x := range []struct {
		text string
		want sched.Time
	}{
		{"90", 90e9},
		{"1h20m", 4800e9},
		{"1:02:03", 3723e9},
		{"2:30", 150e9},
		{"1d2h", 26 * 3600e9},
		{"end", 1000e9},
		{"start", 0},
		{"25%", 250e9},
		{"+10", 510e9},
		{"-1m", 440e9},
		{"2d", 2 * 86400e9},
	} {
		got, err := parseTime(x.text, 500e9, 0, 1000e9, time.Time{})
		if err != nil || got != x.want {
			t.Errorf("%s: %v, %v; want %v", x.text, got, err, x.want)
		}
	}
	// Live, where the clock is that of the wall, so is what is typed: the last time that it was so late.
	epoch := time.Date(2026, 11, 27, 23, 50, 0, 0, time.UTC)
	for text, want := range map[string]sched.Time{"23:55": 300e9, "0:05": 900e9, "00:05:30": 930e9, "23:40": -600e9, "10m": 600e9} {
		if got, err := parseTime(text, 0, 0, 1200e9, epoch); err != nil || got != want {
			t.Errorf("%s ten minutes after midnight: %v, %v; want %v", text, time.Duration(got), err, time.Duration(want))
		}
	}
	for _, bad := range []string{"", "soon", "1:2:3:4", "101%", "-", "d", "xd", "1e30"} {
		if got, err := parseTime(bad, 0, 0, 1, time.Time{}); err == nil {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}

func TestTasksAreFilteredSortedAndOpened(t *testing.T) {
	s := exampleSession(t, 120, 40).at(0.4)
	s.keys("3")
	all := s.m.cur().frame.List.Total
	s.typedAfter("/", "tenant:vision state:done")
	p := s.m.cur().frame.List
	if p.Total == 0 || p.Total >= all {
		t.Fatalf("%d of %d match", p.Total, all)
	}
	for _, r := range p.Rows {
		if r.Tenant != "vision" || r.State != sched.Done {
			t.Fatalf("%+v matches tenant:vision state:done", r)
		}
	}
	s.typedAfter(":", "sort wait")
	p = s.m.cur().frame.List
	for i := 1; i < len(p.Rows); i++ {
		if p.Rows[i].Wait > p.Rows[i-1].Wait {
			t.Fatal("the longest wait is not first")
		}
	}
	first := p.Rows[0]
	s.keys("r")
	if s.m.cur().frame.List.Rows[0].Wait > first.Wait {
		t.Fatal("r did not turn the order round")
	}
	s.keys("r", "enter")
	if d := s.m.cur().frame.Task; s.m.view != viewDetail || d == nil || d.Row.ID != first.ID {
		t.Fatal("enter did not open the first task")
	}
	wants(t, s, first.Name, "why it waited", "attempts")
	s.keys("t")
	if s.m.view != viewDAG {
		t.Fatal("t did not show the DAG")
	}
	wants(t, s, first.Job, "critical path")
	s.keys("esc", "esc")
	if s.m.view != viewTasks {
		t.Fatalf("back twice leads to %v", s.m.view)
	}
	s.typedAfter(":", "filter wait>soon")
	wants(t, s, "seconds or a duration")
}

// A misspelt field is told, with those that there are, whole also on a small screen; the list stays as it was.
func TestAnUnknownFieldOfAFilterIsTold(t *testing.T) {
	for _, width := range []int{60, 80, 200} {
		s := exampleSession(t, width, 20).at(0.4)
		s.keys("3")
		all := s.m.cur().frame.List.Total
		s.typedAfter("/", "foo=bar")
		got := strings.Join(strings.Fields(s.screen()), " ")
		if want := `no field "foo"; there are ` + strings.Join(history.FilterFields, " "); !strings.Contains(got, want) {
			t.Errorf("%d columns do not show %q:\n%s", width, want, s.screen())
		}
		if n := s.m.cur().frame.List.Total; n != all {
			t.Errorf("%d of %d tasks are left", n, all)
		}
	}
}

func TestTheListIsVirtual(t *testing.T) {
	s := exampleSession(t, 80, 24).at(1)
	s.keys("3", "G")
	p := s.m.cur().frame.List
	if p.From+len(p.Rows) != p.Total || len(p.Rows) > 20 {
		t.Fatalf("rows %d to %d of %d are shown", p.From, p.From+len(p.Rows), p.Total)
	}
	s.keys("g")
	if s.m.cur().frame.List.From != 0 {
		t.Fatal("g does not lead to the first row")
	}
	s.keys("ctrl+d", "ctrl+d", "ctrl+d")
	if c, p := s.m.cur().cursor[viewTasks], s.m.cur().frame.List; c < p.From || c >= p.From+len(p.Rows) {
		t.Fatalf("the cursor %d is not on the screen, rows %d to %d", c, p.From, p.From+len(p.Rows))
	}
}

// acted is a source that writes down what is done to it.
type acted struct {
	Source
	mu     sync.Mutex
	done   []Action
	fail   bool
	logged int
}

func (a *acted) Act(_ context.Context, x Action) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail {
		return "", errors.New("no such task")
	}
	a.done = append(a.done, x)
	return "done: " + x.Kind.String(), nil
}

func (a *acted) Logs(context.Context, sched.TaskID, int32, int) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logged += 30
	var lines []string
	for i := range a.logged {
		lines = append(lines, fmt.Sprintf("epoch %d", i+1))
	}
	return lines, nil
}

func (a *acted) Info() Info {
	i := a.Source.Info()
	i.Mode, i.Policies = Live, []string{"easy", "easy{scan=sjbf}", "fifo"}
	return i
}

func TestActionsAreConfirmed(t *testing.T) {
	src := &acted{Source: exampleSources(t)[0]}
	s := newSession(t, Options{Sources: []Source{src}}, 100, 30)
	s.keys("3", "x")
	wants(t, s, "cancel", "y does it")
	s.keys("n")
	for _, k := range []string{"enter", "esc", "space", "x", "q", "j", "ctrl+s", "1", "tab", "N", "?"} {
		s.keys("x")
		if s.m.asking == nil {
			t.Fatal("x does not ask")
		}
		s.send(keyMsg(k))
		s.tick()
		if len(src.done) != 0 || s.m.asking != nil || s.m.view != viewTasks {
			t.Fatalf("%s for an answer: done %+v, view %v, asking %v", k, src.done, s.m.view, s.m.asking)
		}
	}
	wants(t, s, "nothing was done")
	s.send(tea.MouseMsg{X: 10, Y: 10, Button: tea.MouseButtonLeft, Action: tea.MouseActionPress})
	r, _ := s.m.selected()
	s.keys("x", "y")
	if len(src.done) != 1 || src.done[0].Kind != Cancel || src.done[0].Task != r.ID || src.done[0].Name != r.Name {
		t.Fatalf("done: %+v, want to cancel %+v", src.done, r)
	}
	wants(t, s, "done: cancel")
	src.done = nil
	s.keys("space", "space", "H", "y")
	if len(src.done) != 2 || src.done[0].Kind != Hold || src.done[0].Task == src.done[1].Task {
		t.Fatalf("two marked tasks to be held: %+v", src.done)
	}
	src.done = nil
	s.keys(":")
	for _, r := range "policy ea" {
		s.send(keyMsg(string(r)))
	}
	s.keys("tab")
	wants(t, s, "easy{scan=sjbf}", ":policy easy")
	s.keys("enter", "y")
	if len(src.done) != 1 || src.done[0].Kind != SetPolicy || src.done[0].Policy != "easy" {
		t.Fatalf("done: %+v, want the policy easy", src.done)
	}
	src.fail = true
	s.keys("3", "P", "y")
	wants(t, s, "no such task")
	s.keys("l")
	wants(t, s, "logs of", "epoch 30")
	s.send(s.m.again())
	wants(t, s, "epoch 60") // the end that has come
	s.keys("ctrl+u")
	s.send(s.m.again())
	wants(t, s, "epoch 45") // who reads further up is left there
	s.keys("esc")
	s.send(s.m.again())
	if s.m.view == viewText {
		t.Fatal("logs that were left come back")
	}
}

func TestReadOnlyChangesNothing(t *testing.T) {
	src := &acted{Source: exampleSources(t)[0]}
	s := newSession(t, Options{Sources: []Source{src}, ReadOnly: true}, 100, 30)
	s.keys("3")
	for _, k := range []string{"x", "H", "R", "P"} {
		s.keys(k)
		if s.m.asking != nil {
			t.Fatalf("%s asks whether to do what it may not", k)
		}
		wants(t, s, "read-only: nothing can be changed")
		s.keys("y")
	}
	for _, c := range []string{"policy fifo", "cancel", "hold", "release", "preempt"} {
		s.typedAfter(":", c)
		if s.m.asking != nil {
			t.Fatalf(":%s asks whether to do what it may not", c)
		}
		s.keys("y")
	}
	if len(src.done) != 0 {
		t.Fatalf("read-only, and yet %+v", src.done)
	}
	wants(t, s, "read-only")
	if s := exampleSession(t, 80, 24).keys("3", "x"); s.m.asking != nil || !strings.Contains(s.screen(), "cannot be changed") {
		t.Fatalf("a simulation lets its tasks be cancelled:\n%s", s.screen())
	}
}

func TestCommandsCompleteAndSayWhatIsWrong(t *testing.T) {
	s := exampleSession(t, 100, 30)
	s.keys(":", "g", "o", "tab")
	if got := s.m.input.Value(); got != "goto " {
		t.Fatalf("go completes to %q", got)
	}
	s.keys("esc")
	s.typedAfter(":", "fly")
	wants(t, s, `no command "fly"`)
	s.typedAfter(":", "speed never")
	wants(t, s, "trace seconds a second")
	s.typedAfter(":", "speed 250")
	if s.m.clock.speed != 250 {
		t.Fatal("speed 250 was not taken")
	}
	s.typedAfter(":", "compare")
	if s.m.view != viewCompare {
		t.Fatal(":compare does not show it")
	}
	s.typedAfter(":", "window 10m")
	if from, to := s.m.window(); to-from < 599e9 || to-from > 601e9 {
		t.Fatalf("window 10m shows %v", time.Duration(to-from))
	}
	if m, c := s.m.Update(keyMsg("q")); c == nil || m == nil {
		t.Fatal("q does not quit")
	}
}

func TestEveryKeyOfTheHelpIsHandled(t *testing.T) {
	s := exampleSession(t, 200, 60)
	s.keys("?")
	for _, b := range keyMap {
		if b.group != "" {
			wants(t, s, b.Help().Desc)
		}
		for _, k := range b.Keys() {
			if keyActions[k].does != b.does {
				t.Errorf("key %s does %v", k, keyActions[k].does)
			}
		}
	}
	s.keys("esc")
	if s.m.helping {
		t.Fatal("esc does not close the help")
	}
}

func TestTheMouseScrollsChoosesAndOpens(t *testing.T) {
	s := exampleSession(t, 120, 40).at(0.4)
	s.keys("3")
	s.send(tea.MouseMsg{X: 5, Y: 10, Button: tea.MouseButtonWheelDown, Action: tea.MouseActionPress})
	if s.m.cur().cursor[viewTasks] != 3 {
		t.Fatalf("the wheel moved the cursor to %d", s.m.cur().cursor[viewTasks])
	}
	click := tea.MouseMsg{X: 10, Y: bodyTop + 2 + 5, Button: tea.MouseButtonLeft, Action: tea.MouseActionPress}
	s.screen()
	s.send(click)
	if s.m.cur().cursor[viewTasks] != 5 {
		t.Fatalf("a click on the sixth row chose row %d", s.m.cur().cursor[viewTasks])
	}
	s.screen()
	s.send(click)
	if s.m.view != viewDetail {
		t.Fatal("a second click did not open it")
	}
	s.screen()
	s.send(tea.MouseMsg{X: 3, Y: 1, Button: tea.MouseButtonLeft, Action: tea.MouseActionPress})
	if s.m.view != viewOverview {
		t.Fatal("a click on the first tab did not open it")
	}
	s.screen()
	s.send(tea.MouseMsg{X: 60, Y: 38, Button: tea.MouseButtonLeft, Action: tea.MouseActionPress})
	from, end := s.m.ends()
	if part := float64(s.m.clock.at-from) / float64(end-from); part < 0.4 || part > 0.6 {
		t.Fatalf("a click on the middle of the line of time led to %v of it", part)
	}
}

func TestTheGanttChartZoomsAndScrolls(t *testing.T) {
	s := exampleSession(t, 120, 40).at(0.5)
	s.keys("4", "0", "+", "+")
	from, to := s.m.window()
	a, b := s.m.ends()
	if got := float64(to-from) / float64(b-a); got < 0.24 || got > 0.26 {
		t.Fatalf("two steps of zoom show %v of the run", got)
	}
	s.keys("left")
	if f, _ := s.m.window(); f >= from {
		t.Fatal("left does not show earlier times")
	}
	s.keys("c")
	wants(t, s, "by tenant")
	s.keys("c")
	wants(t, s, "by state", "preempted")
	s.keys("0")
	if f, u := s.m.window(); f != a || u != b {
		t.Fatal("0 does not show the whole run")
	}
	rows := s.m.cur().frame.Gantt.Total
	s.keys("m")
	if s.m.cur().frame.Gantt.Total >= rows {
		t.Fatal("m does not fold the rows of GPUs into nodes")
	}
}

func TestTwoPoliciesStandSideBySideOnOneClock(t *testing.T) {
	s := newSession(t, Options{Sources: exampleSources(t)}, 160, 40).at(0.5)
	if a, b := s.m.sides[0].frame.At, s.m.sides[1].frame.At; a != b {
		t.Fatalf("one stands at %v, the other at %v", a, b)
	}
	wants(t, s, "A fifo", "B sjf")
	s.keys("6")
	wants(t, s, "mean wait", "B to A", "better")
	s = newSession(t, Options{Sources: exampleSources(t)}, 80, 24).at(0.5)
	s.keys("3")
	one := s.m.cur().frame.List.Rows
	s.keys("o")
	two := s.m.cur().frame.List.Rows
	if len(one) == 0 || len(two) == 0 || s.m.focus != 1 {
		t.Fatal("o does not show the other policy")
	}
}

func TestASmallScreenSaysSo(t *testing.T) {
	s := exampleSession(t, 59, 20)
	wants(t, s, "60 x 15", "59 x 20")
	s.send(tea.WindowSizeMsg{Width: 60, Height: 15})
	wants(t, s, "SIM", "quit")
}

func TestWhatIsSeenIsSaved(t *testing.T) {
	dir := t.TempDir()
	s := newSession(t, Options{Sources: exampleSources(t)[:1], SaveDir: dir}, 100, 30).at(0.5)
	want := s.screen()
	s.keys("ctrl+s")
	wants(t, s, "saved")
	found, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(found) != 2 {
		t.Fatalf("%d files were written: %v", len(found), found)
	}
	text, err := os.ReadFile(found[1])
	if err != nil || string(text) != want {
		t.Fatalf("the text is not what was seen (%v):\n%s", err, text)
	}
	svg, err := os.ReadFile(found[0])
	if err != nil || !strings.HasPrefix(string(svg), "<svg") || !strings.Contains(string(svg), "GPU use") {
		t.Fatalf("the SVG is not one (%v)", err)
	}
}

// A quantile that is not exact has a mark, wherever it is shown.
func TestRoughQuantilesAreMarked(t *testing.T) {
	m := newSession(t, Options{Sources: exampleSources(t)}, 120, 40).m
	for _, rough := range []bool{false, true} {
		sd := &side{frame: history.Frame{Metrics: history.Metrics{WaitMean: 50, WaitP50: 49, WaitP99: 49, WaitRough: rough}}}
		want := map[string]string{"mean wait": "50s", "median wait": "49s", "p99 wait": "49s"}
		if rough {
			want["median wait"], want["p99 wait"] = "~49s", "~49s"
		}
		got := map[string]string{}
		for _, x := range measures {
			if _, ok := want[x.name]; ok {
				got[x.name] = x.text(&sd.frame, &sd.info)
			}
		}
		for _, l := range m.metricList(sd) {
			if want[l[0]] != "" && (got[l[0]] != want[l[0]] || l[1] != want[l[0]]) {
				t.Errorf("rough %v: %s is %s in the comparison and %s in the overview, want %s", rough, l[0], got[l[0]], l[1], want[l[0]])
			}
		}
	}
}

// Going forth and back through everything while a run is being recorded must not wait for it.
func TestAGrowingRunIsFollowed(t *testing.T) {
	full := exampleSources(t)[0].(Recording).Record
	end := full.Look(history.Query{Latest: true}).End
	src := &growing{Source: exampleSources(t)[0], end: end / 10}
	s := newSession(t, Options{Sources: []Source{src}}, 80, 24)
	s.keys("L")
	if s.m.clock.at != end/10 {
		t.Fatalf("the end is %v, shown is %v", end/10, s.m.clock.at)
	}
	src.end = end / 5
	for range perSecond {
		s.tick()
	}
	if s.m.clock.at != end/5 {
		t.Fatal("the clock does not follow what is recorded")
	}
}

// growing shows a recording as if it ended earlier.
type growing struct {
	Source
	end sched.Time
}

func (g *growing) Look(q history.Query) history.Frame {
	q.At = min(q.At, g.end)
	if q.Latest {
		q.At, q.Latest = g.end, false
	}
	f := g.Source.Look(q)
	f.End, f.Closed = g.end, false
	return f
}

func TestTabLooksAtTheOtherPolicyOrTheNextView(t *testing.T) {
	s := newSession(t, Options{Sources: exampleSources(t)}, 160, 40).at(0.5)
	s.keys("3", "tab")
	if s.m.focus != 1 || s.m.view != viewTasks {
		t.Fatalf("tab leads to side %d of view %v", s.m.focus, s.m.view)
	}
	s.keys("tab")
	if s.m.focus != 0 {
		t.Fatal("a second tab does not lead back")
	}
	s = exampleSession(t, 100, 30)
	s.keys("tab", "tab", "shift+tab")
	if s.m.view != viewCluster {
		t.Fatalf("tab, tab, shift-tab lead to %v", s.m.view)
	}
}

// Two policies run one workload on one cluster: what is looked at on one side is on the other too.
func TestBothSidesAreAboutTheSameTaskAndNode(t *testing.T) {
	s := newSession(t, Options{Sources: exampleSources(t)}, 160, 40).at(0.5)
	s.keys("2", "down", "down")
	if a, b := s.m.sides[0].cursor[viewCluster], s.m.sides[1].cursor[viewCluster]; a != 2 || b != 2 {
		t.Fatalf("one side shows node %d, the other node %d", a, b)
	}
	s.keys("3", "down", "enter")
	a, b := s.m.sides[0].frame.Task, s.m.sides[1].frame.Task
	if a == nil || b == nil || a.Row.ID != b.Row.ID {
		t.Fatalf("one side is about %+v, the other about %+v", a, b)
	}
	s.keys("t")
	if a, b := s.m.sides[0].frame.DAG, s.m.sides[1].frame.DAG; a.Job == "" || a.Job != b.Job {
		t.Fatalf("one side shows job %q, the other %q", a.Job, b.Job)
	}
}

func TestLongLinesAreBrokenBetweenWords(t *testing.T) {
	for _, x := range []struct {
		text string
		w    int
		want []string
	}{
		{"short", 10, []string{"short"}},
		{"it waits for others", 10, []string{"it waits", "for others"}},
		{"it waits for other", 9, []string{"it waits", "for other"}},
		{"0123456789abc", 5, []string{"01234", "56789", "abc"}},
		{"a 0123456789", 5, []string{"a", "01234", "56789"}},
		{"训练任务 失败", 8, []string{"训练任务", "失败"}},
		{"训练任务失败了", 5, []string{"训练", "任务", "失败", "了"}},
		{"", 5, []string{""}},
		{"训", 1, []string{"训"}},
	} {
		if got := wrapped(x.text, x.w); !slices.Equal(got, x.want) {
			t.Errorf("%q in %d columns: %q, want %q", x.text, x.w, got, x.want)
		}
	}
}

// A task without relatives has nothing to choose: j scrolls what is told of it.
func TestTheDetailsOfALonelyTaskScroll(t *testing.T) {
	w := generated(t, "jobs=5,arrival=poisson,gpus=philly", 3, manyNodes(2))
	src := Recording{simulate(t, w, manyNodes(2), &line{}), Info{Policy: "fifo"}}
	s := newSession(t, Options{Sources: []Source{src}}, 80, 15).at(1)
	s.keys("3", "enter")
	wants(t, s, "asks for", "more")
	for range 30 {
		s.keys("j")
	}
	wants(t, s, "attempts", "finished")
	if strings.Contains(s.screen(), "asks for") {
		t.Fatalf("it did not scroll:\n%s", s.screen())
	}
}

func TestTimesBelowAChartAreRound(t *testing.T) {
	s := exampleSession(t, 120, 40).at(0.5)
	s.keys("4", "0")
	for range 6 {
		s.keys("+")
		axis := strings.Split(s.screen(), "\n")[bodyTop]
		marks := regexp.MustCompile(`╷(\d+):(\d+):(\d+)`).FindAllStringSubmatch(axis, -1)
		if len(marks) < 3 {
			t.Fatalf("the axis marks %d times: %s", len(marks), axis)
		}
		for _, m := range marks {
			if s, _ := strconv.Atoi(m[3]); s%5 != 0 {
				t.Errorf("the axis marks %s", m[0])
			}
		}
	}
}

// shuffled is a live source whose tasks change their order now and then.
type shuffled struct {
	acted
	turn int
}

func (s *shuffled) Look(q history.Query) history.Frame {
	s.mu.Lock()
	s.turn++
	if q.Tasks != nil {
		t := *q.Tasks
		t.Desc = s.turn/6%2 == 0
		q.Tasks = &t
	}
	s.mu.Unlock()
	return s.Source.Look(q)
}

// Live, where keys act on it, the cursor stays on the task it was moved to, wherever that goes, until it is over.
func TestTheCursorStaysOnItsTaskWhereKeysActOnIt(t *testing.T) {
	src := &shuffled{acted: acted{Source: exampleSources(t)[0]}}
	s := newSession(t, Options{Sources: []Source{src}}, 100, 30).at(0.4)
	s.keys("3")
	s.typedAfter("/", "!state:over")
	look := func() {
		s.m.stale = true
		s.tick()
	}
	for src.turn%6 != 0 {
		look()
	}
	s.keys("down", "down")
	want, ok := s.m.selected()
	if !ok {
		t.Fatal("nothing is chosen")
	}
	rows, seen := map[int]bool{}, 0
	for range 40 {
		look()
		rows[s.m.cur().cursor[viewTasks]] = true
		if r, ok := s.m.selected(); ok { // the page with it may still be to come
			if r.ID != want.ID {
				t.Fatalf("the cursor was on %s and is on %s", want.Name, r.Name)
			}
			seen++
		}
	}
	if len(rows) < 2 || seen < 20 {
		t.Fatalf("the order changed %d times, and it was seen %d times: the test shows nothing", len(rows)-1, seen)
	}
	for _, ok := s.m.selected(); !ok; _, ok = s.m.selected() {
		look()
	}
	s.keys("H", "y")
	if len(src.done) != 1 || src.done[0].Task != want.ID {
		t.Fatalf("done: %+v, want to hold %+v", src.done, want)
	}
}

func TestEscTakesAFilterAwayAndThenGoesBack(t *testing.T) {
	s := exampleSession(t, 100, 30).at(0.4)
	s.keys("3")
	all := s.m.cur().frame.List.Total
	s.typedAfter("/", "tenant:vision")
	s.keys("esc")
	if n := s.m.cur().frame.List.Total; n != all || s.m.view != viewTasks {
		t.Fatalf("after esc the view is %v with %d of %d tasks", s.m.view, n, all)
	}
	s.keys("esc")
	if s.m.view != viewOverview {
		t.Fatalf("a second esc leads to %v", s.m.view)
	}
	s.keys("2", "enter") // the tasks of a node: one esc leads back
	wants(t, s, "filter: node=node-001")
	s.keys("esc")
	if s.m.view != viewCluster || s.m.filters[0] != "" {
		t.Fatalf("esc leads to %v, the filter is %q", s.m.view, s.m.filters[0])
	}
	s.keys("7")
	s.typedAfter("/", "event:finished")
	s.keys("esc")
	if s.m.view != viewEvents || s.m.filters[1] != "" {
		t.Fatalf("esc leads to %v, the filter of the events is %q", s.m.view, s.m.filters[1])
	}
}

func TestTenantsThatHaveNoRoomAreCounted(t *testing.T) {
	// At 80x24 there is room for three of the example's four tenants, at 120x40 for all.
	for size, want := range map[[2]int]string{{80, 24}: "3 of 4 tenants", {200, 60}: " tenant "} {
		s := newSession(t, Options{Sources: exampleSources(t)[:1]}, size[0], size[1]).at(0.4)
		if got := s.screen(); !strings.Contains(got, want) {
			t.Errorf("%v: no %q in\n%s", size, want, got)
		}
	}
}
