package pawl_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// Random verbs one after the other, on the database and on a model of what they are to do; after each the two are compared, row by
// row. A run that fails is shrunk, and printed so that it can be run again.
//
//	PAWL_PROPERTY_RUNS    runs; if not set, few enough for every day
//	PAWL_PROPERTY_SEED    of the first run; those after it count up
//	PAWL_PROPERTY_STEPS   the steps of one run, as printed, instead; dice mean the same only as long as the verbs here roll them alike
func TestProperty(t *testing.T) {
	if text := os.Getenv("PAWL_PROPERTY_STEPS"); text != "" {
		trace, err := replay(t, pgtest.Pool(t, pgtest.Database(t)), parse(t, text))
		t.Logf("\n  %s", strings.Join(trace, "\n  "))
		must(t, err)
		return
	}
	runs, seed := propertyRuns(t, 200)
	const workers = 2
	for w := range workers {
		t.Run(strconv.Itoa(w), func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t, pgtest.Database(t), func(c *pgxpool.Config) { c.MaxConns = 4 })
			for i := w; i < runs && !t.Failed(); i += workers {
				steps := generate(rand.New(rand.NewPCG(seed+uint64(i), 0)))
				if _, err := replay(t, pool, steps); err != nil {
					steps = shrink(steps, func(steps []step) bool { _, err := replay(t, pool, steps); return err != nil })
					trace, err := replay(t, pool, steps)
					t.Errorf("PAWL_PROPERTY_SEED=%d PAWL_PROPERTY_RUNS=1 fails; shrunk to PAWL_PROPERTY_STEPS='%s', which is\n  %s\n%v",
						seed+uint64(i), printed(steps), strings.Join(trace, "\n  "), err)
				}
			}
		})
	}
}

func propertyRuns(t *testing.T, runs int) (int, uint64) {
	t.Helper()
	seed := uint64(1)
	number := func(name string, to *uint64) {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			*to = n
		}
	}
	n := uint64(runs)
	number("PAWL_PROPERTY_RUNS", &n)
	number("PAWL_PROPERTY_SEED", &seed)
	return int(n), seed
}

// step is a verb, and the dice by which it chooses among what is there when its turn comes.
type step struct {
	verb string
	dice uint32
}

func printed(steps []step) string {
	parts := make([]string, len(steps))
	for i, s := range steps {
		parts[i] = fmt.Sprintf("%s:%d", s.verb, s.dice)
	}
	return strings.Join(parts, " ")
}

func parse(t *testing.T, text string) (steps []step) {
	t.Helper()
	for part := range strings.FieldsSeq(text) {
		verb, dice, _ := strings.Cut(part, ":")
		n, err := strconv.ParseUint(dice, 10, 32)
		if err != nil || verbs[verb] == nil {
			t.Fatalf("PAWL_PROPERTY_STEPS has %q; want VERB:NUMBER", part)
		}
		steps = append(steps, step{verb, uint32(n)})
	}
	return steps
}

var verbs = map[string]func(*world, *rand.Rand) error{
	"insert": (*world).insert, "claim": (*world).claim, "complete": (*world).complete, "fail": (*world).fail,
	"release": (*world).release, "extend": (*world).extend, "lose": (*world).lose, "rescue": (*world).rescue, "reclaim": (*world).reclaim,
	"cancel": (*world).cancel, "delete": (*world).delete, "retry": (*world).retry, "commit": (*world).commit, "abort": (*world).abort,
	"keep": (*world).keep, "elapse": (*world).elapse, "lapse": (*world).lapse, "expire": (*world).expire, "change": (*world).change,
	"pause": (*world).pause, "policy": (*world).setPolicy, "settle": (*world).settle, "resume": (*world).resume,
}

var weights = []struct {
	verb string
	n    int
}{
	{"insert", 12}, {"claim", 14}, {"complete", 7}, {"fail", 8}, {"release", 3}, {"extend", 3}, {"lose", 3}, {"rescue", 3}, {"reclaim", 2},
	{"cancel", 3}, {"delete", 2}, {"retry", 5}, {"commit", 3}, {"abort", 1}, {"keep", 1}, {"elapse", 4}, {"lapse", 2}, {"expire", 2},
	{"change", 3}, {"pause", 2}, {"policy", 3}, {"settle", 4}, {"resume", 3},
}

func generate(r *rand.Rand) []step {
	total := 0
	for _, w := range weights {
		total += w.n
	}
	steps := make([]step, 10+r.IntN(40))
	for i := range steps {
		at := r.IntN(total)
		for _, w := range weights {
			if at -= w.n; at < 0 {
				steps[i] = step{w.verb, r.Uint32()}
				break
			}
		}
	}
	return steps
}

// shrink leaves out steps as long as the rest fails.
func shrink(steps []step, fails func([]step) bool) []step {
	for size := len(steps) / 2; size > 0; {
		smaller := false
		for at := 0; at+size <= len(steps); {
			if rest := slices.Delete(slices.Clone(steps), at, at+size); fails(rest) {
				steps, smaller = rest, true
			} else {
				at += size
			}
		}
		if !smaller || size > len(steps) {
			size = min(size/2, len(steps))
		}
	}
	return steps
}

// world is a run.
type world struct {
	ctx    context.Context
	pool   *pgxpool.Pool
	client *pawl.Client // Remembers lanes from claim to claim.
	config pawl.Config
	model  *model
	said   []string // Of the step under way.
}

const emptyAll = `delete from pawl.job; delete from pawl.ready; delete from pawl.scheduled; delete from pawl.blocked; delete from pawl.ordered_job;
	delete from pawl.lease; delete from pawl.permit; delete from pawl.bucket; delete from pawl.unique_key; delete from pawl.dependency; delete from pawl.followup;
	delete from pawl.halted_channel; delete from pawl.queue; delete from pawl.archive; delete from pawl.dead; delete from pawl.batch`

// replay carries out steps on an emptied database; the trace says what they came to.
func replay(t *testing.T, pool *pgxpool.Pool, steps []step) (trace []string, err error) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), emptyAll); err != nil {
		t.Fatal(err)
	}
	w := &world{ctx: t.Context(), pool: pool, model: newModel(), config: pawl.Config{Logger: slog.New(slog.DiscardHandler)}}
	w.client = w.fresh()
	if err := w.put(pawl.Queue{}); err != nil {
		return nil, err
	}
	for _, s := range steps {
		w.said = nil
		err := verbs[s.verb](w, rand.New(rand.NewPCG(uint64(s.dice), 1)))
		if err == nil {
			err = w.compare()
		}
		trace = append(trace, s.verb+" "+strings.Join(w.said, " "))
		if err != nil {
			return trace, err
		}
	}
	return trace, nil
}

func (w *world) fresh() *pawl.Client {
	client, err := pawl.New(w.pool, w.config)
	if err != nil {
		panic(err)
	}
	return client
}

func (w *world) say(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

// compare reads all there is.
func (w *world) compare() error {
	m := w.model
	ids := make([]int64, len(m.jobs))
	for i, j := range m.jobs {
		ids[i] = int64(j.id)
	}
	name := func(id int64) any {
		if j := m.byID[pawl.ID(id)]; j != nil {
			return j.n
		}
		return fmt.Sprint("unknown ", id)
	}
	var lines, broken []string
	var what, text string
	var a, b int64
	var epoch *int
	rows, _ := w.pool.Query(w.ctx, facts, ids)
	_, err := pgx.ForEachRow(rows, []any{&what, &a, &b, &epoch, &text}, func() error {
		switch what {
		case "job":
			j := m.byID[pawl.ID(a)]
			if j.epoch < 0 {
				j.epoch = *epoch // It begins by chance.
			}
			lines = append(lines, fmt.Sprintf("job %v: %s, epoch %d", name(a), text, *epoch))
		case "turn":
			lines = append(lines, fmt.Sprintf("turn %s: job %v", text, name(a)))
		case "key":
			key, rest, _ := strings.Cut(text, "|")
			lines = append(lines, fmt.Sprintf("key %s: job %v, %s", key, name(a), rest))
		case "wait":
			lines = append(lines, fmt.Sprintf("job %v waits for %v: %s", name(a), name(b), text))
		case "loose":
			lines = append(lines, fmt.Sprintf("loose: job %v %s", name(a), text))
		case "halt":
			lines = append(lines, fmt.Sprintf("halt %q: job %v", text, name(a)))
		case "permit":
			lines = append(lines, fmt.Sprintf("permit of job %v", name(a)))
		case "verify":
			broken = append(broken, fmt.Sprintf("verify: %s, such as job %v", text, name(a)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(lines)
	want := m.text()
	for _, line := range minus(lines, want) {
		broken = append(broken, "database: "+line)
	}
	for _, line := range minus(want, lines) {
		broken = append(broken, "model:    "+line)
	}
	if len(broken) > 0 {
		return errors.New(strings.Join(broken, "\n"))
	}
	return nil
}

// minus is what sorted a has and sorted b has not.
func minus(a, b []string) (rest []string) {
	for _, line := range a {
		for len(b) > 0 && b[0] < line {
			b = b[1:]
		}
		if len(b) > 0 && b[0] == line {
			b = b[1:]
		} else {
			rest = append(rest, line)
		}
	}
	return rest
}

var errRolledBack = errors.New("rolled back")

// do carries out a verb directly, or in a transaction, which may be rolled back. then is what it comes to on the model; settles says that
// it does what follows from ends, unless it is in a transaction.
func (w *world) do(r *rand.Rand, verb func(*pawl.Client) error, then func() (settles bool)) error {
	switch dice := r.IntN(10); {
	case dice < 6:
		if err := verb(w.client); err != nil {
			return err
		}
		if then() {
			w.model.settleAll()
		}
		return nil
	case dice < 8:
		w.say("(in a transaction)")
		if err := pgx.BeginFunc(w.ctx, w.pool, func(tx pgx.Tx) error { return verb(w.client.With(tx)) }); err != nil {
			return err
		}
		then()
		return nil
	default:
		w.say("(rolled back)")
		err := pgx.BeginFunc(w.ctx, w.pool, func(tx pgx.Tx) error {
			if err := verb(w.client.With(tx)); err != nil {
				return err
			}
			return errRolledBack
		})
		if !errors.Is(err, errRolledBack) {
			return err
		}
		return nil
	}
}

// exec is a statement of the test's own.
func (w *world) exec(sql string, args ...any) error {
	_, err := w.pool.Exec(w.ctx, sql, args...)
	return err
}

// pick is one of list; false: there is none.
func pick[T any](r *rand.Rand, list []T) (one T, ok bool) {
	if len(list) == 0 {
		return one, false
	}
	return list[r.IntN(len(list))], true
}

func chance(r *rand.Rand, of int) bool { return r.IntN(of) == 0 }

// some are one to three jobs that ok holds for, now and then any.
func (w *world) some(r *rand.Rand, ok func(*mJob) bool) (jobs []*mJob) {
	list := w.model.jobs
	if !chance(r, 8) {
		list = nil
		for _, j := range w.model.jobs {
			if ok(j) {
				list = append(list, j)
			}
		}
	}
	for range []int{1, 1, 1, 2, 3}[r.IntN(5)] {
		if j, ok := pick(r, list); ok && !slices.Contains(jobs, j) {
			jobs = append(jobs, j)
			w.say("%d", j.n)
		}
	}
	return jobs
}

func idsOf(jobs []*mJob) (ids []pawl.ID) {
	for _, j := range jobs {
		ids = append(ids, j.id)
	}
	return ids
}

func (w *world) insert(r *rand.Rand) error {
	specs := make([]mSpec, []int{1, 1, 1, 2, 3}[r.IntN(5)])
	for i := range specs {
		s := &specs[i].spec
		s.Args = Note{len(w.model.jobs)}
		s.Channel = []string{"", "a", "a", "b"}[r.IntN(4)]
		if chance(r, 4) {
			s.Delay = hour
		}
		if chance(r, 5) {
			s.MaxAttempts = 1 + r.IntN(2)
		}
		if chance(r, 3) {
			s.Ordered = true
		} else if chance(r, 4) {
			s.Priority = r.IntN(3) - 1
		}
		if chance(r, 4) {
			s.Unique = pawl.Unique{Key: []string{"x", "y"}[r.IntN(2)], Global: chance(r, 4), UntilStart: chance(r, 3), Replace: chance(r, 4), Reschedule: chance(r, 4)}
			if chance(r, 3) {
				s.Unique.Period = hour
			}
		}
		if chance(r, 6) {
			s.Reserve = hour
		}
		for chance(r, 5) {
			if parent, ok := pick(r, w.model.jobs); ok {
				specs[i].parents = append(specs[i].parents, parent)
				list := []*[]pawl.ID{&s.AfterOK, &s.AfterAny, &s.AfterNotOK}[r.IntN(3)]
				if !slices.Contains(*list, parent.id) {
					*list = append(*list, parent.id)
				}
				s.KeepWaiting = chance(r, 3)
			}
		}
		w.say("{%s}", specText(w.model, *s))
	}
	jobs := make([]pawl.JobSpec, len(specs))
	for i := range specs {
		jobs[i] = specs[i].spec
	}
	var results []pawl.InsertResult
	var wrong error
	err := w.do(r, func(c *pawl.Client) error {
		if len(jobs) > 1 {
			var err error
			results, err = c.InsertMany(w.ctx, jobs)
			return err
		}
		result, err := c.Insert(w.ctx, jobs[0])
		results = []pawl.InsertResult{result}
		return err
	}, func() bool { wrong = w.model.insert(specs, results); return false })
	return errors.Join(err, wrong)
}

func specText(m *model, s pawl.JobSpec) string {
	var parts []string
	add := func(yes bool, format string, args ...any) {
		if yes {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	names := func(ids []pawl.ID) (list []int) {
		for _, id := range ids {
			list = append(list, m.byID[id].n)
		}
		return list
	}
	add(s.Channel != "", "channel %s", s.Channel)
	add(s.Ordered, "ordered")
	add(s.Priority != 0, "priority %d", s.Priority)
	add(s.Delay > 0, "later")
	add(s.MaxAttempts > 0, "attempts %d", s.MaxAttempts)
	add(s.Unique.Key != "", "unique %+v", s.Unique)
	add(s.Reserve > 0, "reserved")
	add(s.AfterOK != nil, "after ok %v", names(s.AfterOK))
	add(s.AfterAny != nil, "after any %v", names(s.AfterAny))
	add(s.AfterNotOK != nil, "after not ok %v", names(s.AfterNotOK))
	add(s.KeepWaiting, "hold")
	return strings.Join(parts, ", ")
}

func (w *world) claim(r *rand.Rand) error {
	n := []int{1, 1, 2, 3, 10}[r.IntN(5)]
	w.say("%d", n)
	var jobs pawl.Jobs
	var err error
	fresh := true
	switch dice := r.IntN(10); {
	case dice < 5:
		// A client that knows lanes rescues once a second: let there be nothing to rescue.
		if err := w.rescue(r); err != nil {
			return err
		}
		fresh = false
		jobs, err = w.client.Claim(w.ctx, "default", n, hour)
	case dice < 7:
		w.say("(by a new client)")
		w.model.rescue()
		jobs, err = w.fresh().Claim(w.ctx, "default", n, hour)
	default:
		w.say("(in a transaction)")
		back := dice == 9
		err = pgx.BeginFunc(w.ctx, w.pool, func(tx pgx.Tx) error {
			if jobs, err = w.client.With(tx).Claim(w.ctx, "default", n, hour); err == nil && back {
				return errRolledBack
			}
			return err
		})
		if errors.Is(err, errRolledBack) {
			w.say("(rolled back)")
			return nil
		}
	}
	if err != nil {
		return err
	}
	for _, info := range jobs {
		if j := w.model.byID[info.ID]; j != nil {
			w.say("-> %d", j.n)
		}
	}
	return w.model.claim(n, fresh, jobs)
}

// holders are claims of one to three jobs; now and then lost ones.
func (w *world) holders(r *rand.Rand) (hs []*mHeld) {
	list := w.model.held
	if !chance(r, 4) {
		list = nil
		for _, h := range w.model.held {
			if h.ours() {
				list = append(list, h)
			}
		}
	}
	for range []int{1, 1, 1, 2, 3}[r.IntN(5)] {
		if h, ok := pick(r, list); ok && !slices.ContainsFunc(hs, func(o *mHeld) bool { return o.job == h.job }) {
			hs = append(hs, h)
		}
	}
	slices.SortFunc(hs, func(a, b *mHeld) int { return a.job.n - b.job.n })
	for _, h := range hs {
		w.say("%d", h.job.n)
		if !h.ours() {
			w.say("(lost)")
		}
	}
	return hs
}

func infos(hs []*mHeld) (jobs pawl.Jobs) {
	for _, h := range hs {
		jobs = append(jobs, h.info)
	}
	return jobs
}

// told compares who was told that his lease was lost with who has lost it; another error it returns.
func told(hs []*mHeld, err error) (lost []*mHeld, other error) {
	var several pawl.JobErrors
	switch {
	case err == nil:
		return nil, nil
	case !errors.Is(err, pawl.ErrLeaseLost):
		return nil, err
	case errors.As(err, &several):
		for _, h := range hs {
			if errors.Is(several[h.job.id], pawl.ErrLeaseLost) {
				lost = append(lost, h)
			}
		}
		return lost, nil
	default:
		return hs, nil
	}
}

// answer is a verb of held jobs.
func (w *world) answer(r *rand.Rand, outcome string, later bool, verb func(*pawl.Client, pawl.Jobs) error) error {
	hs := w.holders(r)
	if len(hs) == 0 {
		return nil
	}
	var lost []*mHeld
	for _, h := range hs {
		if !h.ours() {
			lost = append(lost, h)
		}
	}
	var heard []*mHeld
	err := w.do(r, func(c *pawl.Client) (err error) {
		heard, err = told(hs, verb(c, infos(hs)))
		return err
	}, func() (settles bool) {
		_, settles = w.model.answer(hs, outcome, later)
		return settles
	})
	if err == nil && !slices.Equal(heard, lost) {
		err = fmt.Errorf("%d were told that they had lost, want %d", len(heard), len(lost))
	}
	return err
}

func (w *world) complete(r *rand.Rand) error {
	archive := chance(r, 5)
	return w.answer(r, "complete", false, func(c *pawl.Client, jobs pawl.Jobs) error {
		for _, job := range jobs {
			job.Keep = archive
		}
		return c.Complete(w.ctx, jobs)
	})
}

func (w *world) fail(r *rand.Rand) error {
	outcomes := []struct {
		name  string
		later bool
		err   error
	}{
		{"retry", true, errBoom}, {"retry", false, pawl.RetryAfter(0, errBoom)}, {"retry", true, pawl.RetryAfter(hour, errBoom)},
		{"snooze", false, pawl.Snooze(0)}, {"snooze", true, pawl.Snooze(hour)}, {"cancel", false, pawl.Cancel(errBoom)}, {"dead", false, pawl.Dead(errBoom)},
		{"dead", false, pawl.Dead(errBoom)},
	}
	o, _ := pick(r, outcomes)
	w.say("%s, later %t:", o.name, o.later)
	return w.answer(r, o.name, o.later, func(c *pawl.Client, jobs pawl.Jobs) error { return c.Fail(w.ctx, jobs, o.err) })
}

func (w *world) release(r *rand.Rand) error {
	after := []time.Duration{0, 0, hour}[r.IntN(3)]
	w.say("%v:", after)
	return w.answer(r, "release", after > 0, func(c *pawl.Client, jobs pawl.Jobs) error { return c.Release(w.ctx, jobs, after) })
}

func (w *world) extend(r *rand.Rand) error {
	hs := w.holders(r)
	if len(hs) == 0 {
		return nil
	}
	heard, err := told(hs, w.client.Extend(w.ctx, infos(hs), 2*hour))
	if lost := w.model.extend(hs); err == nil && !slices.Equal(heard, lost) {
		err = fmt.Errorf("%d were told that they had lost, want %d", len(heard), len(lost))
	}
	return err
}

// lose lets the lease of a claim run out.
func (w *world) lose(r *rand.Rand) error {
	hs := w.holders(r)
	if len(hs) == 0 {
		return nil
	}
	h := hs[0]
	if !h.ours() {
		return nil
	}
	h.lease.expired = true
	return w.exec(`update pawl.lease l set expires_at = clock_timestamp() - interval '1 second'
		where exists (select from unnest(l.jobs, l.epochs) u (id, epoch) where u.id = $1 and u.epoch = $2)`, int64(h.job.id), h.epoch)
}

func (w *world) rescue(*rand.Rand) error {
	w.model.rescue()
	return w.exec("select * from pawl.rescue(1000, true, true)")
}

// reclaim may take the permits of those alone who have lost the job, and takes those of lost leases.
func (w *world) reclaim(*rand.Rand) error {
	if err := w.exec("select pawl.drop_stale_permits()"); err != nil {
		return err
	}
	rows, _ := w.pool.Query(w.ctx, "select job_id from pawl.permit")
	list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	left := map[pawl.ID]int{}
	for _, id := range list {
		left[pawl.ID(id)]++
	}
	for _, h := range w.model.held {
		switch {
		case !h.permit || h.ours():
		case h.lease.gone:
			h.permit = false
		default:
			have := 0
			for _, o := range w.model.held {
				if o.permit && o.job == h.job && !o.lease.gone {
					have++
				}
			}
			h.permit = have <= left[h.job.id]
		}
	}
	return nil
}

func (w *world) removal(r *rand.Rand, keep bool, verb func(*pawl.Client, pawl.Selector) (int64, error)) error {
	if chance(r, 3) { // By claims, fenced.
		hs := w.holders(r)
		if len(hs) == 0 {
			return nil
		}
		var ours []*mJob
		for _, h := range hs {
			if h.ours() {
				ours = append(ours, h.job)
			}
		}
		var n int64
		err := w.do(r, func(c *pawl.Client) (err error) { n, err = verb(c, infos(hs)); return err },
			func() bool { w.model.remove(ours, keep); return len(ours) > 0 })
		if err == nil && n != int64(len(ours)) {
			err = fmt.Errorf("%d were removed, want %d", n, len(ours))
		}
		return err
	}
	jobs := w.some(r, (*mJob).live)
	if len(jobs) == 0 {
		return nil
	}
	var n int64
	done, want := false, int64(0)
	err := w.do(r, func(c *pawl.Client) (err error) { n, err = verb(c, pawl.Filter{IDs: idsOf(jobs)}); return err },
		func() bool { done, want = true, w.model.remove(jobs, keep); return want > 0 })
	if err == nil && done && n != want {
		err = fmt.Errorf("%d were removed, want %d", n, want)
	}
	return err
}

func (w *world) cancel(r *rand.Rand) error {
	return w.removal(r, true, func(c *pawl.Client, which pawl.Selector) (int64, error) { return c.Cancel(w.ctx, which) })
}

func (w *world) delete(r *rand.Rand) error {
	return w.removal(r, false, func(c *pawl.Client, which pawl.Selector) (int64, error) { return c.Delete(w.ctx, which) })
}

func (w *world) retry(r *rand.Rand) error {
	jobs := w.some(r, func(j *mJob) bool {
		return j.state == pawlstate.Dead || j.state == pawlstate.Cancelled || j.state == pawlstate.Scheduled
	})
	// Two of one key at once are an error.
	keys := map[string]bool{}
	jobs = slices.DeleteFunc(jobs, func(j *mJob) bool {
		at := j.scope + "/" + j.key
		twice := j.key != "" && keys[at]
		keys[at] = true
		return twice
	})
	if len(jobs) == 0 {
		return nil
	}
	var n int64
	done, want := false, int64(0)
	err := w.do(r, func(c *pawl.Client) (err error) { n, err = c.Retry(w.ctx, pawl.Filter{IDs: idsOf(jobs)}); return err },
		func() bool { done, want = true, w.model.retry(jobs); return false })
	if err == nil && done && n != want {
		err = fmt.Errorf("%d are retried, want %d", n, want)
	}
	return err
}

func (w *world) reservation(r *rand.Rand, verb func(*pawl.Client, []pawl.ID) error, then func(*mJob)) error {
	jobs := w.some(r, func(j *mJob) bool { return j.state == pawlstate.Reserved })
	if len(jobs) == 0 {
		return nil
	}
	expired := slices.ContainsFunc(jobs, func(j *mJob) bool { return j.state != pawlstate.Reserved || j.lapsed })
	slices.SortFunc(jobs, func(a, b *mJob) int { return a.n - b.n })
	err := w.do(r, func(c *pawl.Client) error { return verb(c, idsOf(jobs)) }, func() bool {
		for _, j := range jobs {
			if !expired {
				then(j)
			}
		}
		return false
	})
	switch {
	case expired && errors.Is(err, pawl.ErrExpired):
		return nil
	case expired:
		return fmt.Errorf("got %w, want ErrExpired", err)
	}
	return err
}

func (w *world) commit(r *rand.Rand) error {
	return w.reservation(r, func(c *pawl.Client, ids []pawl.ID) error { return c.CommitReserved(w.ctx, ids...) },
		func(j *mJob) { j.state = pawlstate.Waiting; w.model.issue(j) })
}

func (w *world) abort(r *rand.Rand) error {
	return w.reservation(r, func(c *pawl.Client, ids []pawl.ID) error { return c.AbortReserved(w.ctx, ids...) },
		func(j *mJob) { w.model.end(j, stateGone, "") })
}

func (w *world) keep(r *rand.Rand) error {
	return w.reservation(r, func(c *pawl.Client, ids []pawl.ID) error { return c.ExtendReserved(w.ctx, 2*hour, ids...) }, func(*mJob) {})
}

// elapse lets all that is scheduled be due; see the function of this name.
func (w *world) elapse(*rand.Rand) error {
	for _, j := range w.model.jobs {
		if j.state == pawlstate.Scheduled {
			j.later = false
		}
	}
	return pgx.BeginFunc(w.ctx, w.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(w.ctx, `select pg_current_xact_id(); with moved as (update pawl.scheduled s set run_at = clock_timestamp() returning s.job_id, s.run_at)
			update pawl.job j set run_at = m.run_at from moved m where j.id = m.job_id`)
		return err
	})
}

// lapse lets the time of reservations and of kept keys come.
func (w *world) lapse(*rand.Rand) error {
	for _, j := range w.model.jobs {
		j.lapsed = j.lapsed || j.state == pawlstate.Reserved
	}
	for _, h := range w.model.holds {
		h.past = h.kept
	}
	return w.exec(`update pawl.blocked set expires_at = clock_timestamp() - interval '1 second' where expires_at is not null;
		update pawl.unique_key set keep_until = clock_timestamp() - interval '1 second' where keep_until is not null`)
}

func (w *world) expire(*rand.Rand) error {
	w.model.expire()
	return w.exec("select pawl.expire(1000)")
}

func (w *world) change(r *rand.Rand) error {
	jobs := w.some(r, (*mJob).live)
	if len(jobs) == 0 {
		return nil
	}
	slices.SortFunc(jobs, func(a, b *mJob) int { return a.n - b.n })
	var later *bool
	var priority *int
	most := 0
	var parts []string
	if chance(r, 2) {
		yes := chance(r, 2)
		later = &yes
		parts = append(parts, fmt.Sprintf(`"delay": %d`, map[bool]int{true: 3600}[yes]))
	}
	if chance(r, 2) {
		p := r.IntN(3) - 1
		priority = &p
		parts = append(parts, fmt.Sprintf(`"priority": %d`, p))
	}
	if chance(r, 3) {
		most = 1 + r.IntN(3)
		parts = append(parts, fmt.Sprintf(`"max_attempts": %d`, most))
	}
	changes := "{" + strings.Join(parts, ", ") + "}"
	w.say("%s", changes)
	ids, got, want := make([]int64, len(jobs)), []string{}, []string{}
	for i, j := range jobs {
		ids[i] = int64(j.id)
	}
	rows, _ := w.pool.Query(w.ctx, "select became from pawl.update($1::bigint[], $2::text::jsonb)", ids, changes)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, j := range jobs {
		if became := w.model.change(j, later, priority, most); became != "" {
			want = append(want, became)
		}
	}
	if err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("changes became %v, want %v", got, want)
	}
	return err
}

func (w *world) pause(r *rand.Rand) error {
	// Paused, half the verbs have nothing to do: rarely for long.
	if w.model.paused = !w.model.paused && chance(r, 2); w.model.paused {
		w.say("on")
		return w.client.PauseQueue(w.ctx, "default")
	}
	return w.client.ResumeQueue(w.ctx, "default")
}

func (w *world) put(policy pawl.Queue) error {
	policy.Name, policy.Backoff = "default", pawl.Backoff{Base: hour}
	w.model.policy = policy
	return w.client.PutQueue(w.ctx, policy)
}

func (w *world) setPolicy(r *rand.Rand) error {
	policy := pawl.Queue{
		MaxRunning: []int{0, 1, 3}[r.IntN(3)], ChannelMaxRunning: []int{0, 1, 2}[r.IntN(3)], HaltOnDead: chance(r, 2), MaxAttempts: []int{0, 2}[r.IntN(2)],
	}
	if chance(r, 3) {
		policy.Weights = map[string]int{"a": 3}
	}
	w.say("%d at once, %d of a channel, halt %t, attempts %d", policy.MaxRunning, policy.ChannelMaxRunning, policy.HaltOnDead, policy.MaxAttempts)
	return w.put(policy)
}

func (w *world) settle(*rand.Rand) error {
	w.model.settle()
	return w.exec("select * from pawl.run_followups(1000)")
}

func (w *world) resume(r *rand.Rand) error {
	channel := []string{"", "a", "b"}[r.IntN(3)]
	for _, c := range []string{"", "a", "b"} {
		if w.model.halts[c] != nil && !chance(r, 8) {
			channel = c
		}
	}
	w.say("%q", channel)
	stood := false
	return w.do(r, func(c *pawl.Client) error {
		err := c.ResumeChannel(w.ctx, "default", channel)
		if stood = err == nil; errors.Is(err, pawl.ErrNotFound) {
			err = nil
		}
		if stood != (w.model.halts[channel] != nil) {
			err = fmt.Errorf("resumed %t, stood %t", stood, w.model.halts[channel] != nil)
		}
		return err
	}, func() bool {
		if stood {
			delete(w.model.halts, channel)
			if line := w.model.lines[channel]; len(line) > 0 {
				w.model.issue(line[0].job)
			}
		}
		return false
	})
}
