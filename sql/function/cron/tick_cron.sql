-- tick_cron records, in the transaction of a take_cron, which tick became a job last (null: none did) and which
-- tick is next.
-- Index: cron's primary key.
create or replace function pawl.tick_cron(name text, last_at timestamptz, next_at timestamptz) returns void
language sql as $$
  update pawl.cron c
  set last_at = coalesce(tick_cron.last_at, c.last_at), next_at = tick_cron.next_at
  where c.name = tick_cron.name
$$;
