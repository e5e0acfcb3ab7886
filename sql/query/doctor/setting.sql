-- setting: settings of the server or the session that a queue cannot work with.
select 'this server is a standby: jobs can be read, but not inserted or claimed',
       'connect to the primary; a URL with several hosts and target_session_attrs=read-write finds it', true
where pg_is_in_recovery()
union all
select format('sessions are read only by default (%s): jobs cannot be inserted or claimed', s.source),
       format('remove default_transaction_read_only where it is set: %s', case s.source
         when 'database' then format('set default_transaction_read_only = off; '
                                     || 'alter database %I reset default_transaction_read_only', current_database())
         when 'user' then format('set default_transaction_read_only = off; '
                                 || 'alter role %I reset default_transaction_read_only', current_user)
         when 'database user'
         then format('set default_transaction_read_only = off; alter role %I in database %I reset '
                     || 'default_transaction_read_only', current_user, current_database())
         when 'configuration file'
         then 'alter system set default_transaction_read_only = off; select pg_reload_conf()'
         else s.source end), true
from pg_settings s
where s.name = 'default_transaction_read_only' and s.setting = 'on' and not pg_is_in_recovery()
union all
select format('transactions are %s by default (%s): each statement of Pawl on your pool needs two more round trips, and '
              || 'those in your transactions may fail with SQLSTATE 40001', s.setting, s.source),
       format('remove default_transaction_isolation where it is set: %s', case s.source
         when 'database' then format('alter database %I reset default_transaction_isolation', current_database())
         when 'user' then format('alter role %I reset default_transaction_isolation', current_user)
         when 'database user'
         then format('alter role %I in database %I reset default_transaction_isolation',
                     current_user, current_database())
         when 'configuration file'
         then 'alter system set default_transaction_isolation = ''read committed''; select pg_reload_conf()'
         else s.source end), false
from pg_settings s
where s.name = 'default_transaction_isolation' and s.setting not in ('read committed', 'read uncommitted')
union all
select format('plans are compiled from a cost of %s on (%s): each statement of Pawl on your pool needs two more round '
              || 'trips, and those in your transactions take up to seconds', s.setting, s.source),
       format('set jit = off, or a jit_above_cost of 100000: %s', case s.source
         when 'database' then format('alter database %I reset jit_above_cost', current_database())
         when 'user' then format('alter role %I reset jit_above_cost', current_user)
         when 'database user'
         then format('alter role %I in database %I reset jit_above_cost', current_user, current_database())
         when 'configuration file' then 'alter system reset jit_above_cost; select pg_reload_conf()'
         else s.source end), false
from pg_settings s, pg_settings j
where s.name = 'jit_above_cost' and s.setting::float8 between 0 and 99999
  and j.name = 'jit' and j.reset_val = 'on'
union all
select format('the server has room for %s locks (max_locks_per_transaction times connections): an insert into many '
              || 'ordered channels, or a query over many days of the archive, may fail with "out of shared memory"',
              l.n),
       'alter system set max_locks_per_transaction = 256, then restart the server', false
from (select current_setting('max_locks_per_transaction')::bigint
             * (current_setting('max_connections')::bigint
                + current_setting('max_prepared_transactions')::bigint) as n) l
where l.n < 4000
union all
select format('the server''s notification queue is %s %% full, because a listening session has an old transaction '
              || 'open: when the queue is full, every statement that notifies fails, also inserts',
              (100 * pg_notification_queue_usage())::integer),
       'end the oldest sessions that are idle in transaction: see pg_stat_activity',
       pg_notification_queue_usage() > 0.9
where pg_notification_queue_usage() > 0.25
