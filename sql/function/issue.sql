-- issue: let a parked job have its ticket, if there is nothing left it waits for. False: its row is locked by somebody, ask again.
-- Moves: the ticket from parked to ready or scheduled; the job row told its position.
-- Index: primary keys; turn from the head of the channel.
-- Survives: two issuers, a commit or a cancel at work (the job row is locked before anything is looked at, and each look is a
-- statement of its own). Whoever takes away what a job waits for commits first and issues then, or issues in the same
-- transaction under the lock that the others need.
create or replace function pawl.issue(id bigint) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  job   record;
  place bigint;
begin
  select j.id, j.epoch, j.queue, j.channel, j.priority, j.strikes, j.run_at, j.opts ? 'ordered' as ordered into job
  from pawl.job j where j.id = issue.id for update skip locked;
  if not found then
    perform from pawl.job j where j.id = issue.id;
    return not found;
  end if;
  perform from pawl.wait w where w.child_id = issue.id;
  if found then
    return true;
  end if;
  if job.ordered then
    perform from pawl.halt h where h.queue = job.queue and h.channel = job.channel;
    if found then
      return true;
    end if;
    perform from pawl.turn t
    where t.queue = job.queue and t.channel = job.channel
      and t.pos < (select own.pos from pawl.turn own where own.job_id = issue.id)
    limit 1;
    if found then
      return true;
    end if;
  end if;
  delete from pawl.parked p where p.job_id = issue.id and p.epoch = job.epoch and p.expires_at is null;
  if not found then
    return true;
  end if;
  if job.run_at > clock_timestamp() then
    insert into pawl.scheduled (run_at, job_id, epoch, queue) values (job.run_at, job.id, job.epoch, job.queue);
    return true;
  end if;
  place := nextval('pawl.pos');
  update pawl.job j set pos = place where j.id = issue.id;
  insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
  values (place, job.id, job.epoch, pawl.lane(job.priority, job.strikes, false), job.queue, job.channel);
  perform pawl.wake(array[job.queue]);
  return true;
end $$;
