-- xmin: who keeps vacuum from clearing away what died since: sessions, prepared transactions, replication slots, standbys.
--   $1   for how long, at least      $2   for how many transactions, where nothing tells since when
-- Others' sessions tell since when only to their own role and to pg_read_all_stats; slots where track_commit_timestamp is on, and from
-- PostgreSQL 17 on since when nobody uses them.
select format('session %s of %s (%s%s, %s) has held back vacuum since %s, for %s: what died since then stays in the tables, and statements walk over it',
              a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'no application name'), coalesce(' from ' || host(a.client_addr), ''),
              coalesce(a.state, 'state unknown'), a.xact_start::timestamptz(0), date_trunc('second', clock_timestamp() - a.xact_start)),
       format('end it: select pg_terminate_backend(%s)', a.pid), false
from pg_stat_activity a
where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type <> 'autovacuum worker'
  and (a.backend_xmin is not null or a.backend_xid is not null)
  and clock_timestamp() - a.xact_start > $1::interval
union all
select format('the prepared transaction %L of %s has held back vacuum since %s, for %s, and keeps what it locked', p.gid, p.owner, p.prepared::timestamptz(0),
              date_trunc('second', clock_timestamp() - p.prepared)),
       format('end it: rollback prepared %L (or commit prepared)', p.gid), false
from pg_prepared_xacts p
where p.database = current_database() and clock_timestamp() - p.prepared > $1::interval
union all
select format('the replication slot %s (%s) has held back vacuum for %s transactions%s', s.slot_name,
              case when s.active then 'in use by process ' || s.active_pid
                   else 'in use by nobody' || coalesce(' since ' || (to_jsonb(s) ->> 'inactive_since')::timestamptz(0), '') end, age(s.xmin),
              case when current_setting('track_commit_timestamp')::boolean then ', since about ' || pg_xact_commit_timestamp(s.xmin)::timestamptz(0) end),
       case when s.active then 'end old queries on the standby, or set hot_standby_feedback = off there'
            else format('start who used it; or, if nobody will use it again: select pg_drop_replication_slot(%L)', s.slot_name) end, false
from pg_replication_slots s
where s.xmin is not null and age(s.xmin) > $2::bigint
union all
select format('the standby %s%s holds back vacuum for its own queries (hot_standby_feedback), for %s transactions; it is connected since %s',
              coalesce(nullif(r.application_name, ''), 'without a name'), coalesce(' at ' || host(r.client_addr), ''), age(r.backend_xmin), r.backend_start::timestamptz(0)),
       'end old queries on the standby, or set hot_standby_feedback = off there', false
from pg_stat_replication r
where r.backend_xmin is not null and age(r.backend_xmin) > $2::bigint
