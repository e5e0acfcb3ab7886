-- drop_partition drops the archive's partition of a past day, for a role that does not own it. (The owner detaches
-- the partition concurrently, which a function cannot do.)
-- It waits at most 100 ms for transactions that read the archive or finish jobs, and these wait as long behind it.
-- After that it raises SQLSTATE 55P03: call it again later. It raises SQLSTATE 22023 for a day of which jobs are
-- still kept.
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
  where i.inhparent = 'pawl.archive_chunk'::regclass and i.inhrelid = to_regclass('pawl.' || quote_ident(part));
  if found then
    execute format('alter table pawl.archive_chunk detach partition pawl.%I%s', part,
                   case when pending then ' finalize' else '' end);
    execute format('drop table pawl.%I', part);
  end if;
end $$;
