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
create or replace function pawl.promote(queues text[], floors timestamptz[], most integer)
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
           from pawl.scheduled s
           where s.queue = u.queue and s.run_at > u.floor and s.run_at <= moment
           order by s.run_at, s.job_id
           limit promote.most
           for update skip locked
         ) r,
         lateral (select from pawl.job j where j.id = r.job_id and j.epoch = r.epoch for update skip locked) j
  ),
  gone as (
    delete from pawl.scheduled s
    where s.ctid = any (array(select d.ticket from due d))
    returning s.job_id, s.epoch, s.run_at
  ),
  -- Only deleted tickets get a position. If another transaction has just changed the time of a due ticket, the lock
  -- above is on the new version of the ticket, and this statement cannot delete it.
  numbered as materialized (
    select g.job_id as id, g.epoch, nextval('pawl.pos') as pos
    from (select g.job_id, g.epoch, g.run_at from gone g order by g.run_at, g.job_id) g
  ),
  job as (
    update pawl.job j
    set pos = n.pos
    from numbered n
    where j.id = any (array[n.id]) and j.epoch = n.epoch
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.crashes
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select j.pos, j.id, j.epoch, pawl.lane_priority(j.priority, j.crashes, false), j.queue, j.channel
    from job j
  )
  select u.queue, d.moved, d.moved >= promote.most,
         case when isfinite(n.run_at) then extract(epoch from n.run_at - moment)::double precision end, moment
  from unnest(promote.queues, promote.floors) as u (queue, floor)
  cross join lateral (select count(*) as moved from due d where d.queue = u.queue) d
  left join lateral (
    select s.run_at from pawl.scheduled s
    where s.queue = u.queue and s.run_at > moment
    order by s.run_at limit 1
  ) n on true;
end $$;
