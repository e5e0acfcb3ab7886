-- worker_leases: the leases a worker has by the database's account, to be compared with its own.
-- Moves nothing. Index: none; read whole, so the caller spaces it by its cost.
create or replace function pawl.worker_leases(worker bigint) returns setof uuid language sql stable as $$
  select l.id from pawl.lease l where l.worker_id = worker
$$;
