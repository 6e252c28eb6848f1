package main

import (
	"bytes"
	"encoding/json"
	"testing"
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
