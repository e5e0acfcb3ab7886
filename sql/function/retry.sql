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
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off set enable_hashjoin = off set jit = off as $$
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
  tied     record;
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
                          fingerprint, unique_key, opts, errors, checkpoint, tied)
    select f.id, nextval('pawl.pos'), f.created_at, clock_timestamp(), f.epoch + 1, f.priority, f.attempt,
           case when f.attempt >= coalesce(f.max_attempts, q.max_attempts, 20) then least(f.attempt + 1, 32767) else f.max_attempts end,
           f.queue, f.channel, f.kind, f.args, f.data, f.fingerprint, f.unique_key, f.opts, f.errors, f.checkpoint,
           f.unique_key is not null or coalesce(f.opts ?| array['ordered', 'batch'], false)
             or exists (select from pawl.wait w where w.parent_id = f.id)
    from (select * from dead union all select * from cancelled) f
    left join pawl.queue q on q.name = f.queue
    returning id, pos, epoch, priority, strikes, queue, channel, tied
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
    returning j.id, j.pos, j.epoch, j.priority, j.strikes, j.queue, j.channel
  ),
  ready as (
    insert into pawl.ready (pos, job_id, epoch, priority, queue, channel)
    select n.pos, n.id, n.epoch, pawl.lane(n.priority, n.strikes, false), n.queue, n.channel
    from (select id, pos, epoch, priority, strikes, queue, channel from risen where not tied
          union all
          select id, pos, epoch, priority, strikes, queue, channel from moved) n
  ),
  parked as (
    insert into pawl.parked (job_id, epoch, queue)
    select r.id, r.epoch, r.queue from risen r where r.tied
  )
  select array_agg(c.id), array_agg(distinct c.queue), array(select d.id from dead d), array(select r.id from risen r) into back, woken, died, rose
  from (select id, queue from risen union all select id, queue from moved) c;

  -- Who began to wait for a dead one locked its row before it was taken from there, and is seen now.
  update pawl.job j set tied = true
  where j.id = any (rose) and not j.tied and (select true from pawl.wait w where w.parent_id = j.id limit 1);

  for tied in
    select j.id, j.queue, j.channel, j.unique_key, j.opts, case when j.id = any (died) then 'dead' else 'cancelled' end as was
    from unnest(rose) as u (id), lateral (select j.* from pawl.job j where j.id = u.id and j.tied) j
    order by j.id
  loop
    if tied.unique_key is not null then
      insert into pawl.hold as h (scope, key, job_id, live, until_start)
      values (pawl.key_scope(tied.queue, tied.opts), tied.unique_key, tied.id, true, coalesce(tied.opts ? 'until_start', false))
      on conflict (scope, key) do update set job_id = excluded.job_id, live = true, until_start = excluded.until_start
        where h.job_id = excluded.job_id or not h.live and (h.keep_until is null or h.keep_until <= clock_timestamp());
      if not found then
        raise exception 'pawl: the unique key of job % was taken by another meanwhile', tied.id using errcode = '23505';
      end if;
    end if;
    if tied.opts ? 'batch' then
      perform from pawl.batch b where b.id = (tied.opts ->> 'batch')::bigint for update;
      delete from pawl.loose l where l.job_id = tied.id;
      if not found then -- Its end was counted.
        perform pawl.count_batch((tied.opts ->> 'batch')::bigint, tied.was, -1);
      end if;
    end if;
    if tied.opts ? 'ordered' then
      delete from pawl.turn t where t.job_id = tied.id; -- Of its end, if that is not settled yet.
      delete from pawl.loose l where l.job_id = tied.id;
      delete from pawl.halt h where h.queue = tied.queue and h.channel = tied.channel and h.job_id = tied.id;
      halted := found;
      if halted or (select true from pawl.wait w where w.parent_id = tied.id limit 1) then
        -- Its old place is before all that wait for it, which are younger. Whoever has a ticket keeps the turn, and gives this one the place behind it.
        with first as materialized (
          select t.pos, t.job_id from pawl.turn t where t.queue = tied.queue and t.channel = tied.channel order by t.pos limit 1
        ),
        ahead as (
          update pawl.turn t
          set pos = tied.id
          from first f
          where t.job_id = f.job_id and f.pos > tied.id and not halted
            and exists (select from pawl.job j where j.id = f.job_id) and not exists (select from pawl.parked p where p.job_id = f.job_id)
          returning f.pos
        )
        select a.pos into place from ahead a;
        place := coalesce(place, tied.id);
      else
        place := nextval('pawl.pos');
      end if;
      insert into pawl.turn (queue, channel, pos, job_id) values (tied.queue, tied.channel, place, tied.id);
      -- If its end was not settled yet it was the head; now another is.
      select t.job_id into head from pawl.turn t where t.queue = tied.queue and t.channel = tied.channel order by t.pos limit 1;
      if head <> tied.id and not pawl.issue(head) then
        insert into pawl.loose (job_id, queue, channel, ordered, became) values (0, tied.queue, tied.channel, true, 'completed');
      end if;
    end if;
    perform pawl.issue(tied.id);
  end loop;
  perform pawl.wake(woken);
  return query select unnest(back);
end $$;
