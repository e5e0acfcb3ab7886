-- find_tickets returns the tickets of the first ready jobs of some kinds in a queue, in the order in which they
-- would be claimed.
--   most   how many tickets to return at most
-- Moves nothing.
-- Index: ready's primary key, job's primary key. It reads the queue's tickets and their jobs from the first until
-- it has enough.
create or replace function pawl.find_tickets(queue text, kinds text[], most integer)
returns table (priority integer, channel text, pos bigint, id bigint)
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set enable_sort = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select t.priority, t.channel, t.pos, t.job_id
  from pawl.ready t
  join lateral (select j.kind from pawl.job j where j.id = t.job_id and j.epoch = t.epoch limit 1) j on true
  where t.queue = find_tickets.queue and j.kind = any (find_tickets.kinds)
  order by t.priority, t.channel, t.pos
  limit most;
end $$;
