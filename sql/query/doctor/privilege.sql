-- privilege: does this role see what others do? Without, some findings are missing, or lack since when.
select format('role %s does not see what sessions of other roles do: who holds back vacuum may be missing here', current_user),
       format('grant pg_read_all_stats to %I', current_user), false
where exists (
  select from pg_stat_activity a
  where a.datname = current_database() and a.usename is not null and a.query = '<insufficient privilege>'
)
