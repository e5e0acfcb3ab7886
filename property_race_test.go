package pawl_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// TestPropertyConcurrent runs random verbs from several goroutines. Some run in transactions, of which some are
// rolled back. Rules that hold for any interleaving are checked in one snapshot, during the run and at its end. The
// seed chooses the verbs; the interleaving is random.
func TestPropertyConcurrent(t *testing.T) {
	t.Parallel()
	runs, seed := propertyRuns(t, 200)
	url := pgtest.Database(t)
	// Without it a wait without end would not be reported. A pooler refuses the setting in the URL.
	exec(t, pgtest.Pool(t, pgtest.Direct(t, url)), "alter database "+pgtest.Name(t, url)+" set lock_timeout = '20s'")
	pool := pgtest.Pool(t, url, func(c *pgxpool.Config) { c.MaxConns = 8 })
	for i := range (runs + 15) / 16 {
		c := crowd{t: t, pool: pool, put: map[pawl.ID]pawl.JobSpec{}, mayGo: map[pawl.ID]bool{}, raised: map[pawl.ID]bool{},
			completed: map[pawl.ID]int{}}
		c.run(seed + uint64(i))
		if t.Failed() {
			t.Fatalf("the seed was %d", seed+uint64(i))
		}
	}
}

// A crowd is a concurrent run and what is certain about it.
type crowd struct {
	t      *testing.T
	pool   *pgxpool.Pool
	client *pawl.Client
	policy pawl.Queue

	mu        sync.Mutex
	ids       []pawl.ID
	put       map[pawl.ID]pawl.JobSpec // Committed.
	mayGo     map[pawl.ID]bool         // Perhaps deleted.
	raised    map[pawl.ID]bool         // Perhaps retried: these lose their place.
	completed map[pawl.ID]int          // Completions that were accepted and committed.
	claims    pawl.Jobs                // All there ever were.
}

func (c *crowd) run(seed uint64) {
	t := c.t
	r := rand.New(rand.NewPCG(seed, 2))
	exec(t, c.pool, deleteEverything)
	var err error
	c.client, err = pawl.New(c.pool, pawl.Config{Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	c.policy = pawl.Queue{Name: "default", MaxRunning: []int{0, 3, 6}[r.IntN(3)],
		ChannelMaxRunning: []int{0, 2}[r.IntN(2)], HaltOnDead: chance(r, 2), Backoff: pawl.Backoff{Base: hour}}
	must(t, c.client.PutQueue(t.Context(), c.policy))
	var working sync.WaitGroup
	for g := range 4 {
		r := rand.New(rand.NewPCG(seed, uint64(10+g)))
		working.Go(func() {
			for range 40 {
				c.act(r)
				if chance(r, 6) {
					c.observe()
				}
			}
		})
	}
	working.Wait()
	if !t.Failed() {
		c.drain()
	}
}

// passing reports whether an error is one that a verb may return in a crowd: it was too late, or it was the victim of
// a deadlock and was rolled back.
func passing(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == "40P01" || pg.Code == "23505") {
		return true
	}
	return errors.Is(err, pawl.ErrLeaseLost) || errors.Is(err, pawl.ErrExpired) || errors.Is(err, pawl.ErrNotFound)
}

// act runs one or two verbs, directly or in a transaction. It records their results after the commit.
func (c *crowd) act(r *rand.Rand) {
	ctx := c.t.Context()
	var then []func()
	verb := func(client *pawl.Client, db execer) error {
		did, err := c.verb(r, client, db)
		then = append(then, did)
		return err
	}
	var err error
	switch dice := r.IntN(10); {
	case dice < 6:
		err = verb(c.client, c.pool)
	default:
		err = pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
			for range 1 + r.IntN(2) {
				err := verb(c.client.With(tx), tx)
				if err != nil && !errors.Is(err, pawl.ErrLeaseLost) {
					return err
				}
			}
			if dice >= 8 {
				return errRolledBack
			}
			return nil
		})
		if err != nil {
			then = nil
		}
	}
	if err != nil && !errors.Is(err, errRolledBack) && !passing(err) {
		c.t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, did := range then {
		if did != nil {
			did()
		}
	}
}

func (c *crowd) verb(r *rand.Rand, client *pawl.Client, db execer) (did func(), err error) {
	ctx := c.t.Context()
	c.mu.Lock()
	job, any := pick(r, c.ids)
	if n := len(c.ids); n > 20 && !chance(r, 3) {
		job = c.ids[n-1-r.IntN(20)]
	}
	var claimed pawl.Jobs
	if n := len(c.claims); n > 0 {
		for range 1 + r.IntN(2) {
			if one := c.claims[n-1-r.IntN(min(n, 12))]; !slices.ContainsFunc(claimed, func(o *pawl.JobInfo) bool {
				return o.ID == one.ID
			}) {
				claimed = append(claimed, one)
			}
		}
	}
	c.mu.Unlock()
	switch dice := r.IntN(40); {
	case dice < 10:
		specs := make([]pawl.JobSpec, 1+r.IntN(3))
		for i := range specs {
			s := &specs[i]
			*s = pawl.JobSpec{Args: Note{i}, Channel: []string{"a", "b"}[r.IntN(2)], Ordered: chance(r, 2)}
			if chance(r, 5) {
				s.Delay = hour
			}
			if chance(r, 4) {
				s.Unique = pawl.Unique{Key: []string{"x", "y"}[r.IntN(2)], UntilStart: chance(r, 4), Replace: chance(r, 4)}
			}
			if chance(r, 8) {
				s.Reserve = hour
			}
			if any && chance(r, 6) {
				*[]*[]pawl.ID{&s.AfterOK, &s.AfterAny, &s.AfterNotOK}[r.IntN(3)] = []pawl.ID{job}
			}
		}
		results, err := client.InsertMany(ctx, specs)
		return func() {
			for i, result := range results {
				if !result.Duplicate {
					c.ids = append(c.ids, result.ID)
					c.put[result.ID] = specs[i]
				}
			}
		}, err
	case dice < 18:
		jobs, err := client.Claim(ctx, "default", 1+r.IntN(4), hour)
		if len(jobs) > 1 && chance(r, 3) {
			if err := client.Extend(ctx, jobs[:1], 2*hour); err != nil {
				return nil, err
			}
		}
		return func() { c.claims = append(c.claims, jobs...) }, err
	case dice < 24 && len(claimed) > 0:
		err := client.Complete(ctx, claimed)
		var several pawl.JobErrors
		var done []pawl.ID
		if err == nil || errors.As(err, &several) {
			for _, one := range claimed {
				if several[one.ID] == nil {
					done = append(done, one.ID)
				}
			}
		}
		return func() {
			for _, id := range done {
				c.completed[id]++
			}
		}, err
	case dice < 28 && len(claimed) > 0:
		how := []error{errBoom, pawl.RetryAfter(0, errBoom), pawl.Snooze(0), pawl.Cancel(errBoom),
			pawl.Dead(errBoom)}[r.IntN(5)]
		return nil, client.Fail(ctx, claimed, how)
	case dice < 30 && len(claimed) > 0:
		return nil, client.Release(ctx, claimed, 0)
	case dice < 31:
		_, err := db.Exec(ctx, `update pawl.lease set expires_at = clock_timestamp() - interval '1 second'
			where id in (select id from pawl.lease order by random() limit 1)`)
		if err == nil {
			_, err = db.Exec(ctx, "select * from pawl.rescue(100, true, true)")
		}
		if err == nil {
			_, err = db.Exec(ctx, "select pawl.drop_stale_permits()")
		}
		return nil, err
	case dice < 33 && any:
		_, err := client.Cancel(ctx, job)
		return nil, err
	case dice < 34 && any:
		c.mu.Lock()
		c.mayGo[job] = true
		c.mu.Unlock()
		_, err := client.Delete(ctx, job)
		return nil, err
	case dice < 36 && any:
		c.mu.Lock()
		c.raised[job] = true
		c.mu.Unlock()
		_, err := client.Retry(ctx, job)
		return nil, err
	case dice < 37 && any:
		return nil, client.CommitReserved(ctx, job)
	case dice < 38:
		_, err := db.Exec(ctx, "select * from pawl.run_followups(100)")
		return nil, err
	case dice < 39:
		return nil, client.ResumeChannel(ctx, "default", []string{"a", "b"}[r.IntN(2)])
	default:
		return nil, c.elapse(db)
	}
}

func (c *crowd) elapse(db execer) error {
	// Job by job, as the verbs lock: the job, then its ticket.
	_, err := db.Exec(c.t.Context(), `do $$
		declare one bigint;
		begin
			perform pg_current_xact_id();
			for one in select j.id from pawl.job j join pawl.scheduled s on s.job_id = j.id order by j.id for update of j
				skip locked loop
				with moved as (update pawl.scheduled s set run_at = clock_timestamp() where s.job_id = one returning s.run_at)
				update pawl.job j set run_at = m.run_at from moved m where j.id = one;
			end loop;
		end $$`)
	return err
}

// observe checks one snapshot.
func (c *crowd) observe() {
	rows, _ := c.pool.Query(c.t.Context(), `
		with claimed as (
			select j.id, j.channel, j.opts ? 'ordered' as ordered
			from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch) join pawl.job j using (id, epoch)
		)
		select 'verify: ' || v.problem || ', such as job ' || v.example from pawl.verify() v where v.jobs > 0
		union all select format('two of ordered channel %s are claimed', h.channel) from claimed h where h.ordered group by
			h.channel having count(*) > 1
		union all select format('%s are claimed, at most %s may', count(*), $1::int) from claimed having $1 > 0 and
			count(*) > $1
		union all select format('%s of a channel are claimed, at most %s may', count(*), $2::int) from claimed h group by
			h.channel having $2 > 0 and count(*) > $2
		union all select format('%s have a permit, at most %s may', count(*), $1::int) from pawl.permit having $1 > 0 and
			count(*) > $1
		union all select format('claimed without a permit: %s', h.id) from claimed h where $1 + $2 > 0 and not exists (select
			from pawl.permit p where p.job_id = h.id)
		union all select format('%s jobs have the key %s', count(*), j.unique_key) from pawl.job j
			where j.unique_key is not null and not coalesce(j.opts ? 'until_start', false) group by j.unique_key having
				count(*) > 1`,
		c.policy.MaxRunning, c.policy.ChannelMaxRunning)
	broken, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		c.t.Error(err)
	}
	for _, text := range broken {
		c.t.Error(text)
	}
}

// drain finishes all jobs and checks the result.
func (c *crowd) drain() {
	t := c.t
	left := func() int { return value[int](t, c.pool, "select count(*) from pawl.job") }
	for round := 0; left() > 0; round++ {
		c.observe()
		if round == 100 {
			t.Errorf("%d jobs are left that cannot be had:\n%s", left(), strings.Join(values[string](t, c.pool,
				`select format('%s %s channel %s, epoch %s, opts %s, constrained %s', g.id, g.state, g.channel, j.epoch, g.opts,
					j.constrained)
				from pawl.job j, lateral pawl.get(array[j.id]) g
				union all select 'ordered ' || t::text from pawl.ordered_job t union all select 'wait ' || w::text from
					pawl.dependency w
				union all select 'followup ' || l::text from pawl.followup l union all select 'blocked ' || p::text from
					pawl.blocked p
				union all select 'halt ' || h::text from pawl.halted_channel h union all select 'ready ' || r::text from
					pawl.ready r
				union all select 'ended ' || a.id || ' ' || a.state || coalesce(' ' || a.opts::text, '') from pawl.archive a
					where a.id in (select w.parent_id from pawl.dependency w union select t.job_id from pawl.ordered_job t)
				union all select 'dead ' || d.id from pawl.dead d order by 1`), "\n"))
			return
		}
		for _, sql := range []string{
			"update pawl.lease set expires_at = clock_timestamp() - interval '1 second'",
			"select * from pawl.rescue(1000, true, true)", "select pawl.drop_stale_permits()",
			"update pawl.blocked set expires_at = clock_timestamp() - interval '1 second' where expires_at is not null",
			"select pawl.expire(1000)", "select * from pawl.run_followups(1000)",
			"select pawl.resume_channel('default', c) from unnest(array['a', 'b']) c",
		} {
			exec(t, c.pool, sql)
		}
		must(t, c.elapse(c.pool))
		jobs, err := c.client.Claim(t.Context(), "default", 100, hour)
		must(t, err)
		if len(jobs) > 0 {
			must(t, c.client.Complete(t.Context(), jobs))
		}
		for _, job := range jobs {
			c.completed[job.ID]++
		}
	}
	for _, sql := range []string{"update pawl.lease set expires_at = clock_timestamp() - interval '1 second'",
		"select * from pawl.rescue(1000, true, true)", "select pawl.drop_stale_permits()",
		"select * from pawl.run_followups(1000)",
		"select pawl.resume_channel('default', c) from unnest(array['a', 'b']) c", "select pawl.expire(1000)"} {
		exec(t, c.pool, sql)
	}
	c.observe()
	for _, table := range []string{"ready", "scheduled", "blocked", "ordered_job", "dependency", "followup", "unique_key",
		"lease", "permit", "halted_channel"} {
		if n := value[int](t, c.pool, "select count(*) from pawl."+table); n > 0 {
			t.Errorf("%d rows of %s are left when all is done", n, table)
		}
	}

	ends := map[pawl.ID][]string{}
	last := map[string]pawl.ID{}
	var id int64
	var state string
	rows, _ := c.pool.Query(t.Context(), `select id, state from (select id, state, finished_at from pawl.archive
		union all select id, 'dead', finished_at from pawl.dead) f order by finished_at, id`)
	_, err := pgx.ForEachRow(rows, []any{&id, &state}, func() error {
		job := pawl.ID(id)
		spec, known := c.put[job]
		if !known {
			t.Errorf("job %d is %s, and was never put in", job, state)
		}
		ends[job] = append(ends[job], state)
		if state == string(pawlstate.Completed) && spec.Ordered && !c.raised[job] {
			if last[spec.Channel] > job {
				t.Errorf("of channel %s job %d completed after %d", spec.Channel, job, last[spec.Channel])
			}
			last[spec.Channel] = job
		}
		return nil
	})
	must(t, err)
	for _, job := range c.ids {
		reserved := c.put[job].Reserve > 0
		switch end, done := ends[job], c.completed[job]; {
		case len(end) > 1:
			t.Errorf("job %d ended twice: %v", job, end)
		case len(end) == 0 && !reserved && !c.mayGo[job]:
			t.Errorf("job %d is lost", job)
		case done > 1:
			t.Errorf("job %d was completed %d times", job, done)
		case len(end) == 1 && (done == 1) != (end[0] == string(pawlstate.Completed)):
			t.Errorf("job %d is %s, and %d completions were accepted", job, end[0], done)
		}
	}
	for job := range c.completed {
		if _, known := c.put[job]; !known {
			t.Error(fmt.Errorf("job %d was completed, and never put in", job))
		}
	}
}
