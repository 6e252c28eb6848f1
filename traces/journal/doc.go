// Package journal keeps what a kernel was told and what it ordered, batch by batch, so that a run can be replayed to equal decisions
// from any point.
//
// # File format, schedlab/journal/v1
//
// A journal is a sequence of zstd frames, so that zstdcat shows it as JSON lines. The first frame holds one line, the header:
//
//	{"schema":"schedlab/journal/v1","policy":"rr{quantum=30s}","seed":1,"config":{},"nodes":[{"name":"node-001","gpus":8}]}
//
// Every further frame holds whole batches, one line each:
//
//	{"b":7,"t":1500000000,"in":[{"k":"finished","task":3,"try":1}],"out":[{"k":"start","task":4,"try":1,"on":[[0,1,"f"]]}]}
//
// b is the batch's number, t its time in ns, in the facts, out the orders. A placement is [node, replicas, GPU set in hexadecimal]. A
// line that ends in "more":true is continued by the next line of the same batch. Members with their zero value are left out, and so are
// capacities that are unlimited.
//
// The fact that a job arrived carries its tasks by value, and the class of each is written out once a frame under its number:
//
//	{"k":"arrived","task":0,"n":2,"job":0,"jobname":"etl","classes":[{"id":1,"need":{"cpu":1000}}],
//	 "tasks":[{"name":"a","class":1,"est":5000000000},{"name":"b","class":1,"est":1000000000,"after":[0]}]}
//
// So each frame can be read alone. A task's submit time is left out where it is the batch's. A job of very many tasks goes on in
// members {"k":"tasks"} of the same batch, which are no facts of their own.
//
// Each frame is preceded by a skippable frame (RFC 8878, section 3.1.2; magic 0x184D2A5E) of 36 bytes, little-endian: the tag SLJ1,
// the frame's size (4 bytes), its number of batches (4), the number of its first batch (8), its first and its last time (8 + 8). So a
// journal that a crash cut short is read up to its last whole frame. A closed journal ends in one more skippable frame (magic
// 0x184D2A5F): for each frame its offset, first batch, first time (8 bytes each), batches and size (4 each); then a CRC-32 (IEEE) of
// these (4 bytes), the offset of this skippable frame (8 bytes) and SLJINDEX.
package journal

import (
	"encoding/json"
	"errors"

	"github.com/schedlab/schedlab/policies/sched"
)

// Schema is the header's schema.
const Schema = "schedlab/journal/v1"

// Limits. They keep a hostile or damaged file from taking all memory.
const (
	maxLine   = 64 << 20 // bytes of one line
	maxEvents = 1 << 24  // facts, or orders, of one batch
	maxFrame  = 1 << 32  // bytes of one frame when unpacked
	maxWindow = 16 << 20 // bytes that the unpacking of a frame looks back
)

const (
	frameTarget = 256 << 10 // bytes of JSON after which a frame ends
	lineTarget  = 1 << 20   // bytes after which a batch goes on in a new line
	chunkTasks  = 1024      // tasks in one member of a line

	magicPreamble = 0x184D2A5E
	magicIndex    = 0x184D2A5F
	preambleLen   = 36
	entryLen      = 32
	footerLen     = 20 // CRC, offset, SLJINDEX
	tag           = "SLJ1"
	indexTag      = "SLJINDEX"
)

// ErrTruncated is what Next returns, wrapped, after the last whole frame of a journal that was not closed (a crash, or a run that still
// goes on).
var ErrTruncated = errors.New("the journal ends without its index: it was cut short")

// Header is the first line of a journal.
type Header struct {
	Policy string          // as the policy prints itself, parameters included
	Seed   int64           // of everything random in the run
	Config json.RawMessage // the driver's own settings, any JSON value; nil = none
	Nodes  []sched.NodeSpec
}

// Batch is what one step of a kernel was told and what it ordered.
type Batch struct {
	No  int64 // from 0
	Now sched.Time
	In  []sched.Event
	Out []sched.Command
}

// entry describes one frame.
type entry struct {
	offset     int64 // of the frame's preamble
	size       int64 // of the zstd frame after it
	batch      int64 // number of its first batch
	batches    uint32
	time, last sched.Time // of its first and last batch; last is not in the index
}
