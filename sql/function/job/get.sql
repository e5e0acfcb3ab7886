-- get returns jobs by id: live, archived or dead ones. Moves nothing.
-- Index: primary keys; archive_chunk_min_id for ids that are found nowhere else.
create or replace function pawl.get(ids bigint[]) returns table (
  id bigint, state text, reason text, queue text, channel text, kind text, args jsonb, data bytea, priority smallint,
  attempt smallint, max_attempts smallint, created_at timestamptz, run_at timestamptz, finished_at timestamptz,
  waited_ms bigint, ran_ms bigint, worker text, fingerprint text, opts jsonb, errors jsonb, unique_key text,
  checkpoint jsonb, result jsonb
) language plpgsql stable set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
begin
  return query
  with live as materialized (
    select j.id,
           -- A scalar subquery, because the planner may turn an exists into a hash of the whole table.
           case when (select true from pawl.scheduled s
                      where s.queue = j.queue and s.run_at = j.run_at and s.job_id = j.id) then 'scheduled'
                when (select true from pawl.ready t
                      where t.queue = j.queue and t.priority = any (array[j.priority, -32768, -32769])
                        and t.channel = j.channel and t.pos = coalesce(j.pos, j.id) limit 1) then 'ready'
                else coalesce((select case when p.expires_at is null then 'waiting' else 'reserved' end
                               from pawl.blocked p where p.job_id = j.id),
                              'running') end as state,
           j.queue, j.channel, j.kind, j.args, j.data, j.priority, j.attempt,
           coalesce(j.max_attempts, q.max_attempts, 20::smallint) as max_attempts,
           j.created_at, j.run_at, j.fingerprint, j.opts, j.errors, j.unique_key, j.checkpoint, j.epoch
    from pawl.job j
    left join pawl.queue q on q.name = j.queue
    where j.id = any (get.ids)
  ),
  dead as materialized (
    select d.*, coalesce(d.max_attempts, q.max_attempts, 20::smallint) as most
    from pawl.dead d
    left join pawl.queue q on q.name = d.queue
    where d.id = any (get.ids) and d.expires_at > clock_timestamp()
  ),
  rest as materialized (
    select u.id from unnest(get.ids) as u (id)
    where u.id not in (select l.id from live l) and u.id not in (select d.id from dead d)
  )
  select l.id, l.state, null::text, l.queue, l.channel, l.kind, l.args, l.data, l.priority, l.attempt, l.max_attempts,
         pawl.finite(l.created_at), pawl.finite(l.run_at), null::timestamptz, null::bigint, null::bigint,
         (select w.name
          from pawl.lease h
          join pawl.worker w on w.id = h.worker_id
          where l.state = 'running'
            and (l.id, l.epoch) in (select u.id, u.epoch from unnest(h.jobs, h.epochs) u (id, epoch))
          limit 1),
         l.fingerprint, l.opts, l.errors, l.unique_key, l.checkpoint, null::jsonb
  from live l
  union all
  select d.id, 'dead', d.reason, d.queue, d.channel, d.kind, d.args, d.data, d.priority, d.attempt, d.most,
         pawl.finite(d.created_at), pawl.finite(d.run_at), pawl.finite(d.finished_at), d.waited_ms, d.ran_ms, d.worker,
         d.fingerprint, d.opts, d.errors, d.unique_key, d.checkpoint, null
  from dead d
  union all
  select a.id, a.state, null, a.queue, a.channel, a.kind, a.args, a.data, a.priority, a.attempt,
         coalesce(a.max_attempts, q.max_attempts, 20::smallint), pawl.finite(a.created_at), pawl.finite(a.run_at),
         pawl.finite(a.finished_at), a.waited_ms, a.ran_ms, a.worker, a.fingerprint, a.opts, a.errors, a.unique_key,
         a.checkpoint, a.result
  from pawl.find_archived(array(select r.id from rest r)) a
  left join pawl.queue q on q.name = a.queue
  where a.expires_at > clock_timestamp();
end $$;
