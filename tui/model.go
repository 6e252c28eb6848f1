package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

// viewID names a view.
type viewID uint8

// The views. The last three are not in the row of tabs: they are about one task, or one answer.
const (
	viewOverview viewID = iota
	viewCluster
	viewTasks
	viewGantt
	viewDAG
	viewCompare
	viewEvents
	viewDetail
	viewText
	numTabs = viewDetail
)

var viewNames = [...]string{"overview", "cluster", "tasks", "gantt", "dag", "compare", "events", "task", "text"}

func (v viewID) String() string { return viewNames[v] }

// side is what belongs to one of the sources: its last answer, and where its lists stand.
type side struct {
	frame  history.Frame
	info   Info
	have   bool
	cursor [len(viewNames)]int // selected row by view
	offset [len(viewNames)]int // first row shown
	task   sched.TaskID        // that details and DAG are about
	marked map[sched.TaskID]bool
	pinned sched.TaskID          // that the cursor of the tasks stays on while they change their order; Nobody = it stays on its row
	moved  bool                  // the cursor of the tasks has moved since
	folded bool                  // the DAG's branches are folded, but those of unlike
	unlike map[sched.TaskID]bool // those that are the other way
	seek   bool                  // the cursor of the DAG is to go to task
	sought bool                  // the question that is out asks where that is
}

// model is the whole state of the UI. Update changes it by what it is told, time included; View draws it. Neither asks a clock or a source.
type model struct {
	opt     Options
	theme   *theme
	sides   []side
	focus   int
	view    viewID
	past    []viewID
	w, h    int
	clock   clock
	set     bool       // the clock has been set from the first answer
	tempo   bool       // the speed was chosen, by the user or for a run that is whole
	zoom    float64    // part of the run that curves and Gantt show; 1 = all
	middle  sched.Time // of the window, where it does not follow the clock
	panned  bool
	began   time.Time // first tick
	ticked  time.Time
	asked   time.Time // when the order of tasks was last made anew
	clicked time.Time
	busy    bool // a question is out
	stale   bool // what is on the screen changed since it was asked
	frames  int
	sortBy  history.Column
	desc    bool
	filters [2]string // of tasks, of events
	lent    bool      // that of the tasks is a node's, which was come from
	heat    int8      // heat map: 0 as the number of nodes says, 1 yes, -1 no
	lanes   int8      // the same for rows of the Gantt chart
	paint   colouring
	curves  bool // compare shows waits over time instead of their distribution

	prompt  prompt
	input   textinput.Model
	typed   []string
	asking  *question
	helping bool
	helpTop int
	message string
	bad     bool
	until   time.Time // the message goes then; zero = with the next key
	words   []string  // viewText, as they came
	told    uint64    // grows with each of them
	sheet   *sheet    // and as they are shown
	again   tea.Cmd   // asks for them anew, each second; nil = they stay
	reread  time.Time
	title   string
	tab     string // its short title
	buffer  *canvas
	out     *strings.Builder
	looked  time.Time
	change  uint64 // grows with all that may change the picture
	drawn   *drawn
	hits    *[]hit
}

// drawn is the last picture, which stands while nothing changes.
type drawn struct {
	change uint64
	text   string
	valid  bool
}

// sheet is a text broken into the lines of a screen.
type sheet struct {
	told  uint64
	w     int
	lines []string
}

// lines returns the text as it is shown: long lines are broken.
func (m *model) lines() []string {
	w := max(m.panes()[0].w-2, 1)
	if s := m.sheet; s.told != m.told || s.w != w {
		*s = sheet{m.told, w, nil}
		for _, l := range m.words {
			s.lines = append(s.lines, wrapped(l, w)...)
		}
	}
	return m.sheet.lines
}

// colouring says what colours the bars of the Gantt chart and the GPUs stand for.
type colouring uint8

const (
	byJob colouring = iota
	byTenant
	byState
)

func (c colouring) String() string { return [...]string{"job", "tenant", "state"}[c] }

// prompt says what is typed at the bottom.
type prompt uint8

const (
	noPrompt prompt = iota
	promptFilter
	promptCommand
	promptTime
)

// question is an action that waits for y.
type question struct {
	text    string
	actions []Action
}

// Messages.
type (
	tickMsg struct{ now time.Time }
	lookMsg struct {
		frames []history.Frame
		infos  []Info
	}
	saidMsg struct {
		text string
		err  error
	}
	textMsg struct {
		title   string
		tab     string
		lines   []string
		err     error
		again   tea.Cmd // asks for it anew, since it grows
		refresh bool    // it was asked for anew
	}
)

func newModel(o Options, t *theme) model {
	m := model{opt: o, theme: t, zoom: 1, clock: clock{speed: 1}, sortBy: history.ByState, buffer: &canvas{}, out: &strings.Builder{}, hits: &[]hit{}, drawn: &drawn{}, sheet: &sheet{}, stale: true}
	for _, s := range o.Sources {
		m.sides = append(m.sides, side{info: s.Info(), task: sched.Nobody, pinned: sched.Nobody, marked: map[sched.TaskID]bool{}, unlike: map[sched.TaskID]bool{}})
		m.sides[len(m.sides)-1].cursor[viewEvents] = 1 << 20 // the newest
	}
	if o.Speed > 0 {
		m.clock.speed, m.tempo = o.Speed, true
	}
	if len(m.sides) > 0 && m.sides[0].info.Mode == Live {
		m.clock.follow = true
	}
	if o.At != nil {
		m.clock.follow = false
	}
	m.input = textinput.New()
	m.input.Prompt = ""
	m.input.CharLimit = 200
	return m
}

// perSecond is how often the screen is drawn anew at most.
const perSecond = 30

func (m model) tick() tea.Cmd {
	return tea.Tick(time.Second/perSecond, func(t time.Time) tea.Msg { return tickMsg{t} })
}

func (m model) Init() tea.Cmd { return m.tick() }

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if t, ok := msg.(tickMsg); ok {
		return m.onTick(t.now)
	}
	m.change++
	switch msg := msg.(type) {
	case lookMsg:
		m.onLook(msg)
	case tea.WindowSizeMsg:
		m.w, m.h, m.stale = msg.Width, msg.Height, true
	case tea.KeyMsg:
		return m.onKeys(msg)
	case tea.MouseMsg:
		return m.onMouse(msg)
	case saidMsg:
		if msg.err != nil {
			m.say(msg.err.Error(), true)
		} else {
			m.say(msg.text, false)
		}
		m.stale = true
	case textMsg:
		if msg.err != nil {
			m.say(msg.err.Error(), true)
			break
		}
		m.showText(msg)
	}
	return m, nil
}

// showText shows an answer. Of one that grows the end is shown; when it comes again, it moves on only if its end was on the screen.
func (m *model) showText(t textMsg) {
	s, rows := m.cur(), max(m.panes()[0].h-1, 1)
	end := func() int { return max(len(m.lines())-rows, 0) }
	if t.refresh {
		if m.view != viewText || m.title != t.title {
			return // it was left meanwhile
		}
		atEnd := s.offset[viewText] >= end()
		m.words = t.lines
		m.told++
		if atEnd {
			s.offset[viewText] = end()
		}
		return
	}
	m.words, m.title, m.again, m.tab = t.lines, t.title, t.again, t.tab
	m.told++
	m.go_(viewText)
	s.offset[viewText] = 0
	if t.again != nil {
		s.offset[viewText] = end()
	}
}

func (m *model) cur() *side { return &m.sides[m.focus] }

// say shows a message until the next key, or a while.
func (m *model) say(text string, bad bool) {
	m.message, m.bad = text, bad
	m.until = m.ticked.Add(8 * time.Second)
}

// ends returns what the clock may move over: where the recordings begin and where the longest of them ends.
func (m *model) ends() (from, end sched.Time) {
	first := true
	for i := range m.sides {
		s := &m.sides[i]
		if !s.have {
			continue
		}
		if first {
			from, end, first = s.frame.From, s.frame.End, false
		}
		from, end = min(from, s.frame.From), max(end, s.frame.End)
	}
	return from, end
}

// closed reports whether no recording grows any more.
func (m *model) closed() bool {
	for i := range m.sides {
		if !m.sides[i].have || !m.sides[i].frame.Closed {
			return false
		}
	}
	return true
}

func (m model) onTick(now time.Time) (tea.Model, tea.Cmd) {
	if m.began.IsZero() {
		m.began, m.ticked = now, now
	}
	d := now.Sub(m.ticked)
	m.ticked = now
	if d < 0 || d > time.Second { // the machine slept: the clock did too
		d = time.Second / perSecond
	}
	if m.message != "" && now.After(m.until) {
		m.message = ""
		m.change++
	}
	if m.set {
		from, end := m.ends()
		was := m.clock.at
		m.clock.advance(d, from, end)
		if m.clock.at != was {
			m.stale = true
			m.change++
		}
	}
	cmds := []tea.Cmd{m.tick()}
	if m.view == viewText && m.again != nil && now.Sub(m.reread) >= time.Second {
		m.reread = now
		cmds = append(cmds, m.again)
	}
	if !m.busy && (m.stale || !m.closed() && now.Sub(m.looked) >= lookEvery) {
		m.busy, m.stale, m.looked = true, false, now
		cmds = append(cmds, m.ask())
	}
	return m, tea.Batch(cmds...)
}

// lookEvery is how often a recording that grows is looked at where nothing else changes.
const lookEvery = time.Second / 10

// orderEvery is how often the order of the tasks is made anew while time moves.
const orderEvery = time.Second

// ask looks at the sources, in a goroutine of its own.
func (m *model) ask() tea.Cmd {
	keep := m.ticked.Sub(m.asked) < orderEvery
	if !keep && m.view == viewTasks {
		m.asked = m.ticked
	}
	qs := make([]history.Query, len(m.sides))
	for i := range qs {
		qs[i] = m.query(i)
		m.sides[i].sought = m.sides[i].seek && qs[i].DAG != nil
		if qs[i].Tasks != nil {
			qs[i].Tasks.Keep = keep && !m.clock.paused
		}
	}
	sources := m.opt.Sources
	return func() tea.Msg {
		var l lookMsg
		for i, s := range sources {
			l.infos = append(l.infos, s.Info())
			l.frames = append(l.frames, s.Look(qs[i]))
		}
		return l
	}
}

func (m *model) onLook(l lookMsg) {
	m.busy = false
	m.frames++
	for i := range min(len(l.frames), len(m.sides)) {
		s := &m.sides[i]
		s.frame, s.info, s.have = l.frames[i], l.infos[i], true
		m.settle(s)
	}
	from, end := m.ends()
	if at := m.opt.At; !m.set && end > from && (at == nil || *at < end || m.closed()) {
		m.clock.at, m.set, m.stale = from, true, true
		if at != nil {
			m.clock.at = min(max(*at, from), end)
		} else if m.clock.follow {
			m.clock.at = end
		}
		m.zoom = m.firstZoom(end - from)
	}
	if m.set && !m.tempo && !m.clock.follow && end > from {
		m.clock.speed = speedFor(time.Duration(end-from), m.opt.lasts())
		m.tempo = m.closed()
	}
}

// firstZoom is what curves and the Gantt chart show at first: a quarter of a run, so that one sees it move, and live the last half hour.
func (m *model) firstZoom(length sched.Time) float64 {
	if m.sides[0].info.Mode == Live {
		return min(float64(30*time.Minute)/float64(length), 1)
	}
	return 0.25
}

// settle keeps the selections of a side within what is there.
func (m *model) settle(s *side) {
	f := &s.frame
	clip := func(v viewID, total int) { s.cursor[v] = max(min(s.cursor[v], total-1), 0) }
	switch m.view {
	case viewTasks:
		s.pin()
		clip(viewTasks, f.List.Total)
		if s.offset[viewTasks] > s.cursor[viewTasks] {
			s.offset[viewTasks] = s.cursor[viewTasks]
		}
	case viewCluster:
		clip(viewCluster, f.Nodes.Total)
	case viewGantt:
		clip(viewGantt, f.Gantt.Total)
	case viewDAG:
		if s.sought && f.DAG.Tasks > 0 {
			s.seek, s.sought, m.stale = false, false, true
			s.cursor[viewDAG] = f.DAG.Found
		}
		clip(viewDAG, f.DAG.Total)
	case viewEvents:
		s.offset[viewEvents] = min(s.offset[viewEvents], f.Events.Skip)
	}
}

// pin keeps the cursor on the task that it was moved to: live one acts on it, and the next key must not mean another one. A task that is over is let go.
func (s *side) pin() {
	p := &s.frame.List
	switch k := s.cursor[viewTasks] - p.From; {
	case s.info.Mode != Live:
	case s.moved:
		if k >= 0 && k < len(p.Rows) {
			s.pinned, s.moved = p.Rows[k].ID, false
		}
	case p.Found < 0 || p.FoundState.Over():
		s.pinned = sched.Nobody
	case s.pinned != sched.Nobody:
		s.cursor[viewTasks] = p.Found
	}
}

// window returns the stretch of time that curves and the Gantt chart show.
func (m *model) window() (from, to sched.Time) {
	from, end := m.ends()
	all := max(end-from, 1)
	w := max(sched.Time(float64(all)*m.zoom), 1000)
	if m.zoom >= 1 {
		return from, from + all
	}
	mid := m.middle
	if !m.panned {
		mid = m.clock.at - w*3/8 // what has been shows, and a little of what comes
	}
	a := min(max(mid-w/2, from), max(end-w, from))
	return a, a + w
}

func (m *model) go_(v viewID) {
	if v == m.view {
		return
	}
	if n := len(m.past); n == 0 || m.past[n-1] != m.view {
		m.past = append(m.past, m.view)
	}
	if len(m.past) > 32 {
		m.past = m.past[1:]
	}
	m.view, m.stale = v, true
}

// goBack takes the filter of a list away, and else goes to the view before.
func (m *model) goBack() {
	if i := m.filterOf(); (m.view == viewTasks || m.view == viewEvents) && m.filters[i] != "" {
		lent := m.lent
		m.clearFilter()
		if !lent {
			m.say("all are shown again", false)
			return
		}
	}
	if n := len(m.past); n > 0 {
		m.view, m.past, m.stale = m.past[n-1], m.past[:n-1], true
	}
}

// selected returns the task that the view points at.
func (m *model) selected() (history.TaskRow, bool) {
	s := m.cur()
	f := &s.frame
	at := func(rows []history.TaskRow, i int) (history.TaskRow, bool) {
		if i >= 0 && i < len(rows) {
			return rows[i], true
		}
		return history.TaskRow{ID: sched.Nobody}, false
	}
	switch m.view {
	case viewTasks:
		return at(f.List.Rows, s.cursor[viewTasks]-f.List.From)
	case viewDAG:
		if i := s.cursor[viewDAG] - f.DAG.From; i >= 0 && i < len(f.DAG.Rows) {
			return f.DAG.Rows[i].Task, true
		}
	case viewDetail:
		if f.Task != nil {
			rows := relatives(f.Task)
			if i := s.cursor[viewDetail]; i > 0 && i <= len(rows) {
				return rows[i-1], true
			}
			return f.Task.Row, true
		}
	case viewCluster:
		if i := s.cursor[viewCluster] - f.Nodes.From; i >= 0 && i < len(f.Nodes.Rows) && f.Nodes.Rows[i].Largest.Task != sched.Nobody {
			return history.TaskRow{ID: f.Nodes.Rows[i].Largest.Task, Name: f.Nodes.Rows[i].Largest.Name}, true
		}
	case viewGantt:
		if c, ok := m.ganttCell(s); ok {
			return history.TaskRow{ID: c.Task}, true
		}
	case viewEvents:
		if i := s.cursor[viewEvents]; i >= 0 && i < len(f.Events.Rows) && f.Events.Rows[i].Task != sched.Nobody {
			return history.TaskRow{ID: f.Events.Rows[i].Task, Name: f.Events.Rows[i].Name, Job: f.Events.Rows[i].Job}, true
		}
	case viewText:
		if s.task != sched.Nobody {
			return history.TaskRow{ID: s.task}, true
		}
	}
	return history.TaskRow{ID: sched.Nobody}, false
}

func relatives(d *history.TaskDetail) []history.TaskRow {
	return append(append([]history.TaskRow(nil), d.Preds...), d.Succs...)
}

// fullName names a task so that it cannot be taken for another: many tasks are called main.
func fullName(r history.TaskRow) string {
	switch {
	case r.Job == "" || r.Job == r.Name:
		return taskName(r)
	case strings.HasSuffix(r.Job, " "+r.Name): // live, with the number before it
		return "job " + r.Job
	}
	return taskName(r) + " of job " + r.Job
}

func taskName(r history.TaskRow) string {
	if r.Name == "" {
		return fmt.Sprintf("task %d", r.ID)
	}
	return r.Name
}
