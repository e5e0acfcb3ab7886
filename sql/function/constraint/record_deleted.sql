-- record_deleted: put down for settle that dead jobs were deleted, where others still wait for them (JobSpec.Hold): they would wait for ever.
--   ids   of rows that this transaction has deleted from dead, in a statement before: who makes a job wait for a dead one locks its row
-- Index: wait's primary key.
create or replace function pawl.record_deleted(ids bigint[]) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
begin
  insert into pawl.followup (job_id, queue, channel, ordered, became)
  select u.id, '', '', false, 'deleted'
  from unnest(record_deleted.ids) as u (id)
  where (select true from pawl.dependency w where w.parent_id = u.id limit 1);
end $$;
