-- register: make a worker's row. Returns its id, which is never used again.
--   queues null: all      stale: how long it may be silent before its jobs are rescued
create or replace function pawl.register(name text, host text, pid integer, version text, queues text[], stale interval) returns bigint
language sql as $$
  insert into pawl.worker (name, host, pid, version, queues, started_at, seen_at, stale_after)
  values (name, host, pid, version, queues, clock_timestamp(), clock_timestamp(), stale)
  returning id
$$;
