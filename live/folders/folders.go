// Package folders says where the live mode keeps what it knows.
package folders

import (
	"fmt"
	"path/filepath"
)

// HomeEnv is the environment variable that puts everything below one folder.
const HomeEnv = "SCHEDLAB_HOME"

// SocketFile is the name of the daemon's socket in the folder Run, which only its owner may enter.
const SocketFile = "socket"

// Folders are absolute paths. They need not be there.
type Folders struct {
	State  string // jobs, the journal, logs: what must survive
	Run    string // the socket: what a reboot may take
	Config string
}

// Find returns the folders: below $SCHEDLAB_HOME where that is set, else as the XDG base directory specification has it. It fails where the
// environment names none, or one that is not absolute (which would be another place for every working directory).
func Find(getenv func(string) string) (Folders, error) {
	if home := getenv(HomeEnv); home != "" {
		if !filepath.IsAbs(home) {
			return Folders{}, fmt.Errorf("$%s is %q; it must be an absolute path", HomeEnv, home)
		}
		home = filepath.Clean(home)
		return Folders{filepath.Join(home, "state"), filepath.Join(home, "run"), filepath.Join(home, "config")}, nil
	}
	// The specification has relative paths ignored.
	xdg := func(env, below string) string {
		if v := getenv(env); filepath.IsAbs(v) {
			return filepath.Join(v, "schedlab")
		}
		if v := getenv("HOME"); filepath.IsAbs(v) {
			return filepath.Join(v, below, "schedlab")
		}
		return ""
	}
	f := Folders{State: xdg("XDG_STATE_HOME", ".local/state"), Config: xdg("XDG_CONFIG_HOME", ".config")}
	if f.State == "" || f.Config == "" {
		return Folders{}, fmt.Errorf("no folder for the state: neither $%s nor $HOME is set", HomeEnv)
	}
	f.Run = filepath.Join(f.State, "run")
	if v := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(v) {
		f.Run = filepath.Join(v, "schedlab")
	}
	return f, nil
}
