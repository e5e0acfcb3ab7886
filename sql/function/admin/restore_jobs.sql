-- restore_jobs gives live jobs what every live job must have: the column constrained, the place in its ordered
-- channel, its unique key, and exactly one ticket or one place in a lease.
--   ids   jobs that may lack some of these, or have too many
-- Moves: if the tickets of a job are wrong, all of them go; if the job is not in exactly one lease, it also gets
-- the next epoch and a ticket in blocked. Then blocked jobs that wait for nothing get their tickets. A reservation
-- whose ticket was lost counts as committed. Returns how many jobs were changed.
-- Index: none for tickets by job, which are read whole. Only repair calls it.
-- Survives: claims and completions at the same time (the job rows are locked, then everything is read again). A
-- ticket that another transaction has locked stays: by then it has an old epoch. What another transaction has
-- locked is left for the next call.
-- Locks channels, then jobs by id.
create or replace function pawl.restore_jobs(ids bigint[]) returns bigint
language plpgsql set jit = off as $$
#variable_conflict use_column
declare
  queues   text[]; -- channels whose mutex this call has
  channels text[];
  mine     bigint[];
  changed  bigint[];
  part     bigint[];
  extra    bigint[]; -- jobs in a lease that have tickets, too
  wrong    bigint[]; -- jobs whose tickets and leases are wrong
begin
  perform pg_current_xact_id();
  select array_agg(j.queue), array_agg(j.channel) into queues, channels
  from pawl.job j where j.id = any (restore_jobs.ids) and j.opts ? 'ordered';
  perform pawl.add_mutexes('channel', queues, channels);
  select array_agg(c.queue), array_agg(c.name) into queues, channels
  from pawl.try_mutexes('channel', queues, channels) c;
  mine := array(
    select j.id
    from (select distinct u.id from unnest(restore_jobs.ids) as u (id) order by u.id) u,
         lateral (select j.id, j.queue, j.channel, j.opts from pawl.job j where j.id = u.id for update skip locked) j
    where not coalesce(j.opts ? 'ordered', false)
       or (j.queue, j.channel) in (select * from unnest(queues, channels))
  );

  with constrained as (
    update pawl.job j
    set constrained = true
    where j.id = any (mine) and not j.constrained
      and (j.opts ?| array['ordered', 'batch'] or j.unique_key is not null
           or exists (select from pawl.dependency w where w.parent_id = j.id))
    returning j.id
  )
  select array_agg(t.id) into changed from constrained t;
  with placed as (
    insert into pawl.ordered_job (queue, channel, pos, job_id)
    select j.queue, j.channel, j.id, j.id
    from pawl.job j
    where j.id = any (mine) and j.opts ? 'ordered'
      and not exists (select from pawl.ordered_job t where t.job_id = j.id)
    on conflict do nothing
    returning job_id
  )
  select array_agg(p.job_id) into part from placed p;
  changed := changed || part;
  with kept as (
    insert into pawl.unique_key as h (scope, key, job_id, live, until_start)
    select distinct on (1, 2) pawl.key_scope(j.queue, j.opts), j.unique_key, j.id, true, false
    from pawl.job j
    where j.id = any (mine) and j.unique_key is not null and not coalesce(j.opts ? 'until_start', false)
      and not exists (select from pawl.unique_key h where h.job_id = j.id and h.live)
    order by 1, 2, 3
    on conflict (scope, key) do update set job_id = excluded.job_id, live = true, until_start = false
      where h.job_id = excluded.job_id or not h.live and (h.keep_until is null or h.keep_until <= clock_timestamp())
    returning job_id
  )
  select array_agg(k.job_id) into part from kept k;
  changed := changed || part;

  with own as materialized (
    select j.id, j.epoch, j.queue, j.channel, j.priority, coalesce(j.pos, j.id) as pos, j.run_at, j.opts
    from pawl.job j where j.id = any (mine)
  ),
  place as (
    select t.job_id, t.epoch, false as leased, (t.queue, t.channel, t.pos) <> (o.queue, o.channel, o.pos)
           or t.priority <> all (array[o.priority, -32768, -32769]) as misplaced, false as blocked
    from pawl.ready t join own o on o.id = t.job_id
    union all
    select s.job_id, s.epoch, false, (s.queue, s.run_at) is distinct from (o.queue, o.run_at), false
    from pawl.scheduled s join own o on o.id = s.job_id
    union all
    select p.job_id, p.epoch, false, false, true from pawl.blocked p join own o on o.id = p.job_id
    union all
    select u.id, u.epoch, true, false, false
    from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch) join own o on o.id = u.id
  ),
  placed as (
    select o.id, count(*) filter (where p.leased) as leases, count(*) filter (where not p.leased) as tickets,
           bool_or(p.misplaced) or bool_or(not p.leased and not p.blocked) and o.opts ? 'ordered' and exists (
             select from pawl.ordered_job own, pawl.ordered_job t
             where own.job_id = o.id and t.queue = own.queue and t.channel = own.channel and t.pos < own.pos
               and exists (select from pawl.job j where j.id = t.job_id)
           ) as misplaced
    from own o
    left join place p on p.job_id = o.id and p.epoch = o.epoch
    group by o.id, o.opts
  )
  select array_agg(p.id) filter (where p.leases = 1 and p.tickets > 0),
         array_agg(p.id) filter (where p.leases > 1 or p.leases = 0 and (p.tickets <> 1 or p.misplaced))
  into extra, wrong
  from placed p;

  delete from pawl.ready t
  where t.ctid = any (array(
    select t.ctid from pawl.ready t where t.job_id = any (extra || wrong) for update skip locked
  ));
  delete from pawl.scheduled s
  where s.ctid = any (array(
    select s.ctid from pawl.scheduled s where s.job_id = any (extra || wrong) for update skip locked
  ));
  delete from pawl.blocked p where p.job_id = any (extra || wrong);
  with again as (
    update pawl.job j set epoch = pawl.next_epoch(j.epoch) where j.id = any (wrong) returning j.id, j.epoch, j.queue
  )
  insert into pawl.blocked (job_id, epoch, queue) select a.id, a.epoch, a.queue from again a;
  changed := changed || extra || wrong;

  part := array(select p.job_id from pawl.blocked p where p.job_id = any (mine) and p.expires_at is null order by 1);
  perform pawl.unblock(part);
  changed := changed || array(
    select unnest(part) except select p.job_id from pawl.blocked p where p.job_id = any (part)
  );
  return (select count(distinct u.id) from unnest(changed) as u (id));
end $$;
