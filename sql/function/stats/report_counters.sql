-- report_counters adds what a client counted since its last report.
--   client                        the id of the process: only it writes these rows
--   queues                        no queue twice
--   inserted, completed, failed   one for each queue
-- Moves: the client's rows of counter change. It is the only statement of its transaction, and the commit does not
-- wait for the disk, because a count that a crash loses does no harm.
-- Index: counter's primary key; the update is HOT.
create or replace function pawl.report_counters(
  client uuid, queues text[], inserted bigint[], completed bigint[], failed bigint[]
) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  now constant bigint := floor(extract(epoch from clock_timestamp()) / 10);
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into pawl.counter as t (client, queue, slot, inserted, completed, failed)
  select report_counters.client, u.queue, now, pawl.shift_slots('{}', 7, u.inserted),
         pawl.shift_slots('{}', 7, u.completed), pawl.shift_slots('{}', 7, u.failed)
  from unnest(report_counters.queues, report_counters.inserted, report_counters.completed, report_counters.failed)
         as u (queue, inserted, completed, failed)
  on conflict (client, queue) do update set
    slot      = greatest(t.slot, excluded.slot),
    inserted  = pawl.shift_slots(t.inserted, excluded.slot - t.slot, excluded.inserted[1]),
    completed = pawl.shift_slots(t.completed, excluded.slot - t.slot, excluded.completed[1]),
    failed    = pawl.shift_slots(t.failed, excluded.slot - t.slot, excluded.failed[1]);
end $$;
