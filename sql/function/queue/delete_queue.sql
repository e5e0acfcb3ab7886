-- delete_queue: forget what was said of a queue: its policy, its pause, its halted channels. Returns deleted; used: it has live jobs, or a
-- worker that lives and named it; unknown: nothing was said of it.
-- Survives: an insert at work is nothing to it: the queue is then used without a policy.
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
