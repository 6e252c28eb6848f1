package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/schedlab/schedlab/benchmarks/report"
)

// writeFile writes the file at path whole: under a temporary name in the same folder, synced, renamed. On an error there is no new file,
// and one that was there is as before. A file that was there keeps its permissions; a link is followed. What is no regular file (a
// device, a pipe) is written to directly, and so is standard output under its names in /dev: it may be a file whose beginning is written
// already. Errors of the file system name the path.
func writeFile(path string, write func(io.Writer) error) (err error) {
	if isStdout(path) {
		return write(os.Stdout)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	mode := fs.FileMode(0o666)
	st, err := os.Stat(path)
	switch {
	case err == nil && st.IsDir():
		return fmt.Errorf("%s: is a folder", path)
	case err == nil && !st.Mode().IsRegular():
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	case err == nil:
		mode = st.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	dir, base := filepath.Split(path)
	temp := filepath.Join(dir, "."+base+"."+rand.Text()[:8]+".tmp")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			pe.Path = path // the temporary name means nothing to the user
		}
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(temp)
			err = named(err, temp, path)
		}
	}()
	if st != nil {
		if err := f.Chmod(mode); err != nil { // past the umask
			return err
		}
	}
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// named puts the path that the user knows in the place of the temporary one.
func named(err error, temp, path string) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe) && pe.Path == temp:
		pe.Path = path
	case errors.As(err, &le) && le.Old == temp:
		return &fs.PathError{Op: "write", Path: path, Err: le.Err}
	}
	return err
}

// outputFlag adds -o, which takes one of the choices; the first is the default.
func outputFlag(cmd *cobra.Command, to *string, choices ...string) {
	*to = choices[0]
	cmd.Flags().VarP(&choice{to, choices}, "output", "o", "what to print: "+strings.Join(choices, ", "))
}

// choice is a flag that takes one of a few words.
type choice struct {
	to    *string
	words []string
}

func (c *choice) String() string { return *c.to }
func (c *choice) Type() string   { return strings.Join(c.words, "|") }

func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("it must be one of %s", strings.Join(c.words, ", "))
	}
	*c.to = s
	return nil
}

// nameFlag adds a flag that takes the name of a file, a folder or a scenario. An empty one is refused: "$F", where F is not set, would go unnoticed.
func nameFlag(fl *pflag.FlagSet, to *string, flag, value, usage string) {
	*to = value
	fl.Var((*name)(to), flag, usage)
}

type name string

func (n *name) String() string { return string(*n) }
func (n *name) Type() string   { return "string" }

func (n *name) Set(s string) error {
	if s == "" {
		return errors.New("the name is empty")
	}
	*n = name(s)
	return nil
}

// shown is a terminal, or what becomes one: jobs, their owners and files may have put control characters into what is shown to others. Each Write
// must be of whole runes.
type shown struct{ w io.Writer }

func (s shown) Write(p []byte) (int, error) {
	if _, err := io.WriteString(s.w, report.Printable(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
