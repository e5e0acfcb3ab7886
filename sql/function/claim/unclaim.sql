-- unclaim reverses a claim whose reply was lost.
--   lease   the id that the claimer had chosen
-- Moves: the live jobs of the lease back to ready, in the lane of returned jobs, without an attempt or a crash; the
-- lease row out. Returns how many jobs were returned.
-- Index: lease's and job's primary keys.
-- Survives: the claim, if it still runs on the server. This inserts an empty lease with the same id. Either the
-- insert waits for the claim and then sees its lease, or the claim meets the empty lease and fails as a whole.
-- Empty leases expire, and the next rescue deletes them.
create or replace function pawl.unclaim(lease uuid) returns bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  returned bigint;
begin
  insert into pawl.lease (id, expires_at, jobs, epochs)
  values (unclaim.lease, clock_timestamp() + interval '1 minute', '{}', '{}')
  on conflict (id) do nothing;
  if found then
    return 0;
  end if;
  with gone as (
    delete from pawl.lease l where l.id = unclaim.lease returning l.jobs, l.epochs
  ),
  mine as materialized (
    select j.id, j.epoch
    from (select u.id, u.epoch from gone g, unnest(g.jobs, g.epochs) as u (id, epoch) order by u.id) u,
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
  select count(*) into returned from back b;
  return returned;
end $$;
