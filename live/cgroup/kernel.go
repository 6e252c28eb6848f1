package cgroup

import (
	"errors"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// kernel is what is used of the file system in which the kernel shows control groups. Tests put a model of it here.
type kernel interface {
	pid() int
	mkdir(path string) error
	rmdir(path string) error
	read(path string) ([]byte, error)
	write(path, text string) error
	exists(path string) bool
	children(path string) []string // folders in it
}

type realKernel struct{}

func (realKernel) pid() int                         { return os.Getpid() }
func (realKernel) mkdir(path string) error          { return os.Mkdir(path, 0o755) }
func (realKernel) read(path string) ([]byte, error) { return os.ReadFile(path) }

func (realKernel) rmdir(path string) error {
	// Not os.Remove, which would also take a file.
	if err := syscall.Rmdir(path); err != nil {
		return &os.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

func (realKernel) write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func (realKernel) exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (realKernel) children(path string) []string {
	entries, _ := os.ReadDir(path)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func isBusy(err error) bool {
	return errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.ENOTEMPTY)
}

// listed returns the processes in a folder and those below it, each once, in order.
func listed(k kernel, folder string) ([]int, error) {
	b, err := k.read(path.Join(folder, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 { // 0 is a process of another namespace
			pids = append(pids, pid)
		}
	}
	for _, c := range k.children(folder) {
		below, err := listed(k, path.Join(folder, c))
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENODEV) {
			return nil, err
		}
		pids = append(pids, below...)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// DeviceOf returns the numbers of a device file.
func DeviceOf(path string) (Device, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Device{}, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || st.Mode()&os.ModeCharDevice == 0 {
		return Device{}, &os.PathError{Op: "stat", Path: path, Err: errors.New("no character device")}
	}
	r := uint64(sys.Rdev)
	return Device{
		Major: uint32(r>>8&0xfff | r>>32&^0xfff),
		Minor: uint32(r&0xff | r>>12&^0xff),
	}, nil
}
