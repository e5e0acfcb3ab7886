-- register_worker inserts the row of a worker and returns its id, which is never used again.
--   name, host, version   text of which 255 characters are kept
--   queues                null: all queues
--   stale                 how long the worker may be silent before its jobs are rescued, at most 30 days
--   state                 ready, or the state that the worker had before it was declared lost
-- It raises SQLSTATE 22023 for values that rescue could not compute with.
create or replace function pawl.register_worker(
  name text, host text, pid integer, version text, queues text[], stale interval, state text default 'ready'
)
returns bigint
language plpgsql as $$
declare
  worker bigint;
begin
  if pid < 0 or cardinality(queues) > 10000 or stale not between '0' and interval '30 days'
     or state <> all ('{ready,suspended,stopping}') or array_position(queues, null) is not null
     or exists (select from unnest(queues) as q (name) where octet_length(q.name) not between 1 and 255) then
    raise exception 'pawl: register worker %: want a pid, up to 10,000 queues with names of 1 to 255 bytes, '
                    'stale from 0 to 30 days, and the state ready, suspended or stopping', left(name, 64)
      using errcode = '22023';
  end if;
  insert into pawl.worker (name, host, pid, version, queues, started_at, seen_at, stale_after, state)
  values (left(name, 255), left(host, 255), pid, left(version, 255), queues, clock_timestamp(), clock_timestamp(), stale,
          state)
  returning id into worker;
  return worker;
end $$;
