package tui

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden frames anew")

// scenes are the views as a user comes to them.
var scenes = []struct {
	name string
	both bool
	keys []string
}{
	{"overview", false, nil},
	{"cluster", false, []string{"2", "down"}},
	{"heat", false, []string{"2", "m"}},
	{"tasks", true, []string{"3", ">", "r", "down"}},
	{"task", false, []string{"3", ">", "r", "enter"}},
	{"gantt", true, []string{"4", "+"}},
	{"dag", false, []string{"3", "t", "down"}},
	{"compare", true, []string{"6"}},
	{"events", false, []string{"7"}},
	{"help", false, []string{"?"}},
}

func (s *session) scene(keys []string) *session { return s.at(0.4).keys(keys...) }

// The frames at three sizes: without colours and signs outside of ASCII, and in true colour.
func TestGoldenFrames(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {120, 40}, {200, 60}} {
		for _, sc := range scenes {
			for _, kind := range []string{"ascii", "true"} {
				name := fmt.Sprintf("%s-%dx%d-%s", sc.name, size[0], size[1], kind)
				t.Run(name, func(t *testing.T) {
					o := Options{Sources: exampleSources(t)[:1]}
					if sc.both {
						o.Sources = exampleSources(t)
					}
					if kind == "ascii" {
						o.ASCII, o.Colour = true, "none"
					}
					s := newSession(t, o, size[0], size[1]).scene(sc.keys)
					got := s.coloured()
					if kind == "ascii" {
						got = s.screen()
						for _, r := range got {
							if r > 0x7e {
								t.Fatalf("%q in ASCII mode", r)
							}
						}
					}
					golden(t, filepath.Join("testdata", "frames", name+".txt"), got)
				})
			}
		}
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	a, b := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		x, y := "", ""
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			t.Fatalf("line %d differs (go test ./tui -run Golden -rewrite takes the new frames):\nwant %q\ngot  %q", i+1, x, y)
		}
	}
}
