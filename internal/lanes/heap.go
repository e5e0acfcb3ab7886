package lanes

// A ranked value has an order, and room for its index in a heap.
type ranked[T any] interface {
	comparable
	compare(T) int
	index() *int
}

// A heap is a binary heap: a[i] comes before a[2i+1] and a[2i+2]. An element knows its index, so that it can be
// removed or moved in O(log n).
type heap[T ranked[T]] []T

func (h *heap[T]) push(v T) {
	*h = append(*h, v)
	*v.index() = len(*h) - 1
	h.up(len(*h) - 1)
}

func (h *heap[T]) remove(v T) {
	a, i, last := *h, *v.index(), len(*h)-1
	h.swap(i, last)
	var none T
	a[last] = none
	*h = a[:last]
	if i < last {
		h.fix((*h)[i])
	}
}

// fix restores the order after a change of v.
func (h heap[T]) fix(v T) {
	h.up(*v.index())
	h.down(*v.index())
}

func (h heap[T]) swap(i, k int) {
	h[i], h[k] = h[k], h[i]
	*h[i].index(), *h[k].index() = i, k
}

func (h heap[T]) up(i int) {
	for i > 0 && h[i].compare(h[(i-1)/2]) < 0 {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h heap[T]) down(i int) {
	for {
		least := i
		for k := 2*i + 1; k <= 2*i+2 && k < len(h); k++ {
			if h[k].compare(h[least]) < 0 {
				least = k
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

// inOrder yields the elements in order and leaves the heap as it is. The first k cost O(k log k).
func (h heap[T]) inOrder(yield func(T) bool) {
	if len(h) == 0 {
		return
	}
	if len(h) == 1 {
		yield(h[0])
		return
	}
	next := candidates[T]{heap: h, at: make([]int, 1, 32)} // The children of what was yielded.
	for len(next.at) > 0 {
		i := next.pop()
		if !yield(h[i]) {
			return
		}
		for k := 2*i + 1; k <= 2*i+2 && k < len(h); k++ {
			next.push(k)
		}
	}
}

// candidates is a heap of indices of a heap.
type candidates[T ranked[T]] struct {
	heap heap[T]
	at   []int
}

func (c *candidates[T]) before(i, k int) bool { return c.heap[c.at[i]].compare(c.heap[c.at[k]]) < 0 }

func (c *candidates[T]) push(v int) {
	c.at = append(c.at, v)
	for i := len(c.at) - 1; i > 0 && c.before(i, (i-1)/2); i = (i - 1) / 2 {
		c.at[i], c.at[(i-1)/2] = c.at[(i-1)/2], c.at[i]
	}
}

func (c *candidates[T]) pop() int {
	first, last := c.at[0], len(c.at)-1
	c.at[0] = c.at[last]
	c.at = c.at[:last]
	for i := 0; ; {
		least := i
		for k := 2*i + 1; k <= 2*i+2 && k < last; k++ {
			if c.before(k, least) {
				least = k
			}
		}
		if least == i {
			return first
		}
		c.at[i], c.at[least] = c.at[least], c.at[i]
		i = least
	}
}
