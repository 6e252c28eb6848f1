package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatIsShownHoldsNoControlCharacters(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"a table\n  of\ttwo\n":     "a table\n  of\ttwo\n",
		"schöne Grüße 日本":          "schöne Grüße 日本",
		"\x1b]0;title\a\x7f\r\x00": "\\u001b]0;title\\u0007\\u007f\\u000d\\u0000",
		"\u009b31m\u0080":          "\\u009b31m\\u0080",
		"\x9b31m":                  "\ufffd31m",
	} {
		var b bytes.Buffer
		if n, err := (shown{&b}).Write([]byte(text)); n != len(text) || err != nil || b.String() != want {
			t.Errorf("%q is shown as %q, want %q (%d, %v)", text, b.String(), want, n, err)
		}
		// JSON stays what it is.
		b.Reset()
		var back string
		if err := writeJSON(shown{&b}, text); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b.Bytes(), &back); err != nil || back != string(bytes.ToValidUTF8([]byte(text), []byte("\ufffd"))) {
			t.Errorf("%q comes back as %q, %v", text, back, err)
		}
	}
}

// What a job writes is of any size, with lines of any length: as JSON lines it is read once, not again with each piece or each line.
func TestLinesAsJSONTakeTimeInTheirLength(t *testing.T) {
	for name, pieces := range map[string][][]byte{
		"a line in many pieces": slices.Repeat([][]byte{bytes.Repeat([]byte{'x'}, 1<<10)}, 32<<10),
		"many lines in a piece": {bytes.Repeat([]byte{'\n'}, 1<<20)},
		"lines across pieces":   {[]byte("a\nb"), []byte("c"), []byte("\n\nd"), []byte("e\nf")},
	} {
		all, began := bytes.Join(pieces, nil), time.Now()
		var out bytes.Buffer
		l := newLineWriter(&out)
		for _, p := range pieces {
			if n, err := l.Write(p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: %v", name, took)
		}
		var want bytes.Buffer
		for line := range strings.SplitSeq(strings.TrimSuffix(string(all), "\n"), "\n") {
			want.WriteString(`{"line":"` + line + `"}` + "\n")
		}
		if !bytes.Equal(out.Bytes(), want.Bytes()) {
			t.Errorf("%s: it is not what was written", name)
		}
	}
}
