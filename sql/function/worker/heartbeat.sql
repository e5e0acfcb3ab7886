-- heartbeat records the heartbeat of a worker.
--   worker, running   its id, and how many jobs it runs
--   ids, epochs       the jobs it has claimed
--   stuck             the kinds of its stuck handlers, one for each, or null
--   problem           what it cannot do, in its own words, or null
-- Moves nothing; the worker's row changes. Returns the state that the worker is to have (ready, suspended,
-- stopping), and the ids of jobs that are not live at their epoch any more. A null state means that the worker was
-- declared lost, with all its jobs.
-- Index: primary keys.
create or replace function pawl.heartbeat(
  worker bigint, running integer, ids bigint[], epochs integer[], stuck text[] default null, problem text default null
)
returns table (state text, missing bigint[])
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  update pawl.worker w
  set seen_at = clock_timestamp(), running = greatest(heartbeat.running, 0), stuck = heartbeat.stuck,
      problem = heartbeat.problem
  where w.id = heartbeat.worker and w.gone_at is null
  returning w.state into heartbeat.state;
  if found then
    heartbeat.missing := pawl.find_missing(heartbeat.ids, heartbeat.epochs);
  end if;
  return next;
end $$;
