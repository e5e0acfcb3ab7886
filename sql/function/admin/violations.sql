-- violations returns a row for each violation of an invariant: its name as in docs/doctor.md, and the id of the job
-- or batch, or the lease.
-- Moves nothing. It reads all live jobs and the archive's ids, so do not call it often. It is one statement and so
-- has one snapshot: it is as correct while jobs run as when nothing runs. Only permit-stray and lease-stray may
-- exist for a while, until maintenance removes them.
-- Nested loops are off, because the statistics of busy tables may be old: a table that seems small must not be read
-- repeatedly. It calls no other function of this schema, because Client.Verify runs this text where functions may
-- be missing.
create or replace function pawl.violations() returns table (what text, id bigint, lease uuid)
language sql stable set enable_nestloop = off set jit = off as $$
  with place as (
    select t.job_id, t.epoch, 'ready' as kind, t.queue, t.channel, t.priority, t.pos, null::timestamptz as run_at
    from pawl.ready t
    union all
    select s.job_id, s.epoch, 'scheduled', s.queue, null, null, null, s.run_at from pawl.scheduled s
    union all
    select p.job_id, p.epoch, 'blocked', null, null, null, null, null from pawl.blocked p
    union all
    select u.id, u.epoch, 'lease', null, null, null, null, null
    from pawl.lease l, unnest(l.jobs, l.epochs) as u (id, epoch)
  ),
  placed as (
    select coalesce(j.id, p.job_id) as id, j.id is not null as live, count(p.job_id) as places,
           bool_or(p.kind <> 'blocked') as out,
           bool_or(p.kind = 'ready' and (t.queue, t.channel, t.pos) <> (p.queue, p.channel, p.pos)
                   or p.kind = 'ready' and p.priority <> all (array[j.priority, -32768, -32769])
                   or p.kind = 'scheduled' and (p.queue, p.run_at) is distinct from (j.queue, j.run_at)) as misplaced
    from pawl.job j
    full join place p on p.job_id = j.id and p.epoch = j.epoch
    cross join lateral (select j.queue, j.channel, coalesce(j.pos, j.id) as pos) t
    where j.id is not null or p.kind <> 'lease'
    group by 1, 2
  )
  select case when not p.live then 'ticket-stray' when p.places = 0 then 'ticket-missing'
              when p.places > 1 then 'ticket-twice' else 'ticket-misplaced' end, p.id, null::uuid
  from placed p
  where not p.live or p.places <> 1 or p.misplaced
  union all
  select 'ticket-blocked', p.job_id, null
  from pawl.blocked p
  where p.expires_at is null
    and not exists (select from pawl.dependency w where w.child_id = p.job_id)
    and not exists (
      select from pawl.ordered_job own
      where own.job_id = p.job_id
        and (exists (select from pawl.ordered_job t
                     where t.queue = own.queue and t.channel = own.channel and t.pos < own.pos)
             or exists (select from pawl.halted_channel h where h.queue = own.queue and h.channel = own.channel)
             or exists (select from pawl.followup l
                        where l.ordered and l.queue = own.queue and l.channel = own.channel))
    )
  union all
  select 'ticket-out-of-order', o.job_id, null
  from (
    select t.job_id, t.pos, min(t.pos) over (partition by t.queue, t.channel) as first_pos
    from pawl.ordered_job t
    where exists (select from pawl.job j where j.id = t.job_id)
  ) o
  where o.pos > o.first_pos and exists (select from placed p where p.id = o.job_id and p.live and p.out)
  union all
  select 'order-stray', t.job_id, null
  from pawl.ordered_job t
  where not exists (select from pawl.job j where j.id = t.job_id)
    and not exists (select from pawl.followup l where l.job_id = t.job_id)
  union all
  select 'order-missing', j.id, null
  from pawl.job j
  where j.opts ? 'ordered' and not exists (select from pawl.ordered_job t where t.job_id = j.id)
  union all
  select distinct 'dependency-stray', w.parent_id, null::uuid
  from pawl.dependency w
  where not exists (select from pawl.job j where j.id = w.parent_id)
    and not exists (select from pawl.followup l where l.job_id = w.parent_id)
    and not (w.keep_waiting and exists (select from pawl.dead d where d.id = w.parent_id))
  union all
  select 'key-stray', h.job_id, null
  from pawl.unique_key h
  where h.live and not exists (select from pawl.job j where j.id = h.job_id)
  union all
  select 'key-missing', j.id, null
  from pawl.job j
  where j.unique_key is not null and not coalesce(j.opts ? 'until_start', false)
    and not exists (select from pawl.unique_key h where h.job_id = j.id and h.live)
  union all
  select 'job-unmarked', j.id, null
  from pawl.job j
  where not j.constrained and (j.opts ?| array['ordered', 'batch'] or j.unique_key is not null)
  union all
  select distinct 'job-unmarked', w.parent_id, null::uuid
  from pawl.dependency w
  join pawl.job j on j.id = w.parent_id
  where not j.constrained
  union all
  select 'job-twice', d.id, null
  from pawl.dead d
  where exists (select from pawl.job j where j.id = d.id)
  union all
  select 'job-twice', u.id, null
  from pawl.archive_chunk a, unnest(a.ids) as u (id)
  where exists (select from pawl.job j where j.id = u.id)
  union all
  select 'permit-stray', p.job_id, null
  from pawl.permit p
  where not exists (select from pawl.lease l where l.id = p.lease and p.job_id = any (l.jobs))
  union all
  select 'lease-stray', null, l.id
  from pawl.lease l
  where case when l.worker_id is null then l.expires_at is null
             else not exists (select from pawl.worker w where w.id = l.worker_id) end
  union all
  select 'batch-count', b.id, null
  from pawl.batch b
  left join (
    select u.batch, count(*) as n
    from (select (j.opts ->> 'batch')::bigint as batch from pawl.job j where j.opts ? 'batch'
          union all
          select l.batch from pawl.followup l where l.batch is not null) u
    group by u.batch
  ) c on c.batch = b.id
  where b.finished_at is null and b.completed + b.cancelled + b.dead + coalesce(c.n, 0) <> b.total
  union all
  select 'followup-failed', l.job_id, null
  from pawl.followup l
  where l.id < 0
  union all
  select 'sequence-behind', m.top, null
  from (select max(u.id) as top
        from (select max(j.id) as id from pawl.job j
              union all
              select max(t.pos) from pawl.ready t
              union all
              select max(d.id) from pawl.dead d) u) m
  where m.top > (select s.last_value from pawl.pos s)
$$;
