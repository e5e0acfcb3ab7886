-- archive: partitions that should be gone, a default partition, and an archive that is large.
--   $1   the size in bytes from which on the archive is large
with day as (
  select k.oid, k.relname, k.relispartition, i.inhdetachpending,
         pg_get_expr(k.relpartbound, k.oid) = 'DEFAULT' as rest, pg_total_relation_size(k.oid) as size,
         case when k.relname ~ '^archive_[0-9]{8}$' then to_date(substr(k.relname, 9), 'YYYYMMDD') end as until
  from pg_class k
  left join pg_inherits i on i.inhrelid = k.oid and i.inhparent = 'pawl.archive_chunk'::regclass
  where k.relnamespace = (select j.relnamespace from pg_class j where j.oid = 'pawl.job'::regclass) and k.relkind = 'r'
    and (i.inhrelid is not null or k.relname ~ '^archive_[0-9]{8}$')
)
select format('%s but not dropped, %s in total: %s',
              case count(*) when 1 then '1 partition of the archive is past its day'
                            else count(*) || ' partitions of the archive are past their day' end,
              pg_size_pretty(sum(d.size)), (array_agg(d.relname order by d.until))[1]),
       format('run a worker or pawl serve: it drops them, unless an open transaction blocks it (check xmin). By hand: '
              || 'alter table pawl.archive_chunk detach partition %1$s %2$s; drop table %1$s',
              (array_agg(d.oid::regclass order by d.until))[1],
              case when (array_agg(d.inhdetachpending order by d.until))[1] then 'finalize'
                   else 'concurrently' end), false
from day d
where d.relispartition and d.until < (clock_timestamp() at time zone 'UTC')::date - 1
having count(*) > 0
union all
select format('%s and detached from the archive, but not dropped, %s in total: %s',
              case count(*) when 1 then '1 table is past its day' else count(*) || ' tables are past their day' end,
              pg_size_pretty(sum(d.size)), (array_agg(d.relname order by d.until))[1]),
       format('drop table %s; to keep it, rename it', (array_agg(d.oid::regclass order by d.until))[1]), false
from day d
where not d.relispartition and d.until < (clock_timestamp() at time zone 'UTC')::date - 1
having count(*) > 0
union all
select format('the archive has a default partition, %s: no partition can be attached for a day with rows in it, '
              || 'and its rows are never dropped', d.relname),
       format('alter table pawl.archive_chunk detach partition %s', d.oid::regclass), false
from day d
where d.rest
union all
select format('the archive takes %s; the longest retention is %s, %s', pg_size_pretty(s.size), r.retain,
              coalesce('of queue ' || r.name, 'the default')),
       'keep finished jobs for less time (pawl queue set); jobs with a retention of zero are not kept at all', false
from (select sum(d.size) as size from day d) s,
     lateral (
       select q.name, greatest(q.retain_completed, q.retain_cancelled) as retain
       from pawl.queue q where greatest(q.retain_completed, q.retain_cancelled) > '1 day'
       union all
       select null, '1 day'
       order by 2 desc nulls last limit 1
     ) r
where s.size > $1::bigint
