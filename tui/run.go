package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	"golang.org/x/term"

	"github.com/schedlab/schedlab/policies/sched"
	"github.com/schedlab/schedlab/tui/history"
	"github.com/schedlab/schedlab/tui/unasked"
)

func init() { unasked.Restore() }

// Options say what is shown and how.
type Options struct {
	Sources  []Source // one, or two side by side on one clock
	ReadOnly bool     // nothing can be changed
	ASCII    bool     // no signs outside of ASCII
	Colour   string   // none, 16, 256 or true; "" = what the terminal has, none where NO_COLOR is set
	Speed    float64  // trace seconds a second; 0 = so that a run lasts about Lasts
	Lasts    time.Duration
	At       *sched.Time // where the clock begins; nil = at the beginning, live at the end
	SaveDir  string      // where ctrl-s writes; "" = the working directory

	In  io.Reader // nil = the terminal
	Out io.Writer
}

func (o *Options) lasts() time.Duration {
	if o.Lasts > 0 {
		return o.Lasts
	}
	return 90 * time.Second
}

// Colours are what Options.Colour takes.
var Colours = []string{"none", "16", "256", "true"}

func (o *Options) renderer() (*lipgloss.Renderer, error) {
	out := o.Out
	if out == nil {
		out = os.Stdout
	}
	var ask []termenv.OutputOption
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		ask = append(ask, termenv.WithTTY(true)) // termenv takes no terminal for one where CI is set
	}
	r := lipgloss.NewRenderer(out, ask...)
	switch o.Colour {
	case "": // termenv asks the terminal, and NO_COLOR
	case "none":
		r.SetColorProfile(termenv.Ascii)
	case "16":
		r.SetColorProfile(termenv.ANSI)
	case "256":
		r.SetColorProfile(termenv.ANSI256)
	case "true":
		r.SetColorProfile(termenv.TrueColor)
	default:
		return nil, fmt.Errorf("no colours %q; there are %s", o.Colour, strings.Join(Colours, " "))
	}
	return r, nil
}

// Run shows the sources until the user leaves or the context ends. The terminal is given back as it was, also after a panic and on SIGTERM.
func Run(ctx context.Context, o Options) error {
	if len(o.Sources) < 1 || len(o.Sources) > 2 {
		return fmt.Errorf("the terminal UI shows one or two runs, not %d", len(o.Sources))
	}
	r, err := o.renderer()
	if err != nil {
		return err
	}
	// Signals end the context, which the caller sees to: with a handler of its own as well, bubbletea can wait for itself for ever.
	opts := []tea.ProgramOption{tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithAltScreen(), tea.WithMouseCellMotion(), tea.WithFPS(perSecond)}
	if o.In != nil {
		opts = append(opts, tea.WithInput(o.In))
	}
	if o.Out != nil {
		opts = append(opts, tea.WithOutput(o.Out))
	}
	g := guarded{newModel(o, newTheme(r, o.ASCII)), &fault{}}
	_, err = tea.NewProgram(g, opts...).Run()
	if bug := g.fault.err(); bug != nil {
		return bug
	}
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil { // asked to end from outside
		return nil
	}
	return err
}

// Plain writes one table of the sources' last state, for what is not a terminal.
func Plain(w io.Writer, sources ...Source) error {
	q := history.Query{Latest: true, Waits: true, Exact: true}
	infos := make([]Info, len(sources))
	frames := make([]history.Frame, len(sources))
	for i, s := range sources {
		infos[i], frames[i] = s.Info(), s.Look(q)
	}
	lines := [][]string{{""}, {"mode"}, {"at"}, {"running"}, {"queued"}, {"blocked"}, {"done"}, {"failed"}}
	for i := range frames {
		f := &frames[i]
		bad := f.Counts[sched.Failed] + f.Counts[sched.Dropped] + f.Counts[sched.Rejected]
		for k, v := range []string{
			infos[i].Policy, infos[i].Mode.String(), instant(f.At, infos[i].Epoch, f.End-f.From), fmt.Sprint(f.Counts.Running()), fmt.Sprint(f.Counts.Queued()),
			fmt.Sprint(f.Counts[sched.Blocked]), fmt.Sprint(f.Counts[sched.Done]), fmt.Sprint(bad),
		} {
			lines[k] = append(lines[k], v)
		}
	}
	for _, x := range measures {
		l := []string{x.name}
		for i := range frames {
			l = append(l, x.text(&frames[i], &infos[i]))
		}
		if !strings.HasSuffix(x.name, " now") && x.name != "finished" {
			lines = append(lines, l)
		}
	}
	bound, known := []string{"lower bound"}, false
	for _, x := range infos {
		b := "-"
		if x.LowerBound > 0 {
			b, known = span(time.Duration(x.LowerBound)), true
		}
		bound = append(bound, b)
	}
	over := slices.IndexFunc(lines, func(l []string) bool { return l[0] == "over bound" })
	if known {
		lines = slices.Insert(lines, over, bound)
	} else {
		lines = slices.Delete(lines, over, over+1)
	}
	widths := make([]int, len(sources)+1)
	for _, l := range lines {
		for c, v := range l {
			widths[c] = max(widths[c], width(v))
		}
	}
	for _, l := range lines {
		var b strings.Builder
		for c, v := range l {
			if c > 0 {
				b.WriteString("  ")
			}
			b.WriteString(fitText(v, widths[c], c > 0))
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	for _, x := range infos {
		if x.Note == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", x.Title, x.Note); err != nil {
			return err
		}
	}
	return nil
}
