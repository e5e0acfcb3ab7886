-- await_key: the advisory lock that says "somebody awaits a job whose id is `slot` modulo 64"; null: any job.
-- Slots, because a lock a job would fill the server's table of locks when thousands are awaited.
create or replace function pawl.await_key(slot bigint) returns bigint language sql immutable parallel safe as $$
  select hashtextextended('pawl.await ' || coalesce(slot::text, '*'), 0)
$$;
