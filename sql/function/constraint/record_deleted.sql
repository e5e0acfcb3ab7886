-- record_deleted records, for run_followups, that dead jobs were deleted for which other jobs wait
-- (JobSpec.KeepWaiting). Otherwise those would wait forever.
--   ids   jobs whose rows this transaction has deleted from dead in an earlier statement. An insert that makes a
--         job wait for a dead job locks the row of the dead job, so none is missed
-- Index: dependency's primary key.
create or replace function pawl.record_deleted(ids bigint[]) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
begin
  insert into pawl.followup (job_id, queue, channel, ordered, became)
  select u.id, '', '', false, 'deleted'
  from unnest(record_deleted.ids) as u (id)
  where (select true from pawl.dependency w where w.parent_id = u.id limit 1);
end $$;
