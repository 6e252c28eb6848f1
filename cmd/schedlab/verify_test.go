package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/schedlab/schedlab/benchmarks/verify"
)

func TestVerifyFailsOnAFailureAndOnASkipUnlessAllowed(t *testing.T) {
	good, bad, missing := verify.Check{OK: true}, verify.Check{}, verify.Check{Skipped: true}
	for _, c := range []struct {
		checks []verify.Check
		allow  bool
		want   string
	}{
		{[]verify.Check{good, good}, false, ""},
		{[]verify.Check{good, bad}, true, "1 of 2 checks fail"},
		{[]verify.Check{good, missing}, false, "1 of 2 checks were skipped"},
		{[]verify.Check{good, missing}, true, ""},
		{nil, false, "nothing was checked"},
	} {
		err := verdict(c.checks, c.allow)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, allowed %v: %v, want %q", c.checks, c.allow, err, c.want)
		}
	}
}

func TestVerifySaysWhereNoReferencesAre(t *testing.T) {
	run := func(args ...string) (string, error) {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetArgs(append([]string{"verify"}, args...))
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	if _, err := run("--data", "/no/such/folder"); err == nil || !strings.Contains(err.Error(), "/no/such/folder") {
		t.Errorf("a missing folder: %v", err)
	}
	if out, err := run("--data", t.TempDir(), "--short"); err == nil || !strings.Contains(out, "skipped") {
		t.Errorf("an empty folder: %v, %q", err, out)
	}
	out, err := run("--data", t.TempDir(), "--short", "--allow-skip", "-o", "json")
	var got struct {
		Checks []struct{ What, Verdict, Got string }
		Failed int
	}
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || got.Failed != 0 || len(got.Checks) < 10 || got.Checks[0].Verdict != "skipped" {
		t.Errorf("allowed: %v, %+v", err, got)
	}
	var usage *usageError
	if _, err := run("--only", "astrology"); !errors.As(err, &usage) {
		t.Errorf("an unknown group: %v", err)
	}
}

func TestTheTableOfChecksHasARowForEachWithItsVerdict(t *testing.T) {
	var out bytes.Buffer
	checks := []verify.Check{{Name: "a", Source: "b", Expected: "1", Got: "2", Tolerance: "equal"}, {Name: "c", OK: true}}
	if err := showChecks(&out, checks, time.Second, "table"); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) < 4 || !strings.HasPrefix(lines[0], "WHAT") || !strings.HasSuffix(lines[1], "FAILS") || !strings.HasSuffix(lines[2], "ok") ||
		!strings.Contains(out.String(), "2 checks: 1 ok, 0 shown, 1 fail, 0 skipped, in 1s") {
		t.Errorf("%s", out.String())
	}
}
