-- retry lets jobs run now. A dead or cancelled job is live again, with one attempt more if its attempts were used
-- up. A scheduled job becomes ready. Ready and running jobs stay as they are, and so does a finished job if another
-- job has its unique key.
-- Returns the ids of the jobs that were changed.
-- Moves: a row from dead or archive_chunk to job, or a ticket out of scheduled; a new ticket in ready, the epoch one
-- up.
-- In an ordered channel the place of the job depends on what waits for it:
-- the dead first job of a halted channel gets its old place, and the channel continues;
-- a job with dependants gets the place behind the job that may run now, because at the end it could wait for its
-- own dependants;
-- any other job goes to the end of the channel.
-- Index: primary keys; archive_chunk_min_id for cancelled jobs.
-- Survives: two calls at once (one of them deletes the row); a promotion at the same time (this waits for the
-- ticket, and finds it gone); a unique key that is taken meanwhile (SQLSTATE 23505, and nothing is changed).
-- Locks channels, then jobs by id, then tickets.
create or replace function pawl.retry(ids bigint[]) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  finished  bigint[]; -- ordered jobs that had finished when this began,
  of_queues text[];   -- and their channels
  channels  text[];
  queues    text[];
  changed   bigint[];
  were_dead bigint[];
  returned  bigint[]; -- jobs that are live again
  next_job  bigint;
  halted    boolean;
  place     bigint;
  revived   record;
begin
  perform pg_current_xact_id();
  -- An ordered job that ends from here on was running when it was retried. It stays as it is, because this does not
  -- have the mutex of its channel.
  select coalesce(array_agg(e.id), '{}'), array_agg(e.queue), array_agg(e.channel)
  into finished, of_queues, channels
  from (
    select d.id, d.queue, d.channel from pawl.dead d where d.id = any (retry.ids) and d.opts ? 'ordered'
    union all
    select a.min_id, a.queue, a.channel[1]
    from pawl.archive_chunk a
    where a.min_id = any (retry.ids) and a.state = 'cancelled' and a.opts[1] ? 'ordered'
  ) e;
  if cardinality(finished) > 0 then
    perform pawl.lock_mutexes('channel', of_queues, channels);
  end if;
  perform j.id
  from (select u.id from unnest(retry.ids) as u (id) order by u.id) u,
       lateral (select j.id from pawl.job j where j.id = u.id for update) j;
  with dead as (
    delete from pawl.dead d
    where d.id = any (retry.ids) and (d.id = any (finished) or not coalesce(d.opts ? 'ordered', false))
      and pawl.key_is_free(d.id, d.queue, d.unique_key, d.opts)
    returning d.id, d.created_at, d.epoch, d.priority, d.attempt, d.max_attempts, d.queue, d.channel, d.kind, d.args,
              d.data, d.fingerprint, d.unique_key, d.opts, d.errors, d.checkpoint
  ),
  cancelled as (
    -- A cancelled job is a chunk of its own.
    delete from pawl.archive_chunk a
    where a.min_id = any (retry.ids) and a.state = 'cancelled'
      and (a.min_id = any (finished) or not coalesce(a.opts[1] ? 'ordered', false))
      and pawl.key_is_free(a.min_id, a.queue, a.unique_key[1], a.opts[1])
    returning a.min_id, a.created_at[1], a.epochs[1], a.priority[1], a.attempt[1], a.max_attempts[1], a.queue,
              a.channel[1], a.kind[1], a.args[1], a.data[1], a.fingerprint[1], a.unique_key[1], a.opts[1],
              a.errors[1], a.checkpoint[1]
  ),
  live_again as (
    insert into pawl.job (id, pos, created_at, run_at, epoch, priority, attempt, max_attempts, queue, channel, kind,
                          args, data, fingerprint, unique_key, opts, errors, checkpoint, constrained)
    select f.id, nextval('pawl.pos'), f.created_at, clock_timestamp(), pawl.next_epoch(f.epoch), f.priority, f.attempt,
           case when f.attempt >= coalesce(f.max_attempts, q.max_attempts, 20) then least(f.attempt + 1, 32767)
                else f.max_attempts end,
           f.queue, f.channel, f.kind, f.args, f.data, f.fingerprint, f.unique_key, f.opts, f.errors, f.checkpoint,
           f.unique_key is not null or coalesce(f.opts ?| array['ordered', 'batch'], false)
             or exists (select from pawl.dependency w where w.parent_id = f.id)
    from (select * from dead union all select * from cancelled) f
    left join pawl.queue q on q.name = f.queue
    returning id, pos, epoch, priority, crashes, queue, channel, constrained
  ),
  ticket as (
    delete from pawl.scheduled s using pawl.job j
    where j.id = any (retry.ids) and s.queue = any (array[j.queue]) and s.run_at = j.run_at and s.job_id = j.id
    returning s.job_id, s.epoch
  ),
  moved as (
    update pawl.job j
    set epoch = pawl.next_epoch(j.epoch), pos = nextval('pawl.pos'), run_at = clock_timestamp()
    from ticket t
    where j.id = any (array[t.job_id]) and j.epoch = t.epoch
    returning j.id, j.pos, j.epoch, j.priority, j.crashes, j.queue, j.channel
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select n.pos, n.id, n.epoch, pawl.lane_priority(n.priority, n.crashes, false), n.queue, n.channel
    from (select id, pos, epoch, priority, crashes, queue, channel from live_again where not constrained
          union all
          select id, pos, epoch, priority, crashes, queue, channel from moved) n
  ),
  blocked as (
    insert into pawl.blocked (job_id, epoch, queue)
    select r.id, r.epoch, r.queue from live_again r where r.constrained
  )
  select array_agg(c.id), array_agg(distinct c.queue), array(select d.id from dead d),
         array(select r.id from live_again r)
  into changed, queues, were_dead, returned
  from (select id, queue from live_again union all select id, queue from moved) c;

  -- An insert that made a job wait for a dead job had locked its row before this deleted it, so its row is visible
  -- now.
  update pawl.job j set constrained = true
  where j.id = any (returned) and not j.constrained
    and (select true from pawl.dependency w where w.parent_id = j.id limit 1);

  for revived in
    select j.id, j.queue, j.channel, j.unique_key, j.opts,
           case when j.id = any (were_dead) then 'dead' else 'cancelled' end as was
    from unnest(returned) as u (id), lateral (select j.* from pawl.job j where j.id = u.id and j.constrained) j
    order by j.id
  loop
    if revived.unique_key is not null then
      insert into pawl.unique_key as h (scope, key, job_id, live, until_start)
      values (pawl.key_scope(revived.queue, revived.opts), revived.unique_key, revived.id, true,
              coalesce(revived.opts ? 'until_start', false))
      on conflict (scope, key) do update
        set job_id = excluded.job_id, live = true, until_start = excluded.until_start
        where h.job_id = excluded.job_id or not h.live and (h.keep_until is null or h.keep_until <= clock_timestamp());
      if not found then
        raise exception 'pawl: the unique key of job % was taken by another job meanwhile', revived.id
          using errcode = '23505';
      end if;
    end if;
    if revived.opts ? 'batch' then
      perform from pawl.batch b where b.id = (revived.opts ->> 'batch')::bigint for update;
      delete from pawl.followup l where l.job_id = revived.id and l.batch is not null;
      if not found then -- The end of the job was counted already.
        perform pawl.count_batch((revived.opts ->> 'batch')::bigint, revived.was, -1);
      end if;
    end if;
    if revived.opts ? 'ordered' then
      -- The end of the job may not have been followed up yet.
      delete from pawl.ordered_job t where t.job_id = revived.id;
      delete from pawl.followup l where l.job_id = revived.id;
      delete from pawl.halted_channel h
      where h.queue = revived.queue and h.channel = revived.channel and h.job_id = revived.id;
      halted := found;
      if halted or (select true from pawl.dependency w where w.parent_id = revived.id limit 1) then
        -- The old place of the job is before all its dependants, which are younger. If the first job of the channel
        -- has a ticket, it stays first: it takes that place, and this job gets the place behind it.
        with first as materialized (
          select t.pos, t.job_id from pawl.ordered_job t
          where t.queue = revived.queue and t.channel = revived.channel order by t.pos limit 1
        ),
        ahead as (
          update pawl.ordered_job t
          set pos = revived.id
          from first f
          where t.job_id = f.job_id and f.pos > revived.id and not halted
            and exists (select from pawl.job j where j.id = f.job_id)
            and not exists (select from pawl.blocked p where p.job_id = f.job_id)
          returning f.pos
        )
        select a.pos into place from ahead a;
        place := coalesce(place, revived.id);
      else
        place := nextval('pawl.pos');
      end if;
      insert into pawl.ordered_job (queue, channel, pos, job_id)
      values (revived.queue, revived.channel, place, revived.id);
      -- If the end of this job was not followed up yet, it was the first of the channel; now another job is.
      select t.job_id into next_job from pawl.ordered_job t
      where t.queue = revived.queue and t.channel = revived.channel order by t.pos limit 1;
      if next_job <> revived.id and not pawl.unblock(next_job) then
        insert into pawl.followup (job_id, queue, channel, ordered, became)
        values (0, revived.queue, revived.channel, true, 'completed');
      end if;
    end if;
    perform pawl.unblock(revived.id);
  end loop;
  perform pawl.wake(queues);
  return query select unnest(changed);
end $$;
