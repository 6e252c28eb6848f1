package node

import "bytes"

// The readers of /proc below take what the kernel wrote and allocate nothing. They report false where the text is not what they know, and never
// panic: a container may show files of its own make.

// digits reads the number at the beginning of b and returns what follows.
func digits(b []byte) (v uint64, rest []byte, ok bool) {
	i := 0
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		d := uint64(b[i] - '0')
		if v > (1<<63-d)/10 {
			return 0, b, false
		}
		v = v*10 + d
		i++
	}
	return v, b[i:], i > 0
}

// field reads the number after blanks.
func field(b []byte) (v uint64, rest []byte, ok bool) {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return digits(b)
}

// skip goes past n words.
func skip(b []byte, n int) []byte {
	for ; n > 0; n-- {
		for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
			b = b[1:]
		}
		for len(b) > 0 && b[0] != ' ' && b[0] != '\t' {
			b = b[1:]
		}
	}
	return b
}

func cutLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// cpuTicks is the time of all CPUs together since boot, in the kernel's ticks.
type cpuTicks struct {
	busy, total uint64
	cpus        int // that are online
}

// parseStat reads /proc/stat. Waiting for the disk is idle; what the hypervisor took is busy, for nobody here can have it.
func parseStat(b []byte) (c cpuTicks, ok bool) {
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		if !bytes.HasPrefix(line, []byte("cpu")) {
			break // the CPUs come first
		}
		if line = line[3:]; len(line) == 0 || line[0] != ' ' {
			c.cpus++
			continue
		}
		// user nice system idle iowait irq softirq steal; guests are in user and nice already
		for i := range 8 {
			v, rest, is := field(line)
			if !is {
				if i < 4 {
					return c, false
				}
				break
			}
			line = rest
			if c.total > 1<<63-v {
				return c, false
			}
			c.total += v
			if i != 3 && i != 4 {
				c.busy += v
			}
		}
		ok = true
	}
	return c, ok && c.cpus > 0
}

// parseMeminfo reads /proc/meminfo: bytes in all, and bytes that a new program could have. Kernels before 3.14 do not tell the latter; it is
// then what is free and what caches could give back.
func parseMeminfo(b []byte) (total, available int64, ok bool) {
	var got struct{ total, available, free, buffers, cached uint64 }
	has := false
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		key, value, found := bytes.Cut(line, []byte{':'})
		if !found {
			continue
		}
		var to *uint64
		switch string(key) { // compared without a copy
		case "MemTotal":
			to = &got.total
		case "MemAvailable":
			to, has = &got.available, true
		case "MemFree":
			to = &got.free
		case "Buffers":
			to = &got.buffers
		case "Cached":
			to = &got.cached
		default:
			continue
		}
		v, _, is := field(value)
		if !is || v > 1<<50 {
			return 0, 0, false
		}
		*to = v << 10
	}
	if !has {
		got.available = got.free + got.buffers + got.cached
	}
	return int64(got.total), int64(min(got.available, got.total)), got.total > 0
}

// parseLoad reads the load of the last minute from /proc/loadavg, in hundredths.
func parseLoad(b []byte) (centi int64, ok bool) {
	v, rest, ok := field(b)
	if !ok || v > 1<<40 || len(rest) < 3 || rest[0] != '.' {
		return 0, false
	}
	c, _, ok := digits(rest[1:3])
	return int64(v*100 + c), ok
}

// parseNetDev calls each for the interfaces of /proc/net/dev with the bytes received and sent.
func parseNetDev(b []byte, each func(name []byte, rx, tx uint64)) bool {
	ok := false
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		name, counts, found := bytes.Cut(line, []byte{':'})
		if !found {
			continue // the two lines of the head
		}
		rx, rest, is := field(counts)
		if !is {
			return false
		}
		tx, _, is := field(skip(rest, 7))
		if !is {
			return false
		}
		each(bytes.TrimSpace(name), rx, tx)
		ok = true
	}
	return ok
}

// parseEstablished reads the number of TCP connections from /proc/net/snmp: the one line names the columns, the next has the values.
func parseEstablished(b []byte) (n int64, ok bool) {
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		if !bytes.HasPrefix(line, []byte("Tcp: ")) {
			continue
		}
		at := bytes.Index(line, []byte(" CurrEstab"))
		if at < 0 {
			return 0, false
		}
		column := bytes.Count(line[:at+1], []byte{' '}) // word 0 is "Tcp:"
		values, _ := cutLine(b)
		v, _, is := field(skip(values, column))
		return int64(v), is && v < 1<<31
	}
	return 0, false
}

// parseDisks adds up the operations of /proc/diskstats that are done, and the ms that they took, over the disks that use names.
func parseDisks(b []byte, use func(name []byte) bool) (ops, ms uint64, ok bool) {
	for len(b) > 0 {
		var line []byte
		line, b = cutLine(b)
		line = bytes.TrimLeft(skip(line, 2), " ")
		name, rest, found := bytes.Cut(line, []byte{' '})
		if !found || !use(name) {
			continue
		}
		// reads, merged, sectors, ms reading, writes, merged, sectors, ms writing
		var v [8]uint64
		for i := range v {
			var is bool
			if v[i], rest, is = field(rest); !is || v[i] > 1<<48 {
				return 0, 0, false
			}
		}
		ops, ms, ok = ops+v[0]+v[4], ms+v[3]+v[7], true
	}
	return ops, ms, ok
}
