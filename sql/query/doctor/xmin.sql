-- xmin: sessions, prepared transactions, replication slots and standbys that keep vacuum from removing dead rows.
--   $1   the age from which on they are reported
--   $2   the same in transactions, for those whose age in time is unknown
-- The start of another role's transaction is visible only to that role and to pg_read_all_stats. The age of a slot is
-- known in time only if track_commit_timestamp is on. Since PostgreSQL 17 a slot also shows since when it is inactive.
select format('session %s of %s (%s%s, %s) has held back vacuum since %s, for %s: rows deleted since then stay in the '
              || 'tables, and every statement reads past them',
              a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no application name'),
              coalesce(' from ' || host(a.client_addr), ''), coalesce(a.state, 'state unknown'),
              a.xact_start::timestamptz(0), date_trunc('second', clock_timestamp() - a.xact_start)),
       format('end it: select pg_terminate_backend(%s)', a.pid), false
from pg_stat_activity a
where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type <> 'autovacuum worker'
  and (a.backend_xmin is not null or a.backend_xid is not null)
  and clock_timestamp() - a.xact_start > $1::interval
union all
select format('the prepared transaction %L of %s has held back vacuum since %s, for %s, and still holds its locks',
              p.gid, p.owner, p.prepared::timestamptz(0), date_trunc('second', clock_timestamp() - p.prepared)),
       format('end it: rollback prepared %L (or commit prepared)', p.gid), false
from pg_prepared_xacts p
where p.database = current_database() and clock_timestamp() - p.prepared > $1::interval
union all
select format('the replication slot %s (%s) has held back vacuum for %s transactions%s', s.slot_name,
              case when s.active then 'in use by process ' || s.active_pid
                   else 'inactive'
                        || coalesce(' since ' || (to_jsonb(s) ->> 'inactive_since')::timestamptz(0), '') end,
              age(s.xmin),
              case when current_setting('track_commit_timestamp')::boolean
                   then ', since about ' || pg_xact_commit_timestamp(s.xmin)::timestamptz(0) end),
       case when s.active then 'end old queries on the standby, or set hot_standby_feedback = off there'
            else format('start the standby or client that used the slot; if it will not return: '
                        || 'select pg_drop_replication_slot(%L)', s.slot_name) end, false
from pg_replication_slots s
where s.xmin is not null and age(s.xmin) > $2::bigint
union all
select format('the standby %s%s holds back vacuum for its own queries (hot_standby_feedback), for %s transactions; '
              || 'it has been connected since %s',
              coalesce(nullif(r.application_name, ''), 'without a name'), coalesce(' at ' || host(r.client_addr), ''),
              age(r.backend_xmin), r.backend_start::timestamptz(0)),
       'end old queries on the standby, or set hot_standby_feedback = off there', false
from pg_stat_replication r
where r.backend_xmin is not null and age(r.backend_xmin) > $2::bigint
