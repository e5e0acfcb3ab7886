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

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// Random verbs one after the other, on the database and on a model of what they are to do; after each the two are
// compared, row by row. A run that fails is shrunk, and printed so that it can be run again.
//
//	PAWL_PROPERTY_RUNS    runs; if not set, few enough for every day
//	PAWL_PROPERTY_SEED    of the first run; those after it count up
//	PAWL_PROPERTY_STEPS   the steps of one run, as printed, instead of random steps; old steps mean the same as long
//	                      as the verbs here roll their dice in the same order
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
					t.Errorf("PAWL_PROPERTY_SEED=%d PAWL_PROPERTY_RUNS=1 fails; shrunk to PAWL_PROPERTY_STEPS='%s', "+
						"which is\n  %s\n%v",
						seed+uint64(i), printed(steps), strings.Join(trace, "\n  "), err)
				}
			}
		})
	}
}

var verbs = map[string]func(*world, *rand.Rand) error{
	"insert": (*world).insert, "claim": (*world).claim, "complete": (*world).complete, "fail": (*world).fail,
	"release": (*world).release, "extend": (*world).extend, "lose": (*world).lose, "rescue": (*world).rescue,
	"reclaim": (*world).reclaim,
	"cancel":  (*world).cancel, "delete": (*world).delete, "retry": (*world).retry, "commit": (*world).commit,
	"abort": (*world).abort,
	"keep":  (*world).keep, "elapse": (*world).makeDue, "lapse": (*world).passReservations, "expire": (*world).expire,
	"change": (*world).change,
	"pause":  (*world).pause, "policy": (*world).setPolicy, "settle": (*world).runFollowups, "resume": (*world).resume,
}

var weights = []struct {
	verb string
	n    int
}{
	{"insert", 12}, {"claim", 14}, {"complete", 7}, {"fail", 8}, {"release", 3}, {"extend", 3}, {"lose", 3}, {"rescue", 3},
	{"reclaim", 2},
	{"cancel", 3}, {"delete", 2}, {"retry", 5}, {"commit", 3}, {"abort", 1}, {"keep", 1}, {"elapse", 4}, {"lapse", 2},
	{"expire", 2},
	{"change", 3}, {"pause", 2}, {"policy", 3}, {"settle", 4}, {"resume", 3},
}

// A world is a run.
type world struct {
	ctx    context.Context
	pool   *pgxpool.Pool
	client *pawl.Client // Remembers lanes from claim to claim.
	config pawl.Config
	model  *model
	said   []string // Of the step under way.
}

const deleteEverything = `delete from pawl.job; delete from pawl.ready; delete from pawl.scheduled; delete from
	pawl.blocked; delete from pawl.ordered_job;
	delete from pawl.lease; delete from pawl.permit; delete from pawl.bucket; delete from pawl.unique_key; delete from
		pawl.dependency; delete from pawl.followup;
	delete from pawl.halted_channel; delete from pawl.queue; delete from pawl.archive_chunk; delete from pawl.dead; delete
		from pawl.batch`

// replay runs steps on an emptied database. It returns their trace.
func replay(t *testing.T, pool *pgxpool.Pool, steps []step) (trace []string, err error) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), deleteEverything); err != nil {
		t.Fatal(err)
	}
	w := &world{ctx: t.Context(), pool: pool, model: newModel(),
		config: pawl.Config{Logger: slog.New(slog.DiscardHandler)}}
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

// compare compares all rows with the model.
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
		case "ordered":
			lines = append(lines, fmt.Sprintf("ordered %s: job %v", text, name(a)))
		case "key":
			key, rest, _ := strings.Cut(text, "|")
			lines = append(lines, fmt.Sprintf("key %s: job %v, %s", key, name(a), rest))
		case "wait":
			lines = append(lines, fmt.Sprintf("job %v waits for %v: %s", name(a), name(b), text))
		case "followup":
			lines = append(lines, fmt.Sprintf("followup: job %v %s", name(a), text))
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

// minus returns the elements of sorted a that sorted b lacks.
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

// do runs a verb directly, or in a transaction, which may be rolled back. then applies the verb to the model, and
// reports whether followups run: they do, unless the verb is in a transaction.
func (w *world) do(r *rand.Rand, verb func(*pawl.Client) error, then func() (settles bool)) error {
	switch dice := r.IntN(10); {
	case dice < 6:
		if err := verb(w.client); err != nil {
			return err
		}
		if then() {
			w.model.runAllFollowups()
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

// exec runs a statement of the test's own.
func (w *world) exec(sql string, args ...any) error {
	_, err := w.pool.Exec(w.ctx, sql, args...)
	return err
}

// pick chooses an element of a list. It returns false if the list is empty.
func pick[T any](r *rand.Rand, list []T) (one T, ok bool) {
	if len(list) == 0 {
		return one, false
	}
	return list[r.IntN(len(list))], true
}

func chance(r *rand.Rand, of int) bool { return r.IntN(of) == 0 }

// some chooses one to three jobs for which ok is true, sometimes any jobs.
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
