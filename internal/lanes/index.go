package lanes

import (
	"cmp"
	"slices"
)

// compare orders keys like the primary key of ready.
func (k Key) compare(other Key) int {
	if k.Queue != other.Queue {
		return cmp.Compare(k.Queue, other.Queue)
	}
	if k.Priority != other.Priority {
		return cmp.Compare(k.Priority, other.Priority)
	}
	return cmp.Compare(k.Channel, other.Channel)
}

// maxChunk is the number of lanes of a chunk of an index, at most.
const maxChunk = 256

// An index holds lanes in the order of their keys, in chunks. No chunk is empty.
type index struct{ chunks [][]*lane }

// search returns the place of the first lane that is not before key.
func (x *index) search(key Key) (chunk, i int) {
	chunk, _ = slices.BinarySearchFunc(x.chunks, key, func(c []*lane, key Key) int {
		return c[len(c)-1].Key.compare(key)
	})
	if chunk < len(x.chunks) {
		i, _ = slices.BinarySearchFunc(x.chunks[chunk], key, func(ln *lane, key Key) int { return ln.Key.compare(key) })
	}
	return chunk, i
}

func (x *index) insert(ln *lane) {
	c, i := x.search(ln.Key)
	if c == len(x.chunks) {
		if c == 0 || len(x.chunks[c-1]) == maxChunk {
			x.chunks = append(x.chunks, append(make([]*lane, 0, maxChunk), ln))
			return
		}
		c--
		i = len(x.chunks[c])
	}
	if len(x.chunks[c]) == maxChunk {
		const half = maxChunk / 2
		upper := append(make([]*lane, 0, maxChunk), x.chunks[c][half:]...)
		clear(x.chunks[c][half:])
		x.chunks[c] = x.chunks[c][:half]
		x.chunks = slices.Insert(x.chunks, c+1, upper)
		if i > half {
			c, i = c+1, i-half
		}
	}
	x.chunks[c] = slices.Insert(x.chunks[c], i, ln)
}

func (x *index) remove(ln *lane) {
	c, i := x.search(ln.Key)
	if x.chunks[c] = slices.Delete(x.chunks[c], i, i+1); len(x.chunks[c]) == 0 {
		x.chunks = slices.Delete(x.chunks, c, c+1)
	}
}

// from yields the lanes from key on, in order.
func (x *index) from(key Key) func(yield func(*lane) bool) {
	return func(yield func(*lane) bool) {
		c, i := x.search(key)
		for ; c < len(x.chunks); c, i = c+1, 0 {
			for _, ln := range x.chunks[c][i:] {
				if !yield(ln) {
					return
				}
			}
		}
	}
}
