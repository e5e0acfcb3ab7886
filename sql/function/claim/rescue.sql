-- rescue returns the jobs of lost leases to their queues.
--   most    how many leases to take at once
--   judge   look for workers whose heartbeat is late; false while the caller itself was cut off, because then it
--           cannot tell whether heartbeats are late or only unseen
--   sweep   read all leases, not only those with an expiry and those of workers that went within the last minute.
--           It finds a lease that was committed long after its worker was gone
-- Moves: late workers become lost. A lease is lost if its worker is gone, or if its expiry has passed. Each job
-- that is still at the epoch of a lost lease gets the next epoch, one crash more and a ticket in the lane of
-- returned jobs; with the third crash it moves to dead. Then leases without a live job are deleted. No attempt is
-- used.
-- Returns how many workers, leases and jobs these were, and how many of the jobs died ("poison").
-- Index: lease_worker_id and lease_expires_at; a sweep uses none, so the caller spaces sweeps by their cost.
-- Survives: two calls at once (the duty's mutex is locked in an earlier statement); a completion at the same time
-- (its job is skipped, and the lease stays for the next call); a claim that commits after its worker was declared
-- lost (the lease is found by its worker); a server that was down (no heartbeat is late until stale_after has
-- passed since the server's start).
create or replace function pawl.rescue(most integer, judge boolean, sweep boolean)
returns table (workers bigint, leases bigint, jobs bigint, poisoned bigint)
language plpgsql set plan_cache_mode = force_generic_plan set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  gone   bigint[];
  lost   uuid[];
  queues text[];
  ended  jsonb;
begin
  workers := 0; leases := 0; jobs := 0; poisoned := 0;
  if not pawl.try_mutex('duty', '', 'rescue') then
    return next;
    return;
  end if;
  if judge then
    update pawl.worker w
    set state = 'lost', gone_at = moment
    where w.id in (
      select w.id from pawl.worker w
      where w.gone_at is null and moment > greatest(w.seen_at, pg_postmaster_start_time()) + w.stale_after
      for update skip locked
    );
    get diagnostics workers = row_count;
  end if;

  if sweep then
    lost := array(
      select l.id from pawl.lease l
      where l.expires_at < moment
         or l.worker_id is not null
            and not exists (select from pawl.worker w where w.id = l.worker_id and w.gone_at is null)
      order by random() -- Leases whose jobs are locked now must not block the others forever.
      limit most
      for update of l skip locked
    );
  else
    gone := array(select w.id from pawl.worker w where w.gone_at > moment - interval '1 minute');
    perform set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true);
    lost := array(
      select l.id from pawl.lease l
      where l.id in (
        select l.id from pawl.lease l where l.expires_at < moment
        union all
        select l.id from unnest(gone) as g (id) join pawl.lease l on l.worker_id = g.id
      )
      order by random()
      limit most
      for update of l skip locked
    );
  end if;
  leases := cardinality(lost);
  if leases = 0 then
    return next;
    return;
  end if;

  perform set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true);
  with pair as materialized (
    select u.id, u.epoch
    from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch)
    where l.id = any (lost)
    order by u.id
  ),
  mine as materialized (
    select j.id, j.epoch, (j.crashes + 1)::smallint as crashes
    from pair u,
         lateral (select j.* from pawl.job j where j.id = u.id and j.epoch = u.epoch for update skip locked) j
  ),
  back as (
    update pawl.job j
    set epoch = j.epoch + 1, crashes = m.crashes, pos = nextval('pawl.pos')
    from mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.crashes < 3
    returning j.id, j.epoch, j.pos, j.queue, j.channel, j.priority, j.crashes
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select b.pos, b.id, b.epoch, pawl.lane_priority(b.priority, b.crashes, true), b.queue, b.channel
    from back b
    returning queue
  ),
  over as (
    delete from pawl.job j
    using mine m
    where j.id = any (array[m.id]) and j.epoch = m.epoch and m.crashes >= 3
    returning j.*, m.crashes as new_crashes
  ),
  buried as (
    insert into pawl.dead (id, epoch, finished_at, expires_at, created_at, run_at, priority, attempt, max_attempts,
                           crashes, reason, queue, channel, kind, args, data, fingerprint, unique_key, opts, errors,
                           checkpoint)
    select o.id, o.epoch, moment, moment + t.retain, o.created_at, o.run_at, o.priority, o.attempt, o.max_attempts,
           o.new_crashes, 'poison', o.queue, o.channel, o.kind, o.args, o.data, o.fingerprint, o.unique_key, o.opts,
           o.errors, o.checkpoint
    from over o
    left join pawl.queue q on q.name = o.queue,
    lateral (select coalesce(q.retain_dead, interval '30 days') as retain) t
    where t.retain > '0'
  )
  select (select count(*) from mine), (select count(*) from over), array(select distinct r.queue from ready r),
         (select jsonb_agg(pawl.followup_of(o.id, o.queue, o.channel, o.opts)) from over o where o.constrained)
  into jobs, poisoned, queues, ended;
  if ended is not null then
    perform pawl.record_followups(ended, 'dead');
  end if;

  delete from pawl.lease l
  where l.id = any (lost)
    and not exists (
      select from unnest(l.jobs, l.epochs) as u (id, epoch)
      join pawl.job j on j.id = any (array[u.id]) and j.epoch = u.epoch
    );
  perform pawl.wake(queues);
  return next;
end $$;
