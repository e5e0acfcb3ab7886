-- heartbeat: of a worker registered by hand, with how many jobs it holds. Returns what it is to be, as beat; null: it was taken for dead.
-- Index: worker's primary key, lease's worker_id, job's primary key.
create or replace function pawl.heartbeat(worker bigint) returns text
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  holds integer;
begin
  select count(*) into holds
  from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch), lateral (select from pawl.job j where j.id = u.id and j.epoch = u.epoch limit 1) j
  where l.worker_id = heartbeat.worker;
  return (select b.state from pawl.heartbeat(heartbeat.worker, holds, '{}', '{}') b);
end $$;
