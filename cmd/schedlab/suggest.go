package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// meant asks about the words that are near to a misspelt one, as cobra finds them among commands; "" where none is.
func meant(misspelt string, words []string) string {
	all := &cobra.Command{SuggestionsMinimumDistance: min(2, len(misspelt)-1)} // that at most, in spite of its name
	for _, w := range words {
		all.AddCommand(&cobra.Command{Use: w, Run: func(*cobra.Command, []string) {}})
	}
	near := all.SuggestionsFor(misspelt)
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}

// meantCommand is meant for the commands below one, and its topics of help.
func meantCommand(c *cobra.Command, misspelt string) string {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
			names = append(names, sub.Name())
		}
	}
	return meant(misspelt, names)
}

// meantFlag is meant for the flags of a command.
func meantFlag(c *cobra.Command, misspelt string) string {
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return meant("--"+misspelt, names)
}
