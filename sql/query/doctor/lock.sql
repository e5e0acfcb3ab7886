-- lock: sessions that hold a lock on a whole table that blocks writers.
--   $1   the age of the transaction from which on it is reported
select format('session %s of %s (%s, %s) has locked table %s since %s or before (%s): %s wait for it',
              a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no application name'),
              coalesce(a.state, 'state unknown'),
              string_agg(distinct c.relname, ', '), max(a.state_change)::timestamptz(0),
              string_agg(distinct l.mode, ', '),
              case when bool_or(l.mode = 'AccessExclusiveLock') then 'readers and writers' else 'writers' end),
       format('end it: select pg_terminate_backend(%s)', a.pid), true
from pg_locks l
join pg_class c on c.oid = l.relation
join pg_stat_activity a on a.pid = l.pid
where l.database = (select d.oid from pg_database d where d.datname = current_database())
  and c.relnamespace = (select k.relnamespace from pg_class k where k.oid = to_regclass('pawl.job'))
  and l.granted and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  and l.pid <> pg_backend_pid()
  and clock_timestamp() - a.xact_start > $1::interval
group by a.pid, a.usename, a.application_name, a.state
