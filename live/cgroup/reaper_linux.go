package cgroup

import "syscall"

// BecomeReaper makes the calling process inherit what its descendants orphan, in place of process 1: the shim of an attempt calls it, so that a
// process that the attempt puts into the background stays below the shim, and is found and ended with the rest. The caller must wait for
// its children.
func BecomeReaper() error {
	const setChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); errno != 0 {
		return errno
	}
	return nil
}
