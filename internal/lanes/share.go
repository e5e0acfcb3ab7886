package lanes

import (
	"cmp"
	"math"
	"slices"
)

// Holdings counts the slots that the jobs of queues and channels hold in a runner. It is not safe for concurrent use.
//
// While several queues or channels have ready jobs, each is to hold its weighted share of the slots. A claim gives
// free slots to those that hold the least for their weight: see waterLevel. No slot stays free for a job that may
// come.
type Holdings struct {
	queues map[string]*queueHolding
	last   *Holding // Successive jobs are often of the same channel.
	few    int      // The sum of what counts of each queue: see Few.
}

type queueHolding struct {
	name     string
	held     int
	counted  int // The sum of what counts of each channel.
	most     int // No more than this counts.
	channels map[string]*Holding
}

// A Holding is what one channel holds.
type Holding struct {
	queue   *queueHolding
	channel string
	held    int
	most    int // No more than this counts.
}

// NewHoldings returns Holdings of nothing.
func NewHoldings() *Holdings { return &Holdings{queues: map[string]*queueHolding{}} }

// Add counts a job that takes a slot.
func (h *Holdings) Add(queue, channel string) *Holding {
	c := h.last
	if c == nil || c.channel != channel || c.queue.name != queue {
		if c != nil && c.held == 0 {
			h.drop(c)
		}
		c = h.find(queue, channel)
		h.last = c
	}
	c.held++
	c.queue.held++
	if c.held <= c.most {
		if c.queue.counted++; c.queue.counted <= c.queue.most {
			h.few++
		}
	}
	return c
}

func (h *Holdings) find(queue, channel string) *Holding {
	q := h.queues[queue]
	if q == nil {
		q = &queueHolding{name: queue, most: math.MaxInt, channels: map[string]*Holding{}}
		h.queues[queue] = q
	}
	c := q.channels[channel]
	if c == nil {
		c = &Holding{queue: q, channel: channel, most: math.MaxInt}
		q.channels[channel] = c
	}
	return c
}

// Remove counts a job that has left its slot.
func (h *Holdings) Remove(c *Holding) {
	if c.held <= c.most {
		if c.queue.counted <= c.queue.most {
			h.few--
		}
		c.queue.counted--
	}
	c.held--
	c.queue.held--
	if c.held == 0 && c != h.last { // The last one is kept: its next job is likely to come soon.
		h.drop(c)
	}
}

func (h *Holdings) drop(c *Holding) {
	delete(c.queue.channels, c.channel)
	if len(c.queue.channels) == 0 {
		delete(h.queues, c.queue.name)
	}
}

// Queue returns how many slots a queue holds.
func (h *Holdings) Queue(name string) int {
	if h == nil || h.queues[name] == nil {
		return 0
	}
	return h.queues[name].held
}

func (h *Holdings) channel(queue, channel string) int {
	if h == nil || h.queues[queue] == nil || h.queues[queue].channels[channel] == nil {
		return 0
	}
	return h.queues[queue].channels[channel].held
}

// Few returns how many slots count as taken when a runner decides whether to claim again. Of a queue or channel that
// holds more than its share while others have ready jobs, only its share counts. Otherwise jobs that hold their slots
// for long would keep the number of taken slots high, and the others' jobs would wait.
func (h *Holdings) Few() int { return h.few }

// limit sets how many slots count of a queue or channel.
func (h *Holdings) limitQueue(q *queueHolding, most int) {
	h.few += min(q.counted, most) - min(q.counted, q.most)
	q.most = most
}

func (h *Holdings) limitChannel(c *Holding, most int) {
	q := c.queue
	before := min(q.counted, q.most)
	q.counted += min(c.held, most) - min(c.held, c.most)
	c.most = most
	h.few += min(q.counted, q.most) - before
}

// A party takes part in the division of free slots.
type party struct {
	weight int
	held   int
}

// waterLevel divides n free slots. It returns the level up to which they fill the parties: a party of weight w that
// holds h slots gets level·w − h more, or none. Of the sum of all weights, parties are those that hold any.
func waterLevel(n, weights int, parties []party) float64 {
	if weights <= 0 {
		return float64(n)
	}
	slices.SortFunc(parties, func(a, b party) int { return cmp.Compare(b.held*a.weight, a.held*b.weight) })
	sum, w := n, weights
	for _, p := range parties {
		sum += p.held
	}
	for _, p := range parties {
		if p.held*w <= sum*p.weight || w == p.weight {
			break
		}
		sum, w = sum-p.held, w-p.weight
	}
	return float64(sum) / float64(w)
}

// fill returns how many slots a party gets up to a level, rounded up.
func (p party) fill(level float64) int {
	return max(int(math.Ceil(level*float64(p.weight)-1e-9))-p.held, 0)
}

// CountShares updates what counts for Few after a claim. least is the number of slots below which a runner claims. If
// all parties hold their shares, the slots that count are no fewer than least.
func (s *Set) CountShares(least int) {
	for name, h := range s.held.queues {
		q := s.queues[name]
		own, most := 1, least
		if q != nil {
			own = q.weight
		}
		if others := s.otherWeight(name); others > 0 {
			most = max(divideUp(least*own, own+others), 1)
		}
		s.held.limitQueue(h, most)
		for _, c := range h.channels {
			weight := max(s.weights[name][c.channel], 1)
			share := divideUp(most*weight, weight+s.otherChannels(q, c.channel))
			s.held.limitChannel(c, max(share, 1))
		}
	}
}

// otherWeight returns the weights of the other queues that have ready jobs, and room for them.
func (s *Set) otherWeight(name string) int {
	weight := s.readyWeight
	if q := s.queues[name]; q != nil && q.ready > 0 {
		weight -= q.weight
	}
	for _, q := range s.limited {
		if q.ready > 0 && q.name != name && s.held.Queue(q.name) >= q.limit {
			weight -= q.weight
		}
	}
	return weight
}

// otherChannels returns how many other channels have ready jobs of the queue's most urgent priority.
func (s *Set) otherChannels(q *queue, channel string) int {
	if q == nil {
		return 0
	}
	for _, l := range q.levels {
		if len(l.ready) == 0 {
			continue
		}
		if ln := s.known[Key{q.name, l.priority, channel}]; ln != nil && ln.state == ready {
			return len(l.ready) - 1
		}
		return len(l.ready)
	}
	return 0
}
