// Package unasked keeps bubbletea from asking the terminal for its colours when a program starts that only links it: whatever the command, it would write the question,
// and wait 5 s for the answer of a terminal that gives none (the console of a virtual machine, a recording, a pipe through expect).
//
// bubbletea asks while it is initialized, by lipgloss and termenv, which ask no terminal whose TERM is dumb. So TERM is that from the initialization of this package on,
// until Restore. This one comes first because it imports nothing but os, and bubbletea more: of the packages whose imports are initialized, the first by path
// is next (Go specification, Program initialization). Nothing here looks at whether the background is dark, which is what the answer is for.
package unasked

import "os"

const name = "TERM"

var was, set = os.LookupEnv(name)

func init() {
	if set {
		_ = os.Setenv(name, "dumb")
	}
}

// Restore gives TERM back. Call it from the init of a package that imports bubbletea.
func Restore() {
	if set {
		_ = os.Setenv(name, was) // as it was, which can be no error
	}
}
