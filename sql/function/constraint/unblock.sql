-- unblock gives blocked jobs their tickets if they have nothing left to wait for.
-- Moves: tickets from blocked to ready or scheduled; the job rows get their new positions.
-- Returns the ids of jobs whose row another transaction has locked: call it again for them.
-- Index: primary keys; ordered_job's from the first position of the channel.
-- Survives: two calls at once, a commit or a cancel at the same time. The job rows are locked before anything is
-- read, and the reads are in a later statement, with a younger snapshot. A transaction that removes what a job
-- waits for either commits first and calls this afterwards, or calls this in the same transaction, under the lock
-- that the others need. A caller's transaction above read committed has an older snapshot than the locks: its ordered
-- jobs are left to the next run_followups.
create or replace function pawl.unblock(ids bigint[]) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  locked bigint[]; -- jobs whose row this call has locked
  free   bigint[]; -- jobs that wait for nothing
  queues text[];
begin
  locked := array(
    select j.id
    from (select u.id from unnest(unblock.ids) u (id) order by u.id) u,
         lateral (select j.id from pawl.job j where j.id = u.id for update skip locked) j);
  return query select j.id from pawl.job j where j.id = any (unblock.ids) and j.id <> all (locked);

  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    insert into pawl.followup (job_id, queue, channel, ordered, became)
    select distinct 0, j.queue, j.channel, true, 'completed'
    from unnest(locked) u (id)
    join pawl.job j on j.id = any (array[u.id])
    where j.opts ? 'ordered';
    locked := array(
      select j.id
      from unnest(locked) u (id)
      join pawl.job j on j.id = any (array[u.id])
      where not coalesce(j.opts ? 'ordered', false));
  end if;

  -- A scalar subquery, because the planner may turn an exists into a join that reads a whole table.
  free := array(
    select j.id
    from unnest(locked) u (id)
    join pawl.job j on j.id = any (array[u.id])
    where (select true from pawl.dependency w where w.child_id = j.id limit 1) is null
      and (not coalesce(j.opts ? 'ordered', false)
           or (select true from pawl.halted_channel h where h.queue = j.queue and h.channel = j.channel) is null
              and (select true from pawl.ordered_job t
                   where t.queue = j.queue and t.channel = j.channel
                     and t.pos < (select own.pos from pawl.ordered_job own where own.job_id = j.id)
                   limit 1) is null));
  if cardinality(free) = 0 then
    return;
  end if;

  with gone as materialized (
    delete from pawl.blocked p
    using unnest(free) u (id), pawl.job j
    where p.job_id = any (array[u.id]) and j.id = any (array[u.id]) and p.epoch = j.epoch and p.expires_at is null
    returning j.id, j.epoch, j.queue, j.channel, j.priority, j.crashes, j.run_at
  ),
  later as (
    insert into pawl.scheduled (run_at, job_id, epoch, queue)
    select g.run_at, g.id, g.epoch, g.queue from gone g where g.run_at > clock_timestamp()
    returning job_id
  ),
  placed as materialized (
    select g.*, nextval('pawl.pos') as place
    from (select g.* from gone g where g.id not in (select l.job_id from later l) order by g.id) g
  ),
  placed_job as (
    update pawl.job j set pos = p.place from placed p where j.id = any (array[p.id])
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select p.place, p.id, p.epoch, pawl.lane_priority(p.priority, p.crashes, false), p.queue, p.channel from placed p
    returning queue
  )
  select array_agg(distinct r.queue) into queues from ready r;
  if queues is not null then
    perform pawl.wake(queues);
  end if;
end $$;
