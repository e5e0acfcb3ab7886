-- queue_stats: the figures of every queue, a row each, by name: of those with jobs, live, dead or archived, those that something was said of, and those that
-- clients told of within the last minute.
--   most   what is looked at: of each state as many tickets are counted, shared by the queues, but at least a twentieth of it for each; a twentieth as many
--          lanes have their heads looked up, shared too, but at least ten for each; half as many held jobs are looked up. Beyond that the
--          figures are estimated, from the planner's statistics or what was looked at, and the row says so.
-- oldest_ready, lag: for how many seconds the oldest has been ready, or due. newest: when the newest live job that was seen here was inserted.
-- archived: counted in partitions of up to 256 pages in all, else estimated; archive_estimated says so.
-- inserted, completed, failed: a second, over the last minute, as clients tell: see tally.
-- Moves nothing. Each count has a snapshot of its own. Index: ready, scheduled, blocked, permit and dead by queue, at most the bound a queue; the head and end of lanes;
-- job's primary key, a descent a held job looked up. Reads tally and lease whole, and the archive's small partitions.
create or replace function pawl.queue_stats(most integer) returns table (
  queue text, reserved bigint, waiting bigint, scheduled bigint, ready bigint, running bigint, dead bigint, archived bigint,
  estimated boolean, archive_estimated boolean, permits bigint, oldest_ready double precision, lag double precision, newest timestamptz,
  inserted double precision, completed double precision, failed double precision
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment    constant timestamptz := statement_timestamp(); -- which the caller can ask for, too
  latest    constant bigint := floor(extract(epoch from moment) / 10);
  span      constant double precision := 60 + extract(epoch from moment) - 10 * latest; -- that the seven last slots reach back
  names     text[];
  kept      jsonb; -- archived jobs by queue
  budget    bigint := 256;
  part      record;
  large     regclass[] := '{}'; -- partitions
  parts     text[] := array['select f.queue, f.n from pawl.queue_frequencies($1) f'];
  pairs     bigint;
  step      bigint;
  held      jsonb;
  bound     bigint;
  lanes     bigint;
  n_parked  bigint[];
  n_waiting bigint[];
  n_later   bigint[];
  n_ready   bigint[];
  n_dead    bigint[];
  n_permits bigint[];
  top       bigint[]; -- ids of what is not ready, the highest seen
  exact     boolean[];
begin
  for part in
    select k.oid::regclass as relation, pg_relation_size(k.oid) / current_setting('block_size')::bigint as pages
    from pg_inherits i, lateral (select k.oid, k.relname from pg_class k where k.oid = i.inhrelid limit 1) k
    where i.inhparent = 'pawl.archive'::regclass
    order by k.relname
  loop
    if part.pages > budget then
      large := large || part.relation;
    elsif part.pages > 0 then
      budget := budget - part.pages;
      parts := parts || format('select a.queue, 1 as n from %s a where a.expires_at > $2', part.relation);
    end if;
  end loop;
  execute 'select jsonb_object_agg(k.queue, k.n) from (select k.queue, sum(k.n)::bigint as n from ('
    || array_to_string(parts, ' union all ') || ') k group by k.queue) k' into kept using large, moment;

  -- Of the held jobs as many as are to be looked up, whichever: their ids are spread evenly.
  select coalesce(sum(cardinality(l.jobs)), 0) into pairs from pawl.lease l;
  step := greatest(ceil(pairs * 2.0 / most), 1);
  select jsonb_object_agg(h.queue, jsonb_build_array(h.n * step, h.top)) into held
  from (
    select j.queue, count(*) as n, max(j.id) as top
    from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch), lateral (select j.queue, j.id from pawl.job j where j.id = u.id and j.epoch = u.epoch limit 1) j
    where u.id % step = 0
    group by j.queue
  ) h;

  names := array(
    with recursive ready as (
      (select t.queue from pawl.ready t order by t.queue limit 1)
      union all
      select n.queue from ready r, lateral (select t.queue from pawl.ready t where t.queue > r.queue order by t.queue limit 1) n
    ),
    scheduled as (
      (select t.queue from pawl.scheduled t order by t.queue limit 1)
      union all
      select n.queue from scheduled r, lateral (select t.queue from pawl.scheduled t where t.queue > r.queue order by t.queue limit 1) n
    ),
    blocked as (
      (select t.queue from pawl.blocked t order by t.queue limit 1)
      union all
      select n.queue from blocked r, lateral (select t.queue from pawl.blocked t where t.queue > r.queue order by t.queue limit 1) n
    ),
    dead as (
      (select t.queue from pawl.dead t order by t.queue limit 1)
      union all
      select n.queue from dead r, lateral (select t.queue from pawl.dead t where t.queue > r.queue order by t.queue limit 1) n
    )
    select queue from ready union select queue from scheduled union select queue from blocked union select queue from dead
    union select q.name from pawl.queue q union select t.queue from pawl.counter t where t.slot > latest - 7
    union select jsonb_object_keys(held) collate "C" union select jsonb_object_keys(kept) collate "C"
    order by 1
  );
  bound := greatest(most / greatest(cardinality(names), 1), most / 20, 1);
  lanes := greatest(most / 20 / greatest(cardinality(names), 1), 10);

  select array_agg(p.n order by u.ord), array_agg(w.n order by u.ord), array_agg(s.n order by u.ord), array_agg(r.n order by u.ord),
         array_agg(d.n order by u.ord), array_agg(m.n order by u.ord), array_agg(greatest(p.top, w.top, s.top) order by u.ord)
  into n_parked, n_waiting, n_later, n_ready, n_dead, n_permits, top
  from unnest(names) with ordinality as u (name, ord),
       lateral (select count(*) as n, max(t.job_id) as top from (select t.job_id from pawl.blocked t where t.queue = u.name and t.expires_at is not null limit bound + 1) t) p,
       lateral (select count(*) as n, max(t.job_id) as top from (select t.job_id from pawl.blocked t where t.queue = u.name and t.expires_at is null limit bound + 1) t) w,
       lateral (select count(*) as n, max(t.job_id) as top from (select t.job_id from pawl.scheduled t where t.queue = u.name limit bound + 1) t) s,
       lateral (select count(*) as n from (select from pawl.ready t where t.queue = u.name limit bound + 1) t) r,
       lateral (select count(*) as n from (select from pawl.dead t where t.queue = u.name limit bound + 1) t) d,
       lateral (select count(*) as n from (select from pawl.permit t where t.queue = u.name limit bound + 1) t) m;
  exact := array(
    select not bound < any (array[u.p, u.w, u.s, u.r, u.d, u.m]) and step = 1
    from unnest(n_parked, n_waiting, n_later, n_ready, n_dead, n_permits) with ordinality as u (p, w, s, r, d, m, ord) order by u.ord
  );
  n_parked  := pawl.estimate_counts(names, n_parked,  bound, 'pawl.blocked',    't.expires_at is not null');
  n_waiting := pawl.estimate_counts(names, n_waiting, bound, 'pawl.blocked',    't.expires_at is null');
  n_later   := pawl.estimate_counts(names, n_later,   bound, 'pawl.scheduled', 'true');
  n_ready   := pawl.estimate_counts(names, n_ready,   bound, 'pawl.ready',     'true');
  n_dead    := pawl.estimate_counts(names, n_dead,    bound, 'pawl.dead',      'true');
  n_permits := pawl.estimate_counts(names, n_permits, bound, 'pawl.permit',    't.queue <> ''''');

  return query
  with recursive lane as (
    select u.ord, u.name, h.priority, h.channel, h.pos, e.id, 1 as n
    from unnest(names) with ordinality as u (name, ord),
         lateral (select t.priority, t.channel, t.pos from pawl.ready t where t.queue = u.name order by t.priority, t.channel, t.pos limit 1) h,
         lateral (select t.job_id as id from pawl.ready t where t.queue = u.name and t.priority = h.priority and t.channel = h.channel order by t.pos desc limit 1) e
    union all
    select l.ord, l.name, h.priority, h.channel, h.pos, e.id, l.n + 1
    from lane l,
         lateral (
           select t.priority, t.channel, t.pos from pawl.ready t
           where t.queue = l.name and (t.priority, t.channel) > (l.priority, l.channel)
           order by t.priority, t.channel, t.pos limit 1
         ) h,
         lateral (
           select max(e.id) as id
           from (select t.job_id as id from pawl.ready t
                 where l.n < 3 and t.queue = l.name and t.priority = h.priority and t.channel = h.channel order by t.pos desc limit 1) e
         ) e
    where l.n < lanes
  ),
  head as (
    select l.ord, l.name, l.priority, l.channel, l.pos, l.n, l.id, min(l.pos) over (partition by l.ord) as least from lane l
  ),
  first as (
    select h.ord, max(h.n) as seen, max(h.id) as top, min(coalesce(j.run_at, j.created_at)) as since
    from head h
    left join lateral (
      -- That of the least position, and of the first lane, which is that of returned jobs if there are any: these got new positions.
      select j.run_at, j.created_at
      from pawl.ready t, lateral (select j.run_at, j.created_at from pawl.job j where j.id = t.job_id limit 1) j
      where (h.n = 1 or h.pos = h.least) and t.queue = h.name and t.priority = h.priority and t.channel = h.channel and t.pos = h.pos
    ) j on true
    group by h.ord
  ),
  told as (
    select t.queue, sum(i.n) as inserted, sum(c.n) as completed, sum(f.n) as failed
    from pawl.counter t,
         lateral (select sum(x) as n from unnest(t.inserted[1 : 7 - greatest(latest - t.slot, 0)]) as x) i,
         lateral (select sum(x) as n from unnest(t.completed[1 : 7 - greatest(latest - t.slot, 0)]) as x) c,
         lateral (select sum(x) as n from unnest(t.failed[1 : 7 - greatest(latest - t.slot, 0)]) as x) f
    where t.slot > latest - 7
    group by t.queue
  )
  select u.name, u.reserved, u.waiting, u.scheduled, u.ready, coalesce((held -> u.name ->> 0)::bigint, 0), u.dead, coalesce((kept ->> u.name)::bigint, 0),
         not u.exact or coalesce(f.seen >= lanes, false), large <> '{}', u.permits,
         greatest(extract(epoch from moment - f.since), 0)::double precision,
         greatest(extract(epoch from moment - least(f.since, due.at)), 0)::double precision,
         (select j.created_at from pawl.job j where j.id = greatest(u.top, f.top, (held -> u.name ->> 1)::bigint)),
         coalesce(told.inserted, 0)::double precision / span, coalesce(told.completed, 0)::double precision / span, coalesce(told.failed, 0)::double precision / span
  from unnest(names, n_parked, n_waiting, n_later, n_ready, n_dead, n_permits, top, exact)
         with ordinality as u (name, reserved, waiting, scheduled, ready, dead, permits, top, exact, ord)
  left join first f on f.ord = u.ord
  left join lateral (select s.run_at as at from pawl.scheduled s where s.queue = u.name order by s.run_at limit 1) due on true
  left join told on told.queue = u.name
  order by u.ord;
end $$;
