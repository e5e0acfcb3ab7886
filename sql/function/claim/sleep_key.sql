-- sleep_key returns the key of the advisory lock that a session holds, shared, while it waits for jobs of a queue;
-- '*' is all queues. Workers in other languages call it: docs/sql.md.
-- The key's text has the schema's plain name. parse_ident reads it from the quoted name that the migrator writes, and
-- the planner does that once.
create or replace function pawl.sleep_key(queue text) returns bigint language sql immutable parallel safe as $$
  select hashtextextended((parse_ident('pawl.sleep'))[1] || '.sleep ' || queue, 0)
$$;
