//go:build !linux

package doctor

import "errors"

type fileSystemKind struct {
	name           string
	remote, memory bool
}

func fileSystem(string) (fileSystemKind, int64, error) {
	return fileSystemKind{}, 0, errors.ErrUnsupported
}

func system() []Check {
	return []Check{{Name: "operating system", State: Limited, Why: "attempts are run on Linux", Fix: "use Linux for the live mode"}}
}
