-- The statements of a binary of schema 1. $1, $2, … are parameters; the archive's day is 29 February 2020.
-- Made by `make freeze`.

-- advisory_lock: sessions that hold one of Pawl's advisory locks and are not Pawl's. Any login of the database can take -- one. Pawl's own sessions hold the locks of sleeping and awaiting shared, and have a right on the schema; a migrator -- calls itself "pawl migrate". -- $1 the age of a session's last change from which on an exclusive lock is reported with own as ( select k.relnamespace as schema, n.nspname as name from pg_class k join pg_namespace n on n.oid = k.relnamespace where k.oid = 'pawl.job'::regclass ), known as ( select pawl.sleep_key(q.name) as key, format('of runners that wait for queue %s', q.name) as what, 'wait' as kind from (select '*' as name union select q.name from pawl.queue q union select * from pawl.live_queues() union select unnest(w.queues) from pawl.worker w where w.gone_at is null) q union all select pawl.await_key(s.slot), 'of clients that await a job', 'wait' from (select generate_series(0, 63)::bigint union all select null) s (slot) union all select hashtextextended('migrate ' || own.name, 0), 'of migrations', 'migrate' from own ), held as ( select a.pid, a.usename, a.application_name, a.client_addr, k.kind, l.mode, count(*) as n, min(k.what) as what from pg_locks l join known k on l.classid::bigint = (k.key >> 32) & 4294967295 and l.objid::bigint = k.key & 4294967295 join pg_stat_activity a on a.pid = l.pid cross join own where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.pid <> pg_backend_pid() and l.database = (select d.oid from pg_database d where d.datname = current_database()) and case when k.kind = 'migrate' then a.application_name <> 'pawl migrate' else not has_schema_privilege(a.usesysid, own.schema, 'usage') or l.mode = 'ExclusiveLock' and clock_timestamp() - a.state_change > $1::interval end group by a.pid, a.usename, a.application_name, a.client_addr, k.kind, l.mode ) select format('session %s of %s (%s%s) holds %s advisory lock%s%s%s', h.pid, h.usename, coalesce(nullif(h.application_name, ''), 'no application name'), coalesce(', ' || h.client_addr, ''), h.n, case when h.n > 1 then 's, such as those ' else ' ' end, h.what, case when h.kind = 'migrate' then ': no migration can run' when h.mode = 'ExclusiveLock' then ': they poll, and inserts send a NOTIFY each' else ': inserts send a NOTIFY each' end), format('if it is not a program of yours that uses Pawl, end it: select pg_terminate_backend(%s); ' || 'and keep its role out: revoke connect on database %I from public, %I', h.pid, current_database(), h.usename), false from held h order by h.n desc limit 10;
-- takes 
-- gives 

-- archive: partitions that should be gone, a default partition, and an archive that is large. -- $1 the size in bytes from which on the archive is large with day as ( select k.oid, k.relname, k.relispartition, i.inhdetachpending, pg_get_expr(k.relpartbound, k.oid) = 'DEFAULT' as rest, pg_total_relation_size(k.oid) as size, case when k.relname ~ '^archive_[0-9]{8}$' then to_date(substr(k.relname, 9), 'YYYYMMDD') end as until from pg_class k left join pg_inherits i on i.inhrelid = k.oid and i.inhparent = 'pawl.archive_chunk'::regclass where k.relnamespace = (select j.relnamespace from pg_class j where j.oid = 'pawl.job'::regclass) and k.relkind = 'r' and (i.inhrelid is not null or k.relname ~ '^archive_[0-9]{8}$') ) select format('%s but not dropped, %s in total: %s', case count(*) when 1 then '1 partition of the archive is past its day' else count(*) || ' partitions of the archive are past their day' end, pg_size_pretty(sum(d.size)), (array_agg(d.relname order by d.until))[1]), format('run a worker or pawl serve: it drops them, unless an open transaction blocks it (check xmin). By hand: ' || 'alter table pawl.archive_chunk detach partition %1$s %2$s; drop table %1$s', (array_agg(d.oid::regclass order by d.until))[1], case when (array_agg(d.inhdetachpending order by d.until))[1] then 'finalize' else 'concurrently' end), false from day d where d.relispartition and d.until < (clock_timestamp() at time zone 'UTC')::date - 1 having count(*) > 0 union all select format('%s and detached from the archive, but not dropped, %s in total: %s', case count(*) when 1 then '1 table is past its day' else count(*) || ' tables are past their day' end, pg_size_pretty(sum(d.size)), (array_agg(d.relname order by d.until))[1]), format('drop table %s; to keep it, rename it', (array_agg(d.oid::regclass order by d.until))[1]), false from day d where not d.relispartition and d.until < (clock_timestamp() at time zone 'UTC')::date - 1 having count(*) > 0 union all select format('the archive has a default partition, %s: no partition can be attached for a day with rows in it, ' || 'and its rows are never dropped', d.relname), format('alter table pawl.archive_chunk detach partition %s', d.oid::regclass), false from day d where d.rest union all select format('the archive takes %s; the longest retention is %s, %s', pg_size_pretty(s.size), r.retain, coalesce('of queue ' || r.name, 'the default')), 'keep finished jobs for less time (pawl queue set); jobs with a retention of zero are not kept at all', false from (select sum(d.size) as size from day d) s, lateral ( select q.name, greatest(q.retain_completed, q.retain_cancelled) as retain from pawl.queue q where greatest(q.retain_completed, q.retain_cancelled) > '1 day' union all select null, '1 day' order by 2 desc nulls last limit 1 ) r where s.size > $1::bigint;
-- takes 
-- gives 

-- autovacuum: autovacuum is off, for the server or for a table. select format('autovacuum is off (%s): dead rows stay, and every statement reads past more of them', s.source), 'alter system set autovacuum = on; select pg_reload_conf()', false from pg_settings s where s.name = 'autovacuum' and s.setting = 'off' union all select format('track_counts is off (%s): autovacuum does not see dead rows, and does nothing', s.source), 'alter system set track_counts = on; select pg_reload_conf()', false from pg_settings s where s.name = 'track_counts' and s.setting = 'off' union all select format('autovacuum is off for table %s: its dead rows stay, and every statement reads past more of them', c.relname), format('alter table %s reset (autovacuum_enabled)', c.oid::regclass), false from pg_class c, unnest(c.reloptions) as o (setting) where c.relnamespace = (select k.relnamespace from pg_class k where k.oid = 'pawl.job'::regclass) and o.setting ~ '^autovacuum_enabled=(false|off|0|no)$';
-- takes 
-- gives 

-- bloat: tables and indexes that are ten times larger than their contents need. An estimate from planner statistics. -- $1 the size in bytes from which on they are reported -- A long queue leaves free space behind, and the next long queue uses it again: less than ten times is normal. with part as ( select c.oid, c.relname, c.relkind, pg_relation_size(c.oid) as size, greatest(c.reltuples, s.n_live_tup, 0) * case when c.relkind = 'r' then 32 + (select coalesce(sum(p.avg_width), 200) from pg_stats p where p.schemaname = s.schemaname and p.tablename = s.relname) else 16 + (select coalesce(sum(coalesce(p.avg_width, 16)), 16) from pg_attribute a left join pg_stats p on p.schemaname = s.schemaname and p.tablename = s.relname and p.attname = a.attname where a.attrelid = c.oid) end as need from pg_class c left join pg_index i on i.indexrelid = c.oid join pg_stat_user_tables s on s.relid = coalesce(i.indrelid, c.oid) join pg_am m on m.oid = c.relam and m.amname in ('heap', 'btree') where c.relnamespace = (select k.relnamespace from pg_class k where k.oid = 'pawl.job'::regclass) and c.relkind in ('r', 'i') ) select format('%s %s takes %s; its contents need about %s', case when p.relkind = 'r' then 'table' else 'index' end, p.relname, pg_size_pretty(p.size), pg_size_pretty(p.need::bigint)), case when p.relkind = 'i' then format('reindex index concurrently %s', p.oid::regclass) else format('the next long queue uses the space again; to return it to the system: vacuum full %s, ' || 'which stops the queue while it runs', p.oid::regclass) end, false from part p where p.size > $1::bigint and p.size > 10 * p.need order by p.size desc;
-- takes 
-- gives 

-- dead: tables with many dead rows that were not vacuumed for long. -- $1 how long is long select format('table %s has %s dead rows beside %s live ones, and was not vacuumed %s', t.relname, t.n_dead_tup, t.n_live_tup, coalesce('since ' || v.at::timestamptz(0), 'yet')), format('vacuum %s; if the rows stay, a transaction holds back vacuum (check xmin), or there are too few ' || 'autovacuum workers (autovacuum_max_workers)', t.relid::regclass), false from pg_stat_user_tables t, lateral (select greatest(t.last_vacuum, t.last_autovacuum) as at) v where t.relid in (select c.oid from pg_class c where c.relnamespace = (select k.relnamespace from pg_class k where k.oid = 'pawl.job'::regclass)) and t.n_dead_tup > greatest(100000, t.n_live_tup / 2) and clock_timestamp() - greatest(v.at, pg_postmaster_start_time(), (select max(m.applied_at) from pawl.migration m)) > $1::interval order by t.n_dead_tup desc;
-- takes 
-- gives 

-- followup: follow-ups of finished jobs that failed, and were put aside or are tried again. One row for each error. select format('the follow-ups of %s finished jobs %s (such as job %s%s): %s', count(*), case when f.aside then 'were put aside because they failed' else 'failed and are tried again' end, min(f.job_id), coalesce(', batch ' || min(f.batch), ''), f.error), 'remove the cause, then: pawl verify --repair', f.aside from (select l.id < 0 as aside, l.job_id, l.batch, l.error from pawl.followup l where l.error is not null) f group by f.aside, f.error order by count(*) desc limit 10;
-- takes 
-- gives 

-- halted_channel: ordered channels that are halted behind a dead job; of each queue the oldest. select format('channel %s of queue %s has been halted since %s by the dead job %s; jobs waiting behind it: %s%s', h.channel, h.queue, h.halted_at::timestamptz(0), h.job_id, (select count(*) from (select from pawl.ordered_job t where t.queue = h.queue and t.channel = h.channel limit 10000) t), case when h.others > 0 then format('. Other halted channels of the queue: %s', h.others) end), format('retry the job: pawl job retry %s; or continue without it: select pawl.resume_channel(%L, %L)', h.job_id, h.queue, h.channel), true from ( select h.*, count(*) over (partition by h.queue) - 1 as others, row_number() over (partition by h.queue order by h.halted_at) as nth from pawl.halted_channel h ) h where h.nth = 1;
-- takes 
-- gives 

-- lock: sessions that hold a lock on a whole table that blocks writers. -- $1 the age of the transaction from which on it is reported select format('session %s of %s (%s, %s) has locked table %s since %s or before (%s): %s wait for it', a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no application name'), coalesce(a.state, 'state unknown'), string_agg(distinct c.relname, ', '), max(a.state_change)::timestamptz(0), string_agg(distinct l.mode, ', '), case when bool_or(l.mode = 'AccessExclusiveLock') then 'readers and writers' else 'writers' end), format('end it: select pg_terminate_backend(%s)', a.pid), true from pg_locks l join pg_class c on c.oid = l.relation join pg_stat_activity a on a.pid = l.pid where l.database = (select d.oid from pg_database d where d.datname = current_database()) and c.relnamespace = (select k.relnamespace from pg_class k where k.oid = to_regclass('pawl.job')) and l.granted and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') and l.pid <> pg_backend_pid() and clock_timestamp() - a.xact_start > $1::interval group by a.pid, a.usename, a.application_name, a.state;
-- takes 
-- gives 

-- outside a transaction create index concurrently dead_kind on pawl.dead (kind, id);;
-- takes 
-- gives 

-- outside a transaction create index concurrently job_kind on pawl.job (kind, id);;
-- takes 
-- gives 

-- overdue: maintenance tasks that are late: rescue, cron, reservations, retention of dead jobs. Every worker and every -- maintenance process does each of them within seconds. with lost as ( select l.id, l.worker_id, coalesce(l.expires_at, w.gone_at, w.seen_at + w.stale_after) as since, cardinality(l.jobs) as jobs from pawl.lease l left join pawl.worker w on w.id = l.worker_id where l.jobs <> '{}' and clock_timestamp() - case when l.worker_id is null then l.expires_at else coalesce(w.gone_at, greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after) end > interval '1 minute' ) select format('no worker has rescued %s since %s or later, with up to %s%s', case count(*) when 1 then '1 lost lease' else count(*) || ' lost leases' end, min(l.since)::timestamptz(0), case sum(l.jobs) when 1 then '1 job' else sum(l.jobs) || ' jobs' end, coalesce('; of ' || (select string_agg(format('worker %s (%s)', w.id, w.name), ', ' order by w.id) from pawl.worker w where w.id = any (array_agg(l.worker_id))), '')), 'run a worker or pawl serve; if one runs, read its log and look for sessions that lock jobs ' || '(pg_stat_activity, idle in transaction)', true from lost l having count(*) > 0 union all select format('%s been due since %s: %s', case count(*) when 1 then '1 cron schedule has' else count(*) || ' cron schedules have' end, min(c.next_at)::timestamptz(0), (array_agg(c.name order by c.next_at))[1]), 'run a worker or pawl serve; if one runs, read its log: it may not know the time zone', true from pawl.cron c where not c.paused and c.next_at < clock_timestamp() - interval '1 minute' having count(*) > 0 union all select format('no worker has removed %s since %s: %s', case count(*) when 1 then '1 expired reservation' else count(*) || ' expired reservations' end, min(p.expires_at)::timestamptz(0), case count(*) when 1 then '' else 'such as ' end || 'job ' || min(p.job_id)), 'run a worker or pawl serve', false from pawl.blocked p where p.expires_at < clock_timestamp() - interval '1 minute' having count(*) > 0 union all select format('no worker has removed dead jobs past their retention since %s', min(d.expires_at)::timestamptz(0)), 'run a worker or pawl serve', false from pawl.dead d where d.expires_at < clock_timestamp() - interval '1 day' having count(*) > 0;
-- takes 
-- gives 

-- partition: days that the archive needs and has no partition for. Needed are the days until which jobs are kept that -- finish within the next 24 hours. Maintenance makes partitions a week ahead. -- Returns the partition's name, its day, whether it is needed now, and whether a table of that name exists. select 'archive_' || to_char(d.day, 'YYYYMMDD'), d.day, bool_or(d.now), to_regclass('pawl.archive_' || to_char(d.day, 'YYYYMMDD')) is not null from ( select interval '1 day' union select q.retain_completed from pawl.queue q union select q.retain_cancelled from pawl.queue q ) r (retain) cross join generate_series(0, 1) n (days) cross join lateral ( select ((clock_timestamp() + r.retain) at time zone 'UTC')::date + n.days as day, n.days = 0 as now ) d where r.retain > '0' and not exists ( select from pg_inherits i join pg_class k on k.oid = i.inhrelid where i.inhparent = 'pawl.archive_chunk'::regclass and not i.inhdetachpending and k.relname = 'archive_' || to_char(d.day, 'YYYYMMDD') ) group by d.day order by d.day;
-- takes 
-- gives 

-- policy: queues whose policy has a rate, weights or a backoff that PutQueue would not store. select format('the %s of queue %s cannot be read: %s%s', p.field, q.name, left(p.value::text, 200), case when p.field like '%rate' then '; no job of the queue starts' else '; the default is used' end), format('store the policy again: pawl queue set %s', q.name), p.field like '%rate' from pawl.queue q, lateral ( values ('rate', q.rate, pawl.is_rate(q.rate)), ('channel rate', q.channel_rate, pawl.is_rate(q.channel_rate)), ('weights', q.weights, coalesce(( select bool_and(w.value::text ~ '^[1-9][0-9]{0,3}$') from jsonb_each(case when jsonb_typeof(q.weights) = 'object' then q.weights else '{"": 0}' end) w), true)), ('backoff', q.backoff, coalesce(( select bool_and(jsonb_typeof(b.value) = 'number') from jsonb_each(case when jsonb_typeof(q.backoff) = 'object' then q.backoff else '{"": ""}' end) b), true)) ) p (field, value, fine) where p.value is not null and not p.fine;
-- takes 
-- gives 

-- queue: queues whose oldest due job has waited for long, and why no worker runs it. -- $1 how long is long -- As cheap as queue_stats, which counts the jobs. with late as ( select s.queue, s.ready, s.scheduled, s.running, s.estimated, greatest(s.oldest_ready, s.lag) * interval '1 second' as waited, q.paused, q.max_running, q.rate, (select count(*) from pawl.permit p where p.queue = s.queue) as permits from pawl.queue_stats(1000) s left join pawl.queue q on q.name = s.queue where greatest(s.oldest_ready, s.lag) * interval '1 second' > $1::interval ), seen as ( select l.*, w.word, format('queue %s: its oldest due job has waited since %s, for %s (%s%s ready, %s scheduled)', w.word, (clock_timestamp() - l.waited)::timestamptz(0), date_trunc('second', l.waited), case when l.estimated then 'about ' else '' end, l.ready, l.scheduled) as problem, v.workers, v.busy, v.not_ready, v.suspended from late l, lateral ( -- The queue's name, quoted for a shell. select case when l.queue ~ '^[A-Za-z0-9_.:-]+$' then l.queue else '''' || replace(l.queue, '''', format('''%s''''', chr(92))) || '''' end as word ) w, lateral ( select count(*) filter (where w.state = 'ready') as workers, coalesce(sum(w.running) filter (where w.state = 'ready'), 0) as busy, string_agg(format('worker %s (%s) is %s', w.id, w.name, w.state), ', ' order by w.id) filter (where w.state <> 'ready') as not_ready, string_agg(w.id::text, ' ' order by w.id) filter (where w.state = 'suspended') as suspended from pawl.worker w where w.gone_at is null and clock_timestamp() < greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after and (w.queues is null or l.queue = any (w.queues)) ) v ) select case w.why when 'paused' then s.problem || ': the queue is paused' when 'limit' then format('%s: its limit of %s running jobs is used up%s', s.problem, s.max_running, coalesce(( select ' by ' || string_agg(format('job %s', p.job_id), ', ' order by p.job_id) from (select p.job_id from pawl.permit p where p.queue = s.queue order by p.job_id limit 5) p), '')) when 'rate' then format('%s: with its rate of %s jobs in %s s the next job starts in %s', s.problem, s.rate ->> 'n', s.rate ->> 'per', date_trunc('second', r.wait)) when 'unserved' then format('%s: no worker serves it%s', s.problem, coalesce('; ' || s.not_ready, '')) when 'idle' then format('%s: %s, and no job runs', s.problem, case s.workers when 1 then '1 worker serves it' else s.workers || ' workers serve it' end) end, case when w.why = 'paused' then format('pawl queue resume %s', s.word) when w.why = 'limit' then format('pawl queue set %s --max-running %s; if those jobs are not running: ' || 'pawl verify --repair', s.word, greatest(2 * s.max_running, 1)) when w.why = 'rate' then format('pawl queue set %s --rate none, or a higher rate', s.word) when w.why = 'idle' then 'read the logs of its workers, then run pawl verify' when s.suspended is not null then format('pawl worker resume %s', s.suspended) else format('run a worker with the queue in RunnerConfig.Queues, or without such a list; ' || 'or run pawl consume %s -- PROGRAM', s.word) end, w.why in ('unserved', 'idle') from seen s left join lateral ( select greatest(1 - pawl.available_tokens(s.queue, false, '', s.rate), 0) * (s.rate ->> 'per')::double precision / nullif((s.rate ->> 'n')::double precision, 0) * interval '1 second' as wait where s.rate is not null ) r on true cross join lateral ( select case when s.paused then 'paused' when s.max_running <= s.permits then 'limit' when r.wait > $1::interval then 'rate' when s.running > 0 or s.busy > 0 then null when s.workers = 0 then 'unserved' else 'idle' end as why ) w where w.why is not null order by s.waited desc;
-- takes 
-- gives 

-- sequence: sequences that are near their end. They do not wrap. select format('sequence %s has %s numbers left of %s: inserts will fail when they are used up', s.sequencename, s.max_value - s.last_value, s.max_value), 'move to a new installation, in another schema or database, before they are used up', true from pg_sequences s where s.schemaname = (select n.nspname from pg_class k join pg_namespace n on n.oid = k.relnamespace where k.oid = 'pawl.job'::regclass) and s.last_value > s.max_value / 10 * 9;
-- takes 
-- gives 

-- unprocessable: queues whose jobs died lately because the database or the handler could not read them. -- It looks at the 1,000 dead jobs that are kept the longest, through dead_expires_at, so that it is as cheap as the -- other checks. select format('queue %s: %s job%s died as unprocessable in the last 7 days, such as job %s; the last one %s ago', u.queue, u.n, case when u.n > 1 then 's' end, u.id, date_trunc('second', clock_timestamp() - u.at)), format('read its error: pawl dead show %s; fix the cause, such as a changed type, a missing key of the codec or ' 'a broken disk; then retry the jobs, or purge them', u.id), false from ( select d.queue, count(*) as n, max(d.id) as id, max(d.finished_at) as at from (select d.* from pawl.dead d order by d.expires_at desc limit 1000) d where d.reason = 'unprocessable' and isfinite(d.finished_at) and d.finished_at > clock_timestamp() - interval '7 days' group by d.queue ) u order by u.n desc, u.queue limit 20;
-- takes 
-- gives 

-- worker: live workers of different versions, heartbeats in the future, stuck handlers, and work that fails. with live as ( select w.id, w.name, w.version, w.seen_at from pawl.worker w where w.gone_at is null and clock_timestamp() < greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after ) select format('workers of %s versions run side by side: %s', count(*), string_agg(v.workers, '; ' order by v.version)), 'expected during a rolling upgrade; after it, stop the old workers: pawl worker stop ID', false from ( select l.version, format('%s (%s, such as worker %s, %s)', l.version, case count(*) when 1 then '1 worker' else count(*) || ' workers' end, min(l.id), (array_agg(l.name order by l.id))[1]) as workers from live l group by l.version ) v having count(*) > 1 union all select format('worker %s (%s) has its last heartbeat in the future, at %s: the database''s clock was set back, or a ' || 'server with a slower clock has taken over. Until then a lost worker is not noticed', w.id, w.name, w.seen_at::timestamptz(0)), format('if the worker is gone: pawl worker release %s', w.id), false from pawl.worker w where w.gone_at is null and w.seen_at > clock_timestamp() + interval '5 seconds' union all select format('worker %s (%s) has %s stuck handlers, which did not return after their contexts had ended: %s. Each keeps ' || 'its place among the worker''s jobs, unless its kind lets it be replaced', w.id, w.name, cardinality(w.stuck), k.kinds), 'read the stacks in the worker''s log, let these handlers end with their contexts, and restart the worker', false from pawl.worker w, lateral ( select string_agg(format('%s of kind %s', k.n, k.kind), ', ' order by k.n desc, k.kind) as kinds from (select s.kind, count(*) as n from unnest(w.stuck) as s (kind) group by s.kind order by n desc, s.kind limit 5) k ) k where w.gone_at is null and w.stuck is not null union all select format('worker %s (%s) is alive, but %s', w.id, w.name, w.problem), 'mend the cause that the error names; the worker tries again by itself', true from pawl.worker w where w.gone_at is null and w.problem is not null;
-- takes 
-- gives 

CREATE INDEX CONCURRENTLY job_fingerprint ON pawl.job USING btree (fingerprint, id) WHERE (fingerprint IS NOT NULL);
-- takes 
-- gives 

CREATE INDEX archive_chunk_min_id ON ONLY pawl.archive_chunk USING btree (min_id, max_id);
-- takes 
-- gives 

CREATE UNIQUE INDEX CONCURRENTLY ordered_job_job_id ON pawl.ordered_job USING btree (job_id);
-- takes 
-- gives 

CREATE UNIQUE INDEX CONCURRENTLY ready_pkey ON pawl.ready USING btree (queue, priority, channel, pos);
-- takes 
-- gives 

alter index pawl.archive_chunk_min_id attach partition pawl.archive_20200229_min_id;
-- takes 
-- gives 

alter sequence pawl.pos cache 1;
-- takes 
-- gives 

alter table pawl.ready add constraint ready_pkey primary key using index ready_pkey;
-- takes 
-- gives 

copy pawl.job (id, created_at, run_at, epoch, priority, max_attempts, queue, channel, kind, args, data, fingerprint, opts) from stdin;
-- takes bigint, timestamp with time zone, timestamp with time zone, integer, smallint, smallint, text, text, text, jsonb, bytea, text, jsonb
-- gives 

copy pawl.ready (pos, job_id, epoch, priority, queue, channel) from stdin;
-- takes bigint, bigint, integer, integer, text, text
-- gives 

copy pawl.scheduled (run_at, job_id, epoch, queue) from stdin;
-- takes timestamp with time zone, bigint, integer, text
-- gives 

create index concurrently archive_20200229_min_id on pawl.archive_20200229 using btree (min_id, max_id);
-- takes 
-- gives 

delete from pawl.cron where name = $1::text returning true;
-- takes text
-- gives ?column? boolean

delete from pawl.worker w where w.gone_at < clock_timestamp() - $1::interval and ($2::bigint[] is null or w.id = any ($2::bigint[])) and not exists (select from pawl.lease l where l.worker_id = w.id) returning w.id;
-- takes interval, bigint[]
-- gives id bigint

insert into pawl.queue (name, paused) values ($1::text, $2::boolean) on conflict (name) do update set paused = excluded.paused;
-- takes text, boolean
-- gives 

insert into pawl.queue as q (name, max_attempts, backoff, lease, retain_completed, retain_cancelled, retain_dead, halt_on_dead, max_running, channel_max_running, rate, channel_rate, weights) values ($1::text, $2::smallint, $3::text::jsonb, $4::interval, $5::interval, $6::interval, $7::interval, $8::boolean, $9::integer, $10::integer, $11::text::jsonb, $12::text::jsonb, $13::text::jsonb) on conflict (name) do update set max_attempts = excluded.max_attempts, backoff = excluded.backoff, lease = excluded.lease, retain_completed = excluded.retain_completed, retain_cancelled = excluded.retain_cancelled, retain_dead = excluded.retain_dead, halt_on_dead = excluded.halt_on_dead, max_running = excluded.max_running, channel_max_running = excluded.channel_max_running, rate = excluded.rate, channel_rate = excluded.channel_rate, weights = excluded.weights;
-- takes text, smallint, text, interval, interval, interval, interval, boolean, integer, integer, text, text, text
-- gives 

reindex index concurrently pawl.dead_queue;
-- takes 
-- gives 

select * from pawl.bury_unreadable($1::integer, $2::text[], $3::integer[], $4::text[], $5::bigint[], $6::bigint[], $7::integer[]);
-- takes integer, text[], integer[], text[], bigint[], bigint[], integer[]
-- gives id bigint, queue text, lane integer, channel text, pos bigint, problem text

select * from pawl.channel_stats($1::text, $2::integer);
-- takes text, integer
-- gives channel text, reserved bigint, scheduled bigint, ready bigint, running bigint, dead bigint, estimated boolean, oldest_ready double precision, lag double precision

select * from pawl.claim($1::uuid, $2::bigint, $3::interval, $4::integer, $5::text[], $6::integer[], $7::text[], $8::bigint[], $9::bigint[], $10::integer[]);
-- takes uuid, bigint, interval, integer, text[], integer[], text[], bigint[], bigint[], integer[]
-- gives queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean, permit boolean, created_at timestamp with time zone, run_at timestamp with time zone, fingerprint text, unique_key text, opts jsonb, errors jsonb, checkpoint jsonb, now timestamp with time zone

select * from pawl.claim_bounded($1::uuid, $2::bigint, $3::interval, $4::integer, $5::text[], $6::integer[], $7::text[], $8::bigint[], $9::bigint[], $10::integer[]);
-- takes uuid, bigint, interval, integer, text[], integer[], text[], bigint[], bigint[], integer[]
-- gives queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean, permit boolean, created_at timestamp with time zone, run_at timestamp with time zone, fingerprint text, unique_key text, opts jsonb, errors jsonb, checkpoint jsonb, now timestamp with time zone

select * from pawl.claim_readable($1::uuid, $2::bigint, $3::interval, $4::integer, $5::text[], $6::integer[], $7::text[], $8::bigint[], $9::bigint[], $10::integer[]);
-- takes uuid, bigint, interval, integer, text[], integer[], text[], bigint[], bigint[], integer[]
-- gives queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean, permit boolean, created_at timestamp with time zone, run_at timestamp with time zone, fingerprint text, unique_key text, opts jsonb, errors jsonb, checkpoint jsonb, now timestamp with time zone

select * from pawl.complete_isolated($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::text, $7::bigint[]);
-- takes bigint[], integer[], bigint[], bigint[], text[], text, bigint[]
-- gives id bigint, problem text

select * from pawl.discover_lanes($1::text[], $2::integer[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::boolean, $9::integer);
-- takes text[], integer[], text[], text[], integer[], text[], text[], boolean, integer
-- gives queue text, priority integer, channel text

select * from pawl.extend($1::bigint[], $2::integer[], $3::uuid[], $4::uuid, $5::interval);
-- takes bigint[], integer[], uuid[], uuid, interval
-- gives id bigint, lease uuid

select * from pawl.fail($1::bigint[], $2::integer[], $3::text[], $4::double precision[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::text);
-- takes bigint[], integer[], text[], double precision[], text[], text[], bigint[], bigint[], text
-- gives id bigint, became text

select * from pawl.find_tickets($1::text, $2::text[], $3::integer);
-- takes text, text[], integer
-- gives priority integer, channel text, pos bigint, id bigint

select * from pawl.get($1::bigint[]);
-- takes bigint[]
-- gives id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, created_at timestamp with time zone, run_at timestamp with time zone, finished_at timestamp with time zone, waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb

select * from pawl.insert_constrained($1::text::jsonb, $2::text[]::jsonb[], $3::bytea[]);
-- takes text, text[], bytea[]
-- gives id bigint, duplicate boolean

select * from pawl.list($1::text::jsonb, $2::bigint, $3::integer);
-- takes text, bigint, integer
-- gives id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, created_at timestamp with time zone, run_at timestamp with time zone, finished_at timestamp with time zone, waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb

select * from pawl.peek($1::text[]);
-- takes text[]
-- gives ready boolean, wait double precision

select * from pawl.promote($1::text[], $2::timestamptz[], $3::integer);
-- takes text[], timestamp with time zone[], integer
-- gives queue text, moved bigint, due boolean, wait double precision, moment timestamp with time zone

select * from pawl.read_jobs($1::bigint[], null, null, null);
-- takes bigint[]
-- gives unreadable text, id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, created_at timestamp with time zone, run_at timestamp with time zone, finished_at timestamp with time zone, waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb

select * from pawl.read_jobs(null, $1::text::jsonb, $2::bigint, $3::integer);
-- takes text, bigint, integer
-- gives unreadable text, id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, created_at timestamp with time zone, run_at timestamp with time zone, finished_at timestamp with time zone, waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb

select * from pawl.rescue($1::integer, $2::boolean, $3::boolean);
-- takes integer, boolean, boolean
-- gives workers bigint, leases bigint, jobs bigint, poisoned bigint

select * from pawl.restore_lost($1::bigint, $2::integer);
-- takes bigint, integer
-- gives reached bigint, restored bigint

select * from pawl.run_followups($1::integer);
-- takes integer
-- gives settled integer, left integer, more boolean

select * from pawl.system_stats();
-- takes 
-- gives now timestamp with time zone, workers bigint, stale bigint, version integer, xmin_age double precision, semaphores jsonb, stuck bigint

select * from pawl.table_stats();
-- takes 
-- gives name text, live bigint, dead bigint, bytes bigint, vacuumed timestamp with time zone

select * from pawl.take_cron($1::text[], $2::text[], $3::text[]);
-- takes text[], text[], text[]
-- gives name text, spec text, zone text, job text, jitter double precision, catch_up integer, last_at timestamp with time zone, next_at timestamp with time zone, moment timestamp with time zone

select * from pawl.update($1::bigint[], $2::text::jsonb);
-- takes bigint[], text
-- gives id bigint, became text

select b.*, pawl.worker_started_at($1::bigint) from pawl.heartbeat($1::bigint, $2::integer, $3::bigint[], $4::integer[], $5::text[], $6::text) b;
-- takes bigint, integer, bigint[], integer[], text[], text
-- gives state text, missing bigint[], worker_started_at timestamp with time zone

select b.total, b.completed, b.cancelled, b.dead, b.created_at, b.finished_at from pawl.batch b where b.id = $1::bigint;
-- takes bigint
-- gives total integer, completed integer, cancelled integer, dead integer, created_at timestamp with time zone, finished_at timestamp with time zone

select case when has_table_privilege('pawl.job', 'insert') then array(select nextval('pawl.pos') from generate_series(1, $1::int)) end;
-- takes integer
-- gives case bigint[]

select coalesce(max(m.version), 0) from pawl.migration m;
-- takes 
-- gives coalesce integer

select coalesce(max(version), 0) from pawl."migration";
-- takes 
-- gives coalesce integer

select count(pawl.unclaim(l.id)) from pawl.lease l where l.id = any ($1::text[]::uuid[]) and case when l.worker_id is null then l.expires_at is null else not exists (select from pawl.worker w where w.id = l.worker_id) end;
-- takes text[]
-- gives count bigint

select count(pg_advisory_lock_shared(pawl.await_key(nullif(k, '')::bigint))::text) from unnest($1::text[]) k where pg_backend_pid() = $2::bigint;
-- takes text[], bigint
-- gives count bigint

select count(pg_advisory_lock_shared(pawl.sleep_key(k))::text) from unnest($1::text[]) k where pg_backend_pid() = $2::bigint;
-- takes text[], bigint
-- gives count bigint

select count(pg_advisory_unlock_shared(pawl.sleep_key(k))::text) from unnest($1::text[]) k where pg_backend_pid() = $2::bigint;
-- takes text[], bigint
-- gives count bigint

select exists (select from pawl.get($1::bigint[]));
-- takes bigint[]
-- gives exists boolean

select exists (select from pawl.job where id = $1::bigint);
-- takes bigint
-- gives exists boolean

select exists (select from pawl.queue q where q.name = $1::text) or exists (select from pawl.worker w where w.gone_at is null and $1::text = any (w.queues));
-- takes text
-- gives ?column? boolean

select f.id, f.state from pawl.find_finished($1::bigint[], $2::integer[]) f;
-- takes bigint[], integer[]
-- gives id bigint, state text

select h.channel from pawl.halted_channel h where h.queue = $1::text;
-- takes text
-- gives channel text

select h.epoch, h.crashes, h.constrained, h.permit, h.lease::text, h.until, h.shared, h.now, g.* from pawl.claimed($1::bigint[]) h join pawl.get($1::bigint[]) g on g.id = h.id;
-- takes bigint[]
-- gives epoch integer, crashes smallint, constrained boolean, permit boolean, lease text, until timestamp with time zone, shared integer, now timestamp with time zone, id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, created_at timestamp with time zone, run_at timestamp with time zone, finished_at timestamp with time zone, waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb

select id from pawl.list($1::text::jsonb, $2::bigint, $3::integer);
-- takes text, bigint, integer
-- gives id bigint

select id from unnest(pawl.find_missing($1::bigint[], $2::integer[])) id;
-- takes bigint[], integer[]
-- gives id bigint

select id::text from pawl.worker_leases($1::bigint) id;
-- takes bigint
-- gives id text

select job::text, clock_timestamp() from pawl.cron where name = $1::text;
-- takes text
-- gives job text, clock_timestamp timestamp with time zone

select json_build_object( 'reserved_until', (select b.expires_at from pawl.blocked b where b.job_id = j.id), 'head', coalesce(( select nullif(head.job_id, j.id) from pawl.ordered_job o, lateral ( select h.job_id from pawl.ordered_job h where h.queue = o.queue and h.channel = o.channel order by h.pos limit 1 ) head where o.job_id = j.id), 0), 'halted', exists ( select from pawl.ordered_job o join pawl.halted_channel h on h.queue = o.queue and h.channel = o.channel where o.job_id = j.id), 'after_ok', array( select d.parent_id from pawl.dependency d where d.child_id = j.id and d.on_state = 'ok' order by 1), 'after_any', array( select d.parent_id from pawl.dependency d where d.child_id = j.id and d.on_state = 'any' order by 1), 'after_not_ok', array( select d.parent_id from pawl.dependency d where d.child_id = j.id and d.on_state = 'not_ok' order by 1), 'followers', array( select distinct d.child_id from pawl.dependency d where d.parent_id = j.id order by 1 limit 1000))::text from pawl.job j where j.id = $1::bigint;
-- takes bigint
-- gives json_build_object text

select k.relname::text from pg_inherits t join pg_class k on k.oid = t.inhrelid where t.inhparent = 'pawl.archive_chunk'::regclass and not exists (select from pg_inherits x join pg_index i on i.indexrelid = x.inhrelid where x.inhparent = to_regclass($1::text) and i.indrelid = k.oid);
-- takes text
-- gives relname text

select k.relname::text, i.inhdetachpending, pg_has_role(k.relowner, 'usage'), (clock_timestamp() at time zone 'UTC')::date from pg_inherits i join pg_class k on k.oid = i.inhrelid where i.inhparent = 'pawl.archive_chunk'::regclass;
-- takes 
-- gives relname text, inhdetachpending boolean, pg_has_role boolean, timezone date

select last_value from pawl.pos;
-- takes 
-- gives last_value bigint

select m.ord, m.low_pos, m.low_at, m.oldest, m.next, case when m.ord = 0 then pg_postmaster_start_time()::text || ' ' || 'pawl.ready'::regclass::oid::text end from pawl.read_marks($1::text[], $2::integer[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::timestamptz[], $8::bigint[]) m;
-- takes text[], integer[], text[], bigint[], bigint[], text[], timestamp with time zone[], bigint[]
-- gives ord bigint, low_pos bigint, low_at timestamp with time zone, oldest bigint, next bigint, case text

select name, spec, zone, job::text, extract(epoch from jitter)::double precision, catch_up, version, paused, case when isfinite(last_at) then last_at end, greatest('0001-01-01 00:00:00+00', least('9999-12-31 00:00:00+00', next_at)) from pawl.cron order by name;
-- takes 
-- gives name text, spec text, zone text, job text, extract double precision, catch_up integer, version integer, paused boolean, case timestamp with time zone, greatest timestamp with time zone

select name, weights::text from pawl.queue where weights is not null;
-- takes 
-- gives name text, weights text

select nextval('pawl.pos');
-- takes 
-- gives nextval bigint

select pawl.abort_reserved($1::bigint[]);
-- takes bigint[]
-- gives abort_reserved void

select pawl.acquire_permits($1::text[], $2::integer, $3::bigint, $4::uuid);
-- takes text[], integer, bigint, uuid
-- gives acquire_permits boolean

select pawl.add_mutexes('limit', array[$1::text], array['']);
-- takes text
-- gives add_mutexes void

select pawl.advance_sequence() from (select $1::bigint[]) u;
-- takes bigint[]
-- gives advance_sequence bigint

select pawl.apply_retention($1::integer);
-- takes integer
-- gives apply_retention bigint

select pawl.bury($1::bigint, $2::integer, $3::text);
-- takes bigint, integer, text
-- gives bury boolean

select pawl.checkpoint($1::bigint, $2::integer, $3::text::jsonb);
-- takes bigint, integer, text
-- gives checkpoint boolean

select pawl.clear_leftovers($1::bigint[]);
-- takes bigint[]
-- gives clear_leftovers bigint

select pawl.close_batch($1::bigint);
-- takes bigint
-- gives close_batch void

select pawl.commit_reserved($1::bigint[]);
-- takes bigint[]
-- gives commit_reserved void

select pawl.complete($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::text, $7::bigint[], $8::uuid[]);
-- takes bigint[], integer[], bigint[], bigint[], text[], text, bigint[], uuid[]
-- gives complete bigint

select pawl.count($1::text::jsonb, $2::bigint, $3::bigint);
-- takes text, bigint, bigint
-- gives count bigint

select pawl.delete_queue($1::text);
-- takes text
-- gives delete_queue text

select pawl.drop_partition($1::date);
-- takes date
-- gives drop_partition void

select pawl.drop_stale_permits();
-- takes 
-- gives drop_stale_permits bigint

select pawl.due_cron($1::text[], $2::text[], $3::text[]);
-- takes text[], text[], text[]
-- gives due_cron double precision

select pawl.end_leases($1::uuid[]);
-- takes uuid[]
-- gives end_leases void

select pawl.expire($1::integer);
-- takes integer
-- gives expire bigint

select pawl.extend_reserved($1::bigint[], $2::interval);
-- takes bigint[], interval
-- gives extend_reserved void

select pawl.free_permits($1::bigint[], $2::uuid[]);
-- takes bigint[], uuid[]
-- gives free_permits void

select pawl.heartbeat($1::bigint);
-- takes bigint
-- gives heartbeat text

select pawl.insert($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::bytea[], $7::double precision[], $8::timestamptz[], $9::smallint[], $10::text[], $11::text[]);
-- takes text[], text[], smallint[], text[], text[], bytea[], double precision[], timestamp with time zone[], smallint[], text[], text[]
-- gives insert bigint

select pawl.insert_batch($1::bigint, $2::text::jsonb, $3::text::jsonb, $4::text::jsonb);
-- takes bigint, text, text, text
-- gives insert_batch void

select pawl.lock_jobs($1::bigint[], $2::integer[]);
-- takes bigint[], integer[]
-- gives lock_jobs bigint

select pawl.make_partitions($1::integer);
-- takes integer
-- gives make_partitions integer

select pawl.prune_mutexes($1::integer);
-- takes integer
-- gives prune_mutexes bigint

select pawl.put_cron($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]::interval[], $6::integer[], $7::integer[], $8::timestamptz[]);
-- takes text[], text[], text[], text[], text[], integer[], integer[], timestamp with time zone[]
-- gives put_cron bigint

select pawl.recount_batches($1::bigint[]);
-- takes bigint[]
-- gives recount_batches bigint

select pawl.register_worker($1::text, $2::text, $3::integer, $4::text, $5::text[], $6::interval, $7::text);
-- takes text, text, integer, text, text[], interval, text
-- gives register_worker bigint

select pawl.release_worker($1::bigint), exists (select from pawl.worker w where w.id = $1::bigint);
-- takes bigint
-- gives release_worker bigint, exists boolean

select pawl.remove($1::bigint[], $2::integer[], $3::boolean);
-- takes bigint[], integer[], boolean
-- gives remove bigint

select pawl.remove_claimed($1::bigint[], $2::integer[], $3::boolean);
-- takes bigint[], integer[], boolean
-- gives remove_claimed bigint

select pawl.report_counters($1::uuid, $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]);
-- takes uuid, text[], bigint[], bigint[], bigint[]
-- gives report_counters void

select pawl.restore_jobs($1::bigint[]);
-- takes bigint[]
-- gives restore_jobs bigint

select pawl.resume_channel($1::text, $2::text);
-- takes text, text
-- gives resume_channel boolean

select pawl.retry($1::bigint[]);
-- takes bigint[]
-- gives retry bigint

select pawl.retry_followups($1::bigint[]);
-- takes bigint[]
-- gives retry_followups bigint

select pawl.set_worker_state($1::bigint, $2::text);
-- takes bigint, text
-- gives set_worker_state text

select pawl.tick_cron($1::text, $2::timestamptz, $3::timestamptz);
-- takes text, timestamp with time zone, timestamp with time zone
-- gives tick_cron void

select pawl.unclaim($1::uuid);
-- takes uuid
-- gives unclaim bigint

select pawl.unregister_worker($1::bigint);
-- takes bigint
-- gives unregister_worker void

select pawl.wake($1::text[]);
-- takes text[]
-- gives wake integer

select pawl.wake(array[$1::text]);
-- takes text
-- gives wake integer

select pawl.worker_started_at($1::bigint);
-- takes bigint
-- gives worker_started_at timestamp with time zone

select s.*, statement_timestamp() from pawl.queue_stats($1::integer) s;
-- takes integer
-- gives queue text, reserved bigint, waiting bigint, scheduled bigint, ready bigint, running bigint, dead bigint, archived bigint, estimated boolean, archive_estimated boolean, permits bigint, oldest_ready double precision, lag double precision, newest timestamp with time zone, inserted double precision, completed double precision, failed double precision, statement_timestamp timestamp with time zone

select spec, zone, paused, clock_timestamp() from pawl.cron where name = $1::text;
-- takes text
-- gives spec text, zone text, paused boolean, clock_timestamp timestamp with time zone

select u.id from unnest($1::bigint[]) u (id) where not exists (select from pawl.job j where j.id = u.id);
-- takes bigint[]
-- gives id bigint

select u.name, coalesce(q.paused, false), q.created_at, coalesce(q.max_attempts, 0::smallint), coalesce(q.halt_on_dead, false), coalesce(q.max_running, 0), coalesce(q.channel_max_running, 0), q.backoff::text, q.rate::text, q.channel_rate::text, q.weights::text, extract(epoch from q.lease)::double precision, extract(epoch from q.retain_completed)::double precision, extract(epoch from q.retain_cancelled)::double precision, extract(epoch from q.retain_dead)::double precision from (select name from pawl.queue union select * from pawl.live_queues()) u (name) left join pawl.queue q on q.name = u.name order by u.name collate "C";
-- takes 
-- gives name text, coalesce boolean, created_at timestamp with time zone, coalesce smallint, coalesce boolean, coalesce integer, coalesce integer, backoff text, rate text, channel_rate text, weights text, extract double precision, extract double precision, extract double precision, extract double precision

select w, clock_timestamp() from pawl.register_worker($1::text, $2::text, 0, $3::text, $4::text[], $5::interval) w;
-- takes text, text, text, text[], interval
-- gives w bigint, clock_timestamp timestamp with time zone

select w.gone_at is not null, exists (select from pawl.lease l where l.worker_id = w.id) from pawl.worker w where w.id = $1::bigint;
-- takes bigint
-- gives ?column? boolean, exists boolean

select w.id, w.name, w.host, w.state, w.version, w.pid, w.running, array_to_json(w.queues)::text, w.started_at, w.seen_at, w.gone_at, w.gone_at is null and clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after, extract(epoch from clock_timestamp() - w.started_at)::double precision, extract(epoch from clock_timestamp() - w.seen_at)::double precision, extract(epoch from w.stale_after)::double precision, array_to_json(w.stuck)::text, coalesce(w.problem, '') from pawl.worker w order by w.id;
-- takes 
-- gives id bigint, name text, host text, state text, version text, pid integer, running integer, array_to_json text, started_at timestamp with time zone, seen_at timestamp with time zone, gone_at timestamp with time zone, ?column? boolean, extract double precision, extract double precision, extract double precision, array_to_json text, coalesce text

update pawl.cron set paused = false, next_at = $4::timestamptz where name = $1::text and spec = $2::text and zone = $3::text and paused returning true;
-- takes text, text, text, timestamp with time zone
-- gives ?column? boolean

update pawl.cron set paused = true where name = $1::text returning true;
-- takes text
-- gives ?column? boolean

with place as ( select t.job_id, t.epoch, 'ready' as kind, t.queue, t.channel, t.priority, t.pos, null::timestamptz as run_at from pawl.ready t union all select s.job_id, s.epoch, 'scheduled', s.queue, null, null, null, s.run_at from pawl.scheduled s union all select p.job_id, p.epoch, 'blocked', null, null, null, null, null from pawl.blocked p union all select u.id, u.epoch, 'lease', null, null, null, null, null from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch) ), placed as ( select coalesce(j.id, p.job_id) as id, j.id is not null as live, count(p.job_id) as places, bool_or(p.kind <> 'blocked') as out, bool_or(p.kind = 'ready' and (t.queue, t.channel, t.pos) <> (p.queue, p.channel, p.pos) or p.kind = 'ready' and p.priority <> all (array[j.priority, -32768, -32769]) or p.kind = 'scheduled' and (p.queue, p.run_at) is distinct from (j.queue, j.run_at)) as misplaced from pawl.job j full join place p on p.job_id = j.id and p.epoch = j.epoch cross join lateral (select j.queue, j.channel, coalesce(j.pos, j.id) as pos) t where j.id is not null or p.kind <> 'lease' group by 1, 2 ) select case when not p.live then 'ticket-stray' when p.places = 0 then 'ticket-missing' when p.places > 1 then 'ticket-twice' else 'ticket-misplaced' end, p.id, null::uuid from placed p where not p.live or p.places <> 1 or p.misplaced union all select 'ticket-blocked', p.job_id, null from pawl.blocked p where p.expires_at is null and not exists (select from pawl.dependency w where w.child_id = p.job_id) and not exists ( select from pawl.ordered_job own where own.job_id = p.job_id and (exists (select from pawl.ordered_job t where t.queue = own.queue and t.channel = own.channel and t.pos < own.pos) or exists (select from pawl.halted_channel h where h.queue = own.queue and h.channel = own.channel) or exists (select from pawl.followup l where l.ordered and l.queue = own.queue and l.channel = own.channel)) ) union all select 'ticket-out-of-order', o.job_id, null from ( select t.job_id, t.pos, min(t.pos) over (partition by t.queue, t.channel) as first_pos from pawl.ordered_job t where exists (select from pawl.job j where j.id = t.job_id) ) o where o.pos > o.first_pos and exists (select from placed p where p.id = o.job_id and p.live and p.out) union all select 'order-stray', t.job_id, null from pawl.ordered_job t where not exists (select from pawl.job j where j.id = t.job_id) and not exists (select from pawl.followup l where l.job_id = t.job_id) union all select 'order-missing', j.id, null from pawl.job j where j.opts ? 'ordered' and not exists (select from pawl.ordered_job t where t.job_id = j.id) union all select distinct 'dependency-stray', w.parent_id, null::uuid from pawl.dependency w where not exists (select from pawl.job j where j.id = w.parent_id) and not exists (select from pawl.followup l where l.job_id = w.parent_id) and not (w.keep_waiting and exists (select from pawl.dead d where d.id = w.parent_id)) union all select 'key-stray', h.job_id, null from pawl.unique_key h where h.live and not exists (select from pawl.job j where j.id = h.job_id) union all select 'key-missing', j.id, null from pawl.job j where j.unique_key is not null and not coalesce(j.opts ? 'until_start', false) and not exists (select from pawl.unique_key h where h.job_id = j.id and h.live) union all select 'job-unmarked', j.id, null from pawl.job j where not j.constrained and (j.opts ?| array['ordered', 'batch'] or j.unique_key is not null) union all select distinct 'job-unmarked', w.parent_id, null::uuid from pawl.dependency w join pawl.job j on j.id = w.parent_id where not j.constrained union all select 'job-twice', d.id, null from pawl.dead d where exists (select from pawl.job j where j.id = d.id) union all select 'job-twice', u.id, null from pawl.archive_chunk a, unnest(a.ids) as u (id) where exists (select from pawl.job j where j.id = u.id) union all select 'permit-stray', p.job_id, null from pawl.permit p where not exists (select from pawl.lease l where l.id = p.lease and p.job_id = any (l.jobs)) union all select 'lease-stray', null, l.id from pawl.lease l where case when l.worker_id is null then l.expires_at is null else not exists (select from pawl.worker w where w.id = l.worker_id) end union all select 'batch-count', b.id, null from pawl.batch b left join ( select u.batch, count(*) as n from (select (j.opts ->> 'batch')::bigint as batch from pawl.job j where j.opts ? 'batch' union all select l.batch from pawl.followup l where l.batch is not null) u group by u.batch ) c on c.batch = b.id where b.finished_at is null and b.completed + b.cancelled + b.dead + coalesce(c.n, 0) <> b.total union all select 'followup-failed', l.job_id, null from pawl.followup l where l.id < 0 union all select 'sequence-behind', m.top, null from (select max(u.id) as top from (select max(j.id) as id from pawl.job j union all select max(t.pos) from pawl.ready t union all select max(d.id) from pawl.dead d) u) m where m.top > (select s.last_value from pawl.pos s);
-- takes 
-- gives case text, id bigint, uuid uuid

listen "pawl.finished";
-- takes 
-- gives 

listen "pawl.wake";
-- takes 
-- gives 

alter table pawl.archive_chunk attach partition pawl.archive_20200229 for values from ('2020-02-29 00:00:00+00') to ('2020-03-01 00:00:00+00');
-- takes 
-- gives 

alter table pawl.archive_chunk detach partition pawl.archive_20200229 concurrently;
-- takes 
-- gives 

drop index concurrently if exists pawl.archive_20200229_min_id;
-- takes 
-- gives 

drop table if exists pawl.archive_20200229;
-- takes 
-- gives 
