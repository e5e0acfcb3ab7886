-- record_followups: what follows at once from the end of constrained jobs: unique keys are free (or kept until their time); the rest is put down for
-- settle. Called by every verb that finishes jobs, in its transaction.
--   ended   [{id, queue, channel, ordered, batch}]      became   completed, cancelled, dead, deleted
create or replace function pawl.record_followups(ended jsonb, became text) returns void
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_mergejoin = off
set enable_hashjoin = off as $$
#variable_conflict use_column
begin
  delete from pawl.unique_key h
  using jsonb_to_recordset(record_followups.ended) as t (id bigint)
  where h.job_id = any (array[t.id]) and (h.keep_until is null or h.keep_until <= clock_timestamp());
  update pawl.unique_key h set live = false
  from jsonb_to_recordset(record_followups.ended) as t (id bigint)
  where h.job_id = any (array[t.id]);
  insert into pawl.followup (job_id, queue, channel, ordered, batch, became)
  select t.id, t.queue, t.channel, coalesce(t.ordered, false), t.batch, record_followups.became
  from jsonb_to_recordset(record_followups.ended) as t (id bigint, queue text, channel text, ordered boolean, batch bigint)
  order by t.id;
end $$;
