package pawl_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// brokenRows are faults in rows, made by hand.
var brokenRows = map[string]struct {
	checks []string
	seed   func(*broken) (about any) // It returns what the first check must name.
}{
	"ready ticket gone": {[]string{"ticket-missing"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{})
		f.exec("delete from pawl.ready where job_id = $1", id)
		return id
	}},
	"scheduled ticket gone": {[]string{"ticket-missing"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{Delay: hour})
		f.exec("delete from pawl.scheduled where job_id = $1", id)
		f.after = func() { await(f, f.client, id, pawlstate.Scheduled) }
		return id
	}},
	"blocked ticket gone": {[]string{"ticket-missing"}, func(f *broken) any {
		f.insertJob(1, ordered("c", 1))
		id := f.insertJob(2, ordered("c", 2))
		f.exec("delete from pawl.blocked where job_id = $1", id)
		f.after = func() { await(f, f.client, id, pawlstate.Waiting) }
		return id
	}},
	"tickets of thousands gone": {[]string{"ticket-missing"}, func(f *broken) any {
		for n := range 2500 {
			f.runs = append(f.runs, n)
		}
		if _, err := f.client.InsertMany(f.Context(), notes(2500)); err != nil {
			f.Fatal(err)
		}
		f.exec("delete from pawl.ready")
		return "2500 live jobs"
	}},
	"ticket of another epoch": {[]string{"ticket-missing", "ticket-stray"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{})
		f.exec("update pawl.ready set epoch = epoch - 1 where job_id = $1", id)
		return id
	}},
	"lease gone while its job runs": {[]string{"ticket-missing"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{})
		held := claim(f, f.client, 1)
		f.exec("delete from pawl.lease")
		f.after = func() { f.mustHaveLost(held) }
		return id
	}},
	"ready and scheduled": {[]string{"ticket-twice"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{})
		f.exec(`insert into pawl.scheduled (run_at, job_id, epoch, queue)
			select now(), job_id, epoch, queue from pawl.ready where job_id = $1`, id)
		return id
	}},
	"ready twice": {[]string{"ticket-twice"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{})
		f.addTicket(id, "nextval('pawl.pos')")
		return id
	}},
	"ready and running": {[]string{"ticket-twice"}, func(f *broken) any {
		id := insert(f, f.client, Note{1})
		held := claim(f, f.client, 1)
		f.addTicket(id, "id")
		f.after = func() { // The lease is kept.
			if err := f.client.Complete(f.Context(), held); err != nil {
				f.Errorf("the worker that holds the job gets %v", err)
			}
		}
		return id
	}},
	"two leases": {[]string{"ticket-twice"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{})
		held := claim(f, f.client, 1)
		f.exec(`insert into pawl.lease (id, expires_at, jobs, epochs)
			select gen_random_uuid(), now() + interval '1 hour', jobs, epochs from pawl.lease`)
		f.after = func() { f.mustHaveLost(held) }
		return id
	}},
	"ticket in another place": {[]string{"ticket-misplaced"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{})
		f.exec("update pawl.ready set pos = nextval('pawl.pos') where job_id = $1", id)
		return id
	}},
	"ticket of another time": {[]string{"ticket-misplaced"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{Delay: hour})
		f.exec("update pawl.job set run_at = clock_timestamp() where id = $1", id)
		return id
	}},
	"tickets of no job": {[]string{"ticket-stray"}, func(f *broken) any {
		id := insert(f, f.client, Note{1})
		insert(f, f.client, pawl.JobSpec{Args: Note{2}, Delay: hour})
		insert(f, f.client, pawl.JobSpec{Args: Note{3}, Reserve: hour})
		f.exec("delete from pawl.job")
		return id
	}},
	"blocked for nothing": {[]string{"ticket-blocked"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{Reserve: hour})
		f.exec("update pawl.blocked set expires_at = null")
		return id
	}},
	"parent gone": {[]string{"dependency-stray"}, func(f *broken) any {
		id := insert(f, f.client, Note{1})
		child := insert(f, f.client, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{id}})
		f.insertJob(3, pawl.JobSpec{AfterAny: []pawl.ID{id}})
		f.exec("delete from pawl.ready where job_id = $1", id)
		f.exec("delete from pawl.job where id = $1", id)
		f.after = func() { await(f, f.client, child, pawlstate.Cancelled) }
		return id
	}},
	"dead parent gone that a child keeps waiting for": {[]string{"dependency-stray"}, func(f *broken) any {
		id := insert(f, f.client, Note{1})
		child := insert(f, f.client, pawl.JobSpec{Args: Note{2}, AfterOK: []pawl.ID{id}, KeepWaiting: true})
		if err := f.client.Fail(f.Context(), claim(f, f.client, 1), pawl.Dead(errors.New("no"))); err != nil {
			f.Fatal(err)
		}
		if got := verified(f, f.client); len(got) > 0 {
			f.Errorf("found %q, but the child must wait", got)
		}
		f.exec("delete from pawl.dead")
		f.after = func() { await(f, f.client, child, pawlstate.Cancelled) }
		return id
	}},
	"follow-up put aside": {[]string{"followup-failed"}, func(f *broken) any {
		_, err := f.client.InsertBatch(f.Context(), pawl.BatchSpec{
			Jobs: []pawl.JobSpec{{Args: Note{1}}}, OnFinish: &pawl.JobSpec{Args: Note{2}},
		})
		must(f, err)
		callback := value[string](f, f.pool, "select on_finish::text from pawl.batch")
		f.exec("update pawl.batch set on_finish = '5'")
		jobs := claim(f, f.client, 1)
		must(f, f.client.Complete(f.Context(), jobs))
		f.exec("update pawl.batch set on_finish = $1::text::jsonb", callback)
		f.runs = append(f.runs, 2)
		return jobs[0].ID
	}},
	"head of a channel gone": {[]string{"order-stray"}, func(f *broken) any {
		id := f.loseJob(1, ordered("c", 1))
		f.insertJob(2, ordered("c", 2))
		return id
	}},
	"place of a channel's head gone": {[]string{"order-missing", "ticket-blocked"}, func(f *broken) any {
		id := f.insertJob(1, ordered("c", 1))
		second := f.insertJob(2, ordered("c", 2))
		f.exec("delete from pawl.ordered_job where job_id = $1", id)
		f.after = func() { await(f, f.client, second, pawlstate.Waiting) }
		return id
	}},
	"second of a channel unblocked": {[]string{"ticket-out-of-order"}, func(f *broken) any {
		f.insertJob(1, ordered("c", 1))
		id := f.insertJob(2, ordered("c", 2))
		f.exec("delete from pawl.blocked where job_id = $1", id)
		f.addTicket(id, "id")
		f.after = func() { await(f, f.client, id, pawlstate.Waiting) }
		return id
	}},
	"unique job gone": {[]string{"key-stray"}, func(f *broken) any {
		id := f.loseJob(1, pawl.JobSpec{Unique: pawl.Unique{Key: "k"}})
		f.after = func() { f.insertJob(2, pawl.JobSpec{Unique: pawl.Unique{Key: "k"}}) }
		return id
	}},
	"unique job gone, its key kept": {[]string{"key-stray"}, func(f *broken) any {
		id := f.loseJob(1, pawl.JobSpec{Unique: pawl.Unique{Key: "k", Period: hour}})
		f.after = func() {
			again := pawl.JobSpec{Args: Note{2}, Unique: pawl.Unique{Key: "k"}}
			if result, err := f.client.Insert(f.Context(), again); err != nil || !result.Duplicate {
				f.Errorf("the key is free before its period ends: %+v, %v", result, err)
			}
		}
		return id
	}},
	"unique key gone": {[]string{"key-missing"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{Unique: pawl.Unique{Key: "k"}})
		f.exec("delete from pawl.unique_key")
		f.after = func() {
			again := pawl.JobSpec{Args: Note{2}, Unique: pawl.Unique{Key: "k"}}
			if result, err := f.client.Insert(f.Context(), again); err != nil || !result.Duplicate {
				f.Errorf("the job did not get its key back: %+v, %v", result, err)
			}
		}
		return id
	}},
	"constraint not marked": {[]string{"job-unmarked"}, func(f *broken) any {
		id := f.insertJob(1, pawl.JobSpec{})
		f.insertJob(2, pawl.JobSpec{AfterOK: []pawl.ID{id}})
		f.exec("update pawl.job set constrained = false where id = $1", id)
		return id
	}},
	"permits without a lease, or of another job's lease": {[]string{"permit-stray"}, func(f *broken) any {
		insert(f, f.client, Note{1})
		held := claim(f, f.client, 1)
		f.exec("insert into pawl.permit (queue, channel, job_id, lease) values ('default', '', 4710, gen_random_uuid())")
		f.exec("insert into pawl.permit (queue, channel, job_id, lease) select 'default', '', 4711, id from pawl.lease")
		f.after = func() {
			if err := f.client.Complete(f.Context(), held); err != nil {
				f.Error(err)
			}
		}
		return "2 permits"
	}},
	"leases without an expiry, or of an unknown worker": {[]string{"lease-stray"}, func(f *broken) any {
		f.insertJob(1, pawl.JobSpec{})
		f.insertJob(2, pawl.JobSpec{})
		claim(f, f.client, 1)
		f.exec("update pawl.lease set expires_at = null, worker_id = 4711")
		held := claim(f, f.client, 1)
		f.exec("update pawl.lease set expires_at = null")
		f.after = func() { f.mustHaveLost(held) }
		return value[string](f, f.pool, "select id::text from pawl.lease where worker_id is null")
	}},
	"batch that lost a job": {[]string{"batch-count"}, func(f *broken) any {
		f.runs = []int{0, 1, 7}
		id, err := f.client.InsertBatch(f.Context(), pawl.BatchSpec{
			Jobs: notes(3), OnFinish: &pawl.JobSpec{Args: Note{7}}, OnSuccess: &pawl.JobSpec{Args: Note{8}},
		})
		if err != nil {
			f.Fatal(err)
		}
		gone := value[int64](f, f.pool, "select max(id) from pawl.job")
		f.exec("delete from pawl.ready where job_id = $1", gone)
		f.exec("delete from pawl.job where id = $1", gone)
		return id
	}},
	"batch with a job too many": {[]string{"batch-count"}, func(f *broken) any {
		f.runs = []int{0, 1, 2, 7}
		id, err := f.client.InsertBatch(f.Context(), pawl.BatchSpec{Jobs: notes(3), OnFinish: &pawl.JobSpec{Args: Note{7}}})
		if err != nil {
			f.Fatal(err)
		}
		f.exec("update pawl.batch set total = 2")
		return id
	}},
	"sequence set back": {[]string{"sequence-behind"}, func(f *broken) any {
		f.insertJob(1, pawl.JobSpec{})
		id := f.insertJob(2, pawl.JobSpec{})
		f.exec("select setval('pawl.pos', 1)")
		f.after = func() {
			if next := f.insertJob(3, pawl.JobSpec{}); next <= id {
				f.Errorf("the next job has the id %d", next)
			}
		}
		return id
	}},
}

// Each fault is found under its name with the id of its job, and repaired. After the repair every job runs once.
func TestBrokenRowsAreFoundAndRepaired(t *testing.T) {
	t.Parallel()
	for name, test := range brokenRows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			f := &broken{TB: t, client: client, pool: pool, after: func() {}}
			about := test.seed(f)
			found, err := client.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := checksOf(found); !slices.Equal(got, slices.Sorted(slices.Values(test.checks))) {
				t.Errorf("found %q, want %q: %+v", got, test.checks, found)
			}
			if !slices.ContainsFunc(found, func(f pawl.Finding) bool {
				return f.Check == test.checks[0] && strings.Contains(f.Problem, fmt.Sprint(about)) && !f.Repaired
			}) {
				t.Errorf("%s does not name %v: %+v", test.checks[0], about, found)
			}
			repair(t, client, test.checks...)
			f.after()
			makeDue(t, pool)
			counts := runs(t, client, pool)
			for _, n := range f.runs {
				if counts[n] != 1 {
					t.Errorf("note %d ran %d times after the repair", n, counts[n])
				}
				delete(counts, n)
			}
			if len(counts) > 0 {
				t.Errorf("more notes ran: %v", counts)
			}
		})
	}
}
