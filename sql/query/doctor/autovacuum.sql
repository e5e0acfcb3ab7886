-- autovacuum: autovacuum is off, for the server or for a table.
select format('autovacuum is off (%s): dead rows stay, and every statement reads past more of them', s.source),
       'alter system set autovacuum = on; select pg_reload_conf()', false
from pg_settings s where s.name = 'autovacuum' and s.setting = 'off'
union all
select format('track_counts is off (%s): autovacuum does not see dead rows, and does nothing', s.source),
       'alter system set track_counts = on; select pg_reload_conf()', false
from pg_settings s where s.name = 'track_counts' and s.setting = 'off'
union all
select format('autovacuum is off for table %s: its dead rows stay, and every statement reads past more of them',
              c.relname),
       format('alter table %s reset (autovacuum_enabled)', c.oid::regclass), false
from pg_class c, unnest(c.reloptions) as o (setting)
where c.relnamespace = (select k.relnamespace from pg_class k where k.oid = 'pawl.job'::regclass)
  and o.setting ~ '^autovacuum_enabled=(false|off|0|no)$'
