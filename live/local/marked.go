package local

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// FolderVariable is in the environment of every process of an attempt, unless it has taken it out: by it the processes are found that a
// killed shim has left, where no cgroup holds them.
const FolderVariable = "SCHEDLAB_ATTEMPT_DIR"

// marked returns the processes that have the assignment in their environment.
func marked(assignment []byte) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile("/proc/" + e.Name() + "/environ")
		if err != nil || !(bytes.HasPrefix(env, assignment) || bytes.Contains(env, append([]byte{0}, assignment...))) {
			continue
		}
		if _, dead, ok := parentOf(pid); ok && !dead {
			out = append(out, pid)
		}
	}
	return out
}

// shimsOf returns the shims that hold the lock of a try of the attempt whose folder somebody has removed.
func (a attempts) shimsOf(t sched.TaskID, n int32) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	root, err := filepath.EvalSymlinks(string(a))
	if err != nil {
		root = string(a)
	}
	dir := filepath.Join(attempts(root).task(t), strconv.Itoa(int(n)))
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		args, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil || !bytes.Contains(args, []byte("\x00"+shimCommand+"\x00")) {
			continue
		}
		fds, err := os.ReadDir("/proc/" + e.Name() + "/fd")
		if err != nil {
			continue
		}
		if slices.ContainsFunc(fds, func(fd os.DirEntry) bool {
			file, _ := os.Readlink("/proc/" + e.Name() + "/fd/" + fd.Name())
			file, removed := strings.CutSuffix(file, "/lock (deleted)")
			return removed && (file == dir || strings.HasPrefix(file, dir+"."))
		}) {
			out = append(out, pid)
		}
	}
	return out
}

// killTries kills what lives of an attempt whose folder is gone, and reports whether there was something: its shim, what is in its control
// group, and what carries the folder in its environment.
func (r *Runner) killTries(u *run) (found bool) {
	dir := FolderVariable + "=" + filepath.Join(attempts(r.Root).task(u.task), strconv.Itoa(int(u.attempt)))
	for range 1000 {
		shims := attempts(r.Root).shimsOf(u.task, u.attempt)
		for _, pid := range shims {
			killTree(pid)
		}
		left := slices.Concat(shims, marked([]byte(dir+"\x00")), marked([]byte(dir+".")))
		if len(left) == 0 {
			break
		}
		found = true
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
	if r.Groups == nil {
		return found
	}
	r.making.Lock()
	defer r.making.Unlock()
	for _, name := range r.Groups.Names() {
		if k, ok := ofGroup(name); !ok || k != u.key {
			continue
		}
		g, ok := r.Groups.Find(name)
		if !ok {
			continue
		}
		if left, err := g.Members(); err == nil && len(left) > 0 {
			found = true
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			_ = g.Kill(ctx)
			cancel()
		}
		_ = g.Remove() // an empty folder does no harm
	}
	return found
}
