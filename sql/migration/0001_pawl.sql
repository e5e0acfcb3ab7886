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
create sequence pawl.pos as bigint cache 1;


-- 1. A job and its ticket

-- A job is one unit of work, from the commit of its insert until it finishes. The row is written once. It changes
-- only if an attempt does not succeed, if the job is updated, or if it moves within the queue.
create table pawl.job (
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
create index job_fingerprint on pawl.job (fingerprint, id) where fingerprint is not null;
create index job_unique_key  on pawl.job (unique_key, id)  where unique_key is not null;

-- Every live job that does not run has exactly one ticket with its epoch, in ready, scheduled or blocked.

-- ready holds the tickets of jobs that may be claimed now. A lane is (queue, priority, channel), and pos is the
-- order within it. priority is the job's own, or one of two that come before all others: -32768 for returned jobs,
-- -32769 for suspects.
create table pawl.ready (
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
create table pawl.scheduled (
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
create table pawl.blocked (
  job_id     bigint  not null primary key,
  epoch      integer not null,
  queue      text    not null collate "C",
  expires_at timestamptz                              -- when a reservation that is not committed ends
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
create index blocked_expires_at on pawl.blocked (expires_at) where expires_at is not null;
create index blocked_queue      on pawl.blocked (queue, expires_at);

-- ordered_job holds the places of live jobs in ordered channels. Only the job with the lowest pos of a channel may
-- have a ticket outside of blocked.
create table pawl.ordered_job (
  queue   text   not null collate "C",
  channel text   not null collate "C",
  pos     bigint not null,
  job_id  bigint not null,
  primary key (queue, channel, pos)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
create unique index ordered_job_job_id on pawl.ordered_job (job_id);

-- mutex has a row for each thing that only one transaction at a time may do or change: that transaction locks the
-- row. A row lock needs a privilege on the table. An advisory lock needs none, so any session of the database could
-- hold it for ever. Rows are inserted when they are first needed; prune_mutexes deletes those that are not in use.
create table pawl.mutex (
  kind  text not null collate "C",                    -- channel, limit, semaphore, duty
  queue text not null collate "C",                    -- of a channel or a limit; '': none
  name  text not null collate "C",                    -- the ordered channel, the semaphore's key, or the duty
  primary key (kind, queue, name)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
insert into pawl.mutex (kind, queue, name) values ('duty', '', 'partitions'), ('duty', '', 'rescue');

-- halted_channel holds the ordered channels that start no job because their first job died (Queue.HaltOnDead).
create table pawl.halted_channel (
  queue     text        not null collate "C",
  channel   text        not null collate "C",
  job_id    bigint      not null,                     -- the job that died
  halted_at timestamptz not null,
  primary key (queue, channel)
);

-- unique_key holds the unique keys in use. A key is in use while its job is live (or until it starts), and in any
-- case until keep_until.
create table pawl.unique_key (
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
create index unique_key_job_id     on pawl.unique_key (job_id);
create index unique_key_keep_until on pawl.unique_key (keep_until) where not live;

-- dependency holds which jobs a job waits for: a row for each parent, until that parent finishes.
create table pawl.dependency (
  parent_id    bigint  not null,
  child_id     bigint  not null,
  on_state     text    not null collate "C",          -- how the parent must end for the child to run: ok, any, not_ok
  keep_waiting boolean not null,                      -- if the parent dies: wait for a retry, or else be cancelled
  primary key (parent_id, child_id, on_state)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
create index dependency_child_id on pawl.dependency (child_id);

-- followup holds the ends of constrained jobs whose consequences are not done yet. The transaction that finishes
-- such a job writes the row; run_followups does the rest in a transaction of its own, which waits for no other. It
-- puts a row aside that cannot be done.
create table pawl.followup (
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
create table pawl.lease (
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
alter table pawl.lease alter jobs set storage external, alter epochs set storage external;
-- Deleted leases accumulate while an old snapshot is open, and rescue must not read all of them every second.
create index lease_worker_id  on pawl.lease (worker_id)  where worker_id is not null;
create index lease_expires_at on pawl.lease (expires_at) where expires_at is not null;

-- worker has one row for each process that runs jobs, with its heartbeat. Ids are never reused: a worker that is
-- gone stays gone.
create table pawl.worker (
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
create table pawl.permit (
  queue   text   not null collate "C",
  channel text   not null collate "C",
  job_id  bigint not null,
  lease   uuid   not null,
  primary key (queue, channel, job_id, lease)
) with (
  autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = false
);
create index permit_job_id on pawl.permit (job_id);


-- 4. Finished jobs

-- archive_chunk holds jobs that completed or were cancelled, until expires_at. Each partition holds one day of
-- expires_at: the jobs of a day go when its partition is dropped.
-- A row is a chunk: the small jobs that one statement completed with the same queue and retention. An array has an
-- element for each job, in the order of their ids; it is null if it has one element and that is null. With a row for
-- each job, the write-ahead log of a job's life would be half as long again.
-- The ids of a chunk have the same id >> 10. So the chunk of an id is one of the few with min_id from
-- id >> 10 << 10 up to id, however large the archive is and in whatever order jobs finish.
-- A cancelled job, and a job with large or compressed values, is a chunk of its own.
create table pawl.archive_chunk (
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
create index archive_chunk_min_id on pawl.archive_chunk (min_id, max_id);

-- archive has a row for each job in archive_chunk. A condition on chunk, finished_at, expires_at, state, queue or
-- worker selects chunks; any other is checked after their arrays are unpacked. To find jobs by id, use the function
-- find_archived.
create view pawl.archive as
select u.id, c.finished_at, c.expires_at, u.created_at, u.run_at, u.waited_ms, u.ran_ms, u.epoch, u.priority,
       u.attempt, u.max_attempts, c.state, c.queue, u.channel, u.kind, c.worker, u.args, u.data, u.fingerprint,
       u.unique_key, u.opts, u.errors, u.checkpoint, u.result, c.min_id as chunk
from pawl.archive_chunk c,
     unnest(c.ids, c.epochs, c.created_at, c.run_at, c.waited_ms, c.ran_ms, c.priority, c.attempt, c.max_attempts,
            c.channel, c.kind, c.args, c.data, c.fingerprint, c.unique_key, c.opts, c.errors, c.checkpoint, c.result)
       as u (id, epoch, created_at, run_at, waited_ms, ran_ms, priority, attempt, max_attempts, channel, kind, args,
             data, fingerprint, unique_key, opts, errors, checkpoint, result);

-- dead holds jobs that will not run again unless they are retried.
create table pawl.dead (
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
create index dead_expires_at on pawl.dead (expires_at);
create index dead_queue      on pawl.dead (queue, id);

-- batch has a row for jobs that were inserted together, with the callback jobs to insert when all or some of them
-- have ended.
create table pawl.batch (
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
create index batch_finished_at on pawl.batch (finished_at) where finished_at is not null;


-- 5. Queues, schedules, counters

-- queue holds the policy of a queue. A queue without a policy has no row. A null means the default.
create table pawl.queue (
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
create index queue_limited on pawl.queue (name) where limited;

-- bucket holds what is left of a rate limit: tokens at a moment. They grow with time, up to the burst.
create table pawl.bucket (
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
create table pawl.cron (
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
create index cron_next_at on pawl.cron (next_at) where not paused;

-- counter holds what each client did lately: a row for each client and queue, so that no two processes write the
-- same row. Each array has the counts of the last seven slots of ten seconds, the newest first.
create table pawl.counter (
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
    where c.relnamespace = (select p.relnamespace from pg_class p where p.oid = 'pawl.job'::regclass)
      and c.relkind in ('r', 'p')
      and (a.atttypid in ('jsonb'::regtype, 'bytea'::regtype)
           or c.oid = 'pawl.archive_chunk'::regclass and a.attstorage = 'x')
    group by c.oid
    order by c.oid
  loop
    execute format('alter table %s %s', one.name, one.changes);
  end loop;
exception when feature_not_supported then
  raise debug 'pawl: this server has no lz4';
end $$;
