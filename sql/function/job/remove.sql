-- remove ends jobs, whatever their state: it is cancel and delete.
--   ids, epochs   the jobs; if an epoch is not null, only if the job is still claimed at it
--   keep          true: cancel, the jobs go to archive; false: delete, also finished jobs, and nothing is left
-- Moves: the job row and its ticket out, in one transaction. Returns the ids of the jobs that existed. If a job was
-- running, its worker is notified.
-- Index: primary keys; archive_chunk_min_id for finished jobs.
-- Survives: another transaction that has locked the job row (this waits for it); a promotion or a claim at the same
-- time. They skip a locked job. If a claim took the ticket before, this waits for the claim and removes the running
-- job: the epoch of its worker matches nothing any more.
-- There are separate statements, each with its own snapshot: lock the jobs, delete the tickets, delete the jobs.
-- Locks jobs by id, then tickets. A transaction that locks tickets first never waits for a job.
create or replace function pawl.remove(ids bigint[], epochs integer[], keep boolean) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  waiting  bigint[];
  removed  bigint[];
  ended    jsonb;
  dead     bigint[];
  archived bigint[];
begin
  perform j.id
  from (select u.id, u.epoch from unnest(remove.ids, remove.epochs) as u (id, epoch) order by u.id) u,
       lateral (select j.id from pawl.job j where j.id = u.id and (u.epoch is null or j.epoch = u.epoch) for update) j;

  with want as materialized (
    select j.id, j.queue, j.channel, j.priority, coalesce(j.pos, j.id) as pos, j.run_at
    from unnest(remove.ids, remove.epochs) as u (id, epoch)
    join pawl.job j on j.id = any (array[u.id]) and (u.epoch is null or j.epoch = u.epoch)
  ),
  ready as (
    delete from pawl.ready t using want w
    where t.queue = any (array[w.queue]) and t.priority = any (array[w.priority, -32768, -32769])
      and t.channel = w.channel and t.pos = w.pos
    returning t.job_id
  ),
  blocked as (
    delete from pawl.blocked p using want w where p.job_id = any (array[w.id])
    returning p.job_id
  ),
  scheduled as (
    delete from pawl.scheduled s using want w
    where s.queue = any (array[w.queue]) and s.run_at = w.run_at and s.job_id = w.id
    returning s.job_id
  )
  select array_agg(f.job_id) into waiting
  from (select job_id from ready union all select job_id from blocked union all select job_id from scheduled) f;

  with gone as (
    delete from pawl.job j
    using unnest(remove.ids, remove.epochs) as u (id, epoch)
    where j.id = any (array[u.id]) and (u.epoch is null or j.epoch = u.epoch)
    returning j.*
  ),
  kept as (
    insert into pawl.archive_chunk (min_id, max_id, n, finished_at, expires_at, state, queue, ids, epochs,
                                    created_at, run_at, priority, attempt, max_attempts, channel, kind, args, data,
                                    fingerprint, unique_key, opts, errors, checkpoint)
    select g.id, g.id, 1, t.now, t.now + t.retain, 'cancelled', g.queue, array[g.id], array[g.epoch],
           array[g.created_at], nullif(array[g.run_at], '{null}'), array[g.priority], array[g.attempt],
           nullif(array[g.max_attempts], '{null}'), array[g.channel], array[g.kind], nullif(array[g.args], '{null}'),
           nullif(array[g.data], '{null}'), nullif(array[g.fingerprint], '{null}'),
           nullif(array[g.unique_key], '{null}'), nullif(array[g.opts], '{null}'), nullif(array[g.errors], '{null}'),
           nullif(array[g.checkpoint], '{null}')
    from gone g
    left join pawl.queue q on q.name = g.queue,
    lateral (select clock_timestamp() as now, coalesce(q.retain_cancelled, interval '1 day') as retain) t
    where remove.keep and t.retain > '0'
  )
  select coalesce(array_agg(g.id), '{}'),
         jsonb_agg(pawl.followup_of(g.id, g.queue, g.channel, g.opts)) filter (where g.constrained)
  into removed, ended
  from gone g;
  if ended is not null then
    perform pawl.record_followups(ended, case when keep then 'cancelled' else 'deleted' end);
  end if;
  if exists (select unnest(removed) except select unnest(waiting)) then
    perform pawl.poke_heartbeats();
  end if;
  if cardinality(removed) > 0 then
    perform pawl.wake_awaiting(removed);
  end if;
  return query select unnest(removed);

  if not keep then
    with rest as (
      select u.id from unnest(remove.ids, remove.epochs) as u (id, epoch)
      where u.epoch is null and u.id <> all (removed)
    ),
    dead as (delete from pawl.dead d using rest r where d.id = r.id returning d.id)
    select array(select d.id from dead d), array(select r.id from rest r) into dead, archived;
    archived := pawl.delete_archived(archived);
    if dead <> '{}' then
      perform pawl.record_deleted(dead);
    end if;
    return query select unnest(dead || archived);
  end if;
end $$;
