package pawl_test

import (
	"runtime"
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	client, pool := install(t)
	exec(t, pool, `insert into pawl.job (id, created_at, epoch, priority, queue, channel, kind, args)
	  select i, now(), 1, 0, 'default', (i % 100)::text, 'note', '{"n": 1, "pad": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}' from generate_series(1, 1000000) i`)
	exec(t, pool, `insert into pawl.ready (pos, job_id, epoch, priority, queue, channel) select id, id, epoch, 0, queue, channel from pawl.job where id % 2 = 0`)
	exec(t, pool, `insert into pawl.lease (id, expires_at, jobs, epochs) select gen_random_uuid(), now() + interval '1 day', array_agg(id), array_agg(1) from pawl.job where id % 2 = 1 group by id / 500`)
	exec(t, pool, `insert into pawl.archive (id, finished_at, expires_at, created_at, epoch, priority, attempt, state, queue, channel, kind, args)
	  select i, now(), now() + interval '1 day', now(), 1, 0, 1, 'completed', 'default', '', 'note', '{"n": 1, "pad": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}' from generate_series(2000001, 4000000) i`)
	exec(t, pool, `select setval('pawl.pos', 5000000)`)
	exec(t, pool, "delete from pawl.ready")
	go func() {
		for {
			time.Sleep(5 * time.Second)
			t.Log(values[string](t, pool, "select left(query, 100) || ' ' || state || (clock_timestamp() - query_start)::text from pg_stat_activity where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()"),
				value[int](t, pool, "select count(*) from pawl.ready"))
		}
	}()
	a := time.Now()
	found, err := client.Repair(t.Context())
	t.Log(time.Since(a), found, err)
	_ = runtime.NumCPU
}
