-- live_state returns an SQL expression for the state of a row t of job, for statements that are put together as text.
create or replace function pawl.live_state() returns text language sql immutable parallel safe as $$
  select $state$
    case when (select true from pawl.scheduled s
               where s.queue = t.queue and s.run_at = t.run_at and s.job_id = t.id) then 'scheduled'
         when (select true from pawl.ready r
               where r.queue = t.queue and r.priority = any (array[t.priority, -32768, -32769])
                 and r.channel = t.channel and r.pos = coalesce(t.pos, t.id) limit 1) then 'ready'
         else coalesce((select case when p.expires_at is null then 'waiting' else 'reserved' end
                        from pawl.blocked p where p.job_id = t.id), 'running') end$state$
$$;
