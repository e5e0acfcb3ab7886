-- recount_batches corrects the counts of batches that have lost jobs. A job that is neither live nor counted counts
-- as deleted. A batch with more jobs than its total gets that number as its total. If the batch ends with that, its
-- callback jobs are inserted.
-- Returns how many batches were changed.
-- Index: none; all live jobs are read, once for each batch. Only repair calls it.
-- Survives: jobs that end at the same time (count_batch locks the batch's row, which this locks before it reads
-- anything).
create or replace function pawl.recount_batches(ids bigint[]) returns bigint language plpgsql set jit = off as $$
#variable_conflict use_column
declare
  one     bigint;
  lost    bigint;
  changed bigint := 0;
begin
  perform pg_current_xact_id();
  for one in select distinct u.id from unnest(recount_batches.ids) as u (id) order by u.id loop
    perform from pawl.batch b where b.id = one and b.finished_at is null for update skip locked;
    continue when not found;
    select b.total - b.completed - b.cancelled - b.dead
           - (select count(*) from pawl.job j where j.opts -> 'batch' = to_jsonb(b.id))
           - (select count(*) from pawl.followup l where l.batch = b.id)
    into lost
    from pawl.batch b where b.id = one;
    if lost > 0 then
      perform pawl.count_batch(one, 'deleted', lost::integer);
      changed := changed + 1;
    elsif lost < 0 then
      update pawl.batch b set total = b.total - lost where b.id = one;
      changed := changed + 1;
    end if;
  end loop;
  return changed;
end $$;
