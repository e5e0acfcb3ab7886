-- settle: do what follows from the end of tied jobs: the next of an ordered channel gets its ticket, jobs that waited get theirs or
-- are cancelled, batches are counted.
--   most   rows of loose at once
-- Moves: rows out of loose, turn, wait; tickets by issue. Returns how many ends were settled, how many were left, and whether there
-- are more because jobs were cancelled.
-- Survives: two settlers (skip locked); a stranger who has a channel or a job locked (its end is left for the next time); a crash
-- (the ends are rows, written by the transaction that finished the jobs).
-- A settler takes the channel's lock as inserters do: an inserter that found the line not empty is committed when the lock is had.
create or replace function pawl.settle(most integer) returns table (settled integer, "left" integer, more boolean)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off as $$
#variable_conflict use_column
declare
  done    record;
  child   record;
  head    bigint;
  halting boolean;
  later   boolean;
begin
  perform pg_current_xact_id();
  settled := 0; "left" := 0; more := false;
  for done in
    select l.id, l.job_id, l.queue, l.channel, l.ordered, l.batch, l.became
    from pawl.loose l
    order by l.id
    limit most
    for update skip locked
  loop
    later := false;
    if done.ordered then
      if not pg_try_advisory_xact_lock(pawl.channel_class(done.queue), pawl.channel_object(done.channel)) then
        "left" := "left" + 1;
        continue;
      end if;
      -- Each in a statement of its own: its snapshot must be younger than the lock.
      delete from pawl.turn t where t.job_id = done.job_id;
      if found and done.became = 'dead' then
        select q.halt_on_dead into halting from pawl.queue q where q.name = done.queue;
        if halting then
          insert into pawl.halt (queue, channel, job_id, halted_at)
          values (done.queue, done.channel, done.job_id, clock_timestamp())
          on conflict do nothing;
        end if;
      end if;
      select t.job_id into head from pawl.turn t where t.queue = done.queue and t.channel = done.channel order by t.pos limit 1;
      later := found and not pawl.issue(head);
    end if;

    for child in select w.child_id, w.on_state, w.hold from pawl.wait w where w.parent_id = done.job_id order by w.child_id loop
      perform from pawl.job j where j.id = child.child_id for update skip locked;
      if not found then
        perform from pawl.job j where j.id = child.child_id;
        if found then
          later := true;
        else
          delete from pawl.wait w where w.child_id = child.child_id;
        end if;
        continue;
      end if;
      if child.on_state = 'any' or child.on_state = 'ok' and done.became = 'completed'
         or child.on_state = 'not_ok' and done.became in ('dead', 'cancelled') then
        delete from pawl.wait w where w.parent_id = done.job_id and w.child_id = child.child_id and w.on_state = child.on_state;
        perform pawl.issue(child.child_id);
      elsif not (child.hold and done.became = 'dead') then
        delete from pawl.wait w where w.child_id = child.child_id;
        perform pawl.remove(array[child.child_id], array[null::integer], true);
        more := true;
      end if;
    end loop;

    -- The last step, because it is done once: what was left before is not counted.
    if not later and done.batch is not null then
      later := not pawl.count_batch(done.batch, done.became, 1);
    end if;
    if later then
      "left" := "left" + 1;
    else
      delete from pawl.loose l where l.id = done.id;
      settled := settled + 1;
    end if;
  end loop;
  return next;
end $$;
