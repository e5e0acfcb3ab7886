-- await_key returns the key of the advisory lock that a session holds, shared, while it awaits a job whose id is
-- `slot` modulo 64. Null: while it awaits any job at all.
-- There are 64 slots, because a lock for each job would fill the server's lock table when thousands of jobs are
-- awaited. As in sleep_key, the key's text has the schema's plain name.
create or replace function pawl.await_key(slot bigint) returns bigint language sql immutable parallel safe as $$
  select hashtextextended((parse_ident('pawl.await'))[1] || '.await ' || coalesce(slot::text, '*'), 0)
$$;
