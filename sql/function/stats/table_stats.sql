-- table_stats: the tables that jobs go through, a row each; the archive's partitions are one.
--   live, dead   rows, as the server's statistics estimate them      bytes   on disk, with indexes
--   vacuumed     when it last was, by whom ever; of the archive the partition that waits the longest
-- Moves and reads nothing but the catalog.
create or replace function pawl.table_stats() returns table (name text, live bigint, dead bigint, bytes bigint, vacuumed timestamptz)
language plpgsql set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_column
begin
  return query
  select u.name, sum(pg_stat_get_live_tuples(k.oid))::bigint, sum(pg_stat_get_dead_tuples(k.oid))::bigint, sum(pg_total_relation_size(k.oid))::bigint,
         min(greatest(pg_stat_get_last_vacuum_time(k.oid), pg_stat_get_last_autovacuum_time(k.oid)))
  from (values ('job', 'pawl.job'::regclass), ('ready', 'pawl.ready'), ('scheduled', 'pawl.scheduled'), ('blocked', 'pawl.blocked'), ('ordered_job', 'pawl.ordered_job'),
               ('unique_key', 'pawl.unique_key'), ('lease', 'pawl.lease'), ('permit', 'pawl.permit'), ('worker', 'pawl.worker'), ('dead', 'pawl.dead'), ('archive', 'pawl.archive')
       ) as u (name, relation),
       lateral (select u.relation as oid where u.name <> 'archive'
                union all select i.inhrelid from pg_inherits i where i.inhparent = u.relation and u.name = 'archive') k
  group by u.name
  order by sum(pg_total_relation_size(k.oid)) desc;
end $$;
