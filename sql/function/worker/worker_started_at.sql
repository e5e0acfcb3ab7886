-- worker_started_at: when a worker's row was made, null if there is none. After the database went back in time (failed over to a standby that
-- lagged, restored in place) it gives ids of workers away once more: by this a worker tells its own row from another's.
-- Moves nothing. Index: the primary key.
create or replace function pawl.worker_started_at(worker bigint) returns timestamptz
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
  return (select w.started_at from pawl.worker w where w.id = worker_started_at.worker);
end $$;
