-- unregister: a worker is gone by its own will. Leases it still had are lost from now on.
create or replace function pawl.unregister(worker bigint) returns void language sql as $$
  delete from pawl.worker w where w.id = worker
$$;
