-- worker_started_at returns when the row of a worker was made; null if there is none. After the database went back
-- in time (a failover to a lagging standby, or a restore in place) it gives ids of workers out again. By this time
-- a worker tells its own row from another worker's.
-- Moves nothing. Index: worker's primary key.
create or replace function pawl.worker_started_at(worker bigint) returns timestamptz
language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
begin
  return (select w.started_at from pawl.worker w where w.id = worker_started_at.worker);
end $$;
