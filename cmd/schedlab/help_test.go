package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/schedlab/schedlab/policies"
)

// linesOver80 returns the lines of text that a terminal of 80 columns would break.
func linesOver80(text string) (long []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); len([]rune(line)) > 80 {
			long = append(long, line)
		}
	}
	return long
}

func TestHelpFitsIn80Columns(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append(path, "--help"))
		if err := root.Execute(); err != nil {
			t.Errorf("%s --help: %v", c.CommandPath(), err)
		}
		if out.Len() == 0 {
			t.Errorf("%s --help prints nothing", c.CommandPath())
		}
		for _, line := range linesOver80(out.String()) {
			t.Errorf("%s --help: %q", c.CommandPath(), line)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if strings.Contains(f.Usage, "\n") {
				t.Errorf("%s --%s breaks its lines itself, where help does it by the width: %q", c.CommandPath(), f.Name, f.Usage)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
	for _, name := range policies.Names() {
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs([]string{"policy", "show", name})
		if err := root.Execute(); err != nil {
			t.Errorf("policy show %s: %v", name, err)
		}
		for _, line := range linesOver80(out.String()) {
			t.Errorf("policy show %s: %q", name, line)
		}
	}
}

func TestScenarioListFitsIn80Columns(t *testing.T) {
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"scenario", "list"})
	if err := root.Execute(); err != nil || out.Len() == 0 {
		t.Errorf("scenario list: %v, %q", err, out.String())
	}
	for _, line := range linesOver80(out.String()) {
		t.Errorf("scenario list: %q", line)
	}
}

func TestHelpOfOutNamesEveryFormatThatCanBeWritten(t *testing.T) {
	for _, path := range []string{"trace generate", "trace convert"} {
		root := newRoot()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(append(strings.Fields(path), "--help"))
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(out.String(), "--to ")
		if i := strings.Index(text, "--out "); i >= 0 {
			text = text[i:]
		}
		for _, name := range formatNames(true) {
			if !strings.Contains(text, name) {
				t.Errorf("%s --help does not name %s where it tells of the file: %s", path, name, text)
			}
		}
	}
}

// A misspelt subcommand is told, whichever command it is of, and not answered with help as if all were well.
func TestAnUnknownSubcommandIsBadUsageEverywhere(t *testing.T) {
	var parents [][]string
	var walk func(c *cobra.Command, path []string)
	walk = func(c *cobra.Command, path []string) {
		if c.HasSubCommands() {
			parents = append(parents, path)
		}
		for _, sub := range c.Commands() {
			walk(sub, append(path[:len(path):len(path)], sub.Name()))
		}
	}
	walk(newRoot(), nil)
	for _, path := range parents {
		for _, args := range [][]string{append(path[:len(path):len(path)], "nosuch"), append(append([]string{"help"}, path...), "nosuch")} {
			root := newRoot()
			root.SetArgs(args)
			root.SetOut(io.Discard)
			root.SetErr(io.Discard)
			var bad *usageError
			if err := root.ExecuteContext(t.Context()); !errors.As(err, &bad) {
				t.Errorf("%s: %v", strings.Join(args, " "), err)
			}
		}
	}
}
