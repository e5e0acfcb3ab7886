-- dead: tables with many dead rows that were not vacuumed for long.
--   $1   how long is long
select format('table %s has %s dead rows beside %s live ones, and was not vacuumed %s',
              t.relname, t.n_dead_tup, t.n_live_tup, coalesce('since ' || v.at::timestamptz(0), 'yet')),
       format('vacuum %s; if the rows stay, a transaction holds back vacuum (check xmin), or there are too few '
              || 'autovacuum workers (autovacuum_max_workers)', t.relid::regclass), false
from pg_stat_user_tables t,
     lateral (select greatest(t.last_vacuum, t.last_autovacuum) as at) v
where t.relid in (select c.oid from pg_class c
                  where c.relnamespace = (select k.relnamespace from pg_class k where k.oid = 'pawl.job'::regclass))
  and t.n_dead_tup > greatest(100000, t.n_live_tup / 2)
  and clock_timestamp() - greatest(v.at, pg_postmaster_start_time(), (select max(m.applied_at) from pawl.migration m))
      > $1::interval
order by t.n_dead_tup desc
