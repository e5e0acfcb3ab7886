-- What a binary of schema 6 sends: $1, $2, … are parameters, the archive's day is 29 February 2020. Made by `make freeze`.

copy pawl.job (id, created_at, run_at, epoch, priority, max_attempts, queue, channel, kind, args, data, fingerprint, opts) from stdin;
-- takes bigint, timestamp with time zone, timestamp with time zone, integer, smallint, smallint, text, text, text, jsonb, bytea, text, jsonb
-- gives 

copy pawl.ready (pos, job_id, epoch, priority, queue, channel) from stdin;
-- takes bigint, bigint, integer, integer, text, text
-- gives 

copy pawl.scheduled (run_at, job_id, epoch, queue) from stdin;
-- takes timestamp with time zone, bigint, integer, text
-- gives 

delete from pawl.batch where finished_at < clock_timestamp() - interval '30 days';
-- takes 
-- gives 

delete from pawl.cron where name = $1::text returning true;
-- takes text
-- gives ?column? boolean

delete from pawl.worker w where w.gone_at < clock_timestamp() - $1::interval and not exists (select from pawl.lease l where l.worker_id = w.id) returning w.id;
-- takes interval
-- gives id bigint

delete from pawl.worker where gone_at < clock_timestamp() - interval '1 day';
-- takes 
-- gives 

insert into pawl.batch (id, total) values ($1::bigint, $2::integer);
-- takes bigint, integer
-- gives 

insert into pawl.batch (id, total, on_finish, on_success, on_death) values ($1::bigint, $2::integer, $3::text::jsonb, $4::text::jsonb, $5::text::jsonb);
-- takes bigint, integer, text, text, text
-- gives 

insert into pawl.queue (name, max_attempts, backoff, lease, retain_completed, retain_cancelled, retain_dead, halt_on_dead, max_running, channel_max_running, rate, channel_rate, weights) values ($1::text, $2::smallint, $3::text::jsonb, $4::interval, $5::interval, $6::interval, $7::interval, $8::boolean, $9::integer, $10::integer, $11::text::jsonb, $12::text::jsonb, $13::text::jsonb) on conflict (name) do update set max_attempts = excluded.max_attempts, backoff = excluded.backoff, lease = excluded.lease, retain_completed = excluded.retain_completed, retain_cancelled = excluded.retain_cancelled, retain_dead = excluded.retain_dead, halt_on_dead = excluded.halt_on_dead, max_running = excluded.max_running, channel_max_running = excluded.channel_max_running, rate = excluded.rate, channel_rate = excluded.channel_rate, weights = excluded.weights;
-- takes text, smallint, text, interval, interval, interval, interval, boolean, integer, integer, text, text, text
-- gives 

insert into pawl.queue (name, paused) values ($1::text, $2::boolean) on conflict (name) do update set paused = excluded.paused;
-- takes text, boolean
-- gives 

select * from pawl.beat($1::bigint, $2::integer, $3::bigint[], $4::integer[]);
-- takes bigint, integer, bigint[], integer[]
-- gives state text, missing bigint[]

select * from pawl.change($1::bigint[], $2::text::jsonb);
-- takes bigint[], text
-- gives id bigint, became text

select * from pawl.channel_stats($1::text, $2::integer);
-- takes text, integer
-- gives channel text, reserved bigint, scheduled bigint, ready bigint, running bigint, dead bigint, estimated boolean, oldest_ready double precision, lag double precision

select * from pawl.claim($1::uuid, $2::bigint, $3::interval, $4::integer, $5::text[], $6::integer[], $7::text[], $8::bigint[], $9::bigint[], $10::integer[]);
-- takes uuid, bigint, interval, integer, text[], integer[], text[], bigint[], bigint[], integer[]
-- gives queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, strikes smallint, tied boolean, permit boolean, created_at timestamp with time zone, run_at timestamp with time zone, fingerprint text, unique_key text, opts jsonb, errors jsonb, checkpoint jsonb, now timestamp with time zone

select * from pawl.extend($1::bigint[], $2::integer[], $3::uuid[], $4::uuid, $5::interval);
-- takes bigint[], integer[], uuid[], uuid, interval
-- gives id bigint, lease uuid

select * from pawl.fail($1::bigint[], $2::integer[], $3::text[], $4::double precision[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::text);
-- takes bigint[], integer[], text[], double precision[], text[], text[], bigint[], bigint[], text
-- gives id bigint, became text

select * from pawl.finished($1::bigint[], $2::integer[]);
-- takes bigint[], integer[]
-- gives finished bigint

select * from pawl.get($1::bigint[]);
-- takes bigint[]
-- gives id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, created_at timestamp with time zone, run_at timestamp with time zone, finished_at timestamp with time zone, waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb

select * from pawl.insert_tied($1::text::jsonb);
-- takes text
-- gives id bigint, duplicate boolean

select * from pawl.lanes($1::text[], $2::integer[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::boolean);
-- takes text[], integer[], text[], text[], integer[], text[], text[], boolean
-- gives queue text, priority integer, channel text

select * from pawl.list($1::text::jsonb, $2::bigint, $3::integer);
-- takes text, bigint, integer
-- gives id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint, attempt smallint, max_attempts smallint, created_at timestamp with time zone, run_at timestamp with time zone, finished_at timestamp with time zone, waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb

select * from pawl.marks($1::text[], $2::integer[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::timestamptz[], $8::bigint[]);
-- takes text[], integer[], text[], bigint[], bigint[], text[], timestamp with time zone[], bigint[]
-- gives ord bigint, low_pos bigint, low_at timestamp with time zone, oldest bigint, next bigint

select * from pawl.peek($1::text[]);
-- takes text[]
-- gives ready boolean, wait double precision

select * from pawl.promote($1::text[], $2::timestamptz[], $3::integer);
-- takes text[], timestamp with time zone[], integer
-- gives queue text, moved bigint, due boolean, wait double precision, moment timestamp with time zone

select * from pawl.rescue($1::integer, $2::boolean, $3::boolean);
-- takes integer, boolean, boolean
-- gives workers bigint, leases bigint, jobs bigint, poisoned bigint

select * from pawl.settle($1::integer);
-- takes integer
-- gives settled integer, left integer, more boolean

select * from pawl.stats($1::integer);
-- takes integer
-- gives queue text, reserved bigint, scheduled bigint, ready bigint, running bigint, dead bigint, estimated boolean, oldest_ready double precision, lag double precision

select * from pawl.take_cron($1::text[], $2::text[], $3::text[]);
-- takes text[], text[], text[]
-- gives name text, spec text, zone text, job text, jitter double precision, catch_up integer, last_at timestamp with time zone, next_at timestamp with time zone, moment timestamp with time zone

select * from pawl.verify();
-- takes 
-- gives problem text, jobs bigint, example bigint

select array(select nextval('pawl.pos') from generate_series(1, $1::int));
-- takes integer
-- gives array bigint[]

select coalesce(max(version), 0) from pawl.migration;
-- takes 
-- gives coalesce integer

select count(*), count(*) filter (where clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after), (select coalesce(max(m.version), 0)::integer from pawl.migration m), (select coalesce(sum(greatest(k.reltuples, 0)), 0)::bigint from pg_inherits i join pg_class k on k.oid = i.inhrelid where i.inhparent = 'pawl.archive'::regclass), (select greatest( coalesce((select extract(epoch from clock_timestamp() - min(a.xact_start)) from pg_stat_activity a where a.datname = current_database() and a.pid <> pg_backend_pid() and (a.backend_xmin is not null or a.backend_xid is not null)), 0), coalesce((select extract(epoch from clock_timestamp() - min(p.prepared)) from pg_prepared_xacts p where p.database = current_database()), 0)))::double precision from pawl.worker w where w.gone_at is null;
-- takes 
-- gives count bigint, count bigint, coalesce integer, coalesce bigint, greatest double precision

select count(pg_advisory_lock_shared(pawl.sleep_key(k))::text) from unnest($1::text[]) k;
-- takes text[]
-- gives count bigint

select distinct d.day from (select interval '1 day' union select retain_completed from pawl.queue union select retain_cancelled from pawl.queue) r (retain) cross join generate_series(0, $1::integer) n (days) cross join lateral (select ((clock_timestamp() + r.retain) at time zone 'UTC')::date + n.days) d (day) where r.retain > '0' and to_regclass('pawl.archive_' || to_char(d.day, 'YYYYMMDD')) is null order by d.day;
-- takes integer
-- gives day date

select exists (select from pawl.get($1::bigint[]));
-- takes bigint[]
-- gives exists boolean

select exists (select from pawl.job where id = $1::bigint);
-- takes bigint
-- gives exists boolean

select exists (select from pawl.queue q where q.name = $1::text) or exists (select from pawl.worker w where w.gone_at is null and $1::text = any (w.queues));
-- takes text
-- gives ?column? boolean

select id from pawl.list($1::text::jsonb, $2::bigint, $3::integer);
-- takes text, bigint, integer
-- gives id bigint

select id from unnest(pawl.missing($1::bigint[], $2::integer[])) id;
-- takes bigint[], integer[]
-- gives id bigint

select id::text from pawl.leases($1::bigint) id;
-- takes bigint
-- gives id text

select job::text, clock_timestamp() from pawl.cron where name = $1::text;
-- takes text
-- gives job text, clock_timestamp timestamp with time zone

select k.relname::text, i.inhdetachpending from pg_inherits i join pg_class k on k.oid = i.inhrelid where i.inhparent = 'pawl.archive'::regclass;
-- takes 
-- gives relname text, inhdetachpending boolean

select name, spec, zone, job::text, extract(epoch from jitter)::double precision, catch_up, version, paused, last_at, next_at from pawl.cron order by name;
-- takes 
-- gives name text, spec text, zone text, job text, extract double precision, catch_up integer, version integer, paused boolean, last_at timestamp with time zone, next_at timestamp with time zone

select name, weights::text from pawl.queue where weights is not null;
-- takes 
-- gives name text, weights text

select nextval('pawl.pos');
-- takes 
-- gives nextval bigint

select pawl.acquire($1::text[], $2::integer, $3::bigint, $4::uuid);
-- takes text[], integer, bigint, uuid
-- gives acquire boolean

select pawl.checkpoint($1::bigint, $2::integer, $3::text::jsonb);
-- takes bigint, integer, text
-- gives checkpoint boolean

select pawl.commit($1::bigint[]);
-- takes bigint[]
-- gives commit void

select pawl.complete($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::text, $7::boolean, $8::uuid[]);
-- takes bigint[], integer[], bigint[], bigint[], text[], text, boolean, uuid[]
-- gives complete bigint

select pawl.count($1::text::jsonb, $2::bigint, $3::bigint);
-- takes text, bigint, bigint
-- gives count bigint

select pawl.count_batch($1::bigint, 'none', 0);
-- takes bigint
-- gives count_batch boolean

select pawl.delete_queue($1::text);
-- takes text
-- gives delete_queue text

select pawl.due_cron($1::text[], $2::text[], $3::text[]);
-- takes text[], text[], text[]
-- gives due_cron double precision

select pawl.expire($1::integer);
-- takes integer
-- gives expire bigint

select pawl.free($1::bigint[], $2::uuid[]);
-- takes bigint[], uuid[]
-- gives free void

select pawl.free(array[$1::bigint], array[$2::uuid]);
-- takes bigint, uuid
-- gives free void

select pawl.hold($1::bigint[], $2::integer[]);
-- takes bigint[], integer[]
-- gives hold bigint

select pawl.insert($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::bytea[], $7::double precision[], $8::timestamptz[], $9::smallint[], $10::text[], $11::text[]);
-- takes text[], text[], smallint[], text[], text[], bytea[], double precision[], timestamp with time zone[], smallint[], text[], text[]
-- gives insert bigint

select pawl.keep($1::bigint[], $2::interval);
-- takes bigint[], interval
-- gives keep void

select pawl.put_cron($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]::interval[], $6::integer[], $7::integer[], $8::timestamptz[]);
-- takes text[], text[], text[], text[], text[], integer[], integer[], timestamp with time zone[]
-- gives put_cron bigint

select pawl.reclaim();
-- takes 
-- gives reclaim bigint

select pawl.register($1::text, $2::text, $3::integer, $4::text, $5::text[], $6::interval, $7::text);
-- takes text, text, integer, text, text[], interval, text
-- gives register bigint

select pawl.release_worker($1::bigint), exists (select from pawl.worker w where w.id = $1::bigint);
-- takes bigint
-- gives release_worker bigint, exists boolean

select pawl.remove($1::bigint[], $2::integer[], $3::boolean);
-- takes bigint[], integer[], boolean
-- gives remove bigint

select pawl.resume_channel($1::text, $2::text);
-- takes text, text
-- gives resume_channel boolean

select pawl.retry($1::bigint[]);
-- takes bigint[]
-- gives retry bigint

select pawl.tell_worker($1::bigint, $2::text);
-- takes bigint, text
-- gives tell_worker text

select pawl.tick_cron($1::text, $2::timestamptz, $3::timestamptz);
-- takes text, timestamp with time zone, timestamp with time zone
-- gives tick_cron void

select pawl.unclaim($1::uuid);
-- takes uuid
-- gives unclaim bigint

select pawl.unregister($1::bigint);
-- takes bigint
-- gives unregister void

select pawl.wake($1::text[]);
-- takes text[]
-- gives wake integer

select pawl.wake(array[$1::text]);
-- takes text
-- gives wake integer

select pg_advisory_xact_lock(hashtextextended('pawl.partitions', 0));
-- takes 
-- gives pg_advisory_xact_lock void

select spec, zone, paused, clock_timestamp() from pawl.cron where name = $1::text;
-- takes text
-- gives spec text, zone text, paused boolean, clock_timestamp timestamp with time zone

select total, completed, cancelled, dead from pawl.batch where id = $1::bigint;
-- takes bigint
-- gives total integer, completed integer, cancelled integer, dead integer

select u.name, coalesce(q.paused, false), coalesce(q.max_attempts, 0::smallint), q.backoff::text, extract(epoch from q.lease)::double precision, extract(epoch from q.retain_completed)::double precision, extract(epoch from q.retain_cancelled)::double precision, extract(epoch from q.retain_dead)::double precision, coalesce(q.halt_on_dead, false), coalesce(q.max_running, 0), coalesce(q.channel_max_running, 0), q.rate::text, q.channel_rate::text, q.weights::text from (select name from pawl.queue union select * from pawl.queues()) u (name) left join pawl.queue q on q.name = u.name order by u.name collate "C";
-- takes 
-- gives name text, coalesce boolean, coalesce smallint, backoff text, extract double precision, extract double precision, extract double precision, extract double precision, coalesce boolean, coalesce integer, coalesce integer, rate text, channel_rate text, weights text

select w.id, w.name, w.host, w.state, w.version, w.pid, w.running, array_to_json(w.queues)::text, w.started_at, w.seen_at, w.gone_at is null and clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after from pawl.worker w order by w.id;
-- takes 
-- gives id bigint, name text, host text, state text, version text, pid integer, running integer, array_to_json text, started_at timestamp with time zone, seen_at timestamp with time zone, ?column? boolean

update pawl.batch set total = total - $2::integer where id = $1::bigint;
-- takes bigint, integer
-- gives 

update pawl.cron set paused = false, next_at = $4::timestamptz where name = $1::text and spec = $2::text and zone = $3::text and paused returning true;
-- takes text, text, text, timestamp with time zone
-- gives ?column? boolean

update pawl.cron set paused = true where name = $1::text returning true;
-- takes text
-- gives ?column? boolean

with gone as ( delete from pawl.dead where id = any (array(select id from pawl.dead where expires_at < clock_timestamp() limit 1000 for update skip locked)) returning 1) select count(*) from gone;
-- takes 
-- gives count bigint

listen """pawl"".wake";
-- takes 
-- gives 

create table pawl.archive_20200229 (like pawl.archive including defaults including indexes);
-- takes 
-- gives 

alter table pawl.archive_20200229 set (autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5);
-- takes 
-- gives 

alter table pawl.archive attach partition pawl.archive_20200229 for values from ('2020-02-29 00:00:00+00') to ('2020-03-01 00:00:00+00');
-- takes 
-- gives 

alter table pawl.archive detach partition pawl.archive_20200229 concurrently;
-- takes 
-- gives 

drop table if exists pawl.archive_20200229;
-- takes 
-- gives 
