package pawl_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
	"github.com/pawlhq/pawl/pawlstate"
)

// wantReadable checks jobs of which some cannot be read whole: those are marked, and have no args.
func wantReadable(t *testing.T, jobs pawl.Jobs, all, broken []pawl.ID) {
	t.Helper()
	var ids []pawl.ID
	for _, job := range jobs {
		ids = append(ids, job.ID)
		bad := slices.Contains(broken, job.ID)
		if bad != (job.Unreadable != nil) || bad != (job.Args == nil) || job.Kind != "note" || job.State == "" {
			t.Errorf("job %d: args %.20s, kind %q, unreadable %v; want it marked: %t", job.ID, job.Args, job.Kind,
				job.Unreadable, bad)
		}
		if bad && !strings.Contains(job.Unreadable.Error(), "unknown type of jsonb container") {
			t.Errorf("job %d is unreadable because of %v", job.ID, job.Unreadable)
		}
	}
	slices.Sort(ids)
	if !slices.Equal(ids, all) {
		t.Errorf("got jobs %v, want %v", ids, all)
	}
}

// List, Get and Tail return all jobs. They mark those of which columns cannot be read, and leave these columns out.
func TestUnreadableRowsHideNoOthers(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	results, err := client.InsertMany(t.Context(), notes(6))
	must(t, err)
	all := make([]pawl.ID, len(results))
	for i, r := range results {
		all[i] = r.ID
	}
	jobs := claim(t, client, 2)
	must(t, client.Complete(t.Context(), jobs[:1]))
	must(t, client.Fail(t.Context(), jobs[1:], pawl.Dead(errBoom)))
	broken := []pawl.ID{all[0], all[1], all[3]}
	breakColumn(t, pool, "args", all[3])
	exec(t, pool, `update pawl.dead set args = cast('\x00000000'::bytea as jsonb), finished_at = 'infinity';
		update pawl.archive_chunk set args = array[cast('\x00000000'::bytea as jsonb)], finished_at = 'infinity'`)
	for name, in := range map[string]*pawl.Client{
		"pool": client, "transaction": client.With(begin(t, pool)), "database/sql": client.WithSQL(stdTx(t, pool)),
	} {
		t.Run(name, func(t *testing.T) {
			jobs, err := in.List(t.Context(), pawl.Filter{})
			must(t, err)
			wantReadable(t, jobs, all, broken)
			for _, id := range all {
				job, err := in.Get(t.Context(), id)
				must(t, err)
				wantReadable(t, pawl.Jobs{job}, []pawl.ID{id}, broken)
			}
		})
	}
}

// Tail yields the jobs beside an unreadable one, and that one, when they are new and when they finish.
func TestTailYieldsUnreadableRows(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	l := tailing(t, client, pawl.Filter{})
	exec(t, pool, "create cast (bytea as jsonb) without function")
	tx := begin(t, pool)
	results, err := client.With(tx).InsertMany(t.Context(), notes(3))
	must(t, err)
	exec(t, tx, `update pawl.job set args = cast('\x00000000'::bytea as jsonb) where id = $1`, int64(results[1].ID))
	commit(t, tx)
	wait := func(id pawl.ID, state pawlstate.State) {
		pgtest.Wait(t, fmt.Sprintf("job %d to be told %s", id, state), func() bool { return l.has(id, state) })
	}
	for _, r := range results {
		wait(r.ID, pawlstate.Ready)
	}
	must(t, client.Complete(t.Context(), claim(t, client, 3)))
	wait(results[0].ID, pawlstate.Completed)
	wait(results[1].ID, pawlstate.Dead)
	wait(results[2].ID, pawlstate.Completed)
}

// If the result of claim_readable cannot be sent either, the jobs that no client can read are made dead first.
func TestAClaimThatCannotBeSentBuriesUnreadableJobs(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	broken, whole := insert(t, client, Note{1}), insert(t, client, Note{2})
	breakColumn(t, pool, "args", broken)
	function := value[string](t, pool, "select pg_get_functiondef('pawl.claim_readable'::regproc)")
	head, _, _ := strings.Cut(function, "AS $function$")
	exec(t, pool, head+"AS $function$ begin raise exception 'too large to send' using errcode = '54000'; end $function$")
	if jobs, err := client.Claim(t.Context(), "default", 2, time.Minute); err == nil {
		t.Errorf("claimed %v, although nothing can be sent", jobs)
	}
	reason := value[string](t, pool, "select reason from pawl.dead where id = $1", int64(broken))
	if reason != "unprocessable" {
		t.Errorf("the reason is %q", reason)
	}
	exec(t, pool, function)
	jobs := claim(t, client, 2)
	if len(jobs) != 1 || jobs[0].ID != whole {
		t.Errorf("claimed %v, want the job that can be read", jobs)
	}
}
