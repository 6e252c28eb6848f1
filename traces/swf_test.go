package traces

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// differs reads a file with the quick reading of plain lines and without it, and says where what comes of it differs.
func differs(read func(slow bool) (*Builder, error)) string {
	quick, err := read(false)
	plain, err2 := read(true)
	if fmt.Sprint(err) != fmt.Sprint(err2) {
		return fmt.Sprintf("%v, and line by line %v", err, err2)
	}
	quick.ids.next, plain.ids.next = nil, nil // what the next would be called is written when it is asked for
	if !reflect.DeepEqual(quick, plain) {
		return fmt.Sprintf("%+v, and line by line %+v", quick, plain)
	}
	return ""
}

func readBoth(log []byte) string {
	return differs(func(slow bool) (*Builder, error) {
		b := NewBuilder("t", "swf")
		r := newSWFReader(bytes.NewReader(log), b)
		r.slow = slow
		return b, r.all()
	})
}

func TestPlainSWFLinesReadAsAnyLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		small := rapid.SampledFrom([]string{"-1", "0", "1", "2", "3", "5", "12", "64", "-0", "007"})
		number := rapid.OneOf(small, small, rapid.StringMatching(`-?[0-9]{1,11}`))
		cell := rapid.Map(rapid.SliceOfN(number, 18, 18), func(c []string) []string { return c })
		strange := rapid.SampledFrom([]string{"", "+1", "1.5", "1e3", "-", ".", "99999999999999999", "12345678901234567890", "x", "\x00", "\v", "\t", ";", "-1 -1", "\xc3\xa9", "/", ":"})
		gap := rapid.SampledFrom([]string{" ", " ", " ", "  ", "         ", "\t", " \t"})
		var log strings.Builder
		for range rapid.IntRange(1, 8).Draw(t, "lines") {
			c := cell.Draw(t, "cells")
			odd := rapid.IntRange(0, 60).Draw(t, "odd cell")
			if odd < len(c) {
				c[odd] = strange.Draw(t, "odd")
			}
			sep := gap.Draw(t, "gap")
			if rapid.Bool().Draw(t, "pad") {
				log.WriteString(sep)
			}
			for i, s := range c {
				if i > 0 {
					log.WriteString(sep)
				}
				if rapid.IntRange(0, 9).Draw(t, "wide") == 0 {
					log.WriteString("      ")
				}
				log.WriteString(s)
			}
			log.WriteString(rapid.SampledFrom([]string{"\n", "\n", " \n", "\r\n", " -1\n", "\n; MaxProcs: 64\n", "\n\n"}).Draw(t, "end"))
		}
		if odd := readBoth([]byte(log.String())); odd != "" {
			t.Fatalf("%q reads as %s", log.String(), odd)
		}
	})
}

// A log in columns, of which some lines do not keep to them or say something special.
func TestSWFTablesReadAsAnyLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		widths := [swfColumns]int{7, 9, 6, 6, 4, 6, 6, 4, 6, 6, 2, 4, 3, 3, 2, 2, 2, 2}
		for c := range widths {
			widths[c] += rapid.IntRange(-1, 1).Draw(t, "width")
		}
		small := rapid.SampledFrom([]string{"-1", "-1", "0", "1", "2", "7"})
		strange := rapid.SampledFrom([]string{"-1", "+1", "1.5", "1-5", "-", "--1", "-0", ".", "99999999999999999", "x", "\x00", "\t", ";", "; 1", "1 1", "", "\xc3\xa9", "/", ":", "%", "-7%", "0x3"})
		number := func(most int) string { return fmt.Sprint(rapid.IntRange(0, most).Draw(t, "number")) }
		at := 0
		var log strings.Builder
		for i := range rapid.IntRange(1, 40).Draw(t, "lines") {
			at += rapid.IntRange(-1, 2000).Draw(t, "gap")
			cells := [swfColumns]string{swfJob: fmt.Sprint(i + 1), swfSubmit: fmt.Sprint(at), swfRun: number(99999), swfProcs: number(3), swfReqTime: number(99999)}
			cells[swfReqProcs] = cells[swfProcs]
			for c := range cells {
				if cells[c] == "" {
					cells[c] = small.Draw(t, "cell")
				}
			}
			switch rapid.IntRange(0, 12).Draw(t, "special") {
			case 0, 1:
				cells[rapid.IntRange(0, swfColumns-1).Draw(t, "strange cell")] = strange.Draw(t, "strange")
			case 2:
				cells[swfSubmit] = rapid.StringMatching(`-?[0-9]{7,12}`).Draw(t, "long")
			case 3:
				cells[swfJob] = number(1e7)
			}
			for c, s := range cells {
				if c > 0 {
					log.WriteByte(' ')
				}
				fmt.Fprintf(&log, "%*s", widths[c], s)
			}
			log.WriteString(rapid.SampledFrom([]string{"\n", "\n", "\n", "\n", "\n", "\n", " \n", "\r\n", "\n\n"}).Draw(t, "end"))
		}
		if odd := readBoth([]byte(log.String())); odd != "" {
			t.Fatalf("%s reads as %s", log.String(), odd)
		}
	})
}

func TestLinesOfASWFTableAreTakenFromTheirColumns(t *testing.T) {
	var log bytes.Buffer
	for i := range 10_000 {
		fmt.Fprintf(&log, "%5d %8d %6d %6d %4d %6d %6d %4d %6d %6d %2d %3d %3d %3d %2d %2d %2d %2d\n", i+1, 7*i, i%900, i%5000+1, i%7+1, -1, -1, i%7+1, 5000, -1, 1, i%30, 1, i%3, -1, 1, -1, -1)
	}
	r := newSWFReader(&log, NewBuilder("t", "swf"))
	if err := r.all(); err != nil {
		t.Fatal(err)
	}
	if got := r.columns.served; got < 9700 || r.b.Len() != 10_000 || !r.b.ids.counts() {
		t.Errorf("%d of %d lines were read so", got, r.b.Len())
	}
}

func FuzzSWFLines(f *testing.F) {
	f.Add([]byte("; MaxProcs: 128\n 1 0 -1 100 8 -1 -1 8 600 -1 1 3 1 2 1 -1 -1 -1\n2 5 -1 10 8 -1 -1 8 60 -1 1 3 1 2 1 -1 -1 -1"))
	var table bytes.Buffer
	for i := range 6 {
		fmt.Fprintf(&table, "%5d %8d     -1 %6d %4d     -1     -1 %4d %6d     -1  1 %3d   1   2 -1  1 -1 -1\n", i+1, 999_999*i, 100*i+1, i%2+1, i%2+1, 600, i%3)
	}
	f.Add(table.Bytes())
	f.Fuzz(func(t *testing.T, log []byte) {
		if odd := readBoth(log); odd != "" {
			t.Fatalf("%q reads as %s", log, odd)
		}
	})
}

func TestSWFRowsAreReadWithoutAllocation(t *testing.T) {
	log := func(n int) []byte {
		var b bytes.Buffer
		for i := range n {
			fmt.Fprintf(&b, "%d %d -1 %d %d -1 -1 %d 3600 -1 1 %d 1 %d 1 -1 -1 -1\n", i+1, i, i%100+1, 1<<(i%5), 1<<(i%5), i%30, i%3)
		}
		return b.Bytes()
	}
	allocs := func(data []byte) float64 {
		return testing.AllocsPerRun(3, func() {
			if err := readSWF(bytes.NewReader(data), NewBuilder("t", "swf")); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocs(log(5000)), allocs(log(50_000)); many > few+40 { // the tables grow now and then
		t.Errorf("%v allocations for 5,000 rows, %v for 50,000", few, many)
	}
}
