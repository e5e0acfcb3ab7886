-- beat: a worker's heartbeat.
--   worker, running   its id and how many jobs it runs      ids, epochs   what it holds
-- Moves: the worker's seen_at. Returns null if the worker was taken for dead: all it held is lost; else the ids of jobs it lost singly.
-- Index: primary keys.
create or replace function pawl.beat(worker bigint, running integer, ids bigint[], epochs integer[]) returns bigint[]
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  update pawl.worker w set seen_at = clock_timestamp(), running = beat.running where w.id = beat.worker and w.gone_at is null;
  if not found then
    return null;
  end if;
  return pawl.missing(beat.ids, beat.epochs);
end $$;
