-- release_worker: give back what a worker holds, to be run again before all others, no attempt used and no strike. Returns how many.
-- Moves: jobs back to ready as returned, their epoch one up; the worker's leases away, but those that permits are kept by: its handlers
-- may still be at work, and count until they have ended.
-- Index: lease's worker_id, job's primary key.
-- Survives: a completion at work (its job is waited for, and not given back). Locks jobs by id, then leases, and leaves those that
-- somebody has locked: with no live pair they are cleared away as any.
create or replace function pawl.release_worker(worker bigint) returns bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  lost     uuid[];
  woken    text[];
  returned bigint;
begin
  perform pg_current_xact_id();
  lost := array(select l.id from pawl.lease l where l.worker_id = release_worker.worker);
  with mine as materialized (
    select j.id, j.epoch
    from (select u.id, u.epoch from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch) where l.id = any (lost) order by u.id) u,
         lateral (select j.id, j.epoch from pawl.job j where j.id = u.id and j.epoch = u.epoch for update) j
  ),
  back as (
    update pawl.job j
    set epoch = j.epoch + 1, pos = nextval('pawl.pos')
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
    where l.id = any (lost)
      and not exists (select from unnest(l.jobs, l.epochs) as u (id, epoch) join pawl.job j on j.id = any (array[u.id]) and j.epoch = u.epoch)
      and not exists (select from unnest(l.jobs) as u (id) join pawl.permit p on p.job_id = any (array[u.id]) and p.lease = l.id)
    for update skip locked
  ));
  if returned > 0 then
    perform pawl.poke_heartbeats(), pawl.wake(woken);
  end if;
  return returned;
end $$;
