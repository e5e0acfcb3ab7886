-- peek returns whether the queues have anything to claim, and if not, in how many seconds the next job is due; null
-- if unknown.
-- Moves nothing. Index: the first ticket of each queue in ready and scheduled.
create or replace function pawl.peek(queues text[]) returns table (ready boolean, wait double precision)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  select coalesce(bool_or(r.any or s.run_at <= clock_timestamp()), false),
         extract(epoch from min(s.run_at) filter (where isfinite(s.run_at)) - clock_timestamp())::double precision
  from unnest(peek.queues) as u (queue)
  cross join lateral (
    select exists (select from pawl.ready t where t.queue = u.queue)
           or exists (select from pawl.lease l where l.expires_at < clock_timestamp() and l.jobs <> '{}') as any
  ) r
  left join lateral (select s.run_at from pawl.scheduled s where s.queue = u.queue order by s.run_at limit 1) s on true
  where not exists (select from pawl.queue q where q.name = u.queue and q.paused);
end $$;
