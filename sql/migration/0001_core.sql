-- The tables of a job's whole life. Which row moves where, and why: docs/states.md.
-- Text keys collate "C": byte order is what the lanes need and several times faster than a locale's.
-- Hot tables are vacuumed early and never truncated: truncation takes an exclusive lock that would stop the queue.

-- Makes ids and positions alike, so that a fresh job's position is its id. Never give it a cache:
-- the safe mark rests on positions being drawn in the order of time over all sessions.
create sequence pawl.pos as bigint cache 1;

-- One unit of work, from its commit to its finish. Written once; changed only by what is not a first-try success.
create table pawl.job (
  id           bigint      not null primary key,
  pos          bigint,                                -- of its ready ticket; null: its id
  created_at   timestamptz not null,
  run_at       timestamptz,                           -- when it became or becomes due; null: when created
  epoch        integer     not null,                  -- the fencing number: one up with every new ticket
  priority     smallint    not null,
  attempt      smallint    not null default 0,        -- attempts used, by outcomes of a handler alone
  max_attempts smallint,                              -- null: the queue's
  strikes      smallint    not null default 0,        -- leases lost since a handler last answered
  queue        text        not null collate "C",
  channel      text        not null collate "C",
  kind         text        not null collate "C",
  args         jsonb,
  data         bytea,
  fingerprint  text        collate "C",
  unique_key   text        collate "C",
  opts         jsonb,                                 -- backoff, headers: what few jobs have
  errors       jsonb,                                 -- [{attempt, at, worker, error, stack}], oldest first, bounded
  checkpoint   jsonb
) with (
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = false
);

-- Tickets of jobs that may be taken now. A lane is (queue, priority, channel); pos orders it.
-- priority is the job's own, or one of two below all of those: -32768 returned, -32769 suspect (wider than smallint on purpose).
create table pawl.ready (
  pos      bigint  not null,
  job_id   bigint  not null,
  epoch    integer not null,
  priority integer not null,
  queue    text    not null collate "C",
  channel  text    not null collate "C",
  primary key (queue, priority, channel, pos)
) with (
  autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5, vacuum_truncate = false
);

-- Tickets of jobs that may be taken later.
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

-- One row a claimed batch: who holds which (job, epoch) pairs. The claimer chose the id.
-- A runner's lease lives as long as its worker's row; a consumer's until expires_at.
create table pawl.lease (
  id         uuid     not null primary key,
  worker_id  bigint,
  expires_at timestamptz,
  jobs       bigint[] not null,
  epochs     integer[] not null
) with (
  autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_threshold = 1000000000, vacuum_truncate = false, toast_tuple_target = 8160
);
-- A batch of hundreds stays in its row as it is: compressing it showed in every claim.
alter table pawl.lease alter jobs set storage external, alter epochs set storage external;
-- Dead leases pile up while an old snapshot is open: rescue must not read them all every second.
create index lease_worker_id  on pawl.lease (worker_id)  where worker_id is not null;
create index lease_expires_at on pawl.lease (expires_at) where expires_at is not null;

-- The processes that run jobs, one heartbeat row each. An id is never used again, and a worker that is gone never returns.
create table pawl.worker (
  id          bigint generated always as identity primary key,
  name        text        not null,
  host        text        not null,
  pid         integer     not null,
  version     text        not null,
  queues      text[],                                 -- null: all
  state       text        not null default 'ready' collate "C", -- ready, suspended, stopping; gone: stopped, lost
  running     integer     not null default 0,
  started_at  timestamptz not null,
  seen_at     timestamptz not null,
  gone_at     timestamptz,                            -- null: lives, and so do its leases
  stale_after interval    not null
) with (
  fillfactor = 50, autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0.1, vacuum_truncate = false
);

-- What was said of a queue; a queue nobody said anything of has no row. A null is the default.
create table pawl.queue (
  name             text     not null primary key collate "C",
  paused           boolean  not null default false,
  max_attempts     smallint,
  backoff          jsonb,
  lease            interval,
  retain_completed interval,
  retain_cancelled interval,
  retain_dead      interval,
  created_at       timestamptz not null default now()
);

-- Jobs that completed or were cancelled, until expires_at. A partition a day of expires_at: a day goes by dropping
-- its partition. BRIN and no b-tree: the b-tree was a sixth of the cost of finishing a job, and ids come almost in order.
create table pawl.archive (
  id           bigint      not null,
  finished_at  timestamptz not null,
  expires_at   timestamptz not null,
  created_at   timestamptz not null,
  run_at       timestamptz,
  waited_ms    bigint,                                -- from due to claimed
  ran_ms       bigint,                                -- in the handler, by the worker's own watch
  epoch        integer     not null,
  priority     smallint    not null,
  attempt      smallint    not null,
  max_attempts smallint,
  state        text        not null collate "C",      -- completed, cancelled
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
  checkpoint   jsonb,
  result       jsonb
) partition by range (expires_at);

create index archive_id on pawl.archive using brin (id int8_minmax_multi_ops) with (pages_per_range = 128, autosummarize = on);

-- Jobs out of attempts, poisonous or given up, kept apart to be looked at and retried.
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
  strikes      smallint    not null,
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
