-- put_cron writes schedules, all or none. No name may occur twice.
--   jobs       json: see the table cron        next_ats   the first tick from now on
-- It raises SQLSTATE 22023 for values that no tick could use: see the statement.
-- A row with a higher version stays as it is. A row keeps its pause and its last tick; it keeps its next tick
-- unless spec or zone changed. Returns how many rows were written.
-- Index: cron's primary key.
-- Survives: another call with the same names (rows are written in order of name) and a tick that is taken at the
-- same time (this waits for its short transaction).
create or replace function pawl.put_cron(
  names text[], specs text[], zones text[], jobs text[], jitters interval[], catch_ups integer[], versions integer[],
  next_ats timestamptz[]
) returns bigint language plpgsql as $$
#variable_conflict use_column
declare
  written bigint;
  wrong   text;
begin
  select left(coalesce(u.name, 'null'), 64) into wrong
  from unnest(put_cron.names, put_cron.specs, put_cron.zones, put_cron.jobs, put_cron.jitters, put_cron.catch_ups,
              put_cron.versions, put_cron.next_ats)
         as u (name, spec, zone, job, jitter, catch_up, version, next_at)
  where (octet_length(u.name) between 1 and 255 and octet_length(u.spec) between 1 and 1000
         and octet_length(u.zone) between 1 and 255 and jsonb_typeof(u.job::jsonb) = 'object'
         and jsonb_typeof(u.job::jsonb -> 'kind') = 'string' and u.jitter between '0' and interval '365 days'
         and u.catch_up between 0 and 1000 and u.version >= 0
         and u.next_at between '1970-01-01 00:00:00+00' and '9999-12-31 23:59:59+00') is not true
  limit 1;
  if found then
    raise exception 'pawl: put cron %: want a name, a spec and a zone, a job of some kind, a jitter up to 365 days, '
                    'catch_up from 0 to 1000, a version from 0, and a tick in the years 1970 to 9999', wrong
      using errcode = '22023';
  end if;
  insert into pawl.cron as c (name, spec, zone, job, jitter, catch_up, version, next_at)
  select u.name, u.spec, u.zone, u.job::jsonb, u.jitter, u.catch_up, u.version, u.next_at
  from unnest(put_cron.names, put_cron.specs, put_cron.zones, put_cron.jobs, put_cron.jitters, put_cron.catch_ups,
              put_cron.versions, put_cron.next_ats)
         as u (name, spec, zone, job, jitter, catch_up, version, next_at)
  order by u.name collate "C"
  on conflict (name) do update set
    spec = excluded.spec, zone = excluded.zone, job = excluded.job, jitter = excluded.jitter,
    catch_up = excluded.catch_up, version = excluded.version,
    next_at = case when (c.spec, c.zone) = (excluded.spec, excluded.zone) then c.next_at else excluded.next_at end
  where c.version <= excluded.version;
  get diagnostics written = row_count;
  return written;
end $$;
