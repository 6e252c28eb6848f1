package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// checkOutputs refuses, before anything is simulated, what would lose a result or an input at the end: two outputs under one name,
// however it is written, an output that replaces what is read, and a folder that is not there or takes no file. "" among the paths is no
// path.
func checkOutputs(reads, writes []string) error {
	read := map[string]string{}
	for _, path := range reads {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			read[resolved(path)] = path
		}
	}
	written := map[string]string{}
	for _, path := range writes {
		if path == "" {
			continue
		}
		if path == "-" {
			return usagef("- is standard output, where the table goes; name a file")
		}
		if isStdout(path) {
			continue
		}
		st, err := os.Stat(path)
		switch {
		case err == nil && st.IsDir():
			return fmt.Errorf("%s: is a folder", path)
		case err == nil && !st.Mode().IsRegular():
			continue // a device or a pipe takes more than one
		case err != nil:
			if err := isFolder(filepath.Dir(path)); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		real := resolved(path)
		if from, ok := read[real]; ok {
			return usagef("%s would replace %s, which is read; name another file", path, from)
		}
		if other, ok := written[real]; ok {
			return usagef("%s and %s are one file, named for two outputs", other, path)
		}
		to := path
		if at, err := filepath.EvalSymlinks(path); err == nil {
			to = at
		}
		if err := takesFiles(filepath.Dir(to)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		written[real] = path
	}
	return nil
}

// checkFolder refuses a path where no folder can be made, since something else is there or may not be changed, and one that takes no file.
func checkFolder(path string) error {
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		st, err := os.Stat(at)
		switch {
		case err == nil && !st.IsDir():
			return fmt.Errorf("%s: %s is not a folder", path, at)
		case err == nil:
			if err := takesFiles(at); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return nil
		case at == filepath.Dir(at):
			return nil
		}
	}
}

// takesFiles makes a file in the folder, and removes it: the folder's mode alone does not say whether one can.
func takesFiles(folder string) error {
	f, err := os.CreateTemp(folder, ".schedlab-*.tmp")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if pe, ok := err.(*fs.PathError); ok {
		err = fmt.Errorf("no file can be made in folder %s: %w", folder, pe.Err)
	}
	return err
}

func isFolder(path string) error {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		if pe, ok := err.(*fs.PathError); ok {
			err = pe.Err
		}
		return fmt.Errorf("folder %s: %w", path, err)
	case !st.IsDir():
		return fmt.Errorf("%s is not a folder", path)
	}
	return nil
}

// resolved is the path that a file has without links, also one that is not there yet.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	} else if to, err := os.Readlink(path); err == nil { // a link to what is not there yet
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	} else if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return path
}

// isStdout reports whether the path is a name of the process's own standard output.
func isStdout(path string) bool {
	switch path {
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return true
	}
	return false
}
