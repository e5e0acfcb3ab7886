-- What ties a job to others: its place in an ordered channel, a unique key, a reservation, jobs it waits for. Plain jobs pay
-- nothing for it: everything here hangs on job.tied. Why so: docs/decisions/0004.

alter table pawl.job add column tied boolean not null default false;

-- Tickets of jobs that wait for something other than their time: for Commit (then expires_at is set), for the jobs before them in
-- an ordered channel, or for the jobs they depend on. A ticket leaves when nothing is left to wait for.
create table pawl.parked (
  job_id     bigint  not null primary key,
  epoch      integer not null,
  queue      text    not null collate "C",
  expires_at timestamptz
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

create index parked_expires_at on pawl.parked (expires_at) where expires_at is not null;

-- The lines of ordered channels, a row a live job. The head, the lowest pos, alone may have a ticket that is not parked.
create table pawl.turn (
  queue   text   not null collate "C",
  channel text   not null collate "C",
  pos     bigint not null,
  job_id  bigint not null,
  primary key (queue, channel, pos)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

create unique index turn_job_id on pawl.turn (job_id);

-- Ordered channels that stand still because their head died.
create table pawl.halt (
  queue     text        not null collate "C",
  channel   text        not null collate "C",
  job_id    bigint      not null,
  halted_at timestamptz not null,
  primary key (queue, channel)
);

alter table pawl.queue add column halt_on_dead boolean not null default false;

-- Unique keys. scope: the queue, or '' for all queues. A key is taken while its job lives (or until it starts), and in any case
-- until keep_until.
create table pawl.hold (
  scope       text    not null collate "C",
  key         text    not null collate "C",
  job_id      bigint  not null,
  live        boolean not null,
  until_start boolean not null,
  keep_until  timestamptz,
  primary key (scope, key)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

create index hold_job_id on pawl.hold (job_id);
create index hold_keep_until on pawl.hold (keep_until) where not live;

-- Jobs that finished and were tied: what follows from it is done by settle, in a transaction of its own that waits for nobody.
create table pawl.loose (
  id      bigint generated always as identity primary key,
  job_id  bigint  not null,
  queue   text    not null collate "C",
  channel text    not null collate "C",
  ordered boolean not null,
  batch   bigint,
  became  text    not null collate "C"                -- completed, cancelled, dead, deleted
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

-- What a job waits for: a row a parent, until the parent is done.
create table pawl.wait (
  parent_id bigint  not null,
  child_id  bigint  not null,
  on_state  text    not null collate "C",             -- ok, any, not_ok: which end of the parent the child waits for
  hold      boolean not null,                         -- stay when that cannot come, until the dead parent is retried
  primary key (parent_id, child_id, on_state)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

create index wait_child_id on pawl.wait (child_id);
