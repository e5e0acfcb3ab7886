-- partition: days that the archive needs and has no partition for. Needed are the days until which jobs are kept that
-- finish within the next 24 hours. Maintenance makes partitions a week ahead.
-- Returns the partition's name, its day, whether it is needed now, and whether a table of that name exists.
select 'archive_' || to_char(d.day, 'YYYYMMDD'), d.day, bool_or(d.now),
       to_regclass('pawl.archive_' || to_char(d.day, 'YYYYMMDD')) is not null
from (
  select interval '1 day'
  union select q.retain_completed from pawl.queue q
  union select q.retain_cancelled from pawl.queue q
) r (retain)
cross join generate_series(0, 1) n (days)
cross join lateral (
  select ((clock_timestamp() + r.retain) at time zone 'UTC')::date + n.days as day, n.days = 0 as now
) d
where r.retain > '0'
  and not exists (
    select from pg_inherits i
    join pg_class k on k.oid = i.inhrelid
    where i.inhparent = 'pawl.archive_chunk'::regclass and not i.inhdetachpending
      and k.relname = 'archive_' || to_char(d.day, 'YYYYMMDD')
  )
group by d.day
order by d.day
