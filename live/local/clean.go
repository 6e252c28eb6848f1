package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/schedlab/schedlab/policies/sched"
)

// removed stands beside where the folder of a task was: its logs are gone, not lost.
const removed = ".removed"

// Remove removes the folders of the attempts of a task that is over, with their logs, and returns how much that frees on the disk; with dry it only
// says so. found is false where there is nothing. What links there point to is left alone.
func (r *Runner) Remove(t sched.TaskID, dry bool) (bytes int64, found bool, err error) {
	dir := attempts(r.Root).task(t)
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil || dry {
		return bytes, true, err
	}
	// First the mark: of a folder that is half gone nobody must think that this is all that the task wrote.
	if err := os.WriteFile(dir+removed, nil, 0o644); err != nil {
		return 0, true, err
	}
	return bytes, true, os.RemoveAll(dir)
}

// Removed reports whether the folders of a task's attempts were removed.
func (r *Runner) Removed(t sched.TaskID) bool {
	_, err := os.Lstat(attempts(r.Root).task(t) + removed)
	return err == nil
}
