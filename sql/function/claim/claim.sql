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
create or replace function pawl.claim(
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
    select q.name from pawl.queue q where q.limited and q.name = any (claim.queues) order by q.name
  );
  allowed integer[] := claim.quotas;
  waits   double precision[];
begin
  if cardinality(limited) > 0 then
    select a.quotas, a.waits into allowed, waits
    from pawl.limit_quotas(
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
           from pawl.ready t
           where t.queue = u.queue and t.priority = u.priority and t.channel = u.channel
             and t.pos > u.mark and t.pos <= u.until
           order by t.pos
           limit u.quota
           for update skip locked
         ) r
    where not exists (select from pawl.queue q where q.name = u.queue and q.paused)
      and (claim.worker is null
           or exists (
             select from pawl.worker w
             where w.id = claim.worker and w.gone_at is null and (w.pid <> 0 or w.state = 'ready')
           ))
    limit claim.most
  ),
  ticket as (
    delete from pawl.ready t
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
    left join pawl.job j on j.id = t.job_id and j.epoch = t.epoch
    left join pawl.queue q on q.name = t.queue
  ),
  leased as (
    insert into pawl.lease (id, worker_id, expires_at, jobs, epochs)
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
    delete from pawl.unique_key k
    using claimed c
    where c.constrained and k.job_id = any (array[c.id]) and k.until_start
      and (k.keep_until is null or k.keep_until <= clock_timestamp())
  ),
  started as (
    update pawl.unique_key k
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
                then (select pawl.check_claim_size(sum(pawl.expanded_size(c.args, c.data, c.checkpoint)))
                      from claimed c)
                else true end
    from claimed c
  );
  if cardinality(limited) > 0 then
    perform pawl.record_usage(limited, claim.lease);
  end if;
end $$;
