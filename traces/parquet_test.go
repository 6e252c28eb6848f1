package traces

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"pgregory.net/rapid"

	"github.com/schedlab/schedlab/policies/sched"
)

// plainRow is a task as another program might write it, with the library's own writer.
type plainRow struct {
	ID     string  `parquet:"id"`
	Submit float64 `parquet:"submit_s"`
	Run    float64 `parquet:"run_s"`
	GPUs   float64 `parquet:"gpus"`
	Tenant string  `parquet:"tenant"`
}

type richRow struct {
	ID       int64   `parquet:"id,delta"`
	Job      string  `parquet:"job,optional,delta,gzip"` // "" is null
	Submit   int64   `parquet:"submit_s,decimal(3:18),snappy"`
	Run      *int64  `parquet:"run_ns,optional,zstd"`
	Estimate float64 `parquet:"estimate_s,optional,split"` // 0 is null
	Mem      int64   `parquet:"mem_bytes,dict,gzip"`
	GPUs     float32 `parquet:"gpus,dict"`
	Gang     int32   `parquet:"gang,delta"`
	Tenant   *string `parquet:"tenant,optional,dict,zstd"`
	Kind     string  `parquet:"kind,plain,uncompressed"`
	Priority int32   `parquet:"priority,dict"`
	RunOn    string  `parquet:"run_on,dict"`
	Labels   *string `parquet:"labels,optional"`
}

func parquetOf[T any](t testing.TB, rows []T, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFilesOfAnotherParquetWriterReadAsTheSameCSV(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 300).Draw(rt, "rows")
		seed := rapid.Uint64().Draw(rt, "seed")
		next := func(n int) int { // cheaper than a draw a cell
			seed = seed*6364136223846793005 + 1442695040888963407
			return int(seed >> 33 % uint64(n))
		}
		text := func(s string) *string {
			if next(3) == 0 {
				return nil
			}
			return &s
		}
		var rows []richRow
		csv := "id,job,submit_s,run_s,estimate_s,mem_gb,gpus,gang,tenant,kind,priority,run_on,labels\n"
		for i := range n {
			r := richRow{
				ID: int64(i*2 + 1), Submit: int64(next(5000) - 100), Mem: int64(next(4)) << 29,
				GPUs: []float32{0, 1, 0.1, 8}[next(4)], Gang: int32(next(3) + 1), Tenant: text(fmt.Sprintf("user%d", next(40))),
				Kind: fmt.Sprintf("kind %d", next(5)), Priority: int32(next(7)-3) * 1000_000_000 / 2, RunOn: "A100=1.5;V100=3",
			}
			cells := []string{fmt.Sprint(r.ID), "", string(appendFixed(nil, r.Submit, 3)), "", ""}
			if job := text(fmt.Sprintf("job%d", i/4)); job != nil {
				r.Job, cells[1] = *job, *job
			}
			if next(4) > 0 {
				v := int64(next(1e9)) * 1001
				r.Run = &v
				cells[3] = string(appendFixed(nil, v, 9))
			}
			if next(2) > 0 {
				r.Estimate = float64(next(1000)+1) / 8
				cells[4] = fmt.Sprint(r.Estimate)
			}
			tenant, labels := "", ""
			if r.Tenant != nil {
				tenant = *r.Tenant
			}
			if r.Labels = text("zone=b;disk=ssd"); r.Labels != nil {
				labels = *r.Labels
			}
			cells = append(cells, fmt.Sprint(float64(r.Mem)/gib), fmt.Sprint(r.GPUs), fmt.Sprint(r.Gang), tenant, r.Kind, fmt.Sprint(r.Priority), r.RunOn, labels)
			rows = append(rows, r)
			csv += strings.Join(cells, ",") + "\n"
		}
		data := parquetOf(t, rows, parquet.PageBufferSize(rapid.IntRange(50, 2000).Draw(rt, "page")), parquet.DataPageVersion(rapid.IntRange(1, 2).Draw(rt, "version")),
			parquet.MaxRowsPerRowGroup(int64(rapid.IntRange(20, 400).Draw(rt, "group"))))
		want, err := Read(strings.NewReader(csv), "t", "csv")
		if err != nil {
			rt.Fatal(err)
		}
		got, err := Read(bytes.NewReader(data), "t", "")
		if err != nil {
			rt.Fatal(err)
		}
		if d := diff(want, got); d != "" {
			rt.Fatal(d)
		}
	})
}

func TestAnotherParquetReaderReadsWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rows, _ := drawRows(rt)
		w := build(rt, rows)
		data := []byte(write(t, w, "parquet"))
		f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			rt.Fatal(err)
		}
		column := map[string]int{}
		for i, c := range f.Root().Columns() {
			column[c.Name()] = i
		}
		at := 0
		for _, g := range f.RowGroups() {
			rows := g.Rows()
			buf := make([]parquet.Row, 16)
			for {
				n, err := rows.ReadRows(buf)
				for _, row := range buf[:n] {
					task := at
					if w.Input != nil {
						task = slices.Index(w.Input, int32(at))
					}
					if got := row[column["id"]].String(); got != w.TaskNames.At(task) {
						rt.Fatalf("row %d is called %q, want %q", at, got, w.TaskNames.At(task))
					}
					if i, ok := column["tenant"]; ok {
						if got, want := row[i].String(), w.Tenants[w.ClassOf(sched.TaskID(task)).Tenant]; got != want {
							rt.Fatalf("row %d: tenant %q, want %q", at, got, want)
						}
					}
					if i, ok := column["gpus"]; ok {
						n := w.DemandOf(sched.TaskID(task)).Need
						if got, want := row[i].Double(), float64(n.GPUs)*float64(n.GPUMilli)/1000; got != want {
							rt.Fatalf("row %d: %v GPUs, want %v", at, got, want)
						}
					}
					i, ns := column["run_s"], pow10[9]
					if at, ok := column["run_ns"]; ok {
						i, ns = at, 1
					}
					if d, ok := f.Root().Columns()[i].Type().LogicalType().Value.(*format.DecimalType); ok {
						ns = pow10[9-d.Scale]
					}
					if got := time.Duration(row[i].Int64() * ns); got != w.Run[task] {
						rt.Fatalf("row %d runs %v, want %v", at, got, w.Run[task])
					}
					at++
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					rt.Fatal(err)
				}
			}
			_ = rows.Close()
		}
		if at != w.Len() {
			rt.Fatalf("%d rows, want %d", at, w.Len())
		}
	})
}

func TestParquetThatIsPackedOrPipedIsReadFromATemporaryFile(t *testing.T) {
	data := []byte(write(t, read(t, "id,run_s,gpus\na,1,0.5\nb,2.5,3\n", ""), "parquet"))
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	_, _ = z.Write(data)
	_ = z.Close()
	for _, r := range []io.Reader{bytes.NewReader(data), bytes.NewReader(gz.Bytes()), &trickle{bytes.NewReader(data), 7}} {
		w, err := Read(r, "t", "")
		if err != nil || w.Len() != 2 || w.Format != "parquet" || w.Run[1] != seconds(2.5) {
			t.Fatalf("%v", err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) > 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	path := filepath.Join(dir, "x.parquet")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if w, err := Open(path, ""); err != nil || w.Len() != 2 {
		t.Fatal(err)
	}
}

func TestParquetErrorsNameFileColumnAndRowGroup(t *testing.T) {
	ok := plainRow{"a", 0, 1, 1, "x"}
	with := func(change func(*plainRow)) []byte {
		rows := []plainRow{ok, ok, ok}
		for i := range rows {
			rows[i].ID = fmt.Sprint("t", i)
		}
		change(&rows[2])
		return parquetOf(t, rows, parquet.MaxRowsPerRowGroup(2))
	}
	good := with(func(*plainRow) {})
	for _, c := range []struct {
		data []byte
		want string
	}{
		{with(func(r *plainRow) { r.GPUs = -1 }), "t: row group 1, column gpus, row 3: negative GPU count"},
		{with(func(r *plainRow) { r.GPUs = 1.5 }), "t: row group 1, column gpus, row 3: 1.5 is neither whole"},
		{with(func(r *plainRow) { r.Run = math.NaN() }), "t: row group 1, column run_s, row 3: \"NaN\" is not a number"},
		{with(func(r *plainRow) { r.Run = -2 }), "t: row group 1, column run_s, row 3: -2 is negative"},
		{with(func(r *plainRow) { r.Submit = 1e11 }), "t: row group 1, column submit_s, row 3: \"1e+11\" is beyond 2305843009"},
		{with(func(r *plainRow) { r.ID = strings.Repeat("x", maxLine+1) }), "t: row group 1, column id, row 3: "},
		{with(func(r *plainRow) { r.ID = "t0" }), `t: task id "t0" stands twice`},
		{good[:len(good)-1], "t: footer: the file does not end as Parquet"},
		{[]byte("PAR1PAR1"), "t: footer: "},
		{[]byte("PAR1\xff\xff\xff\x7fPAR1"), "t: footer: "},
		{parquetOf(t, []struct {
			Run    float64 `parquet:"run_s"`
			Colour int32   `parquet:"colour"`
		}{{1, 2}}), `t: column colour: unknown column "colour"`},
		{parquetOf(t, []struct {
			Run   float64  `parquet:"run_s"`
			After []string `parquet:"after"`
		}{{1, nil}}), "t: column after: nested or repeated"},
		{parquetOf(t, []struct {
			Run   float64  `parquet:"run_s"`
			After []string `parquet:"after,list"`
		}{{1, nil}}), `t: schema: column "after" is nested`},
		{parquetOf(t, []struct {
			Run string `parquet:"run_s"`
		}{{"1"}}), "t: column run_s: text, numbers are wanted"},
		{parquetOf(t, []struct {
			Run float64 `parquet:"run_s"`
			NS  int64   `parquet:"run_ns"`
		}{{1, 1}}), "t: column run_ns: column run_s stands twice"},
		{parquetOf(t, []struct {
			Run float64 `parquet:"run_s,lz4"`
		}{{1}}), "t: row group 0, column run_s, page 0: compression LZ4_RAW is not supported"},
		{parquetOf(t, []struct {
			Submit float64 `parquet:"submit_s"`
		}{{1}}), "t: schema: no column run_s or run_on"},
	} {
		if _, err := Read(bytes.NewReader(c.data), "t", "parquet"); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

func TestADamagedParquetFileIsAnErrorOrAnotherWorkload(t *testing.T) {
	var rows []plainRow
	for i := range 50 {
		rows = append(rows, plainRow{fmt.Sprint("t", i), float64(i), 1, 1, "x"})
	}
	for _, data := range [][]byte{parquetOf(t, rows), []byte(write(t, read(t, "id,run_s,estimate_s,tenant,job\na,1,,x,J\nb,2,3,y,J\nc,2,,x,\n", ""), "parquet"))} {
		for i := range data {
			for _, x := range []byte{1, 0xff} {
				bad := bytes.Clone(data)
				bad[i] ^= x
				if w, err := Read(bytes.NewReader(bad), "t", "parquet"); err == nil {
					checkWorkload(t, w)
				} else if !strings.HasPrefix(err.Error(), "t:") {
					t.Fatal(err)
				}
			}
			if _, err := Read(bytes.NewReader(data[:i]), "t", "parquet"); err == nil {
				t.Fatalf("%d of %d bytes are taken for the whole", i, len(data))
			}
		}
	}
}

func TestASmallParquetFileCannotAskForMuchMemory(t *testing.T) {
	rows := make([]plainRow, 100)
	for i := range rows {
		rows[i] = plainRow{fmt.Sprint(i), 0, 1, 1, "x"}
	}
	data := parquetOf(t, rows)
	for i := range data {
		for _, x := range []byte{0x7f, 0xff} {
			bad := bytes.Clone(data)
			bad[i] = x
			before := allocated()
			_, _ = Read(bytes.NewReader(bad), "t", "parquet")
			if used := allocated() - before; used > 64<<20 {
				t.Fatalf("byte %d as %#x: %d MB for a file of %d bytes", i, x, used>>20, len(data))
			}
		}
	}
}

func TestDeltaCodedIntegersReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-5, 5)), 0, 300).Draw(t, "v")
		data := append(appendDeltas(nil, v, false), "rest"...)
		d, err := newDeltas(slices.Grow(data, pqPad))
		if err != nil {
			t.Fatal(err)
		}
		after := d
		if rest, err := after.rest(); err != nil || string(rest) != "rest" {
			t.Fatalf("%q, %v", rest, err)
		}
		got := make([]int64, len(v))
		for at := 0; at < len(v); {
			n := min(rapid.IntRange(1, 100).Draw(t, "n"), len(v)-at)
			if err := d.next(got[at : at+n]); err != nil {
				t.Fatal(err)
			}
			at += n
		}
		if !slices.Equal(v, got) {
			t.Fatalf("%v\n%v", v, got)
		}
	})
}

func TestRunsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := uint(rapid.IntRange(0, 32).Draw(t, "width"))
		var v []uint32
		for range rapid.IntRange(1, 20).Draw(t, "runs") {
			x := uint32(rapid.Uint64().Draw(t, "x") & (1<<width - 1))
			for range rapid.IntRange(1, 30).Draw(t, "length") {
				v = append(v, x)
			}
		}
		h := hybrid{b: slices.Grow(appendHybrid(nil, v, width), pqPad), width: width}
		for at := 0; at < len(v); {
			buf := make([]uint32, rapid.IntRange(1, 100).Draw(t, "n"))
			n, equal, err := h.next(buf)
			if err != nil {
				t.Fatal(err)
			}
			for i := range min(n, len(v)-at) {
				if x := buf[i]; equal && buf[0] != v[at+i] || !equal && x != v[at+i] {
					t.Fatalf("value %d", at+i)
				}
			}
			at += n
		}
	})
}

func TestRowGroupsAndPagesJoinSeamlessly(t *testing.T) {
	const n = groupRows + pageRows + 100
	for _, id := range []string{"%d", "job-%d"} {
		var b strings.Builder
		b.WriteString("id,job,submit_s,run_s,estimate_s,gpus,tenant,name\n")
		for i := range n {
			fmt.Fprintf(&b, id, i+1)
			job, est, name := "", "", ""
			if i%3 > 0 {
				job = fmt.Sprint(i / 3 * 3 % 70000)
			}
			if i%5 > 0 {
				est = fmt.Sprint(i%977 + 1)
			}
			if i%1000 == 7 {
				name = fmt.Sprint("task ", i)
			}
			fmt.Fprintf(&b, ",%s,%d.25,%d.001,%s,%d,user%d,%s\n", job, i/2, i*7919%86400, est, i%9, i%5000, name)
		}
		w := read(t, b.String(), "csv")
		if d := diff(w, read(t, write(t, w, "parquet"), "")); d != "" {
			t.Errorf("%.300s", d)
		}
	}
}

func TestTimesOfWidelyDifferentSizesSurviveParquet(t *testing.T) {
	for _, times := range []string{"0.000000001,1", "2000000000.000000001,0.5", "-2000000000.5,3600", "1700000000,0.123"} {
		w := read(t, "submit_s,run_s\n"+times+"\n", "csv")
		if d := diff(w, read(t, write(t, w, "parquet"), "")); d != "" {
			t.Errorf("%s: %s", times, d)
		}
	}
}

// Use -fuzzminimizetime 10x: to make a binary file smaller takes the fuzzer a minute each time.
func FuzzParquet(f *testing.F) {
	small := []plainRow{{"a", 0, 1, 0.5, "x"}, {"b", 1, 2, 8, "y"}}
	own := func(csv string) string { return write(f, read(f, csv, ""), "parquet") }
	fuzzReader(f, "parquet", string(parquetOf(f, small)), string(parquetOf(f, small, parquet.DataPageVersion(1))),
		own("id,run_s\na,1\nb,2\n"), own("id,job,submit_s,run_s,estimate_s,gpus,tenant,after\n1,J,0,1,2,0.5,x,\n2,J,1,2,,1,y,1\n3,,1,2,,1,y,\n"))
}

// FuzzParquetValues feeds the decoders of values as a page would whose checksum is right.
func FuzzParquetValues(f *testing.F) {
	page := func(tail ...byte) []byte { return append([]byte{2, 0, 0, 0, 10, 1}, tail...) }
	f.Add(appendDeltas(page(), []int64{1, 2, 30, 4, 5}, false), uint8(format.DeltaBinaryPacked), uint8(format.Int64), false, 5)
	f.Add(appendDeltaTexts(page(), []byte("abac"), []int{2, 4}, 0, 2), uint8(format.DeltaByteArray), uint8(format.ByteArray), true, 5)
	f.Add(appendHybrid(page(2), []uint32{1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3}, 2), uint8(format.RLEDictionary), uint8(format.Int32), false, 11)
	f.Add(page(1, 0, 0, 0, 'x'), uint8(format.Plain), uint8(format.ByteArray), true, 5)
	f.Add(page(make([]byte, 16)...), uint8(format.ByteStreamSplit), uint8(format.Double), true, 2)
	f.Fuzz(func(t *testing.T, data []byte, enc, kind uint8, optional bool, rows int) {
		rows &= 0xffff
		c := chunk{kind: format.Type(kind & 7), optional: optional, left: rows, dict: []byte{}, dictCount: 3}
		switch c.kind {
		case format.Int32, format.Float:
			c.size = 4
		case format.Int64, format.Double:
			c.size = 8
		case format.FixedLenByteArray:
			c.size = 3
		}
		data = append(make([]byte, 0, len(data)+pqPad), data...)
		if optional {
			if len(data) < 6 {
				return
			}
			c.levels = hybrid{b: data[:6], width: 1}
			data = data[6:]
		}
		if c.begin(data, rows, format.Encoding(enc)) != nil {
			return
		}
		null, ints, index, spans := make([]bool, 100), make([]int64, 100), make([]uint32, 100), make([]span, 100)
		for left := rows; left > 0; {
			n := min(left, 100)
			left -= n
			values, err := c.nulls(n, null, index)
			if err != nil {
				return
			}
			switch {
			case c.enc == format.RLEDictionary:
				if c.indexes(index[:values]) != nil {
					return
				}
				for _, k := range index[:values] {
					if k >= 3 {
						t.Fatalf("index %d of 3", k)
					}
				}
			case c.size == 0 || c.kind == format.FixedLenByteArray:
				if c.texts(spans[:values]) != nil {
					return
				}
				for _, s := range spans[:values] {
					_ = c.data[s.from:s.to]
				}
			default:
				if c.raw(ints[:values]) != nil {
					return
				}
			}
		}
	})
}

func BenchmarkReadParquet(b *testing.B) {
	const n = 1_000_000
	data := []byte(write(b, read(b, benchCSV(n), "csv"), "parquet"))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(bytes.NewReader(data), "t", ""); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
	b.ReportMetric(float64(len(data))/n, "B/row")
}
