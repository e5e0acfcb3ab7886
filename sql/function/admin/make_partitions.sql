-- make_partitions creates the archive's partitions, one for each day, up to `ahead` days ahead of every retention
-- in use. It returns how many were missing.
-- Moves nothing. Each partition is created as a table and then attached, because create table … partition of would
-- stop completions while any transaction is open.
-- Survives: two calls at once (the duty's mutex is locked in a statement before the partitions are read).
create or replace function pawl.make_partitions(ahead integer) returns integer language plpgsql as $$
declare
  one  date;
  part text;
  made integer := 0;
begin
  if (ahead between 0 and 60) is not true then
    raise exception 'pawl: make partitions for % days ahead: want 0 to 60', coalesce(ahead::text, 'null')
      using errcode = '22023';
  end if;
  perform pawl.lock_mutexes('duty', '{""}', '{partitions}');
  for one in
    select distinct d.day
    from (select interval '1 day'
          union select q.retain_completed from pawl.queue q
          union select q.retain_cancelled from pawl.queue q) r (retain)
    cross join generate_series(0, ahead) n (days)
    cross join lateral (select ((clock_timestamp() + r.retain) at time zone 'UTC')::date + n.days) d (day)
    where r.retain > '0'
      and to_regclass('pawl.archive_' || to_char(d.day, 'YYYYMMDD')) is null
    order by d.day
  loop
    part := 'archive_' || to_char(one, 'YYYYMMDD');
    execute format('create table pawl.%I (like pawl.archive_chunk including defaults including indexes '
      || 'including compression)', part);
    execute format(
      'alter table pawl.%I set (autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.5)',
      part);
    execute format('alter table pawl.archive_chunk attach partition pawl.%I for values from (%L) to (%L)', part,
                   to_char(one, 'YYYY-MM-DD') || ' 00:00:00+00', to_char(one + 1, 'YYYY-MM-DD') || ' 00:00:00+00');
    made := made + 1;
  end loop;
  return made;
end $$;
