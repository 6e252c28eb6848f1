package folders

import "testing"

func TestFoldersFollowSchedlabHomeElseXDG(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want Folders // none: an error
	}{
		{map[string]string{"SCHEDLAB_HOME": "/data/s/", "HOME": "/home/u", "XDG_STATE_HOME": "/x"}, Folders{"/data/s/state", "/data/s/run", "/data/s/config"}},
		{map[string]string{"SCHEDLAB_HOME": "data", "HOME": "/home/u"}, Folders{}},
		{map[string]string{"HOME": "/home/u"}, Folders{"/home/u/.local/state/schedlab", "/home/u/.local/state/schedlab/run", "/home/u/.config/schedlab"}},
		{map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/run/user/7", "XDG_CONFIG_HOME": "/c"}, Folders{"/s/schedlab", "/run/user/7/schedlab", "/c/schedlab"}},
		{map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "s", "XDG_RUNTIME_DIR": "run"}, Folders{"/home/u/.local/state/schedlab", "/home/u/.local/state/schedlab/run", "/home/u/.config/schedlab"}},
		{map[string]string{"XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c"}, Folders{"/s/schedlab", "/s/schedlab/run", "/c/schedlab"}},
		{map[string]string{"XDG_STATE_HOME": "/s"}, Folders{}},
		{nil, Folders{}},
	} {
		got, err := Find(func(k string) string { return c.env[k] })
		if got != c.want || (err != nil) != (c.want == Folders{}) {
			t.Errorf("%v: %+v, %v", c.env, got, err)
		}
	}
}
