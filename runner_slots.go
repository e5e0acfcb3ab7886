package pawl

import (
	"context"
	"errors"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

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

	slab []running // Room for further jobs. start alone uses it.

	mu      sync.Mutex
	first   *running        // The first of a linked list. A map took a tenth of the client's time.
	count   int             // The jobs that take a slot.
	held    *lanes.Holdings // The same by queue and channel.
	crashed int             // The number of them that have crashed a worker before.
	suspect bool            // One of them is a suspect.
	pending []*running      // Jobs without a goroutine.
	idle    int             // Goroutines that wait for tasks.
	stuck   []*running      // Jobs whose handlers are stuck. They are not in the list.
	left    bool            // Run has left the handlers that still run behind.
}

// running is a job that takes a slot.
type running struct {
	job    *JobInfo
	ctx    context.Context
	cancel context.CancelCauseFunc
	call   *handlerCall // The call that the job is in: own, or that of its chunk.
	own    handlerCall

	held *lanes.Holding

	next, previous *running

	lease *lease        // The job's lease at its claim.
	stuck *stuckHandler // Set once the handler is stuck.
}

// slabSize is how many jobs get room in one allocation.
const slabSize = 32

// suspectCrashes is the number of crashes that makes a job a suspect.
const suspectCrashes = 2

// start gives a job a slot. The caller dispatches it. It is called by one goroutine at a time.
func (s *slots) start(job *JobInfo) {
	job.client = s.public
	if len(s.slab) == 0 {
		s.slab = make([]running, slabSize)
	}
	run := &s.slab[0]
	s.slab = s.slab[1:]
	run.job, run.lease = job, job.lease
	run.call, run.own.values = &run.own, jobContext{job: job, goroutine: s.base}
	run.ctx, run.cancel = context.WithCancelCause(&run.own.values)
	run.own.ctx = run.ctx
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

// goroutineLabel is the pprof label that names a goroutine of slots. By it the stack of a stuck handler is found.
const goroutineLabel = "pawl_slot"

// goroutines counts the goroutines of all slots of the process.
var goroutines atomic.Int64

// serve runs pending jobs one after the other. It ends when Run drains and no job is pending.
func (s *slots) serve() {
	name := strconv.FormatInt(goroutines.Add(1), 10)
	labelled := pprof.WithLabels(s.base, pprof.Labels(goroutineLabel, name))
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
		var runs []*running
		if h != nil && h.many != nil {
			runs = s.takeChunk(h, run)
		}
		s.mu.Unlock()
		pprof.SetGoroutineLabels(labelled) // The job before may have set others.
		if runs == nil {
			run.own.handler, run.own.goroutine, run.own.values.goroutine = h, name, labelled
			s.runOne(run)
		} else {
			s.runChunk(h, runs, name, labelled)
		}
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
	a, err = s.executor.run(&run.own)
	returned = true
}

// free hands over the result of a job and frees its slot. err is what the handler returned.
//
// The job leaves the list before its result is handed over: a heartbeat must not take it for lost once it is
// finished. It leaves the count afterwards: undelivered results keep the runner from claiming more jobs.
func (s *slots) free(run *running, a attemptResult, err error) {
	a.cause = err
	s.mu.Lock()
	if run.stuck != nil {
		s.mu.Unlock()
		s.freeStuck(run, err)
		return
	}
	s.unlist(run)
	s.mu.Unlock()
	if run.ctx.Err() != nil {
		a.ended = context.Cause(run.ctx)
	}
	s.finisher.add(a)
	s.mu.Lock()
	s.uncountCrashes(run.job)
	room := s.uncount(run)
	s.mu.Unlock()
	if room {
		notify(s.freed)
	}
	run.cancel(nil)
	s.jobs.Done()
}

// unlist removes a job from the list. The caller holds s.mu.
func (s *slots) unlist(run *running) {
	if run.next != nil {
		run.next.previous = run.previous
	}
	if run.previous != nil {
		run.previous.next = run.next
	} else {
		s.first = run.next
	}
}

// uncount removes a job from the counts, and reports whether the runner should claim more. The caller holds s.mu.
func (s *slots) uncount(run *running) (room bool) {
	s.count--
	s.held.Remove(run.held)
	return s.held.Few() < s.config.Min
}

// uncountCrashes removes a job from those that have crashed a worker before. The caller holds s.mu.
func (s *slots) uncountCrashes(job *JobInfo) {
	if job.crashes > 0 {
		s.crashed--
	}
	if job.crashes >= suspectCrashes {
		s.suspect = false
	}
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

// running returns the jobs whose results are not handed over yet, and the number of jobs that take a slot. Jobs whose
// handlers are stuck are not among them.
func (s *slots) running() (jobs []*JobInfo, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs = make([]*JobInfo, 0, s.count)
	for run := s.first; run != nil; run = run.next {
		jobs = append(jobs, run.job)
	}
	count = s.count
	for _, run := range s.stuck {
		if !run.stuck.replaced {
			count--
		}
	}
	return jobs, count
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

// wait returns when no job runs, apart from those whose handlers are stuck.
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
