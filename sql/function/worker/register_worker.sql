-- register_worker: make a worker's row. Returns its id, which is never used again.
--   queues null: all      stale: how long it may be silent before its jobs are rescued
--   state: ready, or what it was told before it was taken for dead
create or replace function pawl.register_worker(name text, host text, pid integer, version text, queues text[], stale interval, state text default 'ready') returns bigint
language sql as $$
  insert into pawl.worker (name, host, pid, version, queues, started_at, seen_at, stale_after, state)
  values (name, host, pid, version, queues, clock_timestamp(), clock_timestamp(), stale, state)
  returning id
$$;
