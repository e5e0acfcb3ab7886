-- retry_followups makes the follow-ups that run_followups has put aside pending again.
--   ids   the jobs whose end they are about
-- Moves nothing: the rows get new ids. Returns how many rows were changed.
-- Index: followup's primary key, over the rows that were put aside.
create or replace function pawl.retry_followups(ids bigint[]) returns bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
#variable_conflict use_column
declare
  changed bigint;
begin
  update pawl.followup l set id = default, tries = 0, error = null
  where l.id < 0 and l.job_id = any (retry_followups.ids);
  get diagnostics changed = row_count;
  return changed;
end $$;
