-- take_cron locks the schedule that has been due longest, among those that no other transaction has locked, until
-- the end of the transaction. The transaction then inserts the jobs of its ticks and calls tick_cron.
--   names, specs, zones   schedules to leave out, as long as their spec and zone are these
-- Moves nothing. Returns the schedule and the database's time, or no row. Times, jitter and catch_up are as put_cron
-- takes them, whatever the row has: a row that no client can read would keep all others from their ticks.
-- Index: cron_next_at, from its first entry.
-- Survives: two calls for one tick (skip locked, and the row is read again once it is locked); a caller that dies
-- (its transaction ends with it); a caller that hangs or is cut off (the server ends its session after ten idle
-- seconds).
create or replace function pawl.take_cron(names text[], specs text[], zones text[]) returns table (
  name text, spec text, zone text, job text, jitter double precision, catch_up integer, last_at timestamptz,
  next_at timestamptz, moment timestamptz
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  perform set_config('idle_in_transaction_session_timeout', '10s', true);
  return query
  with mine as materialized (
    select c.name, c.spec, c.zone, c.job, c.jitter, c.catch_up, c.last_at, c.next_at
    from pawl.cron c
    where not c.paused and c.next_at <= clock_timestamp()
      and not exists (select from unnest(take_cron.names, take_cron.specs, take_cron.zones) as u (name, spec, zone)
                      where u.name = c.name and u.spec = c.spec and u.zone = c.zone)
    order by c.next_at
    limit 1
    for update of c skip locked
  )
  select m.name, m.spec, m.zone, m.job::text,
         least(greatest(extract(epoch from m.jitter)::double precision, 0), 31536000),
         least(greatest(m.catch_up, 0), 1000), pawl.finite(m.last_at),
         greatest(pawl.finite(m.next_at), '1970-01-01 00:00:00+00'), clock_timestamp()
  from mine m;
end $$;
