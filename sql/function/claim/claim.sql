-- claim: take up to `most` jobs from the given lanes, in the lanes' order, into one new lease.
--   lease    chosen by the claimer, so that it can ask about an answer that was lost
--   worker   its id; null for a consumer
--   lasting  the lease's time; '0' or, of a consumer, null: the queue's, else 30 s; of a worker, null: as long as that lives
--   queues, priorities, channels, marks, untils, quotas   stretches of lanes: take tickets above the mark and up to until, at most
--            the quota
-- Moves: tickets out of ready, one lease row in; frees unique keys held until the start. Returns a row a ticket taken, `found` false where it had no job, so that
-- "nothing came of it" is not mistaken for "nothing there"; a lease was made if any row has a job. And a row without a position a
-- stretch that a limit cut short, with the milliseconds until it is worth asking again in place of the id.
-- Index: ready's primary key, from each mark; job's primary key.
-- Survives: two claimers (skip locked); a verb at work on a job holds its ticket, so no job is joined at an old epoch;
-- a worker taken for dead meanwhile claims nothing, nor does one registered by hand that is suspended; a paused queue gives nothing; a limited one what its limits leave.
create or replace function pawl.claim(
  lease uuid, worker bigint, lasting interval, most integer,
  queues text[], priorities integer[], channels text[], marks bigint[], untils bigint[], quotas integer[]
) returns table (
  queue text, lane integer, channel text, pos bigint, id bigint, found boolean, epoch integer, kind text, args jsonb, data bytea,
  priority smallint, attempt smallint, max_attempts smallint, crashes smallint, constrained boolean, permit boolean, created_at timestamptz, run_at timestamptz,
  fingerprint text, unique_key text, opts jsonb, errors jsonb, checkpoint jsonb, now timestamptz
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  limited text[] := array(select q.name from pawl.queue q where q.limited and q.name = any (claim.queues) order by q.name);
  allowed integer[] := claim.quotas;
  waits   double precision[];
begin
  if cardinality(limited) > 0 then
    select a.quotas, a.waits into allowed, waits
    from pawl.limit_quotas(limited, claim.queues, claim.priorities, claim.channels, claim.marks, claim.untils, claim.quotas) a;
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
           from pawl.ready t
           where t.queue = u.queue and t.priority = u.priority and t.channel = u.channel and t.pos > u.mark and t.pos <= u.until
           order by t.pos
           limit u.quota
           for update skip locked
         ) r
    where not exists (select from pawl.queue q where q.name = u.queue and q.paused)
      and (claim.worker is null or exists (select from pawl.worker w where w.id = claim.worker and w.gone_at is null and (w.pid <> 0 or w.state = 'ready')))
    limit claim.most
  ),
  ticket as (
    delete from pawl.ready t
    where t.ctid = any (array(select ctid from taken))
    returning t.queue, t.priority, t.channel, t.pos, t.job_id, t.epoch
  ),
  held as materialized (
    select t.queue, t.priority as lane, t.channel, t.pos, t.job_id, t.epoch, j.id, j.kind, j.args, j.data,
           j.priority, j.attempt, q.lease as lasting, coalesce(j.max_attempts, q.max_attempts, 20::smallint) as max_attempts, j.crashes, j.constrained,
           q.max_running is not null or q.channel_max_running is not null as permit,
           j.created_at, j.run_at, j.fingerprint, j.unique_key, j.opts, j.errors, j.checkpoint
    from ticket t
    left join pawl.job j on j.id = t.job_id and j.epoch = t.epoch
    left join pawl.queue q on q.name = t.queue
  ),
  leased as (
    insert into pawl.lease (id, worker_id, expires_at, jobs, epochs)
    select claim.lease, claim.worker,
           case when claim.worker is null or claim.lasting is not null then clock_timestamp() + coalesce(nullif(claim.lasting, '0'), max(h.lasting), '30 seconds') end,
           array_agg(h.id), array_agg(h.epoch)
    from held h
    where h.id is not null
    having count(*) > 0
  ),
  freed as (
    delete from pawl.unique_key k
    using held h
    where h.constrained and k.job_id = any (array[h.id]) and k.until_start and (k.keep_until is null or k.keep_until <= clock_timestamp())
  ),
  started as (
    update pawl.unique_key k
    set live = false
    from held h
    where h.constrained and k.job_id = any (array[h.id]) and k.until_start and k.keep_until > clock_timestamp()
  )
  select h.queue, h.lane, h.channel, h.pos, h.job_id, h.id is not null, h.epoch, h.kind, h.args, h.data,
         h.priority, h.attempt, h.max_attempts, h.crashes, h.constrained, h.permit, h.created_at, h.run_at,
         h.fingerprint, h.unique_key, h.opts, h.errors, h.checkpoint, clock_timestamp()
  from held h;
  if cardinality(limited) > 0 then
    perform pawl.record_usage(limited, claim.lease);
  end if;
end $$;
