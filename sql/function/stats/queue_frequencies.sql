-- queue_frequencies returns how many rows of each queue the tables have, according to the statistics of their last
-- analyze. The statistics have about the hundred most frequent queues. It returns nothing for a table that was
-- never analyzed, or that the caller may not read.
create or replace function pawl.queue_frequencies(relations regclass[]) returns table (queue text, n double precision)
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select v.queue, sum(k.reltuples::double precision * v.share)
  from unnest(relations) as u (relation),
       lateral (select k.relname, k.reltuples, n.nspname
                from pg_class k
                join pg_namespace n on n.oid = k.relnamespace
                where k.oid = u.relation limit 1) k,
       lateral (
         select s.most_common_vals, s.most_common_freqs
         from pg_stats s
         where s.schemaname = k.nspname and s.tablename = k.relname and s.attname = 'queue' and not s.inherited
         limit 1
       ) s,
       unnest(s.most_common_vals::text::text[], s.most_common_freqs) as v (queue, share)
  where k.reltuples > 0
  group by v.queue;
end $$;
