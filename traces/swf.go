package traces

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schedlab/schedlab/policies/sched"
)

// The columns of SWF (D. Feitelson et al., Parallel Workloads Archive, version 2.2), 0-based.
const (
	swfJob = iota
	swfSubmit
	swfWait
	swfRun
	swfProcs
	swfCPUTime
	swfMemory
	swfReqProcs
	swfReqTime
	swfReqMemory
	swfStatus
	swfUser
	swfGroup
	swfApp
	swfQueue
	swfPartition
	swfPreceding
	swfThink
	swfColumns
)

func detectSWF(head []byte, name string) bool {
	if strings.HasSuffix(strings.ToLower(name), ".swf") {
		return true
	}
	for _, line := range bytes.Split(head, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == ';' {
			continue
		}
		cells := bytes.Fields(line)
		for _, c := range cells {
			if _, err := parseFixed(c, 0); err != nil {
				return false
			}
		}
		return len(cells) == swfColumns
	}
	return false
}

// swfLine is what is taken over from a line: whole numbers, and seconds in ns.
type swfLine struct {
	submit, run, estimate    int64 // ns
	alloc, width             int64 // processors, as columns 5 and 8
	status                   int64
	user, app, queue, before int64

	memory, asked int64 // KB of each processor, used and requested, where they are taken over

	class sched.ClassID // + 1 if it is known already; then user, app and queue are not there
	slot  *swfNear      // where the class of a plain line can be kept; nil = nowhere
}

// roomAt is the number of tasks after which the size of the file says how many more there will be.
const roomAt = 4096

// swfPlain is the length of the longest line that is read by plainLine.
const swfPlain = 191

// swfReader reads a log line by line.
type swfReader struct {
	*lines
	b      *Builder
	cells  [swfColumns][]byte
	labels [3]map[int64]string
	known  map[swfClass]sched.ClassID
	slow   bool // read every line by anyLine (tests compare)
	memory bool // the header says that memory is in KB; such files are read by anyLine

	lastSubmit sched.Time // the latest
	columns    swfTable

	// Of plain lines.
	pad          [8 + 256 + 64]byte // the line, with eight bytes before it and blanks after it
	bounds       [192 + 8]uint8     // where the cells begin and end, and room for what is written after them
	near         [4096]swfNear
	status, link swfCell // the last ones, since nearly all are alike
}

// swfClass is what makes a class.
type swfClass struct{ width, user, app, queue, asked int64 }

// swfNear is a class by the text of its cells.
type swfNear struct {
	width, user, app, queue uint64
	procs                   int64         // what width says
	class                   sched.ClassID // + 1; 0 = none
}

// swfCell is a cell of up to 8 bytes, and its number.
type swfCell struct {
	text   uint64
	number int64
}

// readSWF reads the Standard Workload Format. A job of n processors (column 8, or 5 where that is unknown) is a gang of n replicas
// of one CPU, so that it can span nodes. Column 9 is the estimate, 12 the tenant (userN), 15 the queue (queueN), 14 the kind (appN).
// Memory is taken over where the header says that it is in KB, as files written here do: logs that have it mix units. Column 17 is noted and not applied, since submit times are recorded.
func readSWF(in io.Reader, b *Builder) error {
	return newSWFReader(in, b).all()
}

func newSWFReader(in io.Reader, b *Builder) *swfReader {
	return &swfReader{lines: newLines(in), b: b, known: map[swfClass]sched.ClassID{}, lastSubmit: math.MinInt64}
}

func (r *swfReader) all() error {
	b := r.b
	procs, nodes := int64(0), int64(0)
	var row swfLine
	for {
		if err := r.table(); err != nil {
			return err
		}
		s, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return b.Errorf(r.line, "%w", err)
		}
		id := r.plainLine(s, &row)
		if id != nil && r.columns.strange {
			r.columns.learn(len(s), r.bounds[:])
		} else if id == nil {
			s = bytes.TrimSpace(s)
			if len(s) == 0 {
				continue
			}
			if s[0] == ';' {
				swfHeader(s, "MaxProcs:", &procs)
				swfHeader(s, "MaxNodes:", &nodes)
				if b.Len() == 0 && string(s) == swfMemoryNote {
					r.memory, r.slow, r.columns.length = true, true, 0
				}
				continue
			}
			if err := r.anyLine(s, &row); err != nil {
				return err
			}
			id = r.cells[swfJob]
		}
		if row.width <= 0 {
			row.width = row.alloc
		}
		switch {
		case row.run <= 0:
			b.Drop("run time is 0 or unknown", r.line)
			continue
		case row.width <= 0:
			b.Drop("number of processors is 0 or unknown", r.line)
			continue
		case row.status >= 2 && row.status <= 4:
			b.Drop("partial execution (status 2 to 4); the job's own line counts", r.line)
			continue
		case row.width > math.MaxInt32:
			return b.Errorf(r.line, "%d processors are beyond 2^31-1", row.width)
		}
		if row.before > 0 {
			b.Mend("names a preceding job (column 17), which is not applied: submit times are recorded", r.line)
		}
		submit := sched.Time(row.submit)
		if submit < r.lastSubmit {
			b.Mend("not in order of submit time; sorted", r.line)
		}
		r.lastSubmit = max(r.lastSubmit, submit)
		if row.estimate <= 0 {
			row.estimate = -1
		}
		class := row.class - 1
		if class < 0 {
			if class, err = r.class(&row); err != nil {
				return err
			}
			if row.slot != nil {
				row.slot.class = class + 1
			}
		}
		if r.columns.slot >= 0 && row.before <= 0 {
			r.columns.keep(class)
		}
		if b.Len() == roomAt && b.size > 0 {
			b.Grow(int(min(float64(b.size)/float64(r.read)*roomAt*1.02, maxTasks/16)))
		}
		if err := b.push(submit, time.Duration(row.run), time.Duration(row.estimate), class, id, nil, r.line); err != nil {
			return err
		}
		if row.memory > 0 {
			if b.used == nil {
				b.used = map[sched.TaskID]Used{}
			}
			b.used[sched.TaskID(b.Len()-1)] = Used{Mem: row.memory << 10}
		}
	}
	if procs <= 0 {
		procs = nodes
	}
	if procs > 0 {
		b.SetCluster([]sched.NodeSpec{cpuNode("pool", procs)})
	}
	return nil
}

// anyLine reads any line: cells apart by spaces and tabs, numbers as parseFixed takes them.
func (r *swfReader) anyLine(s []byte, to *swfLine) error {
	n := 0
	for len(s) > 0 {
		end := 0
		for end < len(s) && s[end] != ' ' && s[end] != '\t' {
			end++
		}
		if n < swfColumns {
			r.cells[n] = s[:end]
		}
		n++
		for end < len(s) && (s[end] == ' ' || s[end] == '\t') {
			end++
		}
		s = s[end:]
	}
	if n != swfColumns {
		return r.b.Errorf(r.line, "SWF has 18 columns, not %d", n)
	}
	bad := error(nil)
	number := func(col, digits int) int64 {
		v, err := parseFixed(r.cells[col], digits)
		if err != nil && bad == nil {
			bad = r.b.Errorf(r.line, "column %d: %w", col+1, err)
		}
		return v
	}
	*to = swfLine{
		submit: number(swfSubmit, 9), run: number(swfRun, 9), estimate: number(swfReqTime, 9), width: number(swfReqProcs, 0),
		alloc: number(swfProcs, 0), status: number(swfStatus, 0), user: number(swfUser, 0), app: number(swfApp, 0),
		queue: number(swfQueue, 0), before: number(swfPreceding, 0),
	}
	if r.memory {
		to.memory, to.asked = max(number(swfMemory, 0), 0), max(number(swfReqMemory, 0), 0)
		if bad == nil && max(to.memory, to.asked) > sched.Unlimited>>10 {
			bad = r.b.Errorf(r.line, "%d KB of memory are out of range", max(to.memory, to.asked))
		}
	}
	return bad
}

// plainLine is anyLine for what nearly all lines are: 18 whole numbers apart by blanks. It returns the id, or nil for any other line. The
// bytes are taken eight at a time and a bit made of each, since loops that end at an unforeseeable blank or digit cost more than all
// else. Cells that make the class are looked up as text, and those that are mostly as in the line before are compared with it.
func (r *swfReader) plainLine(s []byte, to *swfLine) []byte {
	n := len(s)
	if n == 0 || n > swfPlain || r.slow {
		return nil
	}
	copy(r.pad[8:], s)
	*(*[64]byte)(r.pad[8+n:]) = [64]byte(blanks)
	at, before, odd := 0, uint64(0), uint64(0)
	for base := 0; base <= n; base += 64 {
		text, strange := textBits((*[64]byte)(r.pad[8+base:])) // a bit for each byte that is no blank
		odd |= strange
		change := text ^ (text<<1 | before)
		before = text >> 63
		for i := 0; i < 64; i += 8 {
			set := uint8(change >> i)
			binary.LittleEndian.PutUint64(r.bounds[at:at+8], placesOf[set]+uint64(base+i)*ones)
			at += int(countOf[set])
		}
	}
	if odd != 0 || at != 2*swfColumns || s[r.bounds[0]] == ';' {
		return nil
	}
	submit, ok1 := r.seconds(swfSubmit)
	run, ok2 := r.seconds(swfRun)
	estimate, ok3 := r.seconds(swfReqTime)
	to.submit, to.run, to.estimate = submit, run, estimate
	long := 0
	width, alloc, user, app := r.text(swfReqProcs, &long), r.text(swfProcs, &long), r.text(swfUser, &long), r.text(swfApp, &long)
	queue, status, link := r.text(swfQueue, &long), r.text(swfStatus, &long), r.text(swfPreceding, &long)
	if !(ok1 && ok2 && ok3) || long < 0 {
		return nil
	}
	h := (width ^ user*0x9e3779b97f4a7c15 ^ bits.RotateLeft64(app*0xbf58476d1ce4e5b9, 32) ^ queue<<20) * 0x94d049bb133111eb
	near := &r.near[h>>(64-12)]
	known := near.class > 0 && near.width == width && near.user == user && near.app == app && near.queue == queue
	if known && alloc == width && status == r.status.text && link == r.link.text {
		to.width, to.class, to.slot = near.procs, near.class, nil
		to.status, to.before = r.status.number, r.link.number
	} else if !r.others([...]uint64{alloc, width, user, app, queue, status, link}, known, near, to) {
		return nil
	}
	return s[r.bounds[0]:r.bounds[1]]
}

// others is the rest of plainLine where the cells are not all known.
func (r *swfReader) others(text [7]uint64, known bool, near *swfNear, to *swfLine) bool {
	good := true
	for i, to := range [...]*int64{&to.alloc, &to.width, &to.user, &to.app, &to.queue, &to.status, &to.before} {
		*to = wholeNumber(text[i], &good)
	}
	if !good {
		return false
	}
	to.class, to.slot = 0, nil
	if known {
		to.class = near.class
	} else if to.width > 0 {
		*near = swfNear{width: text[1], user: text[2], app: text[3], queue: text[4], procs: to.width}
		to.slot = near
	}
	r.status, r.link = swfCell{text[5], to.status}, swfCell{text[6], to.before}
	return true
}

var blanks = bytes.Repeat([]byte{' '}, 64)

// textBits has a bit in text for each byte that is no blank. If odd is not 0, there is a byte above 63 or a control character, and text is of no
// use.
func textBits(p *[64]byte) (text, odd uint64) {
	for i := 0; i < 64; i += 32 {
		q := (*[32]byte)(p[i:])
		a, b := binary.LittleEndian.Uint64(q[:])^' '*ones, binary.LittleEndian.Uint64(q[8:])^' '*ones
		c, d := binary.LittleEndian.Uint64(q[16:])^' '*ones, binary.LittleEndian.Uint64(q[24:])^' '*ones
		odd |= a | b | c | d
		// Digits and signs differ from a blank in the low five bits only: adding 31 carries into the sixth.
		const gather = 0x0102040810204080
		half := (a+0x1f*ones)>>5&ones*gather>>56 | (b+0x1f*ones)>>5&ones*gather>>56<<8 |
			(c+0x1f*ones)>>5&ones*gather>>56<<16 | (d+0x1f*ones)>>5&ones*gather>>56<<24
		text |= half << i
	}
	return text, odd & (0xe0 * ones)
}

// placesOf has, a byte each from the lowest on, the places of the bits of each byte, and countOf their number.
var placesOf, countOf = func() (places [256]uint64, count [256]uint8) {
	for set := range 256 {
		for bit := range 8 {
			if set>>bit&1 > 0 {
				places[set] |= uint64(bit) << (8 * count[set])
				count[set]++
			}
		}
	}
	return places, count
}()

// text returns a cell of up to 8 bytes of a plain line; one that is longer makes long negative.
func (r *swfReader) text(col int, long *int) uint64 {
	from, to := r.bounds[2*col], r.bounds[2*col+1]
	n := int(to - from)
	*long |= 8 - n
	return binary.LittleEndian.Uint64(r.pad[to:]) >> ((64 - 8*n) & 63)
}

// wholeNumber returns the number that a text says.
func wholeNumber(text uint64, ok *bool) int64 {
	n := (bits.Len64(text) + 7) / 8
	minus := 0
	if byte(text) == '-' {
		minus = 1
	}
	v, good := digits8(text<<((64-8*n)&63), n-minus)
	*ok = *ok && good && n > minus
	return (v ^ -int64(minus)) + int64(minus)
}

// seconds returns a cell of up to 16 digits of a plain line in ns.
func (r *swfReader) seconds(col int) (int64, bool) {
	const longest = 1 << 61 / 1_000_000_000
	from, to := r.bounds[2*col], r.bounds[2*col+1]
	n, minus := int(to-from), 0
	if r.pad[8+int(from)] == '-' {
		minus = 1
	}
	n -= minus
	v, good := digits8(binary.LittleEndian.Uint64(r.pad[to:]), n)
	if uint(n-1) > 7 {
		v, good = manyDigits(r.pad[:8+int(to)], n)
	}
	return ((v ^ -int64(minus)) + int64(minus)) * 1e9, good && v <= longest
}

// manyDigits returns the number in the last n bytes of s, 9 to 16 digits.
func manyDigits(s []byte, n int) (int64, bool) {
	if n < 9 || n > 16 || n > len(s)-8 {
		return 0, false
	}
	low, ok := digits8(binary.LittleEndian.Uint64(s[len(s)-8:]), 8)
	high, ok2 := digits8(binary.LittleEndian.Uint64(s[len(s)-16:]), n-8)
	return high*1e8 + low, ok && ok2
}

// class returns the class of a line.
func (r *swfReader) class(l *swfLine) (sched.ClassID, error) {
	key := swfClass{l.width, l.user, l.app, l.queue, l.asked}
	if class, ok := r.known[key]; ok {
		return class, nil
	}
	row := Row{
		Need: sched.Need{CPU: 1000, Mem: l.asked << 10}, Gang: int32(l.width), Line: r.line,
		Tenant: r.label(0, "user", l.user), Kind: r.label(1, "app", l.app), Queue: r.label(2, "queue", l.queue),
	}
	class, err := r.b.class(&row)
	if err == nil && len(r.known) < maxCached {
		r.known[key] = class
	}
	return class, err
}

func (r *swfReader) label(of int, prefix string, n int64) string {
	if n < 0 {
		return ""
	}
	s, ok := r.labels[of][n]
	if !ok {
		s = prefix + strconv.FormatInt(n, 10)
		if r.labels[of] == nil {
			r.labels[of] = map[int64]string{}
		}
		r.labels[of][n] = s
	}
	return s
}

// cpuNode is a node of which a trace says no more than its CPUs.
func cpuNode(name string, cpus int64) sched.NodeSpec {
	return sched.NodeSpec{Name: name, CPU: cpus * 1000, Mem: sched.Unlimited, VRAM: sched.Unlimited, SpeedMilli: 1000}
}

// swfHeader reads the number of a header line such as "; MaxProcs: 100".
func swfHeader(line []byte, key string, to *int64) {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(line, "; \t"), []byte(key))
	if !ok {
		return
	}
	rest = bytes.TrimSpace(rest)
	end := 0
	for end < len(rest) && rest[end]-'0' <= 9 {
		end++
	}
	if v, err := strconv.ParseInt(string(rest[:end]), 10, 64); err == nil && v > 0 && v < 1<<40 {
		*to = v
	}
}

// swfMemoryNote stands in the header of files written here that tell memory.
const swfMemoryNote = "; Note: memory is in KB of each processor"

// swfLost says what writeSWF leaves out of a workload.
func swfLost(wl *Workload) []string {
	s := newShape(wl)
	gpu, procs, instant := s.used[colGPUs], false, false // a GPU task among others is refused
	for _, c := range wl.Classes {
		d := &wl.Demands[c.Demand]
		procs = procs || gpu && d.Gang > 1 || !gpu && d.Need.CPU != 1000
	}
	for _, run := range wl.Run {
		instant = instant || run == 0
	}
	s.used[colCPU] = gpu && s.used[colCPU]
	for _, c := range []int{colSubmit, colRun, colEstimate, colTenant, colKind, colQueue, colMem, colMemUsed, colGPUs, colGang, colAfter} {
		s.used[c] = false // said
	}
	s.used[colID] = !swfNumeric(wl)
	var lost []string
	for _, c := range writeOrder {
		if s.used[c] {
			lost = append(lost, columnNames[c])
		}
	}
	switch {
	case procs && gpu:
		lost = append(lost, "how many GPUs a replica has (their sum is kept)")
	case procs:
		lost = append(lost, "how many CPUs a replica has (their sum is kept)")
	}
	if gpu {
		lost = append(lost, "that processors are GPUs (but in a comment)")
	}
	if len(wl.Pred) > 0 {
		lost = append(lost, "that tasks wait for others (column 17 names them, and readers do not apply it)")
	}
	if instant {
		lost = append(lost, "tasks whose run time is 0 (readers drop them)")
	}
	return lost
}

// swfNumeric reports whether all ids are different positive numbers, which then number the jobs.
func swfNumeric(wl *Workload) bool {
	numbers := make(map[uint64]bool, wl.Len())
	for t := range wl.Tasks {
		v, ok := canonical([]byte(wl.TaskNames.At(t)))
		if !ok || v == 0 || numbers[v] {
			return false
		}
		numbers[v] = true
	}
	return true
}

// writeSWF writes the Standard Workload Format. Processors are GPUs where every task asks for whole GPUs, otherwise CPUs (rounded
// up); a workload with both kinds, with GPU shares or with more than one predecessor of a task cannot be said and is an error. What else it
// cannot say is left out: see Lost.
// Seconds that are not whole keep their decimals, and memory is rounded up to KB of each processor. Names become numbers; comments in the header tell them.
func writeSWF(out io.Writer, wl *Workload) error {
	gpu := wl.Len() > 0
	anyGPU := false
	for _, c := range wl.Classes {
		d := &wl.Demands[c.Demand]
		gpu = gpu && d.Need.GPUs > 0
		anyGPU = anyGPU || d.Need.GPUs > 0
		if d.Need.GPUs > 0 && d.Need.GPUMilli != sched.Whole {
			return fmt.Errorf("swf cannot say a share of a GPU; write csv or jsonl")
		}
	}
	if anyGPU && !gpu {
		return fmt.Errorf("swf cannot say GPU and CPU tasks in one file; write csv or jsonl")
	}
	w := bufio.NewWriterSize(out, 64<<10)
	fmt.Fprintf(w, "; Version: 2.2\n; MaxJobs: %d\n; MaxRecords: %d\n", wl.Len(), wl.Len())
	if len(wl.Cluster) > 0 {
		total := int64(0)
		for _, n := range wl.Cluster {
			if gpu {
				total += int64(n.GPUs)
			} else if n.CPU < sched.Unlimited {
				total += n.CPU / 1000
			}
		}
		fmt.Fprintf(w, "; MaxNodes: %d\n; MaxProcs: %d\n", len(wl.Cluster), total)
	}
	if gpu {
		fmt.Fprintf(w, "; Note: processors are GPUs\n")
	}
	memory := len(wl.Used) > 0 || slices.ContainsFunc(wl.Demands, func(d sched.Demand) bool { return d.Need.Mem > 0 })
	if memory {
		fmt.Fprintln(w, swfMemoryNote)
	}
	users, userNote := swfNumbers(wl.Tenants, "user")
	apps, appNote := swfNumbers(wl.Kinds, "app")
	queues, queueNote := swfNumbers(wl.Queues, "queue")
	for _, note := range append(append(userNote, appNote...), queueNote...) {
		fmt.Fprintf(w, "; Note: %s\n", note)
	}

	numeric := swfNumeric(wl)
	number := func(t sched.TaskID) string {
		if numeric {
			return wl.TaskNames.At(int(t))
		}
		if wl.Input != nil {
			return strconv.Itoa(int(wl.Input[t]) + 1)
		}
		return strconv.Itoa(int(t) + 1)
	}
	some := wl.MissingEstimates > 0
	var buf []byte
	err := inInputOrder(wl, func(t sched.TaskID) error {
		c := wl.ClassOf(t)
		d := &wl.Demands[c.Demand]
		procs := (d.CPUTotal() + 999) / 1000
		if gpu {
			procs = d.GPUTotal() / sched.Whole
		}
		before := "-1"
		switch p := wl.Preds(t); len(p) {
		case 0:
		case 1:
			before = number(p[0])
		default:
			return fmt.Errorf("task %s has %d predecessors; swf can say one", wl.TaskNames.At(int(t)), len(p))
		}
		buf = append(append(buf[:0], number(t)...), ' ')
		buf = append(appendFixed(buf, int64(wl.Tasks[t].Submit), 9), " -1 "...)
		buf = append(appendFixed(buf, int64(wl.Run[t]), 9), ' ')
		kb := func(bytes int64) { // of a replica
			if bytes <= 0 {
				buf = append(buf, "-1 "...)
				return
			}
			each := int64(sched.MulDiv(time.Duration(bytes), int64(d.Gang), max(procs, 1), true))
			buf = append(strconv.AppendInt(buf, (each-1)>>10+1, 10), ' ')
		}
		buf = append(strconv.AppendInt(buf, procs, 10), " -1 "...)
		kb(wl.Used[t].Mem)
		buf = append(strconv.AppendInt(buf, procs, 10), ' ')
		if some && wl.Estimates[t] == wl.Run[t] {
			buf = append(buf, "-1"...)
		} else {
			buf = appendFixed(buf, int64(wl.Estimates[t]), 9)
		}
		buf = append(buf, ' ')
		kb(d.Need.Mem)
		buf = append(buf, "1 "...)
		buf = append(strconv.AppendInt(buf, users[c.Tenant], 10), " -1 "...)
		buf = append(strconv.AppendInt(buf, apps[c.Kind], 10), ' ')
		buf = append(strconv.AppendInt(buf, queues[c.Queue], 10), " -1 "...)
		buf = append(append(buf, before...), " -1\n"...)
		_, err := w.Write(buf)
		return err
	})
	if err != nil {
		return err
	}
	return w.Flush()
}

// swfNumbers gives each name a number: N where all are called prefixN, otherwise by position, with a note for each.
func swfNumbers(list []string, prefix string) (numbers []int64, notes []string) {
	numbers = make([]int64, len(list))
	same := true
	for i, s := range list {
		numbers[i] = -1
		if s == "" {
			continue
		}
		rest, ok := strings.CutPrefix(s, prefix)
		v, isNumber := canonical([]byte(rest))
		same = same && ok && isNumber
		numbers[i] = int64(v)
	}
	if same {
		return numbers, nil
	}
	for i, s := range list {
		if s != "" {
			numbers[i] = int64(i)
			notes = append(notes, fmt.Sprintf("%s %d is %s", prefix, i, strings.Map(func(r rune) rune {
				if r < ' ' {
					return ' '
				}
				return r
			}, s)))
		}
	}
	return numbers, notes
}
