-- register_worker inserts the row of a worker and returns its id, which is never used again.
--   queues   null: all queues
--   stale    how long the worker may be silent before its jobs are rescued
--   state    ready, or the state that the worker had before it was declared lost
create or replace function pawl.register_worker(
  name text, host text, pid integer, version text, queues text[], stale interval, state text default 'ready'
)
returns bigint
language sql as $$
  insert into pawl.worker (name, host, pid, version, queues, started_at, seen_at, stale_after, state)
  values (name, host, pid, version, queues, clock_timestamp(), clock_timestamp(), stale, state)
  returning id
$$;
