-- verify: count what breaks the invariant: a live job has exactly one of a ticket with its epoch or a place in a lease with its epoch;
-- what is parked waits for something; of an ordered channel only the head is out.
-- Moves nothing. Reads all live jobs: not for a hot path. One snapshot, so it may run beside the queue at work.
create or replace function pawl.verify() returns table (problem text, jobs bigint, example bigint) language sql stable as $$
  with place as (
    select t.job_id, t.epoch, 'ready' as kind from pawl.ready t
    union all
    select s.job_id, s.epoch, 'scheduled' from pawl.scheduled s
    union all
    select p.job_id, p.epoch, 'parked' from pawl.parked p
    union all
    select u.id, u.epoch, 'lease' from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch)
  ),
  counted as (
    select j.id, count(p.job_id) as places
    from pawl.job j
    left join place p on p.job_id = j.id and p.epoch = j.epoch
    group by j.id
  ),
  stray as (
    select p.job_id, p.kind
    from place p
    where p.kind <> 'lease' and not exists (select from pawl.job j where j.id = p.job_id and j.epoch = p.epoch)
  ),
  twice as (
    select id from pawl.job intersect (select id from pawl.archive union all select id from pawl.dead) -- by hash: the archive has no b-tree
  )
  select 'live job with neither ticket nor lease', count(*), min(id) from counted where places = 0
  union all
  select 'live job with more than one ticket or lease', count(*), min(id) from counted where places > 1
  union all
  select 'ticket without its job', count(*), min(job_id) from stray
  union all
  select 'job both live and finished', count(*), min(id) from twice
  union all
  select 'parked job that waits for nothing', count(*), min(p.job_id)
  from pawl.parked p
  where p.expires_at is null
    and not exists (select from pawl.loose)
    and not exists (select from pawl.wait w where w.child_id = p.job_id)
    and not exists (
      select from pawl.turn own
      where own.job_id = p.job_id
        and (exists (select from pawl.turn t where t.queue = own.queue and t.channel = own.channel and t.pos < own.pos)
             or exists (select from pawl.halt h where h.queue = own.queue and h.channel = own.channel))
    )
  union all
  select 'ordered job before which another of its channel has its ticket', count(*), min(a.job_id)
  from pawl.turn a
  join pawl.turn b on b.queue = a.queue and b.channel = a.channel and b.pos > a.pos
  where exists (select from pawl.job j where j.id = a.job_id)
    and exists (select from pawl.job j where j.id = b.job_id)
    and not exists (select from pawl.parked p where p.job_id = b.job_id)
  union all
  select 'unique key of a job that is gone', count(*), min(h.job_id)
  from pawl.hold h
  where h.live and not exists (select from pawl.job j where j.id = h.job_id)
$$;
