-- table_stats returns the figures of the tables that jobs pass through, one row for each table. The partitions of
-- the archive are one table.
--   live, dead   rows, as the server's statistics estimate them
--   bytes        on disk, with indexes
--   vacuumed     when the table was last vacuumed, by autovacuum or by hand; for the archive, the partition that
--                waits longest
-- Moves nothing, and reads only the catalog.
create or replace function pawl.table_stats()
returns table (name text, live bigint, dead bigint, bytes bigint, vacuumed timestamptz)
language plpgsql set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_column
begin
  return query
  select u.name, sum(pg_stat_get_live_tuples(k.oid))::bigint, sum(pg_stat_get_dead_tuples(k.oid))::bigint,
         sum(pg_total_relation_size(k.oid))::bigint,
         min(greatest(pg_stat_get_last_vacuum_time(k.oid), pg_stat_get_last_autovacuum_time(k.oid)))
  from (values ('job', 'pawl.job'::regclass), ('ready', 'pawl.ready'), ('scheduled', 'pawl.scheduled'),
               ('blocked', 'pawl.blocked'), ('ordered_job', 'pawl.ordered_job'), ('unique_key', 'pawl.unique_key'),
               ('lease', 'pawl.lease'), ('permit', 'pawl.permit'), ('worker', 'pawl.worker'), ('dead', 'pawl.dead'),
               ('archive_chunk', 'pawl.archive_chunk')
       ) as u (name, relation),
       lateral (select u.relation as oid where u.name <> 'archive_chunk'
                union all select i.inhrelid from pg_inherits i where i.inhparent = u.relation and u.name = 'archive_chunk') k
  group by u.name
  order by sum(pg_total_relation_size(k.oid)) desc;
end $$;
