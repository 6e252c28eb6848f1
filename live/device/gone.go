package device

import (
	"errors"
	"syscall"
)

// isGone reports whether a file of sysfs fails because its device is no more.
func isGone(err error) bool { return errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EIO) }
