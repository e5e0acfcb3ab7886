-- update gives jobs that are not running another time, priority, args, data, headers or number of attempts.
--   ids
--   changes   {run_at or delay (seconds), priority, kind and args, data (base64), headers, max_attempts}; an absent
--             field stays as it is. It raises SQLSTATE 22023 for others, and for values that insert would refuse
-- Moves: the ticket out and a new one in, the epoch one up. A job whose time or priority changes gets a new
-- position.
-- Returns the id and what it became: changed; running (left as it is); ordered (an ordered job has no priority);
-- kind (the args are those of another kind). A job that is missing is not live.
-- Index: primary keys.
-- Survives: a claim at the same time (the job row is locked before the ticket is deleted, so one of the two has the
-- ticket).
create or replace function pawl.update(ids bigint[], changes jsonb) returns table (id bigint, became text)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  due    timestamptz;
  wrong  text;
  job    record;
  was    record;
  one    bigint;
  place  bigint;
  queues text[] := '{}';
begin
  wrong := pawl.validate_changes(changes);
  if wrong is not null then
    raise exception 'pawl: update: %', wrong using errcode = '22023';
  end if;
  due := coalesce((changes ->> 'run_at')::timestamptz,
                  moment + (changes ->> 'delay')::double precision * interval '1 second');
  perform pg_current_xact_id();
  for one in select u.id from unnest(update.ids) as u (id) group by u.id order by u.id loop
    select j.id, j.epoch, j.queue, j.channel, j.priority, j.crashes, j.pos, j.run_at, j.kind,
           j.opts ? 'ordered' as ordered
    into job
    from pawl.job j where j.id = one for update;
    continue when not found;
    if job.ordered and (changes ->> 'priority')::smallint <> 0 then
      id := one; became := 'ordered';
      return next;
      continue;
    end if;
    if job.kind <> changes ->> 'kind' then
      id := one; became := 'kind';
      return next;
      continue;
    end if;
    delete from pawl.blocked p where p.job_id = one and p.epoch = job.epoch returning p.expires_at into was;
    if found then
      update pawl.job j
      set epoch = pawl.next_epoch(j.epoch), run_at = coalesce(due, j.run_at),
          priority = coalesce((changes ->> 'priority')::smallint, j.priority)
      where j.id = one;
      insert into pawl.blocked (job_id, epoch, queue, expires_at)
      values (one, pawl.next_epoch(job.epoch), job.queue, was.expires_at);
    else
      delete from pawl.scheduled s where s.queue = job.queue and s.run_at = job.run_at and s.job_id = one;
      if not found then
        delete from pawl.ready t
        where t.queue = job.queue and t.priority = any (array[job.priority, -32768, -32769])
          and t.channel = job.channel and t.pos = coalesce(job.pos, one);
      end if;
      if not found then
        id := one; became := 'running';
        return next;
        continue;
      end if;
      place := nextval('pawl.pos');
      update pawl.job j
      set epoch = pawl.next_epoch(j.epoch), run_at = coalesce(due, j.run_at),
          priority = coalesce((changes ->> 'priority')::smallint, j.priority), pos = place
      where j.id = one
      returning j.epoch, j.priority, j.run_at into was;
      if was.run_at > clock_timestamp() then
        insert into pawl.scheduled (run_at, job_id, epoch, queue) values (was.run_at, one, was.epoch, job.queue);
      else
        insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
        values (place, one, was.epoch, pawl.lane_priority(was.priority, job.crashes, false), job.queue, job.channel);
      end if;
      queues := queues || job.queue;
    end if;
    if changes ?| array['args', 'data', 'headers', 'max_attempts'] then
      update pawl.job j
      set args = case when changes ? 'args' then nullif(changes -> 'args', 'null') else j.args end,
          data = case when changes ? 'data' then decode(changes ->> 'data', 'base64') else j.data end,
          opts = case when changes ? 'headers'
                      then coalesce(j.opts, '{}') || jsonb_build_object('headers', changes -> 'headers')
                      else j.opts end,
          max_attempts = coalesce((changes ->> 'max_attempts')::smallint, j.max_attempts)
      where j.id = one;
    end if;
    id := one; became := 'changed';
    return next;
  end loop;
  perform pawl.wake(queues);
end $$;
