-- restore_lost looks for live jobs that no worker will ever run, because they have neither a ticket nor a place in a
-- lease, and gives them a ticket. No such job should exist: this is maintenance's guard against a bug or a damaged
-- table.
--   after   look at jobs with higher ids
--   most    how many jobs to look at
-- Moves: what restore_jobs moves.
-- Returns the highest id that it looked at, null if it reached the last job, and how many jobs it gave a ticket.
-- Index: job's primary key from `after`, and the primary keys of the tickets. It reads all leases, if one of the jobs
-- has no ticket. So the cost does not grow with the tables. Only if it finds a job, it reads all tickets.
-- Survives: any other function at the same time (it looks with one snapshot; restore_jobs locks and looks again).
create or replace function pawl.restore_lost(after bigint, most integer) returns table (reached bigint, restored bigint)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off
set jit = off as $$
#variable_conflict use_column
declare
  lost bigint[];
begin
  with slice as materialized (
    select j.id, j.epoch, j.queue, j.channel, j.priority, coalesce(j.pos, j.id) as pos, j.run_at
    from pawl.job j
    where j.id > restore_lost.after
    order by j.id
    limit restore_lost.most
  ),
  loose as materialized (
    -- Scalar subqueries, because the planner may turn an exists into a hash of a whole table.
    select s.id, s.epoch
    from slice s
    where (select true from pawl.ready t
           where t.queue = s.queue and t.priority = any (array[s.priority, -32768, -32769])
             and t.channel = s.channel and t.pos = s.pos and t.job_id = s.id limit 1) is null
      and (select true from pawl.scheduled t
           where t.queue = s.queue and t.run_at = s.run_at and t.job_id = s.id) is null
      and (select true from pawl.blocked t where t.job_id = s.id) is null
  )
  select case when (select count(*) from slice) = restore_lost.most then (select max(s.id) from slice s) end,
         array(select l.id from loose l
               except
               select u.id
               from pawl.lease h, unnest(h.jobs, h.epochs) as u (id, epoch)
               join loose l on l.id = u.id and l.epoch = u.epoch
               where (select count(*) from loose) > 0) -- Else it does not read the leases.
  into reached, lost;
  restored := 0;
  if cardinality(lost) > 0 then
    restored := pawl.restore_jobs(lost);
  end if;
  return next;
end $$;
