package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// SQLite takes its log up to the first page that is damaged and says nothing of what came behind it. So how many batches and jobs there are is
// noted beside the file too, once they are durable. The note is not synced: after a power failure it may be an old one, which then says
// less, and never more than was there. One that cannot be read says nothing.

// markFile is the note's name in the state's folder.
const markFile = "state.mark"

// appended counts a batch that is durable.
func (s *Store) appended(b *Batch) {
	s.next++
	if n := len(b.Jobs); n > 0 {
		s.jobs = max(s.jobs, int64(b.Jobs[n-1].ID)+1)
	}
	var note [20]byte
	binary.LittleEndian.PutUint64(note[:], uint64(s.next))
	binary.LittleEndian.PutUint64(note[8:], uint64(s.jobs))
	binary.LittleEndian.PutUint32(note[16:], crc32.Checksum(note[:16], castagnoli))
	_, _ = s.mark.WriteAt(note[:], 0) // an old one does no harm
}

// seen returns an error if there was more in the file than there is.
func (s *Store) seen() error {
	var note [20]byte
	if _, err := s.mark.ReadAt(note[:], 0); err != nil || binary.LittleEndian.Uint32(note[16:]) != crc32.Checksum(note[:16], castagnoli) {
		return nil
	}
	batches, jobs := int64(binary.LittleEndian.Uint64(note[:])), int64(binary.LittleEndian.Uint64(note[8:]))
	if batches <= s.next && jobs <= s.jobs {
		return nil
	}
	return fmt.Errorf("it had %d batches and %d jobs, and has %d and %d: %s-wal is damaged or gone, or this is an old copy; restore both files, or remove %s to go on with what is left",
		batches, jobs, s.next, s.jobs, File, s.mark.Name())
}
