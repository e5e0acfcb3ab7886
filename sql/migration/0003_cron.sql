-- Schedules: each tick of one becomes a job. The next tick is written down, so that it is taken exactly once, by whoever sees first that
-- it is due.
create table pawl.cron (
  name       text        not null primary key collate "C",
  spec       text        not null,                    -- as it was given
  zone       text        not null,                    -- a name of the time zone database
  job        jsonb       not null,                    -- kind, args, data (base64), queue, channel, priority, delay (seconds),
                                                      -- max_attempts, backoff, fingerprint, headers: defaults are in it
  jitter     interval    not null default '0',
  catch_up   integer     not null default 0,
  version    integer     not null default 0,          -- of who put it: a lower one changes nothing
  paused     boolean     not null default false,
  last_at    timestamptz,                             -- the last tick that became a job
  next_at    timestamptz not null,                    -- the tick that is waited for
  created_at timestamptz not null default now()
) with (
  autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0.1, vacuum_truncate = false
);

create index cron_next_at on pawl.cron (next_at) where not paused;
