// Package journal keeps what a kernel was told and what it ordered, batch by batch, so that a run can be replayed to equal decisions
// from any point.
//
// # File format, schedlab/journal/v2
//
// A journal is a sequence of frames, each behind a preamble of 48 bytes, little-endian: 0x184D2A5E, 40, the tag SLJ2 (4 bytes each), the
// frame's size (4), its number of batches (4), the number of its first batch (8), its first and its last time in ns (8 + 8), and the
// CRC-32C of the frame (4). So a journal that a crash cut short is read up to its last whole frame. A closed journal ends in an index:
// 0x184D2A5F and the size of what follows (4 bytes each); for each frame its offset, first batch, first time (8 bytes each), batches and size
// (4 each); then a CRC-32 (IEEE) of these (4 bytes), the offset of the index (8 bytes) and SLJINDEX.
//
// The first frame holds one line of JSON, the header:
//
//	{"schema":"schedlab/journal/v2","policy":"rr{quantum=30s}","seed":1,"config":{},"nodes":[{"name":"node-001","gpus":8}]}
//
// Every further frame holds whole batches. A batch is the time since the batch before (0 for the frame's first), then records up to one of
// kind 0. What a record begins with is its kind in the three lowest bits and flags above them, as encode.go lists them; the common ones are
//
//	1 report   task, [attempt], [work done]                          an attempt has finished or stopped
//	2 start    task, node, [attempt], [replicas], [GPU set]          an order
//	3 arrival  [first task], [tasks], [job], [its name], the tasks   a job, by value: class and flags, estimate, [submit], [deadline], [name],
//	                                                                 [predecessors], [JSON]
//	4 class    what tasks have in common, in each frame before the first task that has it
//
// Numbers take 1 to 9 bytes: as many zeros as stand at the low end of the first byte, so many bytes follow, and the number is in the bits
// above the lowest one. Signed numbers are 0, -1, 1, -2 as 0, 1, 2, 3; estimates and work done are in two's complement. In reports and
// starts a task is a distance back from the task after the frame's last arrival. So each frame can be read alone.
//
// # Version 1
//
// Up to version 1 the frames were zstd frames of JSON lines, a batch a line, behind preambles of 8 + 36 bytes with the tag SLJ1 and no
// checksum. They are still read:
//
//	{"b":7,"t":1500000000,"in":[{"k":"finished","task":3,"try":1}],"out":[{"k":"start","task":4,"try":1,"on":[[0,1,"f"]]}]}
//
// b is the batch's number, t its time, in the facts, out the orders; a placement is [node, replicas, GPU set in hexadecimal]. A line that
// ends in "more":true is continued by the next line of the same batch. Members with their zero value are left out. The fact that a
// job arrived carries its tasks, and the class of each is written out once a frame under its number; a job of very many tasks goes on in
// members {"k":"tasks"} of the same batch, which are no facts of their own.
package journal

import (
	"encoding/json"
	"errors"

	"github.com/schedlab/schedlab/policies/sched"
)

// Schema is the header's schema.
const Schema = "schedlab/journal/v2"

const schema1 = "schedlab/journal/v1"

// Limits. They keep a hostile or damaged file from taking all memory.
const (
	maxLine   = 64 << 20 // bytes of one line of version 1
	maxEvents = 1 << 24  // facts, or orders, of one batch
	maxFrame  = 1 << 32  // bytes of one frame of version 1 when unpacked
	maxWindow = 16 << 20 // bytes that the unpacking of such a frame looks back
)

const (
	frameTarget = 256 << 10 // bytes after which a frame ends

	magicPreamble = 0x184D2A5E
	magicIndex    = 0x184D2A5F
	preambleLen1  = 36
	preambleLen2  = 40
	entryLen      = 32
	footerLen     = 20 // CRC, offset, SLJINDEX
	tag1          = "SLJ1"
	tag2          = "SLJ2"
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
