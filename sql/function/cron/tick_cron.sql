-- tick_cron records, in the transaction of a take_cron, which tick became a job last (null: none did) and which
-- tick is next.
-- It raises SQLSTATE 22023 for times that no schedule has: the next tick is later than the one that was due.
-- Index: cron's primary key.
create or replace function pawl.tick_cron(name text, last_at timestamptz, next_at timestamptz) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  if (tick_cron.next_at between '1970-01-01 00:00:00+00' and '9999-12-31 23:59:59+00') is not true
     or tick_cron.last_at > clock_timestamp()
     or tick_cron.last_at < '1970-01-01 00:00:00+00' then
    raise exception 'pawl: tick cron %: the last tick % or the next tick % is out of range', left(tick_cron.name, 64),
      coalesce(tick_cron.last_at::text, 'null'), coalesce(tick_cron.next_at::text, 'null') using errcode = '22023';
  end if;
  update pawl.cron c
  set last_at = coalesce(tick_cron.last_at, c.last_at), next_at = tick_cron.next_at
  where c.name = tick_cron.name and c.next_at <= clock_timestamp() and tick_cron.next_at > c.next_at;
end $$;
