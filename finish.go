package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// answer is what becomes of a held job: complete, or a verb of fail.sql.
type answer struct {
	job     *JobInfo
	verb    string
	delay   *float64
	backoff *string
	err     *string // {"error": …, "stack": …}
	keep    bool
	waited  time.Duration // From due to the handler's start; 0: it was not started.
	ran     time.Duration
	cause   error // What the handler returned.
	passed  int   // How often its row was found locked.
	lost    bool  // A try's answer was lost: it may have been carried out.
}

const verbComplete = "complete"

// answerTo reads what a handler returned.
func answerTo(job *JobInfo, h *handler, err error) answer {
	a := answer{job: job, verb: "retry"}
	if err == nil || errors.Is(err, Skip) {
		a.verb = verbComplete
		return a
	}
	var stack string
	if p, ok := errors.AsType[*PanicError](err); ok {
		stack = p.Stack
	}
	o, said := errors.AsType[*outcome](err)
	if said {
		a.verb = o.verb
		wait := o.delay
		if !o.at.IsZero() {
			wait = max(time.Until(o.at), 0)
		}
		if o.verb == "snooze" || o.verb == "retry" {
			s := wait.Seconds()
			a.delay = &s
		}
	} else if _, bad := errors.AsType[*unprocessable](err); bad {
		a.verb = "unprocessable"
	}
	if a.verb != "snooze" && (!said || o.err != nil) {
		a.err = errorText(err, stack)
	}
	if a.verb == "retry" && a.delay == nil && h != nil {
		if h.opts.Delay != nil {
			if d := h.opts.Delay(job, err); d > 0 {
				s := d.Seconds()
				a.delay = &s
			}
		}
		if h.opts.Backoff != (Backoff{}) {
			b, _ := json.Marshal(h.opts.Backoff.stored())
			s := string(b)
			a.backoff = &s
		}
	}
	return a
}

// bounded is a text of at most so many bytes, without what PostgreSQL's text refuses.
func bounded(s string, most int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + " …"
	}
	return s
}

const maxErrorText, maxErrorStack = 4096, 8192 // Bytes of an error that are kept.

// errorText is an error as it is kept with the job: bounded, and without what jsonb refuses.
func errorText(err error, stack string) *string {
	b, _ := json.Marshal(struct {
		Error string `json:"error"`
		Stack string `json:"stack,omitempty"`
	}{bounded(err.Error(), maxErrorText), bounded(stack, maxErrorStack)})
	s := string(b)
	return &s
}

// pairs are the (id, epoch) columns of jobs.
func pairs(jobs []*JobInfo) (ids []int64, epochs []int32) {
	ids, epochs = make([]int64, len(jobs)), make([]int32, len(jobs))
	for i, j := range jobs {
		ids[i], epochs[i] = int64(j.ID), j.epoch
	}
	return ids, epochs
}

// verdicts are what became of jobs: of all of them the same, or of each; without an entry it was not ours, or locked by somebody.
type verdicts struct {
	all  string
	each map[ID]string
}

func (v verdicts) of(id ID) (what string, ok bool) {
	if v.all != "" {
		return v.all, true
	}
	what, ok = v.each[id]
	return what, ok
}

// finish writes answers of one kind: all complete (and of one keep), or all not. leases go with a complete, if every job of it was finished.
func (c *Client) finish(ctx context.Context, answers []answer, worker string, leases []string) (became verdicts, err error) {
	n := len(answers)
	jobs := make([]*JobInfo, n)
	waited, ran, results := make([]int64, n), make([]int64, n), make([]*string, n)
	for i := range answers {
		jobs[i] = answers[i].job
		if result := answers[i].job.result; result != nil {
			s := string(result)
			results[i] = &s
		}
		waited[i], ran[i] = answers[i].job.waited.Milliseconds(), answers[i].ran.Milliseconds()
	}
	ids, epochs := pairs(jobs)
	if n == 0 || answers[0].verb == verbComplete {
		if leases == nil {
			leases = []string{}
		}
		done := make([]ID, 0, n)
		err = c.query(ctx, "select pawl.complete($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::text, $7::boolean, $8::uuid[])",
			[]any{ids, epochs, waited, ran, results, worker, n > 0 && answers[0].keep, leases},
			func(s scanner) error {
				var id int64
				if rows, ok := s.(pgx.Rows); ok && len(rows.RawValues()[0]) == 8 {
					id = integer(rows.RawValues()[0])
				} else if err := s.Scan(&id); err != nil {
					return err
				}
				done = append(done, ID(id))
				return nil
			})
		if err == nil && len(done) == n {
			return verdicts{all: string(StateCompleted)}, nil
		}
		became.each = make(map[ID]string, n)
		for _, id := range done {
			became.each[id] = string(StateCompleted)
		}
		return became, err
	}
	became.each = make(map[ID]string, n)
	verbs, delays := make([]string, n), make([]*float64, n)
	backoffs, errs := make([]*string, n), make([]*string, n)
	for i := range answers {
		verbs[i], delays[i], backoffs[i], errs[i] = answers[i].verb, answers[i].delay, answers[i].backoff, answers[i].err
	}
	err = c.query(ctx, `select * from pawl.fail($1::bigint[], $2::integer[], $3::text[], $4::double precision[], $5::text[], $6::text[],
		$7::bigint[], $8::bigint[], $9::text)`,
		[]any{ids, epochs, verbs, delays, backoffs, errs, waited, ran, worker},
		func(s scanner) error {
			var id int64
			var what string
			err := s.Scan(&id, &what)
			became.each[ID(id)] = what
			return err
		})
	return became, err
}

// finishWaiting is finish for jobs whose rows may be locked by somebody: it waits for them.
func (c *Client) finishWaiting(ctx context.Context, answers []answer, worker string, leases []string) (became verdicts, err error) {
	err = c.inTx(ctx, func(c *Client) error {
		jobs := make([]*JobInfo, len(answers))
		for i := range answers {
			jobs[i] = answers[i].job
		}
		ids, epochs := pairs(jobs)
		if err := c.query(ctx, "select pawl.hold($1::bigint[], $2::integer[])", []any{ids, epochs}, nil); err != nil {
			return err
		}
		became, err = c.finish(ctx, answers, worker, leases)
		return err
	})
	return became, err
}

// inTx runs do in the client's transaction, or in one of its own where it has none.
func (c *Client) inTx(ctx context.Context, do func(*Client) error) error {
	if c.db != nil {
		return do(c)
	}
	if c.pool == nil {
		return c.query(ctx, "", nil, nil)
	}
	return pgx.BeginTxFunc(ctx, c.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error { return do(c.With(tx)) })
}

// finisher writes a runner's answers by natural batching: what gathers while a statement is under way goes with the next.
// Its goroutines live only while there is work.
type finisher struct {
	client *Client
	ctx    context.Context // Ends when the runner gives up delivering.
	worker string
	told   func(a answer, became string, err error) // Of every answer but the plain successes, once it is decided; may be nil.

	mu        sync.Mutex
	completed []answer
	failed    []answer
	ended     []string // Leases whose last job is decided, still to be deleted.
	flights   int
	open      int // Answers not decided yet.
	follow    follower
	idle      chan struct{}
}

const (
	maxFinishing     = 2   // Statements at once.
	maxFinishAtOnce  = 500 // Jobs in one.
	minFinishInAPair = 64  // A second statement is worth its cost from here on.
)

func (f *finisher) answer(a answer) {
	f.mu.Lock()
	f.open++
	if a.verb == verbComplete {
		f.completed = append(f.completed, a)
	} else {
		f.failed = append(f.failed, a)
	}
	start := f.flights == 0 || f.flights < maxFinishing && len(f.completed)+len(f.failed) >= minFinishInAPair
	if start {
		f.flights++
	}
	f.mu.Unlock()
	if start {
		go f.fly()
	}
}

// backlog is how many answers are not decided yet.
func (f *finisher) backlog() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

func (f *finisher) fly() {
	for {
		f.mu.Lock()
		take := func(from *[]answer) []answer {
			n := min(len(*from), maxFinishAtOnce)
			batch := append([]answer(nil), (*from)[:n]...)
			rest := copy(*from, (*from)[n:])
			clear((*from)[rest:])
			*from = (*from)[:rest]
			return batch
		}
		var batch []answer
		if len(f.failed) > 0 && (len(f.completed) == 0 || len(f.failed) >= len(f.completed)) {
			batch = take(&f.failed)
		} else {
			batch = take(&f.completed)
		}
		var leases []string
		if len(batch) == 0 || batch[0].verb == verbComplete {
			leases, f.ended = f.ended, nil
		}
		if len(batch) == 0 && len(leases) == 0 {
			f.flights--
			if f.flights == 0 && f.open == 0 {
				select {
				case f.idle <- struct{}{}:
				default:
				}
			}
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		f.land(batch, leases)
	}
}

// land writes a batch. A lease goes in the same statement as its last jobs, when all its others are decided already: each was
// finished or found not ours by a statement that has committed, so no live pair of it is left.
func (f *finisher) land(batch []answer, leases []string) {
	ending := f.ending(batch)
	lost := slices.ContainsFunc(batch, func(a answer) bool { return a.lost })
	var became verdicts
	err := persist(f.ctx, func() (err error) {
		became, err = f.client.finish(f.ctx, batch, f.worker, append(ending, leases...))
		lost = lost || isAmbiguous(err)
		return err
	})
	if err != nil {
		if isData(err) && len(batch) > 1 {
			f.mu.Lock()
			f.ended = append(f.ended, leases...)
			f.mu.Unlock()
			f.land(batch[:len(batch)/2], nil)
			f.land(batch[len(batch)/2:], nil)
			return
		}
		for _, a := range batch {
			f.decide(a, "", fmt.Errorf("pawl: %s not delivered: %w", a.verb, err))
		}
		return
	}
	defer f.follow.up(f.ctx, f.client)
	if became.all != "" {
		f.client.tally.answered(batch, func(ID) string { return became.all })
		// A lease whose jobs were in two batches at once is ended by neither; it goes with the next.
		var ended []string
		for _, a := range batch {
			if a.job.lease.left.Add(-1) == 0 {
				if id := *a.job.lease.id.Load(); !slices.Contains(ending, id) {
					ended = append(ended, id)
				}
			}
			f.tell(a, became.all, nil)
		}
		if len(ended) > 0 {
			f.mu.Lock()
			f.ended = append(f.ended, ended...)
			f.mu.Unlock()
		}
		f.done(len(batch))
		return
	}
	if len(leases) > 0 {
		f.mu.Lock()
		f.ended = append(f.ended, leases...)
		f.mu.Unlock()
	}
	var passed []answer
	for _, a := range batch {
		if what, ok := became.of(a.job.ID); ok {
			f.decide(a, what, nil)
		} else {
			passed = append(passed, a)
		}
	}
	go f.passed(passed, lost)
}

// ending are the leases that end with a batch.
func (f *finisher) ending(batch []answer) (ids []string) {
	if len(batch) == 0 || batch[0].verb != verbComplete {
		return nil
	}
	counts := map[*lease]int32{}
	for _, a := range batch {
		counts[a.job.lease]++
	}
	for l, n := range counts {
		if l.left.Load() == n {
			ids = append(ids, *l.id.Load())
		}
	}
	return ids
}

// passed is for what a batch passed by. What is not ours any more is decided; what is locked by somebody is tried again after a
// while, without waiting in the database: neither other jobs nor a connection wait for a stranger's transaction.
func (f *finisher) passed(batch []answer, lost bool) {
	defer f.follow.up(f.ctx, f.client)
	jobs := make([]*JobInfo, len(batch))
	for i, a := range batch {
		jobs[i] = a.job
	}
	var missing, known map[ID]bool
	err := persist(f.ctx, func() (err error) {
		missing, err = f.client.missing(f.ctx, jobs)
		return err
	})
	if err == nil && lost && len(missing) > 0 {
		// An earlier try may have been carried out and only its answer lost.
		known, err = f.client.finished(f.ctx, slices.DeleteFunc(jobs, func(job *JobInfo) bool { return !missing[job.ID] }))
	}
	var locked []answer
	for _, a := range batch {
		switch {
		case err != nil:
			f.decide(a, "", fmt.Errorf("pawl: %s not delivered: %w", a.verb, err))
		case !missing[a.job.ID]:
			a.passed, a.lost = a.passed+1, lost
			locked = append(locked, a)
		case a.job.answered.Load() || known[a.job.ID]:
			f.decide(a, string(StateCompleted), nil)
		default:
			f.decide(a, "", ErrLeaseLost)
		}
	}
	if len(locked) > 0 {
		pause(f.ctx, min(5*time.Millisecond<<min(locked[0].passed, 8), time.Second))
		f.land(locked, nil)
	}
}

// missing are those of the jobs that are not live at the epoch they are held at.
func (c *Client) missing(ctx context.Context, jobs []*JobInfo) (missing map[ID]bool, err error) {
	ids, epochs := pairs(jobs)
	missing = map[ID]bool{}
	err = c.query(ctx, "select id from unnest(pawl.missing($1::bigint[], $2::integer[])) id", []any{ids, epochs}, func(s scanner) error {
		var id int64
		err := s.Scan(&id)
		missing[ID(id)] = true
		return err
	})
	return missing, err
}

// finished are those of the jobs that were finished at the epoch they are held at.
func (c *Client) finished(ctx context.Context, jobs []*JobInfo) (known map[ID]bool, err error) {
	ids, epochs := pairs(jobs)
	err = persist(ctx, func() error {
		known = map[ID]bool{}
		return c.query(ctx, "select * from pawl.finished($1::bigint[], $2::integer[])", []any{ids, epochs}, func(s scanner) error {
			var id int64
			err := s.Scan(&id)
			known[ID(id)] = true
			return err
		})
	})
	return known, err
}

// decide ends an answer; the lease of the last one is to be deleted.
func (f *finisher) decide(a answer, became string, err error) {
	if err == nil || errors.Is(err, ErrLeaseLost) {
		f.client.tally.answered([]answer{a}, func(ID) string { return became })
	}
	if a.job.lease.left.Add(-1) == 0 && (err == nil || errors.Is(err, ErrLeaseLost)) {
		f.mu.Lock()
		f.ended = append(f.ended, *a.job.lease.id.Load())
		start := f.flights == 0
		if start {
			f.flights++
		}
		f.mu.Unlock()
		if start {
			go f.fly()
		}
	}
	f.tell(a, became, err)
	f.done(1)
}

func (f *finisher) tell(a answer, became string, err error) {
	f.follow.note(a.job)
	if f.told != nil && (a.verb != verbComplete || err != nil) {
		f.told(a, became, err)
	}
}

func (f *finisher) done(n int) {
	f.mu.Lock()
	f.open -= n
	if f.open == 0 && f.flights == 0 {
		select {
		case f.idle <- struct{}{}:
		default:
		}
	}
	f.mu.Unlock()
}

// wait returns when every answer is decided and no lease is left to delete, or ctx ends.
func (f *finisher) wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		busy := f.open > 0 || f.flights > 0
		f.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-f.idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
