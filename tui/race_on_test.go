//go:build race && linux

package tui

// raced says that the race detector watches, under which all takes several times as long.
const raced = true
