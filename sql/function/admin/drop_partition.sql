-- drop_partition: the archive's partition of a day gone by, for who does not own it: its owner detaches it concurrently, which no
-- function can. Waits at most 100 ms for whoever reads or finishes jobs, who wait as long behind it; then SQLSTATE 55P03, and again later.
-- Refuses, with SQLSTATE 22023, a day of which jobs are still kept.
create or replace function pawl.drop_partition(day date) returns void language plpgsql set lock_timeout = '100ms' as $$
declare
  part    text := 'archive_' || to_char(day, 'YYYYMMDD');
  pending boolean;
begin
  if day is null or day >= (clock_timestamp() at time zone 'UTC')::date then
    raise exception 'pawl: the archive still keeps jobs of %', coalesce(day::text, 'null') using errcode = '22023';
  end if;
  select i.inhdetachpending into pending
  from pg_inherits i
  where i.inhparent = 'pawl.archive'::regclass and i.inhrelid = to_regclass('pawl.' || quote_ident(part));
  if found then
    execute format('alter table pawl.archive detach partition pawl.%I%s', part, case when pending then ' finalize' else '' end);
    execute format('drop table pawl.%I', part);
  end if;
end $$;
