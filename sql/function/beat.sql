-- beat: a worker's heartbeat.
--   worker, running   its id and how many jobs it runs      ids, epochs   what it holds
-- Moves: the worker's seen_at. Returns null if the worker was buried: all it held is lost; else the ids of jobs it lost singly.
-- Index: primary keys.
create or replace function pawl.beat(worker bigint, running integer, ids bigint[], epochs integer[]) returns bigint[]
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  update pawl.worker w set seen_at = clock_timestamp(), running = beat.running where w.id = beat.worker;
  if not found then
    return null;
  end if;
  return array(
    select u.id
    from unnest(beat.ids, beat.epochs) as u (id, epoch)
    where not exists (select from pawl.job j where j.id = u.id and j.epoch = u.epoch)
  );
end $$;
