-- live_queues returns the names of the queues with live jobs, in any order. Moves nothing.
-- Index: a loose scan over ready, scheduled and blocked, one descent for each queue; running jobs through the leases.
create or replace function pawl.live_queues() returns setof text
language sql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
  with recursive
  ready as (
    (select t.queue from pawl.ready t order by t.queue limit 1)
    union all
    select n.queue
    from ready r, lateral (select t.queue from pawl.ready t where t.queue > r.queue order by t.queue limit 1) n
  ),
  scheduled as (
    (select s.queue from pawl.scheduled s order by s.queue limit 1)
    union all
    select n.queue
    from scheduled r, lateral (select s.queue from pawl.scheduled s where s.queue > r.queue order by s.queue limit 1) n
  ),
  blocked as (
    (select p.queue from pawl.blocked p order by p.queue limit 1)
    union all
    select n.queue
    from blocked r, lateral (select p.queue from pawl.blocked p where p.queue > r.queue order by p.queue limit 1) n
  )
  select queue from ready union select queue from scheduled union select queue from blocked
  union
  select j.queue
  from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch),
       lateral (select j.queue from pawl.job j where j.id = u.id and j.epoch = u.epoch limit 1) j
$$;
