package policies

import "github.com/schedlab/schedlab/policies/sched"

// pathArena makes jobPaths by the block, and the room for their tasks too, so that a job costs no allocations of its own.
type pathArena struct {
	paths []jobPath
	tasks []sched.TaskID
}

// Sizes of the blocks. A job that would take much of one has its own.
const (
	arenaPaths = 256
	arenaTasks = 4096
)

// path returns the path of a job whose first task is t, with room for so many tasks. More may join it all the same.
func (a *pathArena) path(t sched.TaskID, tasks int) *jobPath {
	if len(a.paths) == cap(a.paths) {
		a.paths = make([]jobPath, 0, arenaPaths)
	}
	a.paths = append(a.paths, jobPath{})
	j := &a.paths[len(a.paths)-1]
	if tasks > arenaTasks/8 {
		j.byRank = append(make([]sched.TaskID, 0, tasks), t)
		return j
	}
	tasks = max(tasks, 2)
	if cap(a.tasks)-len(a.tasks) < tasks {
		a.tasks = make([]sched.TaskID, 0, arenaTasks)
	}
	from := len(a.tasks)
	a.tasks = a.tasks[:from+tasks]
	j.byRank = append(a.tasks[from:from:from+tasks], t)
	return j
}
