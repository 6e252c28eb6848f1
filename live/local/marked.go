package local

import (
	"bytes"
	"os"
	"strconv"
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
