-- advisory_lock: sessions that hold one of Pawl's advisory locks and are not Pawl's. Any login of the database can take
-- one. Pawl's own sessions hold the locks of sleeping and awaiting shared, and have a right on the schema; a migrator
-- calls itself "pawl migrate".
--   $1   the age of a session's last change from which on an exclusive lock is reported
with own as (
  select k.relnamespace as schema, n.nspname as name
  from pg_class k join pg_namespace n on n.oid = k.relnamespace where k.oid = 'pawl.job'::regclass
),
known as (
  select pawl.sleep_key(q.name) as key, format('of runners that wait for queue %s', q.name) as what, 'wait' as kind
  from (select '*' as name union select q.name from pawl.queue q union select * from pawl.live_queues()
        union select unnest(w.queues) from pawl.worker w where w.gone_at is null) q
  union all
  select pawl.await_key(s.slot), 'of clients that await a job', 'wait'
  from (select generate_series(0, 63)::bigint union all select null) s (slot)
  union all
  select hashtextextended('migrate ' || own.name, 0), 'of migrations', 'migrate' from own
),
held as (
  select a.pid, a.usename, a.application_name, a.client_addr, k.kind, l.mode, count(*) as n, min(k.what) as what
  from pg_locks l
  join known k on l.classid::bigint = (k.key >> 32) & 4294967295 and l.objid::bigint = k.key & 4294967295
  join pg_stat_activity a on a.pid = l.pid
  cross join own
  where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.pid <> pg_backend_pid()
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
    and case when k.kind = 'migrate' then a.application_name <> 'pawl migrate'
             else not has_schema_privilege(a.usesysid, own.schema, 'usage')
               or l.mode = 'ExclusiveLock' and clock_timestamp() - a.state_change > $1::interval end
  group by a.pid, a.usename, a.application_name, a.client_addr, k.kind, l.mode
)
select format('session %s of %s (%s%s) holds %s advisory lock%s%s%s', h.pid, h.usename,
              coalesce(nullif(h.application_name, ''), 'no application name'), coalesce(', ' || h.client_addr, ''), h.n,
              case when h.n > 1 then 's, such as those ' else ' ' end, h.what,
              case when h.kind = 'migrate' then ': no migration can run'
                   when h.mode = 'ExclusiveLock' then ': they poll, and inserts send a NOTIFY each'
                   else ': inserts send a NOTIFY each' end),
       format('if it is not a program of yours that uses Pawl, end it: select pg_terminate_backend(%s); '
              || 'and keep its role out: revoke connect on database %I from public, %I',
              h.pid, current_database(), h.usename), false
from held h
order by h.n desc
limit 10
