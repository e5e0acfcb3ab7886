-- clear_leftovers deletes what is left of jobs that are gone: tickets, places in ordered channels, dependencies,
-- unique keys and permits.
--   ids   jobs of which something may be left. Of a live job it deletes tickets of earlier epochs, and permits of
--         leases that do not have the job
-- Moves: rows out. For a place in a channel and for a dependency it records a follow-up instead, so that
-- run_followups does what follows. Returns how many rows it deleted or recorded.
-- Index: none for tickets and ordered_job, which are read whole. Only repair calls it.
-- Survives: a retry at the same time (the rows that a retry needs are locked first: its channel's mutex, its dead or
-- archived row, its key; then everything is read again); claims, completions and extensions (each of them writes
-- its rows together). Rows that another transaction has locked are left for the next call.
create or replace function pawl.clear_leftovers(ids bigint[]) returns bigint
language plpgsql set jit = off as $$
#variable_conflict use_column
declare
  of_queues text[]; -- channels whose mutex this call has
  channels text[];
  parents  bigint[];
  keys     tid[];
  permits  tid[];
  queues   text[];
  cleared  bigint := 0;
  n        bigint;
begin
  perform pg_current_xact_id();
  select array_agg(t.queue), array_agg(t.channel) into of_queues, channels
  from pawl.ordered_job t where t.job_id = any (clear_leftovers.ids);
  perform pawl.add_mutexes('channel', of_queues, channels);
  select array_agg(c.queue), array_agg(c.name) into of_queues, channels
  from pawl.try_mutexes('channel', of_queues, channels) c;
  -- Parents that a retry could make live again, locked so that it does not; and parents of which nothing is left.
  parents := array(select d.id from pawl.dead d where d.id = any (clear_leftovers.ids) for update skip locked);
  parents := parents || array(
    select a.min_id from pawl.archive_chunk a
    where a.min_id = any (clear_leftovers.ids) and a.state = 'cancelled' for update skip locked
  );
  parents := parents || array(
    select u.id from unnest(clear_leftovers.ids) as u (id)
    where not exists (select from pawl.dead d where d.id = u.id)
      and not exists (select from pawl.archive_chunk a where a.min_id = u.id and a.state = 'cancelled')
  );
  keys := array(
    select h.ctid from pawl.unique_key h where h.job_id = any (clear_leftovers.ids) and h.live for update skip locked
  );
  permits := array(select p.ctid from pawl.permit p where p.job_id = any (clear_leftovers.ids) for update skip locked);

  delete from pawl.ready t
  where t.ctid = any (array(
    select t.ctid from pawl.ready t
    where t.job_id = any (clear_leftovers.ids)
      and not exists (select from pawl.job j where j.id = t.job_id and j.epoch = t.epoch)
    for update skip locked
  ));
  get diagnostics n = row_count; cleared := cleared + n;
  delete from pawl.scheduled s
  where s.ctid = any (array(
    select s.ctid from pawl.scheduled s
    where s.job_id = any (clear_leftovers.ids)
      and not exists (select from pawl.job j where j.id = s.job_id and j.epoch = s.epoch)
    for update skip locked
  ));
  get diagnostics n = row_count; cleared := cleared + n;
  delete from pawl.blocked p
  where p.ctid = any (array(
    select p.ctid from pawl.blocked p
    where p.job_id = any (clear_leftovers.ids)
      and not exists (select from pawl.job j where j.id = p.job_id and j.epoch = p.epoch)
    for update skip locked
  ));
  get diagnostics n = row_count; cleared := cleared + n;

  insert into pawl.followup (job_id, queue, channel, ordered, became)
  select t.job_id, t.queue, t.channel, true, 'deleted'
  from pawl.ordered_job t
  where t.job_id = any (clear_leftovers.ids)
    and (t.queue, t.channel) in (select * from unnest(of_queues, channels))
    and not exists (select from pawl.job j where j.id = t.job_id)
    and not exists (select from pawl.followup l where l.job_id = t.job_id);
  get diagnostics n = row_count; cleared := cleared + n;
  insert into pawl.followup (job_id, queue, channel, ordered, became)
  select u.id, '', '', false, coalesce(
    (select 'dead' from pawl.dead d where d.id = u.id),
    (select a.state from pawl.find_archived(array[u.id]) a limit 1), 'deleted')
  from unnest(parents) as u (id)
  where exists (
      select from pawl.dependency w
      where w.parent_id = u.id and not (w.keep_waiting and exists (select from pawl.dead d where d.id = u.id))
    )
    and not exists (select from pawl.job j where j.id = u.id)
    and not exists (select from pawl.followup l where l.job_id = u.id);
  get diagnostics n = row_count; cleared := cleared + n;

  delete from pawl.unique_key h
  where h.ctid = any (keys) and (h.keep_until is null or h.keep_until <= clock_timestamp())
    and not exists (select from pawl.job j where j.id = h.job_id);
  get diagnostics n = row_count; cleared := cleared + n;
  update pawl.unique_key h set live = false
  where h.ctid = any (keys) and h.live and not exists (select from pawl.job j where j.id = h.job_id);
  get diagnostics n = row_count; cleared := cleared + n;

  with gone as (
    delete from pawl.permit p
    where p.ctid = any (permits)
      and not exists (select from pawl.lease l where l.id = p.lease and p.job_id = any (l.jobs))
    returning p.queue
  )
  select count(*), array_agg(distinct g.queue) filter (where g.queue <> '') into n, queues from gone g;
  perform pawl.wake(queues);
  return cleared + n;
end $$;
