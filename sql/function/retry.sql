-- retry: let jobs run now: the dead and the cancelled live again, with an attempt more if they had used theirs up; the scheduled
-- need not wait. Returns the ids that were changed; the ready and the running are left as they are.
-- Moves: a row from dead or archive to job, or a ticket from scheduled, and a new ticket in ready, the epoch one up.
-- Index: primary keys; for the cancelled archive's BRIN.
-- Survives: two retries (the row is deleted by one of them); a promotion at work (this waits for the ticket, and finds it gone).
-- Locks jobs by id, then tickets.
create or replace function pawl.retry(ids bigint[]) returns setof bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
begin
  perform pg_current_xact_id();
  perform j.id
  from (select u.id from unnest(retry.ids) as u (id) order by u.id) u,
       lateral (select j.id from pawl.job j where j.id = u.id for update) j;
  return query
  with dead as (
    delete from pawl.dead d where d.id = any (retry.ids)
    returning d.id, d.created_at, d.epoch, d.priority, d.attempt, d.max_attempts, d.queue, d.channel, d.kind, d.args, d.data,
              d.fingerprint, d.unique_key, d.opts, d.errors, d.checkpoint
  ),
  cancelled as (
    delete from pawl.archive a where a.id = any (retry.ids) and a.state = 'cancelled'
    returning a.id, a.created_at, a.epoch, a.priority, a.attempt, a.max_attempts, a.queue, a.channel, a.kind, a.args, a.data,
              a.fingerprint, a.unique_key, a.opts, a.errors, a.checkpoint
  ),
  risen as (
    insert into pawl.job (id, pos, created_at, run_at, epoch, priority, attempt, max_attempts, queue, channel, kind, args, data,
                          fingerprint, unique_key, opts, errors, checkpoint)
    select f.id, nextval('pawl.pos'), f.created_at, clock_timestamp(), f.epoch + 1, f.priority, f.attempt,
           case when f.attempt >= coalesce(f.max_attempts, q.max_attempts, 20) then least(f.attempt + 1, 32767) else f.max_attempts end,
           f.queue, f.channel, f.kind, f.args, f.data, f.fingerprint, f.unique_key, f.opts, f.errors, f.checkpoint
    from (select * from dead union all select * from cancelled) f
    left join pawl.queue q on q.name = f.queue
    returning id, pos, epoch, priority, strikes, queue, channel
  ),
  ticket as (
    delete from pawl.scheduled s using pawl.job j
    where j.id = any (retry.ids) and s.queue = any (array[j.queue]) and s.run_at = j.run_at and s.job_id = j.id
    returning s.job_id, s.epoch
  ),
  moved as (
    update pawl.job j
    set epoch = j.epoch + 1, pos = nextval('pawl.pos'), run_at = clock_timestamp()
    from ticket t
    where j.id = any (array[t.job_id]) and j.epoch = t.epoch
    returning j.id, j.pos, j.epoch, j.priority, j.strikes, j.queue, j.channel
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select n.pos, n.id, n.epoch, pawl.lane(n.priority, n.strikes, false), n.queue, n.channel
    from (select * from risen union all select id, pos, epoch, priority, strikes, queue, channel from moved) n
  )
  select r.id from risen r union all select m.id from moved m;
  perform pawl.wake(array(select distinct j.queue from pawl.job j where j.id = any (retry.ids)));
end $$;
