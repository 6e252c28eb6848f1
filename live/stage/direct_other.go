//go:build !linux

package stage

import (
	"errors"
	"os"
)

func setDirect(_ *os.File, on bool) error {
	if on {
		return errors.ErrUnsupported
	}
	return nil
}

func dieWithParent() error { return nil }

func cached(*os.File, int64) bool { return true }

func clone(_, _ *os.File) error { return errors.ErrUnsupported }
