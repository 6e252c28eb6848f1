package stage

import (
	"os"

	"golang.org/x/sys/unix"
)

// setDirect makes reads and writes of the file go past the page cache, or not.
func setDirect(f *os.File, on bool) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err == nil {
			if on {
				flags |= unix.O_DIRECT
			} else {
				flags &^= unix.O_DIRECT
			}
			_, err = unix.FcntlInt(fd, unix.F_SETFL, flags)
		}
		failed = err
	})
	if err != nil {
		return err
	}
	return failed
}

// cached reports whether the file is in the page cache where it is about to be read: then it is read from there.
func cached(f *os.File, at int64) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	b := make([]byte, align)
	n := 0
	err = raw.Control(func(fd uintptr) { n, _ = unix.Preadv2(int(fd), [][]byte{b}, at, unix.RWF_NOWAIT) })
	return err == nil && n > 0
}

// dieWithParent has the kernel kill this process when its parent dies.
func dieWithParent() error {
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

// clone makes dst share the blocks of src, where the file system can do that.
func clone(dst, src *os.File) error {
	to, err := dst.SyscallConn()
	if err != nil {
		return err
	}
	from, err := src.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = to.Control(func(d uintptr) {
		if err := from.Control(func(s uintptr) { failed = unix.IoctlFileClone(int(d), int(s)) }); err != nil {
			failed = err
		}
	})
	if err != nil {
		return err
	}
	return failed
}
