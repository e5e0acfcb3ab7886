-- release_worker returns the jobs of a worker to their queues, to run before all others, without an attempt or a
-- crash. It returns their number.
-- Moves: jobs back to ready in the lane of returned jobs, their epoch one up; the worker's leases out, except those
-- with permits: handlers may still run, and count against their limits until they end.
-- Index: lease_worker_id, job's primary key.
-- Survives: a completion at the same time (this waits for the job row, and does not return the job).
-- Locks jobs by id, then leases. It skips leases that another transaction has locked: a rescue deletes them later,
-- as leases without a live job.
create or replace function pawl.release_worker(worker bigint) returns bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  leases   uuid[];
  woken    text[];
  returned bigint;
begin
  perform pg_current_xact_id();
  leases := array(select l.id from pawl.lease l where l.worker_id = release_worker.worker);
  with mine as materialized (
    select j.id, j.epoch
    from (select u.id, u.epoch
          from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch)
          where l.id = any (leases)
          order by u.id) u,
         lateral (select j.id, j.epoch from pawl.job j where j.id = u.id and j.epoch = u.epoch for update) j
  ),
  back as (
    update pawl.job j
    set epoch = pawl.next_epoch(j.epoch), pos = nextval('pawl.pos')
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.crashes
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, pawl.lane_priority(b.priority, b.crashes, true), b.queue, b.channel
    from back b
  )
  select count(*), array_agg(distinct b.queue) into returned, woken from back b;
  delete from pawl.lease l
  where l.id = any (array(
    select l.id from pawl.lease l
    where l.id = any (leases)
      and not exists (
        select from unnest(l.jobs, l.epochs) as u (id, epoch)
        join pawl.job j on j.id = any (array[u.id]) and j.epoch = u.epoch
      )
      and not exists (
        select from unnest(l.jobs) as u (id)
        join pawl.permit p on p.job_id = any (array[u.id]) and p.lease = l.id
      )
    for update skip locked
  ));
  if returned > 0 then
    perform pawl.poke_heartbeats(), pawl.wake(woken);
  end if;
  return returned;
end $$;
