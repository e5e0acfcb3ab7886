-- due_cron returns the seconds until the next tick of any schedule; negative if a tick is due, null if there is no
-- schedule.
--   names, specs, zones   schedules to leave out, as long as their spec and zone are these
-- Moves nothing. A tick at an infinite time counts as one in the year 1 or 9999.
-- Index: cron_next_at, from its first entry.
create or replace function pawl.due_cron(names text[], specs text[], zones text[]) returns double precision
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
begin
  return (
    select extract(epoch from pawl.finite(c.next_at) - clock_timestamp())::double precision
    from pawl.cron c
    where not c.paused
      and not exists (select from unnest(due_cron.names, due_cron.specs, due_cron.zones) as u (name, spec, zone)
                      where u.name = c.name and u.spec = c.spec and u.zone = c.zone)
    order by c.next_at
    limit 1
  );
end $$;
