-- try_mutexes locks those mutexes that exist and that no other transaction has locked, until the end of the
-- transaction. It never waits. It returns the mutexes that this transaction has now.
-- Index: mutex's primary key.
create or replace function pawl.try_mutexes(kind text, queues text[], names text[])
returns table (queue text, name text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  select m.queue, m.name
  from (select distinct u.queue, u.name from unnest(try_mutexes.queues, try_mutexes.names) as u (queue, name)) u,
       lateral (
         select m.queue, m.name from pawl.mutex m
         where m.kind = try_mutexes.kind and m.queue = u.queue and m.name = u.name
         for no key update skip locked
       ) m;
end $$;
