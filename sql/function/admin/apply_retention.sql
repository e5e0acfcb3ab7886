-- apply_retention deletes what is past its retention: workers that were gone for a day, batches that finished 30
-- days ago, counters that were not reported for ten minutes, and dead jobs, at most `most`. It returns the number
-- of dead jobs.
-- Index: dead_expires_at, batch_finished_at; none for worker and counter, which are small.
-- Survives: two calls at once, and a retry of a dead job (skip locked).
create or replace function pawl.apply_retention(most integer) returns bigint
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
declare
  moment timestamptz := clock_timestamp();
  gone   bigint[];
begin
  delete from pawl.worker w where w.gone_at < moment - interval '1 day';
  delete from pawl.batch b where b.finished_at < moment - interval '30 days';
  delete from pawl.counter t where t.slot < extract(epoch from moment) / 10 - 60;
  with expired as (
    delete from pawl.dead d
    where d.id = any (array(
      select e.id from pawl.dead e where e.expires_at < moment limit most for update skip locked
    ))
    returning d.id
  )
  select array_agg(l.id) into gone from expired l;
  if gone is not null then
    perform pawl.record_deleted(gone);
  end if;
  return coalesce(cardinality(gone), 0);
end $$;
