-- report_counters: add what a client counted since it last told.
--   client   whose row of each queue it is: nobody else's            queues, inserted, completed, failed   one an array position, no queue twice
-- Moves: the client's rows of pawl.counter. Is the whole of its transaction, whose commit waits for no disk: a count lost in a crash is no harm.
-- Index: tally's primary key; the update is HOT.
create or replace function pawl.report_counters(client uuid, queues text[], inserted bigint[], completed bigint[], failed bigint[]) returns void
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
  now constant bigint := floor(extract(epoch from clock_timestamp()) / 10);
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into pawl.counter as t (client, queue, slot, inserted, completed, failed)
  select report_counters.client, u.queue, now, pawl.shift_slots('{}', 7, u.inserted), pawl.shift_slots('{}', 7, u.completed), pawl.shift_slots('{}', 7, u.failed)
  from unnest(report_counters.queues, report_counters.inserted, report_counters.completed, report_counters.failed) as u (queue, inserted, completed, failed)
  on conflict (client, queue) do update set
    slot      = greatest(t.slot, excluded.slot),
    inserted  = pawl.shift_slots(t.inserted, excluded.slot - t.slot, excluded.inserted[1]),
    completed = pawl.shift_slots(t.completed, excluded.slot - t.slot, excluded.completed[1]),
    failed    = pawl.shift_slots(t.failed, excluded.slot - t.slot, excluded.failed[1]);
end $$;
