-- The schema pawl from version 0 to 6. For psql -v ON_ERROR_STOP=1; after "lock timeout" print it anew, and run that.

begin isolation level read committed;
select pg_advisory_xact_lock(hashtextextended('migrate pawl', 0));
set local lock_timeout = '100ms';
create schema "pawl";
create table "pawl".migration (version integer primary key, name text not null, applied_at timestamptz not null default now());
-- The tables of a job's whole life. Which row moves where, and why: docs/states.md.
-- Text keys collate "C": byte order is what the lanes need and several times faster than a locale's.
-- Hot tables are vacuumed early and never truncated: truncation takes an exclusive lock that would stop the queue.

-- Makes ids and positions alike, so that a fresh job's position is its id. Never give it a cache:
-- the safe mark rests on positions being drawn in the order of time over all sessions.
create sequence "pawl".pos as bigint cache 1;

-- One unit of work, from its commit to its finish. Written once; changed only by what is not a first-try success.
create table "pawl".job (
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
create table "pawl".ready (
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

-- One row a claimed batch: who holds which (job, epoch) pairs. The claimer chose the id.
-- A runner's lease lives as long as its worker's row; a consumer's until expires_at.
create table "pawl".lease (
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
alter table "pawl".lease alter jobs set storage external, alter epochs set storage external;
-- Dead leases pile up while an old snapshot is open: rescue must not read them all every second.
create index lease_worker_id  on "pawl".lease (worker_id)  where worker_id is not null;
create index lease_expires_at on "pawl".lease (expires_at) where expires_at is not null;

-- The processes that run jobs, one heartbeat row each. An id is never used again, and a worker that is gone never returns.
create table "pawl".worker (
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
create table "pawl".queue (
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
create table "pawl".archive (
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

create index archive_id on "pawl".archive using brin (id int8_minmax_multi_ops) with (pages_per_range = 128, autosummarize = on);

-- Jobs out of attempts, poisonous or given up, kept apart to be looked at and retried.
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

create index dead_expires_at on "pawl".dead (expires_at);
insert into "pawl".migration (version, name) values (1, 'core');
-- What ties a job to others: its place in an ordered channel, a unique key, a reservation, jobs it waits for. Plain jobs pay
-- nothing for it: everything here hangs on job.tied. Why so: docs/decisions/0004.

alter table "pawl".job add column tied boolean not null default false;

-- Tickets of jobs that wait for something other than their time: for Commit (then expires_at is set), for the jobs before them in
-- an ordered channel, or for the jobs they depend on. A ticket leaves when nothing is left to wait for.
create table "pawl".parked (
  job_id     bigint  not null primary key,
  epoch      integer not null,
  queue      text    not null collate "C",
  expires_at timestamptz
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

create index parked_expires_at on "pawl".parked (expires_at) where expires_at is not null;

-- The lines of ordered channels, a row a live job. The head, the lowest pos, alone may have a ticket that is not parked.
create table "pawl".turn (
  queue   text   not null collate "C",
  channel text   not null collate "C",
  pos     bigint not null,
  job_id  bigint not null,
  primary key (queue, channel, pos)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

create unique index turn_job_id on "pawl".turn (job_id);

-- Ordered channels that stand still because their head died.
create table "pawl".halt (
  queue     text        not null collate "C",
  channel   text        not null collate "C",
  job_id    bigint      not null,
  halted_at timestamptz not null,
  primary key (queue, channel)
);

alter table "pawl".queue add column halt_on_dead boolean not null default false;

-- Unique keys. scope: the queue, or '' for all queues. A key is taken while its job lives (or until it starts), and in any case
-- until keep_until.
create table "pawl".hold (
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

create index hold_job_id on "pawl".hold (job_id);
create index hold_keep_until on "pawl".hold (keep_until) where not live;

-- Jobs that finished and were tied: what follows from it is done by settle, in a transaction of its own that waits for nobody.
create table "pawl".loose (
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
create table "pawl".wait (
  parent_id bigint  not null,
  child_id  bigint  not null,
  on_state  text    not null collate "C",             -- ok, any, not_ok: which end of the parent the child waits for
  hold      boolean not null,                         -- stay when that cannot come, until the dead parent is retried
  primary key (parent_id, child_id, on_state)
) with (
  autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

create index wait_child_id on "pawl".wait (child_id);
insert into "pawl".migration (version, name) values (2, 'ties');
-- Schedules: each tick of one becomes a job. The next tick is written down, so that it is taken exactly once, by whoever sees first that
-- it is due.
create table "pawl".cron (
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

create index cron_next_at on "pawl".cron (next_at) where not paused;
insert into "pawl".migration (version, name) values (3, 'cron');
-- Limits of queues and channels over the whole cluster: how many run at once, and how many start in a time.

alter table "pawl".queue
  add column max_running         integer,
  add column channel_max_running integer,
  add column rate                jsonb,               -- {n, per (seconds), burst}
  add column channel_rate        jsonb,
  add column weights             jsonb,               -- {channel: weight}
  add column limited             boolean not null generated always as (
    max_running is not null or channel_max_running is not null or rate is not null or channel_rate is not null) stored;

create index queue_limited on "pawl".queue (name) where limited;

-- Who runs in limited queues: a row a running job, from its claim until its handler has ended. A named limit has queue '' and its name
-- as the channel.
create table "pawl".permit (
  queue   text   not null collate "C",
  channel text   not null collate "C",
  job_id  bigint not null,
  lease   uuid   not null,
  primary key (queue, channel, job_id, lease)
) with (
  autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false
);

create index permit_job_id on "pawl".permit (job_id);

-- What is left of a rate: tokens at a moment; they grow with time, up to the burst.
create table "pawl".bucket (
  queue      text             not null collate "C",
  of_channel boolean          not null,
  channel    text             not null collate "C",
  tokens     double precision not null,
  at         timestamptz      not null,
  primary key (queue, of_channel, channel)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = false);
insert into "pawl".migration (version, name) values (4, 'limits');
-- Jobs inserted together, with jobs to follow when all or some of them have ended. Its jobs say so in opts; settle counts.
create table "pawl".batch (
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

create index batch_finished_at on "pawl".batch (finished_at) where finished_at is not null;
insert into "pawl".migration (version, name) values (5, 'batch');
-- What it takes to find, change and count jobs. Each index is partial, or on what plain jobs never touch: their inserts pay nothing.

create index job_fingerprint on "pawl".job (fingerprint, id) where fingerprint is not null;
create index job_unique_key on "pawl".job (unique_key, id) where unique_key is not null;
create index parked_queue on "pawl".parked (queue, expires_at);
create index dead_queue on "pawl".dead (queue, id);

-- They return more, and take more, than they did.
drop function if exists "pawl".beat(bigint, integer, bigint[], integer[]);
drop function if exists "pawl".register(text, text, integer, text, text[], interval);
insert into "pawl".migration (version, name) values (6, 'see');
set local check_function_bodies = off;
-- acquire: permits of named limits for a running job, all or none.
--   keys sorted     most   how many may have each
-- Returns whether it has them now. Waits for others at the same keys, whose transactions are as short as this one.
-- Index: permit's primary key.
-- Survives: two at once (the keys' locks are taken, sorted, in a statement before anything is counted).
create or replace function "pawl".acquire(keys text[], most integer, job bigint, lease uuid) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  taken boolean;
begin
  perform pg_advisory_xact_lock(hashtextextended('"pawl".limit  ' || k.key, 0))
  from (select u.key from unnest(acquire.keys) as u (key) order by u.key collate "C") k;
  select bool_or((select count(*) from "pawl".permit p where p.queue = '' and p.channel = u.key and p.job_id <> acquire.job) >= acquire.most)
  into taken
  from unnest(acquire.keys) as u (key);
  if taken then
    return false;
  end if;
  insert into "pawl".permit (queue, channel, job_id, lease)
  select '', u.key, acquire.job, acquire.lease from unnest(acquire.keys) as u (key)
  on conflict do nothing;
  return true;
end $$;

-- allot: what a claim may take of limited queues, given what it asks for.
--   limited   the queues among those asked that have limits; the rest as claim has it
-- Takes each queue's lock, so that claims of one limited queue go one after the other; a queue whose lock another has gives nothing.
-- Returns the quotas, and for each stretch that a limit cut short the seconds until it is worth asking again, else null.
-- Index: permit's, bucket's and ready's primary keys. Counts what runs, not what waits.
-- Survives: two claimers (the lock was taken in a statement before anything is counted, and is kept to the end of the claim).
create or replace function "pawl".allot(
  limited text[], queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], asked integer[]
) returns table (quotas integer[], waits double precision[])
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_variable
declare
  soon constant double precision := 0.05;
  name    text;
  policy  record;
  room    double precision;
  again   double precision; -- until the queue has room
  own     double precision; -- until the channel has
  left_in jsonb;            -- rooms of channels
  fits    double precision;
  there   integer;
begin
  quotas := asked;
  waits := array_fill(null::double precision, array[cardinality(quotas)]);
  foreach name in array limited loop
    if not pg_try_advisory_xact_lock(hashtextextended('"pawl".limit ' || name, 0)) then
      for i in 1 .. cardinality(quotas) loop
        if queues[i] = name then
          quotas[i] := 0; waits[i] := 0.002;
        end if;
      end loop;
      continue;
    end if;
    select q.max_running, q.channel_max_running, q.rate, q.channel_rate into policy from "pawl".queue q where q.name = name;
    room := 'infinity'; again := soon;
    if policy.max_running is not null then
      room := greatest(policy.max_running - (select count(*) from "pawl".permit p where p.queue = name), 0);
    end if;
    if policy.rate is not null then
      fits := "pawl".tokens(name, false, '', policy.rate);
      if fits < room then
        room := floor(fits + 1e-9);
        again := greatest((1 - (fits - floor(fits))) * (policy.rate ->> 'per')::double precision / (policy.rate ->> 'n')::double precision, 0.001);
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
              case when policy.channel_max_running is not null then
              greatest(policy.channel_max_running - (select count(*) from "pawl".permit p where p.queue = name and p.channel = channels[i]), 0)
            end,
              floor("pawl".tokens(name, true, channels[i], policy.channel_rate) + 1e-9),
              1e9)));
        end if;
        if (left_in -> channels[i] ->> 0)::double precision < fits then
          fits := (left_in -> channels[i] ->> 0)::double precision;
          own := case when policy.channel_rate is null then soon
                      else greatest((policy.channel_rate ->> 'per')::double precision / (policy.channel_rate ->> 'n')::double precision, 0.001) end;
        end if;
      end if;
      if fits < quotas[i] then
        waits[i] := own;
      end if;
      if fits > 0 then
        -- No more than is there, that one channel's share is not kept from the next.
        select count(*) into there
        from (
          select from "pawl".ready t
          where t.queue = name and t.priority = priorities[i] and t.channel = channels[i] and t.pos > marks[i] and t.pos <= untils[i]
          limit fits::integer
        ) r;
        if there < fits then
          waits[i] := null;
        end if;
        fits := there;
      end if;
      quotas[i] := fits;
      room := room - fits;
      if left_in ? channels[i] then
        left_in := left_in || jsonb_build_object(channels[i], jsonb_build_array((left_in -> channels[i] ->> 0)::double precision - fits));
      end if;
    end loop;
  end loop;
  return next;
end $$;

-- answered: the last of a SQL session's answer for a job: its permit comes back. Returns ok.
create or replace function "pawl".answered(id bigint, ok boolean) returns boolean language plpgsql as $$
begin
  if ok then
    perform "pawl".free(array_agg(p.job_id), array_agg(p.lease)) from "pawl".permit p where p.job_id = answered.id having count(*) > 0;
  end if;
  return ok;
end $$;

-- backoff: seconds to wait after the given attempt: base · growth^(n-1) · n^power, at most max, ± jitter.
-- Computed in logarithms, where no exponent overflows. An absent backoff is 1 s doubling to 1 h, ± 10 %.
create or replace function "pawl".backoff(backoff jsonb, attempt integer) returns double precision
language sql volatile parallel safe as $$
  select case when b.base <= 0 then 0
              else exp(greatest(-20, least(ln(b.base) + (n - 1) * ln(b.growth) + b.power * ln(n), ln(b.most))))
                   * (1 + b.jitter * (2 * random() - 1)) end
  from (select greatest(attempt, 1)::double precision) a (n),
       (select coalesce((backoff ->> 'base')::double precision, 1), coalesce((backoff ->> 'max')::double precision, 3600),
               coalesce((backoff ->> 'growth')::double precision, 2), coalesce((backoff ->> 'power')::double precision, 0),
               coalesce((backoff ->> 'jitter')::double precision, 0.1)) b (base, most, growth, power, jitter)
$$;

-- beat: a worker's heartbeat.
--   worker, running   its id and how many jobs it runs      ids, epochs   what it holds
-- Moves: the worker's seen_at. Returns what it is to be (ready, suspended, stopping) and the ids of jobs it lost singly; a null state if
-- the worker was taken for dead: all it held is lost.
-- Index: primary keys.
create or replace function "pawl".beat(worker bigint, running integer, ids bigint[], epochs integer[]) returns table (state text, missing bigint[])
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  update "pawl".worker w set seen_at = clock_timestamp(), running = beat.running where w.id = beat.worker and w.gone_at is null
  returning w.state into beat.state;
  if found then
    beat.missing := "pawl".missing(beat.ids, beat.epochs);
  end if;
  return next;
end $$;

-- change: give jobs that are not running another time, priority, args, data, headers or attempts.
--   ids      changes   {run_at or delay (seconds), priority, kind and args, data (base64), headers, max_attempts}; what is absent stays
-- Moves: the ticket out and a new one in, the epoch one up: a change of time or priority is a new place in line.
-- Returns id and what became of it: changed, running (left alone), ordered (has no priority), kind (the args
-- are another kind's); what is missing is not live.
-- Index: primary keys.
-- Survives: a claim at work (it has the ticket, or this has: the job row is locked before the ticket is taken).
create or replace function "pawl".change(ids bigint[], changes jsonb) returns table (id bigint, became text)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  due    timestamptz := coalesce((changes ->> 'run_at')::timestamptz, moment + (changes ->> 'delay')::double precision * interval '1 second');
  job    record;
  was    record;
  one    bigint;
  place  bigint;
  woken  text[] := '{}';
begin
  perform pg_current_xact_id();
  for one in select u.id from unnest(change.ids) as u (id) group by u.id order by u.id loop
    select j.id, j.epoch, j.queue, j.channel, j.priority, j.strikes, j.pos, j.run_at, j.kind, j.opts ? 'ordered' as ordered into job
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
    delete from "pawl".parked p where p.job_id = one and p.epoch = job.epoch returning p.expires_at into was;
    if found then
      update "pawl".job j
      set epoch = j.epoch + 1, run_at = coalesce(due, j.run_at), priority = coalesce((changes ->> 'priority')::smallint, j.priority)
      where j.id = one;
      insert into "pawl".parked (job_id, epoch, queue, expires_at) values (one, job.epoch + 1, job.queue, was.expires_at);
    else
      delete from "pawl".scheduled s where s.queue = job.queue and s.run_at = job.run_at and s.job_id = one;
      if not found then
        delete from "pawl".ready t
        where t.queue = job.queue and t.priority = any (array[job.priority, -32768, -32769]) and t.channel = job.channel
          and t.pos = coalesce(job.pos, one);
      end if;
      if not found then
        id := one; became := 'running';
        return next;
        continue;
      end if;
      place := nextval('"pawl".pos');
      update "pawl".job j
      set epoch = j.epoch + 1, run_at = coalesce(due, j.run_at), priority = coalesce((changes ->> 'priority')::smallint, j.priority), pos = place
      where j.id = one
      returning j.epoch, j.priority, j.run_at into was;
      if was.run_at > moment then
        insert into "pawl".scheduled (run_at, job_id, epoch, queue) values (was.run_at, one, was.epoch, job.queue);
      else
        insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
        values (place, one, was.epoch, "pawl".lane(was.priority, job.strikes, false), job.queue, job.channel);
      end if;
      woken := woken || job.queue;
    end if;
    if changes ?| array['args', 'data', 'headers', 'max_attempts'] then
      update "pawl".job j
      set args = case when changes ? 'args' then nullif(changes -> 'args', 'null') else j.args end,
          data = case when changes ? 'data' then decode(changes ->> 'data', 'base64') else j.data end,
          opts = case when changes ? 'headers' then coalesce(j.opts, '{}') || jsonb_build_object('headers', changes -> 'headers') else j.opts end,
          max_attempts = coalesce((changes ->> 'max_attempts')::smallint, j.max_attempts)
      where j.id = one;
    end if;
    id := one; became := 'changed';
    return next;
  end loop;
  perform "pawl".wake(woken);
end $$;

-- channel_class: with channel_object the advisory lock of an ordered channel. A queue's channels are folded to 1,024 locks: 20,000
-- in one transaction ran out of shared memory.
create or replace function "pawl".channel_class(queue text) returns integer language sql immutable parallel safe as $$
  select hashtext('"pawl".channel ' || coalesce(queue, 'default'))
$$;

-- channel_object: see channel_class.
create or replace function "pawl".channel_object(channel text) returns integer language sql immutable parallel safe as $$
  select hashtext(coalesce(channel, '')) & 1023
$$;

-- channel_stats: as stats, by the channels of one queue.
--   most   jobs of a state that are looked at; where there are more, their channels stand for all and the figures are estimated. Of ready
--          ones the first `most` lanes are looked at, and of each lane at most `most` jobs.
-- Moves nothing. Index: as stats; job's primary key, a descent a job looked at.
create or replace function "pawl".channel_stats(name text, most integer) returns table (
  channel text, reserved bigint, scheduled bigint, ready bigint, running bigint, dead bigint, estimated boolean,
  oldest_ready double precision, lag double precision
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  lanes  jsonb := '[]'; -- [{channel, n, since}]
  looked bigint := 0;
  guess  boolean := false;
  lane   record;
  n      bigint;
  whole  bigint;
  times  double precision[] := '{1,1,1,1}'; -- By how much a sample is multiplied: reserved, scheduled, running, dead.
begin
  select t.priority, t.channel, t.pos, t.job_id into lane
  from "pawl".ready t where t.queue = channel_stats.name order by t.priority, t.channel, t.pos limit 1;
  while found loop
    if looked >= 10 * most or jsonb_array_length(lanes) >= most then
      guess := true;
      exit;
    end if;
    select count(*) into n
    from (select from "pawl".ready t where t.queue = channel_stats.name and t.priority = lane.priority and t.channel = lane.channel limit most + 1) x;
    looked := looked + n;
    guess := guess or n > most;
    lanes := lanes || jsonb_build_object('channel', lane.channel, 'n', n,
      'since', (select coalesce(j.run_at, j.created_at) from "pawl".job j where j.id = lane.job_id));
    select t.priority, t.channel, t.pos, t.job_id into lane
    from "pawl".ready t
    where t.queue = channel_stats.name and (t.priority, t.channel) > (lane.priority, lane.channel)
    order by t.priority, t.channel, t.pos limit 1;
  end loop;
  if guess then
    -- What the lanes do not account for is in the ones that have more than was counted.
    whole := "pawl".planned(format('select from "pawl".ready t where t.queue = %L', name));
    select count(*) into n from jsonb_to_recordset(lanes) as l (n bigint) where l.n > most;
    if n > 0 and whole > looked then
      lanes := (select jsonb_agg(case when (l ->> 'n')::bigint > most then l || jsonb_build_object('n', (l ->> 'n')::bigint + (whole - looked) / n) else l end)
                from jsonb_array_elements(lanes) l);
    end if;
  end if;

  select count(*) into n from (select from "pawl".parked p where p.queue = channel_stats.name and p.expires_at is not null limit most + 1) x;
  if n > most then
    times[1] := greatest("pawl".planned(format('select from "pawl".parked t where t.queue = %L and t.expires_at is not null', name)), n)::double precision / most;
  end if;
  select count(*) into n from (select from "pawl".scheduled s where s.queue = channel_stats.name limit most + 1) x;
  if n > most then
    times[2] := greatest("pawl".planned(format('select from "pawl".scheduled t where t.queue = %L', name)), n)::double precision / most;
  end if;
  select coalesce(sum(cardinality(l.jobs)), 0) into n from "pawl".lease l;
  if n > 10 * most then
    times[3] := n::double precision / (10 * most);
  end if;
  select count(*) into n from (select from "pawl".dead d where d.queue = channel_stats.name limit most + 1) x;
  if n > most then
    times[4] := greatest("pawl".planned(format('select from "pawl".dead t where t.queue = %L', name)), n)::double precision / most;
  end if;
  guess := guess or 1 < any (times);

  return query
  with found as (
    select j.channel, 1 as kind, times[1] as n, null::timestamptz as ready, null::timestamptz as due
    from (select p.job_id from "pawl".parked p where p.queue = channel_stats.name and p.expires_at is not null limit most) p,
         lateral (select j.channel from "pawl".job j where j.id = p.job_id) j
    union all
    select j.channel, 2, times[2], null, s.run_at
    from (select s.job_id, s.run_at from "pawl".scheduled s where s.queue = channel_stats.name order by s.run_at limit most) s,
         lateral (select j.channel from "pawl".job j where j.id = s.job_id) j
    union all
    select l.channel, 3, l.n, l.since, l.since from jsonb_to_recordset(lanes) as l (channel text, n bigint, since timestamptz)
    union all
    select j.channel, 4, times[3], null, null
    from (select u.id, u.epoch from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch) limit 10 * most) u,
         lateral (select j.channel from "pawl".job j where j.id = u.id and j.epoch = u.epoch and j.queue = channel_stats.name) j
    union all
    select d.channel, 5, times[4], null, null
    from (select d.channel from "pawl".dead d where d.queue = channel_stats.name limit most) d
  )
  select f.channel,
         coalesce(sum(f.n) filter (where f.kind = 1), 0)::bigint, coalesce(sum(f.n) filter (where f.kind = 2), 0)::bigint,
         coalesce(sum(f.n) filter (where f.kind = 3), 0)::bigint, coalesce(sum(f.n) filter (where f.kind = 4), 0)::bigint,
         coalesce(sum(f.n) filter (where f.kind = 5), 0)::bigint, guess,
         greatest(extract(epoch from moment - min(f.ready)), 0)::double precision, greatest(extract(epoch from moment - min(f.due)), 0)::double precision
  from found f
  group by f.channel
  order by f.channel collate "C";
end $$;

-- checkpoint: keep what a running job's attempt has reached, for the next one and for others to see.
--   changes   {args, data (base64), value, step, result, percent, message, attempts}: what is absent stays; a null clears args, data
--             and value; attempts are added; a step's result is kept under its name
-- Moves: nothing; the job row changes, its epoch stays. Returns whether it is ours.
-- Index: job's primary key.
-- Survives: rescue (the epoch is compared where the row is locked).
create or replace function "pawl".checkpoint(id bigint, epoch integer, changes jsonb) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  update "pawl".job j
  set args = case when changes ? 'args' then nullif(changes -> 'args', 'null') else j.args end,
      data = case when changes ? 'data' then decode(changes ->> 'data', 'base64') else j.data end,
      checkpoint = nullif(
        case when changes -> 'value' = 'null' then coalesce(j.checkpoint, '{}') - 'value' else coalesce(j.checkpoint, '{}') end
        || case when changes ? 'value' and changes -> 'value' <> 'null' then jsonb_build_object('value', changes -> 'value') else '{}' end
        || case when changes ? 'step'
                then jsonb_build_object('steps', coalesce(j.checkpoint -> 'steps', '{}') || jsonb_build_object(changes ->> 'step', changes -> 'result'))
                else '{}' end
        || case when changes ? 'percent' then jsonb_build_object('percent', changes -> 'percent', 'message', changes -> 'message') else '{}' end,
        '{}'),
      max_attempts = case when changes ? 'attempts'
                          then least(coalesce(j.max_attempts, (select q.max_attempts from "pawl".queue q where q.name = j.queue), 20)
                                     + (changes ->> 'attempts')::integer, 32767)
                          else j.max_attempts end
  where j.id = checkpoint.id and j.epoch = checkpoint.epoch;
  return found;
end $$;

-- claim: take up to `most` jobs from the given lanes, in the lanes' order, into one new lease.
--   lease    chosen by the claimer, so that it can ask about an answer that was lost
--   worker   its id; null for a consumer, whose lease lasts `lasting`, if null the queue's, else 30 s
--   queues, priorities, channels, marks, untils, quotas   stretches of lanes: take tickets above the mark and up to until, at most
--            the quota
-- Moves: tickets out of ready, one lease row in; frees unique keys held until the start. Returns a row a ticket taken, `found` false where it had no job, so that
-- "nothing came of it" is not mistaken for "nothing there"; a lease was made if any row has a job. And a row without a position a
-- stretch that a limit cut short, with the milliseconds until it is worth asking again in place of the id.
-- Index: ready's primary key, from each mark; job's primary key.
-- Survives: two claimers (skip locked); a verb at work on a job holds its ticket, so no job is joined at an old epoch;
-- a worker taken for dead meanwhile claims nothing; a paused queue gives nothing; a limited one what its limits leave.
create or replace function "pawl".claim(
  lease uuid, worker bigint, lasting interval, most integer,
  queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[]
) returns table (
  queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb, data bytea,
  priority smallint, attempt smallint, max_attempts smallint, strikes smallint, tied boolean, permit boolean, created_at timestamptz, run_at timestamptz,
  fingerprint text, unique_key text, opts jsonb, errors jsonb, checkpoint jsonb, now timestamptz
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  limited text[] := array(select q.name from "pawl".queue q where q.limited and q.name = any (claim.queues) order by q.name);
  allowed integer[] := claim.quotas;
  waits   double precision[];
begin
  if cardinality(limited) > 0 then
    select a.quotas, a.waits into allowed, waits
    from "pawl".allot(limited, claim.queues, claim.priorities, claim.channels, claim.marks, claim.untils, claim.quotas) a;
    -- A stretch that a limit cut short is not empty: it says so, in a row without a position.
    return query
    select u.queue, u.priority, u.channel, null::bigint, (u.wait * 1000)::bigint, false, null::integer, null::text, null::jsonb,
           null::bytea, null::smallint, null::smallint, null::smallint, null::smallint, null::boolean, null::boolean,
           null::timestamptz, null::timestamptz, null::text, null::text, null::jsonb, null::jsonb, null::jsonb, clock_timestamp()
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
           where t.queue = u.queue and t.priority = u.priority and t.channel = u.channel and t.pos > u.mark and t.pos <= u.until
           order by t.pos
           limit u.quota
           for update skip locked
         ) r
    where not exists (select from "pawl".queue q where q.name = u.queue and q.paused)
      and (claim.worker is null or exists (select from "pawl".worker w where w.id = claim.worker and w.gone_at is null))
    limit claim.most
  ),
  ticket as (
    delete from "pawl".ready t
    where t.ctid = any (array(select ctid from taken))
    returning t.queue, t.priority, t.channel, t.pos, t.job_id, t.epoch
  ),
  held as materialized (
    select t.queue, t.priority as lane, t.channel, t.pos, t.job_id, t.epoch, j.id, j.kind, j.args, j.data,
           j.priority, j.attempt, q.lease as lasting, coalesce(j.max_attempts, q.max_attempts, 20::smallint) as max_attempts, j.strikes, j.tied,
           q.max_running is not null or q.channel_max_running is not null as permit,
           j.created_at, j.run_at, j.fingerprint, j.unique_key, j.opts, j.errors, j.checkpoint
    from ticket t
    left join "pawl".job j on j.id = t.job_id and j.epoch = t.epoch
    left join "pawl".queue q on q.name = t.queue
  ),
  leased as (
    insert into "pawl".lease (id, worker_id, expires_at, jobs, epochs)
    select claim.lease, claim.worker,
           case when claim.worker is null then clock_timestamp() + coalesce(claim.lasting, max(h.lasting), '30 seconds') end,
           array_agg(h.id), array_agg(h.epoch)
    from held h
    where h.id is not null
    having count(*) > 0
  ),
  freed as (
    delete from "pawl".hold k
    using held h
    where h.tied and k.job_id = any (array[h.id]) and k.until_start and (k.keep_until is null or k.keep_until <= clock_timestamp())
  ),
  started as (
    update "pawl".hold k
    set live = false
    from held h
    where h.tied and k.job_id = any (array[h.id]) and k.until_start and k.keep_until > clock_timestamp()
  )
  select h.queue, h.lane, h.channel, h.pos, h.job_id, h.id is not null, h.epoch, h.kind, h.args, h.data,
         h.priority, h.attempt, h.max_attempts, h.strikes, h.tied, h.permit, h.created_at, h.run_at,
         h.fingerprint, h.unique_key, h.opts, h.errors, h.checkpoint, clock_timestamp()
  from held h;
  if cardinality(limited) > 0 then
    perform "pawl".spend(limited, claim.lease);
  end if;
end $$;

-- commit: the second phase of a reservation: the jobs may run.
-- All or none: an id that is not reserved any more (it expired, was committed or never was) is an error, SQLSTATE PW001.
-- Moves: parked tickets lose their expiry, and are issued if nothing else is waited for.
-- Survives: the expiry at work (the job row is locked; afterwards it is gone, an error).
create or replace function "pawl".commit(ids bigint[]) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  one bigint;
begin
  perform pg_current_xact_id();
  for one in select u.id from unnest(ids) as u (id) group by u.id order by u.id loop
    perform from "pawl".job j where j.id = one for update;
    update "pawl".parked p set expires_at = null where p.job_id = one and p.expires_at > clock_timestamp();
    if not found then
      raise exception 'pawl: job % is not reserved: its reservation expired, or it was committed before', one using errcode = 'PW001';
    end if;
    perform "pawl".issue(one);
  end loop;
end $$;

-- complete: finish jobs whose handler succeeded.
--   ids, epochs        what is held
--   waited, ran        milliseconds; results: json or null
--   worker             name of who ran them
--   keep               archive them even where the queue's retention is zero
--   leases             leases that end with these jobs, if every one of them is finished here
-- Moves: job rows into archive (or nowhere); ties are loosened. Returns the ids finished; what is missing is locked by somebody or not ours.
-- Index: job's primary key.
-- Survives: completion after rescue (the epoch is compared where the row is locked); a stranger's lock (skipped, the
-- caller tries that job alone, without `skip`); deadlock of two completions (rows are locked in id order).
create or replace function "pawl".complete(
  ids bigint[], epochs integer[], waited bigint[], ran bigint[], results text[], worker text, keep boolean, leases uuid[]
) returns setof bigint language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  done bigint[];
  ties jsonb;
begin
  with pair as materialized (
    select u.id, u.epoch, u.waited, u.ran, u.result
    from unnest(complete.ids, complete.epochs, complete.waited, complete.ran, complete.results) as u (id, epoch, waited, ran, result)
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
    returning j.id, j.epoch, j.created_at, j.run_at, j.priority, j.attempt, j.max_attempts, j.queue, j.channel, j.kind, j.args,
              j.data, j.fingerprint, j.unique_key, j.opts, j.errors, j.checkpoint, j.tied
  ),
  kept as (
    insert into "pawl".archive (id, epoch, finished_at, expires_at, created_at, run_at, waited_ms, ran_ms, priority, attempt,
                              max_attempts, state, queue, channel, kind, worker, args, data, fingerprint, unique_key, opts,
                              errors, checkpoint, result)
    select g.id, g.epoch, t.now, t.now + t.retain, g.created_at, g.run_at, u.waited, u.ran, g.priority, g.attempt + 1,
           g.max_attempts, 'completed', g.queue, g.channel, g.kind, complete.worker, g.args, g.data, g.fingerprint, g.unique_key,
           g.opts, g.errors, g.checkpoint, u.result::jsonb
    from gone g
    join pair u on u.id = g.id
    left join "pawl".queue q on q.name = g.queue,
    lateral (select clock_timestamp() as now,
                    case when complete.keep and q.retain_completed <= '0' then interval '1 day'
                         else coalesce(q.retain_completed, interval '1 day') end as retain) t
    where t.retain > '0'
  ),
  ended as (
    delete from "pawl".lease l
    where l.id = any (complete.leases) and (select count(*) from gone) = cardinality(complete.ids)
  )
  select array_agg(g.id), jsonb_agg("pawl".tie(g.id, g.queue, g.channel, g.opts)) filter (where g.tied)
  into done, ties
  from gone g;
  if ties is not null then
    perform "pawl".loosen(ties, 'completed');
  end if;
  return query select unnest(done);
end $$;

-- count: how many jobs meet a filter, exactly, of those with ids below the given one (null: all), and no more than `most` (null: all).
-- Moves nothing. Reads all it counts, and whole tables where no index helps: not for a hot path, see stats.
create or replace function "pawl".count(filter jsonb, below bigint, most bigint) returns bigint
language plpgsql stable as $$
declare
  query text;
  total bigint;
begin
  select string_agg(format('select from "pawl".%I t where %s and ($1 is null or t.id < $1)', u.source, c.condition), ' union all ') into query
  from unnest(array['job', 'dead', 'archive']) as u (source), lateral (select "pawl".filter(count.filter, u.source) as condition) c
  where c.condition is not null;
  if query is null then
    return 0;
  end if;
  execute 'select count(*) from (' || query || ' limit $2) found' into total using below, most;
  return total;
end $$;

-- count_batch: note the end of one of a batch's jobs (or, with `by` -1, that it lives again), and insert the jobs that follow.
-- False: the batch is locked by somebody, ask again.
-- Survives: two ends at once (the row is locked before it is counted); a job that is retried and ends again (what follows is
-- inserted once, then forgotten).
create or replace function "pawl".count_batch(batch bigint, became text, by integer) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  now    record;
  follow jsonb := '[]';
begin
  perform from "pawl".batch b where b.id = count_batch.batch for update skip locked;
  if not found then
    perform from "pawl".batch b where b.id = count_batch.batch;
    return not found; -- Past its retention.
  end if;
  update "pawl".batch b
  set completed = b.completed + case when became = 'completed' then by else 0 end,
      cancelled = b.cancelled + case when became in ('cancelled', 'deleted') then by else 0 end,
      dead = b.dead + case when became = 'dead' then by else 0 end
  where b.id = count_batch.batch
  returning b.total, b.completed, b.cancelled, b.dead, b.on_finish, b.on_success, b.on_death into now;
  if now.dead > 0 and now.on_death is not null then
    follow := follow || now.on_death;
  end if;
  if now.completed + now.cancelled + now.dead >= now.total then
    follow := follow || coalesce(now.on_finish, '[]');
    if now.completed >= now.total then
      follow := follow || coalesce(now.on_success, '[]');
    end if;
  end if;
  update "pawl".batch b
  set on_death = case when now.dead > 0 then null else b.on_death end,
      on_finish = case when now.completed + now.cancelled + now.dead >= now.total then null else b.on_finish end,
      on_success = case when now.completed >= now.total then null else b.on_success end,
      finished_at = case when now.completed + now.cancelled + now.dead >= now.total then clock_timestamp() end
  where b.id = count_batch.batch;
  if follow <> '[]' then
    perform "pawl".insert_tied(follow);
  end if;
  return true;
end $$;

-- delete_queue: forget what was said of a queue: its policy, its pause, its halted channels. Returns deleted; used: it has live jobs, or a
-- worker that lives and named it; unknown: nothing was said of it.
-- Survives: an insert at work is nothing to it: the queue is then used without a policy.
create or replace function "pawl".delete_queue(name text) returns text language plpgsql as $$
#variable_conflict use_column
begin
  perform from "pawl".queue q where q.name = delete_queue.name for update;
  if exists (select from "pawl".queues() as u (queue) where u.queue = delete_queue.name)
     or exists (select from "pawl".worker w where w.gone_at is null and delete_queue.name = any (w.queues)) then
    return 'used';
  end if;
  delete from "pawl".halt h where h.queue = delete_queue.name;
  delete from "pawl".queue q where q.name = delete_queue.name;
  return case when found then 'deleted' else 'unknown' end;
end $$;

-- cancel: finish jobs as cancelled, whatever they are doing; how many. A running handler hears of it with its worker's next heartbeat.
create or replace function "pawl".cancel(variadic ids bigint[]) returns bigint language sql as $$
  select count(*) from "pawl".remove(cancel.ids, array_fill(null::integer, array[cardinality(cancel.ids)]), true)
$$;

-- claim: take up to n jobs of a queue, by SQL, for as long as `lasting`; then they come again. Does what a session that works alone needs:
-- makes due jobs ready, rescues what others left, settles what followed from ends.
-- id and epoch are what the answer is given with: complete, fail, release, extend. The most urgent comes first.
-- Rescues only where there is something to rescue: who does holds off every other rescuer until this transaction ends.
create or replace function "pawl".claim(queue text, n integer default 1, lasting interval default null)
returns table (id bigint, epoch integer, kind text, args jsonb, data bytea, channel text, priority smallint, attempt integer, max_attempts smallint,
               headers jsonb, checkpoint jsonb, lease uuid)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  chosen constant uuid := gen_random_uuid();
  lanes  record;
begin
  if coalesce(claim.queue, '') = '' or coalesce(n, 0) < 1 or lasting <= '0' then
    raise exception 'pawl: claim of % of queue %: want a queue, n above 0, and a positive time or none', coalesce(n::text, 'null'), coalesce(claim.queue, 'null')
      using errcode = '22023';
  end if;
  perform pg_current_xact_id();
  perform from "pawl".lease l where l.expires_at < clock_timestamp() limit 1;
  if not found then
    perform from "pawl".worker w
    where w.gone_at is null and clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after limit 1;
  end if;
  if found then
    perform "pawl".rescue(100, true, false);
  end if;
  perform "pawl".expire(100);
  perform "pawl".reclaim();
  perform "pawl".settle(100);
  perform "pawl".promote(array[claim.queue], array['-infinity'::timestamptz], greatest(n, 1));
  select array_agg(claim.queue) as queues, array_agg(l.priority) as priorities, array_agg(l.channel) as channels,
         array_agg(0::bigint) as marks, array_agg(9223372036854775807) as untils,
         array_agg(case when l.priority = -32769 then least(1, n) else n end) as quotas
  into lanes
  from (
    select l.priority, l.channel
    from (
      select l.priority, l.channel, bool_or(l.priority = -32769) over () as suspect
      from "pawl".lanes(array[claim.queue], array[-2147483648], array[''], array[claim.queue], array[2147483647], array[''], array[claim.queue], false) l
    ) l
    where l.suspect = (l.priority = -32769) -- A suspect comes alone: if its session ends, it is known by whom.
    order by l.priority, random()
    limit 256
  ) l;
  if lanes.queues is null then
    return;
  end if;
  return query
  select c.id, c.epoch, c.kind, c.args, c.data, c.channel, c.priority, c.attempt + 1, c.max_attempts, c.opts -> 'headers', c.checkpoint -> 'value', chosen
  from "pawl".claim(chosen, null, claim.lasting, n, lanes.queues, lanes.priorities, lanes.channels, lanes.marks, lanes.untils, lanes.quotas) c
  where c.found
  order by c.lane, c.pos;
end $$;

-- complete: a claimed job succeeded. False: it is not held by this claim any more; roll back what it did.
create or replace function "pawl".complete(id bigint, epoch integer, result jsonb default null) returns boolean
language plpgsql as $$
begin
  perform "pawl".hold(array[complete.id], array[complete.epoch]);
  perform from "pawl".complete(array[complete.id], array[complete.epoch], array[null::bigint], array[null::bigint], array[complete.result::text], null, false, '{}');
  return "pawl".answered(complete.id, found);
end $$;

-- extend: keep a claimed job until now + lasting; never shortens. lease: as claim gave it, also when it was extended before. False:
-- not held any more.
-- A job that was claimed with others gets a lease of its own, whose id follows from the job: so it is found by the next extension.
create or replace function "pawl".extend(id bigint, epoch integer, lease uuid, lasting interval) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  own constant uuid := md5(concat_ws(' ', extend.lease, extend.id, extend.epoch))::uuid;
begin
  if lasting is null or lasting <= '0' then
    raise exception 'pawl: extend by %: want a positive time; to give a job back say release', coalesce(lasting::text, 'null') using errcode = '22023';
  end if;
  perform from "pawl".lease l where l.id = extend.lease for update;
  perform from "pawl".lease l where l.id = own;
  perform from "pawl".extend(array[extend.id], array[extend.epoch], array[case when found then own else extend.lease end], own, extend.lasting);
  return found;
end $$;

-- fail: a claimed job's attempt failed; it comes again after `delay` seconds, if null by its backoff, until its attempts are used up.
-- outcome: retry, or snooze (no attempt used), release (given back, no attempt used), cancel, dead whatever attempts are left. Returns what became of the job (ready, scheduled, cancelled, dead), null if
-- it is not held by this claim any more.
create or replace function "pawl".fail(id bigint, epoch integer, error text, delay double precision default null, outcome text default 'retry') returns text
language plpgsql as $$
declare
  what text;
begin
  if outcome is null or outcome <> all ('{retry,cancel,dead,snooze,release}') then
    raise exception 'pawl: there is no outcome %; want retry, cancel, dead, snooze or release', outcome using errcode = '22023';
  end if;
  perform "pawl".hold(array[fail.id], array[fail.epoch]);
  select f.became into what
  from "pawl".fail(array[fail.id], array[fail.epoch], array[fail.outcome], array[case when fail.outcome in ('retry', 'snooze', 'release') then fail.delay end], array[null::text],
                 array[case when fail.error is not null then jsonb_build_object('error', fail.error)::text end],
                 array[null::bigint], array[null::bigint], null) f;
  perform "pawl".answered(fail.id, what is not null);
  return what;
end $$;

-- insert: a job, by SQL.
--   kind   args (JSON or null)
--   opts   {queue, channel, priority, delay (seconds), run_at, max_attempts, fingerprint, headers {}, backoff {base, max, growth, power,
--          jitter: seconds}, data (base64), ordered, unique {key, period, global, until_start, replace, reschedule}, reserve (seconds),
--          after: [{id, on: ok | any | not_ok, hold}]}
-- Refuses, with SQLSTATE 22023, what it does not know and what a claim could not read: see wrong.
-- Returns the id; with a unique key that is taken, that of the job that has it.
-- Runs in the caller's transaction: in a trigger, the job is there if the row is.
create or replace function "pawl".insert(kind text, args jsonb default null, opts jsonb default '{}') returns bigint
language sql as $$
  select r.id from "pawl".insert_many(jsonb_build_array(jsonb_build_object('kind', kind, 'args', args, 'opts', opts))) r
$$;

-- insert_many: jobs by SQL, all or none: a JSON array of {kind, args, opts} as insert has them. Returns a row a job, in order.
create or replace function "pawl".insert_many(jobs jsonb) returns table (id bigint, duplicate boolean)
language plpgsql set plan_cache_mode = force_generic_plan as $$
#variable_conflict use_column
declare
  wrong record;
begin
  if jsonb_typeof(jobs) is distinct from 'array' then
    raise exception 'pawl: insert_many wants a JSON array of {kind, args, opts}' using errcode = '22023';
  end if;
  select s.ord - 1 as index, s.value ->> 'kind' as kind, w.reason into wrong
  from jsonb_array_elements(jobs) with ordinality as s (value, ord), lateral (select "pawl".wrong(s.value) as reason) w
  where w.reason is not null
  order by s.ord
  limit 1;
  if found then
    raise exception 'pawl: job % (kind %): %', wrong.index, coalesce(left(wrong.kind, 64), 'null'), wrong.reason using errcode = '22023';
  end if;
  return query
  select r.id, r.duplicate
  from "pawl".insert_tied((
    select coalesce(jsonb_agg(
      jsonb_strip_nulls(jsonb_build_object(
        'queue', coalesce(o.opts ->> 'queue', 'default'), 'channel', coalesce(o.opts ->> 'channel', ''), 'priority', o.opts -> 'priority',
        'kind', s.value -> 'kind', 'data', o.opts -> 'data', 'delay', o.opts -> 'delay', 'run_at', o.opts -> 'run_at',
        'attempts', o.opts -> 'max_attempts', 'fingerprint', o.opts -> 'fingerprint', 'ordered', o.opts -> 'ordered',
        'key', o.opts -> 'unique' -> 'key', 'period', o.opts -> 'unique' -> 'period', 'replace', o.opts -> 'unique' -> 'replace',
        'reschedule', o.opts -> 'unique' -> 'reschedule', 'reserve', o.opts -> 'reserve', 'after', o.opts -> 'after',
        'opts', nullif(jsonb_strip_nulls(jsonb_build_object(
          'headers', o.opts -> 'headers',
          'backoff', '{"base": 1, "max": 3600, "growth": 2, "power": 0, "jitter": 0.1}' || (o.opts -> 'backoff'), 'ordered', nullif(o.opts -> 'ordered', 'false'),
          'global', nullif(o.opts -> 'unique' -> 'global', 'false'), 'until_start', nullif(o.opts -> 'unique' -> 'until_start', 'false'))), '{}')))
      || case when coalesce(s.value -> 'args', 'null') <> 'null' then jsonb_build_object('args', s.value -> 'args') else '{}' end
      order by s.ord), '[]')
    from jsonb_array_elements(jobs) with ordinality as s (value, ord),
         lateral (select coalesce(nullif(s.value -> 'opts', 'null'), '{}') as opts) o
  )) r;
end $$;

-- release: give a claimed job back, to run again after `delay` seconds (0: at once, and next), no attempt used. False: not held any more.
create or replace function "pawl".release(id bigint, epoch integer, delay double precision default 0) returns boolean language sql as $$
  select "pawl".fail(release.id, release.epoch, null, release.delay, 'release') is not null
$$;

-- due_cron: seconds until the next tick of any schedule, negative if it is due; null if none is waited for. Moves nothing.
--   names, specs, zones   schedules to leave out, as long as they read like this
-- Index: the head of cron_next_at.
create or replace function "pawl".due_cron(names text[], specs text[], zones text[]) returns double precision
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
begin
  return (
    select extract(epoch from c.next_at - clock_timestamp())::double precision
    from "pawl".cron c
    where not c.paused
      and not exists (select from unnest(due_cron.names, due_cron.specs, due_cron.zones) as u (name, spec, zone)
                      where u.name = c.name and u.spec = c.spec and u.zone = c.zone)
    order by c.next_at
    limit 1
  );
end $$;

-- expire: take away reservations whose time has passed, at most `most`, and unique keys kept beyond their jobs. Returns how many
-- jobs went.
create or replace function "pawl".expire(most integer) returns bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  past   bigint[];
  gone   bigint;
begin
  delete from "pawl".hold h
  where h.ctid = any (array(select k.ctid from "pawl".hold k where not k.live and k.keep_until < moment limit most for update skip locked));
  past := array(
    select j.id
    from (select p.job_id from "pawl".parked p where p.expires_at < moment order by p.expires_at limit most) p,
         lateral (select j.id from "pawl".job j where j.id = p.job_id for update skip locked) j
  );
  if cardinality(past) = 0 then
    return 0;
  end if;
  -- Once more, under the lock: it may have been committed or kept.
  past := array(select u.id from unnest(past) as u (id) where exists (select from "pawl".parked p where p.job_id = u.id and p.expires_at < moment));
  select count(*) into gone from "pawl".remove(past, array_fill(null::integer, array[cardinality(past)]), false);
  return gone;
end $$;

-- extend: let held jobs keep their lease until now + lasting; never shortens.
--   ids, epochs, leases   what is held and by which lease
--   split                 id for the lease of the extended jobs, where they are only a part of theirs
-- Moves: nothing; a consumer's lease gets a later expiry, or its extended jobs go into a lease of their own, and their permits with them.
-- A worker's lease has no expiry and stays as it is. Returns id and lease of the jobs that are ours; the others are lost.
-- Index: lease's primary key, job's primary key.
-- Survives: rescue at work (it holds the lease row; afterwards no epoch matches); two extensions (the lease row is locked).
create or replace function "pawl".extend(ids bigint[], epochs integer[], leases uuid[], split uuid, lasting interval)
returns table (id bigint, lease uuid)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  until timestamptz := clock_timestamp() + lasting;
begin
  perform l.id from "pawl".lease l where l.id = any (extend.leases) order by l.id for update;
  return query
  with pair as materialized (
    select u.id, u.epoch, u.lease
    from unnest(extend.ids, extend.epochs, extend.leases) as u (id, epoch, lease)
    join "pawl".job j on j.id = any (array[u.id]) and j.epoch = u.epoch
    join "pawl".lease l on l.id = u.lease
  ),
  part as materialized (
    -- A lease all of whose live jobs are meant moves its own expiry; of another the meant ones are split off.
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

-- fail: finish jobs with any outcome but success.
--   ids, epochs   what is held
--   outcomes      retry: a failed attempt   snooze: later, no attempt used   release: given back, no attempt used
--                 cancel: over, cancelled   dead, unprocessable: over, dead, whatever attempts are left
--   delays        seconds until it may run again; null: by the backoff of the job, else of `backoffs`, else of the queue
--   backoffs      the kind's {base, max, growth, power, jitter} (seconds) or null
--   errors        {error, stack} to be kept with the job, or null
--   waited, ran   milliseconds
--   worker        name of who ran them
-- Moves: the job row changed, its epoch one up, and a ticket in scheduled or ready; or the job row into archive or dead.
-- Returns id and what became of it: ready, scheduled, cancelled, dead; what is missing is locked by somebody or not ours.
-- Index: job's primary key.
-- Survives: as complete. A position is drawn after the row lock, which gave this transaction its number: the safe mark's need.
create or replace function "pawl".fail(
  ids bigint[], epochs integer[], outcomes text[], delays double precision[], backoffs text[], errors text[],
  waited bigint[], ran bigint[], worker text
) returns table (id bigint, became text) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off as $$
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
           case when u.outcome in ('retry', 'snooze') then 0 else j.strikes end as strikes,
           case when u.outcome = 'cancel' then 'cancelled'
                when u.outcome in ('dead', 'unprocessable')
                  or u.outcome = 'retry' and a.attempt >= coalesce(j.max_attempts, q.max_attempts, 20) then 'dead'
                when coalesce(u.delay, d.seconds) > 0 then 'scheduled'
                else 'ready' end as became,
           clock_timestamp() + coalesce(u.delay, d.seconds) * interval '1 second' as run_at,
           case when u.error is null then j.errors
                else case when jsonb_array_length(j.errors) >= 10 then j.errors - 0 else coalesce(j.errors, '[]') end
                     || (jsonb_build_object('attempt', a.attempt, 'at', clock_timestamp(), 'worker', fail.worker) || u.error)
                end as errors
    from pair u
    cross join lateral (select j.* from "pawl".job j where j.id = u.id and j.epoch = u.epoch for update skip locked) j
    cross join lateral (select (j.attempt + case when u.outcome in ('snooze', 'release') then 0 else 1 end)::smallint as attempt) a
    left join "pawl".queue q on q.name = j.queue
    left join lateral (
      select "pawl".backoff(coalesce(j.opts -> 'backoff', u.backoff, q.backoff), a.attempt) as seconds where u.outcome = 'retry'
    ) d on true
  ),
  back as (
    update "pawl".job j
    set epoch = j.epoch + 1, attempt = m.attempt, strikes = m.strikes, errors = m.errors,
        pos = case when m.became = 'ready' then nextval('"pawl".pos') end,
        run_at = case when m.outcome = 'release' and m.became = 'ready' then j.run_at else m.run_at end
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.became in ('ready', 'scheduled')
    returning j.id, j.epoch, j.pos, j.run_at, j.queue, j.channel, j.priority, j.strikes, m.became, m.outcome
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, "pawl".lane(b.priority, b.strikes, b.outcome = 'release'), b.queue, b.channel
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
    returning j.*, m.became, m.outcome, m.attempt as used, m.errors as told, m.waited, m.ran
  ),
  kept as (
    insert into "pawl".archive (id, epoch, finished_at, expires_at, created_at, run_at, waited_ms, ran_ms, priority, attempt,
                              max_attempts, state, queue, channel, kind, worker, args, data, fingerprint, unique_key, opts,
                              errors, checkpoint)
    select o.id, o.epoch, t.now, t.now + t.retain, o.created_at, o.run_at, o.waited, o.ran, o.priority, o.used,
           o.max_attempts, 'cancelled', o.queue, o.channel, o.kind, fail.worker, o.args, o.data, o.fingerprint, o.unique_key,
           o.opts, o.told, o.checkpoint
    from over o
    left join "pawl".queue q on q.name = o.queue,
    lateral (select clock_timestamp() as now, coalesce(q.retain_cancelled, interval '1 day') as retain) t
    where o.became = 'cancelled' and t.retain > '0'
  ),
  buried as (
    insert into "pawl".dead (id, epoch, finished_at, expires_at, created_at, run_at, waited_ms, ran_ms, priority, attempt,
                           max_attempts, strikes, reason, queue, channel, kind, worker, args, data, fingerprint, unique_key,
                           opts, errors, checkpoint)
    select o.id, o.epoch, t.now, t.now + t.retain, o.created_at, o.run_at, o.waited, o.ran, o.priority, o.used,
           o.max_attempts, o.strikes, case o.outcome when 'retry' then 'attempts' when 'dead' then 'handler' else o.outcome end,
           o.queue, o.channel, o.kind, fail.worker, o.args, o.data, o.fingerprint, o.unique_key, o.opts, o.told, o.checkpoint
    from over o
    left join "pawl".queue q on q.name = o.queue,
    lateral (select clock_timestamp() as now, coalesce(q.retain_dead, interval '30 days') as retain) t
    where o.became = 'dead' and t.retain > '0'
  )
  select array_agg(m.id), array_agg(m.became), (select jsonb_agg("pawl".tie(o.id, o.queue, o.channel, o.opts)) from over o where o.tied and o.became = 'cancelled'),
         (select jsonb_agg("pawl".tie(o.id, o.queue, o.channel, o.opts)) from over o where o.tied and o.became = 'dead')
  into done, states, cancelled, dead
  from mine m;
  if cancelled is not null then
    perform "pawl".loosen(cancelled, 'cancelled');
  end if;
  if dead is not null then
    perform "pawl".loosen(dead, 'dead');
  end if;
  if outcomes && '{retry,snooze,release}' then
    perform "pawl".wake(array(select distinct j.queue from unnest(ids) u (id) join "pawl".job j on j.id = any (array[u.id])));
  end if;
  return query select u.id, u.became from unnest(done, states) as u (id, became);
end $$;

-- filter: the condition of a filter on the rows t of a table with jobs, as SQL; null: no row of this table can meet it.
--   filter   {queue, channel, kind, fingerprint, unique_key, states, args, created_before, created_after}: what is absent is not asked
--   source   job, dead, archive
-- It is made into a statement of its own each time, and that planned with its values: which index is best, the values decide.
create or replace function "pawl".filter(filter jsonb, source text) returns text language plpgsql stable as $$
declare
  live   constant text[] := '{reserved,waiting,scheduled,ready,running}';
  have   constant text[] := case source when 'job' then live when 'dead' then '{dead}' else '{completed,cancelled}' end;
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
  if source = 'job' and (filter ?| array['states', 'queue']) then
    -- Who is few is looked up by the tickets and leases, not searched for among all jobs.
    states := coalesce(states, live);
    queue := case when filter ? 'queue' then format('where s.queue = %L', filter ->> 'queue') else '' end;
    foreach ticket in array array['ready', 'scheduled', 'parked'] loop
      if ticket = any (states) or ticket = 'parked' and states && '{reserved,waiting}' then
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
  if filter ? 'args' then
    parts := parts || format('t.args @> %L', filter -> 'args');
  end if;
  if filter ? 'created_before' then
    parts := parts || format('t.created_at < %L', filter ->> 'created_before');
  end if;
  if filter ? 'created_after' then
    parts := parts || format('t.created_at > %L', filter ->> 'created_after');
  end if;
  if source <> 'job' then
    parts := parts || format('t.expires_at > %L', clock_timestamp());
  end if;
  return coalesce(array_to_string(parts, ' and '), 'true');
end $$;

-- finished: of (id, epoch) pairs, those that were finished by who held them: found in archive or dead.
-- For an answer that was lost: told "not yours" the second time, look here before believing it.
create or replace function "pawl".finished(ids bigint[], epochs integer[]) returns setof bigint
language sql stable as $$
  select a.id from unnest(ids, epochs) as u (id, epoch) join "pawl".archive a on a.id = u.id and a.epoch = u.epoch
  union
  select d.id from unnest(ids, epochs) as u (id, epoch) join "pawl".dead d on d.id = u.id and d.epoch = u.epoch
$$;

-- free: give permits back, of jobs whose handlers have ended. A permit is the lease's: what the job has elsewhere stays.
-- Wakes who may wait for it.
create or replace function "pawl".free(ids bigint[], leases uuid[]) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  queues text[];
begin
  with gone as (
    delete from "pawl".permit p
    using unnest(free.ids, free.leases) as u (id, lease)
    where p.job_id = any (array[u.id]) and p.lease = u.lease
    returning p.queue
  )
  select array_agg(distinct g.queue) into queues from gone g where g.queue <> '';
  perform "pawl".wake(queues);
end $$;

-- get: jobs by id, live, archived or dead. Moves nothing.
-- Index: primary keys; archive's BRIN for what is found nowhere else.
create or replace function "pawl".get(ids bigint[]) returns table (
  id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint,
  attempt smallint, max_attempts smallint, created_at timestamptz, run_at timestamptz, finished_at timestamptz,
  waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb
) language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  return query
  with live as materialized (
    select j.id,
           -- Scalar, not exists: that may be turned into a hash of the whole table.
           case when (select true from "pawl".scheduled s where s.queue = j.queue and s.run_at = j.run_at and s.job_id = j.id) then 'scheduled'
                when (select true from "pawl".ready t where t.queue = j.queue and t.priority = any (array[j.priority, -32768, -32769])
                      and t.channel = j.channel and t.pos = coalesce(j.pos, j.id) limit 1) then 'ready'
                else coalesce((select case when p.expires_at is null then 'waiting' else 'reserved' end from "pawl".parked p where p.job_id = j.id),
                              'running') end as state,
           j.queue, j.channel, j.kind, j.args, j.data, j.priority, j.attempt, coalesce(j.max_attempts, q.max_attempts, 20::smallint) as max_attempts,
           j.created_at, j.run_at, j.fingerprint, j.opts, j.errors, j.unique_key, j.checkpoint
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
  select l.id, l.state, null::text, l.queue, l.channel, l.kind, l.args, l.data, l.priority, l.attempt, l.max_attempts, l.created_at,
         l.run_at, null::timestamptz, null::bigint, null::bigint, null::text, l.fingerprint, l.opts, l.errors, l.unique_key, l.checkpoint, null::jsonb
  from live l
  union all
  select d.id, 'dead', d.reason, d.queue, d.channel, d.kind, d.args, d.data, d.priority, d.attempt, d.most, d.created_at,
         d.run_at, d.finished_at, d.waited_ms, d.ran_ms, d.worker, d.fingerprint, d.opts, d.errors, d.unique_key, d.checkpoint, null
  from dead d
  union all
  select a.id, a.state, null, a.queue, a.channel, a.kind, a.args, a.data, a.priority, a.attempt,
         coalesce(a.max_attempts, q.max_attempts, 20::smallint), a.created_at, a.run_at, a.finished_at, a.waited_ms, a.ran_ms,
         a.worker, a.fingerprint, a.opts, a.errors, a.unique_key, a.checkpoint, a.result
  from "pawl".archive a
  left join "pawl".queue q on q.name = a.queue
  where a.id = any (array(select r.id from rest r)) and a.expires_at > clock_timestamp();
end $$;

-- hail: have every worker make its heartbeat now, because it will learn something by it: a job of its was cancelled, it was suspended.
-- The payload is empty, as no queue's name is. Heard at the commit; unheard, the news comes with the next heartbeat.
create or replace function "pawl".hail() returns void language sql as $$
  select pg_notify('"pawl".wake', '')
$$;

-- hold: lock the rows of held jobs, waiting for whoever has them. For the verbs that skip locked rows: called before them in
-- the same transaction, nothing is left to skip but what is not ours. Returns the ids that are ours.
create or replace function "pawl".hold(ids bigint[], epochs integer[]) returns setof bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  select j.id
  from (select u.id, u.epoch from unnest(hold.ids, hold.epochs) as u (id, epoch) order by u.id) u,
       lateral (select j.id from "pawl".job j where j.id = u.id and j.epoch = u.epoch for update) j;
end $$;

-- insert: put in jobs, one an array position, all or none.
--   args       json or null              data         bytes or null
--   delays     seconds from now or null  run_ats      a time or null; neither, or a time gone by: ready at once
--   attempts   most attempts; null: the queue's
--   opts       json or null
-- Moves: a job row and a ticket in ready or scheduled each. Returns the ids in input order.
-- Index: appends to the primary keys.
-- Survives: the safe mark needs this transaction to have its number before it draws a position or reads the clock (lanes.go):
-- hence the first statement.
create or replace function "pawl".insert(
  queues text[], channels text[], priorities smallint[], kinds text[], args text[], data bytea[],
  delays double precision[], run_ats timestamptz[], attempts smallint[], fingerprints text[], opts text[]
) returns setof bigint language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  moment timestamptz;
begin
  perform pg_current_xact_id();
  moment := clock_timestamp();
  return query
  with spec as materialized (
    select nextval('"pawl".pos') as id, (random() * 1000000000)::integer as epoch,
           coalesce(u.run_at, moment + u.delay * interval '1 second') as run_at,
           u.queue, u.channel, u.priority, u.kind, u.args, u.data, u.attempts, u.fingerprint, u.opts
    from unnest(insert.queues, insert.channels, insert.priorities, insert.kinds, insert.args, insert.data,
                insert.delays, insert.run_ats, insert.attempts, insert.fingerprints, insert.opts)
           as u (queue, channel, priority, kind, args, data, delay, run_at, attempts, fingerprint, opts)
  ),
  job as (
    insert into "pawl".job (id, created_at, run_at, epoch, priority, max_attempts, queue, channel, kind, args, data, fingerprint, opts)
    select s.id, moment, s.run_at, s.epoch, s.priority, s.attempts, s.queue, s.channel, s.kind, s.args::jsonb, s.data,
           s.fingerprint, s.opts::jsonb
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
  perform "pawl".wake(insert.queues);
end $$;

-- insert_tied: put in jobs that are tied to others, all or none.
--   specs   a JSON array of {queue, channel, priority, kind, args, data (base64), delay, run_at, attempts, fingerprint, opts, ordered,
--           key, period, replace, reschedule, reserve, after: [{id, on, hold}]}; times in seconds
-- Moves: a job row and a ticket each; a row in turn, hold, wait where asked for. Returns a row a spec, in input order: the id, and
-- whether it is that of the job that has the unique key, when nothing was put in.
-- Index: primary keys.
-- Survives: concurrent inserts into a channel (its lock, taken in a statement before the ids are drawn, so that order in the
-- channel is order of commit); two inserts of one key (the second waits for the first, then finds its row); a holder that goes
-- while it is looked at (tried again); a parent that finishes meanwhile (its row is locked, or gone and looked up).
-- Locks channels, then keys, each sorted, then parents by id.
create or replace function "pawl".insert_tied(specs jsonb) returns table (id bigint, duplicate boolean)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  moment timestamptz;
  spec   record;
  ids    bigint[];
  taken  bigint[];
  other  bigint;
  tries  integer;
  parts  integer;
begin
  perform pg_current_xact_id();
  perform pg_advisory_xact_lock(c.class, c.object)
  from (
    select distinct u.class, u.object
    from (select "pawl".channel_class(s.queue), "pawl".channel_object(s.channel)
          from jsonb_to_recordset(specs) as s (queue text, channel text, ordered boolean) where s.ordered) u (class, object)
    order by 1, 2
  ) c;
  moment := clock_timestamp();
  ids := array(select nextval('"pawl".pos') from generate_series(1, jsonb_array_length(specs)));
  taken := array_fill(null::bigint, array[cardinality(ids)]);

  for spec in
    select s.value ->> 'key' as key, "pawl".key_scope(coalesce(s.value ->> 'queue', 'default'), s.value -> 'opts') as scope, s.ord::integer,
           moment + (s.value ->> 'period')::double precision * interval '1 second' as keep_until,
           coalesce(s.value -> 'opts' ? 'until_start', false) as until_start,
           coalesce((s.value ->> 'replace')::boolean, false) as replace, coalesce((s.value ->> 'reschedule')::boolean, false) as reschedule,
           s.value as said
    from jsonb_array_elements(specs) with ordinality as s (value, ord)
    where s.value ->> 'key' is not null
    order by 2, 1, 3
  loop
    tries := 0;
    loop
      insert into "pawl".hold as h (scope, key, job_id, live, until_start, keep_until)
      values (spec.scope, spec.key, ids[spec.ord], true, spec.until_start, spec.keep_until)
      on conflict (scope, key) do update
        set job_id = excluded.job_id, live = true, until_start = excluded.until_start, keep_until = excluded.keep_until
        where not h.live and (h.keep_until is null or h.keep_until <= clock_timestamp());
      exit when found;
      select h.job_id into other from "pawl".hold h where h.scope = spec.scope and h.key = spec.key;
      if found then
        taken[spec.ord] := other;
        exit;
      end if;
      tries := tries + 1;
      if tries > 1000 then
        raise exception 'pawl: the unique key % is taken and freed too often to tell who has it', spec.key using errcode = '40001';
      end if;
    end loop;
    -- A duplicate within this very call is left as it is: the job that has the key is put in below.
    if taken[spec.ord] is not null and taken[spec.ord] <> all (ids) and (spec.replace or spec.reschedule) then
      perform "pawl".change(array[taken[spec.ord]],
        jsonb_strip_nulls(jsonb_build_object(
          'args', case when spec.replace then spec.said -> 'args' end, 'data', case when spec.replace then spec.said -> 'data' end,
          'headers', case when spec.replace then spec.said -> 'opts' -> 'headers' end,
          'delay', case when spec.reschedule then spec.said -> 'delay' end, 'run_at', case when spec.reschedule then spec.said -> 'run_at' end)));
    end if;
  end loop;

  insert into "pawl".job (id, created_at, run_at, epoch, priority, max_attempts, queue, channel, kind, args, data, fingerprint,
                        unique_key, opts, tied)
  select ids[s.ord], moment,
         coalesce((s.value ->> 'run_at')::timestamptz, moment + (s.value ->> 'delay')::double precision * interval '1 second'),
         (random() * 1000000000)::integer, coalesce((s.value ->> 'priority')::smallint, 0::smallint), (s.value ->> 'attempts')::smallint,
         coalesce(s.value ->> 'queue', 'default'), coalesce(s.value ->> 'channel', ''), s.value ->> 'kind', s.value -> 'args',
         decode(s.value ->> 'data', 'base64'), s.value ->> 'fingerprint', s.value ->> 'key',
         nullif(coalesce(s.value -> 'opts', '{}'), '{}'),
         coalesce((s.value ->> 'ordered')::boolean, false) or s.value ->> 'key' is not null or coalesce(s.value -> 'opts' ? 'batch', false)
  from jsonb_array_elements(specs) with ordinality as s (value, ord)
  where taken[s.ord] is null
  order by s.ord;

  insert into "pawl".turn (queue, channel, pos, job_id)
  select coalesce(s.value ->> 'queue', 'default'), coalesce(s.value ->> 'channel', ''), ids[s.ord], ids[s.ord]
  from jsonb_array_elements(specs) with ordinality as s (value, ord)
  where taken[s.ord] is null and (s.value ->> 'ordered')::boolean;

  insert into "pawl".parked (job_id, epoch, queue, expires_at)
  select j.id, j.epoch, j.queue, clock_timestamp() + (s.value ->> 'reserve')::double precision * interval '1 second'
  from jsonb_array_elements(specs) with ordinality as s (value, ord),
       lateral (select j.id, j.epoch, j.queue from "pawl".job j where j.id = ids[s.ord]) j
  where taken[s.ord] is null;

  for spec in
    select ids[s.ord] as child, (a.value ->> 'id')::bigint as parent, coalesce(a.value ->> 'on', 'ok') as on_state,
           coalesce((a.value ->> 'hold')::boolean, false) as hold
    from jsonb_array_elements(specs) with ordinality as s (value, ord),
         jsonb_array_elements(coalesce(s.value -> 'after', '[]')) as a (value)
    where taken[s.ord] is null
    order by 2, 1
  loop
    if spec.parent >= spec.child then
      raise exception 'pawl: a job comes after those inserted before it, and % is not', spec.parent using errcode = '22023';
    end if;
    insert into "pawl".wait (parent_id, child_id, on_state, hold) values (spec.parent, spec.child, spec.on_state, spec.hold)
    on conflict do nothing;
    update "pawl".job j set tied = true where j.id = spec.parent;
    if not found then
      -- It is finished, or will never be: settled like any other end.
      insert into "pawl".loose (job_id, queue, channel, ordered, became)
      values (spec.parent, '', '', false, coalesce(
        (select 'dead' from "pawl".dead d where d.id = spec.parent),
        (select a.state from "pawl".archive a where a.id = spec.parent limit 1), 'deleted'));
    end if;
  end loop;

  perform "pawl".issue(i.id) from unnest(ids) with ordinality as i (id, ord) where taken[i.ord] is null;
  return query select coalesce(taken[i.ord], i.id), taken[i.ord] is not null from unnest(ids) with ordinality as i (id, ord) order by i.ord;
end $$;

-- issue: let a parked job have its ticket, if there is nothing left it waits for. False: its row is locked by somebody, ask again.
-- Moves: the ticket from parked to ready or scheduled; the job row told its position.
-- Index: primary keys; turn from the head of the channel.
-- Survives: two issuers, a commit or a cancel at work (the job row is locked before anything is looked at, and each look is a
-- statement of its own). Whoever takes away what a job waits for commits first and issues then, or issues in the same
-- transaction under the lock that the others need.
create or replace function "pawl".issue(id bigint) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  job   record;
  place bigint;
begin
  select j.id, j.epoch, j.queue, j.channel, j.priority, j.strikes, j.run_at, j.opts ? 'ordered' as ordered into job
  from "pawl".job j where j.id = issue.id for update skip locked;
  if not found then
    perform from "pawl".job j where j.id = issue.id;
    return not found;
  end if;
  perform from "pawl".wait w where w.child_id = issue.id;
  if found then
    return true;
  end if;
  if job.ordered then
    perform from "pawl".halt h where h.queue = job.queue and h.channel = job.channel;
    if found then
      return true;
    end if;
    perform from "pawl".turn t
    where t.queue = job.queue and t.channel = job.channel
      and t.pos < (select own.pos from "pawl".turn own where own.job_id = issue.id)
    limit 1;
    if found then
      return true;
    end if;
  end if;
  delete from "pawl".parked p where p.job_id = issue.id and p.epoch = job.epoch and p.expires_at is null;
  if not found then
    return true;
  end if;
  if job.run_at > clock_timestamp() then
    insert into "pawl".scheduled (run_at, job_id, epoch, queue) values (job.run_at, job.id, job.epoch, job.queue);
    return true;
  end if;
  place := nextval('"pawl".pos');
  update "pawl".job j set pos = place where j.id = issue.id;
  insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
  values (place, job.id, job.epoch, "pawl".lane(job.priority, job.strikes, false), job.queue, job.channel);
  perform "pawl".wake(array[job.queue]);
  return true;
end $$;

-- keep: let reservations last until now + lasting; never shortens. All or none, as commit.
create or replace function "pawl".keep(ids bigint[], lasting interval) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  one bigint;
begin
  for one in select u.id from unnest(ids) as u (id) group by u.id order by u.id loop
    perform from "pawl".job j where j.id = one for update;
    update "pawl".parked p set expires_at = greatest(p.expires_at, clock_timestamp() + lasting)
    where p.job_id = one and p.expires_at > clock_timestamp();
    if not found then
      raise exception 'pawl: job % is not reserved: its reservation expired, or it was committed before', one using errcode = 'PW001';
    end if;
  end loop;
end $$;

-- key_is_free: may a finished job have its unique key again?
create or replace function "pawl".key_is_free(id bigint, queue text, key text, opts jsonb) returns boolean language sql stable as $$
  select key_is_free.key is null or not exists (
    select from "pawl".hold h
    where h.scope = "pawl".key_scope(key_is_free.queue, key_is_free.opts) and h.key = key_is_free.key and h.job_id <> key_is_free.id
      and (h.live or h.keep_until > clock_timestamp())
  )
$$;

-- key_scope: where a job's unique key is unique: in its queue, or everywhere ('').
create or replace function "pawl".key_scope(queue text, opts jsonb) returns text language sql immutable parallel safe as $$
  select case when opts ? 'global' then '' else queue end
$$;

-- lane: the lane priority of a ticket. Returned jobs come before all priorities, suspects (two lost leases or more)
-- have a lane of their own below that, from which a worker takes one at a time.
create or replace function "pawl".lane(priority integer, strikes integer, returned boolean) returns integer
language sql immutable parallel safe as $$
  select case when strikes >= 2 then -32769 when returned then -32768 else priority end
$$;

-- lanes: find lanes with tickets in ready inside the given gaps, and queues with tickets in scheduled that are not known yet.
--   lows, highs   the gaps: lanes strictly between (low_queue, low_priority, low_channel) and (high_…); the caller leaves out
--                 the lanes it knows, because below a known lane's mark lie the dead tickets a scan would walk over
--   queues        known or chosen queues; any_queue: look for others in scheduled
-- Moves nothing. Returns lanes, and queues with priority null. Index: a loose scan over the primary keys, one descent a lane.
--
-- A gap is searched in steps: the rest of a priority, the rest of a queue, the queues between, and down again to the gap's end.
-- Each step is bounded in one column while those before it are equal, for only such a bound ends a b-tree's scan. The bound
-- written as one row comparison is right too, but the scan runs on over every dead ticket of the lane it should leave out.
create or replace function "pawl".lanes(
  low_queues text[], low_priorities integer[], low_channels text[], high_queues text[], high_priorities integer[], high_channels text[],
  queues text[], any_queue boolean
) returns table (queue text, priority integer, channel text)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_variable
declare
  top_channel  constant text    := U&'\+10FFFF';
  top_priority constant integer := 2147483647;
  high_queue text; high_priority integer; high_channel text;
  pos   bigint; -- The search goes on above (queue, priority, channel, pos).
  most  text;
  below integer;
  hit   record;
  known text[];
begin
  for i in 1 .. cardinality(low_queues) loop
    queue := low_queues[i]; priority := low_priorities[i]; channel := low_channels[i]; pos := 9223372036854775807;
    high_queue := high_queues[i]; high_priority := high_priorities[i]; high_channel := high_channels[i];
    loop
      most := case when queue = high_queue and priority = high_priority then high_channel else top_channel end;
      select t.channel into hit
      from "pawl".ready t
      where t.queue = queue and t.priority = priority and t.channel >= channel and (t.channel, t.pos) > (channel, pos) and t.channel < most
      order by t.channel, t.pos limit 1;
      if found then
        channel := hit.channel; pos := 9223372036854775807;
        return next;
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

-- leases: the leases a worker has by the database's account, to be compared with its own.
-- Moves nothing. Index: none; read whole, so the caller spaces it by its cost.
create or replace function "pawl".leases(worker bigint) returns setof uuid language sql stable as $$
  select l.id from "pawl".lease l where l.worker_id = worker
$$;

-- list: jobs that meet a filter, live, dead or archived, newest first by id.
--   filter   see filter      below   only ids below it; null: from the newest      most   how many at most
-- Moves nothing. Returns rows as get does.
-- Index: those of job and dead that have the order, so that a plan made of wrong statistics sorts nothing whole; the archive, which has none but a BRIN on the id, is read in windows of
-- ids downwards, each twice as wide as the one before, until there is enough. What is rare in a large archive is found by reading it.
create or replace function "pawl".list(filter jsonb, below bigint, most integer) returns table (
  id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint,
  attempt smallint, max_attempts smallint, created_at timestamptz, run_at timestamptz, finished_at timestamptz,
  waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text, checkpoint jsonb, result jsonb
) language plpgsql stable set enable_seqscan = off set enable_sort = off set jit = off as $$
#variable_conflict use_column
declare
  live     constant text := "pawl".filter(list.filter, 'job');
  dead     constant text := "pawl".filter(list.filter, 'dead');
  archived constant text := "pawl".filter(list.filter, 'archive');
  common   constant text := 't.queue, t.channel, t.kind, t.args, t.data, t.priority, t.attempt, coalesce(t.max_attempts, q.max_attempts, 20::smallint), t.created_at, t.run_at';
  source   constant text := '(select t.* from "pawl".%I t where t.id >= $1 and t.id < $2 and %s order by t.id desc limit $3) t left join "pawl".queue q on q.name = t.queue';
  parts    text[];
  high     bigint := coalesce(below, 9223372036854775807);
  low      bigint := 0;
  width    bigint := greatest(2::bigint * most, 1000);
  rest     bigint := most;
  got      bigint;
begin
  if live is not null then
    parts := parts || ('select t.id, ' || "pawl".live_state() || ', null::text, ' || common
      || ', null::timestamptz, null::bigint, null::bigint, null::text, t.fingerprint, t.opts, t.errors, t.unique_key, t.checkpoint, null::jsonb from '
      || format(source, 'job', live));
  end if;
  if dead is not null then
    parts := parts || ('select t.id, ''dead'', t.reason, ' || common
      || ', t.finished_at, t.waited_ms, t.ran_ms, t.worker, t.fingerprint, t.opts, t.errors, t.unique_key, t.checkpoint, null::jsonb from '
      || format(source, 'dead', dead));
  end if;
  if archived is not null then
    parts := parts || ('select t.id, t.state, null::text, ' || common
      || ', t.finished_at, t.waited_ms, t.ran_ms, t.worker, t.fingerprint, t.opts, t.errors, t.unique_key, t.checkpoint, t.result from '
      || format(source, 'archive', archived));
    low := least(high, (select p.last_value + 1 from "pawl".pos p)) - width;
  end if;
  if parts is null then
    return;
  end if;
  loop
    return query execute array_to_string(parts, ' union all ') || ' order by 1 desc limit $3' using low, high, rest;
    get diagnostics got = row_count;
    rest := rest - got;
    exit when rest <= 0 or low <= 0;
    width := 2 * width;
    high := low;
    low := low - width;
  end loop;
end $$;

-- live_state: the state of a row t of job, as an expression of SQL for statements that are put together.
create or replace function "pawl".live_state() returns text language sql immutable parallel safe as $$
  select $state$case when (select true from "pawl".scheduled s where s.queue = t.queue and s.run_at = t.run_at and s.job_id = t.id) then 'scheduled'
         when (select true from "pawl".ready r where r.queue = t.queue and r.priority = any (array[t.priority, -32768, -32769])
               and r.channel = t.channel and r.pos = coalesce(t.pos, t.id) limit 1) then 'ready'
         else coalesce((select case when p.expires_at is null then 'waiting' else 'reserved' end from "pawl".parked p where p.job_id = t.id), 'running') end$state$
$$;

-- loosen: what follows at once from the end of tied jobs: unique keys are free (or kept until their time); the rest is put down for
-- settle. Called by every verb that finishes jobs, in its transaction.
--   ties   [{id, queue, channel, ordered, batch}]      became   completed, cancelled, dead, deleted
create or replace function "pawl".loosen(ties jsonb, became text) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
begin
  delete from "pawl".hold h
  using jsonb_to_recordset(loosen.ties) as t (id bigint)
  where h.job_id = any (array[t.id]) and (h.keep_until is null or h.keep_until <= clock_timestamp());
  update "pawl".hold h set live = false
  from jsonb_to_recordset(loosen.ties) as t (id bigint)
  where h.job_id = any (array[t.id]);
  insert into "pawl".loose (job_id, queue, channel, ordered, batch, became)
  select t.id, t.queue, t.channel, coalesce(t.ordered, false), t.batch, loosen.became
  from jsonb_to_recordset(loosen.ties) as t (id bigint, queue text, channel text, ordered boolean, batch bigint)
  order by t.id;
end $$;

-- marks: what is needed to advance safe marks (lanes.go has the reasoning): for each lane the lowest position above its safe
-- mark, for each queue the earliest scheduled time above its floor, both read plainly, so that tickets locked by somebody
-- count; and the snapshot they were read in, as the numbers of its oldest running and its next transaction.
--   needs, needs_at   look only if no running transaction is below this number; 0: in any case. While one is, no mark can move,
--                     and the walk would be over everything that died since.
-- Moves nothing. Returns a row a lane, then a row a queue, each group in input order, and one row with ord 0 for the snapshot.
-- Index: the primary keys of ready and scheduled.
create or replace function "pawl".marks(
  queues text[], priorities integer[], channels text[], safes bigint[], needs bigint[],
  scheduled text[], floors timestamptz[], needs_at bigint[]
) returns table (ord bigint, low_pos bigint, low_at timestamptz, oldest bigint, next bigint)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  with snap as materialized (
    select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as oldest, pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next
  )
  select 0::bigint, null::bigint, null::timestamptz, n.oldest, n.next
  from snap n
  union all
  select u.ord, r.pos, null, null, null
  from unnest(marks.queues, marks.priorities, marks.channels, marks.safes, marks.needs) with ordinality
         as u (queue, priority, channel, safe, need, ord)
  left join lateral (
    select t.pos from "pawl".ready t
    where u.need <= (select n.oldest from snap n)
      and t.queue = u.queue and t.priority = u.priority and t.channel = u.channel and t.pos > u.safe
    order by t.pos limit 1
  ) r on true
  union all
  select cardinality(marks.queues) + u.ord, null, s.run_at, null, null
  from unnest(marks.scheduled, marks.floors, marks.needs_at) with ordinality as u (queue, floor, need, ord)
  left join lateral (
    select s.run_at from "pawl".scheduled s
    where u.need <= (select n.oldest from snap n)
      and s.queue = u.queue and s.run_at > u.floor
    order by s.run_at limit 1
  ) s on true;
end $$;

-- missing: of (id, epoch) pairs, the ids of those that are not live at that epoch any more. Moves nothing.
-- Index: job's primary key.
create or replace function "pawl".missing(ids bigint[], epochs integer[]) returns bigint[]
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return array(
    select u.id
    from unnest(missing.ids, missing.epochs) as u (id, epoch)
    where not exists (select from "pawl".job j where j.id = u.id and j.epoch = u.epoch)
  );
end $$;

-- peek: is there something to claim in the queues, and if not, in how many seconds will something be due (null: unknown)?
-- Index: the head of each queue in ready and scheduled.
create or replace function "pawl".peek(queues text[]) returns table (ready boolean, wait double precision)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  select coalesce(bool_or(r.any or s.run_at <= clock_timestamp()), false),
         extract(epoch from min(s.run_at) - clock_timestamp())::double precision
  from unnest(peek.queues) as u (queue)
  cross join lateral (
    select exists (select from "pawl".ready t where t.queue = u.queue)
           or exists (select from "pawl".lease l where l.expires_at < clock_timestamp() and l.jobs <> '{}') as any
  ) r
  left join lateral (select s.run_at from "pawl".scheduled s where s.queue = u.queue order by s.run_at limit 1) s on true
  where not exists (select from "pawl".queue q where q.name = u.queue and q.paused);
end $$;

-- planned: how many rows the planner expects of a query: the size of its table and the statistics, without reading either.
create or replace function "pawl".planned(query text) returns bigint language plpgsql as $$
declare
  plan json;
begin
  execute 'explain (format json) ' || query into plan;
  return (plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint;
end $$;

-- promote: make due jobs ready, at most `most` a queue, and tell when the next one is due.
--   queues, floors   scan a queue's scheduled tickets from its floor, below which nothing can be
-- Moves: tickets from scheduled to ready, the job row told its new position. The epoch stays: it is the same ticket.
-- Returns a row a queue: how many moved, whether more are due, seconds until the next is due (null: none).
-- Index: scheduled's primary key from the floor; job's primary key.
-- Survives: two promoters and a claimer (skip locked); a verb that holds the ticket or the job row (both skipped, so nothing
-- here waits).
create or replace function "pawl".promote(queues text[], floors timestamptz[], most integer)
returns table (queue text, moved bigint, due boolean, wait double precision, moment timestamptz)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp(); -- in a variable: an index condition takes no volatile function
begin
  return query
  with due as materialized (
    select r.ctid as ticket, j.id, j.epoch, u.queue, r.run_at
    from unnest(promote.queues, promote.floors) as u (queue, floor),
         lateral (
           select s.ctid, s.job_id, s.epoch, s.run_at
           from "pawl".scheduled s
           where s.queue = u.queue and s.run_at > u.floor and s.run_at <= moment
           order by s.run_at, s.job_id
           limit promote.most
           for update skip locked
         ) r,
         lateral (select j.id, j.epoch from "pawl".job j where j.id = r.job_id and j.epoch = r.epoch for update skip locked) j
  ),
  gone as (
    delete from "pawl".scheduled s
    where s.ctid = any (array(select d.ticket from due d))
  ),
  numbered as materialized (
    select d.id, d.epoch, nextval('"pawl".pos') as pos
    from (select d.id, d.epoch from due d order by d.run_at, d.id) d
  ),
  job as (
    update "pawl".job j
    set pos = n.pos
    from numbered n
    where j.id = any (array[n.id]) and j.epoch = n.epoch
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.strikes
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select j.pos, j.id, j.epoch, "pawl".lane(j.priority, j.strikes, false), j.queue, j.channel
    from job j
  )
  select u.queue, d.moved, d.moved >= promote.most, extract(epoch from n.run_at - moment)::double precision, moment
  from unnest(promote.queues, promote.floors) as u (queue, floor)
  cross join lateral (select count(*) as moved from due d where d.queue = u.queue) d
  left join lateral (
    select s.run_at from "pawl".scheduled s
    where s.queue = u.queue and s.run_at > moment
    order by s.run_at limit 1
  ) n on true;
end $$;

-- put_cron: write down schedules, one an array position, all or none. No name twice.
--   jobs       json, see the table        next_ats   the first tick from now on
-- A row of a higher version is left alone. Pause and last tick stay, and so does the next tick unless spec or zone changed.
-- Returns how many were written.
-- Index: cron's primary key.
-- Survives: another put of the same names (rows are taken in order) and a tick being taken (waited for: it is short).
create or replace function "pawl".put_cron(
  names text[], specs text[], zones text[], jobs text[], jitters interval[], catch_ups integer[], versions integer[], next_ats timestamptz[]
) returns bigint language plpgsql as $$
#variable_conflict use_column
declare
  written bigint;
begin
  insert into "pawl".cron as c (name, spec, zone, job, jitter, catch_up, version, next_at)
  select u.name, u.spec, u.zone, u.job::jsonb, u.jitter, u.catch_up, u.version, u.next_at
  from unnest(put_cron.names, put_cron.specs, put_cron.zones, put_cron.jobs, put_cron.jitters, put_cron.catch_ups, put_cron.versions, put_cron.next_ats)
         as u (name, spec, zone, job, jitter, catch_up, version, next_at)
  order by u.name collate "C"
  on conflict (name) do update set
    spec = excluded.spec, zone = excluded.zone, job = excluded.job, jitter = excluded.jitter, catch_up = excluded.catch_up,
    version = excluded.version,
    next_at = case when (c.spec, c.zone) = (excluded.spec, excluded.zone) then c.next_at else excluded.next_at end
  where c.version <= excluded.version;
  get diagnostics written = row_count;
  return written;
end $$;

-- queues: the names of queues with live jobs, in any order.
-- Index: a loose scan over ready, scheduled and parked, one descent a queue; what is held by way of the leases.
create or replace function "pawl".queues() returns setof text language sql stable set enable_seqscan = off set enable_bitmapscan = off as $$
  with recursive
  ready as (
    (select t.queue from "pawl".ready t order by t.queue limit 1)
    union all
    select n.queue from ready r, lateral (select t.queue from "pawl".ready t where t.queue > r.queue order by t.queue limit 1) n
  ),
  scheduled as (
    (select s.queue from "pawl".scheduled s order by s.queue limit 1)
    union all
    select n.queue from scheduled r, lateral (select s.queue from "pawl".scheduled s where s.queue > r.queue order by s.queue limit 1) n
  ),
  parked as (
    (select p.queue from "pawl".parked p order by p.queue limit 1)
    union all
    select n.queue from parked r, lateral (select p.queue from "pawl".parked p where p.queue > r.queue order by p.queue limit 1) n
  )
  select queue from ready union select queue from scheduled union select queue from parked
  union
  select j.queue from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch), lateral (select j.queue from "pawl".job j where j.id = u.id and j.epoch = u.epoch) j
$$;

-- reclaim: drop permits whose lease is gone: of workers that died, consumers that did not come back. Returns how many.
-- Index: none; permit has a row a running job of limited queues.
-- Survives: a claim at work (its permits and its lease come together).
create or replace function "pawl".reclaim() returns bigint language plpgsql as $$
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

-- register: make a worker's row. Returns its id, which is never used again.
--   queues null: all      stale: how long it may be silent before its jobs are rescued
--   state: ready, or what it was told before it was taken for dead
create or replace function "pawl".register(name text, host text, pid integer, version text, queues text[], stale interval, state text default 'ready') returns bigint
language sql as $$
  insert into "pawl".worker (name, host, pid, version, queues, started_at, seen_at, stale_after, state)
  values (name, host, pid, version, queues, clock_timestamp(), clock_timestamp(), stale, state)
  returning id
$$;

-- release_worker: give back what a worker holds, to be run again before all others, no attempt used and no strike. Returns how many.
-- Moves: jobs back to ready as returned, their epoch one up; the worker's leases away.
-- Index: lease's worker_id, job's primary key.
-- Survives: a completion at work (its job is waited for, and not given back). Locks jobs by id, then leases, and leaves those that
-- somebody has locked: with no live pair they are cleared away as any.
create or replace function "pawl".release_worker(worker bigint) returns bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  lost     uuid[];
  woken    text[];
  returned bigint;
begin
  perform pg_current_xact_id();
  lost := array(select l.id from "pawl".lease l where l.worker_id = release_worker.worker);
  with mine as materialized (
    select j.id, j.epoch
    from (select u.id, u.epoch from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch) where l.id = any (lost) order by u.id) u,
         lateral (select j.id, j.epoch from "pawl".job j where j.id = u.id and j.epoch = u.epoch for update) j
  ),
  back as (
    update "pawl".job j
    set epoch = j.epoch + 1, pos = nextval('"pawl".pos')
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.strikes
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, "pawl".lane(b.priority, b.strikes, true), b.queue, b.channel
    from back b
  )
  select count(*), array_agg(distinct b.queue) into returned, woken from back b;
  delete from "pawl".lease l
  where l.id = any (array(
    select l.id from "pawl".lease l
    where l.id = any (lost)
      and not exists (select from unnest(l.jobs, l.epochs) as u (id, epoch) join "pawl".job j on j.id = any (array[u.id]) and j.epoch = u.epoch)
    for update skip locked
  ));
  if returned > 0 then
    perform "pawl".hail(), "pawl".wake(woken);
  end if;
  return returned;
end $$;

-- remove: take jobs out for good, whatever their state: cancel and delete.
--   ids, epochs   which; an epoch not null: only if still held at it
--   keep          cancel: to archive; else delete: leaves nothing, finished ones are deleted too
-- Moves: job row and ticket away, in one transaction. Returns the ids that were there. If one was running, its worker hears of it.
-- Index: primary keys; for finished ones archive's BRIN.
-- Survives: whoever holds the job row (waited for); a promotion or a claim at work (they skip a locked job; a ticket taken meanwhile
-- is waited for, and the job taken from under its holder: its epoch matches nothing any more).
-- Four statements, each with a snapshot of its own: lock, ticket, job. Locks jobs by id, then tickets; who takes tickets first waits for no job.
create or replace function "pawl".remove(ids bigint[], epochs integer[], keep boolean) returns setof bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  waiting bigint[];
  removed bigint[];
  ties    jsonb;
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
    where t.queue = any (array[w.queue]) and t.priority = any (array[w.priority, -32768, -32769]) and t.channel = w.channel and t.pos = w.pos
    returning t.job_id
  ),
  parked as (
    delete from "pawl".parked p using want w where p.job_id = any (array[w.id])
    returning p.job_id
  ),
  scheduled as (
    delete from "pawl".scheduled s using want w
    where s.queue = any (array[w.queue]) and s.run_at = w.run_at and s.job_id = w.id
    returning s.job_id
  )
  select array_agg(f.job_id) into waiting
  from (select job_id from ready union all select job_id from parked union all select job_id from scheduled) f;

  with gone as (
    delete from "pawl".job j
    using unnest(remove.ids, remove.epochs) as u (id, epoch)
    where j.id = any (array[u.id]) and (u.epoch is null or j.epoch = u.epoch)
    returning j.*
  ),
  kept as (
    insert into "pawl".archive (id, epoch, finished_at, expires_at, created_at, run_at, priority, attempt, max_attempts, state, queue,
                              channel, kind, args, data, fingerprint, unique_key, opts, errors, checkpoint)
    select g.id, g.epoch, t.now, t.now + t.retain, g.created_at, g.run_at, g.priority, g.attempt, g.max_attempts, 'cancelled', g.queue,
           g.channel, g.kind, g.args, g.data, g.fingerprint, g.unique_key, g.opts, g.errors, g.checkpoint
    from gone g
    left join "pawl".queue q on q.name = g.queue,
    lateral (select clock_timestamp() as now, coalesce(q.retain_cancelled, interval '1 day') as retain) t
    where remove.keep and t.retain > '0'
  )
  select coalesce(array_agg(g.id), '{}'), jsonb_agg("pawl".tie(g.id, g.queue, g.channel, g.opts)) filter (where g.tied)
  into removed, ties
  from gone g;
  if ties is not null then
    perform "pawl".loosen(ties, case when keep then 'cancelled' else 'deleted' end);
  end if;
  if exists (select unnest(removed) except select unnest(waiting)) then
    perform "pawl".hail();
  end if;
  return query select unnest(removed);

  if not keep then
    return query
    with rest as (select u.id from unnest(remove.ids, remove.epochs) as u (id, epoch) where u.epoch is null and u.id <> all (removed)),
    dead as (delete from "pawl".dead d using rest r where d.id = r.id returning d.id),
    archived as (delete from "pawl".archive a using rest r where a.id = r.id returning a.id)
    select d.id from dead d union all select a.id from archived a;
  end if;
end $$;

-- rescue: give back what lost leases hold.
--   most    how many leases to take at once
--   judge   look for workers whose heartbeat is late; false while the caller itself was cut off and cannot tell late from unheard
--   sweep   read all leases, not only those of workers that went within the last minute and those with an expiry: finds
--           what a claim left that committed long after its worker was gone
-- Moves: stale workers to lost; of every lost lease (its worker is gone, or its own expiry has passed) the jobs still at
-- its epoch: epoch one up, one strike more, a ticket in the returned lane, or to dead with the third strike; then the leases
-- without a live pair. Uses no attempt. Says how many workers, leases, jobs and of these dead ("poison").
-- Index: lease's worker_id and expires_at; none for a sweep, which the caller spaces by its cost.
-- Survives: two rescuers (the advisory lock, taken in a statement before); a completion at work (its job is skipped, the lease
-- stays for the next time); a claim that commits after its worker was taken for dead (found here, by its worker); a server
-- that was away (nobody is late until stale_after has passed since its start).
create or replace function "pawl".rescue(most integer, judge boolean, sweep boolean)
returns table (workers bigint, leases bigint, jobs bigint, poisoned bigint)
language plpgsql set plan_cache_mode = force_generic_plan set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  gone   bigint[];
  lost   uuid[];
  queues text[];
  ties   jsonb;
begin
  workers := 0; leases := 0; jobs := 0; poisoned := 0;
  if not pg_try_advisory_xact_lock(hashtextextended('"pawl".rescue', 0)) then
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
         or l.worker_id is not null and not exists (select from "pawl".worker w where w.id = l.worker_id and w.gone_at is null)
      order by random() -- Leases that cannot be emptied now must not stand before the others for ever.
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
  with pair as materialized (
    select u.id, u.epoch
    from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch)
    where l.id = any (lost)
    order by u.id
  ),
  mine as materialized (
    select j.id, j.epoch, (j.strikes + 1)::smallint as strikes
    from pair u,
         lateral (select j.* from "pawl".job j where j.id = u.id and j.epoch = u.epoch for update skip locked) j
  ),
  back as (
    update "pawl".job j
    set epoch = j.epoch + 1, strikes = m.strikes, pos = nextval('"pawl".pos')
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.strikes < 3
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.strikes
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, "pawl".lane(b.priority, b.strikes, true), b.queue, b.channel
    from back b
    returning queue
  ),
  over as (
    delete from "pawl".job j
    using mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.strikes >= 3
    returning j.*, m.strikes as struck
  ),
  buried as (
    insert into "pawl".dead (id, epoch, finished_at, expires_at, created_at, run_at, priority, attempt, max_attempts, strikes, reason,
                           queue, channel, kind, args, data, fingerprint, unique_key, opts, errors, checkpoint)
    select o.id, o.epoch, moment, moment + t.retain, o.created_at, o.run_at, o.priority, o.attempt, o.max_attempts, o.struck,
           'poison', o.queue, o.channel, o.kind, o.args, o.data, o.fingerprint, o.unique_key, o.opts, o.errors, o.checkpoint
    from over o
    left join "pawl".queue q on q.name = o.queue,
    lateral (select coalesce(q.retain_dead, interval '30 days') as retain) t
    where t.retain > '0'
  )
  select (select count(*) from mine), (select count(*) from over), array(select distinct r.queue from ready r),
         (select jsonb_agg("pawl".tie(o.id, o.queue, o.channel, o.opts)) from over o where o.tied)
  into jobs, poisoned, queues, ties;
  if ties is not null then
    perform "pawl".loosen(ties, 'dead');
  end if;

  delete from "pawl".lease l
  where l.id = any (lost)
    and not exists (
      select from unnest(l.jobs, l.epochs) as u (id, epoch)
      join "pawl".job j on j.id = any (array[u.id]) and j.epoch = u.epoch
    );
  perform "pawl".wake(queues);
  return next;
end $$;

-- resume_channel: let an ordered channel go on that stands still because its head died. Returns whether it stood still.
-- Survives: inserts into the channel (its lock, taken in a statement before).
create or replace function "pawl".resume_channel(queue text, channel text) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  head bigint;
begin
  perform pg_current_xact_id();
  perform pg_advisory_xact_lock("pawl".channel_class(resume_channel.queue), "pawl".channel_object(resume_channel.channel));
  delete from "pawl".halt h where h.queue = resume_channel.queue and h.channel = resume_channel.channel;
  if not found then
    return false;
  end if;
  select t.job_id into head from "pawl".turn t
  where t.queue = resume_channel.queue and t.channel = resume_channel.channel
  order by t.pos limit 1;
  if found and not "pawl".issue(head) then
    -- Somebody has it locked: its turn comes with the next settle.
    insert into "pawl".loose (job_id, queue, channel, ordered, became)
    values (0, resume_channel.queue, resume_channel.channel, true, 'completed');
  end if;
  return true;
end $$;

-- retry: let jobs run now: the dead and the cancelled live again, with an attempt more if they had used theirs up; the scheduled
-- need not wait. Returns the ids that were changed; the ready and the running are left as they are, and the finished whose
-- unique key another has.
-- Moves: a row from dead or archive to job, or a ticket from scheduled, and a new ticket in ready, the epoch one up. The dead head
-- of a halted channel gets its old place and lets the channel go on; another ordered job goes to the end of its channel.
-- Index: primary keys; for the cancelled archive's BRIN.
-- Survives: two retries (the row is deleted by one of them); a promotion at work (this waits for the ticket, and finds it gone);
-- a key taken meanwhile (an error, SQLSTATE 23505, and nothing is changed).
-- Locks channels, then jobs by id, then tickets.
create or replace function "pawl".retry(ids bigint[]) returns setof bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  woken text[];
  back  bigint[];
  died  bigint[];
  rose  bigint[];
  head  bigint;
  tied  record;
begin
  perform pg_current_xact_id();
  perform pg_advisory_xact_lock(c.class, c.object)
  from (
    select distinct "pawl".channel_class(f.queue) as class, "pawl".channel_object(f.channel) as object
    from (select d.queue, d.channel from "pawl".dead d where d.id = any (retry.ids) and d.opts ? 'ordered'
          union all
          select a.queue, a.channel from "pawl".archive a where a.id = any (retry.ids) and a.state = 'cancelled' and a.opts ? 'ordered') f
    order by 1, 2
  ) c;
  perform j.id
  from (select u.id from unnest(retry.ids) as u (id) order by u.id) u,
       lateral (select j.id from "pawl".job j where j.id = u.id for update) j;
  with dead as (
    delete from "pawl".dead d
    where d.id = any (retry.ids) and "pawl".key_is_free(d.id, d.queue, d.unique_key, d.opts)
    returning d.id, d.created_at, d.epoch, d.priority, d.attempt, d.max_attempts, d.queue, d.channel, d.kind, d.args, d.data,
              d.fingerprint, d.unique_key, d.opts, d.errors, d.checkpoint
  ),
  cancelled as (
    delete from "pawl".archive a
    where a.id = any (retry.ids) and a.state = 'cancelled' and "pawl".key_is_free(a.id, a.queue, a.unique_key, a.opts)
    returning a.id, a.created_at, a.epoch, a.priority, a.attempt, a.max_attempts, a.queue, a.channel, a.kind, a.args, a.data,
              a.fingerprint, a.unique_key, a.opts, a.errors, a.checkpoint
  ),
  risen as (
    insert into "pawl".job (id, pos, created_at, run_at, epoch, priority, attempt, max_attempts, queue, channel, kind, args, data,
                          fingerprint, unique_key, opts, errors, checkpoint, tied)
    select f.id, nextval('"pawl".pos'), f.created_at, clock_timestamp(), f.epoch + 1, f.priority, f.attempt,
           case when f.attempt >= coalesce(f.max_attempts, q.max_attempts, 20) then least(f.attempt + 1, 32767) else f.max_attempts end,
           f.queue, f.channel, f.kind, f.args, f.data, f.fingerprint, f.unique_key, f.opts, f.errors, f.checkpoint,
           f.unique_key is not null or coalesce(f.opts ?| array['ordered', 'batch'], false)
             or exists (select from "pawl".wait w where w.parent_id = f.id)
    from (select * from dead union all select * from cancelled) f
    left join "pawl".queue q on q.name = f.queue
    returning id, pos, epoch, priority, strikes, queue, channel, tied
  ),
  ticket as (
    delete from "pawl".scheduled s using "pawl".job j
    where j.id = any (retry.ids) and s.queue = any (array[j.queue]) and s.run_at = j.run_at and s.job_id = j.id
    returning s.job_id, s.epoch
  ),
  moved as (
    update "pawl".job j
    set epoch = j.epoch + 1, pos = nextval('"pawl".pos'), run_at = clock_timestamp()
    from ticket t
    where j.id = any (array[t.job_id]) and j.epoch = t.epoch
    returning j.id, j.pos, j.epoch, j.priority, j.strikes, j.queue, j.channel
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select n.pos, n.id, n.epoch, "pawl".lane(n.priority, n.strikes, false), n.queue, n.channel
    from (select id, pos, epoch, priority, strikes, queue, channel from risen where not tied
          union all
          select id, pos, epoch, priority, strikes, queue, channel from moved) n
  ),
  parked as (
    insert into "pawl".parked (job_id, epoch, queue)
    select r.id, r.epoch, r.queue from risen r where r.tied
  )
  select array_agg(c.id), array_agg(distinct c.queue), array(select d.id from dead d), array(select r.id from risen r) into back, woken, died, rose
  from (select id, queue from risen union all select id, queue from moved) c;

  for tied in
    select j.id, j.queue, j.channel, j.unique_key, j.opts, case when j.id = any (died) then 'dead' else 'cancelled' end as was
    from unnest(rose) as u (id), lateral (select j.* from "pawl".job j where j.id = u.id and j.tied) j
    order by j.id
  loop
    if tied.unique_key is not null then
      insert into "pawl".hold as h (scope, key, job_id, live, until_start)
      values ("pawl".key_scope(tied.queue, tied.opts), tied.unique_key, tied.id, true, coalesce(tied.opts ? 'until_start', false))
      on conflict (scope, key) do update set job_id = excluded.job_id, live = true, until_start = excluded.until_start
        where h.job_id = excluded.job_id or not h.live and (h.keep_until is null or h.keep_until <= clock_timestamp());
      if not found then
        raise exception 'pawl: the unique key of job % was taken by another meanwhile', tied.id using errcode = '23505';
      end if;
    end if;
    if tied.opts ? 'batch' then
      perform from "pawl".batch b where b.id = (tied.opts ->> 'batch')::bigint for update;
      delete from "pawl".loose l where l.job_id = tied.id;
      if not found then -- Its end was counted.
        perform "pawl".count_batch((tied.opts ->> 'batch')::bigint, tied.was, -1);
      end if;
    end if;
    if tied.opts ? 'ordered' then
      delete from "pawl".turn t where t.job_id = tied.id; -- Of its end, if that is not settled yet.
      delete from "pawl".loose l where l.job_id = tied.id;
      delete from "pawl".halt h where h.queue = tied.queue and h.channel = tied.channel and h.job_id = tied.id;
      insert into "pawl".turn (queue, channel, pos, job_id)
      values (tied.queue, tied.channel, case when found then tied.id else nextval('"pawl".pos') end, tied.id);
      -- If its end was not settled yet it was the head; now another is.
      select t.job_id into head from "pawl".turn t where t.queue = tied.queue and t.channel = tied.channel order by t.pos limit 1;
      if head <> tied.id and not "pawl".issue(head) then
        insert into "pawl".loose (job_id, queue, channel, ordered, became) values (0, tied.queue, tied.channel, true, 'completed');
      end if;
    end if;
    perform "pawl".issue(tied.id);
  end loop;
  perform "pawl".wake(woken);
  return query select unnest(back);
end $$;

-- settle: do what follows from the end of tied jobs: the next of an ordered channel gets its ticket, jobs that waited get theirs or
-- are cancelled, batches are counted.
--   most   rows of loose at once
-- Moves: rows out of loose, turn, wait; tickets by issue. Returns how many ends were settled, how many were left, and whether there
-- are more because jobs were cancelled.
-- Survives: two settlers (skip locked); a stranger who has a channel or a job locked (its end is left for the next time); a crash
-- (the ends are rows, written by the transaction that finished the jobs).
-- A settler takes the channel's lock as inserters do: an inserter that found the line not empty is committed when the lock is had.
create or replace function "pawl".settle(most integer) returns table (settled integer, "left" integer, more boolean)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  done    record;
  child   record;
  head    bigint;
  halting boolean;
  later   boolean;
begin
  perform pg_current_xact_id();
  settled := 0; "left" := 0; more := false;
  for done in
    select l.id, l.job_id, l.queue, l.channel, l.ordered, l.batch, l.became
    from "pawl".loose l
    order by l.id
    limit most
    for update skip locked
  loop
    later := false;
    if done.ordered then
      if not pg_try_advisory_xact_lock("pawl".channel_class(done.queue), "pawl".channel_object(done.channel)) then
        "left" := "left" + 1;
        continue;
      end if;
      -- Each in a statement of its own: its snapshot must be younger than the lock.
      delete from "pawl".turn t where t.job_id = done.job_id;
      if found and done.became = 'dead' then
        select q.halt_on_dead into halting from "pawl".queue q where q.name = done.queue;
        if halting then
          insert into "pawl".halt (queue, channel, job_id, halted_at)
          values (done.queue, done.channel, done.job_id, clock_timestamp())
          on conflict do nothing;
        end if;
      end if;
      select t.job_id into head from "pawl".turn t where t.queue = done.queue and t.channel = done.channel order by t.pos limit 1;
      later := found and not "pawl".issue(head);
    end if;

    for child in select w.child_id, w.on_state, w.hold from "pawl".wait w where w.parent_id = done.job_id order by w.child_id loop
      perform from "pawl".job j where j.id = child.child_id for update skip locked;
      if not found then
        perform from "pawl".job j where j.id = child.child_id;
        if found then
          later := true;
        else
          delete from "pawl".wait w where w.child_id = child.child_id;
        end if;
        continue;
      end if;
      if child.on_state = 'any' or child.on_state = 'ok' and done.became = 'completed'
         or child.on_state = 'not_ok' and done.became in ('dead', 'cancelled') then
        delete from "pawl".wait w where w.parent_id = done.job_id and w.child_id = child.child_id and w.on_state = child.on_state;
        perform "pawl".issue(child.child_id);
      elsif not (child.hold and done.became = 'dead') then
        delete from "pawl".wait w where w.child_id = child.child_id;
        perform "pawl".remove(array[child.child_id], array[null::integer], true);
        more := true;
      end if;
    end loop;

    -- The last step, because it is done once: what was left before is not counted.
    if not later and done.batch is not null then
      later := not "pawl".count_batch(done.batch, done.became, 1);
    end if;
    if later then
      "left" := "left" + 1;
    else
      delete from "pawl".loose l where l.id = done.id;
      settled := settled + 1;
    end if;
  end loop;
  return next;
end $$;

-- sleep_key: the advisory lock that says "somebody sleeps on this queue"; '*' is all queues.
create or replace function "pawl".sleep_key(queue text) returns bigint language sql immutable parallel safe as $$
  select hashtextextended('"pawl".sleep ' || queue, 0)
$$;

-- spend: put down what a claim took of limited queues: permits where there is a limit of how many run, tokens where there is a rate.
--   lease   of the claim; called in its transaction, under the queues' locks
create or replace function "pawl".spend(limited text[], lease uuid) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  took record;
begin
  insert into "pawl".permit (queue, channel, job_id, lease)
  select j.queue, j.channel, j.id, spend.lease
  from "pawl".lease l,
       unnest(l.jobs) as u (id),
       lateral (select j.id, j.queue, j.channel from "pawl".job j where j.id = u.id) j,
       lateral (select from "pawl".queue q
                where q.name = j.queue and (q.max_running is not null or q.channel_max_running is not null)) q
  where l.id = spend.lease and j.queue = any (spend.limited);

  for took in
    select j.queue, c.of_channel, case when c.of_channel then j.channel else '' end as channel, count(*) as n,
           case when c.of_channel then q.channel_rate else q.rate end as rate
    from "pawl".lease l
    cross join unnest(l.jobs) as u (id)
    cross join lateral (select j.queue, j.channel from "pawl".job j where j.id = u.id) j
    cross join (values (false), (true)) as c (of_channel)
    cross join lateral (select q.rate, q.channel_rate from "pawl".queue q where q.name = j.queue) q
    where l.id = spend.lease and j.queue = any (spend.limited) and case when c.of_channel then q.channel_rate else q.rate end is not null
    group by 1, 2, 3, 5
    order by 1, 2, 3
  loop
    insert into "pawl".bucket as b (queue, of_channel, channel, tokens, at)
    values (took.queue, took.of_channel, took.channel, "pawl".tokens(took.queue, took.of_channel, took.channel, took.rate) - took.n, clock_timestamp())
    on conflict (queue, of_channel, channel) do update set tokens = excluded.tokens, at = excluded.at;
  end loop;
end $$;

-- stats: how many jobs each queue has in which state, and for how many seconds the oldest has been ready, or due (lag).
--   most   counts up to it are exact; beyond, the rest of the table is shared among the queues with more, as the planner's statistics have it
-- Moves nothing. Each count has a snapshot of its own. Index: ready, scheduled, parked and dead by queue, at most `most` entries a queue; the head of every lane, of at
-- most `most` in all; what is held by way of the leases, at most ten times `most`.
create or replace function "pawl".stats(most integer) returns table (
  queue text, reserved bigint, scheduled bigint, ready bigint, running bigint, dead bigint, estimated boolean,
  oldest_ready double precision, lag double precision
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  names  text[];
  counts bigint[]; -- Of names, by kind: reserved, scheduled, ready, dead.
  exact  boolean[];
  few    bigint;
  rest   bigint;
  share  bigint[];
  total  bigint;
  lanes  integer := 0;
  lane   record;
  first  bigint;
  since  timestamptz;
  held   jsonb;
  pairs  bigint;
  tables constant text[] := array['parked', 'scheduled', 'ready', 'dead'];
  conditions constant text[] := array['t.expires_at is not null', 'true', 'true', 'true'];
  n      bigint[];
  i      integer;
  k      integer;
begin
  names := array(
    with recursive dead as (
      (select d.queue from "pawl".dead d order by d.queue limit 1)
      union all
      select n.queue from dead r, lateral (select d.queue from "pawl".dead d where d.queue > r.queue order by d.queue limit 1) n
    )
    select queue collate "C" from "pawl".queues() as u (queue) union select queue from dead union select q.name from "pawl".queue q order by 1
  );
  counts := '{}';
  exact := array_fill(true, array[cardinality(names)]);
  for k in 1 .. 4 loop
    execute format('select array_agg(c.n order by u.ord) from unnest($1) with ordinality as u (name, ord),
        lateral (select count(*) as n from (select from "pawl".%I t where t.queue = u.name and %s limit $2 + 1) x) c', tables[k], conditions[k])
      into n using names, most;
    if most < any (n) then
      select coalesce(sum(c) filter (where c <= most), 0), array_agg(case when c > most then
               "pawl".planned(format('select from "pawl".%I t where t.queue = %L and %s', tables[k], name, conditions[k])) else 0 end order by ord)
      into few, share
      from unnest(names, n) with ordinality as u (name, c, ord);
      select greatest(sum(s), 1) into total from unnest(share) as s;
      rest := greatest("pawl".planned(format('select from "pawl".%I t where %s', tables[k], conditions[k])) - few, 0);
      for i in 1 .. cardinality(names) loop
        if n[i] > most then
          n[i] := greatest(n[i], (rest::numeric * share[i] / total)::bigint);
          exact[i] := false;
        end if;
      end loop;
    end if;
    counts := counts || n;
  end loop;

  select coalesce(sum(cardinality(l.jobs)), 0) into pairs from "pawl".lease l;
  select jsonb_object_agg(h.queue, h.n) into held
  from (
    select j.queue, count(*) as n
    from (select u.id, u.epoch from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch) limit 10 * most) u,
         lateral (select j.queue from "pawl".job j where j.id = u.id and j.epoch = u.epoch) j
    group by j.queue
  ) h;

  for i in 1 .. cardinality(names) loop
    queue := names[i];
    reserved := counts[i]; scheduled := counts[cardinality(names) + i]; ready := counts[2 * cardinality(names) + i]; dead := counts[3 * cardinality(names) + i];
    running := coalesce((held ->> names[i])::bigint, 0);
    estimated := not exact[i];
    if pairs > 10 * most then
      running := running * pairs / (10 * most);
      estimated := true;
    end if;
    first := null; since := null;
    select t.priority, t.channel, t.pos, t.job_id into lane
    from "pawl".ready t where t.queue = names[i] order by t.priority, t.channel, t.pos limit 1;
    while found loop
      if first is null or lane.pos < first then
        first := lane.pos;
        select coalesce(j.run_at, j.created_at) into since from "pawl".job j where j.id = lane.job_id;
      end if;
      lanes := lanes + 1;
      if lanes > most then
        estimated := true;
        exit;
      end if;
      select t.priority, t.channel, t.pos, t.job_id into lane
      from "pawl".ready t
      where t.queue = names[i] and (t.priority, t.channel) > (lane.priority, lane.channel)
      order by t.priority, t.channel, t.pos limit 1;
    end loop;
    oldest_ready := greatest(extract(epoch from moment - since), 0);
    lag := greatest(oldest_ready, (select extract(epoch from moment - s.run_at) from "pawl".scheduled s where s.queue = names[i] order by s.run_at limit 1), 0);
    return next;
  end loop;
end $$;

-- take_cron: lock the schedule that has been due longest and that nobody holds, for the rest of the transaction, which then inserts
-- the jobs of its ticks and says tick_cron.
--   names, specs, zones   schedules to leave out, as long as they read like this
-- Moves nothing. Returns the schedule and the database's time, or no row.
-- Index: the head of cron_next_at.
-- Survives: two takers of one tick (skip locked, and the row is looked at again once it is locked); a taker that dies (its
-- transaction goes with it); one that is frozen or cut off (the server ends its session after ten seconds without a word).
create or replace function "pawl".take_cron(names text[], specs text[], zones text[]) returns table (
  name text, spec text, zone text, job text, jitter double precision, catch_up integer, last_at timestamptz, next_at timestamptz, moment timestamptz
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
  select m.name, m.spec, m.zone, m.job::text, extract(epoch from m.jitter)::double precision, m.catch_up, m.last_at, m.next_at, clock_timestamp()
  from mine m;
end $$;

-- tell_worker: what a worker is to be: ready, suspended (claims nothing), stopping (finishes what it runs and ends).
-- Returns what it is from now on: stopping stays so. Null: there is none of this id that lives.
create or replace function "pawl".tell_worker(worker bigint, state text) returns text
language plpgsql as $$
#variable_conflict use_column
declare
  told text;
begin
  update "pawl".worker w
  set state = case when w.state = 'stopping' then w.state else tell_worker.state end
  where w.id = tell_worker.worker and w.gone_at is null
  returning w.state into told;
  if found then
    perform "pawl".hail();
  end if;
  return told;
end $$;

-- tick_cron: in the transaction of a take_cron: say which tick became a job last (null: none did) and which is next.
-- Index: cron's primary key.
create or replace function "pawl".tick_cron(name text, last_at timestamptz, next_at timestamptz) returns void
language sql as $$
  update "pawl".cron c set last_at = coalesce(tick_cron.last_at, c.last_at), next_at = tick_cron.next_at where c.name = tick_cron.name
$$;

-- tie: a finished tied job as loosen takes it.
create or replace function "pawl".tie(id bigint, queue text, channel text, opts jsonb) returns jsonb language sql immutable parallel safe as $$
  select jsonb_build_object('id', id, 'queue', queue, 'channel', channel, 'ordered', coalesce(opts ? 'ordered', false), 'batch', opts -> 'batch')
$$;

-- tokens: how many starts a rate allows now, with fractions; null where there is no rate. Moves nothing.
create or replace function "pawl".tokens(queue text, of_channel boolean, channel text, rate jsonb) returns double precision
language sql volatile as $$
  select case when tokens.rate is not null then coalesce(
    (select least((tokens.rate ->> 'burst')::double precision,
                  b.tokens + greatest(extract(epoch from clock_timestamp() - b.at), 0)
                             * (tokens.rate ->> 'n')::double precision / (tokens.rate ->> 'per')::double precision)
     from "pawl".bucket b
     where b.queue = tokens.queue and b.of_channel = tokens.of_channel and b.channel = tokens.channel),
    (tokens.rate ->> 'burst')::double precision) end
$$;

-- unclaim: undo a claim whose answer was lost.
--   lease    the id the claimer had chosen
-- Moves: the lease's live jobs back to ready as returned, without attempt or strike; the lease row away.
-- Survives: the claim still at work on the server. The tombstone has the lease's own id: either it waits for that claim and then
-- sees its lease, or the claim meets it and fails as a whole. Tombstones expire and go with the next rescue.
create or replace function "pawl".unclaim(lease uuid) returns bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off as $$
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
    set epoch = j.epoch + 1, pos = nextval('"pawl".pos')
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.strikes
  ),
  ready as (
    insert into "pawl".ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, "pawl".lane(b.priority, b.strikes, true), b.queue, b.channel
    from back b
  )
  select count(*) into returned from back b;
  return returned;
end $$;

-- unregister: a worker is gone by its own will. Leases it still had are lost from now on.
create or replace function "pawl".unregister(worker bigint) returns void language sql as $$
  update "pawl".worker w
  set state = 'stopped', running = 0, gone_at = clock_timestamp()
  where w.id = worker and w.gone_at is null
$$;

-- verify: count what breaks the invariant: a live job has exactly one of a ticket with its epoch or a place in a lease with its epoch;
-- what is parked waits for something; of an ordered channel only the head is out.
-- Moves nothing. Reads all live jobs: not for a hot path. One snapshot, so it may run beside the queue at work.
create or replace function "pawl".verify() returns table (problem text, jobs bigint, example bigint) language sql stable as $$
  with place as (
    select t.job_id, t.epoch, 'ready' as kind from "pawl".ready t
    union all
    select s.job_id, s.epoch, 'scheduled' from "pawl".scheduled s
    union all
    select p.job_id, p.epoch, 'parked' from "pawl".parked p
    union all
    select u.id, u.epoch, 'lease' from "pawl".lease l, unnest(l.jobs, l.epochs) as u (id, epoch)
  ),
  counted as (
    select j.id, count(p.job_id) as places
    from "pawl".job j
    left join place p on p.job_id = j.id and p.epoch = j.epoch
    group by j.id
  ),
  stray as (
    select p.job_id, p.kind
    from place p
    where p.kind <> 'lease' and not exists (select from "pawl".job j where j.id = p.job_id and j.epoch = p.epoch)
  ),
  twice as (
    select id from "pawl".job intersect (select id from "pawl".archive union all select id from "pawl".dead) -- by hash: the archive has no b-tree
  )
  select 'live job with neither ticket nor lease', count(*), min(id) from counted where places = 0
  union all
  select 'live job with more than one ticket or lease', count(*), min(id) from counted where places > 1
  union all
  select 'ticket without its job', count(*), min(job_id) from stray
  union all
  select 'job both live and finished', count(*), min(id) from twice
  union all
  select 'parked job that waits for nothing', count(*), min(p.job_id)
  from "pawl".parked p
  where p.expires_at is null
    and not exists (select from "pawl".loose)
    and not exists (select from "pawl".wait w where w.child_id = p.job_id)
    and not exists (
      select from "pawl".turn own
      where own.job_id = p.job_id
        and (exists (select from "pawl".turn t where t.queue = own.queue and t.channel = own.channel and t.pos < own.pos)
             or exists (select from "pawl".halt h where h.queue = own.queue and h.channel = own.channel))
    )
  union all
  select 'ordered job before which another of its channel has its ticket', count(*), min(a.job_id)
  from "pawl".turn a
  join "pawl".turn b on b.queue = a.queue and b.channel = a.channel and b.pos > a.pos
  where exists (select from "pawl".job j where j.id = a.job_id)
    and exists (select from "pawl".job j where j.id = b.job_id)
    and not exists (select from "pawl".parked p where p.job_id = b.job_id)
  union all
  select 'unique key of a job that is gone', count(*), min(h.job_id)
  from "pawl".hold h
  where h.live and not exists (select from "pawl".job j where j.id = h.job_id)
$$;

-- wake: notify the runners asleep on these queues, and nobody if none is.
-- NOTIFY serialises all commits of the server, so it must not ride on every insert. A sleeper holds a shared session lock
-- on its queue's key ('*' for all queues); whoever can take that key alone knows that nobody sleeps.
-- Runs in the transaction of the change and is heard at its commit. The lock is given back at once, so a pooler is no danger.
-- Returns how many queues had a sleeper.
create or replace function "pawl".wake(queues text[]) returns integer language plpgsql as $$
declare
  woken integer := 0;
  q     text;
begin
  for q in select distinct u.q from unnest(queues) u (q) loop
    if pg_try_advisory_lock("pawl".sleep_key(q)) then
      perform pg_advisory_unlock("pawl".sleep_key(q));
      if pg_try_advisory_lock("pawl".sleep_key('*')) then
        perform pg_advisory_unlock("pawl".sleep_key('*'));
        continue;
      end if;
    end if;
    perform pg_notify('"pawl".wake', q);
    woken := woken + 1;
  end loop;
  return woken;
end $$;

-- wrong: what is the matter with a job that SQL inserts: {kind, args, opts}. Null: nothing. What Insert of the Go client asks of every
-- job is asked here too: what a claim could not read must not get in.
create or replace function "pawl".wrong(job jsonb) returns text language plpgsql immutable parallel safe as $$
#variable_conflict use_variable
declare
  opts jsonb := jsonb_strip_nulls(coalesce(nullif(job -> 'opts', 'null'), '{}'));
  one  record;
  bad  text;
begin
  if jsonb_typeof(job -> 'kind') is distinct from 'string' or job ->> 'kind' = '' then
    return 'it has no kind';
  elsif jsonb_typeof(opts) <> 'object' then
    return 'its opts are no object';
  end if;
  for one in
    select o.key, o.value, case
      when o.key in ('queue', 'channel', 'fingerprint', 'data', 'run_at') then 'string'
      when o.key in ('priority', 'delay', 'max_attempts', 'reserve') then 'number'
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
    from (values ('kind', job ->> 'kind'), ('queue', opts ->> 'queue'), ('channel', opts ->> 'channel'), ('fingerprint', opts ->> 'fingerprint'),
                 ('unique.key', opts -> 'unique' ->> 'key')) as n (what, name)
  loop
    if octet_length(one.name) > 255 then
      return format('%s is %s bytes long; at most 255', one.what, octet_length(one.name));
    end if;
  end loop;
  select u.key into bad from jsonb_object_keys(coalesce(opts -> 'unique', '{}')) as u (key)
  where u.key <> all ('{key,period,global,until_start,replace,reschedule}') limit 1;
  if found then
    return 'there is no option unique.' || bad;
  end if;
  select b.key into bad from jsonb_each(coalesce(opts -> 'backoff', '{}')) as b (key, value)
  where b.key <> all ('{base,max,growth,power,jitter}') or jsonb_typeof(b.value) <> 'number'
     or b.key in ('base', 'max', 'growth') and b.value::numeric <= 0 or b.key = 'power' and abs(b.value::numeric) > 100
     or b.key = 'jitter' and b.value::numeric not between 0 and 1
  limit 1;
  return case
    when bad is not null then format('backoff.%s: want base, max and growth above 0, power from -100 to 100, jitter from 0 to 1', bad)
    when opts ->> 'queue' = '' then 'queue is empty'
    when (opts ->> 'priority')::numeric not between -32768 and 32767 then 'want a priority from -32768 to 32767'
    when (opts ->> 'max_attempts')::numeric not between 1 and 32767 then 'want max_attempts from 1 to 32767'
    when (opts ->> 'delay')::numeric < 0 then 'delay is negative'
    when (opts ->> 'reserve')::numeric <= 0 then 'want a reserve above 0'
    when opts ? 'delay' and opts ? 'run_at' then 'delay beside run_at: one of them'
    when (opts -> 'ordered')::boolean and (opts ->> 'priority')::numeric <> 0 then 'an ordered job has no priority'
    when opts ? 'unique' and coalesce(opts -> 'unique' ->> 'key', '') = '' then 'unique has no key'
    when (opts -> 'unique' ->> 'period')::numeric < 0 then 'unique.period is negative'
    when exists (select from jsonb_each(coalesce(opts -> 'headers', '{}')) as h (key, value) where jsonb_typeof(h.value) <> 'string')
      then 'headers are strings by name'
    when exists (select from jsonb_array_elements(coalesce(opts -> 'after', '[]')) as a (value)
                 where jsonb_typeof(a.value -> 'id') is distinct from 'number' or (a.value ->> 'id')::numeric < 1
                    or coalesce(a.value ->> 'on', 'ok') <> all ('{ok,any,not_ok}'))
      then 'after: want {id, on: ok, any or not_ok, hold}'
  end;
end $$;
commit;
