package history

// saved are copies of the cursor at some places of the log, so that a jump crosses the entries from the nearest of them and not all of them. They are
// made by the goroutine that feeds. There are at most maxSaved, ever farther apart as the log grows.
type saved struct {
	tail  cursor // behind all entries of the batches before the present one
	list  []cursor
	every int32 // entries from one to the next
}

const (
	maxSaved   = 16
	firstEvery = 1 << 15
	// worthIt is how many entries a copy must save to be taken: it costs as much as some of them.
	worthIt = 1 << 14
)

// keep moves the tail behind all entries and saves it where it is time.
func (s *saved) keep(r *Record) {
	if s.every == 0 {
		s.every = firstEvery
		s.tail.init(r)
	}
	c := &s.tail
	if int(c.pos) == r.log.n {
		return
	}
	c.grow(r)
	for int(c.pos) < r.log.n {
		c.step(r, r.log.at(c.pos), 1)
		c.pos++
		if c.pos%s.every != 0 {
			continue
		}
		if len(s.list) == maxSaved { // every other one
			kept := s.list[:0]
			for i := range s.list {
				if s.list[i].pos%(2*s.every) == 0 {
					kept = append(kept, s.list[i])
				}
			}
			clear(s.list[len(kept):])
			s.list = kept
			if s.every *= 2; c.pos%s.every != 0 {
				continue
			}
		}
		s.list = append(s.list, cursor{})
		s.list[len(s.list)-1].copyFrom(c)
	}
}

// nearer makes c the saved cursor that is nearest to entry `to`, if that saves work.
func (s *saved) nearer(c *cursor, to int32) {
	far := func(pos int32) int32 { return max(pos-to, to-pos) }
	best := far(c.pos) - worthIt
	var from *cursor
	for i := range s.list {
		if d := far(s.list[i].pos); d < best {
			best, from = d, &s.list[i]
		}
	}
	if from != nil {
		c.copyFrom(from)
	}
}

// copyFrom makes c equal to d, in c's memory. What d has no room for is as in the beginning.
func (c *cursor) copyFrom(d *cursor) {
	n := copy(c.phase, d.phase)
	clear(c.phase[n:])
	c.phase = append(c.phase, d.phase[n:]...)
	n = copy(c.last, d.last)
	for i := n; i < len(c.last); i++ {
		c.last[i] = -1
	}
	c.last = append(c.last, d.last[n:]...)
	for len(c.nodes) < len(d.nodes) {
		c.nodes = append(c.nodes, nodeNow{})
	}
	for i := range c.nodes {
		to, from := &c.nodes[i], nodeNow{state: Down}
		if i < len(d.nodes) {
			from = d.nodes[i]
		}
		to.state, to.use, to.holding = from.state, from.use, append(to.holding[:0], from.holding...)
	}
	n = copy(c.group, d.group)
	clear(c.group[n:])
	c.group = append(c.group, d.group[n:]...)
	c.pos, c.done, c.waits = d.pos, d.done, d.waits
}
