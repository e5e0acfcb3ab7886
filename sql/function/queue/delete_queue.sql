-- delete_queue deletes what is recorded about a queue: its policy, its pause and its halted channels.
-- Returns deleted; used, if the queue has live jobs or a live worker names it; unknown, if nothing is recorded
-- about it.
-- Survives: an insert at the same time (the queue then has jobs and no policy).
create or replace function pawl.delete_queue(name text) returns text language plpgsql as $$
#variable_conflict use_column
begin
  perform from pawl.queue q where q.name = delete_queue.name for update;
  if exists (select from pawl.live_queues() as u (queue) where u.queue = delete_queue.name)
     or exists (select from pawl.worker w where w.gone_at is null and delete_queue.name = any (w.queues)) then
    return 'used';
  end if;
  delete from pawl.halted_channel h where h.queue = delete_queue.name;
  delete from pawl.queue q where q.name = delete_queue.name;
  return case when found then 'deleted' else 'unknown' end;
end $$;
