-- claimed returns how jobs are claimed: a row for each of the given jobs that is.
--   lease, until   its lease, and when that expires; until is null if the lease lasts as long as its worker lives
--   shared         how many jobs were claimed with this lease, at most
--   permit         the job counts against a limit
-- Moves nothing. It reads lease until each job is found, because there is no index from a job to its lease. Use it
-- to look at jobs, not under load.
-- jit is off, because reading lease with enable_seqscan off looks so expensive that it was compiled: half a second
-- a call.
create or replace function pawl.claimed(ids bigint[])
returns table (
  id bigint, epoch integer, crashes smallint, constrained boolean, permit boolean, lease uuid, until timestamptz,
  shared integer, now timestamptz
)
language plpgsql stable
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
begin
  return query
  select j.id, j.epoch, j.crashes, j.constrained,
         coalesce(q.max_running is not null or q.channel_max_running is not null, false),
         h.id, h.expires_at, cardinality(h.jobs), clock_timestamp()
  from pawl.job j
  join lateral (
    select l.id, l.expires_at, l.jobs
    from pawl.lease l
    where (j.id, j.epoch) in (select u.id, u.epoch from unnest(l.jobs, l.epochs) u (id, epoch))
    limit 1
  ) h on true
  left join pawl.queue q on q.name = j.queue
  where j.id = any (claimed.ids);
end $$;
