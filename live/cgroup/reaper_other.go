//go:build !linux

package cgroup

import "errors"

// BecomeReaper is Linux's.
func BecomeReaper() error { return errors.ErrUnsupported }
