package pawl

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"

	"github.com/pawlhq/pawl/internal/lanes"
)

// slots are the places of a runner's jobs. They contain the claimed jobs, their counts, and the goroutines that run
// them.
//
// A job takes a slot with start and leaves it with free. In between it is first pending, until a goroutine takes it,
// and then its handler runs. The order of both is that of the claims.
type slots struct {
	executor *executor
	finisher *finisher
	public   *Client         // The client that Run was called on. Handlers get it.
	base     context.Context // Handlers' contexts have its values.
	config   *RunnerConfig

	freed chan struct{}  // Receives a value when a job ends and there is room again.
	tasks chan struct{}  // Wakes an idle goroutine.
	drain chan struct{}  // Closed when Run drains. Then goroutines without a job end.
	jobs  sync.WaitGroup // Counts the jobs.

	mu      sync.Mutex
	first   *running        // The first of a linked list. A map took a tenth of the client's time.
	count   int             // The jobs that take a slot.
	held    *lanes.Holdings // The same by queue and channel.
	crashed int             // The number of them that have crashed a worker before.
	suspect bool            // One of them is a suspect.
	pending []*running      // Jobs without a goroutine.
	idle    int             // Goroutines that wait for tasks.
}

// running is a job that takes a slot.
type running struct {
	job    *JobInfo
	ctx    context.Context
	cancel context.CancelCauseFunc

	held *lanes.Holding

	next, previous *running
}

// suspectCrashes is the number of crashes that makes a job a suspect.
const suspectCrashes = 2

// start gives a job a slot. The caller dispatches it.
func (s *slots) start(job *JobInfo) {
	ctx, cancel := context.WithCancelCause(context.WithValue(s.base, jobKey{}, job))
	job.client = s.public
	run := &running{job: job, ctx: ctx, cancel: cancel}
	s.jobs.Add(1)
	s.mu.Lock()
	if run.next = s.first; run.next != nil {
		run.next.previous = run
	}
	s.first = run
	s.count++
	run.held = s.held.Add(job.Queue, job.Channel)
	if job.crashes > 0 {
		s.crashed++
	}
	if job.crashes >= suspectCrashes {
		s.suspect = true
	}
	s.pending = append(s.pending, run)
	s.mu.Unlock()
}

// dispatch gives every pending job a goroutine. It yields after each one. So a few goroutines run all short handlers
// one after the other, and their stacks have grown already. A handler that blocks is followed by another goroutine.
// With a new goroutine for each job, a third of the client's CPU time went into growing stacks.
func (s *slots) dispatch() {
	for {
		s.mu.Lock()
		if len(s.pending) == 0 {
			s.mu.Unlock()
			return
		}
		if s.idle > 0 {
			s.idle--
			s.mu.Unlock()
			s.tasks <- struct{}{}
		} else {
			s.mu.Unlock()
			go s.serve()
		}
		runtime.Gosched()
	}
}

// serve runs pending jobs one after the other. It ends when Run drains and no job is pending.
func (s *slots) serve() {
	for {
		s.mu.Lock()
		if len(s.pending) == 0 {
			s.idle++
			s.mu.Unlock()
			select {
			case <-s.tasks:
				continue
			case <-s.drain:
				return
			}
		}
		run := s.pending[0]
		s.pending[0] = nil
		s.pending = s.pending[1:]
		h := s.executor.mux.handler(run.job.Kind)
		if h == nil || h.many == nil {
			s.mu.Unlock()
			s.runOne(run)
			continue
		}
		runs := s.takeChunk(h, run)
		s.mu.Unlock()
		s.runChunk(h, runs)
	}
}

// takeChunk takes the pending jobs that have the same handler as first, up to the size of a chunk. The caller holds
// s.mu.
func (s *slots) takeChunk(h *handler, first *running) []*running {
	chunk := []*running{first}
	s.pending = slices.DeleteFunc(s.pending, func(run *running) bool {
		if len(chunk) >= h.opts.Chunk || s.executor.mux.handler(run.job.Kind) != h {
			return false
		}
		chunk = append(chunk, run)
		return true
	})
	return chunk
}

// runOne runs a job. The job gets a result even if its handler ends the goroutine.
func (s *slots) runOne(run *running) {
	var a attemptResult
	var err error
	returned := false
	defer func() {
		if !returned {
			a, err = resultOf(run.job, nil, errGoexit), errGoexit
		}
		s.free(run, a, err)
	}()
	a, err = s.executor.run(run.ctx, run.job)
	returned = true
}

// free hands over the result of a job and frees its slot. err is what the handler returned.
//
// The job leaves the list before its result is handed over: a heartbeat must not take it for lost once it is
// finished. It leaves the count afterwards: undelivered results keep the runner from claiming more jobs.
func (s *slots) free(run *running, a attemptResult, err error) {
	job := run.job
	a.cause = err
	s.mu.Lock()
	if run.next != nil {
		run.next.previous = run.previous
	}
	if run.previous != nil {
		run.previous.next = run.next
	} else {
		s.first = run.next
	}
	s.mu.Unlock()
	s.finisher.add(a)
	s.mu.Lock()
	s.count--
	s.held.Remove(run.held)
	if job.crashes > 0 {
		s.crashed--
	}
	if job.crashes >= suspectCrashes {
		s.suspect = false
	}
	room := s.held.Few() < s.config.Min
	s.mu.Unlock()
	if room {
		notify(s.freed)
	}
	run.cancel(nil)
	s.jobs.Done()
}

// vacant returns how many slots are free. few reports whether a claim is worth it: fewer than Min jobs take a slot.
// Jobs beyond the share of their queue or channel do not count.
func (s *slots) vacant() (n int, few bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = s.config.Max - s.count
	return n, n > 0 && s.held.Few() < s.config.Min
}

// room returns how many more jobs of a queue may run.
func (s *slots) room(queue string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roomHeld(queue)
}

// roomHeld is room for a caller that holds s.mu.
func (s *slots) roomHeld(queue string) int {
	if s.config.Queues == nil {
		return s.config.Max
	}
	q, chosen := s.config.Queues[queue]
	if !chosen {
		return 0
	}
	if q.Max == 0 {
		return s.config.Max
	}
	return q.Max - s.held.Queue(queue)
}

// plan makes a plan while no job takes or leaves a slot.
func (s *slots) plan(of func(room func(queue string) int) *lanes.Plan) *lanes.Plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	return of(s.roomHeld)
}

// countShares updates which jobs count when the runner decides whether to claim: see lanes.Holdings.
func (s *slots) countShares(set *lanes.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set.CountShares(s.config.Min)
}

// crashes reports whether a job that has crashed a worker before takes a slot, and whether a suspect does.
func (s *slots) crashes() (crashed, suspect bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.crashed > 0, s.suspect
}

// running returns the jobs whose results are not handed over yet, and the number of jobs that take a slot.
func (s *slots) running() (jobs []*JobInfo, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs = make([]*JobInfo, 0, s.count)
	for run := s.first; run != nil; run = run.next {
		jobs = append(jobs, run.job)
	}
	return jobs, s.count
}

// cancel ends the contexts of the running jobs that which selects.
func (s *slots) cancel(cause error, which func(*JobInfo) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for run := s.first; run != nil; run = run.next {
		if which(run.job) {
			run.cancel(cause)
		}
	}
}

// cancelAll ends the contexts of all running jobs because Run ends.
func (s *slots) cancelAll() { s.cancel(ErrShutdown, func(*JobInfo) bool { return true }) }

// endIdle ends the goroutines that have no job, and keeps handlers from starting that wait for a slot of their kind.
func (s *slots) endIdle() { close(s.drain) }

// wait returns when no job takes a slot.
func (s *slots) wait() { s.jobs.Wait() }

// notify puts a value into a channel with a buffer of one, if it is empty.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// isShutdown reports whether a context ended because Run ends.
func isShutdown(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrShutdown) }
