-- heartbeat for a worker that was registered by hand. It records how many jobs the worker has claimed.
-- Returns the state that the worker is to have, as the other heartbeat does; null if it was declared lost.
-- Index: worker's primary key, lease_worker_id, job's primary key.
create or replace function pawl.heartbeat(worker bigint) returns text
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  claimed integer;
begin
  select count(*) into claimed
  from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch),
       lateral (select from pawl.job j where j.id = u.id and j.epoch = u.epoch limit 1) j
  where l.worker_id = heartbeat.worker;
  return (select b.state from pawl.heartbeat(heartbeat.worker, claimed, '{}', '{}') b);
end $$;
