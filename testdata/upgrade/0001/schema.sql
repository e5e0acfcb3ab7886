-- The schema pawl from version 0 to 1, for psql -v ON_ERROR_STOP=1.
-- After "lock timeout" print it again and run that.

begin isolation level read committed;
set local application_name = 'pawl migrate';
select pg_advisory_xact_lock(hashtextextended('migrate pawl', 0));
set local lock_timeout = '100ms'; set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0; set local jit = off; select set_config('transaction_timeout', '0', true) where current_setting('transaction_timeout', true) <> '0';
create schema "pawl";
create table "pawl".migration (version integer primary key, name text not null, applied_at timestamptz not null default now());
-- Pawl's tables, in the order of a job's life: a job and its tickets, what a job may have to wait for, the workers
-- that run it, what is kept when it has finished, and the queues. docs/states.md shows which function moves which
-- row.
--
-- Names and keys collate "C": lanes need byte order, and it is several times faster than a locale's order. Tables
-- that every job passes through are vacuumed early and never truncated, because truncation takes an exclusive lock
-- that would stop the queue.

-- pos makes both ids and positions, so the position of a new job is its id.
-- It must not have a cache: the safe mark requires that all sessions draw positions in the order of time
-- (docs/design.md, section 5).
create sequence "pawl".pos as bigint cache 1;


-- 1. A job and its ticket

-- A job is one unit of work, from the commit of its insert until it finishes. The row is written once. It changes
-- only if an attempt does not succeed, if the job is updated, or if it moves within the queue.
create table "pawl".job (
  id           bigint      not null primary key,
  pos          bigint,                                -- position of its ready ticket; null: the id
  created_at   timestamptz not null,
  run_at       timestamptz,                           -- when it became or becomes due; null: at created_at
  epoch        integer     not null,                  -- the fencing token: one more with every new ticket
  priority     smallint    not null,                  -- lower runs first
  attempt      smallint    not null default 0,        -- attempts used; only the outcome of a handler uses one
  max_attempts smallint,                              -- null: the queue's
  crashes      smallint    not null default 0,        -- workers lost during attempts, since a handler last returned
  constrained  boolean     not null default false,    -- other rows depend on its end: see section 2 and batch
  queue        text        not null collate "C",
  channel      text        not null collate "C",      -- '': none
  kind         text        not null collate "C",      -- selects the handler
  args         jsonb,
  data         bytea,
  fingerprint  text        collate "C",               -- a label to find the job by
  unique_key   text        collate "C",
  opts         jsonb,                                 -- rare settings: backoff, headers, ordered, batch and others
  errors       jsonb,                                 -- [{attempt, at, worker, error, stack}], oldest first, last ten
  checkpoint   jsonb                                  -- {value, steps, percent, message}: kept for the next attempt
) with (
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = false
);
-- Both indexes are partial: jobs without a fingerprint or a unique key do not pay for them.
create index job_fingerprint on "pawl".job (fingerprint, id) where fingerprint is not null;
create index job_unique_key  on "pawl".job (unique_key, id)  where unique_key is not null;

-- Every live job that does not run has exactly one ticket with its epoch, in ready, scheduled or blocked.

-- ready holds the tickets of jobs that may be claimed now. A lane is (queue, priority, channel), and pos is the
-- order within it. priority is the job's own, or one of two that come before all others: -32768 for returned jobs,
-- -32769 for suspects.
create table "pawl".ready (
  pos      bigint  not null,
  job_id   bigint  not null,
  epoch    integer not null,
  priority integer not null,                          -- wider than smallint, for the lane of suspects
  queue    text    not null collate "C",
  channel  text    not null collate "C",
  primary key (queue, priority, channel, pos)
) with (
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = false
);

-- scheduled holds the tickets of jobs that may be claimed later, at run_at.
create table "pawl".scheduled (
  run_at timestamptz not null,
  job_id bigint      not null,
  epoch  integer     not null,
  queue  text        not null collate "C",
  primary key (queue, run_at, job_id)
) with (
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = false
);


-- 2. What a job may have to wait for. Jobs without constraints have no rows here: docs/decisions/0004

-- blocked holds the tickets of jobs that wait for something other than time: for CommitReserved (expires_at is
-- set), for the jobs before them in an ordered channel, or for their dependencies. A ticket leaves when the job has
-- nothing left to wait for.
create table "pawl".blocked (
  job_id     bigint  not null primary key,
  epoch      integer not null,
  queue      text    not null collate "C",
  expires_at timestamptz                              -- when a reservation that is not committed ends
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
create index blocked_expires_at on "pawl".blocked (expires_at) where expires_at is not null;
create index blocked_queue      on "pawl".blocked (queue, expires_at);

-- ordered_job holds the places of live jobs in ordered channels. Only the job with the lowest pos of a channel may
-- have a ticket outside of blocked.
create table "pawl".ordered_job (
  queue   text   not null collate "C",
  channel text   not null collate "C",
  pos     bigint not null,
  job_id  bigint not null,
  primary key (queue, channel, pos)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
create unique index ordered_job_job_id on "pawl".ordered_job (job_id);

-- mutex has a row for each thing that only one transaction at a time may do or change: that transaction locks the
-- row. A row lock needs a privilege on the table. An advisory lock needs none, so any session of the database could
-- hold it for ever. Rows are inserted when they are first needed; prune_mutexes deletes those that are not in use.
create table "pawl".mutex (
  kind  text not null collate "C",                    -- channel, limit, semaphore, duty
  queue text not null collate "C",                    -- of a channel or a limit; '': none
  name  text not null collate "C",                    -- the ordered channel, the semaphore's key, or the duty
  primary key (kind, queue, name)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
insert into "pawl".mutex (kind, queue, name) values ('duty', '', 'partitions'), ('duty', '', 'rescue');

-- halted_channel holds the ordered channels that start no job because their first job died (Queue.HaltOnDead).
create table "pawl".halted_channel (
  queue     text        not null collate "C",
  channel   text        not null collate "C",
  job_id    bigint      not null,                     -- the job that died
  halted_at timestamptz not null,
  primary key (queue, channel)
);

-- unique_key holds the unique keys in use. A key is in use while its job is live (or until it starts), and in any
-- case until keep_until.
create table "pawl".unique_key (
  scope       text    not null collate "C",           -- the queue, or '' for all queues
  key         text    not null collate "C",
  job_id      bigint  not null,
  live        boolean not null,                       -- the job is live and, with until_start, has not started
  until_start boolean not null,
  keep_until  timestamptz,
  primary key (scope, key)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
create index unique_key_job_id     on "pawl".unique_key (job_id);
create index unique_key_keep_until on "pawl".unique_key (keep_until) where not live;

-- dependency holds which jobs a job waits for: a row for each parent, until that parent finishes.
create table "pawl".dependency (
  parent_id    bigint  not null,
  child_id     bigint  not null,
  on_state     text    not null collate "C",          -- how the parent must end for the child to run: ok, any, not_ok
  keep_waiting boolean not null,                      -- if the parent dies: wait for a retry, or else be cancelled
  primary key (parent_id, child_id, on_state)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
create index dependency_child_id on "pawl".dependency (child_id);

-- followup holds the ends of constrained jobs whose consequences are not done yet. The transaction that finishes
-- such a job writes the row; run_followups does the rest in a transaction of its own, which waits for no other. It
-- puts a row aside that cannot be done.
create table "pawl".followup (
  id      bigint generated by default as identity primary key, -- negative: put aside
  job_id  bigint  not null,
  queue   text    not null collate "C",
  channel text    not null collate "C",
  ordered boolean not null,
  batch   bigint,
  became  text    not null collate "C",               -- completed, cancelled, dead, deleted
  tries   smallint not null default 0,                -- failures so far
  error   text                                        -- why the last try failed
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);


-- 3. Claimed jobs and their workers

-- lease has one row for each claim: the (job, epoch) pairs that were claimed together. The claimer chose the id.
-- A runner's lease lasts as long as its worker lives, a consumer's until expires_at.
create table "pawl".lease (
  id         uuid      not null primary key,
  worker_id  bigint,
  expires_at timestamptz,
  jobs       bigint[]  not null,
  epochs     integer[] not null
) with (
  autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_threshold = 1000000000, vacuum_truncate = false, toast_tuple_target = 8160
);
-- Hundreds of pairs stay in the row, uncompressed: compression was visible in the time of every claim.
alter table "pawl".lease alter jobs set storage external, alter epochs set storage external;
-- Deleted leases accumulate while an old snapshot is open, and rescue must not read all of them every second.
create index lease_worker_id  on "pawl".lease (worker_id)  where worker_id is not null;
create index lease_expires_at on "pawl".lease (expires_at) where expires_at is not null;

-- worker has one row for each process that runs jobs, with its heartbeat. Ids are never reused: a worker that is
-- gone stays gone.
create table "pawl".worker (
  id          bigint generated always as identity primary key,
  name        text        not null,
  host        text        not null,
  pid         integer     not null,                   -- 0: registered by hand
  version     text        not null,
  queues      text[],                                 -- null: all
  state       text        not null default 'ready' collate "C", -- ready, suspended, stopping; gone: stopped, lost
  running     integer     not null default 0,         -- jobs, at its last heartbeat
  stuck       text[]      collate "C",                -- kinds of its stuck handlers then, one for each; null: none
  problem     text,                                   -- what it cannot do, in its own words; null: nothing
  started_at  timestamptz not null,
  seen_at     timestamptz not null,                   -- its last heartbeat
  gone_at     timestamptz,                            -- null: the worker lives, and so do its leases
  stale_after interval    not null                    -- without a heartbeat for so long, its jobs are rescued
) with (
  fillfactor = 50, autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0.1, vacuum_truncate = false
);

-- permit has a row for each running job that counts against a limit, from its claim until its handler returns.
-- A named limit (Client.Semaphore) has the queue '' and its name as the channel.
create table "pawl".permit (
  queue   text   not null collate "C",
  channel text   not null collate "C",
  job_id  bigint not null,
  lease   uuid   not null,
  primary key (queue, channel, job_id, lease)
) with (
  autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
create index permit_job_id on "pawl".permit (job_id);


-- 4. Finished jobs

-- archive_chunk holds jobs that completed or were cancelled, until expires_at. Each partition holds one day of
-- expires_at: the jobs of a day go when its partition is dropped.
-- A row is a chunk: the small jobs that one statement completed with the same queue and retention. An array has an
-- element for each job, in the order of their ids; it is null if it has one element and that is null. With a row for
-- each job, the write-ahead log of a job's life would be half as long again.
-- The ids of a chunk have the same id >> 10. So the chunk of an id is one of the few with min_id from
-- id >> 10 << 10 up to id, however large the archive is and in whatever order jobs finish.
-- A cancelled job, and a job with large or compressed values, is a chunk of its own.
create table "pawl".archive_chunk (
  min_id       bigint        not null,
  max_id       bigint        not null,
  n            integer       not null,                -- how many jobs
  finished_at  timestamptz   not null,
  expires_at   timestamptz   not null,
  state        text          not null collate "C",    -- completed, cancelled
  queue        text          not null collate "C",
  worker       text,
  ids          bigint[]      not null,
  epochs       integer[]     not null,
  created_at   timestamptz[] not null,
  run_at       timestamptz[],
  waited_ms    bigint[],                              -- from due until claimed
  ran_ms       bigint[],                              -- in the handler, by the worker's own clock
  priority     smallint[]    not null,
  attempt      smallint[]    not null,
  max_attempts smallint[],
  channel      text[]        not null collate "C",
  kind         text[]        not null collate "C",
  args         jsonb[],
  data         bytea[],
  fingerprint  text[]        collate "C",
  unique_key   text[]        collate "C",
  opts         jsonb[],
  errors       jsonb[],
  checkpoint   jsonb[],
  result       jsonb[]
) partition by range (expires_at);
create index archive_chunk_min_id on "pawl".archive_chunk (min_id, max_id);

-- archive has a row for each job in archive_chunk. A condition on chunk, finished_at, expires_at, state, queue or
-- worker selects chunks; any other is checked after their arrays are unpacked. To find jobs by id, use the function
-- find_archived.
create view "pawl".archive as
select u.id, c.finished_at, c.expires_at, u.created_at, u.run_at, u.waited_ms, u.ran_ms, u.epoch, u.priority,
       u.attempt, u.max_attempts, c.state, c.queue, u.channel, u.kind, c.worker, u.args, u.data, u.fingerprint,
       u.unique_key, u.opts, u.errors, u.checkpoint, u.result, c.min_id as chunk
from "pawl".archive_chunk c,
     unnest(c.ids, c.epochs, c.created_at, c.run_at, c.waited_ms, c.ran_ms, c.priority, c.attempt, c.max_attempts,
            c.channel, c.kind, c.args, c.data, c.fingerprint, c.unique_key, c.opts, c.errors, c.checkpoint, c.result)
       as u (id, epoch, created_at, run_at, waited_ms, ran_ms, priority, attempt, max_attempts, channel, kind, args,
             data, fingerprint, unique_key, opts, errors, checkpoint, result);

-- dead holds jobs that will not run again unless they are retried.
create table "pawl".dead (
  id           bigint      not null primary key,
  finished_at  timestamptz not null,
  expires_at   timestamptz not null,
  created_at   timestamptz not null,
  run_at       timestamptz,
  waited_ms    bigint,
  ran_ms       bigint,
  epoch        integer     not null,
  priority     smallint    not null,
  attempt      smallint    not null,
  max_attempts smallint,
  crashes      smallint    not null,
  reason       text        not null collate "C",      -- attempts, poison, handler, unprocessable
  queue        text        not null collate "C",
  channel      text        not null collate "C",
  kind         text        not null collate "C",
  worker       text,
  args         jsonb,
  data         bytea,
  fingerprint  text        collate "C",
  unique_key   text        collate "C",
  opts         jsonb,
  errors       jsonb,
  checkpoint   jsonb
) with (vacuum_truncate = false);
create index dead_expires_at on "pawl".dead (expires_at);
create index dead_queue      on "pawl".dead (queue, id);

-- batch has a row for jobs that were inserted together, with the callback jobs to insert when all or some of them
-- have ended.
create table "pawl".batch (
  id          bigint      not null primary key,
  created_at  timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  xact        xid8        not null default pg_current_xact_id(), -- it was inserted by this one, which alone adds jobs
  total       integer     not null,
  completed   integer     not null default 0,
  cancelled   integer     not null default 0,         -- deleted jobs too
  dead        integer     not null default 0,
  on_finish   jsonb,                                  -- callback jobs, as insert_constrained takes them; then null
  on_success  jsonb,
  on_death    jsonb
) with (
  fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = false
);
create index batch_finished_at on "pawl".batch (finished_at) where finished_at is not null;


-- 5. Queues, schedules, counters

-- queue holds the policy of a queue. A queue without a policy has no row. A null means the default.
create table "pawl".queue (
  name                text     not null primary key collate "C",
  paused              boolean  not null default false,
  max_attempts        smallint,
  backoff             jsonb,                          -- {base, max, growth, power, jitter}, times in seconds
  lease               interval,                       -- of a claim that has none
  retain_completed    interval,
  retain_cancelled    interval,
  retain_dead         interval,
  halt_on_dead        boolean  not null default false,
  max_running         integer,
  channel_max_running integer,
  rate                jsonb,                          -- {n, per (seconds), burst}
  channel_rate        jsonb,
  weights             jsonb,                          -- {channel: weight}
  created_at          timestamptz not null default now(),
  limited             boolean  not null generated always as (
    max_running is not null or channel_max_running is not null or rate is not null or channel_rate is not null) stored
);
create index queue_limited on "pawl".queue (name) where limited;

-- bucket holds what is left of a rate limit: tokens at a moment. They grow with time, up to the burst.
create table "pawl".bucket (
  queue      text             not null collate "C",
  of_channel boolean          not null,
  channel    text             not null collate "C",
  tokens     double precision not null,
  at         timestamptz      not null,
  primary key (queue, of_channel, channel)
) with (
  fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = false
);

-- cron holds schedules. next_at is stored, so that exactly one process turns each tick into a job.
create table "pawl".cron (
  name       text        not null primary key collate "C",
  spec       text        not null,                    -- as the caller wrote it
  zone       text        not null,                    -- a name of the time zone database
  job        jsonb       not null,                    -- the job of each tick, with all defaults filled in: see cron.go
  jitter     interval    not null default '0',
  catch_up   integer     not null default 0,          -- missed ticks to insert, at most
  version    integer     not null default 0,          -- a put with a lower version changes nothing
  paused     boolean     not null default false,
  last_at    timestamptz,                             -- the last tick that became a job
  next_at    timestamptz not null,                    -- the next tick
  created_at timestamptz not null default now()
) with (
  autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0.1, vacuum_truncate = false
);
create index cron_next_at on "pawl".cron (next_at) where not paused;

-- counter holds what each client did lately: a row for each client and queue, so that no two processes write the
-- same row. Each array has the counts of the last seven slots of ten seconds, the newest first.
create table "pawl".counter (
  client    uuid     not null,                        -- chosen by the process
  queue     text     not null collate "C",
  slot      bigint   not null,                        -- of the first count: Unix time in tens of seconds
  inserted  bigint[] not null,
  completed bigint[] not null,
  failed    bigint[] not null,                        -- attempts
  primary key (client, queue)
) with (
  fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.1, vacuum_truncate = false
);


-- 6. Compression

-- Large args, data and results, and the arrays of the archive, are compressed by lz4, which is several times as fast as
-- pglz and nearly as small. A server that was built without lz4 keeps pglz. The archive's partitions copy the setting.
do $$
declare
  one record;
begin
  for one in
    select c.oid::regclass as name, string_agg(format('alter %I set compression lz4', a.attname), ', ') as changes
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = (select p.relnamespace from pg_class p where p.oid = '"pawl".job'::regclass)
      and c.relkind in ('r', 'p')
      and (a.atttypid in ('jsonb'::regtype, 'bytea'::regtype)
           or c.oid = '"pawl".archive_chunk'::regclass and a.attstorage = 'x')
    group by c.oid
    order by c.oid
  loop
    execute format('alter table %s %s', one.name, one.changes);
  end loop;
exception when feature_not_supported then
  raise debug 'pawl: this server has no lz4';
end $$;
insert into "pawl".migration (version, name) values (1, 'pawl');
set local check_function_bodies = off;
-- advance_sequence moves the sequence of ids above every id in use. It returns 1 if the sequence was behind, else
-- 0.
-- Survives: inserts at the same time (altering the sequence waits until no transaction draws from it, and no other
-- can draw until this one ends; the ids are read after that). Only the owner may call it.
create or replace function "pawl".advance_sequence() returns bigint language plpgsql as $$
declare
  top bigint;
begin
  execute 'alter sequence "pawl".pos cache 1';
  select max(u.id) into top
  from (select max(j.id) as id from "pawl".job j
        union all
        select max(t.pos) from "pawl".ready t
        union all
        select max(d.id) from "pawl".dead d) u;
  if top <= (select s.last_value from "pawl".pos s) then
    return 0;
  end if;
  execute format('alter sequence "pawl".pos restart with %s', top + 1);
  return 1;
end $$;

-- apply_retention deletes what is past its retention: workers that were gone for a day, batches that finished 30
-- days ago, counters that were not reported for ten minutes, and dead jobs, at most `most`. It returns the number
-- of dead jobs.
-- Index: dead_expires_at, batch_finished_at; none for worker and counter, which are small.
-- Survives: two calls at once, and a retry of a dead job (skip locked).
create or replace function "pawl".apply_retention(most integer) returns bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
declare
  moment timestamptz := clock_timestamp();
  gone   bigint[];
begin
  delete from "pawl".worker w where w.gone_at < moment - interval '1 day';
  delete from "pawl".batch b where b.finished_at < moment - interval '30 days';
  delete from "pawl".counter t where t.slot < extract(epoch from moment) / 10 - 60;
  with expired as (
    delete from "pawl".dead d
    where d.id = any (array(
      select e.id from "pawl".dead e where e.expires_at < moment limit most for update skip locked
    ))
    returning d.id
  )
  select array_agg(l.id) into gone from expired l;
  if gone is not null then
    perform "pawl".record_deleted(gone);
  end if;
  return coalesce(cardinality(gone), 0);
end $$;

-- clear_leftovers deletes what is left of jobs that are gone: tickets, places in ordered channels, dependencies,
-- unique keys and permits.
--   ids   jobs of which something may be left. Of a live job it deletes tickets of earlier epochs, and permits of
--         leases that do not have the job
-- Moves: rows out. For a place in a channel and for a dependency it records a follow-up instead, so that
-- run_followups does what follows. Returns how many rows it deleted or recorded.
-- Index: none for tickets and ordered_job, which are read whole. Only repair calls it.
-- Survives: a retry at the same time (the rows that a retry needs are locked first: its channel's mutex, its dead or
-- archived row, its key; then everything is read again); claims, completions and extensions (each of them writes
-- its rows together). Rows that another transaction has locked are left for the next call.
create or replace function "pawl".clear_leftovers(ids bigint[]) returns bigint
language plpgsql set jit = off as $$
#variable_conflict use_column
declare
  of_queues text[]; -- channels whose mutex this call has
  channels text[];
  parents  bigint[];
  keys     tid[];
  permits  tid[];
  queues   text[];
  cleared  bigint := 0;
  n        bigint;
begin
  perform pg_current_xact_id();
  select array_agg(t.queue), array_agg(t.channel) into of_queues, channels
  from "pawl".ordered_job t where t.job_id = any (clear_leftovers.ids);
  perform "pawl".add_mutexes('channel', of_queues, channels);
  select array_agg(c.queue), array_agg(c.name) into of_queues, channels
  from "pawl".try_mutexes('channel', of_queues, channels) c;
  -- Parents that a retry could make live again, locked so that it does not; and parents of which nothing is left.
  parents := array(select d.id from "pawl".dead d where d.id = any (clear_leftovers.ids) for update skip locked);
  parents := parents || array(
    select a.min_id from "pawl".archive_chunk a
    where a.min_id = any (clear_leftovers.ids) and a.state = 'cancelled' for update skip locked
  );
  parents := parents || array(
    select u.id from unnest(clear_leftovers.ids) as u (id)
    where not exists (select from "pawl".dead d where d.id = u.id)
      and not exists (select from "pawl".archive_chunk a where a.min_id = u.id and a.state = 'cancelled')
  );
  keys := array(
    select h.ctid from "pawl".unique_key h where h.job_id = any (clear_leftovers.ids) and h.live for update skip locked
  );
  permits := array(select p.ctid from "pawl".permit p where p.job_id = any (clear_leftovers.ids) for update skip locked);

  delete from "pawl".ready t
  where t.ctid = any (array(
    select t.ctid from "pawl".ready t
    where t.job_id = any (clear_leftovers.ids)
      and not exists (select from "pawl".job j where j.id = t.job_id and j.epoch = t.epoch)
    for update skip locked
  ));
  get diagnostics n = row_count; cleared := cleared + n;
  delete from "pawl".scheduled s
  where s.ctid = any (array(
    select s.ctid from "pawl".scheduled s
    where s.job_id = any (clear_leftovers.ids)
      and not exists (select from "pawl".job j where j.id = s.job_id and j.epoch = s.epoch)
    for update skip locked
  ));
  get diagnostics n = row_count; cleared := cleared + n;
  delete from "pawl".blocked p
  where p.ctid = any (array(
    select p.ctid from "pawl".blocked p
    where p.job_id = any (clear_leftovers.ids)
      and not exists (select from "pawl".job j where j.id = p.job_id and j.epoch = p.epoch)
    for update skip locked
  ));
  get diagnostics n = row_count; cleared := cleared + n;

  insert into "pawl".followup (job_id, queue, channel, ordered, became)
  select t.job_id, t.queue, t.channel, true, 'deleted'
  from "pawl".ordered_job t
  where t.job_id = any (clear_leftovers.ids)
    and (t.queue, t.channel) in (select * from unnest(of_queues, channels))
    and not exists (select from "pawl".job j where j.id = t.job_id)
    and not exists (select from "pawl".followup l where l.job_id = t.job_id);
  get diagnostics n = row_count; cleared := cleared + n;
  insert into "pawl".followup (job_id, queue, channel, ordered, became)
  select u.id, '', '', false, coalesce(
    (select 'dead' from "pawl".dead d where d.id = u.id),
    (select a.state from "pawl".find_archived(array[u.id]) a limit 1), 'deleted')
  from unnest(parents) as u (id)
  where exists (
      select from "pawl".dependency w
      where w.parent_id = u.id and not (w.keep_waiting and exists (select from "pawl".dead d where d.id = u.id))
    )
    and not exists (select from "pawl".job j where j.id = u.id)
    and not exists (select from "pawl".followup l where l.job_id = u.id);
  get diagnostics n = row_count; cleared := cleared + n;

  delete from "pawl".unique_key h
  where h.ctid = any (keys) and (h.keep_until is null or h.keep_until <= clock_timestamp())
    and not exists (select from "pawl".job j where j.id = h.job_id);
  get diagnostics n = row_count; cleared := cleared + n;
  update "pawl".unique_key h set live = false
  where h.ctid = any (keys) and h.live and not exists (select from "pawl".job j where j.id = h.job_id);
  get diagnostics n = row_count; cleared := cleared + n;

  with gone as (
    delete from "pawl".permit p
    where p.ctid = any (permits)
      and not exists (select from "pawl".lease l where l.id = p.lease and p.job_id = any (l.jobs))
    returning p.queue
  )
  select count(*), array_agg(distinct g.queue) filter (where g.queue <> '') into n, queues from gone g;
  perform "pawl".wake(queues);
  return cleared + n;
end $$;

-- drop_partition drops the archive's partition of a past day, for a role that does not own it. (The owner detaches
-- the partition concurrently, which a function cannot do.)
-- It waits at most 100 ms for transactions that read the archive or finish jobs, and these wait as long behind it.
-- After that it raises SQLSTATE 55P03: call it again later. It raises SQLSTATE 22023 for a day of which jobs are
-- still kept.
create or replace function "pawl".drop_partition(day date) returns void language plpgsql set lock_timeout = '100ms' as $$
declare
  part    text := 'archive_' || to_char(day, 'YYYYMMDD');
  pending boolean;
begin
  if day is null or day >= (clock_timestamp() at time zone 'UTC')::date then
    raise exception 'pawl: the archive still keeps jobs of %', coalesce(day::text, 'null') using errcode = '22023';
  end if;
  select i.inhdetachpending into pending
  from pg_inherits i
  where i.inhparent = '"pawl".archive_chunk'::regclass and i.inhrelid = to_regclass('"pawl".' || quote_ident(part));
  if found then
    execute format('alter table "pawl".archive_chunk detach partition "pawl".%I%s', part,
                   case when pending then ' finalize' else '' end);
    execute format('drop table "pawl".%I', part);
  end if;
end $$;

-- grant_roles gives each of this schema's roles the rights it needs, and takes all others away. docs/roles.md has
-- the table.
--   make   true: create the roles that are missing; false: do something only if the roles were created before, so
--          that a migration covers what it adds
-- Every migrate calls this in its transaction, after the functions.
-- A function that a role may call runs with the rights of the functions' owner (security definer, with a fixed
-- search_path). So a producer needs no right to read jobs, and a worker no right to write them except through the
-- functions. A function in none of the lists is for the owner and admins only.
-- Immutable functions touch no table and stay as they are: as security definer they would not be inlined.
create or replace function "pawl".grant_roles(make boolean) returns void language plpgsql as $$
declare
  producer constant text[] := '{
    abort_reserved,close_batch,commit_reserved,extend_reserved,insert,insert_batch,insert_constrained,
    insert_many,report_counters}';
  worker   constant text[] := producer || '{
    acquire_permits,apply_retention,bury,bury_unreadable,checkpoint,claim,claim_bounded,claim_readable,complete,
    complete_isolated,discover_lanes,drop_partition,drop_stale_permits,due_cron,end_leases,expire,extend,fail,
    find_finished,find_missing,find_tickets,free_permits,heartbeat,lock_jobs,make_partitions,peek,promote,
    prune_mutexes,read_marks,register_worker,release,remove_claimed,rescue,restore_lost,run_followups,sleep_key,
    take_cron,tick_cron,unclaim,unregister_worker,
    worker_leases,worker_started_at}';
  reader   constant text[] := '{
    await_key,channel_stats,claimed,count,find_archived,get,list,live_queues,queue_stats,read_jobs,
    system_stats,table_stats,verify,violations}';
  space    oid;
  named    text; -- The schema,
  everyone text; -- and its roles, as SQL.
  names    text[];
  who      text;
  it       record;
begin
  select c.relnamespace, quote_ident(n.nspname) into space, named
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = '"pawl".job'::regclass;
  names := array(
    select "pawl".role_name(w.what)
    from unnest('{producer,worker,reader,admin}'::text[]) with ordinality as w (what, ord)
    order by w.ord
  );
  if not make and not exists (
    select from pg_namespace n, aclexplode(n.nspacl) a
    join pg_roles r on r.oid = a.grantee
    where n.oid = space and r.rolname = any (names)
  ) then
    return;
  end if;
  foreach who in array names loop
    if not exists (select from pg_roles r where r.rolname = who) then
      begin
        execute format('create role %I nologin', who);
      exception when duplicate_object or unique_violation then
        -- Another database with a schema of this name has created the role meanwhile.
      end;
    end if;
  end loop;
  select string_agg(quote_ident(u.name), ', ') into everyone from unnest(names) as u (name);

  execute format('revoke all on all functions in schema %1$s from public, %2$s', named, everyone);
  execute format('revoke all on all tables in schema %1$s from public, %2$s', named, everyone);
  execute format('revoke all on all sequences in schema %1$s from public, %2$s', named, everyone);
  execute format('revoke all on schema %1$s from public, %2$s', named, everyone);
  execute format('grant usage on schema %1$s to %2$s', named, everyone);

  for it in
    select p.oid::regprocedure as called, p.provolatile, array_remove(array[
      case when p.proname = any (producer) then names[1] end,
      case when p.proname = any (worker) then names[2] end,
      case when p.proname = any (reader) then names[3] end,
      case when p.proname <> all ('{advance_sequence,grant_roles}') then names[4] end], null) as callers
    from pg_proc p
    where p.pronamespace = space
  loop
    if cardinality(it.callers) > 1 and it.provolatile <> 'i' then
      execute format('alter function %s security definer set search_path = pg_catalog, pg_temp', it.called);
    end if;
    foreach who in array it.callers loop
      execute format('grant execute on function %s to %I', it.called, who);
    end loop;
  end loop;

  -- Partitions are read and written through their parent.
  for it in
    select c.oid::regclass as called, c.relname as name
    from pg_class c
    where c.relnamespace = space and c.relkind in ('r', 'p', 'v') and not c.relispartition
  loop
    execute format('grant select on %s to %I', it.called, names[3]);
    execute format('grant select, insert, update, delete on %s to %I', it.called, names[4]);
  end loop;
  execute format('grant select on "pawl".migration to %s', everyone);
  execute format('grant select on "pawl".queue to %I', names[2]);
  execute format('grant select on sequence "pawl".pos to %I', names[3]);
  execute format('grant usage on sequence "pawl".pos to %I, %I', names[1], names[2]);
  execute format('grant usage, select on all sequences in schema %s to %I', named, names[4]);
end $$;

-- make_partitions creates the archive's partitions, one for each day, up to `ahead` days ahead of every retention
-- in use. It returns how many were missing.
-- Moves nothing. Each partition is created as a table and then attached, because create table … partition of would
-- stop completions while any transaction is open.
-- Survives: two calls at once (the duty's mutex is locked in a statement before the partitions are read).
create or replace function "pawl".make_partitions(ahead integer) returns integer language plpgsql as $$
declare
  one  date;
  part text;
  made integer := 0;
begin
  if (ahead between 0 and 60) is not true then
    raise exception 'pawl: make partitions for % days ahead: want 0 to 60', coalesce(ahead::text, 'null')
      using errcode = '22023';
  end if;
  perform "pawl".lock_mutexes('duty', '{""}', '{partitions}');
  for one in
    select distinct d.day
    from (select interval '1 day'
          union select q.retain_completed from "pawl".queue q
          union select q.retain_cancelled from "pawl".queue q) r (retain)
    cross join generate_series(0, ahead) n (days)
    cross join lateral (select ((clock_timestamp() + r.retain) at time zone 'UTC')::date + n.days) d (day)
    where r.retain > '0'
      and to_regclass('"pawl".archive_' || to_char(d.day, 'YYYYMMDD')) is null
    order by d.day
  loop
    part := 'archive_' || to_char(one, 'YYYYMMDD');
    execute format('create table "pawl".%I (like "pawl".archive_chunk including defaults including indexes '
      || 'including compression)', part);
    execute format(
      'alter table "pawl".%I set (autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5)',
      part);
    execute format('alter table "pawl".archive_chunk attach partition "pawl".%I for values from (%L) to (%L)', part,
                   to_char(one, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(one + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
    made := made + 1;
  end loop;
  return made;
end $$;

-- recount_batches corrects the counts of batches that have lost jobs. A job that is neither live nor counted counts
-- as deleted. A batch with more jobs than its total gets that number as its total. If the batch ends with that, its
-- callback jobs are inserted.
-- Returns how many batches were changed.
-- Index: none; all live jobs are read, once for each batch. Only repair calls it.
-- Survives: jobs that end at the same time (count_batch locks the batch's row, which this locks before it reads
-- anything).
create or replace function "pawl".recount_batches(ids bigint[]) returns bigint language plpgsql set jit = off as $$
#variable_conflict use_column
declare
  one     bigint;
  lost    bigint;
  changed bigint := 0;
begin
  perform pg_current_xact_id();
  for one in select distinct u.id from unnest(recount_batches.ids) as u (id) order by u.id loop
    perform from "pawl".batch b where b.id = one and b.finished_at is null for update skip locked;
    continue when not found;
    select b.total - b.completed - b.cancelled - b.dead
           - (select count(*) from "pawl".job j where j.opts -> 'batch' = to_jsonb(b.id))
           - (select count(*) from "pawl".followup l where l.batch = b.id)
    into lost
    from "pawl".batch b where b.id = one;
    if lost > 0 then
      perform "pawl".count_batch(one, 'deleted', lost::integer);
      changed := changed + 1;
    elsif lost < 0 then
      update "pawl".batch b set total = b.total - lost where b.id = one;
      changed := changed + 1;
    end if;
  end loop;
  return changed;
end $$;

-- restore_jobs gives live jobs what every live job must have: the column constrained, the place in its ordered
-- channel, its unique key, and exactly one ticket or one place in a lease.
--   ids   jobs that may lack some of these, or have too many
-- Moves: if the tickets of a job are wrong, all of them go; if the job is not in exactly one lease, it also gets
-- the next epoch and a ticket in blocked. Then blocked jobs that wait for nothing get their tickets. A reservation
-- whose ticket was lost counts as committed. Returns how many jobs were changed.
-- Index: none for tickets by job, which are read whole. Only repair calls it.
-- Survives: claims and completions at the same time (the job rows are locked, then everything is read again). A
-- ticket that another transaction has locked stays: by then it has an old epoch. What another transaction has
-- locked is left for the next call.
-- Locks channels, then jobs by id.
create or replace function "pawl".restore_jobs(ids bigint[]) returns bigint
language plpgsql set jit = off as $$
#variable_conflict use_column
declare
  queues   text[]; -- channels whose mutex this call has
  channels text[];
  mine     bigint[];
  changed  bigint[];
  part     bigint[];
  extra    bigint[]; -- jobs in a lease that have tickets, too
  wrong    bigint[]; -- jobs whose tickets and leases are wrong
begin
  perform pg_current_xact_id();
  select array_agg(j.queue), array_agg(j.channel) into queues, channels
  from "pawl".job j where j.id = any (restore_jobs.ids) and j.opts ? 'ordered';
  perform "pawl".add_mutexes('channel', queues, channels);
  select array_agg(c.queue), array_agg(c.name) into queues, channels
  from "pawl".try_mutexes('channel', queues, channels) c;
  mine := array(
    select j.id
    from (select distinct u.id from unnest(restore_jobs.ids) as u (id) order by u.id) u,
         lateral (select j.id, j.queue, j.channel, j.opts from "pawl".job j where j.id = u.id for update skip locked) j
    where not coalesce(j.opts ? 'ordered', false)
       or (j.queue, j.channel) in (select * from unnest(queues, channels))
  );

  with constrained as (
    update "pawl".job j
    set constrained = true
    where j.id = any (mine) and not j.constrained
      and (j.opts ?| array['ordered', 'batch'] or j.unique_key is not null
           or exists (select from "pawl".dependency w where w.parent_id = j.id))
    returning j.id
  )
  select array_agg(t.id) into changed from constrained t;
  with placed as (
    insert into "pawl".ordered_job (queue, channel, pos, job_id)
    select j.queue, j.channel, j.id, j.id
    from "pawl".job j
    where j.id = any (mine) and j.opts ? 'ordered'
      and not exists (select from "pawl".ordered_job t where t.job_id = j.id)
    on conflict do nothing
    returning job_id
  )
  select array_agg(p.job_id) into part from placed p;
  changed := changed || part;
  with kept as (
    insert into "pawl".unique_key as h (scope, key, job_id, live, until_start)
    select distinct on (1, 2) "pawl".key_scope(j.queue, j.opts), j.unique_key, j.id, true, false
    from "pawl".job j
    where j.id = any (mine) and j.unique_key is not null and not coalesce(j.opts ? 'until_start', false)
      and not exists (select from "pawl".unique_key h where h.job_id = j.id and h.live)
    order by 1, 2, 3
    on conflict (scope, key) do update set job_id = excluded.job_id, live = true, until_start = false
      where h.job_id = excluded.job_id or not h.live and (h.keep_until is null or h.keep_until <= clock_timestamp())
    returning job_id
  )
  select array_agg(k.job_id) into part from kept k;
  changed := changed || part;

  with own as materialized (
    select j.id, j.epoch, j.queue, j.channel, j.priority, coalesce(j.pos, j.id) as pos, j.run_at, j.opts
    from "pawl".job j where j.id = any (mine)
  ),
  place as (
    select t.job_id, t.epoch, false as leased, (t.queue, t.channel, t.pos) <> (o.queue, o.channel, o.pos)
           or t.priority <> all (array[o.priority, -32768, -32769]) as misplaced, false as blocked
    from "pawl".ready t join own o on o.id = t.job_id
    union all
    select s.job_id, s.epoch, false, (s.queue, s.run_at) is distinct from (o.queue, o.run_at), false
    from "pawl".scheduled s join own o on o.id = s.job_id
    union all
    select p.job_id, p.epoch, false, false, true from "pawl".blocked p join own o on o.id = p.job_id
    union all
    select u.id, u.epoch, true, false, false
    from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch) join own o on o.id = u.id
  ),
  placed as (
    select o.id, count(*) filter (where p.leased) as leases, count(*) filter (where not p.leased) as tickets,
           bool_or(p.misplaced) or bool_or(not p.leased and not p.blocked) and o.opts ? 'ordered' and exists (
             select from "pawl".ordered_job own, "pawl".ordered_job t
             where own.job_id = o.id and t.queue = own.queue and t.channel = own.channel and t.pos < own.pos
               and exists (select from "pawl".job j where j.id = t.job_id)
           ) as misplaced
    from own o
    left join place p on p.job_id = o.id and p.epoch = o.epoch
    group by o.id, o.opts
  )
  select array_agg(p.id) filter (where p.leases = 1 and p.tickets > 0),
         array_agg(p.id) filter (where p.leases > 1 or p.leases = 0 and (p.tickets <> 1 or p.misplaced))
  into extra, wrong
  from placed p;

  delete from "pawl".ready t
  where t.ctid = any (array(
    select t.ctid from "pawl".ready t where t.job_id = any (extra || wrong) for update skip locked
  ));
  delete from "pawl".scheduled s
  where s.ctid = any (array(
    select s.ctid from "pawl".scheduled s where s.job_id = any (extra || wrong) for update skip locked
  ));
  delete from "pawl".blocked p where p.job_id = any (extra || wrong);
  with again as (
    update "pawl".job j set epoch = "pawl".next_epoch(j.epoch) where j.id = any (wrong) returning j.id, j.epoch, j.queue
  )
  insert into "pawl".blocked (job_id, epoch, queue) select a.id, a.epoch, a.queue from again a;
  changed := changed || extra || wrong;

  part := array(select p.job_id from "pawl".blocked p where p.job_id = any (mine) and p.expires_at is null order by 1);
  perform "pawl".unblock(part);
  changed := changed || array(
    select unnest(part) except select p.job_id from "pawl".blocked p where p.job_id = any (part)
  );
  return (select count(distinct u.id) from unnest(changed) as u (id));
end $$;

-- restore_lost looks for live jobs that no worker will ever run, because they have neither a ticket nor a place in a
-- lease, and gives them a ticket. No such job should exist: this is maintenance's guard against a bug or a damaged
-- table.
--   after   look at jobs with higher ids
--   most    how many jobs to look at
-- Moves: what restore_jobs moves.
-- Returns the highest id that it looked at, null if it reached the last job, and how many jobs it gave a ticket.
-- Index: job's primary key from `after`, and the primary keys of the tickets. It reads all leases, if one of the jobs
-- has no ticket. So the cost does not grow with the tables. Only if it finds a job, it reads all tickets.
-- Survives: any other function at the same time (it looks with one snapshot; restore_jobs locks and looks again).
create or replace function "pawl".restore_lost(after bigint, most integer) returns table (reached bigint, restored bigint)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set jit = off as $$
#variable_conflict use_column
declare
  lost bigint[];
begin
  with slice as materialized (
    select j.id, j.epoch, j.queue, j.channel, j.priority, coalesce(j.pos, j.id) as pos, j.run_at
    from "pawl".job j
    where j.id > restore_lost.after
    order by j.id
    limit restore_lost.most
  ),
  loose as materialized (
    -- Scalar subqueries, because the planner may turn an exists into a hash of a whole table.
    select s.id, s.epoch
    from slice s
    where (select true from "pawl".ready t
           where t.queue = s.queue and t.priority = any (array[s.priority, -32768, -32769])
             and t.channel = s.channel and t.pos = s.pos and t.job_id = s.id limit 1) is null
      and (select true from "pawl".scheduled t
           where t.queue = s.queue and t.run_at = s.run_at and t.job_id = s.id) is null
      and (select true from "pawl".blocked t where t.job_id = s.id) is null
  )
  select case when (select count(*) from slice) = restore_lost.most then (select max(s.id) from slice s) end,
         array(select l.id from loose l
               except
               select u.id
               from "pawl".lease h, unnest(h.jobs, h.epochs) as u (id, epoch)
               join loose l on l.id = u.id and l.epoch = u.epoch
               where (select count(*) from loose) > 0) -- Else it does not read the leases.
  into reached, lost;
  restored := 0;
  if cardinality(lost) > 0 then
    restored := "pawl".restore_jobs(lost);
  end if;
  return next;
end $$;

-- role_name returns the name of one of this schema's roles: the schema's name, an underscore, and producer, worker,
-- reader or admin. If the schema's name is too long for that, the first 45 bytes and eight digits of its hash stand
-- for it.
create or replace function "pawl".role_name(what text) returns text language sql stable as $$
  select case when length(n.nspname) <= 54 then n.nspname::text
              else left(n.nspname::text, 45) || '_' || left(md5(n.nspname::text), 8) end || '_' || what
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.oid = '"pawl".job'::regclass
$$;

-- verify counts what breaks an invariant, for each problem: see violations. It returns no row if nothing is wrong.
-- Problems that may exist for a while in normal operation are left out. Moves nothing.
create or replace function "pawl".verify() returns table (problem text, jobs bigint, example bigint)
language sql stable as $$
  select b.what, count(*), min(b.id)
  from "pawl".violations() b
  where b.what <> all ('{permit-stray,lease-stray}')
  group by b.what
$$;

-- violations returns a row for each violation of an invariant: its name as in docs/doctor.md, and the id of the job
-- or batch, or the lease.
-- Moves nothing. It reads all live jobs and the archive's ids, so do not call it often. It is one statement and so
-- has one snapshot: it is as correct while jobs run as when nothing runs. Only permit-stray and lease-stray may
-- exist for a while, until maintenance removes them.
-- Nested loops are off, because the statistics of busy tables may be old: a table that seems small must not be read
-- repeatedly. It calls no other function of this schema, because Client.Verify runs this text where functions may
-- be missing.
create or replace function "pawl".violations() returns table (what text, id bigint, lease uuid)
language sql stable set enable_nestloop = off set jit = off as $$
  with place as (
    select t.job_id, t.epoch, 'ready' as kind, t.queue, t.channel, t.priority, t.pos, null::timestamptz as run_at
    from "pawl".ready t
    union all
    select s.job_id, s.epoch, 'scheduled', s.queue, null, null, null, s.run_at from "pawl".scheduled s
    union all
    select p.job_id, p.epoch, 'blocked', null, null, null, null, null from "pawl".blocked p
    union all
    select u.id, u.epoch, 'lease', null, null, null, null, null
    from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch)
  ),
  placed as (
    select coalesce(j.id, p.job_id) as id, j.id is not null as live, count(p.job_id) as places,
           bool_or(p.kind <> 'blocked') as out,
           bool_or(p.kind = 'ready' and (t.queue, t.channel, t.pos) <> (p.queue, p.channel, p.pos)
                   or p.kind = 'ready' and p.priority <> all (array[j.priority, -32768, -32769])
                   or p.kind = 'scheduled' and (p.queue, p.run_at) is distinct from (j.queue, j.run_at)) as misplaced
    from "pawl".job j
    full join place p on p.job_id = j.id and p.epoch = j.epoch
    cross join lateral (select j.queue, j.channel, coalesce(j.pos, j.id) as pos) t
    where j.id is not null or p.kind <> 'lease'
    group by 1, 2
  )
  select case when not p.live then 'ticket-stray' when p.places = 0 then 'ticket-missing'
              when p.places > 1 then 'ticket-twice' else 'ticket-misplaced' end, p.id, null::uuid
  from placed p
  where not p.live or p.places <> 1 or p.misplaced
  union all
  select 'ticket-blocked', p.job_id, null
  from "pawl".blocked p
  where p.expires_at is null
    and not exists (select from "pawl".dependency w where w.child_id = p.job_id)
    and not exists (
      select from "pawl".ordered_job own
      where own.job_id = p.job_id
        and (exists (select from "pawl".ordered_job t
                     where t.queue = own.queue and t.channel = own.channel and t.pos < own.pos)
             or exists (select from "pawl".halted_channel h where h.queue = own.queue and h.channel = own.channel)
             or exists (select from "pawl".followup l
                        where l.ordered and l.queue = own.queue and l.channel = own.channel))
    )
  union all
  select 'ticket-out-of-order', o.job_id, null
  from (
    select t.job_id, t.pos, min(t.pos) over (partition by t.queue, t.channel) as first_pos
    from "pawl".ordered_job t
    where exists (select from "pawl".job j where j.id = t.job_id)
  ) o
  where o.pos > o.first_pos and exists (select from placed p where p.id = o.job_id and p.live and p.out)
  union all
  select 'order-stray', t.job_id, null
  from "pawl".ordered_job t
  where not exists (select from "pawl".job j where j.id = t.job_id)
    and not exists (select from "pawl".followup l where l.job_id = t.job_id)
  union all
  select 'order-missing', j.id, null
  from "pawl".job j
  where j.opts ? 'ordered' and not exists (select from "pawl".ordered_job t where t.job_id = j.id)
  union all
  select distinct 'dependency-stray', w.parent_id, null::uuid
  from "pawl".dependency w
  where not exists (select from "pawl".job j where j.id = w.parent_id)
    and not exists (select from "pawl".followup l where l.job_id = w.parent_id)
    and not (w.keep_waiting and exists (select from "pawl".dead d where d.id = w.parent_id))
  union all
  select 'key-stray', h.job_id, null
  from "pawl".unique_key h
  where h.live and not exists (select from "pawl".job j where j.id = h.job_id)
  union all
  select 'key-missing', j.id, null
  from "pawl".job j
  where j.unique_key is not null and not coalesce(j.opts ? 'until_start', false)
    and not exists (select from "pawl".unique_key h where h.job_id = j.id and h.live)
  union all
  select 'job-unmarked', j.id, null
  from "pawl".job j
  where not j.constrained and (j.opts ?| array['ordered', 'batch'] or j.unique_key is not null)
  union all
  select distinct 'job-unmarked', w.parent_id, null::uuid
  from "pawl".dependency w
  join "pawl".job j on j.id = w.parent_id
  where not j.constrained
  union all
  select 'job-twice', d.id, null
  from "pawl".dead d
  where exists (select from "pawl".job j where j.id = d.id)
  union all
  select 'job-twice', u.id, null
  from "pawl".archive_chunk a, unnest(a.ids) as u (id)
  where exists (select from "pawl".job j where j.id = u.id)
  union all
  select 'permit-stray', p.job_id, null
  from "pawl".permit p
  where not exists (select from "pawl".lease l where l.id = p.lease and p.job_id = any (l.jobs))
  union all
  select 'lease-stray', null, l.id
  from "pawl".lease l
  where case when l.worker_id is null then l.expires_at is null
             else not exists (select from "pawl".worker w where w.id = l.worker_id) end
  union all
  select 'batch-count', b.id, null
  from "pawl".batch b
  left join (
    select u.batch, count(*) as n
    from (select (j.opts ->> 'batch')::bigint as batch from "pawl".job j where j.opts ? 'batch'
          union all
          select l.batch from "pawl".followup l where l.batch is not null) u
    group by u.batch
  ) c on c.batch = b.id
  where b.finished_at is null and b.completed + b.cancelled + b.dead + coalesce(c.n, 0) <> b.total
  union all
  select 'followup-failed', l.job_id, null
  from "pawl".followup l
  where l.id < 0
  union all
  select 'sequence-behind', m.top, null
  from (select max(u.id) as top
        from (select max(j.id) as id from "pawl".job j
              union all
              select max(t.pos) from "pawl".ready t
              union all
              select max(d.id) from "pawl".dead d) u) m
  where m.top > (select s.last_value from "pawl".pos s)
$$;

-- cancel cancels jobs, whatever their state, and returns how many it cancelled. The context of a running handler is
-- cancelled with the next heartbeat of its worker.
create or replace function "pawl".cancel(variadic ids bigint[]) returns bigint language sql set jit = off as $$
  select count(*) from "pawl".remove(cancel.ids, array_fill(null::integer, array[cardinality(cancel.ids)]), true)
$$;

-- claim claims up to n jobs of a queue by SQL, for `lasting`; after that, the jobs are claimed again. It does what
-- a session that works alone needs: it makes due jobs ready, rescues lost jobs, and runs the follow-ups of finished
-- jobs.
-- Returns the jobs, most urgent first. A session passes id and epoch to complete, fail, release and extend. It
-- calls rescue only if there is something to rescue, because rescue excludes every other rescue until this
-- transaction ends.
-- A job that cannot be read or sent is made dead with the reason unprocessable, and the others are returned.
-- jit is off, because the functions it calls read small tables whole. With enable_seqscan off that looks so
-- expensive that the plans were compiled, 150 ms for each claim.
create or replace function "pawl".claim(queue text, n integer default 1, lasting interval default null)
returns table (
  id bigint, epoch integer, kind text, args jsonb, data bytea, channel text, priority smallint, attempt integer,
  max_attempts smallint, headers jsonb, checkpoint jsonb, lease uuid
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  chosen constant uuid := gen_random_uuid();
  lanes  record;
begin
  if coalesce(claim.queue, '') = '' or coalesce(n, 0) < 1 or lasting <= '0' then
    raise exception 'pawl: claim of % of queue %: want a queue, n above 0, and a positive time or none',
      coalesce(n::text, 'null'), coalesce(claim.queue, 'null')
      using errcode = '22023';
  end if;
  perform pg_current_xact_id();
  perform from "pawl".lease l where l.expires_at < clock_timestamp() limit 1;
  if not found then
    perform from "pawl".worker w
    where w.gone_at is null and clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
    limit 1;
  end if;
  if found then
    perform "pawl".rescue(100, true, false);
  end if;
  perform "pawl".expire(100);
  perform "pawl".drop_stale_permits();
  perform "pawl".run_followups(100);
  perform "pawl".promote(array[claim.queue], array['-infinity'::timestamptz], greatest(n, 1));
  select array_agg(claim.queue) as queues, array_agg(l.priority) as priorities, array_agg(l.channel) as channels,
         array_agg(0::bigint) as marks, array_agg(9223372036854775807) as untils,
         array_agg(case when l.priority = -32769 then least(1, n) else n end) as quotas
  into lanes
  from (
    select l.priority, l.channel
    from (
      select l.priority, l.channel, bool_or(l.priority = -32769) over () as suspect
      from "pawl".discover_lanes(
             array[claim.queue], array[-2147483648], array[''],
             array[claim.queue], array[2147483647], array[''],
             array[claim.queue], false) l
    ) l
    where l.suspect = (l.priority = -32769) -- A suspect is claimed alone: no other job counts its crash.
    order by l.priority, random()
    limit 256
  ) l;
  if lanes.queues is null then
    return;
  end if;
  return query
  select c.id, c.epoch, c.kind, c.args, c.data, c.channel, c.priority, c.attempt + 1, c.max_attempts,
         c.opts -> 'headers', c.checkpoint -> 'value', chosen
  from "pawl".claim_readable(chosen, null, claim.lasting, n, lanes.queues, lanes.priorities, lanes.channels,
                           lanes.marks, lanes.untils, lanes.quotas) c
  where c.found
  order by c.lane, c.pos;
end $$;

-- complete completes a claimed job. It returns false if the job is not claimed at this epoch any more: roll back
-- the job's work.
create or replace function "pawl".complete(id bigint, epoch integer, result jsonb default null) returns boolean
language plpgsql set jit = off as $$
begin
  perform "pawl".lock_jobs(array[complete.id], array[complete.epoch]);
  perform from "pawl".complete(
    array[complete.id], array[complete.epoch], array[null::bigint], array[null::bigint], array[complete.result::text],
    null, '{}', '{}');
  return "pawl".return_permit(complete.id, found);
end $$;

-- extend extends the lease of a claimed job until now + lasting. It never shortens a lease.
--   lease   as claim returned it, also if the job was extended before
-- Returns false if the job is not claimed at this epoch any more.
-- A job that was claimed with others gets a lease of its own. The id of that lease is computed from the job, so
-- that the next call finds it.
create or replace function "pawl".extend(id bigint, epoch integer, lease uuid, lasting interval) returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  own constant uuid := md5(concat_ws(' ', extend.lease, extend.id, extend.epoch))::uuid;
begin
  if lasting is null or lasting <= '0' then
    raise exception 'pawl: extend by %: want a positive time; to return a job call release',
      coalesce(lasting::text, 'null') using errcode = '22023';
  end if;
  perform from "pawl".lease l where l.id = extend.lease for update;
  perform from "pawl".lease l where l.id = own;
  perform from "pawl".extend(
    array[extend.id], array[extend.epoch], array[case when found then own else extend.lease end], own, extend.lasting);
  return found;
end $$;

-- fail records that the attempt of a claimed job failed. The job runs again after `delay` seconds, or after its
-- backoff if delay is null, until its attempts are used up.
--   outcome   retry; snooze and release: run again, no attempt used; cancel; dead: dead, even if attempts are left
-- Returns what the job became: ready, scheduled, cancelled or dead; null if the job is not claimed at this epoch
-- any more.
create or replace function "pawl".fail(
  id bigint, epoch integer, error text, delay double precision default null, outcome text default 'retry'
) returns text
language plpgsql set jit = off as $$
declare
  state text;
begin
  if outcome is null or outcome <> all ('{retry,cancel,dead,snooze,release}') then
    raise exception 'pawl: there is no outcome %; want retry, cancel, dead, snooze or release', outcome
      using errcode = '22023';
  end if;
  perform "pawl".lock_jobs(array[fail.id], array[fail.epoch]);
  select f.became into state
  from "pawl".fail(array[fail.id], array[fail.epoch], array[fail.outcome],
                 array[case when fail.outcome in ('retry', 'snooze', 'release') then fail.delay end],
                 array[null::text],
                 array[case when fail.error is not null then jsonb_build_object('error', fail.error)::text end],
                 array[null::bigint], array[null::bigint], null) f;
  perform "pawl".return_permit(fail.id, state is not null);
  return state;
end $$;

-- insert inserts one job by SQL and returns its id. If another job has the unique key, it returns the id of that
-- job.
--   kind   selects the handler        args   JSON or null
--   opts   {queue, channel, priority, delay (seconds), run_at, max_attempts, fingerprint, headers {}, data
--          (base64), ordered, backoff {base, max, growth, power, jitter: seconds}, unique {key, period (seconds),
--          global, until_start, replace, reschedule}, reserve (seconds), after: [{id, on: ok | any | not_ok,
--          keep_waiting}], attempt (attempts used elsewhere)}
-- It raises SQLSTATE 22023 for options that do not exist and values that a claim could not read: see validate_spec.
-- It runs in the caller's transaction: in a trigger, the job exists if and only if the row does.
create or replace function "pawl".insert(kind text, args jsonb default null, opts jsonb default '{}') returns bigint
language sql set jit = off as $$
  select r.id from "pawl".insert_many(jsonb_build_array(jsonb_build_object('kind', kind, 'args', args, 'opts', opts))) r
$$;

-- insert_many inserts jobs by SQL, all or none: a JSON array of {kind, args, opts}, as insert takes them.
-- Returns for each job, in order, its id, and whether that is the id of the job that has the unique key.
-- Many jobs are inserted in parts, so that the array may take up to 260 MB as jsonb. PostgreSQL's limit is 268 MB.
create or replace function "pawl".insert_many(jobs jsonb) returns table (id bigint, duplicate boolean)
language plpgsql set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_column
declare
  most  constant integer := 260000000;
  wrong record;
  part  record;
begin
  if jsonb_typeof(jobs) is distinct from 'array' then
    raise exception 'pawl: insert_many wants a JSON array of {kind, args, opts}' using errcode = '22023';
  end if;
  -- The specs of a part take a little more than its jobs, and are one value too. Without || this is the size on disk.
  if pg_column_size(jobs || '[]') > most then
    raise exception 'pawl: insert_many: the array takes % bytes as jsonb; at most %: call it several times in one '
      'transaction', pg_column_size(jobs || '[]'), most using errcode = '54000';
  end if;
  select s.ord - 1 as index, s.value ->> 'kind' as kind, w.reason into wrong
  from jsonb_array_elements(jobs) with ordinality as s (value, ord),
       lateral (select "pawl".validate_spec(s.value) as reason) w
  where w.reason is not null
  order by s.ord
  limit 1;
  if found then
    raise exception 'pawl: job % (kind %): %', wrong.index, coalesce(left(wrong.kind, 64), 'null'), wrong.reason
      using errcode = '22023';
  end if;
  for part in
    select jsonb_agg(
             jsonb_strip_nulls(jsonb_build_object(
               'queue', coalesce(o.opts ->> 'queue', 'default'), 'channel', coalesce(o.opts ->> 'channel', ''),
               'priority', o.opts -> 'priority', 'kind', s.value -> 'kind', 'data', o.opts -> 'data',
               'delay', o.opts -> 'delay', 'run_at', o.opts -> 'run_at', 'attempts', o.opts -> 'max_attempts',
               'fingerprint', o.opts -> 'fingerprint', 'ordered', o.opts -> 'ordered',
               'key', o.opts -> 'unique' -> 'key', 'period', o.opts -> 'unique' -> 'period',
               'replace', o.opts -> 'unique' -> 'replace', 'reschedule', o.opts -> 'unique' -> 'reschedule',
               'reserve', o.opts -> 'reserve', 'after', o.opts -> 'after', 'attempt', o.opts -> 'attempt',
               'opts', nullif(jsonb_strip_nulls(jsonb_build_object(
                 'headers', o.opts -> 'headers',
                 'backoff', '{"base": 1, "max": 3600, "growth": 2, "power": 0, "jitter": 0.1}' || (o.opts -> 'backoff'),
                 'ordered', nullif(o.opts -> 'ordered', 'false'),
                 'global', nullif(o.opts -> 'unique' -> 'global', 'false'),
                 'until_start', nullif(o.opts -> 'unique' -> 'until_start', 'false'))), '{}')))
             order by s.ord) as specs,
           array_agg(nullif(s.value -> 'args', 'null') order by s.ord) as args
    from jsonb_array_elements(jobs) with ordinality as s (value, ord),
         lateral (select coalesce(nullif(s.value -> 'opts', 'null'), '{}') as opts) o
    group by (s.ord - 1) / 20000
    order by min(s.ord)
  loop
    return query select r.id, r.duplicate from "pawl".insert_constrained(part.specs, part.args) r;
  end loop;
end $$;

-- release returns a claimed job, to run again after `delay` seconds (0: at once, before all others). No attempt is
-- used. It returns false if the job is not claimed at this epoch any more.
create or replace function "pawl".release(id bigint, epoch integer, delay double precision default 0) returns boolean
language sql set jit = off as $$
  select "pawl".fail(release.id, release.epoch, null, release.delay, 'release') is not null
$$;

-- return_permit deletes the permits of a job whose result a SQL session has reported. It returns ok. If the result
-- was refused, the permits stay, because another claim may have the job now. But if the job does not exist, it was
-- cancelled or deleted while this session ran it, and the permits go.
create or replace function "pawl".return_permit(id bigint, ok boolean) returns boolean language plpgsql as $$
begin
  if ok or not exists (select from "pawl".job j where j.id = return_permit.id) then
    perform "pawl".free_permits(array_agg(p.job_id), array_agg(p.lease))
    from "pawl".permit p where p.job_id = return_permit.id having count(*) > 0;
  end if;
  return ok;
end $$;

-- validate_spec returns what is wrong with a job that SQL inserts ({kind, args, opts}); null if nothing is. It
-- checks what the Go client's Insert checks, so that no job is inserted that a claim could not read.
create or replace function "pawl".validate_spec(job jsonb) returns text language plpgsql stable parallel safe as $$
#variable_conflict use_variable
declare
  opts jsonb := jsonb_strip_nulls(coalesce(nullif(job -> 'opts', 'null'), '{}'));
  one  record;
  bad  text;
  moment timestamptz;
begin
  if jsonb_typeof(job -> 'kind') is distinct from 'string' or job ->> 'kind' = '' then
    return 'it has no kind';
  elsif jsonb_typeof(opts) <> 'object' then
    return 'its opts are no object';
  end if;
  select j.key into bad from jsonb_object_keys(job) as j (key) where j.key <> all ('{kind,args,opts}') limit 1;
  if found then
    return format('there is no field %s; want kind, args and opts', bad);
  end if;
  for one in
    select o.key, o.value, case
      when o.key in ('queue', 'channel', 'fingerprint', 'data', 'run_at') then 'string'
      when o.key in ('priority', 'delay', 'max_attempts', 'reserve', 'attempt') then 'number'
      when o.key in ('headers', 'backoff', 'unique') then 'object'
      when o.key = 'ordered' then 'boolean' when o.key = 'after' then 'array' end as want
    from jsonb_each(opts) as o (key, value)
  loop
    if one.want is null then
      return 'there is no option ' || one.key;
    elsif jsonb_typeof(one.value) <> one.want then
      return format('%s is no %s', one.key, one.want);
    end if;
  end loop;
  for one in
    select n.what, n.name
    from (values ('kind', job ->> 'kind'), ('queue', opts ->> 'queue'), ('channel', opts ->> 'channel'),
                 ('fingerprint', opts ->> 'fingerprint'), ('unique.key', opts -> 'unique' ->> 'key')) as n (what, name)
  loop
    if octet_length(one.name) > 255 then
      return format('%s is %s bytes long; at most 255', one.what, octet_length(one.name));
    end if;
  end loop;
  for one in
    select u.key, u.value, case
      when u.key = 'key' then 'string' when u.key = 'period' then 'number'
      when u.key in ('global', 'until_start', 'replace', 'reschedule') then 'boolean' end as want
    from jsonb_each(coalesce(opts -> 'unique', '{}')) as u (key, value)
  loop
    if one.want is null then
      return 'there is no option unique.' || one.key;
    elsif jsonb_typeof(one.value) <> one.want then
      return format('unique.%s is no %s', one.key, one.want);
    end if;
  end loop;
  select o.key into bad from jsonb_each(opts) as o (key, value)
  where o.key in ('priority', 'max_attempts', 'attempt') and o.value::text !~ '^-?[0-9]{1,9}$' limit 1;
  if found then
    return format('%s is no whole number of at most nine digits, written without a decimal point', bad);
  end if;
  if opts ? 'run_at' then
    begin
      moment := (opts ->> 'run_at')::timestamptz;
    exception when invalid_datetime_format or datetime_field_overflow or invalid_parameter_value then
      return format('run_at: %s is no time; want one such as 2030-01-31 12:00:00+00',
                    quote_literal(left(opts ->> 'run_at', 64)));
    end;
    if not isfinite(moment) or extract(year from moment) not between 1900 and 9999 then
      return format('run_at is %s; want a time in the years 1900 to 9999', left(opts ->> 'run_at', 64));
    end if;
  end if;
  if opts ? 'data' then
    begin
      perform decode(opts ->> 'data', 'base64');
    exception when invalid_parameter_value then
      return 'data is no base64: ' || sqlerrm;
    end;
  end if;
  -- A number of twelve bytes may be 147,455 digits, so a smaller value cannot have as much text.
  if pg_column_size(job -> 'args') > 4096 and octet_length((job -> 'args')::text) > 67108864 then
    return format('its args are %s bytes of JSON; at most 67108864', octet_length((job -> 'args')::text));
  end if;
  select b.key into bad from jsonb_each(coalesce(opts -> 'backoff', '{}')) as b (key, value)
  where b.key <> all ('{base,max,growth,power,jitter}') or jsonb_typeof(b.value) <> 'number'
     or b.key in ('base', 'max', 'growth') and (b.value::numeric <= 0 or b.value::numeric > 3155760000)
     or b.key = 'power' and abs(b.value::numeric) > 100
     or b.key = 'jitter' and b.value::numeric not between 0 and 1
  limit 1;
  return case
    when bad is not null
      then format('backoff.%s: want base, max and growth above 0 and up to 3155760000 (100 years), '
                  'power from -100 to 100, jitter from 0 to 1', bad)
    when opts ->> 'queue' = '' then 'queue is empty'
    when (opts ->> 'priority')::numeric not between -32768 and 32767 then 'want a priority from -32768 to 32767'
    when (opts ->> 'max_attempts')::numeric not between 1 and 32767 then 'want max_attempts from 1 to 32767'
    when (opts ->> 'attempt')::numeric not between 0 and 32766 then 'want attempt, those used already, from 0 to 32766'
    when (opts ->> 'delay')::numeric not between 0 and 3155760000
      then 'want a delay from 0 to 3155760000 seconds (100 years)'
    when (opts ->> 'reserve')::numeric <= 0 or (opts ->> 'reserve')::numeric > 3155760000
      then 'want a reserve above 0 and up to 3155760000 seconds (100 years)'
    when opts ? 'delay' and opts ? 'run_at' then 'delay beside run_at: one of them'
    when (opts -> 'ordered')::boolean and (opts ->> 'priority')::numeric <> 0 then 'an ordered job has no priority'
    when opts ? 'unique' and coalesce(opts -> 'unique' ->> 'key', '') = '' then 'unique has no key'
    when (opts -> 'unique' ->> 'period')::numeric not between 0 and 3155760000
      then 'want a unique.period from 0 to 3155760000 seconds (100 years)'
    when exists (select from jsonb_each(coalesce(opts -> 'headers', '{}')) as h (key, value)
                 where jsonb_typeof(h.value) <> 'string')
      then 'headers are strings by name'
    when exists (select from jsonb_array_elements(coalesce(opts -> 'after', '[]')) as a (value)
                 where jsonb_typeof(a.value) <> 'object'
                    or not case when jsonb_typeof(a.value -> 'id') = 'number'
                                then (a.value ->> 'id') ~ '^[1-9][0-9]{0,17}$' else false end
                    or coalesce(a.value ->> 'on', 'ok') <> all ('{ok,any,not_ok}')
                    or jsonb_typeof(a.value -> 'keep_waiting') <> 'boolean'
                    or case when jsonb_typeof(a.value) = 'object'
                            then exists (select from jsonb_object_keys(a.value) as k (key)
                                         where k.key <> all ('{id,on,keep_waiting}')) end)
      then 'after: want {id, on: ok, any or not_ok, keep_waiting}'
  end;
end $$;

-- acquire_permits gets permits of named limits for a running job, all or none.
--   keys         names of the limits, at most 1,000 of 1 to 255 bytes
--   most         how many jobs may have a permit of each
--   job, lease   the running job, and the lease that has it
-- Returns whether the job has the permits now. It waits for other calls with the same keys, whose transactions are
-- as short.
-- Index: permit's primary key.
-- Survives: two calls at once (the mutexes of the keys are locked, sorted, in a statement before the permits are
-- counted).
create or replace function "pawl".acquire_permits(keys text[], most integer, job bigint, lease uuid) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  taken boolean;
begin
  if cardinality(acquire_permits.keys) > 1000 or array_position(acquire_permits.keys, null) is not null
     or exists (select from unnest(acquire_permits.keys) as k (key)
                where octet_length(k.key) not between 1 and 255) then
    raise exception 'pawl: acquire permits: want up to 1,000 keys of 1 to 255 bytes' using errcode = '22023';
  end if;
  perform "pawl".lock_mutexes('semaphore', array_fill(''::text, array[cardinality(acquire_permits.keys)]),
                            acquire_permits.keys);
  select bool_or((
           select count(*) from "pawl".permit p
           where p.queue = '' and p.channel = u.key and p.job_id <> acquire_permits.job
         ) >= acquire_permits.most)
  into taken
  from unnest(acquire_permits.keys) as u (key);
  if taken then
    return false;
  end if;
  -- A permit belongs to a lease, and goes with it. Without that it would stay.
  insert into "pawl".permit (queue, channel, job_id, lease)
  select '', u.key, acquire_permits.job, l.id
  from "pawl".lease l, unnest(acquire_permits.keys) as u (key)
  where l.id = acquire_permits.lease and acquire_permits.job = any (l.jobs)
  on conflict do nothing;
  return exists (select from "pawl".lease l where l.id = acquire_permits.lease and acquire_permits.job = any (l.jobs));
end $$;

-- available_tokens returns how many jobs a rate limit allows to start now, with fractions. It returns null if there
-- is no rate.
-- Moves nothing. Index: bucket's primary key.
create or replace function "pawl".available_tokens(queue text, of_channel boolean, channel text, rate jsonb)
returns double precision
language sql volatile as $$
  select case when available_tokens.rate is not null then coalesce(
    (select least((available_tokens.rate ->> 'burst')::double precision,
                  b.tokens + greatest(extract(epoch from clock_timestamp() - b.at), 0)
                             * (available_tokens.rate ->> 'n')::double precision
                             / (available_tokens.rate ->> 'per')::double precision)
     from "pawl".bucket b
     where b.queue = available_tokens.queue and b.of_channel = available_tokens.of_channel
       and b.channel = available_tokens.channel),
    (available_tokens.rate ->> 'burst')::double precision) end
$$;

-- bury makes a live job dead because the database cannot read, send or store its row: the reason is unprocessable.
--   id, epoch   the job. The caller has deleted its ticket, or the job is running
--   problem     what the database said. It is kept as the job's last error
-- Moves: the job row to dead. It reads none of the columns that may be broken. A column that cannot even be copied
-- is left out, and then the error says so.
-- Returns whether the job was live at this epoch and its row was not locked.
-- Index: job's primary key.
-- Survives: another transaction that has locked the row (the job is skipped).
create or replace function "pawl".bury(id bigint, epoch integer, problem text) returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  moment constant timestamptz := clock_timestamp();
  entry  jsonb := jsonb_build_object('attempt', 0, 'at', moment, 'worker', '',
                                     'error', 'pawl: the job cannot be processed: ' || left(bury.problem, 2000));
  own    record;
  ended  jsonb;
begin
  select j.queue, j.channel, j.constrained, least(j.attempt + 1, 32767)::smallint as attempt,
         coalesce(q.retain_dead, interval '30 days') as retain
  into own
  from "pawl".job j
  left join "pawl".queue q on q.name = j.queue
  where j.id = bury.id and j.epoch = bury.epoch
  for update of j skip locked;
  if not found then
    return false;
  end if;
  entry := entry || jsonb_build_object('attempt', own.attempt);
  begin
    with over as (
      delete from "pawl".job j where j.id = bury.id returning j.*
    ),
    buried as (
      insert into "pawl".dead (id, epoch, finished_at, expires_at, created_at, run_at, priority, attempt, max_attempts,
                             crashes, reason, queue, channel, kind, args, data, fingerprint, unique_key, opts, errors,
                             checkpoint)
      select o.id, o.epoch, moment, moment + own.retain, o.created_at, o.run_at, o.priority, own.attempt,
             o.max_attempts, o.crashes, 'unprocessable', o.queue, o.channel, o.kind, o.args, o.data, o.fingerprint,
             o.unique_key, o.opts,
             case when jsonb_typeof(o.errors) = 'array'
                  then case when jsonb_array_length(o.errors) >= 10 then o.errors - 0 else o.errors end
                  else '[]' end || entry,
             o.checkpoint
      from over o
      where own.retain > '0'
    )
    select "pawl".followup_of(o.id, o.queue, o.channel, o.opts) into ended from over o where o.constrained;
  exception when others then
    with over as (
      delete from "pawl".job j where j.id = bury.id
      returning j.id, j.epoch, j.created_at, j.run_at, j.priority, j.max_attempts, j.crashes, j.queue, j.channel, j.kind
    )
    insert into "pawl".dead (id, epoch, finished_at, expires_at, created_at, run_at, priority, attempt, max_attempts,
                           crashes, reason, queue, channel, kind, errors)
    select o.id, o.epoch, moment, moment + own.retain, o.created_at, o.run_at, o.priority, own.attempt,
           o.max_attempts, o.crashes, 'unprocessable', o.queue, o.channel, o.kind, jsonb_build_array(
             entry || jsonb_build_object('error', (entry ->> 'error')
               || '; its args, data, options, errors and checkpoint cannot be copied: ' || left(sqlerrm, 500)))
    from over o
    where own.retain > '0';
    -- What the options said is lost. A batch then counts the job as missing, and repair counts it as deleted.
    ended := jsonb_build_object(
      'id', bury.id, 'queue', own.queue, 'channel', own.channel, 'batch', null,
      'ordered', exists (select from "pawl".ordered_job t where t.job_id = bury.id));
  end;
  if own.constrained then
    perform "pawl".record_followups(jsonb_build_array(ended), 'dead');
  end if;
  perform "pawl".wake_awaiting(array[bury.id]);
  return true;
end $$;

-- bury_unreadable makes the jobs dead that no client can read, among those that a claim would take. A claim calls it
-- after the database failed to compute, encode or send a row.
--   parameters as claim
-- Moves: tickets of unreadable jobs out of ready, and their rows to dead (bury). Only a job whose own row fails is
-- moved. It locks the tickets until the transaction ends, so that a claim in the same transaction takes these. It reads
-- no more jobs than claim_bounded would claim.
-- Returns these jobs, where their tickets were, and why they are unreadable.
-- Index: ready's primary key, from each mark; job's primary key.
-- Survives: other claims at the same time (skip locked).
create or replace function "pawl".bury_unreadable(
  most integer, queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[]
) returns table (id bigint, queue text, lane integer, channel text, pos bigint, problem text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  ids bigint[];
  bad record;
  it  record;
begin
  ids := array(
    select s.job_id
    from (
      select t.job_id, t.epoch, row_number() over w as n,
             sum("pawl".expanded_size(j.args, j.data, j.checkpoint)) over w as bytes
      from (
        select u.ord, t.pos, t.job_id, t.epoch
        from unnest(bury_unreadable.queues, bury_unreadable.priorities, bury_unreadable.channels, bury_unreadable.marks,
                    bury_unreadable.untils, bury_unreadable.quotas)
               with ordinality as u (queue, priority, channel, mark, until, quota, ord),
             lateral (
               select t.pos, t.job_id, t.epoch
               from "pawl".ready t
               where t.queue = u.queue and t.priority = u.priority and t.channel = u.channel
                 and t.pos > u.mark and t.pos <= u.until
               order by t.pos
               limit u.quota
               for update skip locked
             ) t
        limit bury_unreadable.most
      ) t
      left join "pawl".job j on j.id = t.job_id and j.epoch = t.epoch
      window w as (order by t.ord, t.pos)
    ) s
    where s.n = 1 or s.bytes <= 268435456
  );
  for bad in select f.id, f.problem from "pawl".find_unreadable(ids, 16) f loop
    select t.queue, t.priority, t.channel, t.pos, t.epoch into it
    from "pawl".job j
    join lateral (
      select t.*
      from "pawl".ready t
      where t.queue = j.queue and t.priority = any (array[j.priority, -32768, -32769]) and t.channel = j.channel
        and t.pos = coalesce(j.pos, j.id) and t.job_id = j.id and t.epoch = j.epoch
      for update skip locked
    ) t on true
    where j.id = bad.id;
    continue when not found or not "pawl".bury(bad.id, it.epoch, bad.problem);
    delete from "pawl".ready t
    where t.queue = it.queue and t.priority = it.priority and t.channel = it.channel and t.pos = it.pos;
    return query select bad.id, it.queue, it.priority, it.channel, it.pos, bad.problem;
  end loop;
end $$;

-- check_claim_size fails if the jobs of a claim may need more than 256 MB together when they are sent.
create or replace function "pawl".check_claim_size(bytes numeric) returns boolean language plpgsql immutable as $$
begin
  if bytes > 268435456 then
    raise exception 'pawl: the jobs of a claim may need % bytes together; at most 268435456', bytes
      using errcode = '54PWL', hint = 'claim fewer jobs at once';
  end if;
  return true;
end $$;

-- claim claims up to `most` jobs from the given lanes, in the order of the lanes, with one new lease.
--   lease     chosen by the caller, so that it can ask about a reply that was lost
--   worker    id of the worker; null for a consumer
--   lasting   how long the lease lasts. A worker's lease with null lasts as long as the worker lives. '0', or a
--             consumer's null, means the lease of the queue, else 30 s
--   queues, priorities, channels, marks, untils, quotas   parts of lanes: take tickets above the mark and up to
--                                                         until, at most the quota
-- Moves: tickets out of ready; one lease row in; unique keys that are held until the start of their jobs are freed.
-- Returns a row for each ticket taken. `found` is false if the ticket had no job, so that a claim that took only
-- such tickets differs from a claim that found none. A lease was made if any row has a job. If a limit cut a part
-- of a lane short, there is also a row without a position for that part; its id is the milliseconds after which the
-- caller should ask again.
-- It fails with SQLSTATE 54PWL if there are several jobs that could need more than 256 MB together when they are
-- sent: see claim_bounded. If the columns of all jobs take less than 1 MB on disk, it does not look more closely.
-- Index: ready's primary key, from each mark; job's primary key.
-- Survives: two claims at once (skip locked); another function at work on a job (it has locked the ticket, so no
-- job is joined at an old epoch); a worker that was declared lost meanwhile (it claims nothing, and so does a
-- suspended worker that was registered by hand); a paused queue (it gives nothing) and a limited one (it gives what
-- its limits leave).
create or replace function "pawl".claim(
  lease uuid, worker bigint, lasting interval, most integer,
  queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[]
) returns table (
  queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb,
  data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean,
  permit boolean, created_at timestamptz, run_at timestamptz, fingerprint text, unique_key text, opts jsonb,
  errors jsonb, checkpoint jsonb, now timestamptz
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  limited text[] := array(
    select q.name from "pawl".queue q where q.limited and q.name = any (claim.queues) order by q.name
  );
  allowed integer[] := claim.quotas;
  waits   double precision[];
begin
  if cardinality(limited) > 0 then
    select a.quotas, a.waits into allowed, waits
    from "pawl".limit_quotas(
           limited, claim.queues, claim.priorities, claim.channels, claim.marks, claim.untils, claim.quotas) a;
    -- A part of a lane that a limit cut short is not empty: a row without a position says so.
    return query
    select u.queue, u.priority, u.channel, null::bigint, (u.wait * 1000)::bigint, false, null::integer, null::text,
           null::jsonb, null::bytea, null::smallint, null::smallint, null::smallint, null::smallint, null::boolean,
           null::boolean, null::timestamptz, null::timestamptz, null::text, null::text, null::jsonb, null::jsonb,
           null::jsonb, clock_timestamp()
    from unnest(claim.queues, claim.priorities, claim.channels, waits) as u (queue, priority, channel, wait)
    where u.wait is not null;
  end if;
  return query
  with taken as materialized (
    select r.ctid
    from unnest(claim.queues, claim.priorities, claim.channels, claim.marks, claim.untils, allowed)
           as u (queue, priority, channel, mark, until, quota),
         lateral (
           select t.ctid
           from "pawl".ready t
           where t.queue = u.queue and t.priority = u.priority and t.channel = u.channel
             and t.pos > u.mark and t.pos <= u.until
           order by t.pos
           limit u.quota
           for update skip locked
         ) r
    where not exists (select from "pawl".queue q where q.name = u.queue and q.paused)
      and (claim.worker is null
           or exists (
             select from "pawl".worker w
             where w.id = claim.worker and w.gone_at is null and (w.pid <> 0 or w.state = 'ready')
           ))
    limit claim.most
  ),
  ticket as (
    delete from "pawl".ready t
    where t.ctid = any (array(select ctid from taken))
    returning t.queue, t.priority, t.channel, t.pos, t.job_id, t.epoch
  ),
  claimed as materialized (
    select t.queue, t.priority as lane, t.channel, t.pos, t.job_id, t.epoch, j.id, j.kind, j.args, j.data,
           j.priority, j.attempt, q.lease as lasting,
           coalesce(j.max_attempts, q.max_attempts, 20::smallint) as max_attempts, j.crashes, j.constrained,
           q.max_running is not null or q.channel_max_running is not null as permit,
           j.created_at, j.run_at, j.fingerprint, j.unique_key, j.opts, j.errors, j.checkpoint
    from ticket t
    left join "pawl".job j on j.id = t.job_id and j.epoch = t.epoch
    left join "pawl".queue q on q.name = t.queue
  ),
  leased as (
    insert into "pawl".lease (id, worker_id, expires_at, jobs, epochs)
    select claim.lease, claim.worker,
           case when claim.worker is null or claim.lasting is not null
                then clock_timestamp() + coalesce(
                  nullif(claim.lasting, '0'),
                  case when max(c.lasting) > '100 years' then interval '100 years' else max(c.lasting) end,
                  '30 seconds') end,
           array_agg(c.id), array_agg(c.epoch)
    from claimed c
    where c.id is not null
    having count(*) > 0
  ),
  freed as (
    delete from "pawl".unique_key k
    using claimed c
    where c.constrained and k.job_id = any (array[c.id]) and k.until_start
      and (k.keep_until is null or k.keep_until <= clock_timestamp())
  ),
  started as (
    update "pawl".unique_key k
    set live = false
    from claimed c
    where c.constrained and k.job_id = any (array[c.id]) and k.until_start and k.keep_until > clock_timestamp()
  )
  select c.queue, c.lane, c.channel, c.pos, c.job_id, c.id is not null, c.epoch, c.kind, c.args, c.data,
         c.priority, c.attempt, c.max_attempts, c.crashes, c.constrained, c.permit, c.created_at, c.run_at,
         c.fingerprint, c.unique_key, c.opts, c.errors, c.checkpoint, clock_timestamp()
  from claimed c
  -- It is computed before the first row is returned.
  where (
    select case when count(*) > 1
                     and coalesce(sum(pg_column_size(c.args)), 0) + coalesce(sum(pg_column_size(c.data)), 0)
                         + coalesce(sum(pg_column_size(c.checkpoint)), 0) > 1048576
                then (select "pawl".check_claim_size(sum("pawl".expanded_size(c.args, c.data, c.checkpoint)))
                      from claimed c)
                else true end
    from claimed c
  );
  if cardinality(limited) > 0 then
    perform "pawl".record_usage(limited, claim.lease);
  end if;
end $$;

-- claim_bounded is claim for large jobs. It claims as many of them as need at most 256 MB together when they are sent,
-- or one job.
--   parameters as claim
-- Moves: what claim moves. Returns what claim returns. If it claims fewer jobs of a part of a lane than it was asked
-- for, there is also a row without a position for that part, as for a limit.
-- It looks at the sizes of the jobs first, and then claims with smaller quotas. If other claims took some of the
-- tickets meanwhile, the next jobs may be larger; then it looks again.
-- Index: ready's and job's primary keys.
-- Survives: what claim survives.
create or replace function "pawl".claim_bounded(
  lease uuid, worker bigint, lasting interval, most integer,
  queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[]
) returns table (
  queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb,
  data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean,
  permit boolean, created_at timestamptz, run_at timestamptz, fingerprint text, unique_key text, opts jsonb,
  errors jsonb, checkpoint jsonb, now timestamptz
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  ask     integer := claim_bounded.most;
  allowed integer[];
  cut     bigint; -- the first part of which not all jobs fit
begin
  for round in 1 .. 10 loop
    with ticket as materialized (
      select u.ord, t.pos, t.job_id, t.epoch
      from unnest(claim_bounded.queues, claim_bounded.priorities, claim_bounded.channels, claim_bounded.marks,
                  claim_bounded.untils, claim_bounded.quotas)
             with ordinality as u (queue, priority, channel, mark, until, quota, ord),
           lateral (
             select t.pos, t.job_id, t.epoch
             from "pawl".ready t
             where t.queue = u.queue and t.priority = u.priority and t.channel = u.channel
               and t.pos > u.mark and t.pos <= u.until
             order by t.pos
             limit u.quota
           ) t
      limit claim_bounded.most
    ),
    sized as materialized (
      select s.ord, s.n = 1 or s.n <= ask and s.bytes <= 268435456 as fits
      from (
        select t.ord, row_number() over w as n,
               sum("pawl".expanded_size(j.args, j.data, j.checkpoint)) over w as bytes
        from ticket t
        left join "pawl".job j on j.id = t.job_id and j.epoch = t.epoch
        window w as (order by t.ord, t.pos)
      ) s
    )
    select array(
             select (select count(*) from sized s where s.ord = u.ord and s.fits)::integer
             from unnest(claim_bounded.quotas) with ordinality as u (quota, ord)
             order by u.ord
           ),
           (select min(s.ord) from sized s where not s.fits)
    into allowed, cut;
    if cut is null then
      allowed := claim_bounded.quotas;
    end if;
    begin
      return query
      select c.*
      from "pawl".claim(
        claim_bounded.lease, claim_bounded.worker, claim_bounded.lasting, claim_bounded.most, claim_bounded.queues,
        claim_bounded.priorities, claim_bounded.channels, claim_bounded.marks, claim_bounded.untils, allowed) c;
      return query
      select u.queue, u.priority, u.channel, null::bigint, 0::bigint, false, null::integer, null::text, null::jsonb,
             null::bytea, null::smallint, null::smallint, null::smallint, null::smallint, null::boolean,
             null::boolean, null::timestamptz, null::timestamptz, null::text, null::text, null::jsonb, null::jsonb,
             null::jsonb, clock_timestamp()
      from unnest(claim_bounded.queues, claim_bounded.priorities, claim_bounded.channels)
             with ordinality as u (queue, priority, channel, ord)
      where u.ord >= cut;
      return;
    exception when sqlstate '54PWL' then
      ask := greatest(ask / 2, 1);
    end;
  end loop;
  raise exception 'pawl: other claims took the jobs that fit; claim again' using errcode = '40001';
end $$;

-- claim_readable is claim for callers that must not fail because of one row: a claim that has just failed because the
-- database could not compute, encode or send a row, and claims in a caller's transaction. It makes the jobs dead that
-- no client can read (bury_unreadable), and claims the others (claim, or claim_bounded if they are large).
--   parameters as claim
-- Moves: what these functions move.
-- Returns the columns of claim, with finite times. For each job that it made dead, it returns a row with `found`
-- false whose kind is "unprocessable" and whose unique_key is the error.
-- Index: those of these functions. It reads each row twice.
-- Survives: what claim survives.
create or replace function "pawl".claim_readable(
  lease uuid, worker bigint, lasting interval, most integer,
  queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[]
) returns table (
  queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb,
  data bytea, priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean,
  permit boolean, created_at timestamptz, run_at timestamptz, fingerprint text, unique_key text, opts jsonb,
  errors jsonb, checkpoint jsonb, now timestamptz
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  until  constant timestamptz := clock_timestamp() + interval '5 seconds';
  buried bigint;
begin
  -- When jobs have left, a claim takes others in their place. These may be unreadable, too.
  for round in 1 .. 20 loop
    return query
    select b.queue, b.lane, b.channel, b.pos, b.id, false, null::integer, 'unprocessable', null::jsonb, null::bytea,
           null::smallint, null::smallint, null::smallint, null::smallint, null::boolean, null::boolean,
           null::timestamptz, null::timestamptz, null::text, b.problem, null::jsonb, null::jsonb, null::jsonb,
           clock_timestamp()
    from "pawl".bury_unreadable(
      claim_readable.most, claim_readable.queues, claim_readable.priorities, claim_readable.channels,
      claim_readable.marks, claim_readable.untils, claim_readable.quotas) b;
    get diagnostics buried = row_count;
    exit when buried = 0;
    if clock_timestamp() > until then
      return; -- There may be more of them. What was found must not be lost because the caller loses patience.
    end if;
  end loop;
  begin
    return query
    select c.queue, c.lane, c.channel, c.pos, c.id, c.found, c.epoch, c.kind, c.args, c.data, c.priority, c.attempt,
           c.max_attempts, c.crashes, c.constrained, c.permit, "pawl".finite(c.created_at), "pawl".finite(c.run_at),
           c.fingerprint, c.unique_key, c.opts, c.errors, c.checkpoint, c.now
    from "pawl".claim(
      claim_readable.lease, claim_readable.worker, claim_readable.lasting, claim_readable.most, claim_readable.queues,
      claim_readable.priorities, claim_readable.channels, claim_readable.marks, claim_readable.untils,
      claim_readable.quotas) c;
  exception when sqlstate '54PWL' then
    return query
    select c.queue, c.lane, c.channel, c.pos, c.id, c.found, c.epoch, c.kind, c.args, c.data, c.priority, c.attempt,
           c.max_attempts, c.crashes, c.constrained, c.permit, "pawl".finite(c.created_at), "pawl".finite(c.run_at),
           c.fingerprint, c.unique_key, c.opts, c.errors, c.checkpoint, c.now
    from "pawl".claim_bounded(
      claim_readable.lease, claim_readable.worker, claim_readable.lasting, claim_readable.most, claim_readable.queues,
      claim_readable.priorities, claim_readable.channels, claim_readable.marks, claim_readable.untils,
      claim_readable.quotas) c;
  end;
end $$;

-- discover_lanes finds lanes with tickets in ready inside the given gaps, and queues with tickets in scheduled that
-- the caller does not know yet.
--   lows, highs   the gaps: lanes strictly between (low_queue, low_priority, low_channel) and (high_…). The caller
--                 leaves out the lanes it knows, because a scan would read every dead ticket below the mark of such
--                 a lane
--   queues        the queues that the caller knows or serves
--   any_queue     look for other queues in scheduled
--   most          how many lanes to return at most; null: all. With that many, the search has ended at the last one
-- Moves nothing. Returns lanes, and queues with priority null.
-- Index: a loose scan over the primary keys, one descent for each lane.
-- A gap is searched in steps: the rest of a priority, the rest of a queue, the queues between, and down to the end
-- of the gap. Each step is bounded in one column while the columns before it are equal, because only such a bound
-- ends the scan of a b-tree. One row comparison as the bound is correct too, but the scan then reads every dead
-- ticket of the lane to leave out.
create or replace function "pawl".discover_lanes(
  low_queues text[], low_priorities integer[], low_channels text[],
  high_queues text[], high_priorities integer[], high_channels text[],
  queues text[], any_queue boolean, most integer default null
) returns table (queue text, priority integer, channel text)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_variable
declare
  top_channel  constant text    := chr(1114111); -- U+10FFFF.
  top_priority constant integer := 2147483647;
  high_queue text; high_priority integer; high_channel text;
  pos   bigint; -- the search goes on above (queue, priority, channel, pos)
  top   text;
  below integer;
  hit   record;
  n     integer := 0;
  known text[];
begin
  for i in 1 .. cardinality(low_queues) loop
    queue := low_queues[i]; priority := low_priorities[i]; channel := low_channels[i]; pos := 9223372036854775807;
    high_queue := high_queues[i]; high_priority := high_priorities[i]; high_channel := high_channels[i];
    loop
      top := case when queue = high_queue and priority = high_priority then high_channel else top_channel end;
      select t.channel into hit
      from "pawl".ready t
      where t.queue = queue and t.priority = priority
        and t.channel >= channel and (t.channel, t.pos) > (channel, pos) and t.channel < top
      order by t.channel, t.pos limit 1;
      if found then
        channel := hit.channel; pos := 9223372036854775807;
        return next;
        n := n + 1;
        if n >= most then
          return;
        end if;
        continue;
      end if;
      exit when queue = high_queue and priority = high_priority;

      below := case when queue = high_queue then high_priority else top_priority end;
      select t.priority, t.channel into hit
      from "pawl".ready t
      where t.queue = queue and t.priority > priority and t.priority < below
      order by t.priority, t.channel, t.pos limit 1;
      if found then
        priority := hit.priority; channel := hit.channel; pos := 9223372036854775807;
        return next;
        n := n + 1;
        if n >= most then
          return;
        end if;
        continue;
      end if;
      if queue = high_queue then
        priority := high_priority; channel := ''; pos := -1;
        continue;
      end if;

      select t.queue, t.priority, t.channel into hit
      from "pawl".ready t
      where t.queue > queue and t.queue < high_queue
      order by t.queue, t.priority, t.channel, t.pos limit 1;
      if found then
        queue := hit.queue; priority := hit.priority; channel := hit.channel; pos := 9223372036854775807;
        return next;
        n := n + 1;
        if n >= most then
          return;
        end if;
        continue;
      end if;
      queue := high_queue; priority := -2147483648; channel := ''; pos := -1;
    end loop;
  end loop;
  if not any_queue then
    return;
  end if;
  priority := null; channel := null;
  known := array(select distinct u.q from unnest(queues) u (q) order by 1);
  for i in 0 .. cardinality(known) loop
    queue := case when i = 0 then '' else known[i] end;
    high_queue := case when i < cardinality(known) then known[i + 1] else top_channel end;
    loop
      select s.queue into hit
      from "pawl".scheduled s
      where s.queue > queue and s.queue < high_queue
      order by s.queue, s.run_at limit 1;
      exit when not found;
      queue := hit.queue;
      return next;
    end loop;
  end loop;
end $$;

-- drop_stale_permits deletes permits whose lease is gone, because a worker died or a consumer did not return. It
-- returns their number, and wakes runners that may wait for a permit.
-- Index: none; permit has one row for each running job of limited queues.
-- Survives: a claim at the same time (its permits and its lease are committed together).
create or replace function "pawl".drop_stale_permits() returns bigint language plpgsql as $$
#variable_conflict use_column
declare
  queues text[];
  n      bigint;
begin
  with gone as (
    delete from "pawl".permit p
    where not exists (select from "pawl".lease l where l.id = p.lease)
    returning p.queue
  )
  select count(*), array_agg(distinct g.queue) filter (where g.queue <> '') into n, queues from gone g;
  perform "pawl".wake(queues);
  return n;
end $$;

-- expanded_size returns how many bytes the columns of a job may have when they are decompressed. It does not read
-- them: it multiplies their size on disk by what the compression can save at most.
create or replace function "pawl".expanded_size(args jsonb, data bytea, checkpoint jsonb) returns bigint
language sql stable parallel safe as $$
  select coalesce(pg_column_size(args)::bigint
                  * case pg_column_compression(args) when 'pglz' then 90 when 'lz4' then 255 else 1 end, 0)
       + coalesce(pg_column_size(data)::bigint
                  * case pg_column_compression(data) when 'pglz' then 90 when 'lz4' then 255 else 1 end, 0)
       + coalesce(pg_column_size(checkpoint)::bigint
                  * case pg_column_compression(checkpoint) when 'pglz' then 90 when 'lz4' then 255 else 1 end, 0)
$$;

-- find_tickets returns the tickets of the first ready jobs of some kinds in a queue, in the order in which they
-- would be claimed.
--   most   how many tickets to return at most
-- Moves nothing.
-- Index: ready's primary key, job's primary key. It reads the queue's tickets and their jobs from the first until
-- it has enough.
create or replace function "pawl".find_tickets(queue text, kinds text[], most integer)
returns table (priority integer, channel text, pos bigint, id bigint)
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select t.priority, t.channel, t.pos, t.job_id
  from "pawl".ready t
  join lateral (select j.kind from "pawl".job j where j.id = t.job_id and j.epoch = t.epoch limit 1) j on true
  where t.queue = find_tickets.queue and j.kind = any (find_tickets.kinds)
  order by t.priority, t.channel, t.pos
  limit most;
end $$;

-- find_unreadable returns which of some live jobs no client can read, and why.
--   ids    the jobs
--   step   how many jobs to try together first: those that fail together are then tried one by one
-- It tries what the server does when it sends the rows, in a subtransaction each. A row that fails may take seconds, if
-- it needs a gigabyte. So each of them is tried only twice, and after 5 s it returns what it has found, if anything. If
-- the server is out of memory, only a large row is at fault.
-- Moves nothing. Index: job's primary key.
create or replace function "pawl".find_unreadable(ids bigint[], step integer) returns table (id bigint, problem text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  until constant timestamptz := clock_timestamp() + interval '5 seconds';
  part  bigint[];
  bytes bigint;
  bad   boolean := false;
begin
  for i in 0 .. coalesce(cardinality(ids) - 1, -1) / step loop
    exit when bad and clock_timestamp() > until;
    part := ids[i * step + 1 : i * step + step];
    begin
      select max(coalesce(octet_length(j.args::text), 0)::bigint + 2 * coalesce(octet_length(j.data || ''), 0)::bigint
                 + coalesce(octet_length(j.opts::text), 0) + coalesce(octet_length(j.errors::text), 0)
                 + coalesce(octet_length(j.checkpoint::text), 0))
      into bytes
      from unnest(part) as u (id),
           lateral (select j.* from "pawl".job j where j.id = u.id) j;
      if bytes > 1000000000 then
        raise exception 'its row has % bytes as text; at most 1000000000 can be sent', bytes using errcode = '54000';
      end if;
    exception when others then
      if not "pawl".is_fault_of_row(sqlstate, '') then
        raise;
      end if;
      if step > 1 then
        return query select f.id, f.problem from "pawl".find_unreadable(part, 1) f;
        bad := bad or found;
        continue;
      end if;
      if sqlstate = '53200' then
        select "pawl".expanded_size(j.args, j.data, j.checkpoint) into bytes from "pawl".job j where j.id = part[1];
        if bytes < 10000000 then
          raise;
        end if;
      end if;
      bad := true;
      return query select part[1], format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
    end;
  end loop;
end $$;

-- free_permits deletes the permits of jobs whose handlers have ended, and wakes runners that may wait for a permit.
-- A permit belongs to a lease: a permit that the job has with another lease stays.
-- Index: permit_job_id.
create or replace function "pawl".free_permits(ids bigint[], leases uuid[]) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  queues text[];
begin
  with gone as (
    delete from "pawl".permit p
    using unnest(free_permits.ids, free_permits.leases) as u (id, lease)
    where p.job_id = any (array[u.id]) and p.lease = u.lease
    returning p.queue
  )
  select array_agg(distinct g.queue) into queues from gone g where g.queue <> '';
  perform "pawl".wake(queues);
end $$;

-- is_rate returns whether the rate in a queue's policy is one: {n, per, burst}, numbers above 0 and in range. Null is.
-- PutQueue stores no other. If a row has another, claims take nothing of that queue, and Doctor names it.
create or replace function "pawl".is_rate(rate jsonb) returns boolean language sql immutable parallel safe as $$
  select rate is null or coalesce((
    select bool_and(case when jsonb_typeof(rate -> f.name) = 'number'
                         then (rate ->> f.name)::numeric between 1e-9 and 1e12 else false end)
    from unnest('{n,per,burst}'::text[]) as f (name)
  ), false)
$$;

-- lane_priority returns the priority of the lane for a ticket. Returned jobs come before all priorities. Suspects,
-- jobs of which two leases or more were lost, have a lane before that, from which a worker claims one job at a
-- time.
create or replace function "pawl".lane_priority(priority integer, crashes integer, returned boolean) returns integer
language sql immutable parallel safe as $$
  select case when crashes >= 2 then -32769 when returned then -32768 else priority end
$$;

-- limit_quotas returns what a claim may take of limited queues, given what it asks for.
--   limited   those of the claim's queues that have limits. The other parameters are those of claim
--   asked     the quotas of the claim
-- Returns the quotas, and for each part of a lane that a limit cut short the seconds until the caller should ask
-- again, else null.
-- It locks the mutex of each queue, so that claims of a limited queue run one after the other. A queue whose mutex
-- another claim has locked gives nothing.
-- Index: the primary keys of permit, bucket and ready. It counts running jobs, not waiting ones.
-- Survives: two claims at once (the mutex is locked in a statement before the permits are counted, and is kept until
-- the end of the claim).
create or replace function "pawl".limit_quotas(
  limited text[], queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[],
  asked integer[]
) returns table (quotas integer[], waits double precision[])
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_variable
declare
  soon constant double precision := 0.05;
  name    text;
  policy  record;
  room    double precision;
  again   double precision; -- seconds until the queue has room
  own     double precision; -- seconds until the channel has room
  left_in jsonb;            -- {channel: [its room]}
  fits    double precision;
  tickets integer;
begin
  quotas := asked;
  waits := array_fill(null::double precision, array[cardinality(quotas)]);
  foreach name in array limited loop
    if not "pawl".try_mutex('limit', name, '') then
      for i in 1 .. cardinality(quotas) loop
        if queues[i] = name then
          quotas[i] := 0; waits[i] := 0.002;
        end if;
      end loop;
      continue;
    end if;
    select q.max_running, q.channel_max_running, q.rate, q.channel_rate into policy
    from "pawl".queue q where q.name = name;
    if not ("pawl".is_rate(policy.rate) and "pawl".is_rate(policy.channel_rate)) then
      for i in 1 .. cardinality(quotas) loop
        if queues[i] = name then
          quotas[i] := 0; waits[i] := 1;
        end if;
      end loop;
      continue;
    end if;
    room := 'infinity'; again := soon;
    if policy.max_running is not null then
      room := greatest(policy.max_running - (select count(*) from "pawl".permit p where p.queue = name), 0);
    end if;
    if policy.rate is not null then
      fits := "pawl".available_tokens(name, false, '', policy.rate);
      if fits < room then
        room := floor(fits + 1e-9);
        again := greatest((1 - (fits - floor(fits))) * (policy.rate ->> 'per')::double precision
                            / (policy.rate ->> 'n')::double precision, 0.001);
      end if;
    end if;
    left_in := '{}';
    for i in 1 .. cardinality(quotas) loop
      continue when queues[i] <> name;
      fits := least(quotas[i], room);
      own := again;
      if policy.channel_max_running is not null or policy.channel_rate is not null then
        if not left_in ? channels[i] then
          left_in := left_in || jsonb_build_object(channels[i], jsonb_build_array(
            least(
              case when policy.channel_max_running is not null then greatest(
                policy.channel_max_running
                  - (select count(*) from "pawl".permit p where p.queue = name and p.channel = channels[i]), 0)
              end,
              floor("pawl".available_tokens(name, true, channels[i], policy.channel_rate) + 1e-9),
              1e9)::numeric)); -- extra_float_digits would round the text of a double.
        end if;
        if (left_in -> channels[i] ->> 0)::double precision < fits then
          fits := (left_in -> channels[i] ->> 0)::double precision;
          own := case when policy.channel_rate is null then soon
                      else greatest((policy.channel_rate ->> 'per')::double precision
                                      / (policy.channel_rate ->> 'n')::double precision, 0.001) end;
        end if;
      end if;
      if fits < quotas[i] then
        waits[i] := own;
      end if;
      if fits > 0 then
        -- No more than the tickets that exist, so that what this channel does not use is left to the next.
        select count(*) into tickets
        from (
          select from "pawl".ready t
          where t.queue = name and t.priority = priorities[i] and t.channel = channels[i]
            and t.pos > marks[i] and t.pos <= untils[i]
          limit fits::integer
        ) r;
        if tickets < fits then
          waits[i] := null;
        end if;
        fits := tickets;
      end if;
      quotas[i] := fits;
      room := room - fits;
      if left_in ? channels[i] then
        left_in := left_in || jsonb_build_object(
          channels[i], jsonb_build_array((left_in -> channels[i] ->> 0)::numeric - fits::numeric));
      end if;
    end loop;
  end loop;
  return next;
end $$;

-- lock_is_free returns whether no other session holds this advisory lock, shared or not.
-- It takes and releases the lock in one expression. A statement that is cancelled between two would leave the lock
-- to the session, which may be a pooler's, for good; then no session could wait with a shared lock.
create or replace function "pawl".lock_is_free(key bigint) returns boolean language sql as $$
  select case when pg_try_advisory_lock(key) then pg_advisory_unlock(key) else false end
$$;

-- next_epoch returns the epoch that follows an epoch. The largest integer is followed by 0.
create or replace function "pawl".next_epoch(epoch integer) returns integer language sql immutable parallel safe as $$
  select case when epoch < 2147483647 then epoch + 1 else 0 end
$$;

-- peek returns whether the queues have anything to claim, and if not, in how many seconds the next job is due; null
-- if unknown.
-- Moves nothing. Index: the first ticket of each queue in ready and scheduled.
create or replace function "pawl".peek(queues text[]) returns table (ready boolean, wait double precision)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  select coalesce(bool_or(r.any or s.run_at <= clock_timestamp()), false),
         extract(epoch from min(s.run_at) filter (where isfinite(s.run_at)) - clock_timestamp())::double precision
  from unnest(peek.queues) as u (queue)
  cross join lateral (
    select exists (select from "pawl".ready t where t.queue = u.queue)
           or exists (select from "pawl".lease l where l.expires_at < clock_timestamp() and l.jobs <> '{}') as any
  ) r
  left join lateral (select s.run_at from "pawl".scheduled s where s.queue = u.queue order by s.run_at limit 1) s on true
  where not exists (select from "pawl".queue q where q.name = u.queue and q.paused);
end $$;

-- promote makes due jobs ready, at most `most` in each queue.
--   queues, floors   the queues; the scan of a queue's scheduled tickets starts at its floor, below which there is
--                    none
-- Moves: tickets from scheduled to ready; the job rows get their new positions. The epoch stays, because it is the
-- same ticket.
-- Returns a row for each queue: how many tickets moved, whether more are due, and the seconds until the next is due
-- (null: there is none).
-- Index: scheduled's primary key, from the floor; job's primary key.
-- Survives: two calls at once and a claim (skip locked); another function that has locked the ticket or the job row
-- (both are skipped, so that this never waits).
create or replace function "pawl".promote(queues text[], floors timestamptz[], most integer)
returns table (queue text, moved bigint, due boolean, wait double precision, moment timestamptz)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp(); -- a variable, because an index condition takes no volatile function
begin
  return query
  with due as materialized (
    select r.ctid as ticket, u.queue
    from unnest(promote.queues, promote.floors) as u (queue, floor),
         lateral (
           select s.ctid, s.job_id, s.epoch
           from "pawl".scheduled s
           where s.queue = u.queue and s.run_at > u.floor and s.run_at <= moment
           order by s.run_at, s.job_id
           limit promote.most
           for update skip locked
         ) r,
         lateral (select from "pawl".job j where j.id = r.job_id and j.epoch = r.epoch for update skip locked) j
  ),
  gone as (
    delete from "pawl".scheduled s
    where s.ctid = any (array(select d.ticket from due d))
    returning s.job_id, s.epoch, s.run_at
  ),
  -- Only deleted tickets get a position. If another transaction has just changed the time of a due ticket, the lock
  -- above is on the new version of the ticket, and this statement cannot delete it.
  numbered as materialized (
    select g.job_id as id, g.epoch, nextval('"pawl".pos') as pos
    from (select g.job_id, g.epoch, g.run_at from gone g order by g.run_at, g.job_id) g
  ),
  job as (
    update "pawl".job j
    set pos = n.pos
    from numbered n
    where j.id = any (array[n.id]) and j.epoch = n.epoch
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.crashes
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select j.pos, j.id, j.epoch, "pawl".lane_priority(j.priority, j.crashes, false), j.queue, j.channel
    from job j
  )
  select u.queue, d.moved, d.moved >= promote.most,
         case when isfinite(n.run_at) then extract(epoch from n.run_at - moment)::double precision end, moment
  from unnest(promote.queues, promote.floors) as u (queue, floor)
  cross join lateral (select count(*) as moved from due d where d.queue = u.queue) d
  left join lateral (
    select s.run_at from "pawl".scheduled s
    where s.queue = u.queue and s.run_at > moment
    order by s.run_at limit 1
  ) n on true;
end $$;

-- read_marks returns what a runner needs to advance its safe marks (the reasoning is in lanes.go): for each lane
-- the lowest position above its safe mark, and for each queue the earliest scheduled time above its floor. Both are
-- read without locks, so that tickets that another transaction has locked count. It also returns the snapshot of
-- these reads, as the numbers of its oldest running and its next transaction.
--   needs, needs_at   read the lane or queue only if no running transaction is below this number; 0: always. While
--                     such a transaction runs, no mark can advance, and the scan would read every ticket that died
--                     since
-- Moves nothing. Returns one row with ord 0 for the snapshot, a row for each lane, and a row for each queue, in the
-- order of the parameters.
-- Index: the primary keys of ready and scheduled.
create or replace function "pawl".read_marks(
  queues text[], priorities integer[], channels text[], safes bigint[], needs bigint[],
  scheduled text[], floors timestamptz[], needs_at bigint[]
) returns table (ord bigint, low_pos bigint, low_at timestamptz, oldest bigint, next bigint)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  with snap as materialized (
    select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next
  )
  select 0::bigint, null::bigint, null::timestamptz, n.oldest, n.next
  from snap n
  union all
  select u.ord, r.pos, null, null, null
  from unnest(read_marks.queues, read_marks.priorities, read_marks.channels, read_marks.safes, read_marks.needs)
         with ordinality as u (queue, priority, channel, safe, need, ord)
  left join lateral (
    select t.pos from "pawl".ready t
    where u.need <= (select n.oldest from snap n)
      and t.queue = u.queue and t.priority = u.priority and t.channel = u.channel and t.pos > u.safe
    order by t.pos limit 1
  ) r on true
  union all
  select cardinality(read_marks.queues) + u.ord, null, s.run_at, null, null
  from unnest(read_marks.scheduled, read_marks.floors, read_marks.needs_at)
         with ordinality as u (queue, floor, need, ord)
  left join lateral (
    select s.run_at from "pawl".scheduled s
    where u.need <= (select n.oldest from snap n)
      and s.queue = u.queue and s.run_at > u.floor
    order by s.run_at limit 1
  ) s on true;
end $$;

-- record_usage records what a claim took of limited queues: permits for a limit of running jobs, tokens for a rate.
--   lease   the lease of the claim. The claim calls this in its transaction, under the locks of the queues
-- Moves: a row of permit in for each job; the buckets change.
-- Index: lease's, job's and bucket's primary keys.
create or replace function "pawl".record_usage(limited text[], lease uuid) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  took record;
begin
  insert into "pawl".permit (queue, channel, job_id, lease)
  select j.queue, j.channel, j.id, record_usage.lease
  from "pawl".lease l,
       unnest(l.jobs) as u (id),
       lateral (select j.id, j.queue, j.channel from "pawl".job j where j.id = u.id) j,
       lateral (select from "pawl".queue q
                where q.name = j.queue and (q.max_running is not null or q.channel_max_running is not null)) q
  where l.id = record_usage.lease and j.queue = any (record_usage.limited);

  for took in
    select j.queue, c.of_channel, case when c.of_channel then j.channel else '' end as channel, count(*) as n,
           case when c.of_channel then q.channel_rate else q.rate end as rate
    from "pawl".lease l
    cross join unnest(l.jobs) as u (id)
    cross join lateral (select j.queue, j.channel from "pawl".job j where j.id = u.id) j
    cross join (values (false), (true)) as c (of_channel)
    cross join lateral (select q.rate, q.channel_rate from "pawl".queue q where q.name = j.queue) q
    where l.id = record_usage.lease and j.queue = any (record_usage.limited)
      and case when c.of_channel then q.channel_rate else q.rate end is not null
    group by 1, 2, 3, 5
    order by 1, 2, 3
  loop
    insert into "pawl".bucket as b (queue, of_channel, channel, tokens, at)
    values (took.queue, took.of_channel, took.channel,
            "pawl".available_tokens(took.queue, took.of_channel, took.channel, took.rate) - took.n, clock_timestamp())
    on conflict (queue, of_channel, channel) do update set tokens = excluded.tokens, at = excluded.at;
  end loop;
end $$;

-- rescue returns the jobs of lost leases to their queues.
--   most    how many leases to take at once
--   judge   look for workers whose heartbeat is late; false while the caller itself was cut off, because then it
--           cannot tell whether heartbeats are late or only unseen
--   sweep   read all leases, not only those with an expiry and those of workers that went within the last minute.
--           It finds a lease that was committed long after its worker was gone
-- Moves: late workers become lost. A lease is lost if its worker is gone, or if its expiry has passed. Each job
-- that is still at the epoch of a lost lease gets the next epoch, one crash more and a ticket in the lane of
-- returned jobs; with the third crash it moves to dead. Then leases without a live job are deleted. No attempt is
-- used.
-- Returns how many workers, leases and jobs these were, and how many of the jobs died ("poison").
-- Index: lease_worker_id and lease_expires_at; a sweep uses none, so the caller spaces sweeps by their cost.
-- Survives: two calls at once (the duty's mutex is locked in an earlier statement); a completion at the same time
-- (its job is skipped, and the lease stays for the next call); a claim that commits after its worker was declared
-- lost (the lease is found by its worker); a server that was down (no heartbeat is late until stale_after has
-- passed since the server's start); a job that the database cannot give back (its row is out of range or broken:
-- the jobs are tried one by one, and that one is made dead with the reason unprocessable).
create or replace function "pawl".rescue(most integer, judge boolean, sweep boolean)
returns table (workers bigint, leases bigint, jobs bigint, poisoned bigint)
language plpgsql set plan_cache_mode = force_generic_plan set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  gone   bigint[];
  lost   uuid[];
  ids    bigint[];
  epochs integer[];
  queues text[];
  one    record;
  violated text; -- the name of a violated constraint
begin
  workers := 0; leases := 0; jobs := 0; poisoned := 0;
  if not "pawl".try_mutex('duty', '', 'rescue') then
    return next;
    return;
  end if;
  if judge then
    update "pawl".worker w
    set state = 'lost', gone_at = moment
    where w.id in (
      select w.id from "pawl".worker w
      where w.gone_at is null and moment > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
      for update skip locked
    );
    get diagnostics workers = row_count;
  end if;

  if sweep then
    lost := array(
      select l.id from "pawl".lease l
      where l.expires_at < moment
         or l.worker_id is not null
            and not exists (select from "pawl".worker w where w.id = l.worker_id and w.gone_at is null)
      order by random() -- Leases whose jobs are locked now must not block the others forever.
      limit most
      for update of l skip locked
    );
  else
    gone := array(select w.id from "pawl".worker w where w.gone_at > moment - interval '1 minute');
    perform set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true);
    lost := array(
      select l.id from "pawl".lease l
      where l.id in (
        select l.id from "pawl".lease l where l.expires_at < moment
        union all
        select l.id from unnest(gone) as g (id) join "pawl".lease l on l.worker_id = g.id
      )
      order by random()
      limit most
      for update of l skip locked
    );
  end if;
  leases := cardinality(lost);
  if leases = 0 then
    return next;
    return;
  end if;

  perform set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true);
  select array_agg(u.id), array_agg(u.epoch) into ids, epochs
  from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch)
  where l.id = any (lost);
  begin
    select * into jobs, poisoned, queues from "pawl".return_lost(ids, epochs);
  exception when others then
    get stacked diagnostics violated = constraint_name;
    if not "pawl".is_fault_of_row(sqlstate, violated) then
      raise;
    end if;
    jobs := 0; poisoned := 0; queues := '{}';
    for i in 1 .. coalesce(cardinality(ids), 0) loop
      begin
        select * into one from "pawl".return_lost(array[ids[i]], array[epochs[i]]);
        jobs := jobs + one.jobs; poisoned := poisoned + one.poisoned; queues := queues || one.queues;
      exception when others then
        get stacked diagnostics violated = constraint_name;
        if not "pawl".is_fault_of_row(sqlstate, violated) then
          raise;
        end if;
        perform "pawl".bury(ids[i], epochs[i], format('rescue: %s (SQLSTATE %s)', sqlerrm, sqlstate));
      end;
    end loop;
  end;

  delete from "pawl".lease l
  where l.id = any (lost)
    and not exists (
      select from unnest(l.jobs, l.epochs) as u (id, epoch)
      join "pawl".job j on j.id = any (array[u.id]) and j.epoch = u.epoch
    );
  perform "pawl".wake(queues);
  return next;
end $$;

-- return_lost returns jobs of lost leases to their queues. rescue calls it, for the leases that it has locked.
--   ids, epochs   the jobs
-- Moves: each job that is still at its epoch gets the next epoch, one crash more and a ticket in the lane of returned
-- jobs; with the third crash it moves to dead.
-- Returns how many jobs these were, how many of them died ("poison"), and the queues with new tickets.
-- Index: job's primary key.
-- Survives: another transaction that has locked a job row (that job is skipped).
create or replace function "pawl".return_lost(ids bigint[], epochs integer[])
returns table (jobs bigint, poisoned bigint, queues text[])
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  moment constant timestamptz := clock_timestamp();
  ended  jsonb;
begin
  with pair as materialized (
    select u.id, u.epoch from unnest(return_lost.ids, return_lost.epochs) as u (id, epoch) order by u.id
  ),
  mine as materialized (
    select j.id, j.epoch, least(j.crashes + 1, 32767)::smallint as crashes
    from pair u,
         lateral (select j.* from "pawl".job j where j.id = u.id and j.epoch = u.epoch for update skip locked) j
  ),
  back as (
    update "pawl".job j
    set epoch = "pawl".next_epoch(j.epoch), crashes = m.crashes, pos = nextval('"pawl".pos')
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.crashes < 3
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.crashes
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, "pawl".lane_priority(b.priority, b.crashes, true), b.queue, b.channel
    from back b
    returning queue
  ),
  over as (
    delete from "pawl".job j
    using mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.crashes >= 3
    returning j.*, m.crashes as new_crashes
  ),
  buried as (
    insert into "pawl".dead (id, epoch, finished_at, expires_at, created_at, run_at, priority, attempt, max_attempts,
                           crashes, reason, queue, channel, kind, args, data, fingerprint, unique_key, opts, errors,
                           checkpoint)
    select o.id, o.epoch, moment, moment + t.retain, o.created_at, o.run_at, o.priority, o.attempt, o.max_attempts,
           o.new_crashes, 'poison', o.queue, o.channel, o.kind, o.args, o.data, o.fingerprint, o.unique_key, o.opts,
           o.errors, o.checkpoint
    from over o
    left join "pawl".queue q on q.name = o.queue,
    lateral (select coalesce(q.retain_dead, interval '30 days') as retain) t
    where t.retain > '0'
  )
  select (select count(*) from mine), (select count(*) from over), array(select distinct r.queue from ready r),
         (select jsonb_agg("pawl".followup_of(o.id, o.queue, o.channel, o.opts)) from over o where o.constrained)
  into jobs, poisoned, queues, ended;
  if ended is not null then
    perform "pawl".record_followups(ended, 'dead');
  end if;
  return next;
end $$;

-- sent_size returns how many bytes the columns of a job have when the server sends them as text. It fails as sending
-- fails, also if they are too many for one message: 1 GB. It reads data whole: its length alone would not tell whether
-- it can be read.
create or replace function "pawl".sent_size(args jsonb, data bytea, opts jsonb, errors jsonb, checkpoint jsonb)
returns bigint
language plpgsql stable parallel safe as $$
declare
  size constant bigint := coalesce(octet_length(args::text), 0)::bigint
    + 2 * coalesce(octet_length(data || ''), 0)::bigint
    + coalesce(octet_length(opts::text), 0) + coalesce(octet_length(errors::text), 0)
    + coalesce(octet_length(checkpoint::text), 0);
begin
  if size > 1000000000 then
    raise exception 'its row has % bytes as text; at most 1000000000 can be sent', size using errcode = '54000';
  end if;
  return size;
end $$;

-- sleep_key returns the key of the advisory lock that a session holds, shared, while it waits for jobs of a queue;
-- '*' is all queues. Workers in other languages call it: docs/sql.md.
-- The key's text has the schema's plain name. parse_ident reads it from the quoted name that the migrator writes, and
-- the planner does that once.
create or replace function "pawl".sleep_key(queue text) returns bigint language sql immutable parallel safe as $$
  select hashtextextended((parse_ident('"pawl".sleep'))[1] || '.sleep ' || queue, 0)
$$;

-- unclaim reverses a claim whose reply was lost.
--   lease   the id that the claimer had chosen
-- Moves: the live jobs of the lease back to ready, in the lane of returned jobs, without an attempt or a crash; the
-- lease row out. Returns how many jobs were returned.
-- Index: lease's and job's primary keys.
-- Survives: the claim, if it still runs on the server. This inserts an empty lease with the same id. Either the
-- insert waits for the claim and then sees its lease, or the claim meets the empty lease and fails as a whole.
-- Empty leases expire, and the next rescue deletes them.
create or replace function "pawl".unclaim(lease uuid) returns bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  returned bigint;
begin
  insert into "pawl".lease (id, expires_at, jobs, epochs)
  values (unclaim.lease, clock_timestamp() + interval '1 minute', '{}', '{}')
  on conflict (id) do nothing;
  if found then
    return 0;
  end if;
  with gone as (
    delete from "pawl".lease l where l.id = unclaim.lease returning l.jobs, l.epochs
  ),
  mine as materialized (
    select j.id, j.epoch
    from (select u.id, u.epoch from gone g, unnest(g.jobs, g.epochs) as u (id, epoch) order by u.id) u,
         lateral (select j.id, j.epoch from "pawl".job j where j.id = u.id and j.epoch = u.epoch for update) j
  ),
  back as (
    update "pawl".job j
    set epoch = "pawl".next_epoch(j.epoch), pos = nextval('"pawl".pos')
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.crashes
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, "pawl".lane_priority(b.priority, b.crashes, true), b.queue, b.channel
    from back b
  )
  select count(*) into returned from back b;
  return returned;
end $$;

-- wake notifies the runners that wait for jobs of these queues. It sends nothing if none waits.
-- NOTIFY serialises all commits of the server, so not every insert can send one. A session that waits holds a
-- shared lock on the key of its queue ('*' for all queues), so a session that gets such a lock alone knows that no
-- other session waits.
-- It runs in the transaction of the change, and the notification is delivered at the commit. The lock is released
-- at once (see lock_is_free), so it is safe behind a pooler.
-- The notification channel is the schema's plain name, cut to 54 bytes because a channel's name has at most 63, and
-- ".wake". The payload is the queue.
-- Returns how many queues had a waiting session.
create or replace function "pawl".wake(queues text[]) returns integer language plpgsql as $$
declare
  woken integer := 0;
  q     text;
begin
  for q in select distinct u.q from unnest(queues) u (q) loop
    if "pawl".lock_is_free("pawl".sleep_key(q)) and "pawl".lock_is_free("pawl".sleep_key('*')) then
      continue;
    end if;
    perform pg_notify(left((parse_ident('"pawl".wake'))[1], 54) || '.wake', q);
    woken := woken + 1;
  end loop;
  return woken;
end $$;

-- abort_reserved deletes reserved jobs, all or none. If one of them is not reserved any more, it raises the error of
-- commit_reserved.
create or replace function "pawl".abort_reserved(ids bigint[]) returns void language plpgsql as $$
begin
  perform "pawl".extend_reserved(ids, '0'); -- Locks the jobs and checks that they are reserved.
  perform "pawl".remove(ids, array_fill(null::integer, array[cardinality(ids)]), false);
end $$;

-- commit_reserved ends the reservation of jobs, so that they may run, all or none. If a job is not reserved (its
-- reservation expired, it was committed before, or it was never reserved), it raises SQLSTATE PW001 and changes
-- nothing.
-- Moves: blocked tickets lose their expiry, and go to ready or scheduled if their jobs wait for nothing else.
-- Survives: an expiry of the reservation at the same time. The job row is locked first; if the expiry was faster,
-- the ticket is gone and the function raises the error.
create or replace function "pawl".commit_reserved(ids bigint[]) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  one bigint;
begin
  perform pg_current_xact_id();
  for one in select u.id from unnest(ids) as u (id) group by u.id order by u.id loop
    perform from "pawl".job j where j.id = one for update;
    update "pawl".blocked p set expires_at = null where p.job_id = one and p.expires_at > clock_timestamp();
    if not found then
      raise exception 'pawl: job % is not reserved: its reservation expired, or it was committed before', one
        using errcode = 'PW001';
    end if;
    perform "pawl".unblock(one);
  end loop;
end $$;

-- count_batch counts the end of one job of a batch, and inserts the batch's callback jobs once their condition
-- holds.
--   batch    id of the batch
--   became   how the job ended: completed, cancelled, dead or deleted
--   by       1; -1 if the job lives again after a retry
-- Moves: the batch row changes; on_finish, on_success and on_death become null when their jobs are inserted.
-- Returns false if another transaction has locked the batch: call it again. True if the batch is past its
-- retention.
-- Index: batch's primary key.
-- Survives: two ends at once (the row is locked before it is counted); a job that is retried and ends again (its
-- callback jobs are inserted once, because their column is null afterwards).
create or replace function "pawl".count_batch(batch bigint, became text, by integer) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  now       record;
  callbacks jsonb := '[]';
begin
  perform from "pawl".batch b where b.id = count_batch.batch for update skip locked;
  if not found then
    perform from "pawl".batch b where b.id = count_batch.batch;
    return not found; -- A batch without a row is past its retention.
  end if;
  update "pawl".batch b
  set completed = b.completed + case when became = 'completed' then by else 0 end,
      cancelled = b.cancelled + case when became in ('cancelled', 'deleted') then by else 0 end,
      dead = b.dead + case when became = 'dead' then by else 0 end
  where b.id = count_batch.batch
  returning b.total, b.completed, b.cancelled, b.dead, b.on_finish, b.on_success, b.on_death into now;
  if now.dead > 0 and now.on_death is not null then
    callbacks := callbacks || now.on_death;
  end if;
  if now.completed + now.cancelled + now.dead >= now.total then
    callbacks := callbacks || coalesce(now.on_finish, '[]');
    if now.completed >= now.total then
      callbacks := callbacks || coalesce(now.on_success, '[]');
    end if;
  end if;
  update "pawl".batch b
  set on_death = case when by < 0 or now.dead = 0 then b.on_death end,
      on_finish = case when by < 0 or now.completed + now.cancelled + now.dead < now.total then b.on_finish end,
      on_success = case when by < 0 or now.completed < now.total then b.on_success end,
      finished_at = case when now.completed + now.cancelled + now.dead >= now.total then clock_timestamp() end
  where b.id = count_batch.batch;
  if callbacks <> '[]' and by >= 0 then
    perform "pawl".insert_constrained(callbacks);
  end if;
  return true;
end $$;

-- expire deletes reserved jobs whose reservation has expired, and unique keys that were kept beyond the end of
-- their jobs and have expired. It deletes at most `most` of each.
-- Returns how many jobs were deleted.
-- Index: blocked_expires_at, unique_key_keep_until, job's primary key.
-- Survives: a commit or an extension of the reservation at the same time (the job row is locked, and the expiry is
-- read again under the lock); two calls at once (skip locked).
create or replace function "pawl".expire(most integer) returns bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  past   bigint[]; -- jobs whose reservation has expired
  gone   bigint;
begin
  delete from "pawl".unique_key h
  where h.ctid = any (array(
    select k.ctid from "pawl".unique_key k where not k.live and k.keep_until < moment limit most for update skip locked
  ));
  past := array(
    select j.id
    from (select p.job_id from "pawl".blocked p where p.expires_at < moment order by p.expires_at limit most) p,
         lateral (select j.id from "pawl".job j where j.id = p.job_id for update skip locked) j
  );
  if cardinality(past) = 0 then
    return 0;
  end if;
  -- Read again under the lock: a reservation may have been committed or extended meanwhile.
  past := array(
    select u.id from unnest(past) as u (id)
    where exists (select from "pawl".blocked p where p.job_id = u.id and p.expires_at < moment)
  );
  select count(*) into gone from "pawl".remove(past, array_fill(null::integer, array[cardinality(past)]), false);
  return gone;
end $$;

-- extend_reserved extends reservations until now + lasting, all or none. It never shortens a reservation. It raises
-- the error of commit_reserved if a job is not reserved any more, and SQLSTATE 22023 unless lasting is 0 to 100 years.
-- Index: primary keys.
-- Survives: an expiry at the same time (the job row is locked first).
create or replace function "pawl".extend_reserved(ids bigint[], lasting interval) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  one bigint;
begin
  if (extend_reserved.lasting between '0' and interval '100 years') is not true then
    raise exception 'pawl: extend reserved by %: want a time from 0 to 100 years',
      coalesce(extend_reserved.lasting::text, 'null') using errcode = '22023';
  end if;
  for one in select u.id from unnest(ids) as u (id) group by u.id order by u.id loop
    perform from "pawl".job j where j.id = one for update;
    update "pawl".blocked p set expires_at = greatest(p.expires_at, clock_timestamp() + lasting)
    where p.job_id = one and p.expires_at > clock_timestamp();
    if not found then
      raise exception 'pawl: job % is not reserved: its reservation expired, or it was committed before', one
        using errcode = 'PW001';
    end if;
  end loop;
end $$;

-- followup_of returns a finished constrained job in the form that record_followups takes. It never fails, because the
-- job could not finish then: a batch that is no id is none.
create or replace function "pawl".followup_of(id bigint, queue text, channel text, opts jsonb) returns jsonb
language sql immutable parallel safe as $$
  select jsonb_build_object('id', id, 'queue', queue, 'channel', channel,
                            'ordered', coalesce(opts ? 'ordered', false),
                            'batch', case when opts ->> 'batch' ~ '^[0-9]{1,18}$' then opts -> 'batch' end)
$$;

-- is_plain_spec returns whether a job in the form that insert_constrained takes is certainly valid: it has only common
-- fields, of their types and in range. Of other jobs validate_constrained says what is wrong, if anything is. It takes
-- twenty times as long.
create or replace function "pawl".is_plain_spec(spec jsonb) returns boolean language sql immutable parallel safe as $$
  select coalesce(
    jsonb_typeof(spec) = 'object'
    and spec - '{queue,channel,priority,kind,args,opts,ordered,key,replace,reschedule}'::text[] = '{}'
    and jsonb_typeof(spec -> 'kind') = 'string' and octet_length(spec ->> 'kind') between 1 and 255
    and (not spec ? 'queue' or jsonb_typeof(spec -> 'queue') = 'string'
         and octet_length(spec ->> 'queue') between 1 and 255)
    and (not spec ? 'channel' or jsonb_typeof(spec -> 'channel') = 'string'
         and octet_length(spec ->> 'channel') <= 255)
    and (not spec ? 'key' or jsonb_typeof(spec -> 'key') = 'string' and octet_length(spec ->> 'key') between 1 and 255)
    and (spec ? 'key' or not spec ?| '{replace,reschedule}')
    and coalesce(spec -> 'priority', '0') = '0'
    and coalesce(pg_column_size(spec -> 'args'), 0) <= 6000
    and coalesce(spec -> 'ordered', 'false') in ('true', 'false')
    and coalesce(spec -> 'replace', 'false') in ('true', 'false')
    and coalesce(spec -> 'reschedule', 'false') in ('true', 'false')
    and coalesce(spec -> 'opts' -> 'ordered', 'false') = coalesce(spec -> 'ordered', 'false')
    and (not spec ? 'opts' or jsonb_typeof(spec -> 'opts') = 'object'
         and (spec -> 'opts') - '{ordered,batch}'::text[] = '{}'
         and coalesce(spec -> 'opts' ->> 'batch', '1') ~ '^[1-9][0-9]{0,17}$'), false)
$$;

-- isolate_followup does the parts of a follow-up that can be done, each on its own, after the whole has failed. If a
-- part fails for a reason of its own, it puts the row aside: the row keeps that part and its error, and gets a negative
-- id. An error that may pass (out of memory, an internal error) puts it aside after twenty tries.
--   id   a row of followup that the caller has locked
-- Returns done, left (for another call) or aside. It raises the error of a part that would fail for every row.
-- Index: followup's primary key.
create or replace function "pawl".isolate_followup(id bigint) returns text
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  result   text := 'done';
  part     text;
  wrong    text;
  state    text;
  violated text; -- the name of a violated constraint
begin
  foreach part in array '{channel,dependents,batch}'::text[] loop
    begin
      if exists (select from "pawl".settle_followups(array[isolate_followup.id], array[part]) s
                 where s.skipped <> '{}') then
        result := 'left';
      else
        update "pawl".followup l
        set ordered = l.ordered and part <> 'channel', batch = case when part <> 'batch' then l.batch end
        where l.id = isolate_followup.id;
      end if;
    exception when others then
      get stacked diagnostics violated = constraint_name;
      if sqlstate = '55P03' then
        result := 'left';
      elsif "pawl".is_fault_of_row(sqlstate, violated) then
        state := sqlstate;
        wrong := concat_ws('; ', wrong, format('%s: %s (SQLSTATE %s)', part, left(sqlerrm, 500), sqlstate));
      else
        raise;
      end if;
    end;
  end loop;
  if wrong is null then
    return result;
  end if;
  update "pawl".followup l
  set id = case when left(state, 2) in ('53', 'XX') and l.tries < 20 then l.id else -l.id end,
      tries = l.tries + 1, error = wrong
  where l.id = isolate_followup.id
  returning case when l.id < 0 then 'aside' else 'left' end into result;
  if result = 'aside' then
    raise warning 'pawl: a follow-up was put aside: %', wrong;
  end if;
  return result;
end $$;

-- key_is_free returns whether a finished job may have its unique key again: no other job has it, and it is not kept
-- for another.
-- Index: unique_key's primary key.
create or replace function "pawl".key_is_free(id bigint, queue text, key text, opts jsonb) returns boolean
language sql stable as $$
  select key_is_free.key is null or not exists (
    select from "pawl".unique_key h
    where h.scope = "pawl".key_scope(key_is_free.queue, key_is_free.opts) and h.key = key_is_free.key
      and h.job_id <> key_is_free.id
      and (h.live or h.keep_until > clock_timestamp())
  )
$$;

-- key_scope returns where the unique key of a job is unique: the name of its queue, or '' for all queues.
create or replace function "pawl".key_scope(queue text, opts jsonb) returns text
language sql immutable parallel safe as $$
  select case when opts ? 'global' then '' else queue end
$$;

-- lock_waiting keeps a job that is not running from starting before this transaction ends.
-- Moves nothing. Returns whether the job has a ticket; false if it runs or is gone.
-- Index: primary keys.
-- Survives: a claim at the same time (this waits for it); a promotion or an unblock (they skip the locked job).
create or replace function "pawl".lock_waiting(id bigint) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
declare
  job record;
begin
  select j.queue, j.channel, j.priority, coalesce(j.pos, j.id) as pos, j.run_at into job
  from "pawl".job j where j.id = lock_waiting.id for key share;
  if not found then
    return false;
  end if;
  perform from "pawl".ready t
  where t.queue = job.queue and t.priority = any (array[job.priority, -32768, -32769])
    and t.channel = job.channel and t.pos = job.pos
  for key share;
  return found
    or exists (select from "pawl".scheduled s
               where s.queue = job.queue and s.run_at = job.run_at and s.job_id = lock_waiting.id)
    or exists (select from "pawl".blocked p where p.job_id = lock_waiting.id);
end $$;

-- record_deleted records, for run_followups, that dead jobs were deleted for which other jobs wait
-- (JobSpec.KeepWaiting). Otherwise those would wait forever.
--   ids   jobs whose rows this transaction has deleted from dead in an earlier statement. An insert that makes a
--         job wait for a dead job locks the row of the dead job, so none is missed
-- Index: dependency's primary key.
create or replace function "pawl".record_deleted(ids bigint[]) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
begin
  insert into "pawl".followup (job_id, queue, channel, ordered, became)
  select u.id, '', '', false, 'deleted'
  from unnest(record_deleted.ids) as u (id)
  where (select true from "pawl".dependency w where w.parent_id = u.id limit 1);
end $$;

-- record_followups does what must follow from the end of constrained jobs at once: it frees their unique keys, or
-- keeps them until their time. It records the rest for run_followups. Every function that finishes jobs calls it in
-- its transaction.
--   ended    [{id, queue, channel, ordered, batch}], as followup_of returns them
--   became   completed, cancelled, dead or deleted
-- Moves: rows of unique_key out or changed; a row of followup in for each job.
-- Index: unique_key_job_id.
create or replace function "pawl".record_followups(ended jsonb, became text) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
begin
  delete from "pawl".unique_key h
  using jsonb_to_recordset(record_followups.ended) as t (id bigint)
  where h.job_id = any (array[t.id]) and (h.keep_until is null or h.keep_until <= clock_timestamp());
  update "pawl".unique_key h set live = false
  from jsonb_to_recordset(record_followups.ended) as t (id bigint)
  where h.job_id = any (array[t.id]);
  insert into "pawl".followup (job_id, queue, channel, ordered, batch, became)
  select t.id, t.queue, t.channel, coalesce(t.ordered, false), t.batch, record_followups.became
  from jsonb_to_recordset(record_followups.ended)
         as t (id bigint, queue text, channel text, ordered boolean, batch bigint)
  order by t.id;
end $$;

-- retry_followups makes the follow-ups that run_followups has put aside pending again.
--   ids   the jobs whose end they are about
-- Moves nothing: the rows get new ids. Returns how many rows were changed.
-- Index: followup's primary key, over the rows that were put aside.
create or replace function "pawl".retry_followups(ids bigint[]) returns bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  changed bigint;
begin
  update "pawl".followup l set id = default, tries = 0, error = null
  where l.id < 0 and l.job_id = any (retry_followups.ids);
  get diagnostics changed = row_count;
  return changed;
end $$;

-- run_followups does what follows from the end of constrained jobs: the next job of an ordered channel gets its
-- ticket, jobs that waited for a dependency get theirs or are cancelled, and batches are counted.
--   most   rows of followup to take at once
-- Moves: rows out of followup; the others as settle_followups does. A row that fails for a reason of its own is put
-- aside: it keeps its error and gets a negative id, and this function does not see it again. Verify and Doctor find it;
-- retry_followups makes it pending again.
-- Returns how many rows were done (settled), how many were left, and whether there are more because jobs were
-- cancelled.
-- Index: followup's primary key.
-- Survives: two calls at once (skip locked); another transaction that has locked a channel or a job (the row is left
-- for the next call; where a lock cannot be skipped, this waits 50 ms at most); a crash (the rows were written by the
-- transaction that finished the jobs); a row that cannot be done (a set that fails is halved, down to the row).
create or replace function "pawl".run_followups(most integer)
returns table (settled integer, "left" integer, more boolean)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set lock_timeout = '50ms' as $$
#variable_conflict use_column
declare
  ends    bigint[]; -- rows of followup that this call has locked
  skipped bigint[] := '{}'; -- those of them that are left for the next call,
  late    bigint[] := '{}'; -- and those that waited for a lock, or failed for want of memory,
  aside   integer  := 0;    -- and how many were put aside
  froms   integer[];        -- parts of ends that are still to be done
  tos     integer[];
  low     integer;
  high    integer;
  part    record;
  state    text;
  violated text; -- the name of a violated constraint
begin
  more := false; settled := 0; "left" := 0;
  ends := array(select l.id from "pawl".followup l where l.id > 0 order by l.id limit most for update skip locked);
  froms := array[1]; tos := array[cardinality(ends)];
  while froms <> '{}' loop
    low := froms[cardinality(froms)]; high := tos[cardinality(tos)];
    froms := trim_array(froms, 1); tos := trim_array(tos, 1);
    continue when low > high;
    begin
      select s.skipped, s.more into part
      from "pawl".settle_followups(ends[low:high], '{channel,dependents,batch}') s;
      skipped := skipped || part.skipped;
      more := more or part.more;
    exception when others then
      state := sqlstate;
      get stacked diagnostics violated = constraint_name;
      if not "pawl".is_fault_of_row(state, violated) and state <> '55P03' then
        raise;
      elsif cardinality(late) >= 5 then
        skipped := skipped || ends[low:high];
      elsif low < high then
        froms := froms || array[(low + high) / 2 + 1, low]; tos := tos || array[high, (low + high) / 2];
      elsif state = '55P03' then
        late := late || ends[low];
      else
        state := "pawl".isolate_followup(ends[low]);
        if state = 'left' then
          late := late || ends[low];
        elsif state = 'aside' then
          aside := aside + 1;
        end if;
      end if;
    end;
  end loop;

  delete from "pawl".followup l where l.id = any (ends) and l.id <> all (skipped || late);
  get diagnostics settled = row_count;
  "left" := cardinality(ends) - aside - settled;
  if "left" >= most then
    late := ends; -- These rows go to the end, or else the rows behind them would wait too.
  end if;
  update "pawl".followup l set id = default where l.id = any (late);
  return next;
end $$;

-- settle_followups does what follows from the given ends of constrained jobs: see run_followups, which has locked
-- their rows and deletes them.
--   ends    rows of followup
--   parts   channel: the next job of an ordered channel gets its ticket; dependents: jobs that waited get their ticket
--           or are cancelled; batch: batches are counted. All three, or one of them
-- Moves: rows out of ordered_job and dependency; tickets as unblock does.
-- Returns the rows that must be left for another call, because another transaction has locked what they need, and
-- whether there are more follow-ups now because jobs were cancelled.
-- Index: primary keys of followup, ordered_job and dependency.
-- Survives: see run_followups. All ordered channels are done together. Dependencies and batches, which few jobs have,
-- are done one by one.
-- This locks the mutex of a channel as inserts do, so an insert that found other jobs in the channel has committed
-- before this has the mutex.
create or replace function "pawl".settle_followups(ends bigint[], parts text[])
returns table (skipped bigint[], more boolean)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  queues   text[]; -- channels whose mutex this call has
  channels text[];
  first    bigint[]; -- the first job of each of these channels
  locked   bigint[]; -- those of them that another transaction has locked
  done     record;
  child    record;
begin
  more := false;
  skipped := '{}';

  if 'channel' = any (parts) then
    -- The channels move on. Each of these is a statement of its own: its snapshot must be younger than the lock of
    -- the mutexes.
    select array_agg(l.queue), array_agg(l.channel) into queues, channels
    from "pawl".followup l where l.id = any (ends) and l.ordered;
    if queues is not null then
      select array_agg(m.queue), array_agg(m.name) into queues, channels
      from "pawl".try_mutexes('channel', queues, channels) m;
      skipped := array(
        select l.id from "pawl".followup l
        where l.id = any (ends) and l.ordered
          and (l.queue, l.channel) not in (select * from unnest(queues, channels)));
    end if;
    if queues is not null then
      with gone as (
        delete from "pawl".ordered_job t
        using "pawl".followup l
        where l.id = any (ends) and l.ordered and l.id <> all (skipped) and t.job_id = any (array[l.job_id])
        returning l.queue, l.channel, l.job_id, l.became
      )
      insert into "pawl".halted_channel (queue, channel, job_id, halted_at)
      select g.queue, g.channel, g.job_id, clock_timestamp()
      from gone g
      join "pawl".queue q on q.name = g.queue
      where g.became = 'dead' and q.halt_on_dead
      on conflict do nothing;
      first := array(
        select h.job_id
        from unnest(queues, channels) c (queue, channel),
             lateral (
               select t.job_id from "pawl".ordered_job t
               where t.queue = c.queue and t.channel = c.channel order by t.pos limit 1
             ) h);
      locked := array(select "pawl".unblock(first));
      skipped := skipped || array(
        select l.id from "pawl".ordered_job t, "pawl".followup l
        where t.job_id = any (locked) and l.id = any (ends) and l.id <> all (skipped)
          and l.ordered and l.queue = t.queue and l.channel = t.channel);
    end if;
  end if;

  for done in
    select l.id, l.job_id, l.became
    from "pawl".followup l
    where 'dependents' = any (parts) and l.id = any (ends)
      and (select true from "pawl".dependency w where w.parent_id = l.job_id limit 1)
    order by l.id
  loop
    for child in
      select w.child_id, w.on_state, w.keep_waiting
      from "pawl".dependency w
      where w.parent_id = done.job_id
      order by w.child_id
    loop
      perform from "pawl".job j where j.id = child.child_id for update skip locked;
      if not found then
        perform from "pawl".job j where j.id = child.child_id;
        if found then
          skipped := skipped || done.id;
        else
          delete from "pawl".dependency w where w.child_id = child.child_id;
        end if;
        continue;
      end if;
      if child.on_state = 'any' or child.on_state = 'ok' and done.became = 'completed'
         or child.on_state = 'not_ok' and done.became in ('dead', 'cancelled') then
        delete from "pawl".dependency w
        where w.parent_id = done.job_id and w.child_id = child.child_id and w.on_state = child.on_state;
        perform "pawl".unblock(child.child_id);
      elsif not (child.keep_waiting and done.became = 'dead') then
        delete from "pawl".dependency w where w.child_id = child.child_id;
        perform "pawl".remove(array[child.child_id], array[null::integer], true);
        more := true;
      end if;
    end loop;
  end loop;

  -- Batches come last, because an end is counted only once: a row that is left for the next call must not be
  -- counted yet.
  for done in
    select l.id, l.batch, l.became
    from "pawl".followup l
    where 'batch' = any (parts) and l.id = any (ends) and l.id <> all (skipped) and l.batch is not null
    order by l.id
  loop
    -- A callback job may be ordered, and insert_constrained would wait for the mutex of its channel.
    select array_agg(c.queue), array_agg(c.channel) into queues, channels
    from (
      select distinct coalesce(s.queue, 'default'), coalesce(s.channel, '')
      from "pawl".batch b, lateral (values (b.on_finish), (b.on_success), (b.on_death)) f (jobs),
           jsonb_to_recordset(f.jobs) as s (queue text, channel text, ordered boolean)
      where b.id = done.batch and s.ordered
    ) c (queue, channel);
    if queues is not null then
      perform "pawl".add_mutexes('channel', queues, channels);
    end if;
    if cardinality(queues) > (select count(*) from "pawl".try_mutexes('channel', queues, channels))
       or not "pawl".count_batch(done.batch, done.became, 1) then
      skipped := skipped || done.id;
    end if;
  end loop;
  return next;
end $$;

-- unblock gives blocked jobs their tickets if they have nothing left to wait for.
-- Moves: tickets from blocked to ready or scheduled; the job rows get their new positions.
-- Returns the ids of jobs whose row another transaction has locked: call it again for them.
-- Index: primary keys; ordered_job's from the first position of the channel.
-- Survives: two calls at once, a commit or a cancel at the same time. The job rows are locked before anything is
-- read, and the reads are in a later statement, with a younger snapshot. A transaction that removes what a job
-- waits for either commits first and calls this afterwards, or calls this in the same transaction, under the lock
-- that the others need. A caller's transaction above read committed has an older snapshot than the locks: its ordered
-- jobs are left to the next run_followups.
create or replace function "pawl".unblock(ids bigint[]) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  locked bigint[]; -- jobs whose row this call has locked
  free   bigint[]; -- jobs that wait for nothing
  queues text[];
begin
  locked := array(
    select j.id
    from (select u.id from unnest(unblock.ids) u (id) order by u.id) u,
         lateral (select j.id from "pawl".job j where j.id = u.id for update skip locked) j);
  return query select j.id from "pawl".job j where j.id = any (unblock.ids) and j.id <> all (locked);

  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    insert into "pawl".followup (job_id, queue, channel, ordered, became)
    select distinct 0, j.queue, j.channel, true, 'completed'
    from unnest(locked) u (id)
    join "pawl".job j on j.id = any (array[u.id])
    where j.opts ? 'ordered';
    locked := array(
      select j.id
      from unnest(locked) u (id)
      join "pawl".job j on j.id = any (array[u.id])
      where not coalesce(j.opts ? 'ordered', false));
  end if;

  -- A scalar subquery, because the planner may turn an exists into a join that reads a whole table.
  free := array(
    select j.id
    from unnest(locked) u (id)
    join "pawl".job j on j.id = any (array[u.id])
    where (select true from "pawl".dependency w where w.child_id = j.id limit 1) is null
      and (not coalesce(j.opts ? 'ordered', false)
           or (select true from "pawl".halted_channel h where h.queue = j.queue and h.channel = j.channel) is null
              and (select true from "pawl".ordered_job t
                   where t.queue = j.queue and t.channel = j.channel
                     and t.pos < (select own.pos from "pawl".ordered_job own where own.job_id = j.id)
                   limit 1) is null));
  if cardinality(free) = 0 then
    return;
  end if;

  with gone as materialized (
    delete from "pawl".blocked p
    using unnest(free) u (id), "pawl".job j
    where p.job_id = any (array[u.id]) and j.id = any (array[u.id]) and p.epoch = j.epoch and p.expires_at is null
    returning j.id, j.epoch, j.queue, j.channel, j.priority, j.crashes, j.run_at
  ),
  later as (
    insert into "pawl".scheduled (run_at, job_id, epoch, queue)
    select g.run_at, g.id, g.epoch, g.queue from gone g where g.run_at > clock_timestamp()
    returning job_id
  ),
  placed as materialized (
    select g.*, nextval('"pawl".pos') as place
    from (select g.* from gone g where g.id not in (select l.job_id from later l) order by g.id) g
  ),
  placed_job as (
    update "pawl".job j set pos = p.place from placed p where j.id = any (array[p.id])
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select p.place, p.id, p.epoch, "pawl".lane_priority(p.priority, p.crashes, false), p.queue, p.channel from placed p
    returning queue
  )
  select array_agg(distinct r.queue) into queues from ready r;
  if queues is not null then
    perform "pawl".wake(queues);
  end if;
end $$;

-- unblock for one job. Returns false if another transaction has locked its row.
create or replace function "pawl".unblock(id bigint) returns boolean language plpgsql as $$
begin
  perform "pawl".unblock(array[unblock.id]);
  return not found;
end $$;

-- validate_callbacks returns what is wrong with the callback jobs of a batch; null if nothing is. Maintenance inserts
-- them when the batch ends, and then no caller is there to be told of an error.
--   batch   the batch's id
--   jobs    a JSON array as insert_constrained takes it, or null
-- Moves nothing.
create or replace function "pawl".validate_callbacks(batch bigint, jobs jsonb) returns text
language plpgsql stable as $$
#variable_conflict use_column
begin
  if jobs is null then
    return null;
  elsif jsonb_typeof(jobs) <> 'array' or jsonb_array_length(jobs) > 1000 then
    return 'want an array of at most 1,000 jobs';
  end if;
  return (
    select w.reason
    from jsonb_array_elements(jobs) as s (value),
         lateral (select coalesce(
           "pawl".validate_constrained(s.value),
           case when s.value ? 'reserve' then 'a callback cannot be reserved'
                when s.value -> 'opts' ? 'batch' then 'a callback is in no batch' end,
           (select format('it depends on job %s: a callback depends on jobs inserted before the batch', a.id)
            from jsonb_to_recordset(s.value -> 'after') as a (id bigint)
            where a.id >= validate_callbacks.batch limit 1)) as reason) w
    where w.reason is not null
    limit 1
  );
end $$;

-- validate_constrained returns what is wrong with a job in the form that insert_constrained takes; null if nothing is.
-- It checks the form itself, and times, for which the Go client has wider limits than SQL. What the other fields mean
-- is checked by validate_spec, as for a job that SQL inserts.
create or replace function "pawl".validate_constrained(spec jsonb) returns text
language plpgsql stable parallel safe as $$
#variable_conflict use_column
declare
  opts jsonb := coalesce(nullif(spec -> 'opts', 'null'), '{}');
  bad  text;
begin
  if jsonb_typeof(spec) is distinct from 'object' then
    return 'it is no object';
  elsif jsonb_typeof(opts) <> 'object' then
    return 'its opts are no object';
  end if;
  select f.key into bad
  from (select k.key, 'queue,channel,priority,kind,args,data,delay,run_at,attempts,fingerprint,opts,ordered,key,period,'
               'replace,reschedule,reserve,after,attempt,errors' as known from jsonb_object_keys(spec) as k (key)
        union all
        select k.key, 'headers,backoff,ordered,batch,global,until_start' from jsonb_object_keys(opts) as k (key)) f
  where f.key <> all (string_to_array(f.known, ','))
  limit 1;
  if found then
    return 'there is no field ' || bad;
  end if;
  select t.name into bad
  from unnest('{delay,period,reserve}'::text[]) as t (name)
  where spec ? t.name
    and not case when jsonb_typeof(spec -> t.name) = 'number'
                 then (spec ->> t.name)::numeric between case t.name when 'reserve' then 1e-9 else 0 end and 9223372037
                 else spec -> t.name = 'null' end
  limit 1;
  if found then
    return format('want a %s of 0 to 9223372037 seconds', bad);
  end if;
  begin
    if not isfinite((spec ->> 'run_at')::timestamptz) then
      return 'run_at is infinite';
    end if;
  exception when invalid_datetime_format or datetime_field_overflow or invalid_parameter_value then
    return format('run_at: %s is no time', quote_literal(left(spec ->> 'run_at', 64)));
  end;
  -- Args are left out here, so that large ones are not copied.
  bad := "pawl".validate_spec(jsonb_build_object('kind', spec -> 'kind', 'opts', jsonb_strip_nulls(
    (spec - '{kind,args,opts,attempts,delay,run_at,reserve,key,period,replace,reschedule,errors}'::text[])
    || jsonb_build_object(
         'max_attempts', spec -> 'attempts', 'headers', opts -> 'headers', 'backoff', opts -> 'backoff',
         'unique', case when spec ?| '{key,period,replace,reschedule}' or opts ?| '{global,until_start}'
                        then jsonb_build_object(
                          'key', spec -> 'key', 'replace', spec -> 'replace', 'reschedule', spec -> 'reschedule',
                          'global', opts -> 'global', 'until_start', opts -> 'until_start') end))));
  return coalesce(bad, case
    when pg_column_size(spec -> 'args') > 6000 and octet_length((spec -> 'args')::text) > 67108864
      then 'its args are more than 67108864 bytes of JSON'
    when coalesce(opts -> 'ordered', 'false') <> coalesce(spec -> 'ordered', 'false')
      then 'opts.ordered differs from ordered'
    when coalesce(opts ->> 'batch', '1') !~ '^[1-9][0-9]{0,17}$' then 'opts.batch is no id'
    when coalesce(nullif(spec -> 'errors', 'null'), '[]') <> '[]' then "pawl".validate_errors(spec -> 'errors') end);
end $$;

-- validate_errors returns what is wrong with the errors of earlier attempts; null if nothing is.
create or replace function "pawl".validate_errors(errors jsonb) returns text language sql stable parallel safe as $$
  select case
    when jsonb_typeof(errors) <> 'array' then 'its errors are no array'
    when jsonb_array_length(errors) > 10 then 'it has more than ten errors'
    when exists (
      select from jsonb_array_elements(errors) as e (value)
      where jsonb_typeof(e.value) <> 'object'
         or coalesce(jsonb_typeof(e.value -> 'attempt'), 'number') <> 'number'
         or coalesce(e.value ->> 'attempt', '0') !~ '^[0-9]{1,5}$'
         or coalesce(jsonb_typeof(e.value -> 'at'), 'string') <> 'string'
         or coalesce(e.value ->> 'at', '2000-01-01T00:00:00Z')
              !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$'
         or exists (select from unnest('{worker,error,stack}'::text[]) as f (name)
                    where coalesce(jsonb_typeof(e.value -> f.name), 'string') <> 'string'))
      then 'its errors: want {attempt, at, worker, error, stack}' end
$$;

-- due_cron returns the seconds until the next tick of any schedule; negative if a tick is due, null if there is no
-- schedule.
--   names, specs, zones   schedules to leave out, as long as their spec and zone are these
-- Moves nothing. A tick at an infinite time counts as one in the year 1 or 9999.
-- Index: cron_next_at, from its first entry.
create or replace function "pawl".due_cron(names text[], specs text[], zones text[]) returns double precision
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
begin
  return (
    select extract(epoch from "pawl".finite(c.next_at) - clock_timestamp())::double precision
    from "pawl".cron c
    where not c.paused
      and not exists (select from unnest(due_cron.names, due_cron.specs, due_cron.zones) as u (name, spec, zone)
                      where u.name = c.name and u.spec = c.spec and u.zone = c.zone)
    order by c.next_at
    limit 1
  );
end $$;

-- put_cron writes schedules, all or none. No name may occur twice.
--   jobs       json: see the table cron        next_ats   the first tick from now on
-- It raises SQLSTATE 22023 for values that no tick could use: see the statement.
-- A row with a higher version stays as it is. A row keeps its pause and its last tick; it keeps its next tick
-- unless spec or zone changed. Returns how many rows were written.
-- Index: cron's primary key.
-- Survives: another call with the same names (rows are written in order of name) and a tick that is taken at the
-- same time (this waits for its short transaction).
create or replace function "pawl".put_cron(
  names text[], specs text[], zones text[], jobs text[], jitters interval[], catch_ups integer[], versions integer[],
  next_ats timestamptz[]
) returns bigint language plpgsql as $$
#variable_conflict use_column
declare
  written bigint;
  wrong   text;
begin
  select left(coalesce(u.name, 'null'), 64) into wrong
  from unnest(put_cron.names, put_cron.specs, put_cron.zones, put_cron.jobs, put_cron.jitters, put_cron.catch_ups,
              put_cron.versions, put_cron.next_ats)
         as u (name, spec, zone, job, jitter, catch_up, version, next_at)
  where (octet_length(u.name) between 1 and 255 and octet_length(u.spec) between 1 and 1000
         and octet_length(u.zone) between 1 and 255 and jsonb_typeof(u.job::jsonb) = 'object'
         and jsonb_typeof(u.job::jsonb -> 'kind') = 'string' and u.jitter between '0' and interval '365 days'
         and u.catch_up between 0 and 1000 and u.version >= 0
         and u.next_at between '1970-01-01 00:00:00+00' and '9999-12-31 23:59:59+00') is not true
  limit 1;
  if found then
    raise exception 'pawl: put cron %: want a name, a spec and a zone, a job of some kind, a jitter up to 365 days, '
                    'catch_up from 0 to 1000, a version from 0, and a tick in the years 1970 to 9999', wrong
      using errcode = '22023';
  end if;
  insert into "pawl".cron as c (name, spec, zone, job, jitter, catch_up, version, next_at)
  select u.name, u.spec, u.zone, u.job::jsonb, u.jitter, u.catch_up, u.version, u.next_at
  from unnest(put_cron.names, put_cron.specs, put_cron.zones, put_cron.jobs, put_cron.jitters, put_cron.catch_ups,
              put_cron.versions, put_cron.next_ats)
         as u (name, spec, zone, job, jitter, catch_up, version, next_at)
  order by u.name collate "C"
  on conflict (name) do update set
    spec = excluded.spec, zone = excluded.zone, job = excluded.job, jitter = excluded.jitter,
    catch_up = excluded.catch_up, version = excluded.version,
    next_at = case when (c.spec, c.zone) = (excluded.spec, excluded.zone) then c.next_at else excluded.next_at end
  where c.version <= excluded.version;
  get diagnostics written = row_count;
  return written;
end $$;

-- take_cron locks the schedule that has been due longest, among those that no other transaction has locked, until
-- the end of the transaction. The transaction then inserts the jobs of its ticks and calls tick_cron.
--   names, specs, zones   schedules to leave out, as long as their spec and zone are these
-- Moves nothing. Returns the schedule and the database's time, or no row. Times, jitter and catch_up are as put_cron
-- takes them, whatever the row has: a row that no client can read would keep all others from their ticks.
-- Index: cron_next_at, from its first entry.
-- Survives: two calls for one tick (skip locked, and the row is read again once it is locked); a caller that dies
-- (its transaction ends with it); a caller that hangs or is cut off (the server ends its session after ten idle
-- seconds).
create or replace function "pawl".take_cron(names text[], specs text[], zones text[]) returns table (
  name text, spec text, zone text, job text, jitter double precision, catch_up integer, last_at timestamptz,
  next_at timestamptz, moment timestamptz
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  perform set_config('idle_in_transaction_session_timeout', '10s', true);
  return query
  with mine as materialized (
    select c.name, c.spec, c.zone, c.job, c.jitter, c.catch_up, c.last_at, c.next_at
    from "pawl".cron c
    where not c.paused and c.next_at <= clock_timestamp()
      and not exists (select from unnest(take_cron.names, take_cron.specs, take_cron.zones) as u (name, spec, zone)
                      where u.name = c.name and u.spec = c.spec and u.zone = c.zone)
    order by c.next_at
    limit 1
    for update of c skip locked
  )
  select m.name, m.spec, m.zone, m.job::text,
         least(greatest(extract(epoch from m.jitter)::double precision, 0), 31536000),
         least(greatest(m.catch_up, 0), 1000), "pawl".finite(m.last_at),
         greatest("pawl".finite(m.next_at), '1970-01-01 00:00:00+00'), clock_timestamp()
  from mine m;
end $$;

-- tick_cron records, in the transaction of a take_cron, which tick became a job last (null: none did) and which
-- tick is next.
-- It raises SQLSTATE 22023 for times that no schedule has: the next tick is later than the one that was due.
-- Index: cron's primary key.
create or replace function "pawl".tick_cron(name text, last_at timestamptz, next_at timestamptz) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  if (tick_cron.next_at between '1970-01-01 00:00:00+00' and '9999-12-31 23:59:59+00') is not true
     or tick_cron.last_at > clock_timestamp()
     or tick_cron.last_at < '1970-01-01 00:00:00+00' then
    raise exception 'pawl: tick cron %: the last tick % or the next tick % is out of range', left(tick_cron.name, 64),
      coalesce(tick_cron.last_at::text, 'null'), coalesce(tick_cron.next_at::text, 'null') using errcode = '22023';
  end if;
  update "pawl".cron c
  set last_at = coalesce(tick_cron.last_at, c.last_at), next_at = tick_cron.next_at
  where c.name = tick_cron.name and c.next_at <= clock_timestamp() and tick_cron.next_at > c.next_at;
end $$;

-- await_key returns the key of the advisory lock that a session holds, shared, while it awaits a job whose id is
-- `slot` modulo 64. Null: while it awaits any job at all.
-- There are 64 slots, because a lock for each job would fill the server's lock table when thousands of jobs are
-- awaited. As in sleep_key, the key's text has the schema's plain name.
create or replace function "pawl".await_key(slot bigint) returns bigint language sql immutable parallel safe as $$
  select hashtextextended((parse_ident('"pawl".await'))[1] || '.await ' || coalesce(slot::text, '*'), 0)
$$;

-- backoff returns the seconds to wait after the given attempt n: base · growth^(n-1) · n^power, at most max, ±
-- jitter. It computes with logarithms, so that no exponent overflows. The default is 1 s, doubled up to 1 h, ± 10
-- %. It never fails: it takes the default for what is no number, and the nearest number in range for the others. Base
-- and max are at most 100 years.
create or replace function "pawl".backoff(backoff jsonb, attempt integer) returns double precision
language sql volatile parallel safe as $$
  select case when b.base <= 0 then 0
              else exp(greatest(-20, least(ln(b.base) + (n - 1) * ln(b.growth) + b.power * ln(n), ln(b.most))))
                   * (1 + b.jitter * (2 * random() - 1)) end
  from (select greatest(attempt, 1)::double precision) a (n),
       (select coalesce(max(s.value) filter (where s.name = 'base'), 1),
               coalesce(max(s.value) filter (where s.name = 'max'), 3600),
               coalesce(max(s.value) filter (where s.name = 'growth'), 2),
               coalesce(max(s.value) filter (where s.name = 'power'), 0),
               coalesce(max(s.value) filter (where s.name = 'jitter'), 0.1)
        from (select l.name, greatest(l.least, least(l.most, (backoff ->> l.name)::numeric))::double precision as value
              from (values ('base', 0, 3155760000), ('max', 1e-9, 3155760000), ('growth', 1e-9, 1e9), ('power', -100, 100),
                           ('jitter', 0, 1)) as l (name, least, most)
              where jsonb_typeof(backoff -> l.name) = 'number') s) b (base, most, growth, power, jitter)
$$;

-- checkpoint saves what an attempt of a running job has reached, for the next attempt and for readers.
--   changes   {args, data (base64), value, step, result, percent, message, attempts}. An absent field stays as it
--             is. A null clears args, data or value. attempts are added to max_attempts. A step's result is kept
--             under its name
-- It raises SQLSTATE 22023 for other changes.
-- Moves nothing; the job row changes, and its epoch stays. Returns whether the job is live at this epoch.
-- Index: job's primary key.
-- Survives: a rescue at the same time (the epoch is compared where the row is locked).
create or replace function "pawl".checkpoint(id bigint, epoch integer, changes jsonb) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  wrong text := "pawl".validate_checkpoint(changes);
begin
  if wrong is not null then
    raise exception 'pawl: store checkpoint of job %: %', checkpoint.id, wrong using errcode = '22023';
  end if;
  update "pawl".job j
  set args = case when changes ? 'args' then nullif(changes -> 'args', 'null') else j.args end,
      data = case when changes ? 'data' then decode(changes ->> 'data', 'base64') else j.data end,
      checkpoint = nullif(
        case when changes -> 'value' = 'null' then coalesce(j.checkpoint, '{}') - 'value'
             else coalesce(j.checkpoint, '{}') end
        || case when changes ? 'value' and changes -> 'value' <> 'null'
                then jsonb_build_object('value', changes -> 'value')
                else '{}' end
        || case when changes ? 'step'
                then jsonb_build_object('steps', coalesce(j.checkpoint -> 'steps', '{}')
                                                 || jsonb_build_object(changes ->> 'step', changes -> 'result'))
                else '{}' end
        || case when changes ? 'percent'
                then jsonb_build_object('percent', changes -> 'percent', 'message', changes -> 'message')
                else '{}' end,
        '{}'),
      max_attempts = case
        when changes ? 'attempts' then least(
          coalesce(j.max_attempts, (select q.max_attempts from "pawl".queue q where q.name = j.queue), 20)
            + (changes ->> 'attempts')::integer, 32767)
        else j.max_attempts end
  where j.id = checkpoint.id and j.epoch = checkpoint.epoch;
  return found;
end $$;

-- claimed returns how jobs are claimed: a row for each of the given jobs that is.
--   lease, until   its lease, and when that expires; until is null if the lease lasts as long as its worker lives
--   shared         how many jobs were claimed with this lease, at most
--   permit         the job counts against a limit
-- Moves nothing. It reads lease until each job is found, because there is no index from a job to its lease. Use it
-- to look at jobs, not under load.
-- jit is off, because reading lease with enable_seqscan off looks so expensive that it was compiled: half a second
-- a call.
create or replace function "pawl".claimed(ids bigint[])
returns table (
  id bigint, epoch integer, crashes smallint, constrained boolean, permit boolean, lease uuid, until timestamptz,
  shared integer, now timestamptz
)
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select j.id, j.epoch, j.crashes, j.constrained,
         coalesce(q.max_running is not null or q.channel_max_running is not null, false),
         h.id, h.expires_at, cardinality(h.jobs), clock_timestamp()
  from "pawl".job j
  join lateral (
    select l.id, l.expires_at, l.jobs
    from "pawl".lease l
    where (j.id, j.epoch) in (select u.id, u.epoch from unnest(l.jobs, l.epochs) u (id, epoch))
    limit 1
  ) h on true
  left join "pawl".queue q on q.name = j.queue
  where j.id = any (claimed.ids);
end $$;

-- complete finishes jobs whose handlers succeeded.
--   ids, epochs   the claimed jobs
--   waited, ran   milliseconds; -1 or null if not known
--   results       json or null
--   worker        name of the worker that ran them
--   keep          ids of jobs to archive even if the queue's retention is zero
--   leases        leases to delete if every one of the jobs is finished here: those whose other results were plain
--                 successes of earlier calls; see end_leases for the others
-- Moves: job rows into archive_chunk, or nowhere; record_followups for constrained jobs.
-- Returns the ids of the finished jobs. A job that is missing is locked by another transaction, or is not live at
-- its epoch.
-- Index: job's primary key.
-- Survives: a completion after a rescue (the epoch is compared where the row is locked); a lock of another
-- transaction (the job is skipped, and the caller calls lock_jobs and this for that job alone); a deadlock of two
-- completions (rows are locked in order of id).
create or replace function "pawl".complete(
  ids bigint[], epochs integer[], waited bigint[], ran bigint[], results text[], worker text, keep bigint[],
  leases uuid[]
) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  done  bigint[];
  ended jsonb;
begin
  with pair as materialized (
    select u.id, u.epoch, u.waited, u.ran, u.result
    from unnest(complete.ids, complete.epochs, complete.waited, complete.ran, complete.results)
           as u (id, epoch, waited, ran, result)
    order by u.id
  ),
  mine as materialized (
    select j.ctid
    from pair u,
         lateral (select j.ctid from "pawl".job j where j.id = u.id and j.epoch = u.epoch for update skip locked) j
  ),
  gone as (
    delete from "pawl".job j
    where j.ctid = any (array(select ctid from mine))
    returning j.id, j.epoch, j.created_at, j.run_at, j.priority, j.attempt, j.max_attempts, j.queue, j.channel, j.kind,
              j.args, j.data, j.fingerprint, j.unique_key, j.opts, j.errors, j.checkpoint, j.constrained
  ),
  kept as (
    insert into "pawl".archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, worker, ids, epochs,
                                    created_at, run_at, waited_ms, ran_ms, priority, attempt, max_attempts, channel,
                                    kind, args, data, fingerprint, unique_key, opts, errors, checkpoint, result)
    select min(g.id), max(g.id), count(*), max(g.now), max(g.now) + g.retain, 'completed', g.queue, complete.worker,
           array_agg(g.id), array_agg(g.epoch), array_agg(g.created_at), nullif(array_agg(g.run_at), '{null}'),
           nullif(array_agg(g.waited), '{null}'), nullif(array_agg(g.ran), '{null}'), array_agg(g.priority),
           array_agg(least(g.attempt + 1, 32767)::smallint), nullif(array_agg(g.max_attempts), '{null}'),
           array_agg(g.channel), array_agg(g.kind), nullif(array_agg(g.args), '{null}'), nullif(array_agg(g.data), '{null}'),
           nullif(array_agg(g.fingerprint), '{null}'), nullif(array_agg(g.unique_key), '{null}'),
           nullif(array_agg(g.opts), '{null}'), nullif(array_agg(g.errors), '{null}'),
           nullif(array_agg(g.checkpoint), '{null}'), nullif(array_agg(g.result), '{null}')
    from (
      -- The order of this subquery is that of the arrays.
      select g.*, nullif(u.waited, -1) as waited, nullif(u.ran, -1) as ran, r.result, t.now, t.retain,
             -- A job with a large or compressed value is a chunk of its own.
             case when greatest(pg_column_size(g.args), pg_column_size(g.data), pg_column_size(g.opts),
                                pg_column_size(g.errors), pg_column_size(g.checkpoint), pg_column_size(r.result)) > 1000
                    or coalesce(pg_column_compression(g.args), pg_column_compression(g.data),
                                pg_column_compression(g.opts), pg_column_compression(g.errors),
                                pg_column_compression(g.checkpoint)) is not null
                    then g.id end as alone
      from gone g
      join pair u on u.id = g.id
      left join "pawl".queue q on q.name = g.queue,
      lateral (select u.result::jsonb as result) r,
      lateral (select clock_timestamp() as now,
                      case when g.id = any (complete.keep) and q.retain_completed <= '0' then interval '1 day'
                           else coalesce(q.retain_completed, interval '1 day') end as retain) t
      where t.retain > '0'
      order by g.id
    ) g
    group by g.queue, g.retain, g.id >> 10, g.alone
  ),
  ended as (
    delete from "pawl".lease l
    where l.id = any (complete.leases) and (select count(*) from gone) = cardinality(complete.ids)
  )
  select array_agg(g.id), jsonb_agg("pawl".followup_of(g.id, g.queue, g.channel, g.opts)) filter (where g.constrained)
  into done, ended
  from gone g;
  if ended is not null then
    perform "pawl".record_followups(ended, 'completed');
  end if;
  if done is not null then
    perform "pawl".wake_awaiting(done);
  end if;
  return query select unnest(done);
end $$;

-- complete_isolated finishes jobs whose handlers succeeded, of which the database has refused one. Only what it refuses
-- stays.
--   parameters as complete
-- Moves: what complete moves. It completes all jobs in a subtransaction. If that fails, it completes each half, down to
-- one job.
-- Returns the ids of the finished jobs with null, and the ids of the refused ones with what the database said.
-- It fails if the database is at fault and not a job: a partition is missing, or there is no memory for a small result.
-- Index: those of complete.
-- Survives: what complete survives.
create or replace function "pawl".complete_isolated(
  ids bigint[], epochs integer[], waited bigint[], ran bigint[], results text[], worker text, keep bigint[]
) returns table (id bigint, problem text)
language plpgsql as $$
#variable_conflict use_column
declare
  n constant integer := coalesce(cardinality(ids), 0);
  h constant integer := n / 2;
  violated text; -- the name of the violated constraint
begin
  begin
    return query
    select c.id, null::text from "pawl".complete(ids, epochs, waited, ran, results, worker, keep, '{}') c (id);
    return;
  exception when others then
    get stacked diagnostics violated = constraint_name;
    if not "pawl".is_fault_of_row(sqlstate, violated)
       or sqlstate = '53200' and n = 1 and coalesce(octet_length(results[1]), 0) < 1000000 then
      raise;
    end if;
    if n = 1 then
      return query select ids[1], format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
      return;
    end if;
  end;
  return query select * from "pawl".complete_isolated(
    ids[1 : h], epochs[1 : h], waited[1 : h], ran[1 : h], results[1 : h], worker, keep);
  return query select * from "pawl".complete_isolated(
    ids[h + 1 : n], epochs[h + 1 : n], waited[h + 1 : n], ran[h + 1 : n], results[h + 1 : n], worker, keep);
end $$;

-- end_leases deletes leases whose results are all stored, of which some were not plain successes.
--   leases   ids of leases; one that still has a live job stays, and its jobs are rescued with it
-- Moves: lease rows away.
-- Index: lease's primary key; job's primary key, once for each job of a lease.
-- Survives: a caller that counted wrong (only the rows say whether a live job of the lease is left).
create or replace function "pawl".end_leases(leases uuid[]) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
begin
  delete from "pawl".lease l
  where l.id = any (leases)
    and not exists (
      select
      from unnest(l.jobs, l.epochs) as u (id, epoch),
           lateral (select from "pawl".job j where j.id = u.id and j.epoch = u.epoch) j
    );
end $$;

-- extend extends the lease of claimed jobs until now + lasting. It never shortens a lease.
--   ids, epochs, leases   the claimed jobs, each with its lease
--   split                 id of a new lease for the extended jobs, if they are only a part of the jobs of their
--                         lease
-- It raises SQLSTATE 22023 unless lasting is 0 to 100 years.
-- Moves nothing; a consumer's lease gets a later expiry, or its extended jobs move into the lease `split`, with
-- their permits. The lease of a worker has no expiry and stays as it is.
-- Returns the id and the lease of each extended job. The others are lost.
-- Index: lease's primary key, job's primary key, permit_job_id.
-- Survives: a rescue at the same time (it locks the lease row, and afterwards no epoch matches); two extensions at
-- once (the lease row is locked).
create or replace function "pawl".extend(ids bigint[], epochs integer[], leases uuid[], split uuid, lasting interval)
returns table (id bigint, lease uuid)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  until timestamptz;
begin
  if (lasting between '0' and interval '100 years') is not true then
    raise exception 'pawl: extend by %: want a time from 0 to 100 years', coalesce(lasting::text, 'null')
      using errcode = '22023';
  end if;
  until := clock_timestamp() + lasting;
  perform l.id from "pawl".lease l where l.id = any (extend.leases) order by l.id for update;
  return query
  with pair as materialized (
    select distinct u.id, u.epoch, u.lease
    from unnest(extend.ids, extend.epochs, extend.leases) as u (id, epoch, lease)
    join "pawl".job j on j.id = any (array[u.id]) and j.epoch = u.epoch
    join "pawl".lease l on l.id = u.lease and u.id = any (l.jobs)
  ),
  part as materialized (
    -- If all live jobs of a lease are extended, the lease gets the later expiry. Else the extended jobs are split
    -- off.
    select l.id, l.expires_at, l.expires_at is null or not exists (
             select from unnest(l.jobs, l.epochs) as h (id, epoch)
             join "pawl".job j on j.id = any (array[h.id]) and j.epoch = h.epoch
             where not exists (select from pair p where p.id = h.id)
           ) as whole
    from "pawl".lease l
    where l.id in (select p.lease from pair p)
  ),
  later as (
    update "pawl".lease l
    set expires_at = greatest(l.expires_at, until)
    from part p
    where l.id = p.id and p.whole and l.expires_at is not null
  ),
  fewer as (
    update "pawl".lease l
    set (jobs, epochs) = (
      select coalesce(array_agg(h.id), '{}'), coalesce(array_agg(h.epoch), '{}')
      from unnest(l.jobs, l.epochs) as h (id, epoch)
      where not exists (select from pair p where p.id = h.id)
    )
    from part p
    where l.id = p.id and not p.whole
  ),
  off as (
    insert into "pawl".lease (id, expires_at, jobs, epochs)
    select extend.split, greatest(until, max(t.expires_at)), array_agg(p.id), array_agg(p.epoch)
    from pair p
    join part t on t.id = p.lease
    where not t.whole
    having count(*) > 0
  ),
  permits as (
    update "pawl".permit m
    set lease = extend.split
    from pair p
    join part t on t.id = p.lease
    where not t.whole and m.job_id = any (array[p.id]) and m.lease = p.lease
  )
  select p.id, case when t.whole then p.lease else extend.split end
  from pair p
  join part t on t.id = p.lease;
end $$;

-- fail records the end of attempts that did not succeed.
--   ids, epochs   the claimed jobs
--   outcomes      retry: a failed attempt                     snooze: run again later; no attempt is used release:
--                 returned; no attempt is used       cancel: finished, cancelled dead, unprocessable: finished,
--                 dead, even if attempts are left
--   delays        seconds until the job may run again; null: the backoff of the job, else that of `backoffs`, else
--                 the queue's
--   backoffs      the kind's {base, max, growth, power, jitter}, in seconds, or null
--   errors        {error, stack} to keep with the job, or null
--   waited, ran   milliseconds; -1 or null if not known
--   worker        name of the worker that ran them
-- Moves: either the job row changes, its epoch increases by one and a ticket goes to scheduled or ready; or the job
-- row goes to archive_chunk or dead.
-- Returns the id of each job and what it became: ready, scheduled, cancelled or dead. A job that is missing is
-- locked by another transaction, or is not live at its epoch.
-- Index: job's primary key.
-- Survives: what complete survives. A position is drawn after the row lock, which gave this transaction its number:
-- the safe mark requires that.
create or replace function "pawl".fail(
  ids bigint[], epochs integer[], outcomes text[], delays double precision[], backoffs text[], errors text[],
  waited bigint[], ran bigint[], worker text
) returns table (id bigint, became text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  done      bigint[];
  states    text[];
  cancelled jsonb;
  dead      jsonb;
begin
  with pair as materialized (
    select u.id, u.epoch, u.outcome, u.delay, u.backoff::jsonb as backoff, u.error::jsonb as error, u.waited, u.ran
    from unnest(fail.ids, fail.epochs, fail.outcomes, fail.delays, fail.backoffs, fail.errors, fail.waited, fail.ran)
           as u (id, epoch, outcome, delay, backoff, error, waited, ran)
    order by u.id
  ),
  mine as materialized (
    select u.id, u.epoch, u.outcome, u.waited, u.ran, j.queue, j.channel, j.priority, a.attempt,
           case when u.outcome in ('retry', 'snooze') then 0 else j.crashes end as crashes,
           case when u.outcome = 'cancel' then 'cancelled'
                when u.outcome in ('dead', 'unprocessable')
                  or u.outcome = 'retry' and a.attempt >= coalesce(j.max_attempts, q.max_attempts, 20) then 'dead'
                when coalesce(u.delay, d.seconds) > 0 then 'scheduled'
                else 'ready' end as became,
           clock_timestamp() + coalesce(u.delay, d.seconds) * interval '1 second' as run_at,
           case when u.error is null then j.errors
                else case when jsonb_typeof(j.errors) = 'array'
                           then case when jsonb_array_length(j.errors) >= 10 then j.errors - 0 else j.errors end
                           else '[]' end
                     || (jsonb_build_object('attempt', a.attempt, 'at', clock_timestamp(), 'worker', fail.worker)
                         || u.error)
                end as errors
    from pair u
    cross join lateral (select j.* from "pawl".job j where j.id = u.id and j.epoch = u.epoch for update skip locked) j
    cross join lateral (
      select least(j.attempt + case when u.outcome in ('snooze', 'release') then 0 else 1 end, 32767)::smallint
               as attempt
    ) a
    left join "pawl".queue q on q.name = j.queue
    left join lateral (
      select "pawl".backoff(coalesce(j.opts -> 'backoff', u.backoff, q.backoff), a.attempt) as seconds
      where u.outcome = 'retry' and u.delay is null
    ) d on true
  ),
  back as (
    update "pawl".job j
    set epoch = "pawl".next_epoch(j.epoch), attempt = m.attempt, crashes = m.crashes, errors = m.errors,
        pos = case when m.became = 'ready' then nextval('"pawl".pos') end,
        run_at = case when m.outcome = 'release' and m.became = 'ready' then j.run_at else m.run_at end
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.became in ('ready', 'scheduled')
    returning j.id, j.epoch, j.pos, j.run_at, j.queue, j.channel, j.priority, j.crashes, m.became, m.outcome
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, "pawl".lane_priority(b.priority, b.crashes, b.outcome = 'release'), b.queue, b.channel
    from back b
    where b.became = 'ready'
  ),
  scheduled as (
    insert into "pawl".scheduled (run_at, job_id, epoch, queue)
    select b.run_at, b.id, b.epoch, b.queue
    from back b
    where b.became = 'scheduled'
  ),
  over as (
    delete from "pawl".job j
    using mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.became in ('cancelled', 'dead')
    returning j.*, m.became, m.outcome, m.attempt as used, m.errors as all_errors, m.waited, m.ran
  ),
  kept as (
    insert into "pawl".archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, worker, ids, epochs,
                                    created_at, run_at, waited_ms, ran_ms, priority, attempt, max_attempts, channel,
                                    kind, args, data, fingerprint, unique_key, opts, errors, checkpoint)
    select o.id, o.id, 1, t.now, t.now + t.retain, 'cancelled', o.queue, fail.worker, array[o.id], array[o.epoch],
           array[o.created_at], nullif(array[o.run_at], '{null}'), nullif(array[o.waited], '{-1}'),
           nullif(array[o.ran], '{-1}'), array[o.priority], array[o.used], nullif(array[o.max_attempts], '{null}'),
           array[o.channel], array[o.kind], nullif(array[o.args], '{null}'), nullif(array[o.data], '{null}'),
           nullif(array[o.fingerprint], '{null}'), nullif(array[o.unique_key], '{null}'),
           nullif(array[o.opts], '{null}'), nullif(array[o.all_errors], '{null}'), nullif(array[o.checkpoint], '{null}')
    from over o
    left join "pawl".queue q on q.name = o.queue,
    lateral (select clock_timestamp() as now, coalesce(q.retain_cancelled, interval '1 day') as retain) t
    where o.became = 'cancelled' and t.retain > '0'
  ),
  buried as (
    insert into "pawl".dead (id, epoch, finished_at, expires_at, created_at, run_at, waited_ms, ran_ms, priority,
                           attempt, max_attempts, crashes, reason, queue, channel, kind, worker, args, data,
                           fingerprint, unique_key, opts, errors, checkpoint)
    select o.id, o.epoch, t.now, t.now + t.retain, o.created_at, o.run_at, nullif(o.waited, -1), nullif(o.ran, -1),
           o.priority, o.used, o.max_attempts, o.crashes,
           case o.outcome when 'retry' then 'attempts' when 'dead' then 'handler' else o.outcome end,
           o.queue, o.channel, o.kind, fail.worker, o.args, o.data, o.fingerprint, o.unique_key, o.opts, o.all_errors,
           o.checkpoint
    from over o
    left join "pawl".queue q on q.name = o.queue,
    lateral (select clock_timestamp() as now, coalesce(q.retain_dead, interval '30 days') as retain) t
    where o.became = 'dead' and t.retain > '0'
  )
  select array_agg(m.id), array_agg(m.became),
         (select jsonb_agg("pawl".followup_of(o.id, o.queue, o.channel, o.opts)) from over o
          where o.constrained and o.became = 'cancelled'),
         (select jsonb_agg("pawl".followup_of(o.id, o.queue, o.channel, o.opts)) from over o
          where o.constrained and o.became = 'dead')
  into done, states, cancelled, dead
  from mine m;
  if cancelled is not null then
    perform "pawl".record_followups(cancelled, 'cancelled');
  end if;
  if dead is not null then
    perform "pawl".record_followups(dead, 'dead');
  end if;
  if outcomes && '{retry,snooze,release}' then
    perform "pawl".wake(array(
      select distinct j.queue from unnest(ids) u (id) join "pawl".job j on j.id = any (array[u.id])
    ));
  end if;
  if states && '{cancelled,dead}' then
    perform "pawl".wake_awaiting(array(
      select u.id from unnest(done, states) as u (id, became) where u.became in ('cancelled', 'dead')
    ));
  end if;
  return query select u.id, u.became from unnest(done, states) as u (id, became);
end $$;

-- find_finished returns the ids of the (id, epoch) pairs that were finished at this epoch, and the states that they
-- got: they are in archive or dead. A caller uses it when a reply was lost: the second call reports the job as lost,
-- although the first call finished it. It also says whether a job was cancelled while its handler ran.
-- Moves nothing. Index: archive_chunk_min_id, dead's primary key.
create or replace function "pawl".find_finished(ids bigint[], epochs integer[]) returns table (id bigint, state text)
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select u.id, c.state
  from unnest(find_finished.ids, find_finished.epochs) as u (id, epoch),
       "pawl".archive_chunk c
  where c.min_id between u.id >> 10 << 10 and u.id and c.max_id >= u.id
    and c.epochs[array_position(c.ids, u.id)] = u.epoch
  union
  select d.id, 'dead'
  from unnest(find_finished.ids, find_finished.epochs) as u (id, epoch)
  join "pawl".dead d on d.id = u.id and d.epoch = u.epoch;
end $$;

-- find_missing returns the ids of the (id, epoch) pairs that are not live at this epoch any more. Moves nothing.
-- Index: job's primary key.
create or replace function "pawl".find_missing(ids bigint[], epochs integer[]) returns bigint[]
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return array(
    select u.id
    from unnest(find_missing.ids, find_missing.epochs) as u (id, epoch)
    where not exists (select from "pawl".job j where j.id = u.id and j.epoch = u.epoch)
  );
end $$;

-- lock_jobs locks the rows of claimed jobs, and waits for other transactions that have locked them. A caller uses
-- it before a function that skips locked rows, in the same transaction: then that function skips only jobs that are
-- lost.
-- Returns the ids of the jobs that are live at their epoch. Index: job's primary key.
create or replace function "pawl".lock_jobs(ids bigint[], epochs integer[]) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  select j.id
  from (select u.id, u.epoch from unnest(lock_jobs.ids, lock_jobs.epochs) as u (id, epoch) order by u.id) u,
       lateral (select j.id from "pawl".job j where j.id = u.id and j.epoch = u.epoch for update) j;
end $$;

-- validate_checkpoint returns what is wrong with the changes that checkpoint is to store; null if nothing is. Claims
-- and readers read what it stores.
create or replace function "pawl".validate_checkpoint(changes jsonb) returns text
language sql immutable parallel safe as $$
  select case
    when jsonb_typeof(changes) is distinct from 'object' then 'it is no object'
    when changes - '{args,data,value,step,result,percent,message,attempts}'::text[] <> '{}'
      then 'want args, data, value, step, result, percent, message or attempts'
    when coalesce(jsonb_typeof(changes -> 'data'), 'string') <> all ('{string,null}') then 'data is no base64'
    when coalesce(jsonb_typeof(changes -> 'step'), 'string') <> 'string' then 'step is no string'
    when coalesce(jsonb_typeof(changes -> 'message'), 'string') <> 'string' then 'message is no string'
    when coalesce(changes ->> 'percent', '0') !~ '^(100|[0-9]{1,2})$' or changes -> 'percent' = 'null'
      then 'want percent from 0 to 100'
    when coalesce(changes ->> 'attempts', '0') !~ '^[0-9]{1,5}$' then 'want attempts from 0 to 32767'
    when pg_column_size(changes) > 6000 and octet_length(changes::text) > 134217728 then 'it is more than 128 MiB of JSON'
  end
$$;

-- wake_awaiting notifies the sessions that await these finished jobs. It sends nothing if no job is awaited. As in
-- wake: a session that awaits a job holds shared locks, so a session that gets such a lock alone knows that no
-- other session awaits. A statement that finishes jobs, however many, takes one lock for that; it takes one more
-- for each slot only while jobs are awaited.
-- It runs in the transaction that finishes the jobs, and the notification is delivered at the commit. The channel is
-- named as that of wake, with ".finished". The payload is ids, separated by commas, at most 300.
create or replace function "pawl".wake_awaiting(ids bigint[]) returns void language plpgsql as $$
declare
  awaited bigint[];
begin
  if "pawl".lock_is_free("pawl".await_key(null)) then
    return;
  end if;
  select array_agg(u.id) into awaited
  from unnest(ids) u (id)
  join (select s.slot, "pawl".lock_is_free("pawl".await_key(s.slot)) as alone
        from (select distinct i.id % 64 as slot from unnest(ids) i (id)) s
        offset 0) l on l.slot = u.id % 64 and not l.alone;
  for i in 0 .. (coalesce(cardinality(awaited), 0) - 1) / 300 loop
    exit when awaited is null;
    perform pg_notify(left((parse_ident('"pawl".finished'))[1], 54) || '.finished',
                      array_to_string(awaited[i * 300 + 1 : i * 300 + 300], ','));
  end loop;
end $$;

-- close_batch ends the insert of a batch. If the batch has no jobs, it is finished, and its callback jobs are inserted.
--   id   a batch that this transaction has inserted; of others it changes nothing
-- Index: batch's primary key.
create or replace function "pawl".close_batch(id bigint) returns void language plpgsql as $$
begin
  perform from "pawl".batch b
  where b.id = close_batch.id and b.xact = pg_current_xact_id() and b.total = 0 and b.finished_at is null;
  if found then
    perform "pawl".count_batch(close_batch.id, 'none', 0);
  end if;
end $$;

-- insert inserts jobs without constraints, one for each array position, all or none.
--   args             json or null
--   data             bytes or null
--   delays           seconds from now, or null
--   run_ats          a time, or null. A job with neither, or with a time in the past, is ready at once
--   attempts         the number of attempts; null: the queue's
--   opts             json or null
-- It raises SQLSTATE 22023 for others, and for names of more than 255 bytes.
-- Moves: a job row in for each job, and a ticket into ready or scheduled. Returns the ids in the order of the
-- parameters.
-- Index: appends to the primary keys.
-- Survives: the safe mark requires that this transaction has its number before it draws a position or reads the
-- clock (see lanes.go). The first statement ensures that.
-- Args and data are read by subscript: unnest, and a materialized row, would each write a copy of them to disk.
create or replace function "pawl".insert(
  queues text[], channels text[], priorities smallint[], kinds text[], args text[], data bytea[],
  delays double precision[], run_ats timestamptz[], attempts smallint[], fingerprints text[], opts text[]
) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment timestamptz;
  wrong  text := "pawl".validate_columns(insert.queues, insert.kinds, insert.delays, insert.run_ats, insert.attempts,
                                       insert.opts);
  n      bigint;
begin
  if wrong is not null then
    raise exception 'pawl: insert: %', wrong using errcode = '22023';
  end if;
  perform pg_current_xact_id();
  moment := clock_timestamp();
  return query
  with spec as materialized (
    select nextval('"pawl".pos') as id, (random() * 1000000000)::integer as epoch,
           coalesce(u.run_at, moment + u.delay * interval '1 second') as run_at,
           u.queue, u.channel, u.priority, u.kind, u.attempts, u.fingerprint, u.opts, u.ord
    from unnest(insert.queues, insert.channels, insert.priorities, insert.kinds, insert.delays, insert.run_ats,
                insert.attempts, insert.fingerprints, insert.opts) with ordinality
           as u (queue, channel, priority, kind, delay, run_at, attempts, fingerprint, opts, ord)
    where octet_length(u.queue) <= 255 and octet_length(u.channel) <= 255 and octet_length(u.kind) <= 255
      and (u.fingerprint is null or octet_length(u.fingerprint) <= 255)
  ),
  job as (
    insert into "pawl".job (id, created_at, run_at, epoch, priority, max_attempts, queue, channel, kind, args, data,
                          fingerprint, opts)
    select s.id, moment, s.run_at, s.epoch, s.priority, s.attempts, s.queue, s.channel, s.kind,
           insert.args[s.ord]::jsonb, insert.data[s.ord], s.fingerprint, s.opts::jsonb
    from spec s
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select s.id, s.id, s.epoch, s.priority, s.queue, s.channel
    from spec s
    where s.run_at is null or s.run_at <= moment
  ),
  scheduled as (
    insert into "pawl".scheduled (run_at, job_id, epoch, queue)
    select s.run_at, s.id, s.epoch, s.queue
    from spec s
    where s.run_at > moment
  )
  select s.id from spec s;
  get diagnostics n = row_count;
  if n <> cardinality(insert.queues) then
    raise exception 'pawl: insert: want as many channels and kinds as queues, and names of up to 255 bytes'
      using errcode = '22023';
  end if;
  perform "pawl".wake(insert.queues);
end $$;

-- insert_batch inserts the row of a batch. After it, the same transaction inserts the batch's jobs with
-- insert_constrained, which counts them, and calls close_batch.
--   id                                drawn from pos
--   on_finish, on_success, on_death   callback jobs, as insert_constrained takes them, or null
-- It raises SQLSTATE 22023 for callbacks that could not be inserted when the batch ends: see validate_callbacks.
create or replace function "pawl".insert_batch(id bigint, on_finish jsonb, on_success jsonb, on_death jsonb)
returns void language plpgsql as $$
declare
  wrong text := coalesce(
    case when insert_batch.id is null or insert_batch.id not between 1 and coalesce(pg_sequence_last_value('"pawl".pos'), 0)
         then 'want an id drawn from pos' end,
    'on_finish: ' || "pawl".validate_callbacks(insert_batch.id, insert_batch.on_finish),
    'on_success: ' || "pawl".validate_callbacks(insert_batch.id, insert_batch.on_success),
    'on_death: ' || "pawl".validate_callbacks(insert_batch.id, insert_batch.on_death));
begin
  if wrong is not null then
    raise exception 'pawl: insert batch %: %', coalesce(insert_batch.id::text, 'null'), wrong using errcode = '22023';
  end if;
  insert into "pawl".batch (id, total, on_finish, on_success, on_death)
  values (insert_batch.id, 0, insert_batch.on_finish, insert_batch.on_success, insert_batch.on_death);
end $$;

-- insert_constrained inserts jobs that have constraints, all or none.
--   specs   a JSON array of {queue, channel, priority, kind, args, data (base64), delay, run_at, attempts,
--           fingerprint, opts, ordered, key, period, replace, reschedule, reserve, after: [{id, on, keep_waiting}],
--           attempt (attempts used), errors}; times in seconds. The batch in opts is one that this transaction has
--           inserted
--   args, data   the args and data of each spec; null: they are in the specs. All specs are one value of jsonb, which
--           takes 256 MB and is read several times
-- Moves: a job row and a ticket in for each job; rows in ordered_job, unique_key and dependency where the specs ask
-- for them.
-- Returns a row for each spec, in order: the id, and whether that is the id of the job that has the unique key. In
-- that case no job was inserted.
-- Index: primary keys.
-- Survives: concurrent inserts into a channel (its mutex is locked in a statement before the ids are drawn, so that
-- the order in the channel is the order of commits); two inserts with one key (the second waits for the first, then
-- finds its row); a job with the key that ends while it is read (the insert is tried again); a parent that finishes
-- meanwhile (its row is locked, or it is gone and is looked up).
-- Locks channels, then free keys, each sorted, then parents by id. Of a key that is in use it locks nothing, or, to
-- change it, the waiting job that has the key.
create or replace function "pawl".insert_constrained(
  specs jsonb, args jsonb[] default null, data bytea[] default null
) returns table (id bigint, duplicate boolean)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  moment timestamptz;
  spec   record;
  ids    bigint[];
  taken  bigint[];
  later  jsonb[]; -- changes by duplicates of a job of this call
  wrong  record;
  other  record;
  tries  integer;
begin
  if jsonb_typeof(specs) is distinct from 'array' then
    raise exception 'pawl: insert_constrained wants a JSON array of jobs' using errcode = '22023';
  end if;
  select s.ord - 1 as index, left(s.value ->> 'kind', 64) as kind, w.reason into wrong
  from jsonb_array_elements(specs) with ordinality as s (value, ord),
       lateral (select "pawl".validate_constrained(s.value) as reason) w
  where not "pawl".is_plain_spec(s.value) and w.reason is not null
  limit 1;
  if found then
    raise exception 'pawl: job % (kind %): %', wrong.index, coalesce(wrong.kind, 'null'), wrong.reason
      using errcode = '22023';
  end if;
  perform pg_current_xact_id();
  insert into "pawl".mutex as m (kind, queue, name) -- As lock_mutexes does it.
  select distinct 'channel', coalesce(s.queue, 'default'), coalesce(s.channel, '')
  from jsonb_to_recordset(specs) as s (queue text, channel text, ordered boolean)
  where s.ordered
  order by 1, 2, 3
  on conflict (kind, queue, name) do update set name = m.name where false;
  moment := clock_timestamp();
  ids := array(select nextval('"pawl".pos') from generate_series(1, jsonb_array_length(specs)));
  taken := array_fill(null::bigint, array[cardinality(ids)]);
  later := array_fill(null::jsonb, array[cardinality(ids)]);

  for spec in
    select s.value ->> 'key' as key,
           "pawl".key_scope(coalesce(s.value ->> 'queue', 'default'), s.value -> 'opts') as scope, s.ord::integer,
           moment + (s.value ->> 'period')::double precision * interval '1 second' as keep_until,
           coalesce(s.value -> 'opts' ? 'until_start', false) as until_start,
           -- What a duplicate changes; null: nothing. A null inside args is the caller's, and stays.
           (select jsonb_object_agg(c.key, c.value)
            from (select e.key, e.value from jsonb_each(s.value) e
                  union all
                  select 'headers', s.value -> 'opts' -> 'headers'
                  union all
                  select 'args', insert_constrained.args[s.ord] where (s.value ->> 'replace')::boolean
                  union all
                  select 'data', to_jsonb(encode(insert_constrained.data[s.ord], 'base64'))
                  where (s.value ->> 'replace')::boolean) c
            where c.value is not null
              and ((s.value ->> 'replace')::boolean and c.key in ('kind', 'args', 'data', 'headers')
                   or (s.value ->> 'reschedule')::boolean and c.key in ('delay', 'run_at'))) as changes
    from jsonb_array_elements(specs) with ordinality as s (value, ord)
    where s.value ->> 'key' is not null
    order by 2, 1, 3
  loop
    tries := 0;
    loop
      -- A key in use is not locked: its job must be able to start and finish meanwhile.
      insert into "pawl".unique_key (scope, key, job_id, live, until_start, keep_until)
      values (spec.scope, spec.key, ids[spec.ord], true, spec.until_start, spec.keep_until)
      on conflict (scope, key) do nothing;
      exit when found;
      select h.job_id, h.live, h.until_start, h.live or coalesce(h.keep_until > clock_timestamp(), false) as taken
      into other
      from "pawl".unique_key h where h.scope = spec.scope and h.key = spec.key;
      if found and other.taken then
        taken[spec.ord] := other.job_id;
        if other.job_id = any (ids) then
          later[spec.ord] := spec.changes; -- That job is inserted below.
          exit;
        end if;
        -- A job that frees its key when it starts must not start before this transaction ends: it would run without
        -- seeing what the duplicate stands for.
        if spec.changes is not null then
          perform from "pawl".update(array[other.job_id], spec.changes) c
          where not (other.until_start and c.became = 'running');
        elsif other.until_start then
          perform from "pawl".lock_waiting(other.job_id) as waits where waits;
        end if;
        exit when found or not other.live;
        taken[spec.ord] := null; -- The job has started or finished meanwhile.
      elsif found then
        update "pawl".unique_key h
        set job_id = ids[spec.ord], live = true, until_start = spec.until_start, keep_until = spec.keep_until
        where h.scope = spec.scope and h.key = spec.key and not h.live
          and (h.keep_until is null or h.keep_until <= clock_timestamp());
        exit when found;
      end if;
      tries := tries + 1;
      if tries > 1000 then
        raise exception 'pawl: the unique key % was taken and freed too often: try again', spec.key
          using errcode = '40001';
      end if;
    end loop;
  end loop;

  insert into "pawl".job (id, created_at, run_at, epoch, priority, max_attempts, queue, channel, kind, args, data,
                        fingerprint, unique_key, opts, constrained, attempt, errors)
  select ids[s.ord], moment,
         coalesce((s.value ->> 'run_at')::timestamptz,
                  moment + (s.value ->> 'delay')::double precision * interval '1 second'),
         (random() * 1000000000)::integer, coalesce((s.value ->> 'priority')::smallint, 0::smallint),
         (s.value ->> 'attempts')::smallint, coalesce(s.value ->> 'queue', 'default'),
         coalesce(s.value ->> 'channel', ''), s.value ->> 'kind',
         coalesce(insert_constrained.args[s.ord], s.value -> 'args'),
         coalesce(insert_constrained.data[s.ord], decode(s.value ->> 'data', 'base64')),
         s.value ->> 'fingerprint', s.value ->> 'key',
         nullif(coalesce(s.value -> 'opts', '{}'), '{}'),
         coalesce((s.value ->> 'ordered')::boolean, false) or s.value ->> 'key' is not null
           or coalesce(s.value -> 'opts' ? 'batch', false),
         coalesce((s.value ->> 'attempt')::smallint, 0::smallint), s.value -> 'errors'
  from jsonb_array_elements(specs) with ordinality as s (value, ord)
  where taken[s.ord] is null
  order by s.ord;

  for spec in
    select (s.value -> 'opts' ->> 'batch')::bigint as batch, count(*) as n
    from jsonb_array_elements(specs) with ordinality as s (value, ord)
    where taken[s.ord] is null and s.value -> 'opts' ? 'batch'
    group by 1
  loop
    update "pawl".batch b set total = b.total + spec.n where b.id = spec.batch and b.xact = pg_current_xact_id();
    if not found then
      raise exception 'pawl: this transaction has inserted no batch %', spec.batch using errcode = '22023';
    end if;
  end loop;

  insert into "pawl".ordered_job (queue, channel, pos, job_id)
  select coalesce(s.value ->> 'queue', 'default'), coalesce(s.value ->> 'channel', ''), ids[s.ord], ids[s.ord]
  from jsonb_array_elements(specs) with ordinality as s (value, ord)
  where taken[s.ord] is null and (s.value ->> 'ordered')::boolean;

  insert into "pawl".blocked (job_id, epoch, queue, expires_at)
  select j.id, j.epoch, j.queue, clock_timestamp() + (s.value ->> 'reserve')::double precision * interval '1 second'
  from jsonb_array_elements(specs) with ordinality as s (value, ord),
       lateral (select j.id, j.epoch, j.queue from "pawl".job j where j.id = ids[s.ord]) j
  where taken[s.ord] is null;

  for spec in
    select ids[s.ord] as child, (a.value ->> 'id')::bigint as parent, coalesce(a.value ->> 'on', 'ok') as on_state,
           coalesce((a.value ->> 'keep_waiting')::boolean, false) as keep_waiting
    from jsonb_array_elements(specs) with ordinality as s (value, ord),
         jsonb_array_elements(coalesce(s.value -> 'after', '[]')) as a (value)
    where taken[s.ord] is null
    order by 2, 1
  loop
    if spec.parent >= spec.child then
      raise exception 'pawl: a job can only depend on jobs inserted before it, and % was not', spec.parent
        using errcode = '22023';
    end if;
    insert into "pawl".dependency (parent_id, child_id, on_state, keep_waiting)
    values (spec.parent, spec.child, spec.on_state, spec.keep_waiting)
    on conflict do nothing;
    update "pawl".job j set constrained = true where j.id = spec.parent;
    if not found then
      -- The lock keeps the parent from being deleted or retried unseen. If it was retried just now, it is live again.
      perform from "pawl".dead d where d.id = spec.parent for key share;
      if not found then
        perform from "pawl".archive_chunk a where a.min_id = spec.parent and a.state = 'cancelled' for key share;
      end if;
      if not found then
        update "pawl".job j set constrained = true where j.id = spec.parent;
        continue when found;
      end if;
      -- The parent has finished or does not exist: run_followups treats this as its end.
      insert into "pawl".followup (job_id, queue, channel, ordered, became)
      values (spec.parent, '', '', false, coalesce(
        (select 'dead' from "pawl".dead d where d.id = spec.parent),
        (select a.state from "pawl".find_archived(array[spec.parent]) a limit 1), 'deleted'));
    end if;
  end loop;

  perform "pawl".unblock(i.id) from unnest(ids) with ordinality as i (id, ord) where taken[i.ord] is null;
  perform "pawl".update(array[taken[i.ord]], i.changes)
  from unnest(later) with ordinality as i (changes, ord) where i.changes is not null;
  return query
  select coalesce(taken[i.ord], i.id), taken[i.ord] is not null
  from unnest(ids) with ordinality as i (id, ord)
  order by i.ord;
end $$;

-- validate_columns returns what is wrong with jobs in the columns that insert takes; null if nothing is. The Go client
-- has checked them, but a producer can call insert, too. It looks at whole arrays, so that the common job costs
-- nothing; insert looks at the length of names.
create or replace function "pawl".validate_columns(
  queues text[], kinds text[], delays double precision[], run_ats timestamptz[], attempts smallint[], opts text[]
) returns text language plpgsql stable parallel safe as $$
begin
  return case
    when '' = any (queues) or '' = any (kinds) then 'a queue or a kind is empty'
    when 0 > any (delays) or 31557600000 < any (delays) then 'want a delay of 0 seconds to 1,000 years'
    when 'infinity' = any (run_ats) or '-infinity' = any (run_ats) then 'a time is infinite'
    when 1 > any (attempts) then 'want attempts from 1 to 32767'
    when cardinality(array_remove(opts, null)) > 0 then (
      select o.reason
      from (select case when jsonb_typeof(u.opts::jsonb) <> 'object' then 'its opts are no object'
                        when u.opts::jsonb - '{headers,backoff}'::text[] <> '{}' then 'want opts of headers and backoff'
                        else "pawl".validate_spec(jsonb_build_object('kind', 'any', 'opts', u.opts::jsonb)) end as reason
            from unnest(validate_columns.opts) as u (opts)
            where u.opts is not null) o
      where o.reason is not null
      limit 1)
  end;
end $$;

-- archive_source returns what to select from, as SQL, to find archived jobs that match a filter: the view archive, or
-- find_archived if the filter has ids.
create or replace function "pawl".archive_source(filter jsonb) returns text language sql stable as $$
  select case when filter ? 'ids'
                then format('"pawl".find_archived(%L)',
                            array(select i::bigint from jsonb_array_elements_text(filter -> 'ids') as i))
              else '"pawl".archive' end
$$;

-- count returns how many jobs match a filter, exactly. It counts only jobs with ids below `below` (null: all), and
-- stops at `most` (null: it counts all).
-- Moves nothing. It reads every job it counts, and whole tables if no index helps. Archived jobs are counted by
-- chunks if the filter has only queue, states and worker. Use queue_stats where that is too slow.
create or replace function "pawl".count(filter jsonb, below bigint, most bigint) returns bigint
language plpgsql stable set jit = off as $$
declare
  archived constant text := "pawl".filter(count.filter, 'archive');
  chunks   constant boolean := below is null and count.filter - '{queue,states,worker}'::text[] = '{}';
  query    text;
  total    bigint := 0;
  n        bigint;
begin
  select string_agg(format('select from %s t where %s and ($1 is null or t.id < $1)', u.source, u.condition),
                    ' union all ')
  into query
  from (values ('"pawl".job', "pawl".filter(count.filter, 'job')), ('"pawl".dead', "pawl".filter(count.filter, 'dead')),
               ("pawl".archive_source(count.filter), case when not chunks then archived end)) as u (source, condition)
  where u.condition is not null;
  if query is not null then
    execute 'select count(*) from (' || query || ' limit $2) found' into total using below, most;
  end if;
  if chunks and archived is not null then
    execute 'select coalesce(sum(t.n), 0) from "pawl".archive_chunk t where ' || archived into n;
    total := least(total + n, most);
  end if;
  return total;
end $$;

-- delete_archived deletes completed and cancelled jobs, and returns the ids of those that existed.
-- Moves: each chunk with one of the jobs out. A job of the chunk that stays becomes a chunk of its own.
-- Index: archive_chunk_min_id.
-- Survives: two calls at once. A call that waited for another one skips the chunk that the other one deleted, and
-- looks again, with a new snapshot, at what is left of it.
create or replace function "pawl".delete_archived(ids bigint[]) returns bigint[]
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  deleted bigint[] := '{}';
  found   bigint[];
begin
  while cardinality(deleted) < cardinality(delete_archived.ids) loop
    with chunk as materialized (
      delete from "pawl".archive_chunk c
      where c.min_id = any (array(
        select l.min_id
        from unnest(delete_archived.ids) as u (id),
             lateral (select c.min_id from "pawl".archive_chunk c
                      where c.min_id between u.id >> 10 << 10 and u.id and c.max_id >= u.id and u.id = any (c.ids)) l
      ))
      returning c.*
    ),
    stays as (
      insert into "pawl".archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, worker, ids, epochs,
                                      created_at, run_at, waited_ms, ran_ms, priority, attempt, max_attempts, channel,
                                      kind, args, data, fingerprint, unique_key, opts, errors, checkpoint, result)
      select u.id, u.id, 1, c.finished_at, c.expires_at, c.state, c.queue, c.worker, array[u.id], array[u.epoch],
             array[u.created_at], nullif(array[u.run_at], '{null}'), nullif(array[u.waited_ms], '{null}'),
             nullif(array[u.ran_ms], '{null}'), array[u.priority], array[u.attempt],
             nullif(array[u.max_attempts], '{null}'), array[u.channel], array[u.kind],
             nullif(array[u.args], '{null}'), nullif(array[u.data], '{null}'),
             nullif(array[u.fingerprint], '{null}'), nullif(array[u.unique_key], '{null}'),
             nullif(array[u.opts], '{null}'), nullif(array[u.errors], '{null}'),
             nullif(array[u.checkpoint], '{null}'), nullif(array[u.result], '{null}')
      from chunk c,
           unnest(c.ids, c.epochs, c.created_at, c.run_at, c.waited_ms, c.ran_ms, c.priority, c.attempt,
                  c.max_attempts, c.channel, c.kind, c.args, c.data, c.fingerprint, c.unique_key, c.opts, c.errors,
                  c.checkpoint, c.result)
             as u (id, epoch, created_at, run_at, waited_ms, ran_ms, priority, attempt, max_attempts, channel, kind,
                   args, data, fingerprint, unique_key, opts, errors, checkpoint, result)
      where c.n > 1 and u.id not in (select i.id from unnest(delete_archived.ids) as i (id))
    )
    select array_agg(u.id) into found
    from chunk c, unnest(c.ids) as u (id)
    where u.id in (select i.id from unnest(delete_archived.ids) as i (id));
    deleted := deleted || coalesce(found, '{}');
    exit when not exists (
      select
      from unnest(delete_archived.ids) as u (id),
           lateral (select from "pawl".archive_chunk c
                    where c.min_id between u.id >> 10 << 10 and u.id and c.max_id >= u.id and u.id = any (c.ids)) l
    );
  end loop;
  return deleted;
end $$;

-- filter returns the condition of a filter on the rows t of a table with jobs, as SQL. Null: no row of this table
-- can match.
--   filter   {ids, queue, channel, kind, fingerprint, unique_key, worker, states, args, created_before,
--            created_after, run_before}; an absent field matches every job
--   source   job, dead or archive
-- The caller makes a statement of it, which is planned with its values each time, because the values decide which
-- index is best.
create or replace function "pawl".filter(filter jsonb, source text) returns text language plpgsql stable as $$
declare
  live   constant text[] := '{reserved,waiting,scheduled,ready,running}';
  have   constant text[] := case source when 'job' then live when 'dead' then '{dead}'
                                        else '{completed,cancelled}' end;
  states text[];
  parts  text[];
  places text[];
  ticket text;
  queue  text;
  query  text;
  few    bigint;
  column_name text;
begin
  if filter ? 'states' then
    states := array(select s from jsonb_array_elements_text(filter -> 'states') s where s = any (have));
    if cardinality(states) = 0 then
      return null;
    end if;
    if source = 'job' and not states @> live then
      parts := parts || format('(%s) = any (%L)', "pawl".live_state(), states);
    elsif source = 'archive' and not states @> have then
      parts := parts || format('t.state = %L', states[1]);
    end if;
  end if;
  if filter ? 'ids' then
    parts := parts || format('t.id = any (%L)', array(
      select i::bigint from jsonb_array_elements_text(filter -> 'ids') i));
  elsif source = 'job' and (filter ?| array['states', 'queue']) then
    -- If at most 10,000 jobs match, they are looked up by their tickets and leases, not searched for among all jobs.
    states := coalesce(states, live);
    queue := case when filter ? 'queue' then format('where s.queue = %L', filter ->> 'queue') else '' end;
    foreach ticket in array array['ready', 'scheduled', 'blocked'] loop
      if ticket = any (states) or ticket = 'blocked' and states && '{reserved,waiting}' then
        places := places || format('select s.job_id from "pawl".%I s %s', ticket, queue);
      end if;
    end loop;
    if 'running' = any (states) then
      places := places || 'select unnest(s.jobs) from "pawl".lease s'::text;
    end if;
    query := format('select x.id from (%s) x (id) limit 10001', array_to_string(places, ' union all '));
    execute format('select count(*) from (%s) c', query) into few;
    if few <= 10000 then
      parts := parts || format('t.id = any (array(%s))', query);
    end if;
  end if;
  foreach column_name in array array['queue', 'channel', 'kind', 'fingerprint', 'unique_key'] loop
    if filter ? column_name then
      parts := parts || format('t.%I = %L', column_name, filter ->> column_name);
    end if;
  end loop;
  if filter ? 'worker' and source = 'job' then
    -- The epoch must match too: a job that was claimed and is ready again stays in its lease until the lease is
    -- deleted.
    parts := parts || format(
      't.id = any (array(%1$s)) and (t.id, t.epoch) in ('
      'select u.id, u.epoch from "pawl".lease l join "pawl".worker w on w.id = l.worker_id, '
      'unnest(l.jobs, l.epochs) u (id, epoch) where w.name = %2$L)',
      format('select unnest(l.jobs) from "pawl".lease l join "pawl".worker w on w.id = l.worker_id where w.name = %L',
             filter ->> 'worker'),
      filter ->> 'worker');
  elsif filter ? 'worker' then
    parts := parts || format('t.worker = %L', filter ->> 'worker');
  end if;
  if filter ? 'args' then
    parts := parts || format('t.args @> %L', filter -> 'args');
  end if;
  if filter ? 'created_before' then
    parts := parts || format('t.created_at < %L', filter ->> 'created_before');
  end if;
  if filter ? 'created_after' then
    parts := parts || format('t.created_at > %L', filter ->> 'created_after');
  end if;
  if filter ? 'run_before' then
    parts := parts || format('coalesce(t.run_at, t.created_at) < %L', filter ->> 'run_before');
  end if;
  if source <> 'job' then
    -- As a number: a time's text may name a zone that is read as another.
    parts := parts || format('t.expires_at > to_timestamp(%s)', extract(epoch from clock_timestamp()));
  end if;
  return coalesce(array_to_string(parts, ' and '), 'true');
end $$;

-- find_archived returns the completed and cancelled jobs with these ids: rows of archive.
-- Moves nothing. Index: archive_chunk_min_id. A chunk whose range of ids includes an id is read; there are few such
-- chunks for each id, because the ids of a chunk have the same id >> 10.
create or replace function "pawl".find_archived(ids bigint[]) returns setof "pawl".archive
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select u.id, c.finished_at, c.expires_at, c.created_at[p.i], c.run_at[p.i], c.waited_ms[p.i], c.ran_ms[p.i],
         c.epochs[p.i], c.priority[p.i], c.attempt[p.i], c.max_attempts[p.i], c.state, c.queue, c.channel[p.i],
         c.kind[p.i], c.worker, c.args[p.i], c.data[p.i], c.fingerprint[p.i], c.unique_key[p.i], c.opts[p.i],
         c.errors[p.i], c.checkpoint[p.i], c.result[p.i], c.min_id
  from unnest(find_archived.ids) as u (id),
       "pawl".archive_chunk c,
       lateral (select array_position(c.ids, u.id) as i offset 0) p
  where c.min_id between u.id >> 10 << 10 and u.id and c.max_id >= u.id and p.i is not null;
end $$;

-- finite returns a time, or the first day of the year 1 or the last day of the year 9999 if it is outside of these. A
-- client cannot read an infinite time, and one such row would keep a list from being read. Null stays null.
create or replace function "pawl".finite(moment timestamptz) returns timestamptz language sql stable parallel safe as $$
  select case when moment is not null
              then greatest('0001-01-01 00:00:00+00', least('9999-12-31 00:00:00+00', moment)) end
$$;

-- get returns jobs by id: live, archived or dead ones. Moves nothing.
-- Index: primary keys; archive_chunk_min_id for ids that are found nowhere else.
create or replace function "pawl".get(ids bigint[]) returns table (
  id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint,
  attempt smallint, max_attempts smallint, created_at timestamptz, run_at timestamptz, finished_at timestamptz,
  waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text,
  checkpoint jsonb, result jsonb
) language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  return query
  with live as materialized (
    select j.id,
           -- A scalar subquery, because the planner may turn an exists into a hash of the whole table.
           case when (select true from "pawl".scheduled s
                      where s.queue = j.queue and s.run_at = j.run_at and s.job_id = j.id) then 'scheduled'
                when (select true from "pawl".ready t
                      where t.queue = j.queue and t.priority = any (array[j.priority, -32768, -32769])
                        and t.channel = j.channel and t.pos = coalesce(j.pos, j.id) limit 1) then 'ready'
                else coalesce((select case when p.expires_at is null then 'waiting' else 'reserved' end
                               from "pawl".blocked p where p.job_id = j.id),
                              'running') end as state,
           j.queue, j.channel, j.kind, j.args, j.data, j.priority, j.attempt,
           coalesce(j.max_attempts, q.max_attempts, 20::smallint) as max_attempts,
           j.created_at, j.run_at, j.fingerprint, j.opts, j.errors, j.unique_key, j.checkpoint, j.epoch
    from "pawl".job j
    left join "pawl".queue q on q.name = j.queue
    where j.id = any (get.ids)
  ),
  dead as materialized (
    select d.*, coalesce(d.max_attempts, q.max_attempts, 20::smallint) as most
    from "pawl".dead d
    left join "pawl".queue q on q.name = d.queue
    where d.id = any (get.ids) and d.expires_at > clock_timestamp()
  ),
  rest as materialized (
    select u.id from unnest(get.ids) as u (id)
    where u.id not in (select l.id from live l) and u.id not in (select d.id from dead d)
  )
  select l.id, l.state, null::text, l.queue, l.channel, l.kind, l.args, l.data, l.priority, l.attempt, l.max_attempts,
         "pawl".finite(l.created_at), "pawl".finite(l.run_at), null::timestamptz, null::bigint, null::bigint,
         (select w.name
          from "pawl".lease h
          join "pawl".worker w on w.id = h.worker_id
          where l.state = 'running'
            and (l.id, l.epoch) in (select u.id, u.epoch from unnest(h.jobs, h.epochs) u (id, epoch))
          limit 1),
         l.fingerprint, l.opts, l.errors, l.unique_key, l.checkpoint, null::jsonb
  from live l
  union all
  select d.id, 'dead', d.reason, d.queue, d.channel, d.kind, d.args, d.data, d.priority, d.attempt, d.most,
         "pawl".finite(d.created_at), "pawl".finite(d.run_at), "pawl".finite(d.finished_at), d.waited_ms, d.ran_ms, d.worker,
         d.fingerprint, d.opts, d.errors, d.unique_key, d.checkpoint, null
  from dead d
  union all
  select a.id, a.state, null, a.queue, a.channel, a.kind, a.args, a.data, a.priority, a.attempt,
         coalesce(a.max_attempts, q.max_attempts, 20::smallint), "pawl".finite(a.created_at), "pawl".finite(a.run_at),
         "pawl".finite(a.finished_at), a.waited_ms, a.ran_ms, a.worker, a.fingerprint, a.opts, a.errors, a.unique_key,
         a.checkpoint, a.result
  from "pawl".find_archived(array(select r.id from rest r)) a
  left join "pawl".queue q on q.name = a.queue
  where a.expires_at > clock_timestamp();
end $$;

-- is_fault_of_row returns whether an error says that a row cannot be done, whatever the state of the server: a value is
-- wrong, too large, broken or in conflict. Other errors, such as a full disk or a missing privilege, would meet every
-- row.
--   state      the error's SQLSTATE
--   violated   the name of the violated constraint. 23514 without a name says that the archive lacks a partition
create or replace function "pawl".is_fault_of_row(state text, violated text) returns boolean
language sql immutable parallel safe as $$
  select state = '53200'
      or left(state, 2) = any ('{0A,21,22,23,2F,38,39,44,54,P0,PW,XX}') and (state <> '23514' or violated <> '')
$$;

-- list returns jobs that match a filter, live, dead or archived, newest first by id.
--   filter   see the function filter; and {above}: only ids above it
--   below    only ids below it; null: from the newest
--   most     how many jobs to return at most
-- Moves nothing. Returns the columns of get.
-- Index: the primary keys of job and dead have the order, so that a plan made from wrong statistics never sorts a
-- whole table. The archive has an index of chunks. It is read in windows of ids, downwards, each twice as wide as the
-- one before, until there are enough jobs. Jobs that are rare in a large archive are found by reading all of it.
create or replace function "pawl".list(filter jsonb, below bigint, most integer) returns table (
  id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint,
  attempt smallint, max_attempts smallint, created_at timestamptz, run_at timestamptz, finished_at timestamptz,
  waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text,
  checkpoint jsonb, result jsonb
) language plpgsql stable set enable_seqscan = off set enable_sort = off set jit = off as $$
#variable_conflict use_column
declare
  live     constant text := "pawl".filter(list.filter, 'job');
  dead     constant text := "pawl".filter(list.filter, 'dead');
  archived constant text := "pawl".filter(list.filter, 'archive');
  common   constant text := 't.queue, t.channel, t.kind, t.args, t.data, t.priority, t.attempt, '
    'coalesce(t.max_attempts, q.max_attempts, 20::smallint), "pawl".finite(t.created_at), '
    '"pawl".finite(t.run_at)';
  source   constant text := '(select t.* from %s t where t.id >= $1 and t.id < $2 and %s '
    'order by t.id desc limit $3) t left join "pawl".queue q on q.name = t.queue';
  parts    text[];
  high     bigint := coalesce(below, 9223372036854775807);
  bottom   constant bigint := coalesce((list.filter ->> 'above')::bigint + 1, 0);
  low      bigint := bottom;
  width    bigint := greatest(2::bigint * most, 1000);
  rest     bigint := most;
  got      bigint;
begin
  if live is not null then
    parts := parts || ('select t.id, ' || "pawl".live_state() || ', null::text, ' || common
      || ', null::timestamptz, null::bigint, null::bigint, null::text, t.fingerprint, t.opts, t.errors, t.unique_key, '
      || 't.checkpoint, null::jsonb from '
      || format(source, '"pawl".job', live));
  end if;
  if dead is not null then
    parts := parts || ('select t.id, ''dead'', t.reason, ' || common
      || ', "pawl".finite(t.finished_at), t.waited_ms, t.ran_ms, t.worker, t.fingerprint, t.opts, t.errors, '
      || 't.unique_key, t.checkpoint, null::jsonb from '
      || format(source, '"pawl".dead', dead));
  end if;
  if archived is not null then
    parts := parts || ('select t.id, t.state, null::text, ' || common
      || ', "pawl".finite(t.finished_at), t.waited_ms, t.ran_ms, t.worker, t.fingerprint, t.opts, t.errors, '
      || 't.unique_key, t.checkpoint, t.result from '
      || format(source, "pawl".archive_source(list.filter), archived || case when list.filter ? 'ids' then ''
                   else ' and t.chunk >= $1 >> 10 << 10 and t.chunk < $2' end));
    if not list.filter ? 'ids' then
      low := greatest(bottom, least(high, (select p.last_value + 1 from "pawl".pos p)) - width);
    end if;
  end if;
  if parts is null then
    return;
  end if;
  loop
    return query execute array_to_string(parts, ' union all ') || ' order by 1 desc limit $3' using low, high, rest;
    get diagnostics got = row_count;
    rest := rest - got;
    exit when rest <= 0 or low <= bottom;
    width := 2 * width;
    high := low;
    low := greatest(bottom, low - width);
  end loop;
end $$;

-- live_state returns an SQL expression for the state of a row t of job, for statements that are put together as text.
create or replace function "pawl".live_state() returns text language sql immutable parallel safe as $$
  select $state$
    case when (select true from "pawl".scheduled s
               where s.queue = t.queue and s.run_at = t.run_at and s.job_id = t.id) then 'scheduled'
         when (select true from "pawl".ready r
               where r.queue = t.queue and r.priority = any (array[t.priority, -32768, -32769])
                 and r.channel = t.channel and r.pos = coalesce(t.pos, t.id) limit 1) then 'ready'
         else coalesce((select case when p.expires_at is null then 'waiting' else 'reserved' end
                        from "pawl".blocked p where p.job_id = t.id), 'running') end$state$
$$;

-- read_jobs is get or list for callers that cannot read the result of these, because the database fails to compute or
-- send a row.
--   ids                   read what get(ids) returns; null: nothing of it
--   filter, below, most   read what list(filter, below, most) returns; a null filter: nothing of it
-- Moves nothing. Returns their columns, and before them why a row is unreadable, or null. Of an unreadable row it
-- leaves out the columns that cannot be read. It reads each row in a subtransaction.
-- Index: those of get and list.
create or replace function "pawl".read_jobs(ids bigint[], filter jsonb, below bigint, most integer) returns table (
  unreadable text,
  id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint,
  attempt smallint, max_attempts smallint, created_at timestamptz, run_at timestamptz, finished_at timestamptz,
  waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text,
  checkpoint jsonb, result jsonb
) language plpgsql stable set jit = off as $$
#variable_conflict use_column
declare
  it record;
begin
  for it in
    select * from "pawl".get(read_jobs.ids) where read_jobs.ids is not null
    union all
    select * from "pawl".list(read_jobs.filter, read_jobs.below, read_jobs.most) where read_jobs.filter is not null
  loop
    unreadable := "pawl".why_unreadable(it.args, it.data, it.opts, it.errors, it.checkpoint, it.result);
    if unreadable is not null then
      it.args := "pawl".readable_or_null(it.args);
      it.opts := "pawl".readable_or_null(it.opts);
      it.errors := "pawl".readable_or_null(it.errors);
      it.checkpoint := "pawl".readable_or_null(it.checkpoint);
      it.result := "pawl".readable_or_null(it.result);
      if "pawl".why_unreadable(null, it.data, null, null, null, null) is not null then
        it.data := null;
      end if;
    end if;
    return query
    select unreadable, it.id, it.state, it.reason, it.queue, it.channel, it.kind, it.args, it.data, it.priority,
           it.attempt, it.max_attempts, it.created_at, it.run_at, it.finished_at, it.waited_ms, it.ran_ms, it.worker,
           it.fingerprint, it.opts, it.errors, it.unique_key, it.checkpoint, it.result;
  end loop;
end $$;

-- readable_or_null returns a value, or null if the server cannot send it, or if it has more than 100 MB as text.
create or replace function "pawl".readable_or_null(value jsonb) returns jsonb language plpgsql stable as $$
begin
  return case when octet_length(value::text) <= 100000000 then value end;
exception when others then
  return null;
end $$;

-- remove ends jobs, whatever their state: it is cancel and delete.
--   ids, epochs   the jobs; if an epoch is not null, only if the job is still claimed at it
--   keep          true: cancel, the jobs go to archive; false: delete, also finished jobs, and nothing is left
-- Moves: the job row and its ticket out, in one transaction. Returns the ids of the jobs that existed. If a job was
-- running, its worker is notified.
-- Index: primary keys; archive_chunk_min_id for finished jobs.
-- Survives: another transaction that has locked the job row (this waits for it); a promotion or a claim at the same
-- time. They skip a locked job. If a claim took the ticket before, this waits for the claim and removes the running
-- job: the epoch of its worker matches nothing any more.
-- There are separate statements, each with its own snapshot: lock the jobs, delete the tickets, delete the jobs.
-- Locks jobs by id, then tickets. A transaction that locks tickets first never waits for a job.
create or replace function "pawl".remove(ids bigint[], epochs integer[], keep boolean) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  waiting  bigint[];
  removed  bigint[];
  ended    jsonb;
  dead     bigint[];
  archived bigint[];
begin
  perform j.id
  from (select u.id, u.epoch from unnest(remove.ids, remove.epochs) as u (id, epoch) order by u.id) u,
       lateral (select j.id from "pawl".job j where j.id = u.id and (u.epoch is null or j.epoch = u.epoch) for update) j;

  with want as materialized (
    select j.id, j.queue, j.channel, j.priority, coalesce(j.pos, j.id) as pos, j.run_at
    from unnest(remove.ids, remove.epochs) as u (id, epoch)
    join "pawl".job j on j.id = any (array[u.id]) and (u.epoch is null or j.epoch = u.epoch)
  ),
  ready as (
    delete from "pawl".ready t using want w
    where t.queue = any (array[w.queue]) and t.priority = any (array[w.priority, -32768, -32769])
      and t.channel = w.channel and t.pos = w.pos
    returning t.job_id
  ),
  blocked as (
    delete from "pawl".blocked p using want w where p.job_id = any (array[w.id])
    returning p.job_id
  ),
  scheduled as (
    delete from "pawl".scheduled s using want w
    where s.queue = any (array[w.queue]) and s.run_at = w.run_at and s.job_id = w.id
    returning s.job_id
  )
  select array_agg(f.job_id) into waiting
  from (select job_id from ready union all select job_id from blocked union all select job_id from scheduled) f;

  with gone as (
    delete from "pawl".job j
    using unnest(remove.ids, remove.epochs) as u (id, epoch)
    where j.id = any (array[u.id]) and (u.epoch is null or j.epoch = u.epoch)
    returning j.*
  ),
  kept as (
    insert into "pawl".archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, ids, epochs,
                                    created_at, run_at, priority, attempt, max_attempts, channel, kind, args, data,
                                    fingerprint, unique_key, opts, errors, checkpoint)
    select g.id, g.id, 1, t.now, t.now + t.retain, 'cancelled', g.queue, array[g.id], array[g.epoch],
           array[g.created_at], nullif(array[g.run_at], '{null}'), array[g.priority], array[g.attempt],
           nullif(array[g.max_attempts], '{null}'), array[g.channel], array[g.kind], nullif(array[g.args], '{null}'),
           nullif(array[g.data], '{null}'), nullif(array[g.fingerprint], '{null}'),
           nullif(array[g.unique_key], '{null}'), nullif(array[g.opts], '{null}'), nullif(array[g.errors], '{null}'),
           nullif(array[g.checkpoint], '{null}')
    from gone g
    left join "pawl".queue q on q.name = g.queue,
    lateral (select clock_timestamp() as now, coalesce(q.retain_cancelled, interval '1 day') as retain) t
    where remove.keep and t.retain > '0'
  )
  select coalesce(array_agg(g.id), '{}'),
         jsonb_agg("pawl".followup_of(g.id, g.queue, g.channel, g.opts)) filter (where g.constrained)
  into removed, ended
  from gone g;
  if ended is not null then
    perform "pawl".record_followups(ended, case when keep then 'cancelled' else 'deleted' end);
  end if;
  if exists (select unnest(removed) except select unnest(waiting)) then
    perform "pawl".poke_heartbeats();
  end if;
  if cardinality(removed) > 0 then
    perform "pawl".wake_awaiting(removed);
  end if;
  return query select unnest(removed);

  if not keep then
    with rest as (
      select u.id from unnest(remove.ids, remove.epochs) as u (id, epoch)
      where u.epoch is null and u.id <> all (removed)
    ),
    dead as (delete from "pawl".dead d using rest r where d.id = r.id returning d.id)
    select array(select d.id from dead d), array(select r.id from rest r) into dead, archived;
    archived := "pawl".delete_archived(archived);
    if dead <> '{}' then
      perform "pawl".record_deleted(dead);
    end if;
    return query select unnest(dead || archived);
  end if;
end $$;

-- remove_claimed is remove for claimed jobs only. Workers may call it; they must not remove jobs that others have
-- claimed.
create or replace function "pawl".remove_claimed(ids bigint[], epochs integer[], keep boolean) returns setof bigint
language plpgsql as $$
begin
  if array_position(epochs, null) is not null or cardinality(epochs) <> cardinality(ids) then
    raise exception 'pawl: remove_claimed wants an epoch for each job' using errcode = '22023';
  end if;
  return query select "pawl".remove(ids, epochs, keep);
end $$;

-- retry lets jobs run now. A dead or cancelled job is live again, with one attempt more if its attempts were used
-- up. A scheduled job becomes ready. Ready and running jobs stay as they are, and so does a finished job if another
-- job has its unique key.
-- Returns the ids of the jobs that were changed.
-- Moves: a row from dead or archive_chunk to job, or a ticket out of scheduled; a new ticket in ready, the epoch one
-- up.
-- In an ordered channel the place of the job depends on what waits for it:
-- the dead first job of a halted channel gets its old place, and the channel continues;
-- a job with dependants gets the place behind the job that may run now, because at the end it could wait for its
-- own dependants;
-- any other job goes to the end of the channel.
-- Index: primary keys; archive_chunk_min_id for cancelled jobs.
-- Survives: two calls at once (one of them deletes the row); a promotion at the same time (this waits for the
-- ticket, and finds it gone); a unique key that is taken meanwhile (SQLSTATE 23505, and nothing is changed).
-- Locks channels, then jobs by id, then tickets.
create or replace function "pawl".retry(ids bigint[]) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  finished  bigint[]; -- ordered jobs that had finished when this began,
  of_queues text[];   -- and their channels
  channels  text[];
  queues    text[];
  changed   bigint[];
  were_dead bigint[];
  returned  bigint[]; -- jobs that are live again
  next_job  bigint;
  halted    boolean;
  place     bigint;
  revived   record;
begin
  perform pg_current_xact_id();
  -- An ordered job that ends from here on was running when it was retried. It stays as it is, because this does not
  -- have the mutex of its channel.
  select coalesce(array_agg(e.id), '{}'), array_agg(e.queue), array_agg(e.channel)
  into finished, of_queues, channels
  from (
    select d.id, d.queue, d.channel from "pawl".dead d where d.id = any (retry.ids) and d.opts ? 'ordered'
    union all
    select a.min_id, a.queue, a.channel[1]
    from "pawl".archive_chunk a
    where a.min_id = any (retry.ids) and a.state = 'cancelled' and a.opts[1] ? 'ordered'
  ) e;
  if cardinality(finished) > 0 then
    perform "pawl".lock_mutexes('channel', of_queues, channels);
  end if;
  perform j.id
  from (select u.id from unnest(retry.ids) as u (id) order by u.id) u,
       lateral (select j.id from "pawl".job j where j.id = u.id for update) j;
  with dead as (
    delete from "pawl".dead d
    where d.id = any (retry.ids) and (d.id = any (finished) or not coalesce(d.opts ? 'ordered', false))
      and "pawl".key_is_free(d.id, d.queue, d.unique_key, d.opts)
    returning d.id, d.created_at, d.epoch, d.priority, d.attempt, d.max_attempts, d.queue, d.channel, d.kind, d.args,
              d.data, d.fingerprint, d.unique_key, d.opts, d.errors, d.checkpoint
  ),
  cancelled as (
    -- A cancelled job is a chunk of its own.
    delete from "pawl".archive_chunk a
    where a.min_id = any (retry.ids) and a.state = 'cancelled'
      and (a.min_id = any (finished) or not coalesce(a.opts[1] ? 'ordered', false))
      and "pawl".key_is_free(a.min_id, a.queue, a.unique_key[1], a.opts[1])
    returning a.min_id, a.created_at[1], a.epochs[1], a.priority[1], a.attempt[1], a.max_attempts[1], a.queue,
              a.channel[1], a.kind[1], a.args[1], a.data[1], a.fingerprint[1], a.unique_key[1], a.opts[1],
              a.errors[1], a.checkpoint[1]
  ),
  live_again as (
    insert into "pawl".job (id, pos, created_at, run_at, epoch, priority, attempt, max_attempts, queue, channel, kind,
                          args, data, fingerprint, unique_key, opts, errors, checkpoint, constrained)
    select f.id, nextval('"pawl".pos'), f.created_at, clock_timestamp(), "pawl".next_epoch(f.epoch), f.priority, f.attempt,
           case when f.attempt >= coalesce(f.max_attempts, q.max_attempts, 20) then least(f.attempt + 1, 32767)
                else f.max_attempts end,
           f.queue, f.channel, f.kind, f.args, f.data, f.fingerprint, f.unique_key, f.opts, f.errors, f.checkpoint,
           f.unique_key is not null or coalesce(f.opts ?| array['ordered', 'batch'], false)
             or exists (select from "pawl".dependency w where w.parent_id = f.id)
    from (select * from dead union all select * from cancelled) f
    left join "pawl".queue q on q.name = f.queue
    returning id, pos, epoch, priority, crashes, queue, channel, constrained
  ),
  ticket as (
    delete from "pawl".scheduled s using "pawl".job j
    where j.id = any (retry.ids) and s.queue = any (array[j.queue]) and s.run_at = j.run_at and s.job_id = j.id
    returning s.job_id, s.epoch
  ),
  moved as (
    update "pawl".job j
    set epoch = "pawl".next_epoch(j.epoch), pos = nextval('"pawl".pos'), run_at = clock_timestamp()
    from ticket t
    where j.id = any (array[t.job_id]) and j.epoch = t.epoch
    returning j.id, j.pos, j.epoch, j.priority, j.crashes, j.queue, j.channel
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select n.pos, n.id, n.epoch, "pawl".lane_priority(n.priority, n.crashes, false), n.queue, n.channel
    from (select id, pos, epoch, priority, crashes, queue, channel from live_again where not constrained
          union all
          select id, pos, epoch, priority, crashes, queue, channel from moved) n
  ),
  blocked as (
    insert into "pawl".blocked (job_id, epoch, queue)
    select r.id, r.epoch, r.queue from live_again r where r.constrained
  )
  select array_agg(c.id), array_agg(distinct c.queue), array(select d.id from dead d),
         array(select r.id from live_again r)
  into changed, queues, were_dead, returned
  from (select id, queue from live_again union all select id, queue from moved) c;

  -- An insert that made a job wait for a dead job had locked its row before this deleted it, so its row is visible
  -- now.
  update "pawl".job j set constrained = true
  where j.id = any (returned) and not j.constrained
    and (select true from "pawl".dependency w where w.parent_id = j.id limit 1);

  for revived in
    select j.id, j.queue, j.channel, j.unique_key, j.opts,
           case when j.id = any (were_dead) then 'dead' else 'cancelled' end as was
    from unnest(returned) as u (id), lateral (select j.* from "pawl".job j where j.id = u.id and j.constrained) j
    order by j.id
  loop
    if revived.unique_key is not null then
      insert into "pawl".unique_key as h (scope, key, job_id, live, until_start)
      values ("pawl".key_scope(revived.queue, revived.opts), revived.unique_key, revived.id, true,
              coalesce(revived.opts ? 'until_start', false))
      on conflict (scope, key) do update
        set job_id = excluded.job_id, live = true, until_start = excluded.until_start
        where h.job_id = excluded.job_id or not h.live and (h.keep_until is null or h.keep_until <= clock_timestamp());
      if not found then
        raise exception 'pawl: the unique key of job % was taken by another job meanwhile', revived.id
          using errcode = '23505';
      end if;
    end if;
    if revived.opts ? 'batch' then
      perform from "pawl".batch b where b.id = (revived.opts ->> 'batch')::bigint for update;
      delete from "pawl".followup l where l.job_id = revived.id and l.batch is not null;
      if not found then -- The end of the job was counted already.
        perform "pawl".count_batch((revived.opts ->> 'batch')::bigint, revived.was, -1);
      end if;
    end if;
    if revived.opts ? 'ordered' then
      -- The end of the job may not have been followed up yet.
      delete from "pawl".ordered_job t where t.job_id = revived.id;
      delete from "pawl".followup l where l.job_id = revived.id;
      delete from "pawl".halted_channel h
      where h.queue = revived.queue and h.channel = revived.channel and h.job_id = revived.id;
      halted := found;
      if halted or (select true from "pawl".dependency w where w.parent_id = revived.id limit 1) then
        -- The old place of the job is before all its dependants, which are younger. If the first job of the channel
        -- has a ticket, it stays first: it takes that place, and this job gets the place behind it.
        with first as materialized (
          select t.pos, t.job_id from "pawl".ordered_job t
          where t.queue = revived.queue and t.channel = revived.channel order by t.pos limit 1
        ),
        ahead as (
          update "pawl".ordered_job t
          set pos = revived.id
          from first f
          where t.job_id = f.job_id and f.pos > revived.id and not halted
            and exists (select from "pawl".job j where j.id = f.job_id)
            and not exists (select from "pawl".blocked p where p.job_id = f.job_id)
          returning f.pos
        )
        select a.pos into place from ahead a;
        place := coalesce(place, revived.id);
      else
        place := nextval('"pawl".pos');
      end if;
      insert into "pawl".ordered_job (queue, channel, pos, job_id)
      values (revived.queue, revived.channel, place, revived.id);
      -- If the end of this job was not followed up yet, it was the first of the channel; now another job is.
      select t.job_id into next_job from "pawl".ordered_job t
      where t.queue = revived.queue and t.channel = revived.channel order by t.pos limit 1;
      if next_job <> revived.id and not "pawl".unblock(next_job) then
        insert into "pawl".followup (job_id, queue, channel, ordered, became)
        values (0, revived.queue, revived.channel, true, 'completed');
      end if;
    end if;
    perform "pawl".unblock(revived.id);
  end loop;
  perform "pawl".wake(queues);
  return query select unnest(changed);
end $$;

-- update gives jobs that are not running another time, priority, args, data, headers or number of attempts.
--   ids
--   changes   {run_at or delay (seconds), priority, kind and args, data (base64), headers, max_attempts}; an absent
--             field stays as it is. It raises SQLSTATE 22023 for others, and for values that insert would refuse
-- Moves: the ticket out and a new one in, the epoch one up. A job whose time or priority changes gets a new
-- position.
-- Returns the id and what it became: changed; running (left as it is); ordered (an ordered job has no priority);
-- kind (the args are those of another kind). A job that is missing is not live.
-- Index: primary keys.
-- Survives: a claim at the same time (the job row is locked before the ticket is deleted, so one of the two has the
-- ticket).
create or replace function "pawl".update(ids bigint[], changes jsonb) returns table (id bigint, became text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  due    timestamptz;
  wrong  text;
  job    record;
  was    record;
  one    bigint;
  place  bigint;
  queues text[] := '{}';
begin
  wrong := "pawl".validate_changes(changes);
  if wrong is not null then
    raise exception 'pawl: update: %', wrong using errcode = '22023';
  end if;
  due := coalesce((changes ->> 'run_at')::timestamptz,
                  moment + (changes ->> 'delay')::double precision * interval '1 second');
  perform pg_current_xact_id();
  for one in select u.id from unnest(update.ids) as u (id) group by u.id order by u.id loop
    select j.id, j.epoch, j.queue, j.channel, j.priority, j.crashes, j.pos, j.run_at, j.kind,
           j.opts ? 'ordered' as ordered
    into job
    from "pawl".job j where j.id = one for update;
    continue when not found;
    if job.ordered and (changes ->> 'priority')::smallint <> 0 then
      id := one; became := 'ordered';
      return next;
      continue;
    end if;
    if job.kind <> changes ->> 'kind' then
      id := one; became := 'kind';
      return next;
      continue;
    end if;
    delete from "pawl".blocked p where p.job_id = one and p.epoch = job.epoch returning p.expires_at into was;
    if found then
      update "pawl".job j
      set epoch = "pawl".next_epoch(j.epoch), run_at = coalesce(due, j.run_at),
          priority = coalesce((changes ->> 'priority')::smallint, j.priority)
      where j.id = one;
      insert into "pawl".blocked (job_id, epoch, queue, expires_at)
      values (one, "pawl".next_epoch(job.epoch), job.queue, was.expires_at);
    else
      delete from "pawl".scheduled s where s.queue = job.queue and s.run_at = job.run_at and s.job_id = one;
      if not found then
        delete from "pawl".ready t
        where t.queue = job.queue and t.priority = any (array[job.priority, -32768, -32769])
          and t.channel = job.channel and t.pos = coalesce(job.pos, one);
      end if;
      if not found then
        id := one; became := 'running';
        return next;
        continue;
      end if;
      place := nextval('"pawl".pos');
      update "pawl".job j
      set epoch = "pawl".next_epoch(j.epoch), run_at = coalesce(due, j.run_at),
          priority = coalesce((changes ->> 'priority')::smallint, j.priority), pos = place
      where j.id = one
      returning j.epoch, j.priority, j.run_at into was;
      if was.run_at > clock_timestamp() then
        insert into "pawl".scheduled (run_at, job_id, epoch, queue) values (was.run_at, one, was.epoch, job.queue);
      else
        insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
        values (place, one, was.epoch, "pawl".lane_priority(was.priority, job.crashes, false), job.queue, job.channel);
      end if;
      queues := queues || job.queue;
    end if;
    if changes ?| array['args', 'data', 'headers', 'max_attempts'] then
      update "pawl".job j
      set args = case when changes ? 'args' then nullif(changes -> 'args', 'null') else j.args end,
          data = case when changes ? 'data' then decode(changes ->> 'data', 'base64') else j.data end,
          opts = case when changes ? 'headers'
                      then coalesce(j.opts, '{}') || jsonb_build_object('headers', changes -> 'headers')
                      else j.opts end,
          max_attempts = coalesce((changes ->> 'max_attempts')::smallint, j.max_attempts)
      where j.id = one;
    end if;
    id := one; became := 'changed';
    return next;
  end loop;
  perform "pawl".wake(queues);
end $$;

-- validate_changes returns what is wrong with the changes that update takes; null if nothing is. The values are
-- checked as those of a new job: see validate_spec.
create or replace function "pawl".validate_changes(changes jsonb) returns text language plpgsql stable parallel safe as $$
begin
  if jsonb_typeof(changes) is distinct from 'object' then
    return 'want an object with the changes';
  elsif changes - '{run_at,delay,priority,kind,args,data,headers,max_attempts}'::text[] <> '{}' then
    return 'want run_at, delay, priority, kind, args, data, headers or max_attempts';
  end if;
  return "pawl".validate_spec(jsonb_build_object(
    'kind', coalesce(changes -> 'kind', '"any"'), 'args', changes -> 'args', 'opts', changes - '{kind,args}'::text[]));
end $$;

-- why_unreadable returns why the server cannot send the columns of a job, or null if it can.
create or replace function "pawl".why_unreadable(
  args jsonb, data bytea, opts jsonb, errors jsonb, checkpoint jsonb, result jsonb
) returns text language plpgsql stable as $$
begin
  perform "pawl".sent_size(args, data, opts, errors, checkpoint), "pawl".sent_size(result, null, null, null, null);
  return null;
exception when others then
  if not "pawl".is_fault_of_row(sqlstate, '') then
    raise;
  end if;
  return format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
end $$;

-- add_mutexes inserts mutexes that are missing. It locks those that it inserts, and waits only if another transaction
-- is inserting the same.
-- Index: mutex's primary key.
create or replace function "pawl".add_mutexes(kind text, queues text[], names text[]) returns void
language sql as $$
  insert into "pawl".mutex (kind, queue, name)
  select distinct add_mutexes.kind, u.queue collate "C", u.name collate "C"
  from unnest(add_mutexes.queues, add_mutexes.names) as u (queue, name)
  order by 2, 3
  on conflict do nothing
$$;

-- lock_mutexes locks mutexes until the end of the transaction, in a fixed order. It waits for transactions that have
-- locked one of them.
--   kind            channel, limit, semaphore or duty
--   queues, names   as in the table, in any order; a mutex may occur twice
-- Moves: rows of mutex in, if they are missing.
-- Index: mutex's primary key.
-- Survives: two calls at once with the same mutexes (they lock them in the same order, new ones too: an insert that
-- conflicts locks the row that is there, and changes nothing); a deletion by prune_mutexes (the insert is tried
-- again).
create or replace function "pawl".lock_mutexes(kind text, queues text[], names text[]) returns void
language sql as $$
  insert into "pawl".mutex as m (kind, queue, name)
  select distinct lock_mutexes.kind, u.queue collate "C", u.name collate "C"
  from unnest(lock_mutexes.queues, lock_mutexes.names) as u (queue, name)
  order by 2, 3
  on conflict (kind, queue, name) do update set name = m.name where false
$$;

-- mutex_is_idle returns whether nothing needs a mutex: its channel has no jobs and no follow-ups, its queue has no
-- limits, or its semaphore has no permits. A duty's mutex is never idle.
-- Moves nothing. Index: the primary keys of ordered_job, queue and permit; none for followup, which is small.
create or replace function "pawl".mutex_is_idle(kind text, queue text, name text) returns boolean
language sql stable as $$
  select case mutex_is_idle.kind
    when 'channel' then
      not exists (select from "pawl".ordered_job t
                  where t.queue = mutex_is_idle.queue and t.channel = mutex_is_idle.name)
      and not exists (select from "pawl".followup l
                      where l.ordered and l.queue = mutex_is_idle.queue and l.channel = mutex_is_idle.name)
    when 'limit' then not exists (select from "pawl".queue q where q.name = mutex_is_idle.queue and q.limited)
    when 'semaphore' then
      not exists (select from "pawl".permit p where p.queue = '' and p.channel = mutex_is_idle.name)
    else false
  end
$$;

-- prune_mutexes deletes mutexes that are not in use. It also inserts those that channels with follow-ups lack, because
-- run_followups inserts none.
--   most   how many rows to delete at most
-- Returns how many rows were deleted.
-- Index: none for mutex, which is read whole, so the caller spaces its calls by their cost; mutex's primary key.
-- Survives: a transaction that uses a mutex at the same time (locked rows are skipped, and a statement after the lock
-- looks again whether they are in use).
create or replace function "pawl".prune_mutexes(most integer) returns bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_mergejoin = off set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  idle tid[];
  gone bigint;
begin
  insert into "pawl".mutex (kind, queue, name)
  select distinct 'channel', l.queue, l.channel
  from "pawl".followup l
  where l.ordered
    and not exists (select from "pawl".mutex m where m.kind = 'channel' and m.queue = l.queue and m.name = l.channel)
  order by 2, 3
  on conflict do nothing;
  idle := array(
    select m.ctid from "pawl".mutex m
    where "pawl".mutex_is_idle(m.kind, m.queue, m.name)
    limit prune_mutexes.most
    for update skip locked
  );
  delete from "pawl".mutex m where m.ctid = any (idle) and "pawl".mutex_is_idle(m.kind, m.queue, m.name);
  get diagnostics gone = row_count;
  return gone;
end $$;

-- try_mutex locks a mutex until the end of the transaction, unless another transaction has locked it. It returns
-- whether this transaction has the mutex now.
-- Moves: the row in, if it is missing. Only then it waits, for another transaction that is inserting it.
-- Index: mutex's primary key.
create or replace function "pawl".try_mutex(kind text, queue text, name text) returns boolean
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  perform from "pawl".mutex m
  where m.kind = try_mutex.kind and m.queue = try_mutex.queue and m.name = try_mutex.name
  for no key update skip locked;
  if found then
    return true;
  end if;
  insert into "pawl".mutex (kind, queue, name) values (try_mutex.kind, try_mutex.queue, try_mutex.name)
  on conflict do nothing;
  return found;
end $$;

-- try_mutexes locks those mutexes that exist and that no other transaction has locked, until the end of the
-- transaction. It never waits. It returns the mutexes that this transaction has now.
-- Index: mutex's primary key.
create or replace function "pawl".try_mutexes(kind text, queues text[], names text[])
returns table (queue text, name text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  select m.queue, m.name
  from (select distinct u.queue, u.name from unnest(try_mutexes.queues, try_mutexes.names) as u (queue, name)) u,
       lateral (
         select m.queue, m.name from "pawl".mutex m
         where m.kind = try_mutexes.kind and m.queue = u.queue and m.name = u.name
         for no key update skip locked
       ) m;
end $$;

-- delete_queue deletes what is recorded about a queue: its policy, its pause and its halted channels.
-- Returns deleted; used, if the queue has live jobs or a live worker names it; unknown, if nothing is recorded
-- about it.
-- Survives: an insert at the same time (the queue then has jobs and no policy).
create or replace function "pawl".delete_queue(name text) returns text language plpgsql as $$
#variable_conflict use_column
begin
  perform from "pawl".queue q where q.name = delete_queue.name for update;
  if exists (select from "pawl".live_queues() as u (queue) where u.queue = delete_queue.name)
     or exists (select from "pawl".worker w where w.gone_at is null and delete_queue.name = any (w.queues)) then
    return 'used';
  end if;
  delete from "pawl".halted_channel h where h.queue = delete_queue.name;
  delete from "pawl".queue q where q.name = delete_queue.name;
  return case when found then 'deleted' else 'unknown' end;
end $$;

-- live_queues returns the names of the queues with live jobs, in any order. Moves nothing.
-- Index: a loose scan over ready, scheduled and blocked, one descent for each queue; running jobs through the leases.
create or replace function "pawl".live_queues() returns setof text
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
  with recursive
  ready as (
    (select t.queue from "pawl".ready t order by t.queue limit 1)
    union all
    select n.queue
    from ready r, lateral (select t.queue from "pawl".ready t where t.queue > r.queue order by t.queue limit 1) n
  ),
  scheduled as (
    (select s.queue from "pawl".scheduled s order by s.queue limit 1)
    union all
    select n.queue
    from scheduled r, lateral (select s.queue from "pawl".scheduled s where s.queue > r.queue order by s.queue limit 1) n
  ),
  blocked as (
    (select p.queue from "pawl".blocked p order by p.queue limit 1)
    union all
    select n.queue
    from blocked r, lateral (select p.queue from "pawl".blocked p where p.queue > r.queue order by p.queue limit 1) n
  )
  select queue from ready union select queue from scheduled union select queue from blocked
  union
  select j.queue
  from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch),
       lateral (select j.queue from "pawl".job j where j.id = u.id and j.epoch = u.epoch limit 1) j
$$;

-- resume_channel starts an ordered channel again that halted because its first job died. It returns whether the
-- channel was halted.
-- Moves: the row of halted_channel out; the ticket of the channel's next job, as unblock does.
-- Index: primary keys of halted_channel and ordered_job.
-- Survives: inserts into the channel (its mutex is locked in an earlier statement).
create or replace function "pawl".resume_channel(queue text, channel text) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  next_job bigint;
begin
  perform pg_current_xact_id();
  perform "pawl".lock_mutexes('channel', array[resume_channel.queue], array[resume_channel.channel]);
  delete from "pawl".halted_channel h where h.queue = resume_channel.queue and h.channel = resume_channel.channel;
  if not found then
    return false;
  end if;
  select t.job_id into next_job from "pawl".ordered_job t
  where t.queue = resume_channel.queue and t.channel = resume_channel.channel
  order by t.pos limit 1;
  if found and not "pawl".unblock(next_job) then
    -- Another transaction has locked the job: the next run_followups unblocks it.
    insert into "pawl".followup (job_id, queue, channel, ordered, became)
    values (0, resume_channel.queue, resume_channel.channel, true, 'completed');
  end if;
  return true;
end $$;

-- channel_stats returns the figures of queue_stats for each channel of one queue.
--   most   how many jobs of a state are read. If there are more, their channels stand for all jobs, and the figures
--          are estimated. Of ready jobs, the first `most` lanes are read, and at most `most` jobs of each lane
-- Moves nothing.
-- Index: those of queue_stats; job's primary key, one descent for each job read.
create or replace function "pawl".channel_stats(name text, most integer) returns table (
  channel text, reserved bigint, scheduled bigint, ready bigint, running bigint, dead bigint, estimated boolean,
  oldest_ready double precision, lag double precision
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment   timestamptz := clock_timestamp();
  lanes    jsonb := '[]'; -- [{channel, n, since}]
  counted  bigint := 0;
  estimate boolean := false;
  lane     record;
  n        bigint;
  expected bigint; -- ready jobs of the queue, as the planner estimates them
  factors  double precision[] := '{1,1,1,1}'; -- of the samples of reserved, scheduled, running and dead jobs
begin
  select t.priority, t.channel, t.pos, t.job_id into lane
  from "pawl".ready t where t.queue = channel_stats.name order by t.priority, t.channel, t.pos limit 1;
  while found loop
    if counted >= 10 * most or jsonb_array_length(lanes) >= most then
      estimate := true;
      exit;
    end if;
    select count(*) into n
    from (select from "pawl".ready t
          where t.queue = channel_stats.name and t.priority = lane.priority and t.channel = lane.channel
          limit most + 1) x;
    counted := counted + n;
    estimate := estimate or n > most;
    lanes := lanes || jsonb_build_object('channel', lane.channel, 'n', n,
      'since', (select coalesce(j.run_at, j.created_at) from "pawl".job j where j.id = lane.job_id));
    select t.priority, t.channel, t.pos, t.job_id into lane
    from "pawl".ready t
    where t.queue = channel_stats.name and (t.priority, t.channel) > (lane.priority, lane.channel)
    order by t.priority, t.channel, t.pos limit 1;
  end loop;
  if estimate then
    -- The jobs that were not counted are in the lanes that have more jobs than were counted.
    expected := "pawl".estimate_rows(format('select from "pawl".ready t where t.queue = %L', name));
    select count(*) into n from jsonb_to_recordset(lanes) as l (n bigint) where l.n > most;
    if n > 0 and expected > counted then
      lanes := (
        select jsonb_agg(case when (l ->> 'n')::bigint > most
                              then l || jsonb_build_object('n', (l ->> 'n')::bigint + (expected - counted) / n)
                              else l end)
        from jsonb_array_elements(lanes) l
      );
    end if;
  end if;

  select count(*) into n
  from (select from "pawl".blocked p
        where p.queue = channel_stats.name and p.expires_at is not null limit most + 1) x;
  if n > most then
    factors[1] := greatest(
      "pawl".estimate_rows(format('select from "pawl".blocked t where t.queue = %L and t.expires_at is not null', name)), n
    )::double precision / most;
  end if;
  select count(*) into n from (select from "pawl".scheduled s where s.queue = channel_stats.name limit most + 1) x;
  if n > most then
    factors[2] := greatest(
      "pawl".estimate_rows(format('select from "pawl".scheduled t where t.queue = %L', name)), n
    )::double precision / most;
  end if;
  select coalesce(sum(cardinality(l.jobs)), 0) into n from "pawl".lease l;
  if n > 10 * most then
    factors[3] := n::double precision / (10 * most);
  end if;
  select count(*) into n from (select from "pawl".dead d where d.queue = channel_stats.name limit most + 1) x;
  if n > most then
    factors[4] := greatest(
      "pawl".estimate_rows(format('select from "pawl".dead t where t.queue = %L', name)), n
    )::double precision / most;
  end if;
  estimate := estimate or 1 < any (factors);

  return query
  with found as (
    select j.channel, 1 as kind, factors[1] as n, null::timestamptz as ready, null::timestamptz as due
    from (select p.job_id from "pawl".blocked p
          where p.queue = channel_stats.name and p.expires_at is not null limit most) p,
         lateral (select j.channel from "pawl".job j where j.id = p.job_id limit 1) j
    union all
    select j.channel, 2, factors[2], null, s.run_at
    from (select s.job_id, s.run_at from "pawl".scheduled s
          where s.queue = channel_stats.name order by s.run_at limit most) s,
         lateral (select j.channel from "pawl".job j where j.id = s.job_id limit 1) j
    union all
    select l.channel, 3, l.n, l.since, l.since
    from jsonb_to_recordset(lanes) as l (channel text, n bigint, since timestamptz)
    union all
    select j.channel, 4, factors[3], null, null
    from (select u.id, u.epoch from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch) limit 10 * most) u,
         lateral (select j.channel from "pawl".job j
                  where j.id = u.id and j.epoch = u.epoch and j.queue = channel_stats.name limit 1) j
    union all
    select d.channel, 5, factors[4], null, null
    from (select d.channel from "pawl".dead d where d.queue = channel_stats.name limit most) d
  )
  select f.channel,
         coalesce(sum(f.n) filter (where f.kind = 1), 0)::bigint,
         coalesce(sum(f.n) filter (where f.kind = 2), 0)::bigint,
         coalesce(sum(f.n) filter (where f.kind = 3), 0)::bigint,
         coalesce(sum(f.n) filter (where f.kind = 4), 0)::bigint,
         coalesce(sum(f.n) filter (where f.kind = 5), 0)::bigint, estimate,
         greatest(extract(epoch from moment - min(f.ready)), 0)::double precision,
         greatest(extract(epoch from moment - min(f.due)), 0)::double precision
  from found f
  group by f.channel
  order by f.channel collate "C";
end $$;

-- estimate_counts returns the given counts by queue, with estimates in place of those above `most`. The estimates
-- share what the planner expects of the table, minus the exact counts, in the proportion of the queues in the
-- table's statistics.
--   names, counts   one for each array position     most        counts up to it are exact and stay
--   relation        the table                       condition   on its rows t
-- Moves nothing.
create or replace function "pawl".estimate_counts(
  names text[], counts bigint[], most bigint, relation regclass, condition text
) returns bigint[]
language plpgsql stable set jit = off as $$
declare
  expected bigint;
begin
  if not most < any (counts) then
    return counts;
  end if;
  expected := "pawl".estimate_rows(format('select from %s t where %s', relation, condition));
  return (
    with f as (select f.queue, f.n from "pawl".queue_frequencies(array[relation]) f),
    u as (
      select u.n, u.ord, case when u.n > most then coalesce(f.n, 1) end as share
      from unnest(names, counts) with ordinality as u (queue, n, ord)
      left join f on f.queue = u.queue
    ),
    rest as (
      select greatest(expected - coalesce(sum(u.n) filter (where u.share is null), 0), 0) as n, sum(u.share) as shares
      from u
    )
    select array_agg(case when u.share is null then u.n
                          else greatest(u.n, (rest.n * u.share / rest.shares)::bigint) end
                     order by u.ord)
    from u, rest
  );
end $$;

-- estimate_rows returns how many rows the planner expects of a query, from the size of its table and the
-- statistics. It does not run the query.
create or replace function "pawl".estimate_rows(query text) returns bigint language plpgsql as $$
declare
  plan json;
begin
  execute 'explain (format json) ' || query into plan;
  return (plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint;
end $$;

-- queue_frequencies returns how many rows of each queue the tables have, according to the statistics of their last
-- analyze. The statistics have about the hundred most frequent queues. It returns nothing for a table that was
-- never analyzed, or that the caller may not read.
create or replace function "pawl".queue_frequencies(relations regclass[]) returns table (queue text, n double precision)
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select v.queue, sum(k.reltuples::double precision * v.share)
  from unnest(relations) as u (relation),
       lateral (select k.relname, k.reltuples, n.nspname
                from pg_class k
                join pg_namespace n on n.oid = k.relnamespace
                where k.oid = u.relation limit 1) k,
       lateral (
         select s.most_common_vals, s.most_common_freqs
         from pg_stats s
         where s.schemaname = k.nspname and s.tablename = k.relname and s.attname = 'queue' and not s.inherited
         limit 1
       ) s,
       unnest(s.most_common_vals::text::text[], s.most_common_freqs) as v (queue, share)
  where k.reltuples > 0
  group by v.queue;
end $$;

-- queue_stats returns the figures of every queue, one row each, ordered by name: queues with live, dead or archived
-- jobs, queues with a policy, and queues that clients reported on within the last minute.
--   most   bounds what is read. The queues share the tickets that are counted of each state, but each has at least
--          a twentieth of `most`. They share the lanes whose first tickets are read, a twentieth of `most`, but
--          each has at least ten. Half of `most` running jobs are read. Above these bounds the figures are
--          estimated, from the planner's statistics or from what was read, and the column estimated is true
-- oldest_ready and lag: for how many seconds the oldest job has been ready, or due. newest: when the newest live
-- job that was read was inserted.
-- archived: counted in partitions of up to 256 pages together. Of each other partition about 64 pages are read, and
-- archive_estimated is true.
-- inserted, completed and failed: per second, over the last minute, as clients report them: see report_counters.
-- Moves nothing. Each count has its own snapshot.
-- Index: ready, scheduled, blocked, permit and dead by queue, at most the bound for each; the first and last ticket
-- of lanes; job's primary key, one descent for each running job read. It reads counter and lease whole, and the
-- archive's small partitions.
create or replace function "pawl".queue_stats(most integer) returns table (
  queue text, reserved bigint, waiting bigint, scheduled bigint, ready bigint, running bigint, dead bigint,
  archived bigint, estimated boolean, archive_estimated boolean, permits bigint, oldest_ready double precision,
  lag double precision, newest timestamptz,
  inserted double precision, completed double precision, failed double precision
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment        constant timestamptz := statement_timestamp(); -- so that the caller can select it, too
  latest        constant bigint := floor(extract(epoch from moment) / 10);
  -- The last seven slots reach back this many seconds.
  span          constant double precision := 60 + extract(epoch from moment) - 10 * latest;
  names         text[];
  archived_jobs jsonb; -- {queue: number}
  budget        bigint := 256;
  child         record;
  sampled       boolean := false; -- whether a partition was too large to count
  queries       text[] := '{}';
  claims        bigint;
  step          bigint;
  running_jobs  jsonb; -- {queue: [number, highest id]}
  bound         bigint;
  lanes         bigint;
  n_reserved    bigint[];
  n_waiting     bigint[];
  n_scheduled   bigint[];
  n_ready       bigint[];
  n_dead        bigint[];
  n_permits     bigint[];
  top           bigint[]; -- the highest id read of jobs that are not ready
  exact         boolean[];
begin
  for child in
    select k.oid::regclass as relation, pg_relation_size(k.oid) / current_setting('block_size')::bigint as pages
    from pg_inherits i, lateral (select k.oid, k.relname from pg_class k where k.oid = i.inhrelid limit 1) k
    where i.inhparent = '"pawl".archive_chunk'::regclass
    order by k.relname
  loop
    if child.pages > budget then
      -- The same pages each time, so that figures do not jump from call to call.
      sampled := true;
      queries := queries || format(
        'select a.queue, a.n * %s::double precision as n from %s a tablesample system (%s) repeatable (1) '
          || 'where a.expires_at > $1',
        greatest(child.pages / 64.0, 1), child.relation, least(6400.0 / child.pages, 100));
    elsif child.pages > 0 then
      budget := budget - child.pages;
      queries := queries || format('select a.queue, a.n from %s a where a.expires_at > $1', child.relation);
    end if;
  end loop;
  if queries <> '{}' then
    execute 'select jsonb_object_agg(k.queue, k.n) from (select k.queue, sum(k.n)::bigint as n from ('
      || array_to_string(queries, ' union all ') || ') k group by k.queue) k' into archived_jobs using moment;
  end if;

  -- Read a sample of the running jobs by their ids, which are spread evenly.
  select coalesce(sum(cardinality(l.jobs)), 0) into claims from "pawl".lease l;
  step := greatest(ceil(claims * 2.0 / most), 1);
  select jsonb_object_agg(h.queue, jsonb_build_array(h.n * step, h.top)) into running_jobs
  from (
    select j.queue, count(*) as n, max(j.id) as top
    from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch),
         lateral (select j.queue, j.id from "pawl".job j where j.id = u.id and j.epoch = u.epoch limit 1) j
    where u.id % step = 0
    group by j.queue
  ) h;

  names := array(
    with recursive ready as (
      (select t.queue from "pawl".ready t order by t.queue limit 1)
      union all
      select n.queue
      from ready r, lateral (select t.queue from "pawl".ready t where t.queue > r.queue order by t.queue limit 1) n
    ),
    scheduled as (
      (select t.queue from "pawl".scheduled t order by t.queue limit 1)
      union all
      select n.queue
      from scheduled r,
           lateral (select t.queue from "pawl".scheduled t where t.queue > r.queue order by t.queue limit 1) n
    ),
    blocked as (
      (select t.queue from "pawl".blocked t order by t.queue limit 1)
      union all
      select n.queue
      from blocked r, lateral (select t.queue from "pawl".blocked t where t.queue > r.queue order by t.queue limit 1) n
    ),
    dead as (
      (select t.queue from "pawl".dead t order by t.queue limit 1)
      union all
      select n.queue
      from dead r, lateral (select t.queue from "pawl".dead t where t.queue > r.queue order by t.queue limit 1) n
    )
    select queue from ready union select queue from scheduled
    union select queue from blocked union select queue from dead
    union select q.name from "pawl".queue q union select t.queue from "pawl".counter t where t.slot > latest - 7
    union select jsonb_object_keys(running_jobs) collate "C" union select jsonb_object_keys(archived_jobs) collate "C"
    order by 1
  );
  bound := greatest(most / greatest(cardinality(names), 1), most / 20, 1);
  lanes := greatest(most / 20 / greatest(cardinality(names), 1), 10);

  select array_agg(p.n order by u.ord), array_agg(w.n order by u.ord), array_agg(s.n order by u.ord),
         array_agg(r.n order by u.ord), array_agg(d.n order by u.ord), array_agg(m.n order by u.ord),
         array_agg(greatest(p.top, w.top, s.top) order by u.ord)
  into n_reserved, n_waiting, n_scheduled, n_ready, n_dead, n_permits, top
  from unnest(names) with ordinality as u (name, ord),
       lateral (select count(*) as n, max(t.job_id) as top
                from (select t.job_id from "pawl".blocked t
                      where t.queue = u.name and t.expires_at is not null limit bound + 1) t) p,
       lateral (select count(*) as n, max(t.job_id) as top
                from (select t.job_id from "pawl".blocked t
                      where t.queue = u.name and t.expires_at is null limit bound + 1) t) w,
       lateral (select count(*) as n, max(t.job_id) as top
                from (select t.job_id from "pawl".scheduled t where t.queue = u.name limit bound + 1) t) s,
       lateral (select count(*) as n from (select from "pawl".ready t where t.queue = u.name limit bound + 1) t) r,
       lateral (select count(*) as n from (select from "pawl".dead t where t.queue = u.name limit bound + 1) t) d,
       lateral (select count(*) as n from (select from "pawl".permit t where t.queue = u.name limit bound + 1) t) m;
  exact := array(
    select not bound < any (array[u.p, u.w, u.s, u.r, u.d, u.m]) and step = 1
    from unnest(n_reserved, n_waiting, n_scheduled, n_ready, n_dead, n_permits)
           with ordinality as u (p, w, s, r, d, m, ord)
    order by u.ord
  );
  n_reserved  := "pawl".estimate_counts(names, n_reserved,  bound, '"pawl".blocked',    't.expires_at is not null');
  n_waiting := "pawl".estimate_counts(names, n_waiting, bound, '"pawl".blocked',    't.expires_at is null');
  n_scheduled   := "pawl".estimate_counts(names, n_scheduled,   bound, '"pawl".scheduled', 'true');
  n_ready   := "pawl".estimate_counts(names, n_ready,   bound, '"pawl".ready',     'true');
  n_dead    := "pawl".estimate_counts(names, n_dead,    bound, '"pawl".dead',      'true');
  n_permits := "pawl".estimate_counts(names, n_permits, bound, '"pawl".permit',    't.queue <> ''''');

  return query
  with recursive lane as (
    select u.ord, u.name, h.priority, h.channel, h.pos, e.id, 1 as n
    from unnest(names) with ordinality as u (name, ord),
         lateral (select t.priority, t.channel, t.pos from "pawl".ready t
                  where t.queue = u.name order by t.priority, t.channel, t.pos limit 1) h,
         lateral (select t.job_id as id from "pawl".ready t
                  where t.queue = u.name and t.priority = h.priority and t.channel = h.channel
                  order by t.pos desc limit 1) e
    union all
    select l.ord, l.name, h.priority, h.channel, h.pos, e.id, l.n + 1
    from lane l,
         lateral (
           select t.priority, t.channel, t.pos from "pawl".ready t
           where t.queue = l.name and (t.priority, t.channel) > (l.priority, l.channel)
           order by t.priority, t.channel, t.pos limit 1
         ) h,
         lateral (
           select max(e.id) as id
           from (select t.job_id as id from "pawl".ready t
                 where l.n < 3 and t.queue = l.name and t.priority = h.priority and t.channel = h.channel
                 order by t.pos desc limit 1) e
         ) e
    where l.n < lanes
  ),
  head as (
    select l.ord, l.name, l.priority, l.channel, l.pos, l.n, l.id, min(l.pos) over (partition by l.ord) as least
    from lane l
  ),
  first as (
    select h.ord, max(h.n) as seen, max(h.id) as top, min(coalesce(j.run_at, j.created_at)) as since
    from head h
    left join lateral (
      -- The job with the lowest position is the oldest, except for returned jobs, which got new positions. If there
      -- are any, they are in the first lane.
      select j.run_at, j.created_at
      from "pawl".ready t, lateral (select j.run_at, j.created_at from "pawl".job j where j.id = t.job_id limit 1) j
      where (h.n = 1 or h.pos = h.least) and t.queue = h.name and t.priority = h.priority
        and t.channel = h.channel and t.pos = h.pos
    ) j on true
    group by h.ord
  ),
  counted as (
    select t.queue, sum(i.n) as inserted, sum(c.n) as completed, sum(f.n) as failed
    from "pawl".counter t,
         lateral (select sum(x) as n from unnest(t.inserted[1 : 7 - greatest(latest - t.slot, 0)]) as x) i,
         lateral (select sum(x) as n from unnest(t.completed[1 : 7 - greatest(latest - t.slot, 0)]) as x) c,
         lateral (select sum(x) as n from unnest(t.failed[1 : 7 - greatest(latest - t.slot, 0)]) as x) f
    where t.slot > latest - 7
    group by t.queue
  )
  select u.name, u.reserved, u.waiting, u.scheduled, u.ready,
         coalesce((running_jobs -> u.name ->> 0)::bigint, 0), u.dead,
         coalesce((archived_jobs ->> u.name)::bigint, 0),
         not u.exact or coalesce(f.seen >= lanes, false), sampled, u.permits,
         greatest(extract(epoch from moment - f.since), 0)::double precision,
         greatest(extract(epoch from moment - least(f.since, due.at)), 0)::double precision,
         (select j.created_at from "pawl".job j
          where j.id = greatest(u.top, f.top, (running_jobs -> u.name ->> 1)::bigint)),
         coalesce(counted.inserted, 0)::double precision / span,
         coalesce(counted.completed, 0)::double precision / span,
         coalesce(counted.failed, 0)::double precision / span
  from unnest(names, n_reserved, n_waiting, n_scheduled, n_ready, n_dead, n_permits, top, exact)
         with ordinality as u (name, reserved, waiting, scheduled, ready, dead, permits, top, exact, ord)
  left join first f on f.ord = u.ord
  left join lateral (
    select s.run_at as at from "pawl".scheduled s where s.queue = u.name order by s.run_at limit 1
  ) due on true
  left join counted on counted.queue = u.name
  order by u.ord;
end $$;

-- report_counters adds what a client counted since its last report.
--   client                        the id of the process: only it writes these rows
--   queues                        no queue twice, at most 10,000
--   inserted, completed, failed   one for each queue, from 0 to 1,000,000,000,000
-- It raises SQLSTATE 22023 for other values, because queue_stats adds them up for everyone.
-- Moves: the client's rows of counter change. It is the only statement of its transaction, and the commit does not
-- wait for the disk, because a count that a crash loses does no harm.
-- Index: counter's primary key; the update is HOT.
create or replace function "pawl".report_counters(
  client uuid, queues text[], inserted bigint[], completed bigint[], failed bigint[]
) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  now constant bigint := floor(extract(epoch from clock_timestamp()) / 10);
begin
  if cardinality(report_counters.queues) > 10000 or exists (
    select from unnest(report_counters.queues, report_counters.inserted, report_counters.completed,
                       report_counters.failed) as u (queue, inserted, completed, failed)
    where (octet_length(u.queue) between 1 and 255 and u.inserted between 0 and 1000000000000
           and u.completed between 0 and 1000000000000 and u.failed between 0 and 1000000000000) is not true
  ) then
    raise exception 'pawl: report counters: want up to 10,000 queues with names of 1 to 255 bytes, '
                    'and for each three counts from 0 to 1,000,000,000,000' using errcode = '22023';
  end if;
  perform set_config('synchronous_commit', 'off', true);
  insert into "pawl".counter as t (client, queue, slot, inserted, completed, failed)
  select report_counters.client, u.queue, now, "pawl".shift_slots('{}', 7, u.inserted),
         "pawl".shift_slots('{}', 7, u.completed), "pawl".shift_slots('{}', 7, u.failed)
  from unnest(report_counters.queues, report_counters.inserted, report_counters.completed, report_counters.failed)
         as u (queue, inserted, completed, failed)
  on conflict (client, queue) do update set
    slot      = greatest(t.slot, excluded.slot),
    inserted  = "pawl".shift_slots(t.inserted, excluded.slot - t.slot, excluded.inserted[1]),
    completed = "pawl".shift_slots(t.completed, excluded.slot - t.slot, excluded.completed[1]),
    failed    = "pawl".shift_slots(t.failed, excluded.slot - t.slot, excluded.failed[1]);
end $$;

-- shift_slots moves the counts of a row of counter by a number of slots, and adds to the newest slot.
create or replace function "pawl".shift_slots(counts bigint[], by bigint, more bigint) returns bigint[]
language sql immutable parallel safe as $$
  select (case when by > 0 then more || array_fill(0::bigint, array[least(by, 7)::integer - 1]) || counts
               else (counts[1] + more) || counts[2:] end)[1:7]
$$;

-- system_stats returns the figures of the whole installation, one row.
--   workers, stale   live workers, and those of them whose heartbeat is so late that the next rescue declares them
--                    lost
--   version          of the schema
--   xmin_age         seconds since the start of this database's oldest transaction that has a snapshot or a number,
--                    including prepared transactions
--   semaphores       {key: permits in use} of named limits, from at most 10,000 permits
--   stuck            stuck handlers of live workers, at their last heartbeats
-- Moves nothing. It reads worker whole, and permit by its primary key.
create or replace function "pawl".system_stats() returns table (
  now timestamptz, workers bigint, stale bigint, version integer, xmin_age double precision, semaphores jsonb,
  stuck bigint
) language plpgsql set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_column
begin
  return query
  select clock_timestamp(), w.n, w.stale,
         (select coalesce(max(m.version), 0)::integer from "pawl".migration m),
         greatest(
           (select extract(epoch from clock_timestamp() - min(a.xact_start)) from pg_stat_activity a
            where a.datname = current_database() and a.pid <> pg_backend_pid()
              and (a.backend_xmin is not null or a.backend_xid is not null)),
           (select extract(epoch from clock_timestamp() - min(p.prepared))
            from pg_prepared_xacts p where p.database = current_database()),
           0)::double precision,
         (select coalesce(jsonb_object_agg(s.channel, s.n), '{}')
          from (select p.channel, count(*) as n
                from (select p.channel from "pawl".permit p where p.queue = '' limit 10000) p
                group by p.channel) s),
         w.stuck
  from (
    select count(*) as n,
           count(*) filter (
             where clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
           ) as stale,
           coalesce(sum(cardinality(w.stuck)), 0)::bigint as stuck
    from "pawl".worker w where w.gone_at is null
  ) w;
end $$;

-- table_stats returns the figures of the tables that jobs pass through, one row for each table. The partitions of
-- the archive are one table.
--   live, dead   rows, as the server's statistics estimate them
--   bytes        on disk, with indexes
--   vacuumed     when the table was last vacuumed, by autovacuum or by hand; for the archive, the partition that
--                waits longest
-- Moves nothing, and reads only the catalog.
create or replace function "pawl".table_stats()
returns table (name text, live bigint, dead bigint, bytes bigint, vacuumed timestamptz)
language plpgsql set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_column
begin
  return query
  select u.name, sum(pg_stat_get_live_tuples(k.oid))::bigint, sum(pg_stat_get_dead_tuples(k.oid))::bigint,
         sum(pg_total_relation_size(k.oid))::bigint,
         min(greatest(pg_stat_get_last_vacuum_time(k.oid), pg_stat_get_last_autovacuum_time(k.oid)))
  from (values ('job', '"pawl".job'::regclass), ('ready', '"pawl".ready'), ('scheduled', '"pawl".scheduled'),
               ('blocked', '"pawl".blocked'), ('ordered_job', '"pawl".ordered_job'), ('unique_key', '"pawl".unique_key'),
               ('lease', '"pawl".lease'), ('permit', '"pawl".permit'), ('worker', '"pawl".worker'), ('dead', '"pawl".dead'),
               ('archive_chunk', '"pawl".archive_chunk')
       ) as u (name, relation),
       lateral (select u.relation as oid where u.name <> 'archive_chunk'
                union all select i.inhrelid from pg_inherits i where i.inhparent = u.relation and u.name = 'archive_chunk') k
  group by u.name
  order by sum(pg_total_relation_size(k.oid)) desc;
end $$;

-- heartbeat records the heartbeat of a worker.
--   worker, running   its id, and how many jobs it runs
--   ids, epochs       the jobs it has claimed
--   stuck             the kinds of its stuck handlers, one for each, or null
--   problem           what it cannot do, in its own words, or null
-- Moves nothing; the worker's row changes. Returns the state that the worker is to have (ready, suspended,
-- stopping), and the ids of jobs that are not live at their epoch any more. A null state means that the worker was
-- declared lost, with all its jobs.
-- Index: primary keys.
create or replace function "pawl".heartbeat(
  worker bigint, running integer, ids bigint[], epochs integer[], stuck text[] default null, problem text default null
)
returns table (state text, missing bigint[])
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  update "pawl".worker w
  set seen_at = clock_timestamp(), running = greatest(heartbeat.running, 0), stuck = heartbeat.stuck,
      problem = heartbeat.problem
  where w.id = heartbeat.worker and w.gone_at is null
  returning w.state into heartbeat.state;
  if found then
    heartbeat.missing := "pawl".find_missing(heartbeat.ids, heartbeat.epochs);
  end if;
  return next;
end $$;

-- heartbeat for a worker that was registered by hand. It records how many jobs the worker has claimed.
-- Returns the state that the worker is to have, as the other heartbeat does; null if it was declared lost.
-- Index: worker's primary key, lease_worker_id, job's primary key.
create or replace function "pawl".heartbeat(worker bigint) returns text
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  claimed integer;
begin
  select count(*) into claimed
  from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch),
       lateral (select from "pawl".job j where j.id = u.id and j.epoch = u.epoch limit 1) j
  where l.worker_id = heartbeat.worker;
  return (select b.state from "pawl".heartbeat(heartbeat.worker, claimed, '{}', '{}') b);
end $$;

-- poke_heartbeats asks every worker to send its heartbeat now, because the reply has news: a job was cancelled, or
-- a worker was suspended. The notification is delivered at the commit. A worker that misses it learns the news with
-- its next heartbeat. The channel is that of wake; the payload is empty, and no queue has an empty name.
create or replace function "pawl".poke_heartbeats() returns void language sql as $$
  select pg_notify(left((parse_ident('"pawl".wake'))[1], 54) || '.wake', '')
$$;

-- register_worker inserts the row of a worker and returns its id, which is never used again.
--   name, host, version   text of which 255 characters are kept
--   queues                null: all queues
--   stale                 how long the worker may be silent before its jobs are rescued, at most 30 days
--   state                 ready, or the state that the worker had before it was declared lost
-- It raises SQLSTATE 22023 for values that rescue could not compute with.
create or replace function "pawl".register_worker(
  name text, host text, pid integer, version text, queues text[], stale interval, state text default 'ready'
)
returns bigint
language plpgsql as $$
declare
  worker bigint;
begin
  if pid < 0 or cardinality(queues) > 10000 or stale not between '0' and interval '30 days'
     or state <> all ('{ready,suspended,stopping}') or array_position(queues, null) is not null
     or exists (select from unnest(queues) as q (name) where octet_length(q.name) not between 1 and 255) then
    raise exception 'pawl: register worker %: want a pid, up to 10,000 queues with names of 1 to 255 bytes, '
                    'stale from 0 to 30 days, and the state ready, suspended or stopping', left(name, 64)
      using errcode = '22023';
  end if;
  insert into "pawl".worker (name, host, pid, version, queues, started_at, seen_at, stale_after, state)
  values (left(name, 255), left(host, 255), pid, left(version, 255), queues, clock_timestamp(), clock_timestamp(), stale,
          state)
  returning id into worker;
  return worker;
end $$;

-- release_worker returns the jobs of a worker to their queues, to run before all others, without an attempt or a
-- crash. It returns their number.
-- Moves: jobs back to ready in the lane of returned jobs, their epoch one up; the worker's leases out, except those
-- with permits: handlers may still run, and count against their limits until they end.
-- Index: lease_worker_id, job's primary key.
-- Survives: a completion at the same time (this waits for the job row, and does not return the job).
-- Locks jobs by id, then leases. It skips leases that another transaction has locked: a rescue deletes them later,
-- as leases without a live job.
create or replace function "pawl".release_worker(worker bigint) returns bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  leases   uuid[];
  woken    text[];
  returned bigint;
begin
  perform pg_current_xact_id();
  leases := array(select l.id from "pawl".lease l where l.worker_id = release_worker.worker);
  with mine as materialized (
    select j.id, j.epoch
    from (select u.id, u.epoch
          from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch)
          where l.id = any (leases)
          order by u.id) u,
         lateral (select j.id, j.epoch from "pawl".job j where j.id = u.id and j.epoch = u.epoch for update) j
  ),
  back as (
    update "pawl".job j
    set epoch = "pawl".next_epoch(j.epoch), pos = nextval('"pawl".pos')
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.crashes
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, "pawl".lane_priority(b.priority, b.crashes, true), b.queue, b.channel
    from back b
  )
  select count(*), array_agg(distinct b.queue) into returned, woken from back b;
  delete from "pawl".lease l
  where l.id = any (array(
    select l.id from "pawl".lease l
    where l.id = any (leases)
      and not exists (
        select from unnest(l.jobs, l.epochs) as u (id, epoch)
        join "pawl".job j on j.id = any (array[u.id]) and j.epoch = u.epoch
      )
      and not exists (
        select from unnest(l.jobs) as u (id)
        join "pawl".permit p on p.job_id = any (array[u.id]) and p.lease = l.id
      )
    for update skip locked
  ));
  if returned > 0 then
    perform "pawl".poke_heartbeats(), "pawl".wake(woken);
  end if;
  return returned;
end $$;

-- set_worker_state sets the state that a worker is to have: ready, suspended (it claims nothing) or stopping (it
-- finishes its jobs and ends).
-- Returns the new state: a worker that is stopping stays so. Null: no live worker has this id.
-- A worker that was registered by hand (its pid is 0) is gone at once when it is stopped, and its jobs are
-- returned.
create or replace function "pawl".set_worker_state(worker bigint, state text) returns text
language plpgsql as $$
#variable_conflict use_column
declare
  became text;
begin
  if (set_worker_state.state = any ('{ready,suspended,stopping}')) is not true then
    raise exception 'pawl: there is no worker state %; want ready, suspended or stopping',
      left(coalesce(set_worker_state.state, 'null'), 64) using errcode = '22023';
  end if;
  update "pawl".worker w
  set state = case when w.state = 'stopping' then w.state else set_worker_state.state end
  where w.id = set_worker_state.worker and w.gone_at is null
  returning w.state into became;
  if found and became = 'stopping'
     and exists (select from "pawl".worker w where w.id = set_worker_state.worker and w.pid = 0) then
    perform "pawl".release_worker(set_worker_state.worker), "pawl".unregister_worker(set_worker_state.worker);
  elsif became is not null then
    perform "pawl".poke_heartbeats();
  end if;
  return became;
end $$;

-- unregister_worker records that a worker has stopped. Leases that it still has are lost from now on.
create or replace function "pawl".unregister_worker(worker bigint) returns void language sql as $$
  update "pawl".worker w
  set state = 'stopped', running = 0, stuck = null, problem = null, gone_at = clock_timestamp()
  where w.id = worker and w.gone_at is null
$$;

-- worker_leases returns the leases that the database has for a worker, so that the worker can compare them with its
-- own.
-- Moves nothing. Index: lease_worker_id, or none: the caller spaces its calls by their cost.
create or replace function "pawl".worker_leases(worker bigint) returns setof uuid language sql stable as $$
  select l.id from "pawl".lease l where l.worker_id = worker
$$;

-- worker_started_at returns when the row of a worker was made; null if there is none. After the database went back
-- in time (a failover to a lagging standby, or a restore in place) it gives ids of workers out again. By this time
-- a worker tells its own row from another worker's.
-- Moves nothing. Index: worker's primary key.
create or replace function "pawl".worker_started_at(worker bigint) returns timestamptz
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
  return (select w.started_at from "pawl".worker w where w.id = worker_started_at.worker);
end $$;
select "pawl".make_partitions(7);
select "pawl".grant_roles(false);
commit;
