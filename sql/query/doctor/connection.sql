-- connection: nearly all connections of the server, of this database or of this role are in use.
with session as (
  -- A role without pg_read_all_stats sees no type of other roles' sessions, only their role.
  select a.datname, a.usename, a.application_name
  from pg_stat_activity a where a.backend_type = 'client backend' or a.backend_type is null and a.usename is not null
),
used as (
  select count(*) as server,
         count(*) filter (where a.datname = current_database()) as database,
         count(*) filter (where a.usename = current_user) as role,
         (select format('%s of them %s', m.n, coalesce('by ' || nullif(m.application_name, ''),
                                                    'by role ' || m.usename))
          from (select s.application_name, s.usename, count(*) as n
                from session s group by 1, 2 order by 3 desc limit 1) m) as most
  from session a
),
bound as (
  select 'the server' as what, u.server as n, u.most,
         current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
           - coalesce(current_setting('reserved_connections', true)::integer, 0) as bound, 'max_connections' as setting
  from used u
  union all
  select 'database ' || d.datname, u.database, u.most, d.datconnlimit,
         format('alter database %I connection limit', d.datname)
  from used u, pg_database d where d.datname = current_database() and d.datconnlimit >= 0
  union all
  select 'role ' || r.rolname, u.role, u.most, r.rolconnlimit, format('alter role %I connection limit', r.rolname)
  from used u, pg_roles r where r.rolname = current_user and r.rolconnlimit >= 0
)
select format('%s of %s connections of %s are in use, %s', b.n, b.bound, b.what, b.most),
       format('use smaller pools (pool_max_conns) or a pooler, or raise the limit: %s',
              case b.setting when 'max_connections'
                   then format('alter system set max_connections = %s, then restart the server', 2 * b.bound)
                   else format('%s %s', b.setting, 2 * b.bound) end), b.n >= b.bound
from bound b
where b.n * 10 >= b.bound * 9
