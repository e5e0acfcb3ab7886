package lanes

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// weightsEvery is how often a discovery also reads the weights of channels.
const weightsEvery = time.Second

// StartDiscovery records that the caller looks for unknown lanes now. If weights is true, the caller should also read
// the weights of channels and pass them to SetChannelWeights.
func (s *Set) StartDiscovery() (weights bool) {
	s.discoveredAt = time.Now()
	if s.discoveredAt.Sub(s.weightsAt) < weightsEvery {
		return false
	}
	s.weightsAt = s.discoveredAt
	return true
}

// SinceDiscovery returns the time since the last StartDiscovery.
func (s *Set) SinceDiscovery() time.Duration { return time.Since(s.discoveredAt) }

// SetChannelWeights sets the weights of channels, by queue. A channel without one has the weight 1.
func (s *Set) SetChannelWeights(weights map[string]map[string]int) { s.weights = weights }

// Gaps returns the gaps between the known lanes, in which unknown lanes are looked for: each from a low key to a high
// key, both excluded. If queues is nil, the gaps cover all queues.
func (s *Set) Gaps(queues []string) (lows, highs []Key) {
	keys := make([]Key, 0, len(s.known))
	for key := range s.known {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Priority, b.Priority),
			cmp.Compare(a.Channel, b.Channel))
	})
	between := func(low, high Key, keys []Key) {
		for _, key := range keys {
			lows, highs = append(lows, low), append(highs, key)
			low = key
		}
		lows, highs = append(lows, low), append(highs, high)
	}
	const first, last = math.MinInt32, math.MaxInt32
	if queues == nil {
		between(Key{"", first, ""}, Key{"\U0010FFFF", last, ""}, keys)
		return lows, highs
	}
	for _, queue := range queues {
		var own []Key
		for _, key := range keys {
			if key.Queue == queue {
				own = append(own, key)
			}
		}
		between(Key{queue, first, ""}, Key{queue, last, ""}, own)
	}
	return lows, highs
}
