-- bloat: tables and indexes that are ten times larger than their contents need. An estimate from planner statistics.
--   $1   the size in bytes from which on they are reported
-- A long queue leaves free space behind, and the next long queue uses it again: less than ten times is normal.
with part as (
  select c.oid, c.relname, c.relkind, pg_relation_size(c.oid) as size,
         greatest(c.reltuples, s.n_live_tup, 0) * case
           when c.relkind = 'r' then 32 + (select coalesce(sum(p.avg_width), 200) from pg_stats p
                                           where p.schemaname = s.schemaname and p.tablename = s.relname)
           else 16 + (select coalesce(sum(coalesce(p.avg_width, 16)), 16) from pg_attribute a
                      left join pg_stats p on p.schemaname = s.schemaname and p.tablename = s.relname
                                          and p.attname = a.attname
                      where a.attrelid = c.oid)
         end as need
  from pg_class c
  left join pg_index i on i.indexrelid = c.oid
  join pg_stat_user_tables s on s.relid = coalesce(i.indrelid, c.oid)
  join pg_am m on m.oid = c.relam and m.amname in ('heap', 'btree')
  where c.relnamespace = (select k.relnamespace from pg_class k where k.oid = 'pawl.job'::regclass)
    and c.relkind in ('r', 'i')
)
select format('%s %s takes %s; its contents need about %s', case when p.relkind = 'r' then 'table' else 'index' end,
              p.relname, pg_size_pretty(p.size), pg_size_pretty(p.need::bigint)),
       case when p.relkind = 'i' then format('reindex index concurrently %s', p.oid::regclass)
            else format('the next long queue uses the space again; to return it to the system: vacuum full %s, '
                        || 'which stops the queue while it runs', p.oid::regclass) end, false
from part p
where p.size > $1::bigint and p.size > 10 * p.need
order by p.size desc
