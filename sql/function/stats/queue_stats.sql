-- queue_stats returns the figures of every queue, one row each, ordered by name: queues with live, dead or archived
-- jobs, queues with a policy, and queues that clients reported on within the last minute.
--   most   bounds what is read. The queues share the tickets that are counted of each state, but each has at least
--          a twentieth of `most`. They share the lanes whose first tickets are read, a twentieth of `most`, but
--          each has at least ten. Half of `most` running jobs are read. Above these bounds the figures are
--          estimated, from the planner's statistics or from what was read, and the column estimated is true
-- oldest_ready and lag: for how many seconds the oldest job has been ready, or due. newest: when the newest live
-- job that was read was inserted.
-- archived: counted in partitions of up to 256 pages together. Of each other partition about 64 pages are read, and
-- archive_estimated is true.
-- inserted, completed and failed: per second, over the last minute, as clients report them: see report_counters.
-- Moves nothing. Each count has its own snapshot.
-- Index: ready, scheduled, blocked, permit and dead by queue, at most the bound for each; the first and last ticket
-- of lanes; job's primary key, one descent for each running job read. It reads counter and lease whole, and the
-- archive's small partitions.
create or replace function pawl.queue_stats(most integer) returns table (
  queue text, reserved bigint, waiting bigint, scheduled bigint, ready bigint, running bigint, dead bigint,
  archived bigint, estimated boolean, archive_estimated boolean, permits bigint, oldest_ready double precision,
  lag double precision, newest timestamptz,
  inserted double precision, completed double precision, failed double precision
)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  moment        constant timestamptz := statement_timestamp(); -- so that the caller can select it, too
  latest        constant bigint := floor(extract(epoch from moment) / 10);
  -- The last seven slots reach back this many seconds.
  span          constant double precision := 60 + extract(epoch from moment) - 10 * latest;
  names         text[];
  archived_jobs jsonb; -- {queue: number}
  budget        bigint := 256;
  child         record;
  sampled       boolean := false; -- whether a partition was too large to count
  queries       text[] := '{}';
  claims        bigint;
  step          bigint;
  running_jobs  jsonb; -- {queue: [number, highest id]}
  bound         bigint;
  lanes         bigint;
  n_reserved    bigint[];
  n_waiting     bigint[];
  n_scheduled   bigint[];
  n_ready       bigint[];
  n_dead        bigint[];
  n_permits     bigint[];
  top           bigint[]; -- the highest id read of jobs that are not ready
  exact         boolean[];
begin
  for child in
    select k.oid::regclass as relation, pg_relation_size(k.oid) / current_setting('block_size')::bigint as pages
    from pg_inherits i, lateral (select k.oid, k.relname from pg_class k where k.oid = i.inhrelid limit 1) k
    where i.inhparent = 'pawl.archive_chunk'::regclass
    order by k.relname
  loop
    if child.pages > budget then
      -- The same pages each time, so that figures do not jump from call to call.
      sampled := true;
      queries := queries || format(
        'select a.queue, a.n * %s::double precision as n from %s a tablesample system (%s) repeatable (1) '
          || 'where a.expires_at > $1',
        greatest(child.pages / 64.0, 1), child.relation, least(6400.0 / child.pages, 100));
    elsif child.pages > 0 then
      budget := budget - child.pages;
      queries := queries || format('select a.queue, a.n from %s a where a.expires_at > $1', child.relation);
    end if;
  end loop;
  if queries <> '{}' then
    execute 'select jsonb_object_agg(k.queue, k.n) from (select k.queue, sum(k.n)::bigint as n from ('
      || array_to_string(queries, ' union all ') || ') k group by k.queue) k' into archived_jobs using moment;
  end if;

  -- Read a sample of the running jobs by their ids, which are spread evenly.
  select coalesce(sum(cardinality(l.jobs)), 0) into claims from pawl.lease l;
  step := greatest(ceil(claims * 2.0 / most), 1);
  select jsonb_object_agg(h.queue, jsonb_build_array(h.n * step, h.top)) into running_jobs
  from (
    select j.queue, count(*) as n, max(j.id) as top
    from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch),
         lateral (select j.queue, j.id from pawl.job j where j.id = u.id and j.epoch = u.epoch limit 1) j
    where u.id % step = 0
    group by j.queue
  ) h;

  names := array(
    with recursive ready as (
      (select t.queue from pawl.ready t order by t.queue limit 1)
      union all
      select n.queue
      from ready r, lateral (select t.queue from pawl.ready t where t.queue > r.queue order by t.queue limit 1) n
    ),
    scheduled as (
      (select t.queue from pawl.scheduled t order by t.queue limit 1)
      union all
      select n.queue
      from scheduled r,
           lateral (select t.queue from pawl.scheduled t where t.queue > r.queue order by t.queue limit 1) n
    ),
    blocked as (
      (select t.queue from pawl.blocked t order by t.queue limit 1)
      union all
      select n.queue
      from blocked r, lateral (select t.queue from pawl.blocked t where t.queue > r.queue order by t.queue limit 1) n
    ),
    dead as (
      (select t.queue from pawl.dead t order by t.queue limit 1)
      union all
      select n.queue
      from dead r, lateral (select t.queue from pawl.dead t where t.queue > r.queue order by t.queue limit 1) n
    )
    select queue from ready union select queue from scheduled
    union select queue from blocked union select queue from dead
    union select q.name from pawl.queue q union select t.queue from pawl.counter t where t.slot > latest - 7
    union select jsonb_object_keys(running_jobs) collate "C" union select jsonb_object_keys(archived_jobs) collate "C"
    order by 1
  );
  bound := greatest(most / greatest(cardinality(names), 1), most / 20, 1);
  lanes := greatest(most / 20 / greatest(cardinality(names), 1), 10);

  select array_agg(p.n order by u.ord), array_agg(w.n order by u.ord), array_agg(s.n order by u.ord),
         array_agg(r.n order by u.ord), array_agg(d.n order by u.ord), array_agg(m.n order by u.ord),
         array_agg(greatest(p.top, w.top, s.top) order by u.ord)
  into n_reserved, n_waiting, n_scheduled, n_ready, n_dead, n_permits, top
  from unnest(names) with ordinality as u (name, ord),
       lateral (select count(*) as n, max(t.job_id) as top
                from (select t.job_id from pawl.blocked t
                      where t.queue = u.name and t.expires_at is not null limit bound + 1) t) p,
       lateral (select count(*) as n, max(t.job_id) as top
                from (select t.job_id from pawl.blocked t
                      where t.queue = u.name and t.expires_at is null limit bound + 1) t) w,
       lateral (select count(*) as n, max(t.job_id) as top
                from (select t.job_id from pawl.scheduled t where t.queue = u.name limit bound + 1) t) s,
       lateral (select count(*) as n from (select from pawl.ready t where t.queue = u.name limit bound + 1) t) r,
       lateral (select count(*) as n from (select from pawl.dead t where t.queue = u.name limit bound + 1) t) d,
       lateral (select count(*) as n from (select from pawl.permit t where t.queue = u.name limit bound + 1) t) m;
  exact := array(
    select not bound < any (array[u.p, u.w, u.s, u.r, u.d, u.m]) and step = 1
    from unnest(n_reserved, n_waiting, n_scheduled, n_ready, n_dead, n_permits)
           with ordinality as u (p, w, s, r, d, m, ord)
    order by u.ord
  );
  n_reserved  := pawl.estimate_counts(names, n_reserved,  bound, 'pawl.blocked',    't.expires_at is not null');
  n_waiting := pawl.estimate_counts(names, n_waiting, bound, 'pawl.blocked',    't.expires_at is null');
  n_scheduled   := pawl.estimate_counts(names, n_scheduled,   bound, 'pawl.scheduled', 'true');
  n_ready   := pawl.estimate_counts(names, n_ready,   bound, 'pawl.ready',     'true');
  n_dead    := pawl.estimate_counts(names, n_dead,    bound, 'pawl.dead',      'true');
  n_permits := pawl.estimate_counts(names, n_permits, bound, 'pawl.permit',    't.queue <> ''''');

  return query
  with recursive lane as (
    select u.ord, u.name, h.priority, h.channel, h.pos, e.id, 1 as n
    from unnest(names) with ordinality as u (name, ord),
         lateral (select t.priority, t.channel, t.pos from pawl.ready t
                  where t.queue = u.name order by t.priority, t.channel, t.pos limit 1) h,
         lateral (select t.job_id as id from pawl.ready t
                  where t.queue = u.name and t.priority = h.priority and t.channel = h.channel
                  order by t.pos desc limit 1) e
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
                 where l.n < 3 and t.queue = l.name and t.priority = h.priority and t.channel = h.channel
                 order by t.pos desc limit 1) e
         ) e
    where l.n < lanes
  ),
  head as (
    select l.ord, l.name, l.priority, l.channel, l.pos, l.n, l.id, min(l.pos) over (partition by l.ord) as least
    from lane l
  ),
  first as (
    select h.ord, max(h.n) as seen, max(h.id) as top, min(coalesce(j.run_at, j.created_at)) as since
    from head h
    left join lateral (
      -- The job with the lowest position is the oldest, except for returned jobs, which got new positions. If there
      -- are any, they are in the first lane.
      select j.run_at, j.created_at
      from pawl.ready t, lateral (select j.run_at, j.created_at from pawl.job j where j.id = t.job_id limit 1) j
      where (h.n = 1 or h.pos = h.least) and t.queue = h.name and t.priority = h.priority
        and t.channel = h.channel and t.pos = h.pos
    ) j on true
    group by h.ord
  ),
  counted as (
    select t.queue, sum(i.n) as inserted, sum(c.n) as completed, sum(f.n) as failed
    from pawl.counter t,
         lateral (select sum(x) as n from unnest(t.inserted[1 : 7 - greatest(latest - t.slot, 0)]) as x) i,
         lateral (select sum(x) as n from unnest(t.completed[1 : 7 - greatest(latest - t.slot, 0)]) as x) c,
         lateral (select sum(x) as n from unnest(t.failed[1 : 7 - greatest(latest - t.slot, 0)]) as x) f
    where t.slot > latest - 7
    group by t.queue
  )
  select u.name, u.reserved, u.waiting, u.scheduled, u.ready,
         coalesce((running_jobs -> u.name ->> 0)::bigint, 0), u.dead,
         coalesce((archived_jobs ->> u.name)::bigint, 0),
         not u.exact or coalesce(f.seen >= lanes, false), sampled, u.permits,
         greatest(extract(epoch from moment - f.since), 0)::double precision,
         greatest(extract(epoch from moment - least(f.since, due.at)), 0)::double precision,
         (select j.created_at from pawl.job j
          where j.id = greatest(u.top, f.top, (running_jobs -> u.name ->> 1)::bigint)),
         coalesce(counted.inserted, 0)::double precision / span,
         coalesce(counted.completed, 0)::double precision / span,
         coalesce(counted.failed, 0)::double precision / span
  from unnest(names, n_reserved, n_waiting, n_scheduled, n_ready, n_dead, n_permits, top, exact)
         with ordinality as u (name, reserved, waiting, scheduled, ready, dead, permits, top, exact, ord)
  left join first f on f.ord = u.ord
  left join lateral (
    select s.run_at as at from pawl.scheduled s where s.queue = u.name order by s.run_at limit 1
  ) due on true
  left join counted on counted.queue = u.name
  order by u.ord;
end $$;
