-- claim claims up to n jobs of a queue by SQL, for `lasting`; after that, the jobs are claimed again. It does what
-- a session that works alone needs: it makes due jobs ready, rescues lost jobs, and runs the follow-ups of finished
-- jobs.
-- Returns the jobs, most urgent first. A session passes id and epoch to complete, fail, release and extend. It
-- calls rescue only if there is something to rescue, because rescue excludes every other rescue until this
-- transaction ends.
-- A job that cannot be read or sent is made dead with the reason unprocessable, and the others are returned.
-- jit is off, because the functions it calls read small tables whole. With enable_seqscan off that looks so
-- expensive that the plans were compiled, 150 ms for each claim.
create or replace function pawl.claim(queue text, n integer default 1, lasting interval default null)
returns table (
  id bigint, epoch integer, kind text, args jsonb, data bytea, channel text, priority smallint, attempt integer,
  max_attempts smallint, headers jsonb, checkpoint jsonb, lease uuid
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  chosen constant uuid := gen_random_uuid();
  lanes  record;
begin
  if coalesce(claim.queue, '') = '' or coalesce(n, 0) < 1 or lasting <= '0' then
    raise exception 'pawl: claim of % of queue %: want a queue, n above 0, and a positive time or none',
      coalesce(n::text, 'null'), coalesce(claim.queue, 'null')
      using errcode = '22023';
  end if;
  perform pg_current_xact_id();
  perform from pawl.lease l where l.expires_at < clock_timestamp() limit 1;
  if not found then
    perform from pawl.worker w
    where w.gone_at is null and clock_timestamp() > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
    limit 1;
  end if;
  if found then
    perform pawl.rescue(100, true, false);
  end if;
  perform pawl.expire(100);
  perform pawl.drop_stale_permits();
  perform pawl.run_followups(100);
  perform pawl.promote(array[claim.queue], array['-infinity'::timestamptz], greatest(n, 1));
  select array_agg(claim.queue) as queues, array_agg(l.priority) as priorities, array_agg(l.channel) as channels,
         array_agg(0::bigint) as marks, array_agg(9223372036854775807) as untils,
         array_agg(case when l.priority = -32769 then least(1, n) else n end) as quotas
  into lanes
  from (
    select l.priority, l.channel
    from (
      select l.priority, l.channel, bool_or(l.priority = -32769) over () as suspect
      from pawl.discover_lanes(
             array[claim.queue], array[-2147483648], array[''],
             array[claim.queue], array[2147483647], array[''],
             array[claim.queue], false) l
    ) l
    where l.suspect = (l.priority = -32769) -- A suspect is claimed alone: no other job counts its crash.
    order by l.priority, random()
    limit 256
  ) l;
  if lanes.queues is null then
    return;
  end if;
  return query
  select c.id, c.epoch, c.kind, c.args, c.data, c.channel, c.priority, c.attempt + 1, c.max_attempts,
         c.opts -> 'headers', c.checkpoint -> 'value', chosen
  from pawl.claim_readable(chosen, null, claim.lasting, n, lanes.queues, lanes.priorities, lanes.channels,
                           lanes.marks, lanes.untils, lanes.quotas) c
  where c.found
  order by c.lane, c.pos;
end $$;
