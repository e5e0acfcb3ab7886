package lanes

import (
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

// maxGaps is how many gaps one discovery searches, at most. The next one continues there.
const maxGaps = 1000

// Gaps returns the gaps between the known lanes, in which unknown lanes are looked for: each from a low key to a high
// key, both excluded. If queues is nil, the gaps cover all queues. Of many gaps it returns some, and the next call
// continues; Continues then returns true.
func (s *Set) Gaps(queues []string) (lows, highs []Key) {
	const first, last = math.MinInt32, math.MaxInt32
	spans := [][2]Key{{{"", first, ""}, {"\U0010FFFF", last, ""}}}
	if queues != nil {
		spans = spans[:0]
		for _, queue := range slices.Sorted(slices.Values(queues)) {
			spans = append(spans, [2]Key{{queue, first, ""}, {queue, last, ""}})
		}
	}
	start := s.cursor
	s.cursor = Key{}
	for _, span := range spans {
		low, high := span[0], span[1]
		if start != (Key{}) && start.compare(low) > 0 {
			low = start
		}
		if low.compare(high) >= 0 {
			continue
		}
		for ln := range s.sorted.from(low) {
			if ln.Key == low {
				continue
			}
			if ln.compareKey(high) >= 0 {
				break
			}
			if len(lows) == maxGaps {
				s.cursor = low
				return lows, highs
			}
			lows, highs = append(lows, low), append(highs, ln.Key)
			low = ln.Key
		}
		lows, highs = append(lows, low), append(highs, high)
	}
	if len(lows) == 0 && start != (Key{}) {
		return s.Gaps(queues)
	}
	return lows, highs
}

func (ln *lane) compareKey(key Key) int { return ln.Key.compare(key) }

// ContinueFrom records that the last discovery ended early, at this lane.
func (s *Set) ContinueFrom(key Key) { s.cursor = key }

// Continues reports whether the last discovery left gaps for the next one.
func (s *Set) Continues() bool { return s.cursor != Key{} }
