package tui

import "github.com/charmbracelet/bubbles/key"

// action is what a key does. Keys and help come from the same map.
type action uint8

const (
	none action = iota
	quit
	back
	help
	nextView
	prevView
	view1
	view2
	view3
	view4
	view5
	view6
	view7
	otherSide
	up
	down
	top
	bottom
	pageUp
	pageDown
	left
	right
	enter
	mark
	filter
	command
	sortNext
	sortPrev
	reverse
	toggle
	colours
	tree
	fold
	foldAll
	logs
	explain
	pause
	stepBack
	stepOn
	jumpBack
	jumpOn
	slower
	faster
	zoomIn
	zoomOut
	zoomAll
	toLive
	goTo
	hold
	release
	preempt
	cancel
	save
)

// binding ties keys to an action and says what it does, for the help.
type binding struct {
	key.Binding
	does  action
	group string
	acts  bool // changes something: not in read-only mode, and only where the source can
}

func bind(does action, group, keys, desc string, names ...string) binding {
	return binding{Binding: key.NewBinding(key.WithKeys(names...), key.WithHelp(keys, desc)), does: does, group: group}
}

func acting(b binding) binding {
	b.acts = true
	return b
}

// keyMap is all keys, in the order of the help.
var keyMap = []binding{
	bind(pause, "time", "p", "pause, go on", "p"),
	bind(stepBack, "time", "[", "a step back", "["),
	bind(stepOn, "time", "]", "a step on", "]"),
	bind(jumpBack, "time", "{", "a tenth back", "{"),
	bind(jumpOn, "time", "}", "a tenth on", "}"),
	bind(slower, "time", ",", "slower", ","),
	bind(faster, "time", ".", "faster, up to max", "."),
	bind(zoomIn, "time", "+", "zoom in", "+", "="),
	bind(zoomOut, "time", "-", "zoom out", "-", "_"),
	bind(zoomAll, "time", "0", "the whole run", "0"),
	bind(toLive, "time", "L", "to the end, stay there", "L"),
	bind(goTo, "time", "T", "go to a time", "T"),

	bind(up, "move", "k up", "up", "k", "up"),
	bind(down, "move", "j down", "down", "j", "down"),
	bind(left, "move", "left", "left, earlier; folds", "left"),
	bind(right, "move", "right", "right, later; unfolds", "right"),
	bind(top, "move", "g", "first", "g", "home"),
	bind(bottom, "move", "G", "last", "G", "end"),
	bind(pageUp, "move", "ctrl-u", "a page up", "ctrl+u", "pgup"),
	bind(pageDown, "move", "ctrl-d", "a page down", "ctrl+d", "pgdown"),
	bind(enter, "move", "enter", "details", "enter"),
	bind(back, "move", "esc", "back", "esc", "backspace"),

	bind(nextView, "views", "tab", "other policy, next view", "tab"),
	bind(prevView, "views", "shift-tab", "view before", "shift+tab"),
	bind(view1, "views", "1-7", "the view of that number", "1"),
	bind(view2, "", "", "", "2"),
	bind(view3, "", "", "", "3"),
	bind(view4, "", "", "", "4"),
	bind(view5, "", "", "", "5"),
	bind(view6, "", "", "", "6"),
	bind(view7, "", "", "", "7"),
	bind(otherSide, "views", "o", "the other policy", "o"),
	bind(tree, "views", "t", "DAG of the task's job", "t"),
	bind(fold, "views", "z", "fold, unfold a branch", "z"),
	bind(foldAll, "views", "Z", "fold, unfold all", "Z"),
	bind(toggle, "views", "m", "heat map, rows, curves", "m"),
	bind(colours, "views", "c", "what colours stand for", "c"),

	bind(filter, "tasks", "/", "filter", "/"),
	bind(sortPrev, "tasks", "<", "sort by column before", "<"),
	bind(sortNext, "tasks", ">", "sort by next column", ">"),
	bind(reverse, "tasks", "r", "turn the order round", "r"),
	bind(mark, "tasks", "space", "mark", " "),
	bind(logs, "tasks", "l", "logs (live)", "l"),
	bind(explain, "tasks", "e", "explain the wait", "e"),
	acting(bind(hold, "tasks", "H", "hold", "H")),
	acting(bind(release, "tasks", "R", "release", "R")),
	acting(bind(preempt, "tasks", "P", "preempt", "P")),
	acting(bind(cancel, "tasks", "x", "cancel", "x")),

	bind(command, "other", ":", "command; tab completes", ":"),
	bind(save, "other", "ctrl-s", "save as SVG and text", "ctrl+s"),
	bind(help, "other", "?", "this help", "?"),
	bind(quit, "other", "q", "quit", "q", "ctrl+c"),
}

// keyActions is keyMap by key.
var keyActions = func() map[string]*binding {
	m := map[string]*binding{}
	for i := range keyMap {
		for _, k := range keyMap[i].Keys() {
			if m[k] != nil {
				panic("tui: two bindings of the key " + k)
			}
			m[k] = &keyMap[i]
		}
	}
	return m
}()
