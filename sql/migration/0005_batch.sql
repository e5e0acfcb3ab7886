-- Jobs inserted together, with jobs to follow when all or some of them have ended. Its jobs say so in opts; settle counts.
create table pawl.batch (
  id          bigint      not null primary key,
  created_at  timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  total       integer     not null,
  completed   integer     not null default 0,
  cancelled   integer     not null default 0,          -- deleted ones too
  dead        integer     not null default 0,
  on_finish   jsonb,                                   -- jobs as insert_tied takes them; null once inserted
  on_success  jsonb,
  on_death    jsonb
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = false);

create index batch_finished_at on pawl.batch (finished_at) where finished_at is not null;
