package policies_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/schedlab/schedlab/policies"
)

func TestGittinsPrefersWhoIsLikelyToEndSoon(t *testing.T) {
	// By hand: nine in ten tasks need 1 s, the others 10 s. A new one is worth 1 end for (9 x 1 + 1 x 1)/9 = 1.1 s, one that has run for 1 s an end
	// for 9 s: it yields to every new one.
	file := filepath.Join(t.TempDir(), "service")
	if err := os.WriteFile(file, []byte("seconds\n"+strings.Repeat("1\n", 9)+"10\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	got := ordersOf(t, "gittins{distribution="+file+"}", 1, devices(0, 10, 1), devices(0.5, 1, 1), devices(1, 1, 1), devices(3.5, 1, 1))
	if want := "0 start 0@0, 1 stop 0, 1 start 1@0, 2 start 2@0, 3 start 0@0, 3.5 stop 0, 3.5 start 3@0, 4.5 start 0@0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// Where all need the same, who has begun is the nearest to its end: FIFO.
	if err := os.WriteFile(file, []byte("10\n10\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	got = ordersOf(t, "gittins{distribution="+file+"}", 1, devices(0, 10, 1), devices(0.5, 1, 1), devices(1, 1, 1))
	if want := "0 start 0@0, 10 start 1@0, 11 start 2@0"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestGittinsSaysWhereASampleIsBad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "service")
	for text, wrong := range map[string]string{"1\n2\nx\n": "service:3: \"x\"", "seconds\n": "no samples", "1\n-4\n": "service:2"} {
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		spec, err := policies.Parse("gittins{distribution=" + file + "}")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policies.Build(spec, policies.Hints{}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, bad := range []string{"exp", "exp:-1", "h2:1", "pareto:1/2/3"} {
		if _, err := policies.Parse("gittins{distribution=" + bad + "}"); err == nil || !strings.Contains(err.Error(), "must read") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
