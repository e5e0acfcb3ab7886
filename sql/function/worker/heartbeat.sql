-- heartbeat: a worker's heartbeat.
--   worker, running   its id and how many jobs it runs      ids, epochs   what it holds
-- Moves: the worker's seen_at. Returns what it is to be (ready, suspended, stopping) and the ids of jobs it lost singly; a null state if
-- the worker was taken for dead: all it held is lost.
-- Index: primary keys.
create or replace function pawl.heartbeat(worker bigint, running integer, ids bigint[], epochs integer[]) returns table (state text, missing bigint[])
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  update pawl.worker w set seen_at = clock_timestamp(), running = heartbeat.running where w.id = heartbeat.worker and w.gone_at is null
  returning w.state into heartbeat.state;
  if found then
    heartbeat.missing := pawl.find_missing(heartbeat.ids, heartbeat.epochs);
  end if;
  return next;
end $$;
