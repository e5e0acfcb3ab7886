package pawl

import (
	"context"
	"sync"
)

// A workerState is the state that a worker was last told to be in: ready, suspended or stopping.
type workerState struct {
	mu      sync.Mutex
	state   string
	changed chan struct{}      // Closed and replaced when the state changes.
	suspend context.CancelFunc // Ends the context of whileReady's current call.
}

func newWorkerState() *workerState {
	return &workerState{state: workerReady, changed: make(chan struct{}), suspend: func() {}}
}

func (s *workerState) get() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// set changes the state, and reports whether it was another one before.
func (s *workerState) set(state string) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == s.state {
		return false
	}
	s.state = state
	close(s.changed)
	s.changed = make(chan struct{})
	if state != workerReady {
		s.suspend()
	}
	return true
}

// whileReady calls do each time the worker is ready, until ctx ends. The context of do ends when the worker is not
// ready any more.
func (s *workerState) whileReady(ctx context.Context, do func(context.Context)) {
	for ctx.Err() == nil {
		ready, suspend := context.WithCancel(ctx)
		s.mu.Lock()
		state, changed := s.state, s.changed
		s.suspend = suspend
		s.mu.Unlock()
		if state == workerReady {
			do(ready)
		} else {
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
		suspend()
	}
}
