-- report_counters adds what a client counted since its last report.
--   client                        the id of the process: only it writes these rows
--   queues                        no queue twice, at most 10,000
--   inserted, completed, failed   one for each queue, from 0 to 1,000,000,000,000
-- It raises SQLSTATE 22023 for other values, because queue_stats adds them up for everyone.
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
  if cardinality(report_counters.queues) > 10000 or exists (
    select from unnest(report_counters.queues, report_counters.inserted, report_counters.completed,
                       report_counters.failed) as u (queue, inserted, completed, failed)
    where (octet_length(u.queue) between 1 and 255 and u.inserted between 0 and 1000000000000
           and u.completed between 0 and 1000000000000 and u.failed between 0 and 1000000000000) is not true
  ) then
    raise exception 'pawl: report counters: want up to 10,000 queues with names of 1 to 255 bytes, '
                    'and for each three counts from 0 to 1,000,000,000,000' using errcode = '22023';
  end if;
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
