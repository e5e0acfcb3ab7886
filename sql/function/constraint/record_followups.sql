-- record_followups does what must follow from the end of constrained jobs at once: it frees their unique keys, or
-- keeps them until their time. It records the rest for run_followups. Every function that finishes jobs calls it in
-- its transaction.
--   ended    [{id, queue, channel, ordered, batch}], as followup_of returns them
--   became   completed, cancelled, dead or deleted
-- Moves: rows of unique_key out or changed; a row of followup in for each job.
-- Index: unique_key_job_id.
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
  from jsonb_to_recordset(record_followups.ended)
         as t (id bigint, queue text, channel text, ordered boolean, batch bigint)
  order by t.id;
end $$;
