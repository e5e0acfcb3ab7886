-- sleep_key returns the key of the advisory lock that a session holds, shared, while it waits for jobs of a queue;
-- '*' is all queues.
create or replace function pawl.sleep_key(queue text) returns bigint language sql immutable parallel safe as $$
  select hashtextextended('pawl.sleep ' || queue, 0)
$$;
