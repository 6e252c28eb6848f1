package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// meant asks about the word that is nearest to a misspelt one; "" where none is near.
func meant(misspelt, before string, words []string) string {
	best, at := "", 3
	for _, w := range words {
		d := distance(misspelt, w)
		if len(misspelt) > 2 && strings.HasPrefix(w, misspelt) {
			d = min(d, 1)
		}
		if d < at && d < len(misspelt) {
			best, at = w, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s%s?", before, best)
}

// meantCommand is meant for the commands below one.
func meantCommand(c *cobra.Command, misspelt string) string {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
			names = append(names, sub.Name())
		}
	}
	return meant(misspelt, "", names)
}

// meantFlag is meant for the flags of a command.
func meantFlag(c *cobra.Command, misspelt string) string {
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return meant(misspelt, "--", names)
}

// distance is the number of letters to put in, leave out, change or swap with the next to make one word of another.
func distance(a, b string) int {
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		now := make([]int, len(b)+1)
		now[0] = i + 1
		for j := range b {
			change := 1
			if a[i] == b[j] {
				change = 0
			}
			now[j+1] = min(last[j]+change, last[j+1]+1, now[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				now[j+1] = min(now[j+1], before[j-1]+1)
			}
		}
		before, last = last, now
	}
	return last[len(b)]
}
