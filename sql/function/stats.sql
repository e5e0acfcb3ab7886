-- stats: how many jobs each queue has in which state, and for how many seconds the oldest has been ready, or due (lag).
--   most   counts up to it are exact; beyond, the rest of the table is shared among the queues with more, as the planner's statistics have it
-- Moves nothing. Each count has a snapshot of its own. Index: ready, scheduled, parked and dead by queue, at most `most` entries a queue; the head of every lane, of at
-- most `most` in all; what is held by way of the leases, at most ten times `most`.
create or replace function pawl.stats(most integer) returns table (
  queue text, reserved bigint, scheduled bigint, ready bigint, running bigint, dead bigint, estimated boolean,
  oldest_ready double precision, lag double precision
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  names  text[];
  counts bigint[]; -- Of names, by kind: reserved, scheduled, ready, dead.
  exact  boolean[];
  few    bigint;
  rest   bigint;
  share  bigint[];
  total  bigint;
  lanes  integer := 0;
  lane   record;
  first  bigint;
  since  timestamptz;
  held   jsonb;
  pairs  bigint;
  tables constant text[] := array['parked', 'scheduled', 'ready', 'dead'];
  conditions constant text[] := array['t.expires_at is not null', 'true', 'true', 'true'];
  n      bigint[];
  i      integer;
  k      integer;
begin
  names := array(
    with recursive dead as (
      (select d.queue from pawl.dead d order by d.queue limit 1)
      union all
      select n.queue from dead r, lateral (select d.queue from pawl.dead d where d.queue > r.queue order by d.queue limit 1) n
    )
    select queue collate "C" from pawl.queues() as u (queue) union select queue from dead union select q.name from pawl.queue q order by 1
  );
  counts := '{}';
  exact := array_fill(true, array[cardinality(names)]);
  for k in 1 .. 4 loop
    execute format('select array_agg(c.n order by u.ord) from unnest($1) with ordinality as u (name, ord),
        lateral (select count(*) as n from (select from pawl.%I t where t.queue = u.name and %s limit $2 + 1) x) c', tables[k], conditions[k])
      into n using names, most;
    if most < any (n) then
      select coalesce(sum(c) filter (where c <= most), 0), array_agg(case when c > most then
               pawl.planned(format('select from pawl.%I t where t.queue = %L and %s', tables[k], name, conditions[k])) else 0 end order by ord)
      into few, share
      from unnest(names, n) with ordinality as u (name, c, ord);
      select greatest(sum(s), 1) into total from unnest(share) as s;
      rest := greatest(pawl.planned(format('select from pawl.%I t where %s', tables[k], conditions[k])) - few, 0);
      for i in 1 .. cardinality(names) loop
        if n[i] > most then
          n[i] := greatest(n[i], (rest::numeric * share[i] / total)::bigint);
          exact[i] := false;
        end if;
      end loop;
    end if;
    counts := counts || n;
  end loop;

  select coalesce(sum(cardinality(l.jobs)), 0) into pairs from pawl.lease l;
  select jsonb_object_agg(h.queue, h.n) into held
  from (
    select j.queue, count(*) as n
    from (select u.id, u.epoch from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch) limit 10 * most) u,
         lateral (select j.queue from pawl.job j where j.id = u.id and j.epoch = u.epoch) j
    group by j.queue
  ) h;

  for i in 1 .. cardinality(names) loop
    queue := names[i];
    reserved := counts[i]; scheduled := counts[cardinality(names) + i]; ready := counts[2 * cardinality(names) + i]; dead := counts[3 * cardinality(names) + i];
    running := coalesce((held ->> names[i])::bigint, 0);
    estimated := not exact[i];
    if pairs > 10 * most then
      running := running * pairs / (10 * most);
      estimated := true;
    end if;
    first := null; since := null;
    select t.priority, t.channel, t.pos, t.job_id into lane
    from pawl.ready t where t.queue = names[i] order by t.priority, t.channel, t.pos limit 1;
    while found loop
      if first is null or lane.pos < first then
        first := lane.pos;
        select coalesce(j.run_at, j.created_at) into since from pawl.job j where j.id = lane.job_id;
      end if;
      lanes := lanes + 1;
      if lanes > most then
        estimated := true;
        exit;
      end if;
      select t.priority, t.channel, t.pos, t.job_id into lane
      from pawl.ready t
      where t.queue = names[i] and (t.priority, t.channel) > (lane.priority, lane.channel)
      order by t.priority, t.channel, t.pos limit 1;
    end loop;
    oldest_ready := greatest(extract(epoch from moment - since), 0);
    lag := greatest(oldest_ready, (select extract(epoch from moment - s.run_at) from pawl.scheduled s where s.queue = names[i] order by s.run_at limit 1), 0);
    return next;
  end loop;
end $$;
