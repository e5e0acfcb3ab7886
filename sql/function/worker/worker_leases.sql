-- worker_leases returns the leases that the database has for a worker, so that the worker can compare them with its
-- own.
-- Moves nothing. Index: lease_worker_id, or none: the caller spaces its calls by their cost.
create or replace function pawl.worker_leases(worker bigint) returns setof uuid language sql stable as $$
  select l.id from pawl.lease l where l.worker_id = worker
$$;
