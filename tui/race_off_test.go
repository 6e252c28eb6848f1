//go:build !race && linux

package tui

const raced = false
