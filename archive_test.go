package pawl_test

import (
	"slices"
	"testing"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

// Maintenance drops data past its retention: partitions of the archive, dead jobs, workers, batches and counters. It
// keeps the rest.
func TestRetentionDropsWhatIsPast(t *testing.T) {
	t.Parallel()
	client, pool := install(t)
	for _, n := range []int{1, 2} {
		insert(t, client, Note{n})
	}
	jobs := claim(t, client, 2)
	must(t, client.Complete(t.Context(), jobs[0]))
	must(t, client.Fail(t.Context(), jobs[1], pawl.Dead(errBoom)))
	partitions := func() []string {
		return values[string](t, pool, "select k.relname::text from pg_inherits i join pg_class k on k.oid = i.inhrelid "+
			"where i.inhparent = 'pawl.archive_chunk'::regclass order by 1")
	}
	before := partitions()
	exec(t, pool, `create table pawl.archive_20200229 (like pawl.archive_chunk including defaults including indexes);
		alter table pawl.archive_chunk attach partition pawl.archive_20200229 for values from ('2020-02-29 00:00:00+00') to
			('2020-03-01 00:00:00+00');
		insert into pawl.archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, ids, epochs, created_at,
			priority, attempt, channel, kind)
		values (1000, 1000, 1, '2020-02-28', '2020-02-29 12:00:00+00', 'completed', 'default', '{1000}', '{1}',
			'{2020-02-28}', '{0}', '{1}', '{""}', '{note}');
		insert into pawl.dead (id, finished_at, expires_at, created_at, epoch, priority, attempt, crashes, reason, queue,
			channel, kind)
		select n, now(), now() - interval '1 second', now(), 1, 0, 1, 0, 'attempts', 'default', '', 'note' from
			generate_series(2001, 3500) n;
		insert into pawl.batch (id, total, finished_at) values (4000, 0, now() - interval '31 days'), (4001, 0, now()),
			(4002, 0, null);
		select pawl.unregister_worker(pawl.register_worker('gone', 'h', 1, 'v', null, '9 seconds'));
		update pawl.worker set gone_at = gone_at - interval '2 days';
		select pawl.unregister_worker(pawl.register_worker('just gone', 'h', 1, 'v', null, '9 seconds'));
		select pawl.report_counters(gen_random_uuid(), '{old,now}', '{1,1}', '{0,0}', '{0,0}');
		update pawl.counter set slot = slot - 62 where queue = 'old';`)
	must(t, client.Retain(t.Context()))
	if after := partitions(); !slices.Equal(after, before) {
		t.Errorf("the partitions are %v, want %v", after, before)
	}
	if value[bool](t, pool, "select to_regclass('pawl.archive_20200229') is not null") {
		t.Error("the old partition is detached, but still there")
	}
	await(t, client, jobs[0].ID, pawlstate.Completed)
	await(t, client, jobs[1].ID, pawlstate.Dead)
	if n := value[int](t, pool, "select count(*) from pawl.dead"); n != 1 {
		t.Errorf("%d dead, want 1", n)
	}
	if got := values[string](t, pool, "select name from pawl.worker"); !slices.Equal(got, []string{"just gone"}) {
		t.Errorf("the workers are %v", got)
	}
	if got := values[int](t, pool, "select id::int from pawl.batch order by id"); !slices.Equal(got, []int{4001, 4002}) {
		t.Errorf("the batches are %v", got)
	}
	if got := values[string](t, pool, "select queue from pawl.counter where queue <> 'default'"); !slices.Equal(got,
		[]string{"now"}) {
		t.Errorf("told of lately: %v", got)
	}
}
