-- resume_channel starts an ordered channel again that halted because its first job died. It returns whether the
-- channel was halted.
-- Moves: the row of halted_channel out; the ticket of the channel's next job, as unblock does.
-- Index: primary keys of halted_channel and ordered_job.
-- Survives: inserts into the channel (its mutex is locked in an earlier statement).
create or replace function pawl.resume_channel(queue text, channel text) returns boolean
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  next_job bigint;
begin
  perform pg_current_xact_id();
  perform pawl.lock_mutexes('channel', array[resume_channel.queue], array[resume_channel.channel]);
  delete from pawl.halted_channel h where h.queue = resume_channel.queue and h.channel = resume_channel.channel;
  if not found then
    return false;
  end if;
  select t.job_id into next_job from pawl.ordered_job t
  where t.queue = resume_channel.queue and t.channel = resume_channel.channel
  order by t.pos limit 1;
  if found and not pawl.unblock(next_job) then
    -- Another transaction has locked the job: the next run_followups unblocks it.
    insert into pawl.followup (job_id, queue, channel, ordered, became)
    values (0, resume_channel.queue, resume_channel.channel, true, 'completed');
  end if;
  return true;
end $$;
