-- return_lost returns jobs of lost leases to their queues. rescue calls it, for the leases that it has locked.
--   ids, epochs   the jobs
-- Moves: each job that is still at its epoch gets the next epoch, one crash more and a ticket in the lane of returned
-- jobs; with the third crash it moves to dead.
-- Returns how many jobs these were, how many of them died ("poison"), and the queues with new tickets.
-- Index: job's primary key.
-- Survives: another transaction that has locked a job row (that job is skipped).
create or replace function pawl.return_lost(ids bigint[], epochs integer[])
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
         lateral (select j.* from pawl.job j where j.id = u.id and j.epoch = u.epoch for update skip locked) j
  ),
  back as (
    update pawl.job j
    set epoch = pawl.next_epoch(j.epoch), crashes = m.crashes, pos = nextval('pawl.pos')
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.crashes < 3
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.crashes
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, pawl.lane_priority(b.priority, b.crashes, true), b.queue, b.channel
    from back b
    returning queue
  ),
  over as (
    delete from pawl.job j
    using mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.crashes >= 3
    returning j.*, m.crashes as new_crashes
  ),
  buried as (
    insert into pawl.dead (id, epoch, finished_at, expires_at, created_at, run_at, priority, attempt, max_attempts,
                           crashes, reason, queue, channel, kind, args, data, fingerprint, unique_key, opts, errors,
                           checkpoint)
    select o.id, o.epoch, moment, moment + t.retain, o.created_at, o.run_at, o.priority, o.attempt, o.max_attempts,
           o.new_crashes, 'poison', o.queue, o.channel, o.kind, o.args, o.data, o.fingerprint, o.unique_key, o.opts,
           o.errors, o.checkpoint
    from over o
    left join pawl.queue q on q.name = o.queue,
    lateral (select coalesce(q.retain_dead, interval '30 days') as retain) t
    where t.retain > '0'
  )
  select (select count(*) from mine), (select count(*) from over), array(select distinct r.queue from ready r),
         (select jsonb_agg(pawl.followup_of(o.id, o.queue, o.channel, o.opts)) from over o where o.constrained)
  into jobs, poisoned, queues, ended;
  if ended is not null then
    perform pawl.record_followups(ended, 'dead');
  end if;
  return next;
end $$;
