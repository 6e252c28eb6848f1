package main

import (
	"bytes"
	"fmt"
	"os"
)

// page gathers what is printed, to put it between two marks of a Markdown file.
type page struct{ bytes.Buffer }

const (
	pageBegin = "<!-- make bench-readme writes what stands from here -->"
	pageEnd   = "<!-- to here -->"
)

// into replaces what stands between the marks.
func (p *page) into(path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	from, to := bytes.Index(old, []byte(pageBegin)), bytes.Index(old, []byte(pageEnd))
	if from < 0 || to < from {
		return fmt.Errorf("%s: the marks %s and %s are not there", path, pageBegin, pageEnd)
	}
	var out bytes.Buffer
	out.Write(old[:from+len(pageBegin)])
	out.WriteString("\n\n```\n")
	for _, line := range bytes.Split(bytes.TrimSpace(p.Bytes()), []byte("\n")) {
		out.Write(bytes.TrimRight(line, " "))
		out.WriteByte('\n')
	}
	out.WriteString("```\n\n")
	out.Write(old[to:])
	return os.WriteFile(path, out.Bytes(), 0o666)
}
