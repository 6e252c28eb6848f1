package traces

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Format is one file format that Read or Write knows.
type Format struct {
	Name   string
	About  string                                // one line for people
	Detect func(head []byte, name string) bool   // head: up to 64 KiB of the content, decompressed; name: without .gz or .zst. Nil = only by name
	Read   func(r io.Reader, b *Builder) error   // adds rows in file order; nil = cannot be read
	Write  func(w io.Writer, wl *Workload) error // nil = cannot be written
}

// formats is in the order of detection.
var formats []Format

func init() { // not a literal: readers that list the formats in an error would be an initialization cycle
	formats = []Format{
		{"csv", "native CSV", detectCSV, readCSV, writeCSV},
		{"jsonl", "native JSON lines", detectJSONL, readJSONL, writeJSONL},
		{"parquet", "Parquet with the native columns", detectParquet, readParquet, writeParquet},
		{"swf", "Standard Workload Format of the Parallel Workloads Archive", detectSWF, readSWF, writeSWF},
		{"openb", "Alibaba GPU cluster 2023 pod list", detectOpenb, readOpenb, nil},
		{"philly", "Microsoft Philly jobs as timestamp,duration,num_gpus,gpu_time,cluster", detectPhilly, readPhilly, nil},
		{"muri", "Muri job list (milliseconds; run = iterations x iteration_time)", detectMuri, readMuri, nil},
		{"muri-upstream", "muri with iteration times x 1.015, as Muri's own simulator takes them", nil, readMuriUpstream, nil},
		{"tiresias", "Tiresias job list (seconds)", detectTiresias, readTiresias, nil},
		{"gavel", "Gavel trace (steps, with simulation_throughputs.json beside it) or Shockwave's (durations)", detectGavel, readGavel, nil},
		{"wfformat", "WfCommons WfFormat 1.3 to 1.5", detectWfFormat, readWfFormat, nil},
		{"dax", "Pegasus DAX (XML)", detectDAX, readDAX, nil},
		{"batsim", "Batsim workload JSON", detectBatsim, readBatsim, nil},
		{"stg", "Standard Task Graph", detectSTG, readSTG, nil},
		{"dot", "Graphviz", detectDOT, readDOT, writeDOT},
	}
}

// Formats returns the known formats in the order in which detection tries them.
func Formats() []Format { return append([]Format(nil), formats...) }

// names lists the formats that can be read (or written), for errors.
func names(write bool) string {
	var list []string
	for _, f := range formats {
		if write && f.Write != nil || !write && f.Read != nil {
			list = append(list, f.Name)
		}
	}
	return strings.Join(list, ", ")
}

const (
	headSize = 64 << 10
	maxLine  = 1 << 20 // bytes of one line or record
)

// Open reads the trace at path; "-" is standard input. An empty format is detected by content.
func Open(path, format string) (*Workload, error) {
	if path == "-" {
		return Read(os.Stdin, "stdin", format)
	}
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, path, format)
}

// OpenFile opens a file to read it. A folder can be opened too, and is refused here, where its name is known.
func OpenFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		_ = f.Close()
		return nil, fmt.Errorf("%s: is a folder", path)
	}
	return f, nil
}

// Read reads a trace from r; name stands for it in errors. An empty format is detected by content; gzip and zstd are taken off.
func Read(r io.Reader, name, format string) (*Workload, error) {
	size := int64(0)
	switch f := r.(type) {
	case *os.File:
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			size = st.Size()
		}
	case interface{ Len() int }: // bytes and strings
		size = int64(f.Len())
	}
	at, all := whole(r) // before anything is read
	plain, packed, done, err := decompress(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer done()
	if packed {
		size = 0
	}
	br := bufio.NewReaderSize(plain, headSize)
	head, err := br.Peek(headSize)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	f, err := pick(head, name, format)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(head)) == 0 && len(head) < headSize {
		return nil, fmt.Errorf("%s: the file is empty", name)
	}
	b := NewBuilder(name, f.Name)
	b.size = size
	var in io.Reader = br
	if at != nil && !packed {
		in = seekable{br, at, all}
	}
	if err := f.Read(in, b); err != nil {
		return nil, err
	}
	w, err := b.Build()
	if err != nil {
		return nil, err
	}
	if w.Len() == 0 {
		return nil, fmt.Errorf("%s: no task in it%s", name, droppedText(w.Notes))
	}
	return w, nil
}

// pick returns the format called name, or the first that recognises head.
func pick(head []byte, name, format string) (*Format, error) {
	if format != "" {
		for i := range formats {
			if formats[i].Name == format && formats[i].Read != nil {
				return &formats[i], nil
			}
		}
		return nil, fmt.Errorf("unknown trace format %q (can be read: %s)", format, names(false))
	}
	if len(bytes.TrimSpace(head)) == 0 {
		return nil, fmt.Errorf("%s: the file is empty", name)
	}
	base := name
	for _, ext := range []string{".gz", ".zst"} {
		base = strings.TrimSuffix(base, ext)
	}
	for i := range formats {
		if formats[i].Detect != nil && formats[i].Detect(head, base) {
			return &formats[i], nil
		}
	}
	if lacks := lacksRun(head); lacks != "" {
		return nil, fmt.Errorf("%s:1: no %s; of another format say it with --format (%s)", name, lacks, names(false))
	}
	return nil, fmt.Errorf("%s: cannot tell the trace's format; say it with --format (%s)", name, names(false))
}

// lacksRun says what is missing of what would be a native trace, by the columns that it has; "" if it does not look like one.
func lacksRun(head []byte) string {
	native := func(column string) bool { return columnOf(column) >= 0 }
	if slices.ContainsFunc(headerOf(head), native) {
		return "column run_s or run_on, which native CSV has"
	}
	if slices.ContainsFunc(slices.Collect(maps.Keys(firstObject(head))), native) {
		return "run_s or run_on, which native JSON lines have"
	}
	return ""
}

// Write writes the workload in the format: csv, jsonl, parquet, swf or dot.
func Write(w io.Writer, wl *Workload, format string) error {
	for _, f := range formats {
		if f.Name == format && f.Write != nil {
			return f.Write(w, wl)
		}
	}
	return fmt.Errorf("cannot write trace format %q (can be written: %s)", format, names(true))
}

// Lost says what the format cannot say of the workload, so that Write leaves it out: columns of the native formats, or in words.
func Lost(wl *Workload, format string) []string {
	if format == "swf" {
		return swfLost(wl)
	}
	return nil
}

// Unpack takes gzip or zstd off r, where its first bytes say so. The caller closes what it returns; r stays open.
func Unpack(r io.Reader) (io.ReadCloser, error) {
	plain, _, done, err := decompress(r)
	if err != nil {
		return nil, err
	}
	return unpacked{plain, done}, nil
}

type unpacked struct {
	io.Reader
	done func()
}

func (u unpacked) Close() error {
	u.done()
	return nil
}

// decompress takes gzip or zstd off r, told by the first bytes.
func decompress(r io.Reader) (plain io.Reader, packed bool, done func(), err error) {
	br := bufio.NewReaderSize(r, headSize)
	magic, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, false, nil, err
	}
	switch {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, false, nil, unpackError("gzip", err)
		}
		return unpacking{z, "gzip"}, true, func() {}, nil
	case len(magic) == 4 && magic[1] == 0xb5 && magic[2] == 0x2f && magic[3] == 0xfd && magic[0] == 0x28:
		// The window bounds the decoder's memory, whatever the file claims.
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, false, nil, unpackError("zstd", err)
		}
		return unpacking{z, "zstd"}, true, z.Close, nil
	}
	return br, false, func() {}, nil
}

// unpacking says of errors that they are of the packing: "unexpected EOF" alone would be taken for one of the text.
type unpacking struct {
	io.Reader
	how string
}

func (u unpacking) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = unpackError(u.how, err)
	}
	return n, err
}

func unpackError(how string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		return fmt.Errorf("the %s data is cut short (%w)", how, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s: %w", how, errors.New(strings.TrimPrefix(err.Error(), how+": ")))
}

// detectWfFormat: a JSON object that names the schema or a workflow with tasks.
func detectWfFormat(head []byte, _ string) bool {
	head = bytes.TrimSpace(head)
	return len(head) > 0 && head[0] == '{' && !bytes.Contains(head, []byte(`"profiles"`)) &&
		(bytes.Contains(head, []byte(`"workflow"`)) || bytes.Contains(head, []byte(`"schemaVersion"`)))
}

// detectSTG: the name, or a first line that is one number and a second of at least three.
func detectSTG(head []byte, name string) bool {
	if strings.HasSuffix(name, ".stg") {
		return true
	}
	lines := bytes.SplitN(head, []byte("\n"), 4)
	var fields [][]byte
	seen := 0
	for _, l := range lines {
		if l = bytes.TrimSpace(l); len(l) == 0 || l[0] == '#' {
			continue
		}
		fields = bytes.Fields(l)
		for _, f := range fields {
			if !digits(f) {
				return false
			}
		}
		if seen++; seen == 1 && len(fields) != 1 {
			return false
		} else if seen == 2 {
			return len(fields) >= 3
		}
	}
	return false
}

// digits reports whether b is a plain decimal number.
func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}
