-- retry: let jobs run now: the dead and the cancelled live again, with an attempt more if they had used theirs up; the scheduled
-- need not wait. Returns the ids that were changed; the ready and the running are left as they are, and the finished whose
-- unique key another has.
-- Moves: a row from dead or archive to job, or a ticket from scheduled, and a new ticket in ready, the epoch one up. The dead head
-- of a halted channel gets its old place and lets the channel go on; an ordered job that others wait for goes behind the one whose
-- turn it is, for at the end it could wait for those that wait for it; any other goes to the end of its channel.
-- Index: primary keys; for the cancelled archive's BRIN.
-- Survives: two retries (the row is deleted by one of them); a promotion at work (this waits for the ticket, and finds it gone);
-- a key taken meanwhile (an error, SQLSTATE 23505, and nothing is changed).
-- Locks channels, then jobs by id, then tickets.
create or replace function pawl.retry(ids bigint[]) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set jit = off as $$
#variable_conflict use_column
declare
  finished bigint[]; -- Ordered ones, when it began.
  woken    text[];
  back     bigint[];
  died     bigint[];
  rose     bigint[];
  head     bigint;
  halted   boolean;
  place    bigint;
  constrained     record;
begin
  perform pg_current_xact_id();
  -- An ordered job that ends from here on was running when it was retried, and is left as it is: nobody has its channel's lock.
  with ended as materialized (
    select d.id, d.queue, d.channel from pawl.dead d where d.id = any (retry.ids) and d.opts ? 'ordered'
    union all
    select a.id, a.queue, a.channel from pawl.archive a where a.id = any (retry.ids) and a.state = 'cancelled' and a.opts ? 'ordered'
  ),
  alone as materialized (
    select pg_advisory_xact_lock(c.class, c.object)
    from (select distinct pawl.channel_class(e.queue) as class, pawl.channel_object(e.channel) as object from ended e order by 1, 2) c
  )
  select array(select e.id from ended e) into finished from (select count(*) from alone) a;
  perform j.id
  from (select u.id from unnest(retry.ids) as u (id) order by u.id) u,
       lateral (select j.id from pawl.job j where j.id = u.id for update) j;
  with dead as (
    delete from pawl.dead d
    where d.id = any (retry.ids) and (d.id = any (finished) or not coalesce(d.opts ? 'ordered', false))
      and pawl.key_is_free(d.id, d.queue, d.unique_key, d.opts)
    returning d.id, d.created_at, d.epoch, d.priority, d.attempt, d.max_attempts, d.queue, d.channel, d.kind, d.args, d.data,
              d.fingerprint, d.unique_key, d.opts, d.errors, d.checkpoint
  ),
  cancelled as (
    delete from pawl.archive a
    where a.id = any (retry.ids) and a.state = 'cancelled' and (a.id = any (finished) or not coalesce(a.opts ? 'ordered', false))
      and pawl.key_is_free(a.id, a.queue, a.unique_key, a.opts)
    returning a.id, a.created_at, a.epoch, a.priority, a.attempt, a.max_attempts, a.queue, a.channel, a.kind, a.args, a.data,
              a.fingerprint, a.unique_key, a.opts, a.errors, a.checkpoint
  ),
  risen as (
    insert into pawl.job (id, pos, created_at, run_at, epoch, priority, attempt, max_attempts, queue, channel, kind, args, data,
                          fingerprint, unique_key, opts, errors, checkpoint, constrained)
    select f.id, nextval('pawl.pos'), f.created_at, clock_timestamp(), f.epoch + 1, f.priority, f.attempt,
           case when f.attempt >= coalesce(f.max_attempts, q.max_attempts, 20) then least(f.attempt + 1, 32767) else f.max_attempts end,
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
    set epoch = j.epoch + 1, pos = nextval('pawl.pos'), run_at = clock_timestamp()
    from ticket t
    where j.id = any (array[t.job_id]) and j.epoch = t.epoch
    returning j.id, j.pos, j.epoch, j.priority, j.crashes, j.queue, j.channel
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select n.pos, n.id, n.epoch, pawl.lane_priority(n.priority, n.crashes, false), n.queue, n.channel
    from (select id, pos, epoch, priority, crashes, queue, channel from risen where not constrained
          union all
          select id, pos, epoch, priority, crashes, queue, channel from moved) n
  ),
  blocked as (
    insert into pawl.blocked (job_id, epoch, queue)
    select r.id, r.epoch, r.queue from risen r where r.constrained
  )
  select array_agg(c.id), array_agg(distinct c.queue), array(select d.id from dead d), array(select r.id from risen r) into back, woken, died, rose
  from (select id, queue from risen union all select id, queue from moved) c;

  -- Who began to wait for a dead one locked its row before it was taken from there, and is seen now.
  update pawl.job j set constrained = true
  where j.id = any (rose) and not j.constrained and (select true from pawl.dependency w where w.parent_id = j.id limit 1);

  for constrained in
    select j.id, j.queue, j.channel, j.unique_key, j.opts, case when j.id = any (died) then 'dead' else 'cancelled' end as was
    from unnest(rose) as u (id), lateral (select j.* from pawl.job j where j.id = u.id and j.constrained) j
    order by j.id
  loop
    if constrained.unique_key is not null then
      insert into pawl.unique_key as h (scope, key, job_id, live, until_start)
      values (pawl.key_scope(constrained.queue, constrained.opts), constrained.unique_key, constrained.id, true, coalesce(constrained.opts ? 'until_start', false))
      on conflict (scope, key) do update set job_id = excluded.job_id, live = true, until_start = excluded.until_start
        where h.job_id = excluded.job_id or not h.live and (h.keep_until is null or h.keep_until <= clock_timestamp());
      if not found then
        raise exception 'pawl: the unique key of job % was taken by another meanwhile', constrained.id using errcode = '23505';
      end if;
    end if;
    if constrained.opts ? 'batch' then
      perform from pawl.batch b where b.id = (constrained.opts ->> 'batch')::bigint for update;
      delete from pawl.followup l where l.job_id = constrained.id;
      if not found then -- Its end was counted.
        perform pawl.count_batch((constrained.opts ->> 'batch')::bigint, constrained.was, -1);
      end if;
    end if;
    if constrained.opts ? 'ordered' then
      delete from pawl.ordered_job t where t.job_id = constrained.id; -- Of its end, if that is not settled yet.
      delete from pawl.followup l where l.job_id = constrained.id;
      delete from pawl.halted_channel h where h.queue = constrained.queue and h.channel = constrained.channel and h.job_id = constrained.id;
      halted := found;
      if halted or (select true from pawl.dependency w where w.parent_id = constrained.id limit 1) then
        -- Its old place is before all that wait for it, which are younger. Whoever has a ticket keeps the turn, and gives this one the place behind it.
        with first as materialized (
          select t.pos, t.job_id from pawl.ordered_job t where t.queue = constrained.queue and t.channel = constrained.channel order by t.pos limit 1
        ),
        ahead as (
          update pawl.ordered_job t
          set pos = constrained.id
          from first f
          where t.job_id = f.job_id and f.pos > constrained.id and not halted
            and exists (select from pawl.job j where j.id = f.job_id) and not exists (select from pawl.blocked p where p.job_id = f.job_id)
          returning f.pos
        )
        select a.pos into place from ahead a;
        place := coalesce(place, constrained.id);
      else
        place := nextval('pawl.pos');
      end if;
      insert into pawl.ordered_job (queue, channel, pos, job_id) values (constrained.queue, constrained.channel, place, constrained.id);
      -- If its end was not settled yet it was the head; now another is.
      select t.job_id into head from pawl.ordered_job t where t.queue = constrained.queue and t.channel = constrained.channel order by t.pos limit 1;
      if head <> constrained.id and not pawl.unblock(head) then
        insert into pawl.followup (job_id, queue, channel, ordered, became) values (0, constrained.queue, constrained.channel, true, 'completed');
      end if;
    end if;
    perform pawl.unblock(constrained.id);
  end loop;
  perform pawl.wake(woken);
  return query select unnest(back);
end $$;
