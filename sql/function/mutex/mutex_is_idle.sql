-- mutex_is_idle returns whether nothing needs a mutex: its channel has no jobs and no follow-ups, its queue has no
-- limits, or its semaphore has no permits. A duty's mutex is never idle.
-- Moves nothing. Index: the primary keys of ordered_job, queue and permit; none for followup, which is small.
create or replace function pawl.mutex_is_idle(kind text, queue text, name text) returns boolean
language sql stable as $$
  select case mutex_is_idle.kind
    when 'channel' then
      not exists (select from pawl.ordered_job t
                  where t.queue = mutex_is_idle.queue and t.channel = mutex_is_idle.name)
      and not exists (select from pawl.followup l
                      where l.ordered and l.queue = mutex_is_idle.queue and l.channel = mutex_is_idle.name)
    when 'limit' then not exists (select from pawl.queue q where q.name = mutex_is_idle.queue and q.limited)
    when 'semaphore' then
      not exists (select from pawl.permit p where p.queue = '' and p.channel = mutex_is_idle.name)
    else false
  end
$$;
