package tui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
)

// cmd is what can be typed behind a colon.
type cmd struct {
	name, args, desc string
	run              func(m *model, arg string) tea.Cmd
	complete         func(m *model) []string
	acts             bool
}

// commands is filled by init, since help lists it.
var commands []cmd

func init() {
	show := func(v viewID) cmd {
		return cmd{name: v.String(), desc: "show " + v.String(), run: func(m *model, _ string) tea.Cmd { m.open(v); return nil }}
	}
	for v := range numTabs {
		commands = append(commands, show(v))
	}
	act := func(k ActionKind) cmd {
		return cmd{name: k.String(), args: "[TASK]", desc: k.String() + " what is chosen, marked, named", acts: true, complete: taskWords, run: func(m *model, arg string) tea.Cmd {
			m.actOn(k, arg)
			return nil
		}}
	}
	commands = append(commands,
		cmd{name: "goto", args: "TIME", desc: "1h20m 50% +10m end", run: (*model).runGoto, complete: words("start", "end", "25%", "50%", "75%")},
		cmd{name: "speed", args: "N|max", desc: "trace seconds a second", run: (*model).runSpeed, complete: words("1", "10", "100", "1000", "10000", "max")},
		cmd{name: "window", args: "SPAN|all", desc: "what curves show", run: (*model).runWindow, complete: words("all", "10m", "1h", "1d")},
		cmd{name: "filter", args: "WORDS", desc: "what must match", run: func(m *model, arg string) tea.Cmd { m.setFilter(arg); return nil }, complete: filterWords},
		cmd{name: "sort", args: "COLUMN", desc: "order of the tasks", run: (*model).runSort, complete: sortWords},
		cmd{name: "task", args: "NAME", desc: "details of a task", run: (*model).runTask, complete: taskWords},
		cmd{name: "colour", args: "job|tenant|state", desc: "by what", run: (*model).runColour, complete: words("job", "tenant", "state")},
		cmd{name: "pause", desc: "stop, go on", run: func(m *model, _ string) tea.Cmd { m.time(pause); return nil }},
		cmd{name: "save", desc: "save what is seen", run: func(m *model, _ string) tea.Cmd { return m.save() }},
		cmd{name: "logs", desc: "what the task printed", run: func(m *model, _ string) tea.Cmd { return m.showLogs() }},
		cmd{name: "explain", desc: "why the task waits", run: func(m *model, _ string) tea.Cmd { return m.showExplanation() }},
		act(Hold), act(Release), act(Preempt), act(Cancel),
		cmd{name: "policy", args: "NAME", desc: "who decides from now on", run: (*model).runPolicy, complete: func(m *model) []string { return m.cur().info.Policies }, acts: true},
		cmd{name: "help", desc: "all keys", run: func(m *model, _ string) tea.Cmd { m.helping = true; return nil }},
		cmd{name: "quit", desc: "leave", run: func(*model, string) tea.Cmd { return tea.Quit }},
	)
}

// taskWords are the tasks on the screen.
func taskWords(m *model) []string {
	var w []string
	for _, r := range m.cur().frame.List.Rows {
		if r.Name != "" && !slices.Contains(w, r.Name) {
			w = append(w, r.Name)
		}
	}
	return w
}

func words(w ...string) func(*model) []string { return func(*model) []string { return w } }

func filterWords(*model) []string {
	w := []string{"state:running", "state:queued", "state:blocked", "state:done", "state:bad"}
	for _, f := range history.FilterFields {
		if f != "state" {
			w = append(w, f+":")
		}
	}
	return w
}

func sortWords(*model) []string {
	var w []string
	for _, c := range taskColumns {
		if c.sort < history.NumColumns {
			w = append(w, strings.ToLower(c.name))
		}
	}
	return append(w, "id")
}

// available are the commands that this session has.
func (m *model) available() []cmd {
	return slices.DeleteFunc(slices.Clone(commands), func(c cmd) bool { return c.acts && !m.canAct() })
}

func (m *model) startPrompt(p prompt, text string) {
	m.prompt = p
	m.input.SetValue(text)
	m.input.CursorEnd()
	m.input.Focus()
}

func (m model) onPrompt(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	switch k.String() {
	case "esc":
		m.prompt = noPrompt
		return m, nil
	case "tab":
		if m.prompt == promptCommand {
			m.completeInput()
		}
		return m, nil
	case "up":
		if n := len(m.typed); m.prompt == promptCommand && n > 0 {
			m.input.SetValue(m.typed[n-1])
			m.input.CursorEnd()
		}
		return m, nil
	case "enter":
		p, text := m.prompt, strings.TrimSpace(m.input.Value())
		m.prompt = noPrompt
		switch p {
		case promptFilter:
			m.setFilter(text)
		case promptTime:
			if text != "" {
				return m, m.runGoto(text)
			}
		case promptCommand:
			return m, m.runCommand(text)
		}
		return m, nil
	}
	var c tea.Cmd
	m.input, c = m.input.Update(k)
	return m, c
}

// candidates returns what the typed words can become.
func (m *model) candidates() []string {
	text := strings.TrimLeft(m.input.Value(), " ")
	name, arg, has := strings.Cut(text, " ")
	var out []string
	if !has {
		for _, c := range m.available() {
			if strings.HasPrefix(c.name, name) {
				out = append(out, c.name)
			}
		}
		return out
	}
	c := m.commandNamed(name)
	if c == nil || c.complete == nil {
		return nil
	}
	lead := ""
	if i := strings.LastIndex(arg, " "); i >= 0 && c.name == "filter" {
		lead, arg = arg[:i+1], arg[i+1:]
	}
	for _, w := range c.complete(m) {
		if strings.HasPrefix(w, arg) {
			out = append(out, c.name+" "+lead+w)
		}
	}
	return out
}

// completeInput fills in what all candidates have in common.
func (m *model) completeInput() {
	cs := m.candidates()
	if len(cs) == 0 {
		return
	}
	common := cs[0]
	for _, c := range cs[1:] {
		n := 0
		for n < len(common) && n < len(c) && common[n] == c[n] {
			n++
		}
		common = common[:n]
	}
	if len(cs) == 1 && !strings.Contains(common, " ") {
		if c := m.commandNamed(common); c != nil && c.args != "" {
			common += " "
		}
	}
	if len(common) >= len(m.input.Value()) {
		m.input.SetValue(common)
		m.input.CursorEnd()
	}
}

// commandNamed returns the command of that name, or the only one that begins so.
func (m *model) commandNamed(name string) *cmd {
	var found []cmd
	for _, c := range m.available() {
		if c.name == name {
			return &c
		}
		if name != "" && strings.HasPrefix(c.name, name) {
			found = append(found, c)
		}
	}
	if len(found) == 1 {
		return &found[0]
	}
	return nil
}

func (m *model) runCommand(text string) tea.Cmd {
	if text == "" {
		return nil
	}
	m.typed = append(m.typed, text)
	if len(m.typed) > 100 {
		m.typed = m.typed[1:]
	}
	name, arg, _ := strings.Cut(text, " ")
	if name == "q" {
		return tea.Quit
	}
	c := m.commandNamed(name)
	if c == nil {
		for _, x := range commands {
			if x.name == name && x.acts {
				m.say(m.whyNot(), true)
				return nil
			}
		}
		m.say(fmt.Sprintf("no command %q; tab shows what there is", name), true)
		return nil
	}
	m.stale = true
	return c.run(m, strings.TrimSpace(arg))
}

func (m *model) runGoto(arg string) tea.Cmd {
	from, end := m.ends()
	t, err := parseTime(arg, m.clock.at, from, end, m.cur().info.Epoch)
	if err != nil {
		m.say(err.Error(), true)
		return nil
	}
	m.moveTo(t)
	return nil
}

func (m *model) runSpeed(arg string) tea.Cmd {
	m.tempo = true
	if arg == "max" {
		m.clock.follow, m.clock.paused = true, false
		return nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(arg, "x"), 64)
	if err != nil || !(v > 0 && v <= 1e9) {
		m.say("speed takes trace seconds a second, such as 100, or max", true)
		return nil
	}
	m.clock.speed, m.clock.follow, m.clock.paused = v, false, false
	return nil
}

func (m *model) runWindow(arg string) tea.Cmd {
	from, end := m.ends()
	if arg == "all" {
		m.zoom, m.panned = 1, false
		return nil
	}
	d, err := parseSpan(arg)
	if err != nil || d <= 0 {
		m.say("window takes a length of time, such as 1h, or all", true)
		return nil
	}
	m.zoom = min(max(float64(d)/float64(max(end-from, 1)), 1e-7), 1)
	return nil
}

func (m *model) runSort(arg string) tea.Cmd {
	if arg == "id" {
		m.sortBy, m.desc = history.ByID, false
		m.reorder()
		return nil
	}
	for _, c := range taskColumns {
		if strings.EqualFold(c.name, arg) && c.sort < history.NumColumns {
			m.sortOn(c.sort)
			m.go_(viewTasks)
			return nil
		}
	}
	m.say("sort takes one of "+strings.Join(sortWords(m), " "), true)
	return nil
}

func (m *model) runTask(arg string) tea.Cmd {
	if arg == "" {
		m.say("task takes the name of one", true)
		return nil
	}
	s := m.opt.Sources[m.focus]
	named, ok := s.(interface {
		TaskNamed(job, name string) (sched.TaskID, bool)
	})
	if !ok {
		m.say("this source does not look for names", true)
		return nil
	}
	t, ok := named.TaskNamed("", arg)
	if !ok {
		m.say(fmt.Sprintf("no task %q", arg), true)
		return nil
	}
	m.about(t)
	m.go_(viewDetail)
	return nil
}

func (m *model) runColour(arg string) tea.Cmd {
	for c := byJob; c <= byState; c++ {
		if c.String() == arg {
			m.paint = c
			return nil
		}
	}
	m.say("colour takes job, tenant or state", true)
	return nil
}

func (m *model) runPolicy(arg string) tea.Cmd {
	if arg == "" {
		m.say("policy takes a name, such as easy", true)
		return nil
	}
	if !m.canAct() {
		m.say(m.whyNot(), true)
		return nil
	}
	m.asking = &question{text: "let " + arg + " decide from now on?", actions: []Action{{Kind: SetPolicy, Policy: arg}}}
	return nil
}
