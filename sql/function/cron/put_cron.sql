-- put_cron: write down schedules, one an array position, all or none. No name twice.
--   jobs       json, see the table        next_ats   the first tick from now on
-- A row of a higher version is left alone. Pause and last tick stay, and so does the next tick unless spec or zone changed.
-- Returns how many were written.
-- Index: cron's primary key.
-- Survives: another put of the same names (rows are taken in order) and a tick being taken (waited for: it is short).
create or replace function pawl.put_cron(
  names text[], specs text[], zones text[], jobs text[], jitters interval[], catch_ups integer[], versions integer[], next_ats timestamptz[]
) returns bigint language plpgsql as $$
#variable_conflict use_column
declare
  written bigint;
begin
  insert into pawl.cron as c (name, spec, zone, job, jitter, catch_up, version, next_at)
  select u.name, u.spec, u.zone, u.job::jsonb, u.jitter, u.catch_up, u.version, u.next_at
  from unnest(put_cron.names, put_cron.specs, put_cron.zones, put_cron.jobs, put_cron.jitters, put_cron.catch_ups, put_cron.versions, put_cron.next_ats)
         as u (name, spec, zone, job, jitter, catch_up, version, next_at)
  order by u.name collate "C"
  on conflict (name) do update set
    spec = excluded.spec, zone = excluded.zone, job = excluded.job, jitter = excluded.jitter, catch_up = excluded.catch_up,
    version = excluded.version,
    next_at = case when (c.spec, c.zone) = (excluded.spec, excluded.zone) then c.next_at else excluded.next_at end
  where c.version <= excluded.version;
  get diagnostics written = row_count;
  return written;
end $$;
