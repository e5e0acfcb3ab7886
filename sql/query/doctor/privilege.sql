-- privilege: this role does not see what other roles' sessions do. Some findings are then missing or without a time.
select format('role %s does not see what sessions of other roles do: '
              || 'sessions that hold back vacuum may be missing here', current_user),
       format('grant pg_read_all_stats to %I', current_user), false
where exists (
  select from pg_stat_activity a
  where a.datname = current_database() and a.usename is not null and a.query = '<insufficient privilege>'
)
