-- claimed: how jobs are held: those of these ids that are.
--   lease, until   of it; until null: as long as its worker lives      shared   how many jobs were claimed with it, at most
--   permit         it counts against a limit
-- Moves nothing. Reads lease until each is found: there is no index from a job to its lease. For who looks, not for load.
-- No jit: lease read without an index looks so dear, where seqscan is off, that it was compiled, half a second a call.
create or replace function pawl.claimed(ids bigint[])
returns table (id bigint, epoch integer, crashes smallint, constrained boolean, permit boolean, lease uuid, until timestamptz, shared integer, now timestamptz)
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select j.id, j.epoch, j.crashes, j.constrained, coalesce(q.max_running is not null or q.channel_max_running is not null, false),
         h.id, h.expires_at, cardinality(h.jobs), clock_timestamp()
  from pawl.job j
  join lateral (
    select l.id, l.expires_at, l.jobs from pawl.lease l where (j.id, j.epoch) in (select u.id, u.epoch from unnest(l.jobs, l.epochs) u (id, epoch)) limit 1
  ) h on true
  left join pawl.queue q on q.name = j.queue
  where j.id = any (claimed.ids);
end $$;
