-- durability: settings with which a crash loses committed data.
select case s.name
         when 'synchronous_commit'
         then format('synchronous_commit is off (%s): a server crash loses the inserts and results of its last second',
                     s.source)
         else format('%s is off (%s): a crash of the machine may damage the database beyond repair', s.name, s.source)
       end,
       case when s.source in ('database', 'user', 'database user', 'client', 'session')
            then format('remove %s where it is set: %s', s.name, case s.source
                   when 'database' then format('alter database %I reset %s', current_database(), s.name)
                   when 'user' then format('alter role %I reset %s', current_user, s.name)
                   when 'database user'
                   then format('alter role %I in database %I reset %s', current_user, current_database(), s.name)
                   else 'the connection string' end)
            else format('alter system set %s = on; select pg_reload_conf()', s.name) end,
       s.name <> 'synchronous_commit'
from pg_settings s
where s.name in ('fsync', 'full_page_writes', 'synchronous_commit') and s.setting = 'off'
