package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/live/folders"
	"github.com/schedlab/schedlab/policies"
)

// publicTraces are the names under which the README's table speaks of traces, and where a machine that has them keeps them.
var publicTraces = map[string]string{
	"philly.csv.gz":                           "traces/gpu/philly/philly.csv.gz",
	"KTH-SP2-1996-2.1-cln.swf.gz":             "traces/hpc/swf/KTH-SP2-1996-2.1-cln.swf.gz",
	"openb_pod_list_default.csv.gz":           "traces/gpu/openb/openb_pod_list_default.csv.gz",
	"openb_node_list_gpu_node.csv":            "traces/gpu/openb/openb_node_list_gpu_node.csv",
	"montage-chameleon-2mass-05d-001.json.gz": "traces/dag/wfinstances/montage-chameleon-2mass-05d-001.json.gz",
}

// words splits a command line as a shell does, as far as the README needs: blanks, single and double quotes, # comments.
func words(line string) []string {
	var out []string
	var cur strings.Builder
	quote, open := rune(0), false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			cur.WriteRune(c)
		case c == '\'' || c == '"':
			quote, open = c, true
		case c == ' ':
			if open {
				out = append(out, cur.String())
				cur.Reset()
				open = false
			}
		case c == '#' && !open:
			return out
		default:
			cur.WriteRune(c)
			open = true
		}
	}
	if open {
		out = append(out, cur.String())
	}
	return out
}

func TestTheReadmeNamesEveryPolicyAndPlacement(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "### Which policies are there?")
	section, _, _ = strings.Cut(section, "\n### ")
	var named []string
	for i, part := range strings.Split(section, "`") {
		if i%2 == 1 {
			named = append(named, strings.Fields(part)...)
		}
	}
	for _, name := range append(policies.Names(), policies.PlacementNames()...) {
		if !slices.Contains(named, name) {
			t.Errorf("%s is not named", name)
		}
	}
	if count := fmt.Sprintf("%d policies, %d placements", len(policies.Catalogue), len(policies.Placements)); !strings.Contains(string(text), count) {
		t.Errorf("%q is not said", count)
	}
}

func TestEveryCommandOfTheReadmeWorks(t *testing.T) {
	if testing.Short() {
		t.Skip("runs every command of the README")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	shared := os.Getenv("SCHEDLAB_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	if shared, err = filepath.Abs(shared); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	t.Setenv(folders.HomeEnv, t.TempDir())
	if err := os.WriteFile("periodic.csv", []byte("name,c,t\nT1,0.002,0.010\nT2,0.005,0.025\nT3,0.008,0.050\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for name, at := range publicTraces {
		if _, err := os.Stat(filepath.Join(shared, at)); err != nil {
			missing[name] = true
			continue
		}
		if err := os.Symlink(filepath.Join(shared, at), name); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	inSh := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inSh = line == "```sh"
			continue
		case strings.HasPrefix(line, "|") && strings.Contains(line, "`schedlab "):
			_, line, _ = strings.Cut(line, "`schedlab ")
			line, _, _ = strings.Cut(line, "`")
			line = "schedlab " + line
		case !inSh || !strings.HasPrefix(line, "schedlab "):
			continue
		}
		args := words(line)[1:]
		absent := ""
		for _, a := range args {
			if missing[a] {
				absent = a
			}
		}
		if absent != "" {
			t.Logf("left out, %s is not on this machine (set SCHEDLAB_SHARED): %s", absent, line)
			continue
		}
		if args[len(args)-1] == "&" { // a daemon, up to the test's end
			inBackground(t, args[:len(args)-1])
			continue
		}
		var out bytes.Buffer
		for more := true; more; { // a pipe: what one prints, the next reads
			next := slices.Index(args, "|")
			rest := []string(nil)
			if more = next >= 0; more {
				args, rest = args[:next], args[next+2:]
			}
			if out.Len() > 0 {
				standardInput(t, out.Bytes())
			}
			out.Reset()
			root := newRoot()
			root.SetArgs(args)
			root.SetOut(&out)
			root.SetErr(&out)
			if err = root.ExecuteContext(t.Context()); err != nil {
				break
			}
			args = rest
		}
		if err != nil {
			t.Errorf("%s\n%v", line, err)
		} else if out.Len() == 0 && !strings.Contains(line, "--out") && !strings.Contains(line, "convert") {
			t.Errorf("%s\nprints nothing", line)
		}
		if strings.Contains(line, "rt periodic.csv") && !strings.Contains(out.String(), "schedulable") {
			t.Errorf("%s\n%s", line, out.String())
		}
		ran++
	}
	if ran < 15 {
		t.Errorf("only %d commands were found in the README", ran)
	}
}

// standardInput has the process read text from its standard input until the test ends.
func standardInput(t *testing.T, text []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdin
	os.Stdin = f
	t.Cleanup(func() {
		os.Stdin = was
		_ = f.Close()
	})
}

// inBackground runs the live daemon of the command line until the test ends, and waits until it answers.
func inBackground(t *testing.T, args []string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		root := newRoot()
		root.SetArgs(args)
		root.SetErr(io.Discard)
		done <- root.ExecuteContext(ctx)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("%s\n%v", strings.Join(args, " "), err)
		}
	})
	c, err := client()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := c.Status(t.Context()); err == nil {
			return
		}
		select {
		case err := <-done:
			done <- err
			t.Fatalf("%s\n%v", strings.Join(args, " "), err)
		default:
		}
		if time.Now().After(end) {
			t.Fatal("the daemon does not answer")
		}
	}
}
