-- channel_stats returns the figures of queue_stats for each channel of one queue.
--   most   how many jobs of a state are read. If there are more, their channels stand for all jobs, and the figures
--          are estimated. Of ready jobs, the first `most` lanes are read, and at most `most` jobs of each lane
-- Moves nothing.
-- Index: those of queue_stats; job's primary key, one descent for each job read.
create or replace function pawl.channel_stats(name text, most integer) returns table (
  channel text, reserved bigint, scheduled bigint, ready bigint, running bigint, dead bigint, estimated boolean,
  oldest_ready double precision, lag double precision
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment   timestamptz := clock_timestamp();
  lanes    jsonb := '[]'; -- [{channel, n, since}]
  counted  bigint := 0;
  estimate boolean := false;
  lane     record;
  n        bigint;
  expected bigint; -- ready jobs of the queue, as the planner estimates them
  factors  double precision[] := '{1,1,1,1}'; -- of the samples of reserved, scheduled, running and dead jobs
begin
  select t.priority, t.channel, t.pos, t.job_id into lane
  from pawl.ready t where t.queue = channel_stats.name order by t.priority, t.channel, t.pos limit 1;
  while found loop
    if counted >= 10 * most or jsonb_array_length(lanes) >= most then
      estimate := true;
      exit;
    end if;
    select count(*) into n
    from (select from pawl.ready t
          where t.queue = channel_stats.name and t.priority = lane.priority and t.channel = lane.channel
          limit most + 1) x;
    counted := counted + n;
    estimate := estimate or n > most;
    lanes := lanes || jsonb_build_object('channel', lane.channel, 'n', n,
      'since', (select coalesce(j.run_at, j.created_at) from pawl.job j where j.id = lane.job_id));
    select t.priority, t.channel, t.pos, t.job_id into lane
    from pawl.ready t
    where t.queue = channel_stats.name and (t.priority, t.channel) > (lane.priority, lane.channel)
    order by t.priority, t.channel, t.pos limit 1;
  end loop;
  if estimate then
    -- The jobs that were not counted are in the lanes that have more jobs than were counted.
    expected := pawl.estimate_rows(format('select from pawl.ready t where t.queue = %L', name));
    select count(*) into n from jsonb_to_recordset(lanes) as l (n bigint) where l.n > most;
    if n > 0 and expected > counted then
      lanes := (
        select jsonb_agg(case when (l ->> 'n')::bigint > most
                              then l || jsonb_build_object('n', (l ->> 'n')::bigint + (expected - counted) / n)
                              else l end)
        from jsonb_array_elements(lanes) l
      );
    end if;
  end if;

  select count(*) into n
  from (select from pawl.blocked p
        where p.queue = channel_stats.name and p.expires_at is not null limit most + 1) x;
  if n > most then
    factors[1] := greatest(
      pawl.estimate_rows(format('select from pawl.blocked t where t.queue = %L and t.expires_at is not null', name)), n
    )::double precision / most;
  end if;
  select count(*) into n from (select from pawl.scheduled s where s.queue = channel_stats.name limit most + 1) x;
  if n > most then
    factors[2] := greatest(
      pawl.estimate_rows(format('select from pawl.scheduled t where t.queue = %L', name)), n
    )::double precision / most;
  end if;
  select coalesce(sum(cardinality(l.jobs)), 0) into n from pawl.lease l;
  if n > 10 * most then
    factors[3] := n::double precision / (10 * most);
  end if;
  select count(*) into n from (select from pawl.dead d where d.queue = channel_stats.name limit most + 1) x;
  if n > most then
    factors[4] := greatest(
      pawl.estimate_rows(format('select from pawl.dead t where t.queue = %L', name)), n
    )::double precision / most;
  end if;
  estimate := estimate or 1 < any (factors);

  return query
  with found as (
    select j.channel, 1 as kind, factors[1] as n, null::timestamptz as ready, null::timestamptz as due
    from (select p.job_id from pawl.blocked p
          where p.queue = channel_stats.name and p.expires_at is not null limit most) p,
         lateral (select j.channel from pawl.job j where j.id = p.job_id limit 1) j
    union all
    select j.channel, 2, factors[2], null, s.run_at
    from (select s.job_id, s.run_at from pawl.scheduled s
          where s.queue = channel_stats.name order by s.run_at limit most) s,
         lateral (select j.channel from pawl.job j where j.id = s.job_id limit 1) j
    union all
    select l.channel, 3, l.n, l.since, l.since
    from jsonb_to_recordset(lanes) as l (channel text, n bigint, since timestamptz)
    union all
    select j.channel, 4, factors[3], null, null
    from (select u.id, u.epoch from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch) limit 10 * most) u,
         lateral (select j.channel from pawl.job j
                  where j.id = u.id and j.epoch = u.epoch and j.queue = channel_stats.name limit 1) j
    union all
    select d.channel, 5, factors[4], null, null
    from (select d.channel from pawl.dead d where d.queue = channel_stats.name limit most) d
  )
  select f.channel,
         coalesce(sum(f.n) filter (where f.kind = 1), 0)::bigint,
         coalesce(sum(f.n) filter (where f.kind = 2), 0)::bigint,
         coalesce(sum(f.n) filter (where f.kind = 3), 0)::bigint,
         coalesce(sum(f.n) filter (where f.kind = 4), 0)::bigint,
         coalesce(sum(f.n) filter (where f.kind = 5), 0)::bigint, estimate,
         greatest(extract(epoch from moment - min(f.ready)), 0)::double precision,
         greatest(extract(epoch from moment - min(f.due)), 0)::double precision
  from found f
  group by f.channel
  order by f.channel collate "C";
end $$;
