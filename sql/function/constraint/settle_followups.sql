-- settle_followups does what follows from the given ends of constrained jobs: see run_followups, which has locked
-- their rows and deletes them.
--   ends    rows of followup
--   parts   channel: the next job of an ordered channel gets its ticket; dependents: jobs that waited get their ticket
--           or are cancelled; batch: batches are counted. All three, or one of them
-- Moves: rows out of ordered_job and dependency; tickets as unblock does.
-- Returns the rows that must be left for another call, because another transaction has locked what they need, and
-- whether there are more follow-ups now because jobs were cancelled.
-- Index: primary keys of followup, ordered_job and dependency.
-- Survives: see run_followups. All ordered channels are done together. Dependencies and batches, which few jobs have,
-- are done one by one.
-- This locks the mutex of a channel as inserts do, so an insert that found other jobs in the channel has committed
-- before this has the mutex.
create or replace function pawl.settle_followups(ends bigint[], parts text[])
returns table (skipped bigint[], more boolean)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  queues   text[]; -- channels whose mutex this call has
  channels text[];
  first    bigint[]; -- the first job of each of these channels
  locked   bigint[]; -- those of them that another transaction has locked
  done     record;
  child    record;
begin
  more := false;
  skipped := '{}';

  if 'channel' = any (parts) then
    -- The channels move on. Each of these is a statement of its own: its snapshot must be younger than the lock of
    -- the mutexes.
    select array_agg(l.queue), array_agg(l.channel) into queues, channels
    from pawl.followup l where l.id = any (ends) and l.ordered;
    if queues is not null then
      select array_agg(m.queue), array_agg(m.name) into queues, channels
      from pawl.try_mutexes('channel', queues, channels) m;
      skipped := array(
        select l.id from pawl.followup l
        where l.id = any (ends) and l.ordered
          and (l.queue, l.channel) not in (select * from unnest(queues, channels)));
    end if;
    if queues is not null then
      with gone as (
        delete from pawl.ordered_job t
        using pawl.followup l
        where l.id = any (ends) and l.ordered and l.id <> all (skipped) and t.job_id = any (array[l.job_id])
        returning l.queue, l.channel, l.job_id, l.became
      )
      insert into pawl.halted_channel (queue, channel, job_id, halted_at)
      select g.queue, g.channel, g.job_id, clock_timestamp()
      from gone g
      join pawl.queue q on q.name = g.queue
      where g.became = 'dead' and q.halt_on_dead
      on conflict do nothing;
      first := array(
        select h.job_id
        from unnest(queues, channels) c (queue, channel),
             lateral (
               select t.job_id from pawl.ordered_job t
               where t.queue = c.queue and t.channel = c.channel order by t.pos limit 1
             ) h);
      locked := array(select pawl.unblock(first));
      skipped := skipped || array(
        select l.id from pawl.ordered_job t, pawl.followup l
        where t.job_id = any (locked) and l.id = any (ends) and l.id <> all (skipped)
          and l.ordered and l.queue = t.queue and l.channel = t.channel);
    end if;
  end if;

  for done in
    select l.id, l.job_id, l.became
    from pawl.followup l
    where 'dependents' = any (parts) and l.id = any (ends)
      and (select true from pawl.dependency w where w.parent_id = l.job_id limit 1)
    order by l.id
  loop
    for child in
      select w.child_id, w.on_state, w.keep_waiting
      from pawl.dependency w
      where w.parent_id = done.job_id
      order by w.child_id
    loop
      perform from pawl.job j where j.id = child.child_id for update skip locked;
      if not found then
        perform from pawl.job j where j.id = child.child_id;
        if found then
          skipped := skipped || done.id;
        else
          delete from pawl.dependency w where w.child_id = child.child_id;
        end if;
        continue;
      end if;
      if child.on_state = 'any' or child.on_state = 'ok' and done.became = 'completed'
         or child.on_state = 'not_ok' and done.became in ('dead', 'cancelled') then
        delete from pawl.dependency w
        where w.parent_id = done.job_id and w.child_id = child.child_id and w.on_state = child.on_state;
        perform pawl.unblock(child.child_id);
      elsif not (child.keep_waiting and done.became = 'dead') then
        delete from pawl.dependency w where w.child_id = child.child_id;
        perform pawl.remove(array[child.child_id], array[null::integer], true);
        more := true;
      end if;
    end loop;
  end loop;

  -- Batches come last, because an end is counted only once: a row that is left for the next call must not be
  -- counted yet.
  for done in
    select l.id, l.batch, l.became
    from pawl.followup l
    where 'batch' = any (parts) and l.id = any (ends) and l.id <> all (skipped) and l.batch is not null
    order by l.id
  loop
    -- A callback job may be ordered, and insert_constrained would wait for the mutex of its channel.
    select array_agg(c.queue), array_agg(c.channel) into queues, channels
    from (
      select distinct coalesce(s.queue, 'default'), coalesce(s.channel, '')
      from pawl.batch b, lateral (values (b.on_finish), (b.on_success), (b.on_death)) f (jobs),
           jsonb_to_recordset(f.jobs) as s (queue text, channel text, ordered boolean)
      where b.id = done.batch and s.ordered
    ) c (queue, channel);
    if queues is not null then
      perform pawl.add_mutexes('channel', queues, channels);
    end if;
    if cardinality(queues) > (select count(*) from pawl.try_mutexes('channel', queues, channels))
       or not pawl.count_batch(done.batch, done.became, 1) then
      skipped := skipped || done.id;
    end if;
  end loop;
  return next;
end $$;
