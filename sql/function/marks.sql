-- marks: what is needed to advance safe marks (lanes.go has the reasoning): for each lane the lowest position above its safe
-- mark, for each queue the earliest scheduled time above its floor, both read plainly, so that tickets locked by somebody
-- count; and the snapshot they were read in, as the numbers of its oldest running and its next transaction.
-- Moves nothing. Returns a row a lane, then a row a queue, each group in input order, and one row with ord 0 for the snapshot.
-- Index: the primary keys of ready and scheduled.
create or replace function pawl.marks(
  queues text[], priorities integer[], channels text[], safes bigint[], scheduled text[], floors timestamptz[]
) returns table (ord bigint, low_pos bigint, low_at timestamptz, oldest bigint, next bigint)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
  return query
  select 0::bigint, null::bigint, null::timestamptz,
         pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint
  union all
  select u.ord, r.pos, null, null, null
  from unnest(marks.queues, marks.priorities, marks.channels, marks.safes) with ordinality as u (queue, priority, channel, safe, ord)
  left join lateral (
    select t.pos from pawl.ready t
    where t.queue = u.queue and t.priority = u.priority and t.channel = u.channel and t.pos > u.safe
    order by t.pos limit 1
  ) r on true
  union all
  select cardinality(marks.queues) + u.ord, null, s.run_at, null, null
  from unnest(marks.scheduled, marks.floors) with ordinality as u (queue, floor, ord)
  left join lateral (
    select s.run_at from pawl.scheduled s
    where s.queue = u.queue and s.run_at > u.floor
    order by s.run_at limit 1
  ) s on true;
end $$;
