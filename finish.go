package pawl

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pawlhq/pawl/pawlstate"
)

// answer is what becomes of a held job: complete, or a verb of fail.sql.
type attemptResult struct {
	job       *JobInfo
	verb      string
	delay     *float64
	backoff   *string
	err       *string // {"error": …, "stack": …}
	waited    time.Duration // From due to the handler's start; 0: it was not started.
	ran       time.Duration
	cause     error // What the handler returned.
	skips     int   // How often its row was found locked.
	ambiguous bool  // A try's answer was lost: it may have been carried out.
}

const verbComplete = "complete"

// answerTo reads what a handler returned.
func resultOf(job *JobInfo, h *handler, err error) attemptResult {
	a := attemptResult{job: job, verb: "retry"}
	if err == nil || errors.Is(err, ErrSkip) {
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
		if o.verb == "snooze" || o.verb == "retry" {
			s := o.delay.Seconds()
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
func truncate(s string, most int) string {
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
	}{truncate(err.Error(), maxErrorText), truncate(stack, maxErrorStack)})
	s := string(b)
	return &s
}

// verdicts are what became of jobs: of all of them the same, or of each; without an entry it was not ours, or locked by somebody.
type outcomes struct {
	all  string
	each map[ID]string
}

func (v outcomes) of(id ID) (what string, ok bool) {
	if v.all != "" {
		return v.all, true
	}
	what, ok = v.each[id]
	return what, ok
}

// finish writes answers of one kind: all complete, or all not. leases go with a complete, if every job of it was finished.
func (c *Client) finish(ctx context.Context, answers []attemptResult, worker string, leases []string) (became outcomes, err error) {
	n := len(answers)
	jobs := make([]*JobInfo, n)
	waited, ran, results := make([]int64, n), make([]int64, n), make([]*string, n)
	keep := []int64{}
	for i := range answers {
		jobs[i] = answers[i].job
		if answers[i].verb == verbComplete && jobs[i].Keep {
			keep = append(keep, int64(jobs[i].ID))
		}
		if result := answers[i].job.result; result != nil {
			s := string(result)
			results[i] = &s
		}
		waited[i], ran[i] = answers[i].job.waited.Milliseconds(), answers[i].ran.Milliseconds()
	}
	ids, epochs := idsAndEpochs(jobs)
	if n == 0 || answers[0].verb == verbComplete {
		if leases == nil {
			leases = []string{}
		}
		done := make([]ID, 0, n)
		err = c.query(ctx, "select pawl.complete($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::text, $7::bigint[], $8::uuid[])",
			[]any{ids, epochs, waited, ran, results, worker, keep, leases},
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
			return outcomes{all: string(pawlstate.Completed)}, nil
		}
		became.each = make(map[ID]string, n)
		for _, id := range done {
			became.each[id] = string(pawlstate.Completed)
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
func (c *Client) finishLocking(ctx context.Context, answers []attemptResult, worker string, leases []string) (became outcomes, err error) {
	err = c.inTx(ctx, func(c *Client) error {
		jobs := make([]*JobInfo, len(answers))
		for i := range answers {
			jobs[i] = answers[i].job
		}
		ids, epochs := idsAndEpochs(jobs)
		if err := c.query(ctx, "select pawl.lock_jobs($1::bigint[], $2::integer[])", []any{ids, epochs}, nil); err != nil {
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

// missing are those of the jobs that are not live at the epoch they are held at.
func (c *Client) findMissing(ctx context.Context, jobs []*JobInfo) (missing map[ID]bool, err error) {
	ids, epochs := idsAndEpochs(jobs)
	missing = map[ID]bool{}
	err = c.query(ctx, "select id from unnest(pawl.find_missing($1::bigint[], $2::integer[])) id", []any{ids, epochs}, func(s scanner) error {
		var id int64
		err := s.Scan(&id)
		missing[ID(id)] = true
		return err
	})
	return missing, err
}

// finished are those of the jobs that were finished at the epoch they are held at.
func (c *Client) findFinished(ctx context.Context, jobs []*JobInfo) (known map[ID]bool, err error) {
	ids, epochs := idsAndEpochs(jobs)
	err = retryUntil(ctx, func() error {
		known = map[ID]bool{}
		return c.query(ctx, "select * from pawl.find_finished($1::bigint[], $2::integer[])", []any{ids, epochs}, func(s scanner) error {
			var id int64
			err := s.Scan(&id)
			known[ID(id)] = true
			return err
		})
	})
	return known, err
}
