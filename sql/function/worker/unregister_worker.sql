-- unregister_worker records that a worker has stopped. Leases that it still has are lost from now on.
create or replace function pawl.unregister_worker(worker bigint) returns void language sql as $$
  update pawl.worker w
  set state = 'stopped', running = 0, stuck = null, problem = null, gone_at = clock_timestamp()
  where w.id = worker and w.gone_at is null
$$;
