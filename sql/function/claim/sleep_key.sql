-- sleep_key: the advisory lock that says "somebody sleeps on this queue"; '*' is all queues.
create or replace function pawl.sleep_key(queue text) returns bigint language sql immutable parallel safe as $$
  select hashtextextended('pawl.sleep ' || queue, 0)
$$;
