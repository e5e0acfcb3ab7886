package pawl_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/internal/pgtest"
)

// The server keeps plans that it made while the tables were empty. No such plan may read a full table
// (docs/decisions/0001). No plan may be compiled by JIT either: that takes half a second a call.
func TestNoFunctionReadsATable(t *testing.T) {
	pgtest.NotHostile(t, "it reads the plans of its own session")
	t.Parallel()
	url := pgtest.Database(t)
	client, pool := connectUnchecked(t, url)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	compiled := ""
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		if strings.Contains(notice.Message, "\nJIT:") {
			compiled = notice.Message
		}
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, table := range []string{"job", "ready", "scheduled", "lease", "worker", "queue", "dead", "archive_chunk"} {
		exec(t, conn, "vacuum analyze pawl."+table)
	}
	// The ids of a ready and a running job, with their epochs.
	const ids = "array[%[1]d, %[2]d]::bigint[], array[%[3]d, %[4]d]::int[]"
	calls := []string{
		"select * from pawl.insert(array['default'], array[''], array[0::smallint], array['note'], array['{}'], " +
			"array[null::bytea], array[null::float8], array[null::timestamptz], array[null::smallint], array[null::text], " +
			"array[null::text])",
		"select * from pawl.claim(gen_random_uuid(), null, null, 2, array['default'], array[0], array[''], " +
			"array[0::bigint], array[9223372036854775807], array[2])",
		"select * from pawl.claim(gen_random_uuid(), null, null, 2, array['default'], array[0], array[''], " +
			"array[2900::bigint], array[9223372036854775807], array[2])",
		"select * from pawl.claim_readable(gen_random_uuid(), null, null, 2, array['default'], array[0], array[''], " +
			"array[0::bigint], array[9223372036854775807], array[2])",
		"select * from pawl.claim_bounded(gen_random_uuid(), null, null, 2, array['default'], array[0], array[''], " +
			"array[0::bigint], array[9223372036854775807], array[2])",
		"select * from pawl.restore_lost(%[1]d - 1, 2)", // If a job has no ticket, it reads all leases.
		"select pawl.bury(%[1]d, %[3]d, 'broken'), pawl.bury(%[2]d, %[4]d, 'broken')",
		"select * from pawl.find_unreadable(array[%[1]d, %[2]d], 16)",
		"select * from pawl.bury_unreadable(2, array['default'], array[0], array[''], array[0::bigint], " +
			"array[9223372036854775807], array[2])",
		"select * from pawl.complete_isolated(" + ids + ", array[0, 0]::bigint[], array[0, 0]::bigint[], " +
			"array[null, null]::text[], 'w', '{}')",
		"select * from pawl.return_lost(" + ids + ")",
		"select * from pawl.complete(" + ids + ", array[0, 0]::bigint[], array[0, 0]::bigint[], array[null, null]::text[], " +
			"'w', '{}', '{}')",
		"select * from pawl.fail(" + ids + ", array['retry', 'retry'], array[1, 0]::float8[], array[null, null]::text[], " +
			"array['{}', '{}'], array[0, 0]::bigint[], array[0, 0]::bigint[], 'w')",
		"select * from pawl.fail(" + ids + ", array['dead', 'cancel'], array[null, null]::float8[], array[null, " +
			"null]::text[], array['{}', '{}'], array[0, 0]::bigint[], array[0, 0]::bigint[], 'w')",
		"select * from pawl.lock_jobs(" + ids + ")",
		"select * from pawl.find_missing(" + ids + ")",
		"select * from pawl.remove(" + ids + ", true)",
		"select * from pawl.remove_claimed(" + ids + ", true)",
		"select pawl.apply_retention(2)",
		"select pawl.lock_waiting(%[1]d), pawl.lock_waiting(%[2]d), pawl.lock_waiting(%[5]d)",
		"select pawl.record_deleted(array[%[1]d, %[2]d])",
		"select * from pawl.get(array[%[1]d, %[2]d])",
		"select * from pawl.retry(array[%[1]d, %[2]d, %[5]d])",
		"select * from pawl.unclaim('%[6]s')",
		"select * from pawl.extend(array[%[2]d]::bigint[], array[%[4]d], array['%[6]s']::uuid[], gen_random_uuid(), '1 " +
			"minute')",
		"select * from pawl.promote(array['default'], array['-infinity'::timestamptz], 2)",
		"select * from pawl.read_marks(array['default'], array[0], array[''], array[2900], array[0], array['default'], " +
			"array['-infinity'::timestamptz], array[0])",
		"select * from pawl.discover_lanes(array['', 'default'], array[0, 0], array['', ''], array['default', " +
			"chr(1114111)], array[0, 0], array['', ''], array['default'], true)",
		"select * from pawl.peek(array['default'])",
		"select * from pawl.heartbeat(1, 2, " + ids + ")",
		"select pawl.worker_started_at(1)",
		"select * from pawl.rescue(1, true, false)",
		"select * from pawl.update(array[%[1]d, %[2]d, %[5]d], '{\"delay\": 60, \"priority\": 3}')",
		"select * from pawl.list('{}', null, 2)",
		"select * from pawl.list('{\"kind\": \"note\"}', null, 2)",
		"select * from pawl.list('{\"kind\": \"none\", \"above\": %[5]d}', null, 2)",
		"select * from pawl.list('{\"fingerprint\": \"f\"}', null, 2)",
		"select * from pawl.list('{\"unique_key\": \"k\"}', null, 2)",
		"select * from pawl.release_worker(1)",
		"select pawl.heartbeat(1)",
		"select * from pawl.claimed(array[%[2]d])",
		"select * from pawl.find_tickets('default', '{note}', 2)",
		"select pawl.report_counters(gen_random_uuid(), array['default'], array[1], array[1], array[1])",
	}
	fill := func(ready, held int64, readyEpoch, heldEpoch int, scheduled int64, lease string) (filled []string) {
		for _, call := range calls {
			filled = append(filled, fmt.Sprintf(call+"%[7]s", ready, held, readyEpoch, heldEpoch, scheduled, lease, ""))
		}
		return filled
	}
	for _, call := range fill(1, 2, 0, 0, 3, aLease) {
		exec(t, conn, call)
	}
	for _, table := range []string{"job", "ready", "scheduled", "lease", "dead", "archive_chunk"} {
		exec(t, conn, "delete from pawl."+table) // Not truncate: that would have all plans made anew.
	}

	jobs := notes(6000)
	for i := range jobs[3000:] {
		jobs[3000+i].Delay = 1 << 40
	}
	if _, err := client.InsertMany(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	for range 1500 {
		claim(t, client, 1)
	}
	exec(t, pool, "update pawl.scheduled set run_at = clock_timestamp() - interval '1 second' where job_id % 100 = 0")
	exec(t, pool, "update pawl.job j set run_at = s.run_at from pawl.scheduled s where s.job_id = j.id")
	var ready, held, scheduled int64
	var readyEpoch, heldEpoch int
	var lease string
	if err := conn.QueryRow(t.Context(), `select r.job_id, r.epoch, l.jobs[1], l.epochs[1], l.id::text, (select max(job_id)
		from pawl.scheduled)
		from (select * from pawl.ready limit 1) r, (select * from pawl.lease limit 1)
			l`).Scan(&ready, &readyEpoch, &held, &heldEpoch, &lease, &scheduled); err != nil {
		t.Fatal(err)
	}
	read := func(tx pgx.Tx) map[string]int {
		rows, err := tx.Query(t.Context(), `select relname::text, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from
			pg_stat_xact_user_tables where schemaname = 'pawl'`)
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		var table string
		var n int
		if _, err := pgx.ForEachRow(rows, []any{&table, &n}, func() error { counts[table] = n; return nil }); err != nil {
			t.Fatal(err)
		}
		return counts
	}
	for _, call := range fill(ready, held, readyEpoch, heldEpoch, scheduled, lease) {
		func() {
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(t.Context())
			before := read(tx)
			exec(t, tx, `load 'auto_explain'; set local auto_explain.log_min_duration = 0;
		set local auto_explain.log_nested_statements = on;
				set local auto_explain.log_analyze = on; set local client_min_messages = log`)
			compiled = ""
			exec(t, tx, call)
			if compiled != "" {
				t.Errorf("%s\n\tis compiled: set jit = off\n%s", call, compiled)
			}
			const most = 60
			for table, n := range read(tx) {
				if n -= before[table]; n > most {
					t.Errorf("%s\n\treads %d rows of %s, want at most %d", call, n, table, most)
				}
			}
		}()
	}
}
