-- lock_jobs locks the rows of claimed jobs, and waits for other transactions that have locked them. A caller uses
-- it before a function that skips locked rows, in the same transaction: then that function skips only jobs that are
-- lost.
-- Returns the ids of the jobs that are live at their epoch. Index: job's primary key.
create or replace function pawl.lock_jobs(ids bigint[], epochs integer[]) returns setof bigint
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  select j.id
  from (select u.id, u.epoch from unnest(lock_jobs.ids, lock_jobs.epochs) as u (id, epoch) order by u.id) u,
       lateral (select j.id from pawl.job j where j.id = u.id and j.epoch = u.epoch for update) j;
end $$;
